"""The cases on the event bus. Each returns one plain number; `obvious_bus_cases` mirrors some.

Events go out in bursts of 64 with one checkpoint after each, as a busy program sends them, and the
watch runs until every handler has seen everything. Each case counts what was heard: a bus that
loses events is quick. Where a name does not say otherwise the events are made beforehand, here and
there, so that the figure is the bus's own, and history is full when the watch starts.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Final

import trio
from trio.testing import wait_all_tasks_blocked

from phloem.events import AgentEvent, EventBus, EventType, open_event_bus

from .measuring import Hops, Stopwatch, resident_bytes

BURST: Final = 64  # a sixteenth of the smallest mailbox: nothing may be dropped
FILL: Final = 16  # bursts before the watch starts; a history of 1,000 is full then
MAILBOX: Final = 1_024
CROWD: Final = 100
ITERATION: Final = EventType.NODE_LOOP_ITERATION

Speaker = Callable[[EventBus, Sequence[str], int], Awaitable[None]]


def made(number: int, kind: str = ITERATION, run: str = "run-0") -> AgentEvent:
    return AgentEvent(kind, "organism", "ping", run, {"node_id": "ping", "iteration": number})


async def _checkpoints(count: int) -> Hops:
    checkpoint, watch = trio.lowlevel.checkpoint, Stopwatch()
    for _ in range(count):
        await checkpoint()
    return watch.hops(count, 0)


def checkpoints(count: int) -> Hops:
    """The unit of every figure, in rounds as short as the others here."""
    return trio.run(_checkpoints, count)


async def emitting(bus: EventBus, kinds: Sequence[str], bursts: int) -> None:
    events = [made(number, kinds[number % len(kinds)]) for number in range(BURST)]
    emit, checkpoint = bus.emit, trio.lowlevel.checkpoint
    for _ in range(bursts):
        for event in events:
            emit(event)
        await checkpoint()


async def making(bus: EventBus, kinds: Sequence[str], bursts: int) -> None:
    emit, checkpoint = bus.emit, trio.lowlevel.checkpoint
    for _ in range(bursts):
        for number in range(BURST):
            emit(made(number))
        await checkpoint()


async def publishing(bus: EventBus, kinds: Sequence[str], bursts: int) -> None:
    await _publish(bus, bursts * BURST)


async def crowding(bus: EventBus, kinds: Sequence[str], bursts: int) -> None:
    """As many events from 100 tasks at once."""
    each, left = divmod(bursts * BURST, CROWD)
    async with trio.open_nursery() as nursery:
        for number in range(CROWD):
            nursery.start_soon(_publish, bus, each + (number < left))


async def _publish(bus: EventBus, count: int) -> None:
    event, publish = made(0), bus.publish
    for _ in range(count):
        await publish(event)


async def _heard(
    matching: int, others: int, count: int, history: int, speak: Speaker, kinds: Sequence[str]
) -> Hops:
    heard = 0

    async def hear(event: AgentEvent) -> None:
        nonlocal heard
        heard += 1

    bursts = count // BURST
    async with open_event_bus(max_history=history) as bus:
        for number in range(matching + others):
            run = "run-0" if number < matching else f"run-{number}"
            bus.subscribe(kinds, hear, filter_execution=run)
        await emitting(bus, kinds, FILL)
        await wait_all_tasks_blocked()
        heard = 0
        watch = Stopwatch()
        await speak(bus, kinds, bursts)
        await wait_all_tasks_blocked()  # by now all has been handled, or is lost
        measured = watch.hops(bursts * BURST, 0)
        assert heard == matching * bursts * BURST, heard
        assert bus.get_stats()["total_events"] == (FILL + bursts) * BURST
    return measured


def heard(
    matching: int,
    others: int,
    count: int,
    *,
    history: int = 1_000,
    speak: Speaker = emitting,
    kinds: Sequence[str] = (ITERATION,),
) -> Hops:
    """About so many events to so many subscriptions, beside others for other executions."""
    return trio.run(_heard, matching, others, count, history, speak, kinds)


def crowd_over_one(rounds: int, count: int) -> float:
    """What an event costs among 1,000 subscriptions, one of which it matches, over that one alone.

    The median over pairs of rounds side by side: the machine's pace changes between two best ones.
    """
    return median(heard(1, 999, count).cpu / heard(1, 0, count).cpu for _ in range(rounds))


async def _recorded(count: int) -> Hops:
    kinds = (EventType.NODE_LOOP_STARTED, EventType.NODE_LOOP_COMPLETED)
    async with open_event_bus() as bus:
        record = bus.record
        for number in range(FILL * BURST):
            record(kinds[number & 1], "organism", "ping", "run-0", {"iteration": number}, "id", "cause")
        watch = Stopwatch()
        for number in range(count):
            record(kinds[number & 1], "organism", "ping", "run-0", {"iteration": number}, "id", "cause")
        measured = watch.hops(count, 0)
        assert bus.get_stats()["total_events"] == FILL * BURST + count
        assert bus.get_history(limit=1)[0].data == {"iteration": count - 1}
    return measured


def recorded(count: int) -> Hops:
    """So many events of the pump's that nobody has subscribed to."""
    return trio.run(_recorded, count)


