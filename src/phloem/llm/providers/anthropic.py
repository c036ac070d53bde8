"""Anthropic's messages.

Decides what a request looks like there (one field for all system messages, a first message that is a
user's, a bound that is required) and what an answer and its stream mean. Opens no connection. For
``backend`` and ``streaming``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from phloem.config import MAX_TOKENS
from phloem.llm.requests import (
    LLMDelta,
    LLMRequest,
    LLMResponse,
    Role,
    StopReason,
    TokenUsage,
    ToolCall,
)

from .failures import Told, Unreadable
from .formats import Gathered, decoded, items, mapping, number, text_of, whole_text
from .sse import ServerEvent

__all__ = ["AnthropicMessages"]

VERSION: Final = "2023-06-01"  # of the format; the only one since then
_LEFT_OUT: Final = "(What was said before is left out.)"
_STOPS: Final[Mapping[str, StopReason]] = {
    "end_turn": StopReason.STOP,
    "stop_sequence": StopReason.STOP,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "tool_use": StopReason.TOOL_CALLS,
    "refusal": StopReason.CONTENT_FILTER,
}
# Failures inside a stream have a type and no status; these are the statuses they have elsewhere.
_FAILURES: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_UNKNOWN_FAILURE: Final = 500
# claude-opus-4-7, claude-sonnet-5, claude-haiku-5-5-20270101; not claude-sonnet-4-20250514, claude-3-5-haiku
_VERSION_OF_MODEL: Final = re.compile(r"claude-[a-z]+-(?P<major>\d{1,2})(?!\d)(-(?P<minor>\d{1,2})(?!\d))?")
_NO_TEMPERATURE_FROM: Final = (4, 7)  # these answer 400 to any temperature


@final
class AnthropicMessages:
    """The format."""

    @property
    def path(self) -> str:
        """Behind the base address."""
        return "/messages"

    def headers(self, key: str) -> Mapping[str, str]:
        """The key, and the version of the format, which is required."""
        return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}

    def body(self, request: LLMRequest, *, stream: bool) -> dict[str, Any]:
        """The request as JSON.

        Messages of one role in a row stay apart: the service joins them itself. Empty ones are refused
        there and are left out. A model that takes no temperature gets none.
        """
        said = [each for each in request.messages if each.content.strip()]
        system = [each.content for each in said if each.role in (Role.SYSTEM, "developer")]
        messages = [
            {"role": each.role, "content": whole_text(each.content)}
            for each in said
            if each.role not in (Role.SYSTEM, "developer")
        ]
        if messages and messages[0]["role"] == Role.ASSISTANT:  # of a history whose beginning was cut
            messages.insert(0, {"role": Role.USER, "content": _LEFT_OUT})
        body: dict[str, Any] = {
            "model": request.model,
            "max_tokens": MAX_TOKENS if request.max_tokens is None else request.max_tokens,
            "messages": messages,
        }
        if system:
            body["system"] = whole_text("\n\n".join(system))
        if request.temperature is not None and _takes_temperature(request.model):
            body["temperature"] = request.temperature
        if request.tools:
            body["tools"] = list(request.tools)
        if stream:
            body["stream"] = True
        return body

    def answer(self, found: Any, request: LLMRequest) -> LLMResponse:
        """A whole answer: the text of its blocks, one behind the other."""
        told = _checked(found)
        if "content" not in told:
            raise Unreadable(f"an answer without content, with {', '.join(sorted(told)) or 'nothing in it'}")
        gathered, calls = Gathered(), list[ToolCall]()
        for each in items(told["content"], "content"):
            block = mapping(each, "a block of content")
            match block.get("type"):
                case "text":
                    gathered.add(text_of(block.get("text"), "a text"))
                case "thinking":
                    gathered.add(reasoning=text_of(block.get("thinking"), "a thought"))
                case "tool_use":
                    calls.append(_Call.of(block).whole())
                case _:
                    pass  # redacted thoughts, a search's results: nothing the model says to us
        usage = _Usage()
        usage.update(told.get("usage"))
        return LLMResponse(
            content=gathered.text,
            model=_model(told, request),
            usage=usage.whole(),
            finish_reason=_stop(told.get("stop_reason")),
            raw=told,
            reasoning=gathered.reasoning,
            tool_calls=tuple(calls),
        )

    def assembly(self, request: LLMRequest) -> _Assembly:
        """For one answer that comes in pieces."""
        return _Assembly(request)


@final
@dataclass(slots=True)
class _Call:
    """A tool's call: its arguments come at once, or in pieces behind it."""

    id: str
    name: str
    given: Any
    pieces: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> _Call:
        identity, name = (text_of(block.get(each), f"a call's {each}") for each in ("id", "name"))
        return cls(identity, name, block.get("input"))

    def whole(self) -> ToolCall:
        given = "{}" if self.given is None else json.dumps(self.given)
        return ToolCall(self.id, self.name, whole_text("".join(self.pieces)) or given)


