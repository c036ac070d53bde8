"""Streams: events of a bus as an async iterator, with a buffer of their own.

Decides what a full buffer does (one policy a stream), where a reader is told how many events
it has lost, and how the past joins the present. Filled in the sync stretch of a commit.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from enum import StrEnum
from inspect import CORO_CLOSED, getcoroutinestate
from typing import Any, final

import trio

from phloem.errors import StreamOverflowed
from phloem.guarding import uninterrupted

from .room import Room
from .routes import Filters
from .tasks import Waiter, Worker
from .types import AgentEvent, HistoryGap, Lagged

__all__ = ["EventStream", "Overflow"]

# A task; if it runs handlers, its worker and how many it had run: the next handler is another reader.
Reader = tuple[trio.lowlevel.Task, Worker | None, int]


class Overflow(StrEnum):
    """What a full buffer does with one event more."""

    BLOCK = "block"  # publish waits for room; emit drops the oldest
    DROP_OLDEST = "drop_oldest"
    COALESCE = "coalesce"  # a newer event replaces a waiting one of its type, stream, node and execution
    LATEST = "latest"  # all that waits gives way to the newest
    ERROR = "error"  # the reader gets what waits, then StreamOverflowed
    CLOSE = "close"  # the reader gets what waits, Lagged, and the end


@final
class EventStream:
    """What ``open_stream`` hands out. ``received + lost`` is what was published to it.

    Several tasks may read it; each item goes to one of them.
    """

    def __init__(
        self,
        id: str,
        filters: Filters,
        limit: int,
        overflow: Overflow,
        past: Iterable[AgentEvent | HistoryGap],
        room: Room,
    ) -> None:
        self.id, self.filters, self.limit, self.overflow = id, filters, limit, overflow
        self.once = False
        self._room = room
        self.line: list[Waiter] = []
        self.received = 0
        self.lost = 0  # events, over all its life
        self._seen: dict[Reader, None] = {}  # who has read it
        opener = self._reader()
        self._opener = None if opener[1] is None else opener  # a handler itself
        self._nurseries = len(opener[0].child_nurseries)
        self._untold = 0  # of those lost, how many the reader has not been told of
        self._past: deque[AgentEvent | HistoryGap] = deque(past)
        self._buffer: OrderedDict[Any, AgentEvent] = OrderedDict()  # by seq; to coalesce, by what is the same
        self._coalesces = overflow is Overflow.COALESCE
        self._ends_full = overflow in (Overflow.ERROR, Overflow.CLOSE)
        self._burst = False  # has overflown, and ends with it
        self._ended = False
        self._readers = trio.lowlevel.ParkingLot()

    # -- the bus's side -------------------------------------------------------------------------

    @property
    def binds(self) -> bool:
        """True if a publish waits for room here."""
        return self.overflow is Overflow.BLOCK

    @property
    def waiting(self) -> int:
        """Events that nobody has read."""
        return len(self._buffer)

    @property
    def readers(self) -> tuple[trio.lowlevel.Task, ...]:
        """The living tasks that have read it: nobody else is known to make room.

        Before anybody has, the handler that opened it, unless it may have given it to a child.
        """
        opener = self._opener
        if opener and not self._seen and len(opener[0].child_nurseries) == self._nurseries:
            return (opener[0],)
        return tuple(reader[0] for reader in self._living())

    def _reader(self) -> Reader:
        task = trio.lowlevel.current_task()
        worker = self._room.pool.own(task)
        return (task, worker, 0 if worker is None else worker.runs)

    def _living(self) -> dict[Reader, None]:
        return {reader: None for reader in self._seen if _lives(*reader)}

    def comes_free(self, goes_on: Callable[[Any], bool]) -> bool:
        """Handlers do not empty it."""
        return True

    def put(self, event: AgentEvent, tracker: object, *, drops: bool) -> None:
        """Take it, or lose something as its policy says. ``drops`` False: it has been waited for."""
        if self._ended:
            return
        buffer = self._buffer
        key: object = event.seq
        if self._coalesces:
            key = (event.type, event.stream_id, event.node_id, event.execution_id)
            if buffer.pop(key, None) is not None:
                self._lose(1)
        if self._burst or (self._ends_full and len(buffer) >= self.limit):
            self._burst = True
            self._lose(1)
        else:
            if len(buffer) >= self.limit and (drops or not self.binds):
                self._make_room()
            buffer[key] = event
        if self._readers:
            self._readers.unpark()

    @uninterrupted
    def end(self) -> None:
        """Nothing comes any more; what waits may still be read."""
        if not self._ended:
            self._ended = True
            self._room.look_again(self)
            self._readers.unpark_all()

    def _make_room(self) -> None:
        if self.overflow is Overflow.LATEST:
            self._lose(len(self._buffer))
            self._buffer.clear()
        else:
            self._buffer.popitem(last=False)
            self._lose(1)

    def _lose(self, count: int) -> None:
        self.lost += count
        self._untold += count

    # -- the reader's side ----------------------------------------------------------------------

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> AgentEvent | Lagged | HistoryGap:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def receive(self) -> AgentEvent | Lagged | HistoryGap:
        """The next event, or how many were lost before it. Checkpoint. Cancelled means: nothing was taken.

        Raises trio.EndOfChannel after the last one, StreamOverflowed (once) if its policy is ``error``.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if (reader := self._reader()) not in self._seen:
            self._seen = {**self._living(), reader: None}
        while True:
            try:
                item = self.receive_nowait()
            except trio.WouldBlock:
                try:
                    await self._room.aside(self._readers.park)
                except BaseException:
                    if self._buffer or self._untold:  # what it was woken for is the next one's
                        self._readers.unpark()
                    raise
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return item

    @uninterrupted
    def receive_nowait(self) -> AgentEvent | Lagged | HistoryGap:
        """As ``receive``, but raises trio.WouldBlock if there is nothing yet. Never a checkpoint."""
        if self._past:
            return self._took(self._past.popleft())
        if self._untold and not self._burst:
            return self._tell()
        if self._buffer:
            _, event = self._buffer.popitem(last=False)
            if self.line:
                self._room.freed(self)
            return self._took(event)
        if self._untold:
            told = self._tell()
            self.end()
            if self.overflow is Overflow.ERROR:
                raise StreamOverflowed(told.count)
            return told
        if self._ended:
            raise trio.EndOfChannel
        raise trio.WouldBlock

    def statistics(self) -> dict[str, int]:
        """``received``, ``lost`` and ``waiting`` (in the buffer)."""
        return {"received": self.received, "lost": self.lost, "waiting": len(self._buffer)}

    def _tell(self) -> Lagged:
        told, self._untold = Lagged(self._untold), 0
        return told

    def _took(self, item: AgentEvent | HistoryGap) -> AgentEvent | HistoryGap:
        if isinstance(item, AgentEvent):
            self.received += 1
        return item


def _lives(task: trio.lowlevel.Task, worker: Worker | None, runs: int) -> bool:
    """True while the task has not ended and, if it runs handlers, has not gone on to another."""
    if worker is not None and worker.runs != runs:
        return False
    return getcoroutinestate(task.coro) != CORO_CLOSED
