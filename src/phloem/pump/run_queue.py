"""Whose turn it is: breadth-first or depth-first, fair between conversations of one source.

Decides which waiting delivery goes next, given which lines have room. Listeners with a
limit of their own have a line each, so that a busy one's costs nothing to pass over; all
others share one. Conversations take turns over all lines with room, so one that floods the
queue delays another by at most one message; and whoever waits for a busy listener keeps its
place there, whatever turns it has elsewhere. Pure: knows nothing of limiters, tasks or time.
``run_queues`` alone calls it, with one for each source.

A thread has at most one delivery in here (or running): the rest stand in the thread's own
line and come forward one by one as it is released. One whose listener hears all answers at once
holds its first back while anything below it is in flight.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar, final

from phloem.memory.threads import Thread

__all__ = ["Queued", "RunQueue"]


class Queued(Protocol):
    """What the queue needs to know of a delivery."""

    thread: Thread
    order: int  # the queue's own stamp
    conversation: Any  # the key that turns are taken by; compared by identity
    line: Any  # the key that lines are kept by: a listener with a limit, or None


D = TypeVar("D", bound=Queued)


@final
class _Share(Generic[D]):
    """What one conversation has waiting in one line; ``order`` says since when it waits for its turn."""

    __slots__ = ("order", "waiting")

    def __init__(self, order: int, first: D) -> None:
        self.order = order
        self.waiting: OrderedDict[D, None] = OrderedDict()  # in order of arrival, discarded in O(1)
        self.waiting[first] = None


@final
class _Keys(dict[Any, None]):
    """The keys of several lines, as a set in order. Not hashable, so it is nobody's key itself."""