@final
@dataclass(slots=True)
class _Usage:
    """What has been told of usage; what comes later counts from the beginning, and takes its place."""

    counts: dict[str, int] = field(default_factory=dict[str, int])

    def update(self, found: Any) -> None:
        for name, count in mapping(found or {}, "usage").items():
            if count is not None and name.endswith("_tokens"):
                self.counts[name] = number(count)

    def whole(self) -> TokenUsage:
        cached = self.counts.get("cache_read_input_tokens", 0)
        # input_tokens are those behind the last that came from the cache, or went there
        prompt = cached + sum(self.counts.get(f"{each}input_tokens", 0) for each in ("", "cache_creation_"))
        return TokenUsage(prompt, self.counts.get("output_tokens", 0), cached_tokens=cached)


@final
class _Assembly:
    """One answer in pieces. It ends with ``message_stop``; why it stopped comes just before."""

    def __init__(self, request: LLMRequest) -> None:
        self._request = request
        self._gathered = Gathered()
        self._model = request.model
        self._usage = _Usage()
        self._stop: StopReason | None = None
        self._calls: dict[int, _Call] = {}
        self._ended = False

    @property
    def text(self) -> str:
        """All text so far."""
        return self._gathered.text

    @property
    def ended(self) -> bool:
        """``message_stop`` has come."""
        return self._ended

    @property
    def whole(self) -> bool:
        """Why it stopped has come."""
        return self._ended or self._stop is not None

    def take(self, event: ServerEvent) -> LLMDelta:
        """What is new in that event. Kinds that are not known are new ones, and no fault."""
        told = _checked(decoded(event.data))
        match told.get("type", event.name):
            case "message_start":
                message = mapping(told.get("message"), "a message")
                self._model = _model(message, self._request)
                self._usage.update(message.get("usage"))
            case "content_block_start":
                return self._began(told)
            case "content_block_delta":
                return self._went_on(told)
            case "message_delta":
                delta = mapping(told.get("delta") or {}, "a delta")
                if delta.get("stop_reason"):
                    self._stop = _stop(delta["stop_reason"])
                self._usage.update(told.get("usage"))
            case "message_stop":
                self._ended = True
            case _:
                pass  # ping
        return LLMDelta()

    def _began(self, told: Mapping[str, Any]) -> LLMDelta:
        block = mapping(told.get("content_block"), "a block of content")
        if block.get("type") == "tool_use":
            call = self._calls[_place(told)] = _Call.of(block)
            self._gathered.count(len(call.id) + len(call.name) + 1)
        return self._gathered.add(
            text_of(block.get("text"), "a text"), text_of(block.get("thinking"), "a thought")
        )

    def _went_on(self, told: Mapping[str, Any]) -> LLMDelta:
        delta = mapping(told.get("delta"), "a delta")
        match delta.get("type"):
            case "text_delta":
                return self._gathered.add(text_of(delta.get("text"), "a text"))
            case "thinking_delta":
                return self._gathered.add(reasoning=text_of(delta.get("thinking"), "a thought"))
            case "input_json_delta":
                piece = text_of(delta.get("partial_json"), "a piece of a tool's input")
                self._gathered.count(len(piece))
                if (call := self._calls.get(_place(told))) is not None:
                    call.pieces.append(piece)
            case _:
                pass  # signatures of thoughts, citations
        return LLMDelta()

    def response(self) -> LLMResponse:
        """The answer, once ``whole``."""
        return LLMResponse(
            content=self._gathered.text,
            model=self._model,
            usage=self._usage.whole(),
            finish_reason=self._stop
            or StopReason.STOP,  # it came to its end in good order and gave no reason
            reasoning=self._gathered.reasoning,
            tool_calls=tuple(call.whole() for _, call in sorted(self._calls.items())),
        )


def _checked(found: Any) -> Mapping[str, Any]:
    """It, if it tells of no failure."""
    told = mapping(found, "an answer")
    if told.get("type") != "error":
        return told
    failure = mapping(told.get("error") or {}, "an error")
    kind = str(failure.get("type") or "")
    raise Told(_FAILURES.get(kind, _UNKNOWN_FAILURE), str(failure.get("message") or kind))


def _model(told: Mapping[str, Any], request: LLMRequest) -> str:
    return told["model"] if isinstance(told.get("model"), str) and told["model"] else request.model


def _place(told: Mapping[str, Any]) -> int:
    return found if isinstance(found := told.get("index"), int) else 0


def _stop(found: Any) -> StopReason:
    if found is None or found == "":  # some servers give none
        return StopReason.STOP
    return _STOPS.get(found, StopReason.OTHER) if isinstance(found, str) else StopReason.OTHER


def _takes_temperature(model: str) -> bool:
    """True for the older ones, and for every name that is not of that kind."""
    found = _VERSION_OF_MODEL.match(model.lower())
    return found is None or (int(found["major"]), int(found["minor"] or 0)) < _NO_TEMPERATURE_FROM
