"""Chat completions: the format of OpenAI, which xAI, Ollama and many servers of one's own speak as well.

Decides what a request looks like there, which models of OpenAI's want it otherwise, and what an answer
and its stream mean. Opens no connection. For ``backend`` and ``streaming``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, final

from phloem.llm.requests import LLMDelta, LLMRequest, LLMResponse, StopReason, TokenUsage, ToolCall

from .failures import Told, Unreadable
from .formats import Gathered, decoded, items, mapping, number, text_of, whole_text
from .sse import ServerEvent

__all__ = ["ChatCompletions"]

_STOPS: Final[Mapping[str, StopReason]] = {
    "stop": StopReason.STOP,
    "length": StopReason.LENGTH,
    "model_length": StopReason.LENGTH,  # Mistral's, where the model's window was the limit
    "max_tokens": StopReason.LENGTH,  # of servers that speak for Anthropic's or Google's models
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.CONTENT_FILTER,
}
# OpenAI's models that reason before they answer, fine-tuned ones too: they take max_completion_tokens
# only, and fail on any temperature but their own.
_REASONING: Final = re.compile(r"(ft:)?(o\d|gpt-([5-9]|\d\d))(?!\d)", re.IGNORECASE)
# What a failure inside a stream is called (it has no status any more), as the status it would have been.
_FAILURES: Final[Mapping[str, int]] = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "service_unavailable_error": 503,
}
# No reasons to stop, but failures in the place of one (OpenRouter, Mistral; DeepSeek): what came is a part.
_BROKEN_OFF: Final = frozenset({"error", "insufficient_system_resource"})
_UNAVAILABLE: Final = 503
_UNKNOWN_FAILURE: Final = 500  # worth another attempt, as most that break a stream are
_LAST: Final = "[DONE]"


@final
class ChatCompletions:
    """The format. ``reasoners``: the backend is OpenAI, whose models that reason have their own manners."""

    def __init__(self, *, reasoners: bool = False) -> None:
        self._reasoners = reasoners

    @property
    def path(self) -> str:
        """Behind the base address."""
        return "/chat/completions"

    def headers(self, key: str) -> Mapping[str, str]:
        """A bearer's, if there is a key; Ollama and servers of one's own need none."""
        return {"authorization": f"Bearer {key}"} if key else {}

    def body(self, request: LLMRequest, *, stream: bool) -> dict[str, Any]:
        """The request as JSON. A model that takes no temperature gets none: its own is all it knows."""
        reasons = self._reasoners and _REASONING.match(request.model) is not None
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [
                {"role": each.role, "content": whole_text(each.content)} for each in request.messages
            ],
        }
        if request.temperature is not None and not reasons:
            body["temperature"] = request.temperature
        if request.max_tokens is not None:
            body["max_completion_tokens" if reasons else "max_tokens"] = request.max_tokens
        if request.tools:
            body["tools"] = list(request.tools)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def answer(self, found: Any, request: LLMRequest) -> LLMResponse:
        """A whole answer; of several choices the first."""
        told = _checked(found)
        choices = items(told.get("choices"), "choices")
        if not choices:
            raise Unreadable(f"an answer without choices, with {_names(told)}")
        choice = mapping(choices[0], "a choice")
        message = mapping(choice.get("message"), "a message")
        calls = [
            _call(mapping(each, "a tool call")) for each in items(message.get("tool_calls"), "tool calls")
        ]
        if older := message.get("function_call"):
            calls.append(_call({"function": older}))
        content, refusal = text_of(message.get("content"), "content"), message.get("refusal")
        refused = isinstance(refusal, str) and bool(refusal)
        return LLMResponse(
            content=whole_text(content or (refusal if isinstance(refusal, str) else "")),
            model=_model(told, request),
            usage=_usage(told.get("usage")),
            finish_reason=StopReason.CONTENT_FILTER if refused else _stop(choice.get("finish_reason")),
            raw=told,
            reasoning=whole_text(_reasoning(message)),
            tool_calls=tuple(calls),
        )

    def assembly(self, request: LLMRequest) -> _Assembly:
        """For one answer that comes in pieces."""
        return _Assembly(request)


@final
class _Assembly:
    """One answer in pieces. It ends with ``[DONE]``; servers that never say it say why they stopped."""

    def __init__(self, request: LLMRequest) -> None:
        self._request = request
        self._gathered = Gathered()
        self._model = request.model
        self._usage = TokenUsage()
        self._stop: StopReason | None = None
        self._refused = False
        self._calls: dict[int, tuple[list[str], list[str], list[str]]] = {}  # ids, names, arguments
        self._ended = False

    @property
    def text(self) -> str:
        """All text so far."""
        return self._gathered.text

    @property
    def ended(self) -> bool:
        """``[DONE]`` has come."""
        return self._ended

    @property
    def whole(self) -> bool:
        """Why it stopped has come, or ``[DONE]``."""
        return self._ended or self._stop is not None

    def take(self, event: ServerEvent) -> LLMDelta:
        """What is new in that event: of several choices in the first."""
        if event.data.strip() == _LAST:
            self._ended = True
            return LLMDelta()
        told = _checked(decoded(event.data), event.name)
        self._model = _model(told, self._request)
        if told.get("usage"):  # in the last one, with no choice in it; some send it all along, growing
            self._usage = _usage(told["usage"])
        chosen = (mapping(each, "a choice") for each in items(told.get("choices"), "choices"))
        choice = next((each for each in chosen if not each.get("index")), None)
        return LLMDelta() if choice is None else self._chosen(choice)

    def _chosen(self, choice: Mapping[str, Any]) -> LLMDelta:
        delta = mapping(choice.get("delta") or {}, "a delta")
        if choice.get("finish_reason"):
            self._stop = _stop(choice["finish_reason"])
        for each in items(delta.get("tool_calls"), "tool calls"):
            self._called(mapping(each, "a tool call"))
        if older := delta.get("function_call"):
            self._called({"function": older})
        text = text_of(delta.get("content"), "content")
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self._refused, text = True, text + refusal
        return self._gathered.add(text, _reasoning(delta))

    def _called(self, told: Mapping[str, Any]) -> None:
        """A piece of a tool's call: which one says its index, and what is left out has been said before."""
        call, index = _call(told, piece=True), told.get("index")
        self._gathered.count(len(call.id) + len(call.name) + len(call.arguments) + 1)
        place = index if isinstance(index, int) else 0
        kept = self._calls.setdefault(place, ([], [], []))
        for pieces, piece in zip(kept, (call.id, call.name, call.arguments), strict=True):
            if piece:
                pieces.append(piece)

    def response(self) -> LLMResponse:
        """The answer, once ``whole``."""
        stop = self._stop or StopReason.STOP  # it came to its end in good order and gave no reason
        return LLMResponse(
            content=self._gathered.text,
            model=self._model,
            usage=self._usage,
            finish_reason=StopReason.CONTENT_FILTER if self._refused else stop,
            reasoning=self._gathered.reasoning,
            tool_calls=tuple(
                ToolCall("".join(ids[:1]), "".join(names), "".join(arguments))
                for _, (ids, names, arguments) in sorted(self._calls.items())
            ),
        )


