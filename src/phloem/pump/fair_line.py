"""Lines of tasks that are fair between the sources they come from.

Decides who is next: urgent sources first, then each source in turn with whoever of it waits
longest, so that a flooding one delays another by at most one task. Hands over to tasks that wait,
and holds nothing itself, so nothing is lost on the way. Knows nothing of seats and documents. The
intake alone calls it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar, final

import trio

from .origin import Origin

__all__ = ["FairGate", "FairLine"]

T = TypeVar("T")


@final
class FairLine(Generic[T]):
    """Where tasks wait to be given something."""

    def __init__(self) -> None:
        # A channel for each source that has ever waited, until it is closed: tasks of one stand in it.
        self._ways: dict[Origin | None, tuple[trio.MemorySendChannel[T], trio.MemoryReceiveChannel[T]]] = {}
        # Whose turn it is, first to last. Who has given up may still stand here: ``_next`` looks.
        self._urgent: OrderedDict[Origin | None, None] = OrderedDict()
        self._others: OrderedDict[Origin | None, None] = OrderedDict()
        self._closed = False

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(self.waiting, self._ways))

    def __bool__(self) -> bool:
        return self._next() is not None

    def waiting(self, origin: Origin | None) -> int:
        """How many of that source wait."""
        way = self._ways.get(origin)
        return 0 if way is None else way[1].statistics().tasks_waiting_receive

    async def wait(self, origin: Origin | None) -> T:
        """Until it is given something. Checkpoint. Cancelled means: it was given nothing.

        Raises ClosedResourceError once the line or the source is closed.
        """
        if self._closed or (origin is not None and origin.closed):
            raise trio.ClosedResourceError
        if origin not in self._ways:
            self._ways[origin] = trio.open_memory_channel[T](0)
        receive = self._ways[origin][1]
        turns = self._turns(origin)
        turns.setdefault(origin)
        try:
            return await receive.receive()
        finally:
            if not receive.statistics().tasks_waiting_receive:
                turns.pop(origin, None)

    def serve(self, value: T) -> bool:
        """Give it to the next who waits; False if nobody does."""
        turns = self._next()
        if turns is None:
            return False
        origin, _ = turns.popitem(last=False)
        self._ways[origin][0].send_nowait(value)
        if self.waiting(origin):
            turns[origin] = None  # it has had its turn: it stands last
        return True

    def forget(self, origin: Origin) -> None:
        """The source is closed: who waits there is told so."""
        self._turns(origin).pop(origin, None)
        if (way := self._ways.pop(origin, None)) is not None:
            self._shut(way)

    def close(self) -> None:
        """Nobody is given anything any more; who waits is told so."""
        self._closed = True
        self._urgent.clear()
        self._others.clear()
        for way in self._ways.values():
            self._shut(way)

    def _shut(self, way: tuple[trio.MemorySendChannel[T], trio.MemoryReceiveChannel[T]]) -> None:
        # Who waits is told by the end he waits at; by the other, closed first, he would hear of an end.
        way[1].close()
        way[0].close()

    def _turns(self, origin: Origin | None) -> OrderedDict[Origin | None, None]:
        return self._urgent if origin is not None and origin.urgent else self._others

    def _next(self) -> OrderedDict[Origin | None, None] | None:
        """The turns whose first has somebody waiting; those who have given up are taken out."""
        for turns in (self._urgent, self._others):
            while turns:
                if self.waiting(next(iter(turns))):
                    return turns
                turns.popitem(last=False)
        return None


@final
class FairGate:
    """One task at a time may stand in it; the others wait in a fair line."""

    def __init__(self) -> None:
        self._line = FairLine[None]()
        self.held = False

    async def enter(self, origin: Origin | None) -> None:
        """Stand in it. A checkpoint only if it waits. Cancelled means: it does not stand there.

        Raises ClosedResourceError once the source is closed.
        """
        if self.held:
            await self._line.wait(origin)  # whoever leaves hands it over: it stays held
        self.held = True

    def leave(self) -> None:
        """Let the next in."""
        self.held = self._line.serve(None)

    def forget(self, origin: Origin) -> None:
        """The source is closed: who waits there is told so."""
        self._line.forget(origin)
