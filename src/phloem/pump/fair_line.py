"""Lines of tasks that are fair between the sources they come from.

Decides who is next: urgent sources first, then of the source whose last turn is longest ago whoever of
it waits longest. So a flooding one delays another by at most one task, and who rarely comes does not
stand behind its crowd. Hands over to tasks that wait, and holds nothing itself, so nothing is lost on
the way. Knows nothing of seats and documents. The intake alone calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar, final

import trio

from .origin import Origin, born

__all__ = ["FairGate", "FairLine"]

T = TypeVar("T")


@final
class FairLine(Generic[T]):
    """Where tasks wait to be given something. ``count`` counts turns, and is the same for all lines."""

    def __init__(self, count: Iterator[int]) -> None:
        self._count = count
        # A channel for each source that has ever waited, until it is closed: tasks of one stand in it.
        self._ways: dict[Origin | None, tuple[trio.MemorySendChannel[T], trio.MemoryReceiveChannel[T]]] = {}
        self._turns: dict[Origin | None, int] = {}  # when each had its last turn
        # Heaps of (its last turn, how manieth, source): those that wait, and some that have given up.
        self._urgent: list[tuple[int, int, Origin | None]] = []
        self._others: list[tuple[int, int, Origin | None]] = []
        self._standing: set[Origin | None] = set()  # those in the heaps; asked, never walked through
        self._length = 0  # asked for whenever somebody comes, so not counted then over all sources
        self._closed = False

    def __len__(self) -> int:
        """How many wait; who has just given up is one of them until his task has run."""
        return self._length

    def __bool__(self) -> bool:
        return self._next() is not None

    def waiting(self, origin: Origin | None) -> int:
        """How many of that source wait."""
        way = self._ways.get(origin)
        return 0 if way is None else way[1].statistics().tasks_waiting_receive

    def took(self, origin: Origin | None) -> None:
        """One of that source has found what it wants without waiting: that was a turn too."""
        self._turns[origin] = next(self._count)

    def refuses(self, origin: Origin | None) -> bool:
        """True once nobody of that source is given anything any more."""
        return self._closed or (origin is not None and origin.closed)

    async def wait(self, origin: Origin | None) -> T:
        """Until it is given something. Checkpoint. Cancelled means: it was given nothing.

        Raises ClosedResourceError once the line or the source is closed.
        """
        if self.refuses(origin):
            raise trio.ClosedResourceError
        if origin not in self._ways:
            self._ways[origin] = trio.open_memory_channel[T](0)
        if origin not in self._standing:
            self._stand(origin)
        self._length += 1
        try:
            return await self._ways[origin][1].receive()
        except BaseException:
            self._length -= 1
            raise

    def serve(self, value: T) -> bool:
        """Give it to the next who waits; False if nobody does."""
        heap = self._next()
        if heap is None:
            return False
        _, _, origin = heappop(heap)
        self._standing.discard(origin)
        self._ways[origin][0].send_nowait(value)
        self._length -= 1
        self.took(origin)
        if self.waiting(origin):
            self._stand(origin)
        return True

    def forget(self, origin: Origin) -> None:
        """The source is closed: who waits there is told so."""
        self._turns.pop(origin, None)
        if (way := self._ways.pop(origin, None)) is not None:
            self._shut(way)

    def close(self) -> None:
        """Nobody is given anything any more; who waits is told so."""
        self._closed = True
        for way in self._ways.values():
            self._shut(way)

    def _shut(self, way: tuple[trio.MemorySendChannel[T], trio.MemoryReceiveChannel[T]]) -> None:
        # Who waits is told by the end he waits at; by the other, closed first, he would hear of an end.
        way[1].close()
        way[0].close()

    def _stand(self, origin: Origin | None) -> None:
        self._standing.add(origin)
        heap = self._urgent if origin is not None and origin.urgent else self._others
        heappush(heap, (self._turns.get(origin, born(origin)), next(self._count), origin))

    def _next(self) -> list[tuple[int, int, Origin | None]] | None:
        """The heap whose first has somebody waiting; those who have given up are taken out."""
        for heap in (self._urgent, self._others):
            while heap:
                if self.waiting(heap[0][2]):
                    return heap
                self._standing.discard(heappop(heap)[2])
        return None


@final
class FairGate:
    """So many tasks at a time may stand in it; the others wait in a fair line."""

    def __init__(self, count: Iterator[int], places: int = 1) -> None:
        self._line = FairLine[None](count)
        self._places = self._free = places
        self._told = trio.Event()

    @property
    def held(self) -> bool:
        """True while nobody else may stand in it."""
        return not self._free

    @property
    def taken(self) -> int:
        """How many stand in it."""
        return self._places - self._free

    def waiting(self, origin: Origin | None) -> int:
        """How many of that source wait to be let in."""
        return self._line.waiting(origin)

    async def enter(self, origin: Origin | None) -> None:
        """Stand in it. A checkpoint only if it waits. Cancelled means: it does not stand there.

        Raises ClosedResourceError if it, or the source, is closed, also meanwhile.
        """
        try:
            self.enter_nowait(origin)
        except trio.WouldBlock:
            await self._line.wait(origin)  # whoever leaves hands his place over: it stays taken

    def enter_nowait(self, origin: Origin | None) -> None:
        """Stand in it. Raises WouldBlock if there is no place, and ClosedResourceError as ``enter``."""
        if self._line.refuses(origin):
            raise trio.ClosedResourceError
        if not self._free:
            raise trio.WouldBlock
        self._free -= 1
        self._line.took(origin)

    async def stand_until(self, when: float, origin: Origin | None) -> bool:
        """Whoever stands in it sleeps; True if it was until then, and not cut short by a closing.

        Checkpoint.
        """
        with trio.CancelScope(deadline=when):
            while not self._line.refuses(origin):
                if self._told.is_set():
                    self._told = trio.Event()
                await self._told.wait()
        return not self._line.refuses(origin)

    def leave(self) -> None:
        """Let the next in."""
        if not self._line.serve(None):
            self._free += 1

    def forget(self, origin: Origin) -> None:
        """The source is closed: who waits or sleeps there is told so."""
        self._line.forget(origin)
        self._told.set()

    def close(self) -> None:
        """Who waits or sleeps is told so; whoever stands in it leaves by himself."""
        self._line.close()
        self._told.set()
