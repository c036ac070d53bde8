"""Handlers at work: how many at once, whom a slow one holds up, what a broken one can do."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from phloem.events import AgentEvent, EventBus, open_event_bus
from support.buses import accounted, event, noting, stats_of


class Crowd:
    """Handlers that sleep, and how many of them have been at work at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now, self.most, self.done = seconds, 0, 0, 0

    async def handler(self, event: AgentEvent) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await trio.sleep(self.seconds)
        self.now -= 1
        self.done += 1


@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_so_many_handlers_run_at_once_over_the_whole_bus(limit: int, autojump_clock: MockClock) -> None:
    crowd = Crowd(0.5)
    async with open_event_bus(max_concurrent_handlers=limit, grace=1_000) as bus:
        for _ in range(12):
            bus.subscribe("custom", crowd.handler)
        bus.subscribe("custom", crowd.handler, concurrent=True)
        for n in range(3):
            bus.emit(event(n))
    assert crowd.most == limit
    assert crowd.done == 39


async def test_ten_hung_handlers_starve_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[float, int]] = []

    async def hangs(event: AgentEvent) -> None:
        await trio.sleep_forever()

    async with open_event_bus(max_concurrent_handlers=10, slow_after=1, grace=0) as bus:
        for _ in range(10):
            bus.subscribe("custom", hangs)
        bus.emit(event())
        bus.subscribe("state_changed", lambda e: seen.append((trio.current_time(), e.data["n"])))
        started = trio.current_time()
        bus.emit(event(1, type="state_changed"))
        await trio.sleep(5)
        bus.emit(event(2, type="state_changed"))
        await trio.sleep(0.1)
        assert [(at - started, n) for at, n in seen] == [(1, 1), (5, 2)]
    assert sum("runs for 1.0 s" in record.getMessage() for record in caplog.records) == 10


