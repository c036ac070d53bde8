"""What a wire format is to the backend that speaks it, and what the two formats share.

Decides the seam between bytes on their way and their meaning, and how text, numbers and pieces are taken
out of JSON that may hold anything. Pure. ``chat`` and ``anthropic`` are the two formats; ``backend`` and
``streaming`` speak them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast, final

from phloem.config import MAX_RESPONSE_BYTES
from phloem.llm.requests import LLMDelta, LLMRequest, LLMResponse

from .failures import Unreadable
from .sse import ServerEvent

__all__ = ["Assembly", "Format", "Gathered", "decoded", "items", "mapping", "number", "text_of", "whole_text"]

_SHOWN: Final = 80  # characters of what was found, in an error


class Assembly(Protocol):
    """One streamed answer, as far as it has come."""

    @property
    def text(self) -> str:
        """All text so far."""
        ...

    @property
    def ended(self) -> bool:
        """The event has come that is the last one."""
        ...

    @property
    def whole(self) -> bool:
        """Nothing is missing, should the stream end here in good order."""
        ...

    def take(self, event: ServerEvent) -> LLMDelta:
        """What is new in that event; may be empty. Raises Unreadable, and Told if it tells of a failure."""
        ...

    def response(self) -> LLMResponse:
        """The answer, once ``whole``."""
        ...


class Format(Protocol):
    """How one kind of provider wants to be asked, and how it answers."""

    @property
    def path(self) -> str:
        """Behind the base address."""
        ...

    def headers(self, key: str) -> Mapping[str, str]:
        """What carries the key (there is one, unless it is empty), and what else must be there."""
        ...

    def body(self, request: LLMRequest, *, stream: bool) -> dict[str, Any]:
        """The request as JSON."""
        ...

    def answer(self, found: Any, request: LLMRequest) -> LLMResponse:
        """A whole answer out of decoded JSON. Raises Unreadable, and Told if it is a failure's."""
        ...

    def assembly(self, request: LLMRequest) -> Assembly:
        """For one answer that comes in pieces."""
        ...


@final
class Gathered:
    """Text and reasoning of one answer as they come, bounded."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._size = 0
        self._half = ""  # the first half of a pair that JSON writes as two

    def add(self, text: str = "", reasoning: str = "") -> LLMDelta:
        """The same, as a piece to hand out. Raises Unreadable once there is too much."""
        text = self._half + text
        self._half = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return self._kept(whole_text(text), whole_text(reasoning))

    def count(self, size: int) -> None:
        """Something else is being kept, of that size. Raises Unreadable once there is too much."""
        self._size += size
        if self._size > MAX_RESPONSE_BYTES:
            raise Unreadable(f"more than {MAX_RESPONSE_BYTES} bytes")

    def _kept(self, text: str, reasoning: str) -> LLMDelta:
        self.count(len(text.encode()) + len(reasoning.encode()))
        if text:
            self._text.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
        return LLMDelta(text, reasoning)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """All of it."""
        return "".join(self._reasoning)


def decoded(body: bytes | str) -> Any:
    """JSON, decoded. Raises Unreadable."""
    try:
        return json.loads(body)
    except RecursionError:
        why = "JSON that is nested too deeply"
    except ValueError as error:  # also bytes that are no text, and numbers of more digits than Python reads
        why = f"invalid JSON ({error})"
    raise Unreadable(f"{why}: {_shown(body)}")  # out here, so that it leads to no other exception


def mapping(found: Any, what: str) -> Mapping[str, Any]:
    """It, if it is a mapping. Raises Unreadable, which names it as ``what``."""
    if not isinstance(found, dict):
        raise Unreadable(f"{what} that is {_kind(found)}, expected an object")
    return cast("Mapping[str, Any]", found)


def items(found: Any, what: str) -> list[Any]:
    """It, if it is a list; none at all for null. Raises Unreadable, which names it as ``what``."""
    if found is None:
        return []
    if not isinstance(found, list):
        raise Unreadable(f"{what} that is {_kind(found)}, expected a list")
    return list(cast("list[object]", found))


def text_of(found: Any, what: str) -> str:
    """Text, or the texts of a list of parts; empty for null. Raises Unreadable, which names it."""
    if found is None:
        return ""
    if isinstance(found, str):
        return found
    if not isinstance(found, list):
        raise Unreadable(f"{what} that is {_kind(found)}, expected text")
    parts = [mapping(each, f"{what} with a part") for each in cast("list[object]", found)]
    return "".join(text_of(each.get("text"), f"{what} with a text") for each in parts)


def number(found: Any) -> int:
    """A count of tokens; 0 where none is told, or nonsense."""
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def whole_text(text: str) -> str:
    """Without halves of pairs, which JSON can write and no encoding can: each becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _kind(found: Any) -> str:
    match found:
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return "text"
        case bool():
            return "true or false"
        case None:
            return "null"
        case _:
            return "a number"


def _shown(body: bytes | str) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}… ({len(text)} characters)"
