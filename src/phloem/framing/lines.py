"""Cuts a byte stream into lines of bounded length. Pure: reads nothing, decodes nothing.

Decides what a line is: it ends with LF (CR LF too), the last one may lack it, blank ones
only count. A line over the limit becomes ``Unreadable`` and is never held. For
whoever reads a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from phloem.config import MAX_STRANGER_BYTES
from phloem.messages import Fault, HuhCode

__all__ = ["MAX_LINE", "LineSplitter", "Piece", "Unreadable"]

MAX_LINE: Final = 2 * MAX_STRANGER_BYTES  # the wire's limit, and as much again for JSON's escapes


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """One message's bytes. ``number`` counts XML messages or lines from 1; it begins at ``line``."""

    number: int
    line: int
    content: bytes


@final
@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stretch of input that holds no message, and why."""

    number: int
    line: int
    fault: Fault


@final
class LineSplitter:
    """``feed`` chunks as they come, ``finish`` once. Holds at most one line.

    White space around a line is not its content, unless ``exact``: then only the CR of a CR LF is not.
    """

    def __init__(self, max_line: int = MAX_LINE, *, exact: bool = False) -> None:
        self._max_line, self._exact = max_line, exact
        self._number = 0
        self._parts: list[bytes] = []  # the line so far; joined once, so a long line costs no squares
        self._held = 0
        self._dropped = 0  # bytes of an over-long line that were let go

    def feed(self, chunk: bytes) -> Iterator[Piece | Unreadable]:
        """The messages that this chunk completes. Exhaust it before feeding again."""
        *whole, rest = chunk.split(b"\n")
        for end in whole:
            self._take(end)
            yield from self._line()
        self._take(rest)

    def finish(self) -> Iterator[Piece | Unreadable]:
        """The last line, if it lacked its end."""
        if self._held or self._dropped:
            yield from self._line()

    def _take(self, part: bytes) -> None:
        if self._dropped or self._held + len(part) > self._max_line:
            self._dropped += self._held + len(part)
            self._parts, self._held = [], 0
        elif part:
            self._parts.append(part)
            self._held += len(part)

    def _line(self) -> Iterator[Piece | Unreadable]:
        self._number += 1
        line, dropped = b"".join(self._parts), self._dropped
        self._parts, self._held, self._dropped = [], 0, 0
        if dropped:
            fault = Fault(
                HuhCode.TOO_LARGE,
                f"line {self._number}",
                f"a line of {dropped:,} bytes",
                f"at most {self._max_line:,}",
            )
            yield Unreadable(self._number, self._number, fault)
        elif bare := line.strip(b" \t\r"):
            content = line.removesuffix(b"\r") if self._exact else bare
            yield Piece(self._number, self._number, content)
