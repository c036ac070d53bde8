"""Small things that the bus's tests share: an event by its number, handlers that note what they see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from phloem.events import AgentEvent, EventBus, EventType

Handler = Callable[[AgentEvent], Awaitable[None]]


def event(n: int = 0, *, stream: str = "s", **more: Any) -> AgentEvent:
    """One of type ``custom`` that carries ``n``, unless told otherwise."""
    return AgentEvent(more.pop("type", EventType.CUSTOM), stream, data={"n": n}, **more)


def noting(seen: list[int]) -> Handler:
    """A handler that notes the number of each event, without a checkpoint."""

    async def handler(event: AgentEvent) -> None:
        seen.append(event.data["n"])

    return handler


def stats_of(bus: EventBus, id: str) -> dict[str, int]:
    stats: dict[str, int] = bus.get_stats()["subscription_stats"][id]
    return stats


def accounted(stats: dict[str, int]) -> int:
    """How many events a subscription has met, in whichever way, or holds."""
    ways = ("delivered", "errors", "lagged", "discarded", "queue_depth", "in_hand")
    return sum(stats.get(way, 0) for way in ways)