@final
class RunQueue(Generic[D]):
    """The deliveries that could run now, were there room."""

    def __init__(self, *, depth_first: bool) -> None:
        self._depth_first: Final = depth_first
        # line -> conversation -> what it has there; the head is the one that waits longest for its
        # turn. One delivery stands for itself while it waits for its turn since it came: most do
        # until they leave, and a share for each would cost more than all the rest of the queue.
        self._lines: dict[Any, OrderedDict[Any, D | _Share[D]]] = {}
        # conversation -> the key of the line that it waits in, or _Keys if there are several
        self._where: dict[Any, Any] = {}
        self._lone: D | None = None  # the only one that waits: it needs no line and no turn
        self._stamp = 0  # one count for arrivals and turns, so that they compare
        self._waiting = 0

    def __len__(self) -> int:
        """How many wait here, those in their threads' lines not counted."""
        return self._waiting

    def lines(self) -> tuple[Any, ...]:
        """The keys of the lines in which something waits."""
        return tuple(self._lines) if self._lone is None else (self._lone.line,)

    def waits_in(self, line: Any) -> bool:
        """True if something waits in that line."""
        return line in self._lines if self._lone is None else self._lone.line is line

    def put(self, deliveries: Sequence[D]) -> None:
        """Take what one dispatch (or one stranger) sent, in the order it was sent."""
        if (
            len(deliveries) == 1
            and (thread := deliveries[0].thread).occupant is None
            and thread.gathering is None
        ):
            thread.occupant = delivery = deliveries[0]
            if self._waiting:
                self._enter(delivery)
            else:
                self._lone, self._waiting = delivery, 1
            return
        entering: list[D] = []
        for delivery in deliveries:
            thread = delivery.thread
            if thread.occupant is not None:
                if thread.line is None:
                    thread.line = OrderedDict()
                thread.line[delivery] = None
            else:
                thread.occupant = delivery
                if not _holds(thread):
                    entering.append(delivery)
        for delivery in reversed(entering) if self._depth_first else entering:
            self._enter(delivery)

    def again(self, delivery: D) -> None:
        """Take back one that ran and is to run again; its thread stayed its own meanwhile."""
        self._enter(delivery)

    def release(self, thread: Thread) -> None:
        """The thread's delivery has ended: the next in its line comes forward."""
        thread.occupant = None
        if thread.line:
            delivery: D = thread.line.popitem(last=False)[0]
            thread.occupant = delivery
            if not _holds(thread):
                self._enter(delivery)
        else:
            thread.line = None

    def gathered(self, thread: Thread) -> None:
        """Nothing below the thread is in flight any more: what it holds comes forward."""
        if thread.held:
            thread.held = False
            self._enter(thread.occupant)

    def discard(self, delivery: D) -> None:
        """One that waits has ended: it stands in no line any more. Whoever calls releases its thread."""
        thread = delivery.thread
        if thread.occupant is not delivery:
            if thread.line is not None:
                del thread.line[delivery]
        elif thread.held:
            thread.held = False
        elif self._lone is delivery:
            self._lone, self._waiting = None, 0
        else:
            self._remove(delivery)

    def take(self, has_room: Callable[[Any], bool]) -> D | None:
        """The next delivery among lines that have room, or None. It leaves the queue."""
        lone = self._lone
        if lone is not None:
            if not has_room(lone.line):
                return None
            self._lone, self._waiting = None, 0
            return lone
        if len(self._lines) != 1:
            return self._take_of_many(has_room)
        ((key, line),) = self._lines.items()
        if not has_room(key):
            return None
        conversation, share = line.popitem(last=False)
        if isinstance(share, _Share):
            delivery = share.waiting.popitem(last=self._depth_first)[0]
            if share.waiting:
                self._stamp = share.order = self._stamp + 1
                line[conversation] = share  # it has had its turn: it stands last
            else:
                del self._where[conversation]
        else:
            delivery = share
            del self._where[conversation]
        if not line:
            self._lines.clear()
        self._waiting -= 1
        return delivery

    def _take_of_many(self, has_room: Callable[[Any], bool]) -> D | None:
        whose: Any = None
        least = self._stamp + 1
        for key, line in self._lines.items():
            conversation, share = next(iter(line.items()))
            if share.order < least and has_room(key):
                whose, least = conversation, share.order
        if least > self._stamp:
            return None
        where = self._where[whose]
        keys = [key for key in where if has_room(key)] if isinstance(where, _Keys) else [where]
        heads = [self._head(self._lines[key][whose]) for key in keys]
        # The conversation's oldest (depth-first: newest) in lines that have room.
        pick = max if self._depth_first else min
        delivery = heads[0] if len(heads) == 1 else pick(heads, key=lambda head: head.order)
        self._remove(delivery)
        if whose in self._where:
            self._to_the_end(whose, keys)
        return delivery

    def _head(self, share: D | _Share[D]) -> D:
        if not isinstance(share, _Share):
            return share
        return next(reversed(share.waiting) if self._depth_first else iter(share.waiting))

    def _to_the_end(self, whose: Any, keys: Sequence[Any]) -> None:
        """It has had its turn: it stands last wherever it might have had it."""
        self._stamp += 1
        for key in keys:
            line = self._lines.get(key)
            share = None if line is None else line.get(whose)
            if line is None or share is None:
                continue
            if isinstance(share, _Share):
                share.order = self._stamp
            else:
                line[whose] = _Share(self._stamp, share)
            line.move_to_end(whose)

    def _enter(self, delivery: D) -> None:
        lone = self._lone
        if lone is not None:
            self._lone, self._waiting = None, 0
            self._enter(lone)
        self._stamp = delivery.order = self._stamp + 1
        self._waiting += 1
        conversation, key = delivery.conversation, delivery.line
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = OrderedDict()
        share = line.setdefault(conversation, delivery)
        if share is not delivery:
            if not isinstance(share, _Share):
                share = line[conversation] = _Share(share.order, share)
            share.waiting[delivery] = None
            return
        where = self._where.setdefault(conversation, key)
        if where is not key:
            if isinstance(where, _Keys):
                where[key] = None
            else:
                self._where[conversation] = _Keys.fromkeys((where, key))

    def _remove(self, delivery: D) -> None:
        conversation, key = delivery.conversation, delivery.line
        line = self._lines[key]
        share = line[conversation]
        if isinstance(share, _Share):
            del share.waiting[delivery]
        elif share is not delivery:
            raise KeyError(delivery)
        self._waiting -= 1
        if isinstance(share, _Share) and share.waiting:
            return
        del line[conversation]
        if not line:
            del self._lines[key]
        where = self._where[conversation]
        if isinstance(where, _Keys):
            del where[key]
            if len(where) == 1:
                (self._where[conversation],) = where
        else:
            del self._where[conversation]


def _holds(thread: Thread) -> bool:
    """True if what has come to the thread has to wait for what is in flight below it."""
    if thread.gathering is None or not thread.gathering.below:
        return False
    thread.held = True
    return True