async def test_hung_handlers_of_one_concurrent_subscription_do_not_stop_it(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []

    async def handler(event: AgentEvent) -> None:
        if event.data["n"] < 25:
            await trio.sleep_forever()
        done.append(event.data["n"])

    async with open_event_bus(max_concurrent_handlers=10, slow_after=1, grace=0) as bus:
        id = bus.subscribe("custom", handler, concurrent=True)
        for n in range(30):
            bus.emit(event(n))
        await trio.sleep(10)
        assert done == [25, 26, 27, 28, 29]
        assert stats_of(bus, id)["slow"] == 25
        assert stats_of(bus, id)["running"] == 25


async def test_the_watchdog_names_a_handler_that_runs_too_long_and_leaves_it_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[float] = []

    async def slow(event: AgentEvent) -> None:
        await trio.sleep(7)
        done.append(trio.current_time())

    async with open_event_bus(slow_after=2, grace=100) as bus:
        id = bus.subscribe("custom", slow, name="the slow one")
        bus.emit(event())
        started = trio.current_time()
        await trio.sleep(6)
        assert stats_of(bus, id)["slow"] == 1
        bus.emit(event(1))
    assert [at - started for at in done] == [7, 14]
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 2
    assert "the slow one" in told[0].getMessage()


async def test_a_handler_that_is_quick_each_time_is_never_called_slow(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def quick(event: AgentEvent) -> None:
        await trio.sleep(0.9)

    async with open_event_bus(slow_after=1, grace=1_000) as bus:
        id = bus.subscribe("custom", quick)
        for n in range(100):
            bus.emit(event(n))
        await trio.sleep(99)
        assert stats_of(bus, id)["slow"] == 0
    assert caplog.records == []


async def test_an_idle_bus_has_no_timer(autojump_clock: MockClock) -> None:
    async with open_event_bus() as bus:
        bus.subscribe("custom", noting([]))
        bus.emit(event())
        await trio.sleep(10)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")


@pytest.mark.parametrize("wait", ["publish", "deliver", "wait_for", "stream", "expect"])
async def test_a_handler_that_waits_inside_the_bus_gives_its_place_back(
    wait: str, autojump_clock: MockClock
) -> None:
    """One place: only if the waiting handler leaves it can the other do what it waits for."""
    done: list[str] = []
    gate = trio.Event()

    async def waits(_: AgentEvent) -> None:
        if wait == "publish":
            await bus.publish(event(1, type="state_changed"))
        elif wait == "deliver":
            await bus.deliver(event(1, type="state_changed"))
        elif wait == "wait_for":
            await bus.wait_for("goal_achieved")
        elif wait == "stream":
            async with bus.open_stream("goal_achieved") as events:
                await events.receive()
        else:
            await bus.expect("goal_achieved")
        done.append("waited")

    async def helps(event: AgentEvent) -> None:
        gate.set()
        bus.emit(AgentEvent("goal_achieved", "s"))
        done.append("helped")

    async with open_event_bus(max_concurrent_handlers=1, slow_after=1_000, grace=0) as bus:
        bus.subscribe("custom", waits)
        bus.subscribe("state_changed", helps, buffer=1)
        bus.emit(event())
        await wait_all_tasks_blocked()
        if wait in ("wait_for", "stream", "expect"):
            bus.emit(event(type="state_changed"))
        await wait_all_tasks_blocked()
        assert sorted(done) == ["helped", "waited"]


async def test_who_has_waited_inside_the_bus_goes_on_only_when_there_is_a_place(
    autojump_clock: MockClock,
) -> None:
    at_work, most = 0, 0

    async def busy() -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await trio.sleep(0.5)
        at_work -= 1

    async def waits(event: AgentEvent) -> None:
        await busy()
        await bus.wait_for("goal_achieved")
        await busy()

    async def works(event: AgentEvent) -> None:
        await busy()

    async with open_event_bus(max_concurrent_handlers=2, slow_after=100, grace=100) as bus:
        for _ in range(5):
            bus.subscribe("custom", waits)
        bus.subscribe("state_changed", works, concurrent=True)
        bus.emit(event())
        for n in range(10):
            bus.emit(event(n, type="state_changed"))
        await trio.sleep(1.1)
        bus.emit(event(type="goal_achieved"))
        await trio.sleep(0.1)
        bus.emit(event(type="goal_achieved"))
        await trio.sleep(3)
        bus.emit(event(type="goal_achieved"))
    assert most == 2


async def test_a_busy_subscription_gives_way_to_others_now_and_then() -> None:
    seen: list[int] = []
    async with open_event_bus(max_concurrent_handlers=1, buffer=10_000) as bus:
        bus.subscribe("custom", noting([]))
        for n in range(5_000):
            bus.emit(event(n))
        bus.subscribe("state_changed", noting(seen))
        bus.emit(event(type="state_changed"))
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        assert seen == [0]


async def test_a_handler_that_never_checkpoints_does_not_stop_the_loop() -> None:
    async with open_event_bus(grace=0) as bus:

        async def again(_: AgentEvent) -> None:  # publishes as fast as it is called
            bus.emit(event())

        bus.subscribe("custom", again)
        bus.emit(event())
        with trio.fail_after(5):
            for _ in range(1_000):
                await trio.lowlevel.checkpoint()


# -- what handlers leave behind --------------------------------------------------------------------


async def scope_left_open(scopes: list[Any]) -> AsyncIterator[None]:
    with trio.CancelScope() as scope:
        scopes.append(scope)
        yield  # noqa: ASYNC101, ASYNC119 - what the test is about


async def nursery_left_open(scopes: list[Any]) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        scopes.append(nursery.cancel_scope)
        nursery.start_soon(trio.sleep_forever)
        yield  # noqa: ASYNC101, ASYNC119 - what the test is about


@pytest.mark.parametrize("leave", [scope_left_open, nursery_left_open])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_scope_or_nursery_left_open_by_a_handler_hurts_nobody_else(
    leave: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Broken out of a generator that holds it; and then the scope is cancelled, too."""
    seen: list[int] = []
    scopes: list[Any] = []
    generators: list[Any] = []

    async def bad(_: AgentEvent) -> None:
        generator = leave(scopes)
        generators.append(generator)
        async for _ in generator:
            break

    async def good(event: AgentEvent) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(event.data["n"])

    async with open_event_bus(max_concurrent_handlers=1) as bus:
        id = bus.subscribe("custom", bad, name="the bad one")
        bus.subscribe("custom", good)
        for n in range(4):
            bus.emit(event(n))
            await wait_all_tasks_blocked()
            for scope in scopes:
                scope.cancel()
            await wait_all_tasks_blocked()
        for n in range(4, 8):
            bus.emit(event(n))
        await wait_all_tasks_blocked()
        assert accounted(stats_of(bus, id)) == 8
    assert seen == list(range(8))
    assert any("the bad one" in r.getMessage() and "scope open" in r.getMessage() for r in caplog.records)
    generators.clear()


async def test_workers_are_reused_and_few() -> None:
    async with open_event_bus(max_concurrent_handlers=4) as bus:
        for _ in range(50):
            bus.subscribe("custom", noting([]))
        before = trio.lowlevel.current_statistics().tasks_living
        for n in range(20):
            bus.emit(event(n))
            await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living - before <= 2 * 4


async def test_a_burst_of_hung_handlers_leaves_no_more_tasks_than_before_once_they_return(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def slow(event: AgentEvent) -> None:
        await trio.sleep(50)

    async with open_event_bus(max_concurrent_handlers=2, grace=0) as bus:
        bus.subscribe("custom", slow, concurrent=True)
        before = trio.lowlevel.current_statistics().tasks_living
        for n in range(100):
            bus.emit(event(n))
        await trio.sleep(200)
        assert trio.lowlevel.current_statistics().tasks_living - before <= 2 * 2


async def test_stats_tell_who_is_at_work(autojump_clock: MockClock) -> None:
    async def slow(event: AgentEvent) -> None:
        await trio.sleep(0.5)

    async with open_event_bus(grace=10) as bus:
        id = bus.subscribe("custom", slow)
        for n in range(3):
            bus.emit(event(n))
        await trio.sleep(0.1)
        assert bus.get_stats()["handlers_running"] == 1
        assert stats_of(bus, id) == {
            "delivered": 0,
            "lagged": 0,
            "errors": 0,
            "discarded": 0,
            "queue_depth": 2,
            "running": 1,
            "slow": 0,
        }
        await _until_quiet(bus)
        assert stats_of(bus, id)["delivered"] == 3


async def _until_quiet(bus: EventBus) -> None:
    with trio.fail_after(100):
        await bus._pool.quiet()
