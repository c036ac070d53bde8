"""Whose turn it is over all sources: urgent ones first, then whose last turn is longest ago.

Decides which source goes next; which of its deliveries does is its own ``RunQueue``'s to say. While
only one source has anything waiting, which is nearly always, that one's queue is asked and no more.
Else each line has a heap of the sources that wait there, by their last turn in it: whoever waits for a
busy listener so keeps its place there, whatever turns it has elsewhere, and one that floods the queue
delays another by at most one message. Pure. The pump alone calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count as counting
from typing import Any, Final, Generic, TypeVar, final

from phloem.memory.threads import Thread

from .origin import Origin, born
from .run_queue import Queued, RunQueue

__all__ = ["RunQueues"]

_SEVERAL: Final = object()  # in the place of the one source that has something waiting

D = TypeVar("D", bound=Queued)
_Entry = tuple[int, int, Any]  # (a source's last turn in this line, how manieth entry, the source)


@final
class RunQueues(Generic[D]):
    """The deliveries that could run now, were there room; as a ``RunQueue``, over all sources.

    ``count`` counts turns.
    """

    def __init__(self, *, depth_first: bool, count: Iterator[int] | None = None) -> None:
        self._depth_first: Final = depth_first
        self._count: Final = counting(1) if count is None else count
        self._strangers: dict[Any, int] = {}  # the last turns of those without a source
        # Of the one source that has something waiting (of the last one, if none has); it may be None.
        self._source: Any = None
        self._queue: RunQueue[D] = RunQueue(depth_first=depth_first)
        self._last = self._strangers
        # Those of several that have: then ``_source`` is _SEVERAL. Empty, or two and more.
        self._several: dict[Origin | None, RunQueue[D]] = {}
        self._urgent: dict[Any, list[_Entry]] = {}  # line -> heap; of some entries the time is over
        self._others: dict[Any, list[_Entry]] = {}
        self._entered: dict[Origin | None, dict[Any, int]] = {}  # the turns that newest entries name

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

    def gathered(self, thread: Thread) -> None:
        """Nothing below the thread is in flight any more: what it holds comes forward."""
        if thread.held:
            delivery: D = thread.occupant
            source: Origin | None = delivery.conversation.source
            queue = self._queue_of(source)
            queue.gathered(thread)
            self._note(source, queue, [delivery.line])

    def discard(self, delivery: D) -> None:
        """One that waits has ended: it stands in no line any more. Whoever calls releases its thread."""
        source: Origin | None = delivery.conversation.source
        queue = self._queue_of(source)
        queue.discard(delivery)
        self._note(source, queue, [delivery.line])

    def take(self, has_room: Callable[[Any], bool]) -> D | None:
        """The next delivery among lines that have room, or None. It leaves the queue."""
        if self._source is _SEVERAL:
            return self._take_of_several(has_room)
        delivery = self._queue.take(has_room)
        if delivery is not None:
            self._last[delivery.line] = next(self._count)
        return delivery

    def _take_of_several(self, has_room: Callable[[Any], bool]) -> D | None:
        first = self._first(self._urgent, has_room) or self._first(self._others, has_room)
        if first is None:
            return None
        source: Origin | None = first[2]
        queue = self._several[source]
        lines = [line for line in queue.lines() if has_room(line)]
        delivery = queue.take(has_room)
        # It has had its turn: it stands last wherever it might have had it.
        self._turns(source).update(dict.fromkeys(lines, next(self._count)))
        self._note(source, queue, lines)
        return delivery

    def _first(self, heaps: dict[Any, list[_Entry]], has_room: Callable[[Any], bool]) -> _Entry | None:
        """Whose turn it is over all lines that have room."""
        first: _Entry | None = None
        for line in tuple(heaps):
            heap = heaps[line]
            while heap and not self._waits(heap[0], line):
                turn, _, source = heappop(heap)
                entered = self._entered.get(source, {})
                if entered.get(line) == turn:
                    del entered[line]
                    if not entered:  # it stands nowhere, and may never come again
                        del self._entered[source]
            if not heap:
                del heaps[line]
            elif (first is None or heap[0] < first) and has_room(line):
                first = heap[0]
        return first

    def _waits(self, entry: _Entry, line: Any) -> bool:
        """Whether an entry still says what is so."""
        turn, _, source = entry
        queue = self._several.get(source)
        return queue is not None and queue.waits_in(line) and self._entered[source][line] == turn

    def _queue_of(self, source: Origin | None) -> RunQueue[D]:
        """The source's own queue, for something to enter or to leave it. ``_note`` it afterwards."""
        if source is self._source:
            return self._queue
        if not self._several:
            if not self._queue:  # the others have nothing, so the queue is anybody's
                self._source, self._last = source, self._turns(source)
                return self._queue
            first, self._source = self._source, _SEVERAL
            self._several[first] = self._queue
            self._note(first, self._queue, self._queue.lines())
        queue = self._several.get(source)
        if queue is None:
            queue = self._several[source] = RunQueue(depth_first=self._depth_first)
        return queue

    def _note(self, source: Origin | None, queue: RunQueue[D], lines: Iterable[Any]) -> None:
        """Let the source stand in those of the lines in which it has something, by its last turn there."""
        if self._source is not _SEVERAL:
            return
        heaps = self._urgent if source is not None and source.urgent else self._others
        turns = self._turns(source)
        for line in lines:
            turn = turns.get(line, born(source))
            if queue.waits_in(line) and self._entered.get(source, {}).get(line) != turn:
                self._entered.setdefault(source, {})[line] = turn
                heappush(heaps.setdefault(line, []), (turn, next(self._count), source))
        if not queue:
            del self._several[source]
            if len(self._several) == 1:
                self._be_alone()

    def _be_alone(self) -> None:
        """One source is left that has something: nobody stands anywhere any more."""
        ((self._source, self._queue),) = self._several.items()
        self._last = self._turns(self._source)
        for table in (self._several, self._urgent, self._others, self._entered):
            table.clear()

    def _turns(self, source: Origin | None) -> dict[Any, int]:
        return self._strangers if source is None else source.turns
