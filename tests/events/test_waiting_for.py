"""``wait_for``: its clock, what cancelling it leaves, and handlers that wait in it."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import InvalidEvent
from phloem.events.bus import EventBus
from phloem.events.expecting import Expectation
from phloem.events.opening import open_event_bus
from phloem.events.types import AgentEvent
from support.streaming import emitted, numbered, plain

settled = trio.testing.wait_all_tasks_blocked


def assert_nothing_is_armed(bus: EventBus) -> None:
    assert bus._expected == {}
    assert len(bus._commits.routes) == 0
    assert bus._commits.routes.tables == {}


# -- wait_for and its clock ---------------------------------------------------------------------------


async def test_wait_for_returns_the_first_match() -> None:
    async with open_event_bus() as bus, trio.open_nursery() as nursery:

        async def publish() -> None:
            bus.emit(numbered(0, stream="other"))
            emitted(bus, 1, 2)

        nursery.start_soon(publish)
        event = await bus.wait_for("custom", "s")
        assert event is not None
        assert plain(event) == 1
        assert_nothing_is_armed(bus)


async def test_wait_for_does_not_look_back() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 1)
        assert await bus.wait_for("custom", timeout=0) is None


async def test_it_returns_none_once_the_time_is_over(autojump_clock: trio.testing.MockClock) -> None:
    async with open_event_bus() as bus:
        began = trio.current_time()
        assert await bus.wait_for("custom", timeout=90) is None
        assert trio.current_time() - began == 90
        assert_nothing_is_armed(bus)


@pytest.mark.parametrize("limit", [None, math.inf])
async def test_without_a_timeout_it_waits_as_long_as_it_takes(
    limit: float | None, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_event_bus() as bus, trio.open_nursery() as nursery:

        async def publish() -> None:
            await trio.sleep(80_000)
            emitted(bus, 1)

        nursery.start_soon(publish)
        assert await bus.wait_for("custom", timeout=limit) is not None


async def test_an_event_at_the_very_time_of_the_timeout_is_not_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for _ in range(50):  # whichever of the two tasks runs first
        async with open_event_bus() as bus, trio.open_nursery() as nursery:
            returned: list[AgentEvent | None] = []
            missed: list[bool] = []

            async def publish(bus: EventBus, missed: list[bool]) -> None:
                await trio.sleep(1)
                missed.append(not bus._expected)
                emitted(bus, 1)

            async def wait(bus: EventBus, returned: list[AgentEvent | None]) -> None:
                returned.append(await bus.wait_for("custom", timeout=1))

            nursery.start_soon(publish, bus, missed)
            nursery.start_soon(wait, bus, returned)
        assert (returned[0] is None) is missed[0], "None only if it came after the wait was over"


async def test_an_event_in_the_same_step_as_the_timeout_is_not_lost(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        returned: list[AgentEvent | None] = []

        async def wait() -> None:
            returned.append(await bus.wait_for("custom", timeout=1))

        nursery.start_soon(wait)
        await settled()
        emitted(bus, 1)
        mock_clock.jump(1)
        await settled()
        assert [plain(event) for event in returned if event is not None] == [1]


async def test_0_polls_and_lets_a_task_that_is_ready_publish() -> None:
    for _ in range(50):  # whichever of the two tasks runs first
        async with open_event_bus() as bus, trio.open_nursery() as nursery:
            with trio.fail_after(5):
                assert await bus.wait_for("custom", timeout=0) is None
                nursery.start_soon(bus.publish, numbered(1))
                event = await bus.wait_for("custom", timeout=0)
            assert event is not None
            assert plain(event) == 1
            assert_nothing_is_armed(bus)


async def test_0_polls_in_a_moment_of_no_length(autojump_clock: trio.testing.MockClock) -> None:
    async with open_event_bus() as bus:
        began = trio.current_time()
        for limit in (0, 0.0, -0.0):
            assert await bus.wait_for("custom", timeout=limit) is None
        assert trio.current_time() == began


@pytest.mark.parametrize("limit", [None, 0, 0.01, math.inf])
async def test_wait_for_is_a_checkpoint(limit: float | None) -> None:
    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        nursery.start_soon(bus.publish, numbered(1))
        with trio.testing.assert_checkpoints():
            await bus.wait_for("custom", timeout=limit)


# -- cancelled ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 0, 5])
async def test_a_cancelled_wait_leaves_nothing(limit: float | None) -> None:
    async with open_event_bus() as bus:
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test")
            await bus.wait_for("custom", timeout=limit)
        assert scope.cancelled_caught
        assert_nothing_is_armed(bus)
        with bus.expect("custom") as expected:
            emitted(bus, 1)
            assert plain(await expected) == 1


async def test_thousands_of_cancelled_waits_leave_no_trace() -> None:
    def alive() -> int:
        gc.collect()
        return sum(isinstance(each, Expectation) for each in gc.get_objects())

    before = alive()
    async with open_event_bus() as bus:
        id = bus.subscribe("custom", lambda event: None)
        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for n in range(500):
                    stream, node = f"s{n}", f"n{n}"
                    nursery.start_soon(bus.wait_for, ["custom", "goal_progress"], stream, node, f"e{n}", 9)
                await settled()
                assert len(bus._commits.routes) == 501
                nursery.cancel_scope.cancel(reason="the test")
        assert len(bus._commits.routes) == 1
        assert bus.unsubscribe(id)
        assert_nothing_is_armed(bus)
        assert bus._room._waiters == {}
        assert alive() <= before


async def test_a_wait_cancelled_from_outside_is_cancelled_not_timed_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    returned: list[Any] = []
    async with open_event_bus() as bus:
        with trio.move_on_after(1) as scope:
            returned.append(await bus.wait_for("custom", timeout=5))
        assert scope.cancelled_caught
        assert returned == []


# -- refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "found"),
    [(-1, "-1"), (-0.5, "-0.5"), (math.nan, "nan"), (-math.inf, "-inf"), ("1", "'1'"), (True, "True")],
)
async def test_a_timeout_that_is_none_is_refused(limit: Any, found: str) -> None:
    async with open_event_bus() as bus:
        with pytest.raises(InvalidEvent) as caught:
            await bus.wait_for("custom", timeout=limit)
        assert str(caught.value) == f"timeout: found {found}, expected seconds, 0 or more"
        assert_nothing_is_armed(bus)


async def test_a_timeout_too_large_for_any_clock_is_none_at_all() -> None:
    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        nursery.start_soon(bus.publish, numbered(1))
        assert await bus.wait_for("custom", timeout=10**400) is not None


EXPECTED = "None (any) or a text that is not empty"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stream_id": ""}, f"stream_id: found '', expected {EXPECTED}"),
        ({"node_id": ""}, f"node_id: found '', expected {EXPECTED}"),
        ({"execution_id": 7}, f"execution_id: found a value of type int, expected {EXPECTED}"),
        (
            {"event_type": "goal"},
            "event_type: found the unknown type 'goal', expected one of EventType, or a name registered with "
            "bus.register_type(name)",
        ),
        (
            {"event_type": ()},
            "event_type: found an empty tuple, expected None (any), an event type, or an iterable of them; "
            "at least one",
        ),
    ],
)
async def test_filters_that_are_none_are_refused_at_once(settings: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"event_type": "custom", **settings}
    async with open_event_bus() as bus:
        with pytest.raises(InvalidEvent) as caught:
            bus.expect(**given)
        assert str(caught.value) == said
        with pytest.raises(InvalidEvent) as caught:
            await bus.wait_for(**given)
        assert str(caught.value) == said
        assert_nothing_is_armed(bus)


# -- inside a handler --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["wait_for", "with a timeout", "await", "wait"])
async def test_a_handler_that_waits_gives_its_place_to_the_one_that_publishes_what_it_waits_for(
    how: str,
) -> None:
    found: list[AgentEvent | None] = []
    async with open_event_bus(max_concurrent_handlers=1, slow_after=math.inf) as bus:

        async def waits(event: AgentEvent) -> None:
            match how:
                case "wait_for":
                    found.append(await bus.wait_for("goal_achieved"))
                case "with a timeout":
                    found.append(await bus.wait_for("goal_achieved", timeout=5))
                case "await":
                    found.append(await bus.expect("goal_achieved"))
                case _:
                    found.append(await bus.expect("goal_achieved").wait())

        async def publishes(event: AgentEvent) -> None:
            await bus.publish(numbered(1, "goal_achieved"))

        bus.subscribe("custom", waits)
        bus.subscribe("custom", publishes)
        with trio.fail_after(5):
            assert (await bus.deliver(numbered(0))).errors == {}
        assert [plain(event) for event in found if event is not None] == [1]
        assert_place_is_free(bus)


async def test_many_handlers_may_wait_at_once_over_one_place() -> None:
    found: list[int] = []
    async with open_event_bus(max_concurrent_handlers=1, slow_after=math.inf) as bus:

        async def waits(event: AgentEvent) -> None:
            answer = await bus.wait_for("goal_achieved", execution_id=event.execution_id)
            assert answer is not None
            found.append(plain(answer))

        bus.subscribe("custom", waits, concurrent=True)
        for n in range(50):
            bus.emit(numbered(n, execution_id=f"e{n}"))
        await settled()
        assert len(bus._expected) == 50
        for n in range(50):
            bus.emit(numbered(n, "goal_achieved", execution_id=f"e{n}"))
        await settled()
        assert sorted(found) == list(range(50))
        assert_place_is_free(bus)


async def test_a_handler_whose_wait_times_out_or_is_cancelled_takes_its_place_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []
    async with open_event_bus(max_concurrent_handlers=1, slow_after=math.inf, grace=100) as bus:

        async def waits(event: AgentEvent) -> None:
            assert await bus.wait_for("goal_achieved", timeout=1) is None
            with trio.move_on_after(1):
                await bus.wait_for("goal_achieved")
            log.append("begin")
            await trio.sleep(1)
            log.append("end")

        async def short(event: AgentEvent) -> None:
            log.append("begin")
            await trio.sleep(1)
            log.append("end")

        bus.subscribe("custom", waits, concurrent=True)
        bus.subscribe("custom", short, concurrent=True)
        for n in range(4):
            bus.emit(numbered(n))
        await trio.sleep(60)
        assert log.count("end") == 8
        assert_place_is_free(bus)


async def test_a_handler_that_is_cut_off_while_it_waits_leaves_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_event_bus(max_concurrent_handlers=1) as bus:

        async def waits(event: AgentEvent) -> None:
            await bus.wait_for("goal_achieved")

        id = bus.subscribe("custom", waits, cancel_after=1)
        assert isinstance((await bus.deliver(numbered(0))).errors[id], trio.TooSlowError)
        assert bus.unsubscribe(id)
        assert_nothing_is_armed(bus)
        assert_place_is_free(bus)


async def test_the_bus_can_be_left_while_handlers_wait() -> None:
    async with open_event_bus(grace=0) as bus:

        async def waits(event: AgentEvent) -> None:
            await bus.wait_for("goal_achieved")

        bus.subscribe("custom", waits, concurrent=True)
        for n in range(20):
            bus.emit(numbered(n))
        await settled()
    assert_nothing_is_armed(bus)


def assert_place_is_free(bus: EventBus) -> None:
    assert bus._pool._active == 0
    assert bus.get_stats()["handlers_running"] == 0
    assert bus._pool._returning == {}
