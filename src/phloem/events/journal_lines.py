"""One line of a journal: an event, a count of lost ones, or a hole in history, as one JSON object.

Decides how each is put down and what a line may hold. Pure: knows no file and no clock.
Called by ``journal_files``, which writes lines, and by ``replaying``, which reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from phloem.errors import InvalidEvent

from .types import AgentEvent, HistoryGap, Lagged

__all__ = ["TORN", "Item", "encoded", "is_whole", "line_of", "parsed", "quoted"]

Item = AgentEvent | Lagged | HistoryGap

# What a crash left of a line ends with this once a journal goes on behind it. The character says
# "disregard what came before", and no line of ours can hold it: JSON writes it as six others.
TORN: Final = b"\x18\n"
LONGEST_QUOTE: Final = 60  # characters of a bad line that an error shows

# Plain ASCII: the file reads the same whatever a reader takes its encoding to be.
_ENCODE: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def encoded(item: Item) -> bytes:
    """One line with its end."""
    match item:
        case Lagged(count):
            found: dict[str, Any] = {"lagged": count}
        case HistoryGap(since, until):
            found = {"gap": [since, until]}
        case _:
            found = item.to_dict()
    return _ENCODE(found).encode("ascii") + b"\n"


def line_of(text: bytes) -> Item:
    """What ``encoded`` put down. ValueError says what was found, and what was expected."""
    expected = "an event as one JSON object"
    found = parsed(text)
    if not isinstance(found, Mapping):
        raise ValueError(f"found {quoted(text)}, expected {expected}")
    match dict(cast("Mapping[str, Any]", found)):
        case {"lagged": lost, **rest} if not rest:
            if not _is_count(lost) or lost == 0:
                raise ValueError(f"found {quoted(text)}, expected how many events were lost, 1 or more")
            return Lagged(lost)
        case {"gap": [since, until], **rest} if not rest and _is_count(since) and _is_count(until):
            return HistoryGap(since, until)
        case {"gap": _, **rest} if not rest:
            raise ValueError(f"found {quoted(text)}, expected two numbers of events in the gap")
        case known:
            try:
                return AgentEvent.from_dict(known)
            except InvalidEvent as error:
                raise ValueError(f"found {quoted(text)}, expected {expected} ({error})") from error


def is_whole(text: bytes) -> bool:
    """A line without its end that lacks nothing else: no beginning of a JSON object is one itself."""
    return isinstance(parsed(text), Mapping)


def parsed(text: bytes) -> object:
    """What JSON makes of it; None if it makes nothing."""
    try:
        return json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):  # no UTF-8, no JSON, a number of too many digits, too deep
        return None


def quoted(text: bytes) -> str:
    """The beginning of a line in quotes, all of it printable."""
    shown = text[: 4 * LONGEST_QUOTE].decode("utf-8", "backslashreplace").rstrip("\n")
    return ascii(shown if len(shown) <= LONGEST_QUOTE else shown[: LONGEST_QUOTE - 1] + "…")


def _is_count(found: object) -> bool:
    return type(found) is int and found >= 0
