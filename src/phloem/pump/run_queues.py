"""Whose turn it is over all sources: urgent ones first, then each in turn, then fair within it.

Decides which source goes next; which of its deliveries does is its own ``RunQueue``'s to say.
While only one source has anything waiting, which is nearly always, that one's queue is asked and
no more. Else a ticket for each (source, line) with something in it stands in a run queue of
tickets, with sources in the place of conversations: whoever waits for a busy listener so keeps its
place there, whatever turns it has elsewhere. Pure. The pump alone calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar, final

from phloem.memory.threads import Thread

from .origin import Origin
from .run_queue import Queued, RunQueue

__all__ = ["RunQueues"]

_SEVERAL: Final = object()  # in the place of the one source that has something waiting

D = TypeVar("D", bound=Queued)


@final
class _Ticket:
    """That a source has something waiting in a line."""

    __slots__ = ("conversation", "line", "order", "thread")

    def __init__(self, source: Origin | None, line: Any) -> None:
        self.conversation: Any = source
        self.line = line
        self.order = 0
        self.thread = Thread("", "", None, 0, lasting=False)
        self.thread.occupant = self  # it stands for itself, and nothing is behind it


@final
class RunQueues(Generic[D]):
    """The deliveries that could run now, were there room; as a ``RunQueue``, over all sources."""

    def __init__(self, *, depth_first: bool) -> None:
        self._depth_first: Final = depth_first
        # Of the one source that has something waiting (of the last one, if none has); it may be None.
        self._source: Any = None
        self._queue: RunQueue[D] = RunQueue(depth_first=depth_first)
        # Those of several that have: then ``_source`` is _SEVERAL. Empty, or two and more.
        self._several: dict[Origin | None, RunQueue[D]] = {}
        self._tickets: dict[Origin | None, dict[Any, _Ticket]] = {}
        self._urgent: RunQueue[_Ticket] = RunQueue(depth_first=False)
        self._others: RunQueue[_Ticket] = RunQueue(depth_first=False)

    def __len__(self) -> int:
        """How many wait here, those in their threads' lines not counted."""
        return sum(map(len, self._several.values())) if self._several else len(self._queue)

    def put(self, deliveries: Sequence[D]) -> None:
        """Take what one dispatch (or one stranger) sent, in the order it was sent."""
        if not deliveries:
            return
        source: Origin | None = deliveries[0].conversation.source
        if source is self._source:
            self._queue.put(deliveries)
            return
        queue = self._queue_of(source)
        queue.put(deliveries)
        self._note(source, queue, [delivery.line for delivery in deliveries])

    def again(self, delivery: D) -> None:
        """Take back one that ran and is to run again; its thread stayed its own meanwhile."""
        source: Origin | None = delivery.conversation.source
        queue = self._queue_of(source)
        queue.again(delivery)
        self._note(source, queue, [delivery.line])

    def release(self, thread: Thread) -> None:
        """The thread's delivery has ended: the next in its line comes forward."""
        if not thread.line:
            self._queue.release(thread)  # none comes forward, so it is the same whose queue is asked
            return
        following: D = next(iter(thread.line))
        source: Origin | None = following.conversation.source
        queue = self._queue_of(source)
        queue.release(thread)
        self._note(source, queue, [following.line])

    def discard(self, delivery: D) -> None:
        """One that waits has ended: it stands in no line any more. Whoever calls releases its thread."""
        source: Origin | None = delivery.conversation.source
        queue = self._queue_of(source)
        queue.discard(delivery)
        self._note(source, queue, [delivery.line])

    def take(self, has_room: Callable[[Any], bool]) -> D | None:
        """The next delivery among lines that have room, or None. It leaves the queue."""
        if self._source is not _SEVERAL:
            return self._queue.take(has_room)
        for turns in (self._urgent, self._others):
            ticket = turns.take(has_room)
            if ticket is not None:
                source: Origin | None = ticket.conversation
                queue = self._several[source]
                turns.again(ticket)  # last in its line; if nothing is left there, it goes below
                delivery = queue.take(has_room)
                assert delivery is not None  # its ticket stood in a line that has room
                self._note(source, queue, [delivery.line])
                return delivery
        return None

    def _queue_of(self, source: Origin | None) -> RunQueue[D]:
        """The source's own queue, for something to enter or to leave it. ``_note`` it afterwards."""
        if source is self._source:
            return self._queue
        if not self._several:
            if not self._queue:
                self._source = source  # the others have nothing, so the queue is anybody's
                return self._queue
            first, self._source = self._source, _SEVERAL
            self._several[first] = self._queue
            self._note(first, self._queue, self._queue.lines())
        queue = self._several.get(source)
        if queue is None:
            queue = self._several[source] = RunQueue(depth_first=self._depth_first)
        return queue

    def _note(self, source: Origin | None, queue: RunQueue[D], lines: Iterable[Any]) -> None:
        """Give the source a ticket for each of the lines in which it has something, and none for others."""
        if self._source is not _SEVERAL:
            return
        turns = self._turns(source)
        tickets = self._tickets.setdefault(source, {})
        for line in lines:
            ticket = tickets.get(line)
            if not queue.waits_in(line):
                if ticket is not None:
                    turns.discard(tickets.pop(line))
            elif ticket is None:
                ticket = tickets[line] = _Ticket(source, line)
                turns.again(ticket)
        if not queue:
            del self._several[source], self._tickets[source]
            if len(self._several) == 1:
                self._be_alone()

    def _be_alone(self) -> None:
        """One source is left that has something: no tickets any more."""
        ((self._source, self._queue),) = self._several.items()
        for ticket in self._tickets[self._source].values():
            self._turns(self._source).discard(ticket)
        self._several.clear()
        self._tickets.clear()

    def _turns(self, source: Origin | None) -> RunQueue[_Ticket]:
        return self._urgent if source is not None and source.urgent else self._others
