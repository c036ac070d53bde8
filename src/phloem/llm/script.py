"""What a script may say: an answer with its delay and its faults, and a rule for whom it is.

Decides which values are answers and what is told of one that is none. Plays nothing. For ``scripted``,
which plays it, and ``script_reading``, which makes it of what stands in organism.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, TypeAlias, TypeGuard, cast, final

from phloem.errors import ConfigurationFault

from .requests import LLMRequest, LLMResponse, StopReason, TokenUsage

__all__ = [
    "Answer",
    "Replying",
    "Rule",
    "Script",
    "Scripted",
    "Words",
    "answer_faults",
    "is_exception",
    "is_function",
    "is_list",
    "rule_faults",
    "script_faults",
    "shown",
    "words_faults",
]

_WORDS: Final = "a text, an LLMResponse, a Scripted or an exception"
_STATUSES: Final = range(400, 600)  # what a provider fails with; anything below is an answer
_RATE_LIMITED: Final = 429
_LONGEST_SHOWN: Final = 60  # characters of a value in a fault: a script holds whole answers
_STOPS: Final = ", ".join(StopReason)


@final
@dataclass(frozen=True, slots=True)
class Scripted:
    """One answer of a script: ``text`` or ``response``, and what befalls it.

    ``delay``: seconds of Trio's clock before it begins; ``math.inf`` never answers. ``chunks``: how it
    streams, as the pieces themselves or as characters a piece; without, it is one piece. ``pause``: seconds
    between two pieces, which a call that does not stream waits as well. ``status``: it fails as a provider
    with that HTTP status, which says ``text``; ``retry_after``: seconds that go with 429. ``cut``: it breaks
    off after so many characters of its text, and at the latest after all of it; ``stall``: there it says no
    more, and does not hang up. ``usage``: what it says it has used; else that is computed from the request
    and the text.
    """

    text: str = ""
    _: KW_ONLY
    response: LLMResponse | None = None
    reasoning: str = ""
    delay: float = 0.0
    pause: float = 0.0
    chunks: Sequence[str] | int | None = None
    status: int | None = None
    retry_after: float | None = None
    cut: int | None = None
    stall: int | None = None
    stop_reason: StopReason = StopReason.STOP
    usage: TokenUsage | None = None


Words: TypeAlias = str | LLMResponse | Scripted | BaseException | type[BaseException]
Replying: TypeAlias = Callable[[LLMRequest], Words | Awaitable[Words]]
Answer: TypeAlias = Words | Replying


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """An answer for requests of a kind. ``answer`` is one, for each such request, or a list taken in order.

    ``when``: a text that stands in the last message, a pattern that is found in it, or a function of the
    request that says yes. ``agent``: whose request it is, in any case. Where both are given, both must hold.
    """

    when: str | re.Pattern[str] | Callable[[LLMRequest], bool] | None = None
    _: KW_ONLY
    answer: Answer | Sequence[Answer]
    agent: str | None = None

    def holds(self, request: LLMRequest) -> bool:
        """True if it is for that request."""
        if self.agent is not None and self.agent.casefold() != request.agent.casefold():
            return False
        last = request.messages[-1].content if request.messages else ""
        match self.when:
            case None:
                return True
            case str(text):
                return text in last
            case re.Pattern() as pattern:
                return pattern.search(last) is not None
            case asks:
                return bool(asks(request))


Script: TypeAlias = Sequence[Answer | Rule] | Replying


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """True for what is meant as a list of answers, be it empty."""
    return isinstance(value, (list, tuple))


def shown(value: object) -> str:
    """A value as a fault quotes it."""
    text = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def script_faults(script: object, where: str) -> Iterator[ConfigurationFault]:
    """All that is wrong with a script; ``where`` names it."""
    if not is_list(script):
        if not is_function(script):
            expected = "a list of answers and rules, or a function of the request"
            yield ConfigurationFault(where, shown(script), expected)
        return
    for index, each in enumerate(script):
        if isinstance(each, Rule):
            yield from rule_faults(each, f"{where}[{index}]")
        else:
            yield from answer_faults(each, f"{where}[{index}]", more=", or a Rule")


def rule_faults(rule: Rule, where: str) -> Iterator[ConfigurationFault]:
    """What is wrong with a rule: whom it is for, and what it answers."""
    yield from _whom_faults(rule, where)
    if not is_list(rule.answer):
        yield from answer_faults(rule.answer, f"{where}.answer")
        return
    if not rule.answer:
        yield ConfigurationFault(f"{where}.answer", "an empty list", "an answer")
    for number, own in enumerate(rule.answer):
        yield from answer_faults(own, f"{where}.answer[{number}]")


def _whom_faults(rule: Rule, where: str) -> Iterator[ConfigurationFault]:
    when, agent = cast("object", rule.when), cast("object", rule.agent)
    if when is None and agent is None:
        yield ConfigurationFault(where, "a rule for everybody", "when or agent: other answers stand alone")
    if not (when is None or isinstance(when, (str, re.Pattern)) or is_function(when)):
        expected = "a text, a pattern or a function of the request"
        yield ConfigurationFault(f"{where}.when", shown(when), expected)
    elif isinstance(when, re.Pattern) and isinstance(cast("Any", when).pattern, bytes):
        yield ConfigurationFault(f"{where}.when", "a pattern of bytes", "a pattern of text")
    if when == "":
        yield ConfigurationFault(f"{where}.when", "an empty text", "a text: the empty one stands in all")
    if not (agent is None or (isinstance(agent, str) and agent)):
        yield ConfigurationFault(f"{where}.agent", shown(agent), "the name of an agent")


def answer_faults(answer: object, where: str, *, more: str = "") -> Iterator[ConfigurationFault]:
    """What is wrong with one answer; ``more`` is what else could stand there."""
    if not is_function(answer):
        yield from words_faults(answer, where, more=f", or a function of the request{more}")


def words_faults(words: object, where: str, *, more: str = "") -> Iterator[ConfigurationFault]:
    """The same of an answer that is no function, as a function must give it."""
    if isinstance(words, Scripted):
        yield from _scripted_faults(words, where)
    elif not (isinstance(words, (str, LLMResponse)) or is_exception(words)):
        yield ConfigurationFault(where, shown(words), _WORDS + more)


def is_exception(answer: object) -> TypeGuard[BaseException | type[BaseException]]:
    """True for an exception, or a class of them."""
    return isinstance(answer, BaseException) or (
        isinstance(answer, type) and issubclass(answer, BaseException)
    )


def is_function(value: object) -> TypeGuard[Replying]:
    """A class can be called as well, and what comes of it is no answer: mostly it is a slip."""
    return callable(value) and not isinstance(value, type)


def _scripted_faults(scripted: Scripted, where: str) -> Iterator[ConfigurationFault]:
    def fault(key: str, found: str, expected: str) -> ConfigurationFault:
        return ConfigurationFault(f"{where}.{key}", found, expected)

    given: Mapping[str, object] = {
        name: getattr(scripted, name) for name in Scripted.__dataclass_fields__ if name != "_"
    }
    for key in ("text", "reasoning"):
        if not isinstance(given[key], str):
            yield fault(key, shown(given[key]), "a text")
    response = given["response"]
    if response is not None and not isinstance(response, LLMResponse):
        yield fault("response", shown(response), "an LLMResponse")
    elif response is not None:
        beside = [
            key
            for key, usual in (("text", ""), ("reasoning", ""), ("status", None), ("usage", None))
            if given[key] != usual
        ]
        if given["stop_reason"] != StopReason.STOP:
            beside.append("stop_reason")
        if beside:
            yield fault("response", f"{', '.join(beside)} beside it", "either; a response is whole")
    for key in ("delay", "pause"):
        if not _is_seconds(given[key]):
            yield fault(key, shown(given[key]), "seconds, a number from 0 on")
    if not (given["retry_after"] is None or _is_seconds(given["retry_after"])):
        yield fault("retry_after", shown(given["retry_after"]), "seconds, a number from 0 on")
    status = given["status"]
    if status is not None and not (_is_whole(status) and status in _STATUSES):
        yield fault("status", shown(status), "a status of failure, 400 to 599")
    if given["retry_after"] is not None and status != _RATE_LIMITED:
        yield fault("retry_after", "no status 429", "status: 429, which it goes with")
    for key in ("cut", "stall"):
        if not (given[key] is None or _is_natural(given[key])):
            yield fault(key, shown(given[key]), "a whole number of characters, at least 0")
    if given["cut"] is not None and given["stall"] is not None:
        yield fault("stall", "a cut beside it", "one of them: the first would be the end")
    if given["stop_reason"] not in list(StopReason):
        yield fault("stop_reason", shown(given["stop_reason"]), f"one of {_STOPS}")
    yield from _chunk_faults(scripted, f"{where}.chunks")
    yield from _usage_faults(given["usage"], f"{where}.usage")


def _chunk_faults(scripted: Scripted, where: str) -> Iterator[ConfigurationFault]:
    chunks = cast("object", scripted.chunks)
    if chunks is None:
        return
    if not is_list(chunks):
        if not (_is_whole(chunks) and chunks >= 1):
            yield ConfigurationFault(where, shown(chunks), "a list of pieces, or characters a piece")
        return
    wrong = next((each for each in chunks if not isinstance(each, str)), None)
    if wrong is not None:
        yield ConfigurationFault(where, shown(wrong), "a list of texts")
        return
    whole, told = "".join(cast("Sequence[str]", chunks)), scripted.text
    if isinstance(cast("object", scripted.response), LLMResponse):
        told = cast("LLMResponse", scripted.response).content
    elif not told:
        return  # the pieces are the text
    if whole != told:
        yield ConfigurationFault(where, shown(whole), f"pieces of {shown(told)}")


def _usage_faults(usage: object, where: str) -> Iterator[ConfigurationFault]:
    if usage is None:
        return
    if not isinstance(usage, TokenUsage):
        yield ConfigurationFault(where, shown(usage), "a TokenUsage")
        return
    for name in TokenUsage.__dataclass_fields__:
        tokens = getattr(usage, name)
        if not _is_natural(tokens):
            yield ConfigurationFault(f"{where}.{name}", shown(tokens), "a whole number of tokens, at least 0")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_natural(value: object) -> bool:
    return _is_whole(value) and value >= 0


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
