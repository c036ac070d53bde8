"""Whose turn it is: breadth-first or depth-first, fair between conversations.

Decides which waiting delivery goes next, given which lines have room. Listeners with a
limit of their own have a line each, so that a busy one's costs nothing to pass over; all
others share one. Conversations take turns over all lines with room, so one that floods the
queue delays another by at most one message; and whoever waits for a busy listener keeps its
place there, whatever turns it has elsewhere. Pure: knows nothing of limiters, tasks or time.
The pump alone calls it.

A thread has at most one delivery in here (or running): the rest stand in the thread's own
line and come forward one by one as it is released.
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
    """What one conversation has waiting in one line; ``turn`` says since when it waits for its turn."""

    __slots__ = ("turn", "waiting")

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self.waiting: OrderedDict[D, None] = OrderedDict()  # in order of arrival, discarded in O(1)


@final
class RunQueue(Generic[D]):
    """The deliveries that could run now, were there room."""

    def __init__(self, *, depth_first: bool) -> None:
        self._depth_first: Final = depth_first
        # line -> conversation -> share, ordered by turn: its head is the one that waits longest
        self._lines: dict[Any, OrderedDict[Any, _Share[D]]] = {}
        self._where: dict[Any, dict[Any, _Share[D]]] = {}  # conversation -> line -> the same shares
        self._lone: D | None = None  # the only one that waits: it needs no line and no turn
        self._turn = 0
        self._order = 0
        self._waiting = 0

    def __len__(self) -> int:
        """How many wait here, those in their threads' lines not counted."""
        return self._waiting + (self._lone is not None)

    def put(self, deliveries: Sequence[D]) -> None:
        """Take what one dispatch (or one stranger) sent, in the order it was sent."""
        if len(deliveries) == 1 and not self._waiting and self._lone is None:
            (delivery,) = deliveries
            if delivery.thread.occupant is None:
                self._lone = delivery.thread.occupant = delivery
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
            self._enter(delivery)
        else:
            thread.line = None

    def discard(self, delivery: D) -> None:
        """One that waits has ended: it stands in no line any more. Whoever calls releases its thread."""
        thread = delivery.thread
        if thread.occupant is not delivery:
            if thread.line is not None:
                del thread.line[delivery]
        elif self._lone is delivery:
            self._lone = None
        else:
            self._remove(delivery)

    def take(self, has_room: Callable[[Any], bool]) -> D | None:
        """The next delivery among lines that have room, or None. It leaves the queue."""
        lone = self._lone
        if lone is not None:
            if not has_room(lone.line):
                return None
            self._lone = None
            return lone
        if not self._waiting:
            return None
        first: _Share[D] | None = None
        whose: Any = None
        for key, line in self._lines.items():
            conversation, share = next(iter(line.items()))
            if (first is None or share.turn < first.turn) and has_room(key):
                first, whose = share, conversation
        if first is None:
            return None
        shares = self._where[whose]
        delivery = self._head(first) if len(shares) == 1 else self._best_of(shares, has_room)
        self._remove(delivery)
        if shares:
            self._to_the_end(whose, shares, delivery.line, has_room)
        return delivery

    def _best_of(self, shares: dict[Any, _Share[D]], has_room: Callable[[Any], bool]) -> D:
        """The conversation's oldest (depth-first: newest) in lines that have room."""
        heads = [self._head(share) for key, share in shares.items() if has_room(key)]
        pick = max if self._depth_first else min
        return pick(heads, key=lambda delivery: delivery.order)

    def _head(self, share: _Share[D]) -> D:
        return next(reversed(share.waiting) if self._depth_first else iter(share.waiting))

    def _to_the_end(
        self, whose: Any, shares: dict[Any, _Share[D]], served: Any, has_room: Callable[[Any], bool]
    ) -> None:
        """It has had its turn: it stands last wherever it might have had it."""
        self._turn += 1
        for key, share in shares.items():
            if key is served or has_room(key):
                share.turn = self._turn
                self._lines[key].move_to_end(whose)

    def _enter(self, delivery: D) -> None:
        if self._lone is not None:
            lone, self._lone = self._lone, None
            self._enter(lone)
        conversation, key = delivery.conversation, delivery.line
        self._order = delivery.order = self._order + 1
        shares = self._where.get(conversation)
        if shares is None:
            shares = self._where[conversation] = {}
        share = shares.get(key)
        if share is None:
            self._turn += 1
            share = shares[key] = _Share(self._turn)
            line = self._lines.get(key)
            if line is None:
                line = self._lines[key] = OrderedDict()
            line[conversation] = share
        share.waiting[delivery] = None
        self._waiting += 1

    def _remove(self, delivery: D) -> None:
        conversation, key = delivery.conversation, delivery.line
        shares = self._where[conversation]
        share = shares[key]
        del share.waiting[delivery]
        self._waiting -= 1
        if not share.waiting:
            del shares[key]
            line = self._lines[key]
            del line[conversation]
            if not line:
                del self._lines[key]
            if not shares:
                del self._where[conversation]
