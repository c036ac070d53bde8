"""Handlers that publish to each other, and full mailboxes: what tests of circles and chains are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from phloem.events import AgentEvent, EventBus
from support.buses import event

Handler = Callable[[AgentEvent], Awaitable[object]]


def waiting(bus: EventBus, id: str) -> int:
    depth: int = bus.get_stats()["subscription_stats"][id]["queue_depth"]
    return depth


def handled(bus: EventBus, id: str) -> int:
    stats: dict[str, int] = bus.get_stats()["subscription_stats"][id]
    assert stats["errors"] == stats["lagged"] == 0
    return stats["delivered"]


def passing_on(bus: EventBus, to: str, **more: Any) -> Handler:
    """A handler that publishes one less to ``to``, down to 0."""

    async def handler(received: AgentEvent) -> None:
        n = received.data["n"]
        if n:
            await bus.publish(event(n - 1, stream=to, **more))

    return handler


def holding(gate: trio.Event, then: Handler) -> Handler:
    """As ``then``, but not before the gate opens."""

    async def handler(received: AgentEvent) -> None:
        await gate.wait()
        await then(received)

    return handler


async def nothing(received: AgentEvent) -> None:
    await trio.lowlevel.checkpoint()


async def fill(bus: EventBus, streams: Sequence[str], n: int = 0) -> None:
    """One event in the hand of each stream's handler, and one that waits."""
    for stream in streams:
        bus.emit(event(n, stream=stream))
    await wait_all_tasks_blocked()
    for stream in streams:
        bus.emit(event(n, stream=stream))
    await wait_all_tasks_blocked()
