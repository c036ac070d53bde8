"""Where publishers wait: for room in a mailbox or a stream, and for handlers to come back.

Decides who goes first (who came first; one that needs several mailboxes, and finds them free in
turn, never together, goes in over the bound at last), and when waiting would be for ever: if what
is waited for waits, through whatever chain, for the one who waits. Then it does not wait. A circle
comes about when its last wait begins, so it is looked for there, and again when a mailbox has
sorted its events by key. (And when the last other reader of a stream ends, of which Trio tells
nobody: that one is not seen.)
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Final, Protocol, final

import trio

from phloem.errors import EventBusClosed, PublishCircle
from phloem.guarding import uninterrupted

from .mailbox import Tracked, Tracker
from .pool import Pool
from .tasks import Waiter, Worker

__all__ = ["Bounded", "Room"]

OVER: Final = 2  # times its bound that a mailbox holds when its own handler publishes into it
PATIENCE: Final = 8  # times a publisher finds room where it waited for it, and none elsewhere by then


class Bounded(Protocol):
    """What a publish may have to wait for: a mailbox, or a stream that blocks."""

    id: str
    limit: int
    line: list[Waiter]

    @property
    def waiting(self) -> int:
        """Events in it that nobody has taken."""
        ...

    @property
    def readers(self) -> tuple[trio.lowlevel.Task, ...]:
        """The tasks that empty it, as far as we know; none if handlers do."""
        ...

    def comes_free(self, goes_on: Callable[[Worker], bool]) -> bool:
        """True if handlers will take something of it, judged by which workers go on."""
        ...


@final
class Room:
    """All who wait inside one bus."""

    def __init__(self) -> None:
        self.pool: Pool  # set by ``opening``, which makes both
        self.closed = False
        self._tickets = 0
        self._waiters: dict[trio.lowlevel.Task, Waiter] = {}

    # -- waiting --------------------------------------------------------------------------------

    async def make(self, route: Callable[[], Iterable[Bounded]]) -> None:
        """Until everything that ``route`` leads to has room, save what would have to wait for us.

        The event has to be put in the sync stretch that follows. Never a checkpoint if there is
        room. Raises PublishCircle, EventBusClosed.
        """
        in_vain = 0
        with self._waiter() as me:
            while True:
                if self.closed:
                    raise EventBusClosed("the bus was closed before there was room for the event")
                short = [sink for sink in route() if _lacks_room(sink, me)]
                in_vain += bool(me.sinks) and not any(sink in short for sink in me.sinks)
                if in_vain >= PATIENCE:  # others are quicker each time; holding places would hold them up
                    short = [sink for sink in short if sink.waiting >= OVER * sink.limit]
                if not short:
                    return
                self._stand_in(me, short)
                circle = self._helpless(me)
                if any(sink.waiting >= OVER * sink.limit for sink in short if sink in circle):
                    raise PublishCircle(self._names_of(me))
                if len(circle) == len(short):
                    return
                self._stand_in(me, [sink for sink in short if sink not in circle])
                await self._wait(me)

    async def handled(self, tracker: Tracker) -> tuple[str, ...]:
        """Until its handlers have come back; the mailboxes of those that would have to wait for us.

        Checkpoint.
        """
        with self._waiter() as me:
            tracker.waiter = me
            try:
                while True:
                    me.items = list(tracker.pending)
                    circle = self._helpless(me)
                    me.items = [item for item in me.items if item not in circle]
                    tracker.awaited = dict.fromkeys(me.items)
                    if not me.items:
                        await trio.lowlevel.checkpoint()
                        return tuple(item.box.id for item in tracker.pending)
                    await self._wait(me)
            finally:
                tracker.waiter = None

    async def aside(self, wait: Callable[[], Any]) -> None:
        """Wait for something of the bus without holding a handler's place. Checkpoint if ``wait`` is."""
        worker = self.pool.worker_of(trio.lowlevel.current_task())
        self.pool.step_out(worker)
        try:
            await wait()
        except BaseException:
            self.pool.stay(worker)
            raise
        await self.pool.step_in(worker)

    @uninterrupted
    def freed(self, sink: Bounded) -> None:
        """There may be room: whoever waits longest looks again."""
        place = min(sink.limit - sink.waiting, len(sink.line)) - 1
        while place >= 0 and not sink.line[place].called.is_set():  # who stands before one that is called is
            sink.line[place].wake()
            place -= 1

    @uninterrupted
    def look_again(self, sink: Bounded) -> None:
        """Everybody in its line looks again: it is gone, or stands otherwise than before."""
        for waiter in sink.line:
            waiter.wake()

    @uninterrupted
    def close(self) -> None:
        """Nobody waits any more."""
        self.closed = True
        for waiter in self._waiters.values():
            waiter.wake()

    @contextmanager
    @uninterrupted
    def _waiter(self) -> Iterator[Waiter]:
        task = trio.lowlevel.current_task()
        self._tickets += 1
        me = Waiter(self._tickets, self.pool.worker_of(task))
        self._waiters[task] = me
        if me.worker is not None:
            me.worker.waits.append(me)
        went = False
        try:
            yield me
            went = True
        finally:
            del self._waiters[task]
            if me.worker is not None:
                me.worker.waits.remove(me)
            left, me.sinks = me.sinks, []
            for sink in left:
                sink.line.remove(me)
                if not went:  # else the room it had is taken now
                    self.freed(sink)

    @uninterrupted
    def _stand_in(self, me: Waiter, sinks: list[Bounded]) -> None:
        """Stand in the lines of exactly these, by age."""
        for sink in me.sinks:
            if sink not in sinks:
                sink.line.remove(me)
                self.freed(sink)
        for sink in sinks:
            if sink not in me.sinks:
                insort(sink.line, me, key=attrgetter("ticket"))
        me.sinks = sinks

    async def _wait(self, me: Waiter) -> None:
        me.called = trio.Event()
        await self.aside(me.called.wait)

    # -- circles --------------------------------------------------------------------------------

    def _helpless(self, me: Waiter) -> list[Any]:
        """Of what ``me`` waits for, the part that waits for ``me``.

        Who waits goes on once all it waits for comes; a mailbox gets room once any of its handlers
        goes on. So whoever can go on is found from those that wait for nobody (Knapp, ACM Computing
        Surveys 19(4), 1987: deadlocks of the AND-OR model).
        """
        free: set[Waiter] = set()
        if not self._stuck(me, free):
            return []
        self._go_on(free, me)
        return [] if me in free else self._stuck(me, free)

    def _go_on(self, free: set[Waiter], me: Waiter | None = None) -> None:
        """Add to ``free`` all who can go on; once it has ``me`` that is enough."""
        rest = list(reversed(self._waiters.values()))  # the newest stand deepest in a chain
        before = len(rest) + 1
        while len(rest) < before and me not in free:
            before = len(rest)
            for waiter in rest:
                if not self._stuck(waiter, free):
                    free.add(waiter)
            rest = [waiter for waiter in reversed(rest) if waiter not in free]  # long chains run one way

    def _names_of(self, me: Waiter) -> list[str]:
        """What waits for ``me``, from the nearest on: all that is stuck below it, for no circle is older."""
        free: set[Waiter] = set()
        self._go_on(free)
        names: dict[str, None] = {}
        seen, rest = {me}, [me]
        while rest:
            for found in self._stuck(rest.pop(), free):
                box = found.box if isinstance(found, Tracked) else found
                names[box.id] = None
                hands = [waiter for worker in getattr(box, "runs", ()) for waiter in worker.waits]
                for waiter in [*hands, *(self._waiters.get(task) for task in box.readers)]:
                    if waiter is not None and waiter not in seen and waiter not in free:
                        seen.add(waiter)
                        rest.append(waiter)
        return list(names)

    def _stuck(self, waiter: Waiter, free: set[Waiter]) -> list[Any]:
        """What of it will not come if nobody but ``free`` goes on."""
        return [
            *(s for s in waiter.sinks if _lacks_room(s, waiter) and not self._gets_room(s, free)),
            *(i for i in waiter.items if i in i.tracker.pending and not self._gets_done(i, free)),
        ]

    def _gets_room(self, sink: Bounded, free: set[Waiter]) -> bool:
        if sink.readers:
            waits = [self._waiters.get(task) for task in sink.readers]
            return any(waiter is None or waiter in free for waiter in waits)
        return sink.comes_free(lambda worker: _goes_on(worker, free))

    def _gets_done(self, item: Tracked, free: set[Waiter]) -> bool:
        hand = item.worker or item.box.hand_before(item)
        return self._gets_room(item.box, free) if hand is None else _goes_on(hand, free)


def _goes_on(worker: Worker, free: set[Waiter]) -> bool:
    return all(waiter in free for waiter in worker.waits)


def _lacks_room(sink: Bounded, me: Waiter) -> bool:
    """True if it is full, or will be once those have put theirs who came before ``me``."""
    ahead = bisect_left(sink.line, me.ticket, key=attrgetter("ticket"))
    return sink.waiting + ahead >= sink.limit
