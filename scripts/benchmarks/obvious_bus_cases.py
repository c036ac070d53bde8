"""The cases on the obvious asyncio bus. Each returns one plain number; `event_cases` mirrors it."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from .measuring import Hops, Stopwatch
from .obvious_bus import Event, ObviousBus

HISTORY: Final = 1_000  # the default of both


def made(number: int) -> Event:
    return Event("node_loop_iteration", "organism", "ping", "run-0", {"node_id": "ping", "iteration": number})


async def _heard(matching: int, others: int, count: int, history: int, making: bool) -> Hops:
    heard = 0

    async def hear(event: Event) -> None:
        nonlocal heard
        heard += 1

    bus = ObviousBus(max_history=history)
    for number in range(matching + others):
        run = "run-0" if number < matching else f"run-{number}"
        bus.subscribe(["node_loop_iteration"], hear, filter_execution=run)
    event = made(0)
    bus.history = [event] * history  # full when the watch starts
    watch = Stopwatch()
    for number in range(count):
        await bus.publish(made(number) if making else event)
    measured = watch.hops(count, 0)
    assert heard == matching * count, heard
    return measured


def heard(matching: int, others: int, count: int, history: int = HISTORY, making: bool = False) -> Hops:
    """So many events to so many subscriptions, beside others for other executions."""
    return asyncio.run(_heard(matching, others, count, history, making))


async def _crowding(publishers: int, count: int) -> Hops:
    heard = 0

    async def hear(event: Event) -> None:
        nonlocal heard
        heard += 1

    async def publisher() -> None:
        for _ in range(count):
            await bus.publish(event)

    bus, event = ObviousBus(), made(0)
    bus.history = [event] * HISTORY
    bus.subscribe(["node_loop_iteration"], hear)
    watch = Stopwatch()
    await asyncio.gather(*(publisher() for _ in range(publishers)))
    measured = watch.hops(publishers * count, 0)
    assert heard == publishers * count, heard
    return measured


def crowding(publishers: int, count: int) -> Hops:
    """So many tasks at once that publish so many events each."""
    return asyncio.run(_crowding(publishers, count))


async def _late(count: int, pace: float, seconds: float) -> float:
    late: list[float] = []

    async def fast(event: Event) -> None:
        late.append(time.perf_counter() - event.data["due"])

    async def slow(event: Event) -> None:
        await asyncio.sleep(seconds)

    bus = ObviousBus()
    bus.subscribe(["node_loop_iteration"], fast)
    bus.subscribe(["node_loop_iteration"], slow)
    started = time.perf_counter()
    for number in range(count):
        due = started + number * pace
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await bus.publish(Event("node_loop_iteration", "organism", data={"due": due}))
    assert len(late) == count, len(late)
    return max(late)


def late(count: int, pace: float, seconds: float) -> float:
    """Seconds the latest of so many events was late, one being due each ``pace`` seconds."""
    return asyncio.run(_late(count, pace, seconds))