async def _beside_slow(count: int, seconds: float) -> Hops:
    fast_heard = slow_heard = 0

    async def fast(event: AgentEvent) -> None:
        nonlocal fast_heard
        fast_heard += 1

    async def slow(event: AgentEvent) -> None:
        nonlocal slow_heard
        slow_heard += 1
        await trio.sleep(seconds)

    bursts = count // BURST
    async with open_event_bus() as bus:
        bus.subscribe(ITERATION, fast)
        neighbour = bus.subscribe(ITERATION, slow)
        await emitting(bus, (ITERATION,), FILL + 1)  # its mailbox is full
        await wait_all_tasks_blocked()
        fast_heard = 0
        watch = Stopwatch()
        await emitting(bus, (ITERATION,), bursts)
        await wait_all_tasks_blocked()
        measured = watch.hops(bursts * BURST, 0)
        stats = bus.get_stats()["subscription_stats"][neighbour]
        assert fast_heard == bursts * BURST, fast_heard
        assert stats["lagged"] >= bursts * BURST - MAILBOX - slow_heard, stats
        bus.unsubscribe(neighbour)  # or leaving would wait for what it has not handled
    return measured


def beside_slow(count: int, seconds: float) -> Hops:
    """So many events to one subscription, while another sleeps on each and loses most."""
    return trio.run(_beside_slow, count, seconds)


async def _late(count: int, pace: float, seconds: float) -> float:
    late: list[float] = []

    async def fast(event: AgentEvent) -> None:
        late.append(time.perf_counter() - event.data["due"])

    async def slow(event: AgentEvent) -> None:
        await trio.sleep(seconds)

    async with open_event_bus() as bus:
        bus.subscribe(ITERATION, fast)
        neighbour = bus.subscribe(ITERATION, slow)
        started = time.perf_counter()
        for number in range(count):
            due = started + number * pace
            await trio.sleep(max(0.0, due - time.perf_counter()))
            bus.emit(AgentEvent(ITERATION, "organism", data={"due": due}))
        await wait_all_tasks_blocked()
        bus.unsubscribe(neighbour)
    assert len(late) == count, len(late)
    return max(late)


def late(count: int, pace: float, seconds: float) -> float:
    """Seconds the latest of so many events was late beside a handler that sleeps on each.

    One is due each ``pace`` seconds, and lateness counts from then: a publisher that is held up
    must not flatter the bus that holds it up.
    """
    return trio.run(_late, count, pace, seconds)


def _objects() -> int:
    """Small blocks of memory in use, which is about how many objects there are."""
    gc.collect()
    return sys.getallocatedblocks()


async def _kept(count: int) -> tuple[Hops, int]:
    before: list[tuple[int, int]] = []
    heard = spoken = 0

    async def hear(event: AgentEvent) -> None:
        nonlocal heard
        heard += 1

    async with open_event_bus() as bus:
        watch = Stopwatch()
        while spoken < count:
            if spoken >= count // 5 and not before:
                before.append((resident_bytes(), _objects()))
            run = f"run-{spoken}"
            watcher = bus.subscribe(None, hear, filter_execution=run)
            for kind in EventType:
                node = f"node-{spoken % 7}"
                bus.emit(AgentEvent(kind, "organism", node, run, {"run": run}, correlation_id=run))
            spoken += len(EventType)
            await wait_all_tasks_blocked()
            assert heard == spoken, (heard, spoken)
            bus.unsubscribe(watcher)
        bytes_before, objects_before = before[0]
        measured = watch.hops(spoken, resident_bytes() - bytes_before)
        return measured, _objects() - objects_before


def kept(count: int) -> tuple[Hops, int]:
    """About so many events, the 25 types for one execution after the other, each with its own watcher.

    And how many more objects there are than after a fifth: memory that other cases have given back
    would hide thousands of forgotten subscriptions.
    """
    return trio.run(_kept, count)
