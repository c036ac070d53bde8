"""What waits for one subscriber's handler, and which of it may be taken now.

Decides order (one at a time, or one at a time for each key, or all at once), what is dropped
when there is too much, and what a subscription counts. Pure: it moves no task. Filled by
``bus`` in the sync stretch of a commit; emptied by ``pool``.
"""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Final, final

from phloem.config import MAILBOX
from phloem.errors import EventDropped
from phloem.guarding import Raised, attempted, uninterrupted

from .routes import Filters
from .tasks import Waiter, Worker
from .types import AgentEvent

__all__ = ["Call", "Delivered", "EventHandler", "Mailbox", "Subscription", "Tracked", "Tracker", "complain"]

EventHandler = Callable[
    [AgentEvent], object
]  # async, or a plain function; what it returns is awaited or dropped
Call = Callable[[AgentEvent], Awaitable[object]]  # a handler, as a coroutine function
LOG: Final = logging.getLogger("phloem.events")


@final
@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as it was made. ``event_types`` None: any."""

    id: str
    event_types: frozenset[str] | None
    handler: EventHandler
    filter_stream: str | None = None
    filter_node: str | None = None
    filter_execution: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Delivered:
    """What came of a ``deliver``: the event as published, and what handlers raised, by subscription.

    ``unawaited`` are the subscriptions whose handlers would have had to wait for the caller.
    """

    event: AgentEvent
    errors: Mapping[str, BaseException]
    unawaited: tuple[str, ...] = ()


@final
class Tracker:
    """One ``deliver``: the mailboxes whose handlers have not come back yet, and what the others raised."""

    __slots__ = ("awaited", "errors", "pending", "waiter")

    def __init__(self) -> None:
        self.pending: dict[Tracked, None] = {}
        self.awaited: dict[Tracked, None] = {}  # of these, what the caller does wait for
        self.errors: dict[str, BaseException] = {}
        self.waiter: Waiter | None = None

    def look_again(self) -> None:
        """Whoever waits for it may have to wait no more."""
        if self.waiter is not None:
            self.waiter.wake()


@final
class Tracked:
    """An event in one mailbox, of which somebody wants to know when it has been handled."""

    __slots__ = ("box", "event", "tracker", "worker")

    def __init__(self, event: AgentEvent, box: Mailbox, tracker: Tracker) -> None:
        self.event, self.box, self.tracker = event, box, tracker
        self.worker: Worker | None = None
        tracker.pending[self] = None

    @uninterrupted
    def done(self, error: BaseException | None = None) -> None:
        """Its handler has come back, or it never will be entered."""
        tracker = self.tracker
        if self not in tracker.pending:
            return  # told already: Ctrl-C came between that and what follows it
        del tracker.pending[self]
        if error is not None:
            tracker.errors[self.box.id] = error
        tracker.awaited.pop(self, None)
        if not tracker.awaited:
            tracker.look_again()


@final
class Mailbox:
    """Of one subscription. ``waiting`` counts what no handler has been entered with yet."""

    __slots__ = (
        "busy",
        "call",
        "context",
        "delivered",
        "discarded",
        "errors",
        "filters",
        "hands",
        "id",
        "inbox",
        "key",
        "lagged",
        "limit",
        "line",
        "most",
        "name",
        "once",
        "ready",
        "retired",
        "runs",
        "server",
        "slow",
        "subscription",
        "waiting",
    )

    def __init__(
        self,
        subscription: Subscription,
        filters: Filters,
        call: Call,
        context: Context,
        limit: int,
        *,
        name: str,
        key: Callable[[AgentEvent], Hashable] | None,
        concurrent: bool,
        once: bool,
    ) -> None:
        self.subscription, self.filters, self.id = subscription, filters, subscription.id
        self.call, self.context, self.limit, self.name = call, context, limit, name
        self.key, self.once = key, once
        self.most = MAILBOX if concurrent or key is not None else 1  # workers at once, the slow ones too
        self.inbox: deque[AgentEvent | Tracked] = deque()
        self.busy: dict[Hashable, deque[AgentEvent | Tracked]] = {}  # what waits behind a key in hand
        self.waiting = 0
        self.hands = 0  # workers at it
        self.runs: dict[Worker, None] = {}
        self.server: Worker | None = None  # an idle one that served it last
        self.ready = False  # in the pool's queue
        self.line: list[Waiter] = []  # publishers who wait for room, the one who came first in front
        self.retired = False  # takes no more events, and goes once it is empty
        self.delivered = self.lagged = self.errors = self.slow = self.discarded = 0

    @property
    def binds(self) -> bool:
        """True if a publish waits for room here."""
        return True

    @property
    def readers(self) -> tuple[()]:
        """Nobody in particular: workers empty it."""
        return ()

    def comes_free(self, goes_on: Callable[[Worker], bool]) -> bool:
        """True if a handler will be entered or come back."""
        if (self.inbox and self.hands < self.most) or not self.runs:
            return True
        takers = self.runs if self.inbox or self.key is None else [each for each in self.runs if each.parked]
        return any(goes_on(worker) for worker in takers)

    def hand_before(self, item: Tracked) -> Worker | None:
        """Who has the key in hand that ``item`` waits behind; None if it waits for any worker."""
        return next((worker for worker in self.runs if worker.parked and item in worker.parked), None)

    def put(self, event: AgentEvent, tracker: Tracker | None, *, drops: bool) -> None:
        """Take it. If ``drops`` and there is no room, the oldest goes."""
        if drops and self.waiting >= self.limit:
            self._drop_oldest()
        self.inbox.append(event if tracker is None else Tracked(event, self, tracker))
        self.waiting += 1

    @uninterrupted
    def take(self, worker: Worker) -> AgentEvent | Tracked | None:
        """The next that may be handled; None if there is nothing for this worker."""
        if self.key is None:
            if not self.inbox:
                return None
            item = self.inbox.popleft()
        else:
            found = self._take_keyed(worker, self.key)
            if found is None:
                return None
            item = found
        self.waiting -= 1
        if type(item) is Tracked:
            item.worker = worker
        return item

    @uninterrupted
    def let_go(self, worker: Worker) -> None:
        """The worker leaves; what waits behind its key is anybody's again, in order."""
        parked = worker.parked
        self._free_key(worker)
        if parked:
            self.inbox.extendleft(reversed(parked))

    @uninterrupted
    def cut(self, item: AgentEvent | Tracked) -> None:
        """A handler was cancelled while it had this."""
        self.discarded += 1
        if isinstance(item, Tracked):
            item.done(EventDropped(f"the handler of subscription {self.id} was cancelled"))

    @uninterrupted
    def empty(self) -> None:
        """Nothing of it is delivered any more."""
        items = [*self.inbox, *(item for parked in self.busy.values() for item in parked)]
        self.inbox.clear()
        for parked in self.busy.values():
            parked.clear()
        self.waiting = 0
        self.discarded += len(items)
        for item in items:
            if type(item) is Tracked:
                item.done(EventDropped(f"subscription {self.id} ended before it had handled the event"))

    def stats(self) -> dict[str, int]:
        """What ``get_stats`` says of it."""
        return {
            "delivered": self.delivered,
            "lagged": self.lagged,
            "errors": self.errors,
            "discarded": self.discarded,
            "queue_depth": self.waiting,
            "running": self.hands,
            "slow": self.slow,
        }

    def failed(self, item: AgentEvent | Tracked, error: BaseException) -> None:
        """Count what its handler or its key raised, and log it with its traceback."""
        self.errors += 1
        event = item.event if isinstance(item, Tracked) else item
        complain(
            logging.ERROR,
            "subscription %s (%s) raised on event %s",
            self.id,
            self.name,
            event.id,
            error=error,
        )
        if isinstance(item, Tracked):
            item.done(error)

    def _take_keyed(
        self, worker: Worker, key: Callable[[AgentEvent], Hashable]
    ) -> AgentEvent | Tracked | None:
        if worker.parked:
            first: AgentEvent | Tracked = worker.parked.popleft()
            return first
        self._free_key(worker)
        while self.inbox:
            item = self.inbox[0]  # stays there while the key's own code runs, which may call the bus
            event = item.event if isinstance(item, Tracked) else item
            behind = attempted(self._behind, key, event, worker)
            if not self.inbox or self.inbox[0] is not item:
                self._free_key(worker)
                continue
            self.inbox.popleft()
            if isinstance(behind, Raised):
                self.waiting -= 1
                self.failed(item, behind.error)
            elif behind is None:
                return item
            else:
                behind.append(item)
                if isinstance(item, Tracked):
                    item.tracker.look_again()
        return None

    def _behind(
        self, key: Callable[[AgentEvent], Hashable], event: AgentEvent, worker: Worker
    ) -> deque[AgentEvent | Tracked] | None:
        """What waits behind the event's key, which another has in hand; None: this worker has it now."""
        found = key(event)
        parked = self.busy.get(found)
        if parked is None:
            mine: deque[AgentEvent | Tracked] = deque()
            self.busy[found] = mine
            worker.key, worker.parked = found, mine
        return parked

    def _free_key(self, worker: Worker) -> None:
        if worker.parked is not None:
            del self.busy[worker.key]
            worker.key = worker.parked = None

    def _drop_oldest(self) -> None:
        oldest = self.inbox
        for parked in self.busy.values():
            if parked and (not oldest or _seq(parked[0]) < _seq(oldest[0])):
                oldest = parked
        item = oldest.popleft()
        self.waiting -= 1
        self.lagged += 1
        if isinstance(item, Tracked):
            item.done(EventDropped(f"the mailbox of subscription {self.id} was full"))


def complain(level: int, text: str, *args: object, error: BaseException | None = None) -> None:
    """Log it. Loggers have users' filters and handlers: what these raise goes to stderr, and no further."""
    info = None if error is None else (type(error), error, error.__traceback__)
    logged = attempted(lambda: LOG.log(level, text, *args, exc_info=info, stacklevel=3))
    if isinstance(logged, Raised):
        attempted(traceback.print_exception, logged.error)


def _seq(item: AgentEvent | Tracked) -> int:
    return item.event.seq if isinstance(item, Tracked) else item.seq
