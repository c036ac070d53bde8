"""Who waits for budget that other calls of the same conversation may give back, and whose turn it is.

Decides the order: first come, first served, for each conversation by itself. Whoever tries says whether
what he wants fits; nothing is counted here but the calls under way. Nobody polls: an attempt is made when
somebody leaves, and when a call has ended. Whoever holds one call open (a stream) and makes another never
waits: the first cannot end meanwhile, so he would wait for himself, or two would for each other. For
``calls``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar, final

import trio

__all__ = ["Lines"]

_Got = TypeVar("_Got")


@final
class _Line:
    """One conversation's: those who wait, and whose calls are under way."""

    __slots__ = ("holders", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[trio.Event] = deque()
        self.holders: list[object] = []


@final
class Lines:
    """The lines of one organism; a conversation in which no call is under way has none."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    @property
    def waiting(self) -> int:
        """How many calls wait, in all conversations."""
        return sum(len(line.waiting) for line in self._lines.values())

    def may_wait(self, conversation: str, holder: object) -> bool:
        """Whether calls of others are under way, which may give something back, and none of his own."""
        line = self._lines.get(conversation)
        return line is not None and bool(line.holders) and holder not in line.holders

    async def enter(self, conversation: str, holder: object, attempt: Callable[[], _Got | None]) -> _Got:
        """What ``attempt`` gives once it gives something, after those who came before have had theirs.

        It must give something, or raise, unless he ``may_wait``. ``holder`` is whose call it is: the task
        that makes it. Followed by ``leave``. Not a checkpoint unless it waits. Cancelled means: nothing was
        entered.
        """
        line = self._lines.setdefault(conversation, _Line())
        place = trio.Event()
        line.waiting.append(place)
        try:
            while self._is_behind(line, place, holder) or (got := attempt()) is None:
                place = await self._called(line, place)
            line.holders.append(holder)
            return got
        finally:
            line.waiting.remove(place)
            self._next(conversation, line)

    def leave(self, conversation: str, holder: object) -> None:
        """A call of his has ended, and has given back what it did not use."""
        line = self._lines[conversation]
        line.holders.remove(holder)
        self._next(conversation, line)

    def _is_behind(self, line: _Line, place: trio.Event, holder: object) -> bool:
        return line.waiting[0] is not place and holder not in line.holders

    async def _called(self, line: _Line, place: trio.Event) -> trio.Event:
        """Wait to be called; the event that stands in the same place for the next time."""
        await place.wait()
        again = trio.Event()
        line.waiting[line.waiting.index(place)] = again
        return again

    def _next(self, conversation: str, line: _Line) -> None:
        """Whoever is first may try."""
        if line.waiting:
            line.waiting[0].set()
        elif not line.holders:
            self._lines.pop(conversation, None)
