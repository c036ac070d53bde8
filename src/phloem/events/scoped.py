"""A view of a bus for one place in it: what is published is stamped, what is read is held to it.

Decides which of the bus's methods a scope has, and whose subscriptions it may end. Never keeps, routes
or delivers an event. A scope is an order among friends and no sandbox: whoever wants the bus beneath
finds it. Made by ``EventBus.scoped`` and by the pump for each handler; called by handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, final

from .expecting import Expectation
from .mailbox import Delivered, EventHandler, Subscription
from .scope import Scope
from .scoped_emitting import Publishes, ScopedEmitters
from .streams import EventStream, Overflow
from .types import AgentEvent

__all__ = ["Bus", "ScopedBus"]

SWEEP_AT: Final = 64  # ids, of which some may have ended: few kilobytes, and a sweep reads all of the bus's


class Bus(Publishes, Protocol):
    """What a scope needs of what lies beneath it: methods of ``EventBus``, which say what they do."""

    @property
    def subscriptions(self) -> Sequence[Subscription]: ...
    async def publish(self, event: AgentEvent) -> AgentEvent: ...
    async def deliver(self, event: AgentEvent) -> Delivered: ...
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
    ) -> str: ...
    def unsubscribe(self, id: str) -> bool: ...
    def open_stream(
        self,
        event_types: Iterable[str] | str | None = None,
        filter_stream: str | None = None,
        filter_node: str | None = None,
        filter_execution: str | None = None,
        *,
        buffer: int | None = None,
        overflow: str = ...,
        since: int | None = None,
    ) -> AbstractAsyncContextManager[EventStream]: ...
    def expect(
        self,
        event_type: Iterable[str] | str | None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Expectation: ...
    async def wait_for(
        self,
        event_type: Iterable[str] | str | None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the reference's own parameter
    ) -> AgentEvent | None: ...
    def get_history(
        self,
        event_type: Iterable[str] | str | None = None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
        limit: int = 100,
    ) -> list[AgentEvent]: ...
    def latest(
        self,
        event_type: Iterable[str] | str | None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> AgentEvent | None: ...


@final
class ScopedBus(ScopedEmitters):
    """The bus as it is seen from one stream, node and execution, as far as these are set.

    What is published through it carries what the scope sets. What is read through it is the scope's
    stream and execution; its node only says who speaks, and hears its neighbours. Asking for another
    stream or execution, or publishing for another node, raises AccessRefused; everything else is as
    in the bus, the clock included.

    ``correlation_id`` and ``cause_id`` go into events that have none. ``subscribed`` is told the id of
    each new subscription, and may refuse it by raising.
    """

    __slots__ = ("_bus", "_made", "_subscribed", "_sweep_at")

    def __init__(
        self,
        bus: Bus,
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
        correlation_id: str | None = None,
        cause_id: str | None = None,
        subscribed: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(bus, Scope(stream_id, node_id, execution_id, correlation_id, cause_id))
        self._bus, self._subscribed = bus, subscribed
        self._made: set[str] = set()  # subscriptions made here or further in; some may have ended since
        self._sweep_at = SWEEP_AT

    def __repr__(self) -> str:
        return f"<bus of {self._scope}>"

    @property
    def stream_id(self) -> str:
        """The scope's stream, which every event must name. Raises InvalidEvent if it sets none."""
        return self._scope.in_stream(None)

    @property
    def node_id(self) -> str | None:
        """The scope's node."""
        return self._scope.node_id

    @property
    def execution_id(self) -> str | None:
        """The scope's execution."""
        return self._scope.execution_id

    def scoped(
        self, *, stream_id: str | None = None, node_id: str | None = None, execution_id: str | None = None
    ) -> ScopedBus:
        """A scope within this one, which knows how to end its own subscriptions only.

        This one, if nothing more is set. Raises AccessRefused for what this one sets otherwise.
        """
        scope = self._scope.narrowed(stream_id, node_id, execution_id)
        if scope == self._scope:
            return self
        return ScopedBus(
            self._bus,
            stream_id=scope.stream_id,
            node_id=scope.node_id,
            execution_id=scope.execution_id,
            correlation_id=scope.correlation_id,
            cause_id=scope.cause_id,
            subscribed=self._note,
        )

    # publishing: emit and the emit_* are inherited

    async def publish(self, event: AgentEvent) -> AgentEvent:
        """As ``EventBus.publish``. Checkpoint."""
        return await self._bus.publish(self._scope.stamped(event))

    async def deliver(self, event: AgentEvent) -> Delivered:
        """As ``EventBus.deliver``. Checkpoint."""
        return await self._bus.deliver(self._scope.stamped(event))

    # reading

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
        """As ``EventBus.subscribe``."""
        stream, execution = self._scope.readable(filter_stream, filter_execution)
        id = self._bus.subscribe(
            event_types,
            handler,
            stream,
            filter_node,
            execution,
            key=key,
            concurrent=concurrent,
            once=once,
            buffer=buffer,
            cancel_after=cancel_after,
            name=name,
        )
        try:
            self._note(id)
        except BaseException:
            self._bus.unsubscribe(id)  # its id would reach nobody
            raise
        return id

    def unsubscribe(self, id: str) -> bool:
        """As ``EventBus.unsubscribe``; False for a subscription made elsewhere than in this scope."""
        if id not in self._made:
            return False
        self._made.discard(id)
        return self._bus.unsubscribe(id)

    def open_stream(
        self,
        event_types: Iterable[str] | str | None = None,
        filter_stream: str | None = None,
        filter_node: str | None = None,
        filter_execution: str | None = None,
        *,
        buffer: int | None = None,
        overflow: str = Overflow.BLOCK,
        since: int | None = None,
    ) -> AbstractAsyncContextManager[EventStream]:
        """As ``EventBus.open_stream``."""
        stream, execution = self._scope.readable(filter_stream, filter_execution)
        return self._bus.open_stream(
            event_types, stream, filter_node, execution, buffer=buffer, overflow=overflow, since=since
        )

    def expect(
        self,
        event_type: Iterable[str] | str | None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Expectation:
        """As ``EventBus.expect``."""
        stream, execution = self._scope.readable(stream_id, execution_id)
        return self._bus.expect(event_type, stream, node_id, execution)

    async def wait_for(
        self,
        event_type: Iterable[str] | str | None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the reference's own parameter
    ) -> AgentEvent | None:
        """As ``EventBus.wait_for``. Checkpoint."""
        stream, execution = self._scope.readable(stream_id, execution_id)
        return await self._bus.wait_for(event_type, stream, node_id, execution, timeout)

    def get_history(
        self,
        event_type: Iterable[str] | str | None = None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
        limit: int = 100,
    ) -> list[AgentEvent]:
        """As ``EventBus.get_history``."""
        stream, execution = self._scope.readable(stream_id, execution_id)
        return self._bus.get_history(event_type, stream, node_id, execution, limit)

    def latest(
        self,
        event_type: Iterable[str] | str | None,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> AgentEvent | None:
        """As ``EventBus.latest``."""
        stream, execution = self._scope.readable(stream_id, execution_id)
        return self._bus.latest(event_type, stream, node_id, execution)

    def _note(self, id: str) -> None:
        """Remember a subscription, further out first."""
        if self._subscribed is not None:
            self._subscribed(id)
        self._made.add(id)
        if len(self._made) >= self._sweep_at:  # many end without our being told (``once``): ask who lives
            self._made.intersection_update(each.id for each in self._bus.subscriptions)
            self._sweep_at = SWEEP_AT + 2 * len(self._made)