def _checked(found: Any, name: str = "") -> Mapping[str, Any]:
    """It, if it tells of no failure."""
    told = mapping(found, "an answer")
    failure = told.get("error")
    if not failure and name != "error":
        return told
    if not isinstance(failure, dict):  # Ollama: its text and nothing else
        raise Told(_UNKNOWN_FAILURE, str(failure or told.get("message") or "(nothing)"))
    of = mapping(failure, "an error")
    code = of.get("code")
    if not (isinstance(code, int) and code in range(400, 600)):  # some say the status itself
        names = (str(of.get(each)) for each in ("code", "type"))
        code = next((_FAILURES[each] for each in names if each in _FAILURES), _UNKNOWN_FAILURE)
    raise Told(code, str(of.get("message") or of.get("type") or ""))


def _model(told: Mapping[str, Any], request: LLMRequest) -> str:
    return told["model"] if isinstance(told.get("model"), str) and told["model"] else request.model


def _reasoning(message: Mapping[str, Any]) -> str:
    """xAI, DeepSeek and vLLM say ``reasoning_content``, Ollama and OpenRouter ``reasoning``."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(found := message.get(name), str) and found:
            return found
    return ""


def _call(told: Mapping[str, Any], *, piece: bool = False) -> ToolCall:
    function = mapping(told.get("function") or {}, "a function")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):  # some servers send the object itself
        arguments = json.dumps(arguments) if arguments is not None else ("" if piece else "{}")
    called = told.get("id"), function.get("name")
    identity, name = (each if isinstance(each, str) else "" for each in called)
    return ToolCall(identity, whole_text(name), whole_text(arguments))


def _stop(found: Any) -> StopReason:
    """Raises Told where it says that there is no whole answer."""
    if isinstance(found, str) and found in _BROKEN_OFF:
        raise Told(_UNAVAILABLE, f"an answer that its server has broken off, for it says {found!r}")
    if found is None or found == "":  # some servers give none
        return StopReason.STOP
    return _STOPS.get(found, StopReason.OTHER) if isinstance(found, str) else StopReason.OTHER


def _usage(found: Any) -> TokenUsage:
    told = mapping(found or {}, "usage")
    prompt, total = number(told.get("prompt_tokens")), number(told.get("total_tokens"))
    # xAI counts what a model thinks in the total only, and has it paid all the same.
    completion = max(number(told.get("completion_tokens")), total - prompt if total else 0)
    details = mapping(told.get("prompt_tokens_details") or {}, "details of usage")
    cached = min(number(details.get("cached_tokens")), prompt)
    return TokenUsage(prompt, completion, max(total, prompt + completion), cached)


def _names(told: Mapping[str, Any]) -> str:
    return ", ".join(sorted(told)) or "nothing in it"
