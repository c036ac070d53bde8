"""Where an event comes to be: stamped, kept, and put into everything that matches.

Decides the one order in which everybody sees events. Each call is one synchronous stretch from
the stamp to the last wake, so nobody sees half a commit and no cancellation falls into one.
Called by the bus, after everything that may wait or be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, final

from phloem.guarding import uninterrupted

from .history import History
from .mailbox import Mailbox, Tracker
from .pool import Pool
from .routes import Filters, Routes
from .tasks import Waiter
from .types import UNPUBLISHED, AgentEvent, HistoryGap, Row, event_of

__all__ = ["Commits", "Sink"]

ROW: Final = 512  # bytes of a row and what it refers to, its texts and data apart; measured


class Sink(Protocol):
    """What an event is put into: a mailbox, a stream or an expectation."""

    id: str
    filters: Filters
    limit: int
    line: list[Waiter]
    once: bool

    @property
    def binds(self) -> bool:
        """True if a publish waits for room in it."""
        ...

    @property
    def waiting(self) -> int:
        """Events in it that nobody has taken."""
        ...

    def put(self, event: AgentEvent, tracker: Tracker | None, *, drops: bool) -> None:
        """Take the event. Never waits, never raises."""
        ...


@final
class Commits:
    """The events of one bus: how many there were, the newest, and who takes the next."""

    def __init__(
        self, id: str, history: History, pool: Pool, wall: Callable[[], float], taken: Callable[[Sink], None]
    ) -> None:
        self.id, self.history = id, history
        self.routes: Routes[Sink] = Routes()
        self.seq = 0
        self._pool, self._wall, self._taken = pool, wall, taken

    @uninterrupted
    def route(self, sink: Sink) -> None:
        """It takes matching events from here on."""
        self.routes.add(sink.filters, sink)

    @uninterrupted
    def unroute(self, sink: Sink) -> None:
        """It takes no more."""
        self.routes.remove(sink.filters, sink)

    @uninterrupted
    def record(
        self,
        type: str,
        stream_id: str,
        node_id: str | None,
        execution_id: str | None,
        data: Mapping[str, Any] | tuple[Any, ...],
        correlation_id: str | None = None,
        cause_id: str | None = None,
        weight: int = 0,
    ) -> None:
        """As ``commit``, dropping, of which an event is made only if somebody reads.

        ``data`` is flat: a dict that nobody touches again, or keys and values in turn as a tuple.
        """
        wall, size = self._wall(), ROW + weight  # first: a clock that raises must cost no number
        seq = self.seq = self.seq + 1
        row = (seq, type, stream_id, node_id, execution_id, data, wall, correlation_id, cause_id, "", size)
        self.history.append(row)
        if self.routes.tables and (sinks := self.routes.matching(type, stream_id, node_id, execution_id)):
            self._put(sinks, self.event(row), None, drops=True)

    @uninterrupted
    def commit(
        self,
        event: AgentEvent,
        type: str,
        data: Mapping[str, Any],
        size: int,
        tracker: Tracker | None,
        *,
        drops: bool,
    ) -> AgentEvent:
        """The event as stamped. ``type`` and ``data`` (of ``size`` bytes) have been checked and frozen.

        If ``drops``, full mailboxes lose their oldest; else there has been a wait for room.
        """
        stream, node, execution, at = event.stream_id, event.node_id, event.execution_id, event.timestamp
        wall = self._wall() if at is UNPUBLISHED or at == UNPUBLISHED else at
        seq = self.seq = self.seq + 1
        row: Row = (
            seq,
            type,
            stream,
            node,
            execution,
            data,
            wall,
            event.correlation_id,
            event.cause_id,
            event.id if event.seq == 0 else "",  # what was published before becomes an event of its own
            size + ROW,
        )
        self.history.append(row)
        stamped = event_of(row, self.id)
        if self.routes.tables and (sinks := self.routes.matching(type, stream, node, execution)):
            self._put(sinks, stamped, tracker, drops=drops)
        return stamped

    def event(self, row: Row) -> AgentEvent:
        """The event of a row, which may have been recorded without an id."""
        return event_of(row, self.id)

    def newest(self, wanted: Filters, limit: int) -> list[AgentEvent]:
        """What history holds of these, the most recent first."""
        return [self.event(row) for row in self.history.newest(wanted, limit)]

    def past(self, wanted: Filters, since: int) -> list[AgentEvent | HistoryGap]:
        """What history holds of these after ``since``; where it no longer has all, a gap first."""
        rows, missing = self.history.since(wanted, since)
        return [*([HistoryGap(since, missing)] if missing else ()), *map(self.event, rows)]

    def stats(self, subscriptions: int) -> dict[str, Any]:
        """What ``get_stats`` says first: of events, of how many subscribe, of the history."""
        history = self.history
        return {
            "total_events": self.seq,
            "subscriptions": subscriptions,
            "events_by_type": history.counts(),
            "history": {"events": len(history), "bytes": history.bytes, "evicted": history.evicted},
        }

    def _put(self, sinks: Iterable[Sink], event: AgentEvent, tracker: Tracker | None, *, drops: bool) -> None:
        for sink in sinks:
            sink.put(event, tracker, drops=drops)
            if sink.once:
                self._taken(sink)
            if type(sink) is Mailbox and not sink.ready:
                self._pool.offer(sink)
