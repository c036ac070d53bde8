"""An asyncio event bus of the obvious kind: what the figures of phloem's are set beside.

A dict of subscriptions that every event scans, a list for history that is cut to its length by
copying, and ``asyncio.gather`` over the matching handlers, each under one semaphore. A publisher
waits for the slowest handler, two publishers may be heard in either order, and handlers that
publish can use up the semaphore for ever. It freezes nothing, numbers nothing, counts no bytes and
has no streams: it does less than phloem's, in the way one writes first.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass
class Event:
    """What happened, to whom and when."""

    type: str
    stream_id: str
    node_id: str | None = None
    execution_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    correlation_id: str | None = None


Handler = Callable[[Event], Awaitable[None]]


@dataclass
class Subscription:
    """Who wants which events."""

    event_types: set[str]
    handler: Handler
    filter_stream: str | None = None
    filter_node: str | None = None
    filter_execution: str | None = None

    def matches(self, event: Event) -> bool:
        if event.type not in self.event_types:
            return False
        if self.filter_stream and event.stream_id != self.filter_stream:
            return False
        if self.filter_node and event.node_id != self.filter_node:
            return False
        return not (self.filter_execution and event.execution_id != self.filter_execution)


class ObviousBus:
    """Subscriptions, history and one semaphore. Made inside a running loop."""

    def __init__(self, max_history: int = 1000, max_concurrent_handlers: int = 10) -> None:
        self.max_history = max_history
        self.history: list[Event] = []
        self.subscriptions: dict[str, Subscription] = {}
        self.semaphore = asyncio.Semaphore(max_concurrent_handlers)

    def subscribe(self, event_types: list[str], handler: Handler, filter_execution: str | None = None) -> str:
        name = str(uuid.uuid4())
        self.subscriptions[name] = Subscription(set(event_types), handler, filter_execution=filter_execution)
        return name

    async def publish(self, event: Event) -> None:
        self.history.append(event)
        if len(self.history) > self.max_history:
            self.history = self.history[len(self.history) - self.max_history :]
        handlers = [each.handler for each in self.subscriptions.values() if each.matches(event)]
        if handlers:
            await asyncio.gather(*(self._call(handler, event) for handler in handlers))

    async def _call(self, handler: Handler, event: Event) -> None:
        async with self.semaphore:
            try:
                await handler(event)
            except Exception:
                logging.getLogger(__name__).exception("a handler of %s failed", event.type)
