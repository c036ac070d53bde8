"""The event bus: publish, subscribe, stream, wait, look back.

Decides what each of these promises and which errors they meet. Committing is ``commits``',
waiting for room ``room``'s, running handlers ``pool``'s. Opened by ``open_event_bus``, by
applications and by the organism.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import copy_context
from logging import WARNING
from threading import get_ident
from typing import Any, cast, final

import trio

from phloem.errors import EventBusClosed, InvalidEvent
from phloem.guarding import uninterrupted
from phloem.messages import Faults

from .commits import Commits, Sink
from .emitting import Emitters
from .expecting import Expectation
from .freezing import freeze, shown
from .history import History
from .mailbox import Delivered, EventHandler, Mailbox, Subscription, Tracker, complain
from .pool import Pool
from .room import Bounded, Room
from .routes import QUERY, filters
from .scoped import ScopedBus
from .settings import checked_handler, checked_key, count, overflow_of, seconds, type_name, unknown_type
from .streams import EventStream, Overflow
from .types import AgentEvent, EventType

__all__ = ["EventBus"]


@final
class EventBus(Emitters):
    """Typed events that anyone may watch. Made by ``open_event_bus``; used inside its block only."""

    def __init__(self, *args: object, **settings: object) -> None:
        raise TypeError("an EventBus is opened, not made: async with open_event_bus(…) as bus")

    def _set_up(
        self, id: str, history: History, room: Room, pool: Pool, buffer: int, wall: Callable[[], float]
    ) -> EventBus:
        self.id, self.closed = id, False
        self.faults: Faults | None = None  # set by ``opening`` where there are any
        self._room, self._pool, self._buffer = room, pool, buffer
        self._commits = Commits(id, history, pool, wall, self._unroute)
        self._types: dict[str, str] = {kind.value: kind for kind in EventType}
        self._boxes: dict[str, Mailbox] = {}
        self._streams: dict[str, EventStream] = {}
        self._expected: dict[str, Expectation] = {}
        self._made = 0
        self._thread = get_ident()
        pool.left = self._settle
        return self

    # -- types ----------------------------------------------------------------------------------

    def register_type(self, name: str) -> str:
        """Have this bus take events of a type of your own; one that is there already stays. The type.

        Raises InvalidEvent for what is no name: 1 to 128 characters without white space.
        """
        return self._types.setdefault(str(type_name(name)), name)

    @property
    def types(self) -> tuple[str, ...]:
        """Every type that this bus takes."""
        return tuple(self._types.values())

    # -- publishing -------------------------------------------------------------------------------

    def emit(self, event: AgentEvent) -> AgentEvent:
        """Publish without waiting: where a mailbox is full, its oldest event goes. The event as stamped.

        Never a checkpoint. Raises InvalidEvent, EventBusClosed; RuntimeError in another thread
        (``trio.from_thread.run_sync(bus.emit, event)`` comes back to this one).
        """
        type, data, size = self._checked(event)
        return self._commits.commit(event, type, data, size, None, drops=True)

    async def publish(self, event: AgentEvent) -> AgentEvent:
        """Publish, after waiting for room in every matching mailbox and blocking stream. As stamped.

        Checkpoint. Cancelled means: not published. A mailbox whose own handler publishes into it,
        through whatever chain, is not waited for: it takes up to twice its bound, and then
        PublishCircle is raised. So does one of several that never have room at once, each of which
        had it eight times. Else as ``emit``.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        type, data, size = self._checked(event)
        await self._make_room(event, type)
        event = self._commits.commit(event, type, data, size, None, drops=False)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return event

    async def deliver(self, event: AgentEvent) -> Delivered:
        """Publish, and wait until every matching handler has handled it; what they raised.

        Checkpoint. Cancelled while it waits for room means: not published; later: published, only
        the waiting ended. Handlers that would have to wait for the caller are not waited for.
        Streams and ``wait_for`` are not waited for either. Raises as ``publish``.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        type, data, size = self._checked(event)
        await self._make_room(event, type)
        tracker = Tracker()
        event = self._commits.commit(event, type, data, size, tracker, drops=False)
        unawaited = await self._room.handled(tracker)
        errors, tracker.errors = tracker.errors, {}  # their tracebacks lead to the tracker
        return Delivered(event, errors, unawaited)

    @property
    def record(self) -> Callable[..., None]:
        """As ``emit``, for a publisher that is trusted and in a hurry: an event is made if somebody reads.

        Called with type, stream_id, node_id, execution_id, data, correlation_id, cause_id and
        weight, the number of characters in long texts of ``data``: a flat dict that is never touched
        again, or a tuple of keys and values in turn. After the end it goes into the history only.
        """
        return self._commits.record

    def _checked(self, event: AgentEvent) -> tuple[str, Mapping[str, Any], int]:
        """(type, frozen data, bytes) of an event that may be published; later changes change nothing."""
        if get_ident() != self._thread:
            raise RuntimeError(
                "a bus is used from its own thread: trio.from_thread.run_sync(bus.emit, event)"
            )
        if not isinstance(cast("object", event), AgentEvent):
            raise InvalidEvent(f"event: found {shown(event)}, expected an AgentEvent")
        type = self._types.get(event.type)
        if type is None:
            raise unknown_type(event.type)
        if self.closed:
            raise EventBusClosed("the bus takes no more events")
        data, size = freeze(event.data)
        return type, data, size

    async def _make_room(self, event: AgentEvent, type: str) -> None:
        place = (type, event.stream_id, event.node_id, event.execution_id)
        routes = self._commits.routes
        for sink in routes.matching(*place):
            if sink.binds and sink.waiting + len(sink.line) >= sink.limit:
                await self._room.make(
                    lambda: [cast("Bounded", sink) for sink in routes.matching(*place) if sink.binds]
                )
                break

    # -- subscribing ------------------------------------------------------------------------------

    def subscribe(
        self,
        event_types: Iterable[str] | str | None,
        handler: EventHandler,
        filter_stream: str | None = None,
        filter_node: str | None = None,
        filter_execution: str | None = None,
        *,
        key: Callable[[AgentEvent], Hashable] | None = None,
        concurrent: bool = False,
        once: bool = False,
        buffer: int | None = None,
        cancel_after: float | None = None,
        name: str = "",
    ) -> str:
        """Have ``handler`` called with each matching event, in publish order, one at a time; an id.

        With ``key`` in order and one at a time for each key, and side by side across keys (a key may
        be asked for more than once); with ``concurrent`` as they come. ``once`` ends it with the
        first event. ``buffer`` events may wait. A handler that raises is logged and counted, and
        called again for the next event; so is one cut after ``cancel_after`` seconds. It runs in a
        copy of the caller's context, which events may share. Raises InvalidEvent, EventBusClosed.
        """
        wanted = filters(event_types, filter_stream, filter_node, filter_execution, self._types)
        name = name or getattr(handler, "__qualname__", type(handler).__name__)
        call = checked_handler(handler, cancel_after, name, self.faults)
        checked_key(key, concurrent)
        limit = self._buffer if buffer is None else count("buffer", buffer)
        self._refuse_closed()
        self._made += 1
        made = Subscription(
            f"sub-{self._made}", wanted.types, handler, filter_stream, filter_node, filter_execution
        )
        box = Mailbox(
            made,
            wanted,
            call,
            copy_context(),
            limit,
            name=name,
            key=key,
            concurrent=concurrent,
            once=once,
        )
        self._boxes[box.id] = box
        self._commits.route(box)
        return box.id

    @uninterrupted
    def unsubscribe(self, id: str) -> bool:
        """End a subscription: its handler is not entered again, what waits for it is dropped.

        False if there is no such subscription. A handler at work is left to finish.
        """
        box = self._boxes.pop(id, None)
        if box is None:
            return False
        self._commits.unroute(box)
        box.empty()
        self._room.look_again(box)
        return True

    @uninterrupted
    def retire(self, id: str) -> bool:
        """End a subscription once it has handled what waits for it: it takes nothing more."""
        box = self._boxes.get(id)
        if box is None:
            return False
        self._unroute(box)
        return True

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """The live ones, oldest first."""
        return tuple(box.subscription for box in self._boxes.values())

    def _unroute(self, sink: Sink) -> None:
        """It takes no more events; a mailbox goes once it is empty."""
        self._commits.unroute(sink)
        if isinstance(sink, Mailbox):
            sink.retired = True
            self._room.look_again(sink)
            self._settle(sink)
        elif isinstance(sink, Expectation):
            self._expected.pop(sink.id, None)

    def _settle(self, box: Mailbox) -> None:
        """Forget a mailbox that takes nothing more, once nothing of it is left."""
        if box.retired and not box.hands and not box.waiting:
            self._boxes.pop(box.id, None)

    # -- reading ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def open_stream(
        self,
        event_types: Iterable[str] | str | None = None,
        filter_stream: str | None = None,
        filter_node: str | None = None,
        filter_execution: str | None = None,
        *,
        buffer: int | None = None,
        overflow: str = Overflow.BLOCK,
        since: int | None = None,
    ) -> AsyncIterator[EventStream]:
        """Matching events as an async iterator, from here on, or after the event of number ``since``.

        At most ``buffer`` of them wait to be read; ``overflow`` says what one more does: with
        ``block`` publishers wait, for ever if nobody reads. A past that history no longer holds
        is told by a HistoryGap first. Checkpoint. Raises InvalidEvent, EventBusClosed.
        """
        wanted = filters(event_types, filter_stream, filter_node, filter_execution, self._types)
        limit = self._buffer if buffer is None else count("buffer", buffer)
        policy = overflow_of(overflow)
        await trio.lowlevel.checkpoint()
        self._refuse_closed()
        past = [] if since is None else self._commits.past(wanted, self._since(since))
        self._made += 1
        stream = EventStream(f"stream-{self._made}", wanted, limit, policy, past, self._room)
        self._streams[stream.id] = stream
        self._commits.route(stream)
        try:
            yield stream
        finally:
            self._commits.unroute(stream)
            del self._streams[stream.id]
            stream.end()

    def _since(self, seq: int) -> int:
        newest = self._commits.seq
        if count("since", seq, 0) > newest:
            raise InvalidEvent(
                f"since: found {shown(seq)}, expected at most {newest}, the newest event's seq"
            )
        return seq

    def expect(
        self,
        event_type: Iterable[str] | str | None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Expectation:
        """The next matching event, counted from this call: nothing is missed until it is awaited.

        Raises InvalidEvent, EventBusClosed.
        """
        wanted = filters(event_type, stream_id, node_id, execution_id, self._types, QUERY)
        self._refuse_closed()
        self._made += 1
        expected = Expectation(f"expect-{self._made}", wanted, self._room, self._disarm)
        self._expected[expected.id] = expected
        self._commits.route(expected)
        return expected

    @uninterrupted
    def _disarm(self, expected: Expectation) -> None:
        if self._expected.pop(expected.id, None) is not None:
            self._commits.unroute(expected)
            expected.end()

    async def wait_for(
        self,
        event_type: Iterable[str] | str | None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the reference's own parameter
    ) -> AgentEvent | None:
        """The next matching event, or None after ``timeout`` seconds on Trio's clock. Checkpoint.

        With 0 it lets others run once and looks. Raises InvalidEvent, EventBusClosed.
        """
        limit = math.inf if timeout is None else seconds("timeout", timeout)
        with self.expect(event_type, stream_id, node_id, execution_id) as expected:
            return await expected.within(limit)

    def get_history(
        self,
        event_type: Iterable[str] | str | None = None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
        limit: int = 100,
    ) -> list[AgentEvent]:
        """Matching events, the most recent first. Raises InvalidEvent."""
        wanted = filters(event_type, stream_id, node_id, execution_id, self._types, QUERY)
        return self._commits.newest(wanted, count("limit", limit, 0))

    def latest(
        self,
        event_type: Iterable[str] | str | None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> AgentEvent | None:
        """The most recent matching event that history holds. Raises InvalidEvent."""
        return next(iter(self.get_history(event_type, stream_id, node_id, execution_id, 1)), None)

    def get_stats(self) -> dict[str, Any]:
        """Counts: events, by type; each live subscription's and stream's; what history holds."""
        return {
            **self._commits.stats(len(self._boxes)),
            "subscription_stats": {id: box.stats() for id, box in self._boxes.items()},
            "stream_stats": {id: stream.statistics() for id, stream in self._streams.items()},
            "handlers_running": self._pool.running,
        }

    def scoped(
        self, *, stream_id: str | None = None, node_id: str | None = None, execution_id: str | None = None
    ) -> ScopedBus:
        """This bus as seen from one place: what it publishes is stamped, what it reads is held to it."""
        return ScopedBus(self, stream_id=stream_id, node_id=node_id, execution_id=execution_id)

    # -- the end ----------------------------------------------------------------------------------

    def _refuse_closed(self) -> None:
        if self.closed:
            raise EventBusClosed("the bus takes no more events, subscriptions or streams")

    @uninterrupted
    def _close(self) -> None:
        """Nothing starts from here on; whoever waits is told, whatever waits is dropped."""
        if self.closed:
            return
        self.closed = True
        self._pool.spawn = None
        for stream in self._streams.values():
            stream.end()
        for expected in list(self._expected.values()):
            self._disarm(expected)
        undelivered = 0
        for box in self._boxes.values():
            self._commits.unroute(box)
            undelivered += box.waiting
            box.empty()
        self._room.close()
        if undelivered:
            complain(WARNING, "%d events were not delivered before the bus closed", undelivered)
