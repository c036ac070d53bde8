"""Places: who holds one while its handler waits inside the bus, comes back, is cancelled or slow."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from phloem.events import AgentEvent, open_event_bus
from support.buses import event


@pytest.mark.parametrize("cancelled", ["while it waits", "while it comes back"])
async def test_a_handler_whose_wait_is_cancelled_counts_again(
    cancelled: str, autojump_clock: MockClock
) -> None:
    scope, gate, running = trio.CancelScope(), trio.Event(), []
    async with open_event_bus(max_concurrent_handlers=1, slow_after=1e6) as bus:

        async def waits(e: AgentEvent) -> None:
            with scope:
                await bus.wait_for("state_changed")
            running.append("a")
            await trio.sleep(10)
            running.remove("a")

        async def other(e: AgentEvent) -> None:
            running.append("b")
            await gate.wait()
            running.remove("b")

        late = []

        async def third(e: AgentEvent) -> None:
            late.append(list(running))

        bus.subscribe("custom", waits, "a")
        bus.subscribe("custom", other, "b")
        bus.subscribe("custom", third, "c")
        bus.emit(event(stream="a"))
        await trio.sleep(1)
        if cancelled == "while it comes back":
            bus.emit(event(stream="b"))
            await trio.sleep(1)
            bus.emit(event(type="state_changed"))
            await trio.sleep(1)
            scope.cancel()
            await trio.sleep(1)
            assert running == ["b", "a"], "over the bound, since it was cancelled"
            gate.set()
            await trio.sleep(1)
        else:
            scope.cancel()
            await trio.sleep(1)
        bus.emit(event(stream="c"))
        await trio.sleep(1)
        assert late == [], "the only place is taken"
        await trio.sleep(20)
        assert late == [[]]


async def test_nothing_is_left_of_a_place_though_one_task_comes_back_and_another_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    scope, gate = trio.CancelScope(), trio.Event()
    async with open_event_bus(max_concurrent_handlers=1, slow_after=1e6) as bus:

        async def two(e: AgentEvent) -> None:
            async def cut() -> None:
                with scope:
                    await bus.wait_for("goal_progress")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cut)
                nursery.start_soon(partial(bus.wait_for, "state_changed"))

        async def holds(e: AgentEvent) -> None:
            await gate.wait()

        bus.subscribe("custom", two, "two")
        bus.subscribe("custom", holds, "holds")
        bus.emit(event(stream="two"))
        await wait_all_tasks_blocked()
        bus.emit(event(stream="holds"))
        await wait_all_tasks_blocked()
        bus.emit(event(type="state_changed"))
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        gate.set()
        await wait_all_tasks_blocked()
        assert bus._pool._active == 0
        done = []
        bus.subscribe("custom", lambda e: done.append(e.seq), "again")
        bus.emit(event(stream="again"))
        await wait_all_tasks_blocked()
        assert len(done) == 1


async def test_who_waits_for_his_place_until_he_is_slow_goes_on_without_one(
    autojump_clock: MockClock,
) -> None:
    on: list[float] = []
    async with open_event_bus(max_concurrent_handlers=1, slow_after=1, grace=0) as bus:

        async def back(e: AgentEvent) -> None:
            await bus.wait_for("state_changed")
            on.append(trio.current_time())

        async def quick(e: AgentEvent) -> None:  # holds the place, handler after handler, none of them slow
            await trio.sleep(0.4)
            if e.data["n"]:
                bus.emit(event(e.data["n"] - 1, stream="quick"))

        async def hang(e: AgentEvent) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.9)

        bus.subscribe("custom", back, "back")
        bus.subscribe("custom", hang, "hang")
        start = trio.current_time()
        bus.emit(event(stream="back"))
        await trio.sleep(0.6)
        bus.emit(event(stream="hang"))
        await trio.sleep(0.1)
        bus.emit(event(type="state_changed"))
        await trio.sleep(0.65)  # 1.35: back is slow by now, hang is not
        assert on
        assert on[0] - start < 1.3


async def test_a_concurrent_subscription_that_waits_for_a_place_is_no_circle(
    autojump_clock: MockClock,
) -> None:
    async with open_event_bus(max_concurrent_handlers=2, buffer=2, slow_after=1e6) as bus:
        depths: list[int] = []

        async def handler(e: AgentEvent) -> None:
            if e.data["n"]:
                for _ in range(4):
                    await bus.publish(event(0))
                    depths.append(bus.get_stats()["subscription_stats"][id]["queue_depth"])

        async def busy(e: AgentEvent) -> None:
            await trio.sleep(1)

        id = bus.subscribe("custom", handler, "s", concurrent=True)
        bus.subscribe("custom", busy, "busy")
        bus.emit(event(stream="busy"))
        bus.emit(event(1))
        await trio.sleep(3)
        assert len(depths) == 4
        assert max(depths) <= 2


async def test_a_slow_handler_that_comes_back_needs_no_place(autojump_clock: MockClock) -> None:
    on: list[int] = []
    async with open_event_bus(max_concurrent_handlers=1, slow_after=1, grace=0) as bus:

        async def slow(e: AgentEvent) -> None:
            await trio.sleep(2)
            await bus.wait_for("state_changed")
            on.append(1)

        async def holds(e: AgentEvent) -> None:
            await trio.sleep(0.9)

        bus.subscribe("custom", slow, "slow")
        bus.subscribe("custom", holds, "holds")
        bus.emit(event(stream="slow"))
        await trio.sleep(2.5)
        bus.emit(event(stream="holds"))
        await trio.sleep(0.1)
        bus.emit(event(type="state_changed"))
        await trio.sleep(0.1)
        assert on == [1]


async def test_a_slow_handler_whose_wait_is_cancelled_does_not_count_again(autojump_clock: MockClock) -> None:
    seen = []
    async with open_event_bus(max_concurrent_handlers=1, slow_after=1, grace=0) as bus:

        async def slow(e: AgentEvent) -> None:
            await trio.sleep(2)
            with trio.move_on_after(0.1):
                await bus.expect("state_changed")
            await trio.sleep(50)

        bus.subscribe("custom", slow, "slow")
        bus.subscribe("custom", lambda e: seen.append(1), "other")
        bus.emit(event(stream="slow"))
        await trio.sleep(3)
        bus.emit(event(stream="other"))
        await trio.sleep(0.1)
        assert seen == [1]


async def test_a_handler_of_which_one_task_still_waits_holds_no_place(autojump_clock: MockClock) -> None:
    done = []
    async with open_event_bus(max_concurrent_handlers=1, slow_after=1e6, grace=0) as bus:

        async def two(e: AgentEvent) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bus.wait_for, "state_changed")
                nursery.start_soon(bus.wait_for, "goal_progress")
            done.append(1)

        bus.subscribe("custom", two, "two")
        bus.subscribe("custom", lambda e: bus.emit(event(type="goal_progress")), "other")
        bus.emit(event(stream="two"))
        await wait_all_tasks_blocked()
        bus.emit(event(type="state_changed"))
        await wait_all_tasks_blocked()
        bus.emit(event(stream="other"))
        await wait_all_tasks_blocked()
        assert done == [1]
        assert bus._pool._active == 0


async def test_a_place_is_taken_once_though_two_tasks_of_a_handler_come_back(
    autojump_clock: MockClock,
) -> None:
    go, gate, scope = trio.Event(), trio.Event(), trio.CancelScope()
    async with open_event_bus(max_concurrent_handlers=1, slow_after=1e6, grace=0) as bus:

        async def two(e: AgentEvent) -> None:
            async def later() -> None:
                await go.wait()
                with scope:
                    await bus.wait_for("goal_progress")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(later)
                await bus.wait_for("state_changed")

        async def holds(e: AgentEvent) -> None:
            await gate.wait()

        bus.subscribe("custom", two, "two")
        bus.subscribe("custom", holds, "holds")
        bus.emit(event(stream="two"))
        await wait_all_tasks_blocked()
        bus.emit(event(stream="holds"))
        await wait_all_tasks_blocked()
        bus.emit(event(type="state_changed"))
        await wait_all_tasks_blocked()  # one waits for the place
        go.set()
        await wait_all_tasks_blocked()  # the other begins to wait in the bus
        scope.cancel()
        await wait_all_tasks_blocked()
        gate.set()
        await wait_all_tasks_blocked()
        assert bus._pool._active == 0
        assert bus._pool.running == 0
