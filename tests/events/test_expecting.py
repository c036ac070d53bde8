"""Expectations: the first event that matches, from the moment it is asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import EventBusClosed
from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from support.streaming import emitted, numbered, plain

settled = trio.testing.wait_all_tasks_blocked


def assert_nothing_is_armed(bus: EventBus) -> None:
    assert bus._expected == {}
    assert len(bus._commits.routes) == 0
    assert bus._commits.routes.tables == {}


# -- armed when called -----------------------------------------------------------------------


async def test_an_event_between_arming_and_awaiting_is_not_missed() -> None:
    async with open_event_bus() as bus:
        expected = bus.expect("custom")
        sent = bus.emit(numbered(1))
        emitted(bus, 2)
        assert await expected is sent
        assert_nothing_is_armed(bus)


async def test_an_event_before_it_is_armed_does_not_count() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 1)
        with bus.expect("custom") as expected:
            emitted(bus, 2)
            assert plain(await expected) == 2


async def test_once_met_it_stays_met() -> None:
    async with open_event_bus() as bus:
        expected = bus.expect("custom")
        emitted(bus, 1, 2)
        assert plain(await expected) == plain(await expected) == plain(await expected.wait()) == 1
        expected.cancel()
        assert plain(await expected) == 1
    assert plain(await expected) == 1, "the bus's end changes nothing of it"


async def test_of_two_for_one_event_each_is_met() -> None:
    async with open_event_bus() as bus:
        one, other = bus.expect("custom"), bus.expect(None)
        emitted(bus, 1, 2)
        assert plain(await one) == plain(await other) == 1


async def test_it_may_be_awaited_by_several_tasks() -> None:
    found: list[int] = []
    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        expected = bus.expect("custom")

        async def wait() -> None:
            found.append(plain(await expected))

        for _ in range(3):
            nursery.start_soon(wait)
        await settled()
        emitted(bus, 1)
        await settled()
        assert found == [1, 1, 1]


async def test_each_filter_holds() -> None:
    right: dict[str, Any] = {"stream": "s", "node_id": "n", "execution_id": "e"}
    async with open_event_bus() as bus:
        expected = bus.expect(["custom", "goal_progress"], "s", "n", "e")
        bus.emit(numbered(0, "goal_achieved", **right))
        for name in right:
            bus.emit(numbered(0, **{**right, name: "other"}))
        bus.emit(numbered(0))
        bus.emit(numbered(1, **right))
        assert plain(await expected) == 1


async def test_it_is_met_by_whatever_way_an_event_is_published() -> None:
    async with open_event_bus() as bus:
        for n, publish in enumerate((bus.publish, bus.deliver)):
            with bus.expect("custom") as expected:
                await publish(numbered(n))
                assert plain(await expected) == n
        with bus.expect("custom") as expected:
            bus.record("custom", "s", None, None, {"n": 9})
            assert plain(await expected) == 9
            assert await expected == bus.latest("custom")
        with bus.expect("goal_progress") as expected:
            bus.emit_goal_progress("s", 0.5, {})
            assert (await expected).data["progress"] == 0.5


async def test_it_makes_no_publisher_wait_and_deliver_does_not_wait_for_it() -> None:
    async with open_event_bus(buffer=1) as bus:
        with bus.expect("custom"), bus.expect(None), trio.fail_after(5):
            for n in range(10):
                await bus.publish(numbered(n))
                await bus.deliver(numbered(n))


async def test_awaiting_is_a_checkpoint_met_or_not() -> None:
    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        expected = bus.expect("custom")
        nursery.start_soon(bus.publish, numbered(1))
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                await expected
        with trio.testing.assert_no_checkpoints(), bus.expect("custom"):
            pass


# -- disarmed -------------------------------------------------------------------------------------


async def test_with_disarms_it() -> None:
    async with open_event_bus() as bus:
        with bus.expect("custom") as expected:
            assert len(bus._commits.routes) == 1
        assert_nothing_is_armed(bus)
        emitted(bus, 1)
        with pytest.raises(EventBusClosed, match="disarmed"):
            await expected


async def test_with_disarms_it_when_its_block_raises() -> None:
    async with open_event_bus() as bus:
        with pytest.raises(KeyError, match="own"), bus.expect("custom"):
            raise KeyError("own")
        assert_nothing_is_armed(bus)


async def test_cancel_disarms_it_and_may_be_called_again() -> None:
    async with open_event_bus() as bus:
        expected = bus.expect("custom")
        expected.cancel()
        expected.cancel()
        assert_nothing_is_armed(bus)
        with pytest.raises(EventBusClosed):
            await expected


async def test_who_waits_is_told_that_it_was_disarmed() -> None:
    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        expected = bus.expect("custom")

        async def wait() -> None:
            with pytest.raises(EventBusClosed, match="disarmed"):
                await expected

        nursery.start_soon(wait)
        await settled()
        expected.cancel()


async def test_cancelled_while_it_is_awaited_it_stays_armed() -> None:
    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        expected = bus.expect("custom")
        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                await expected

        nursery.start_soon(wait)
        await settled()
        scope.cancel(reason="the test")
        await settled()
        assert scope.cancelled_caught
        emitted(bus, 1)
        assert plain(await expected) == 1


async def test_one_that_was_met_takes_no_room_in_the_bus_though_nobody_awaits_it() -> None:
    async with open_event_bus() as bus:
        for _ in range(100):
            bus.expect("custom")
        emitted(bus, 1)
        assert_nothing_is_armed(bus)


# -- the bus ends ------------------------------------------------------------------------------------


async def test_the_bus_ends_with_it_unmet() -> None:
    async with open_event_bus() as bus:
        expected = bus.expect("custom")
    with pytest.raises(EventBusClosed, match="closed before it was met"):
        await expected
    assert_nothing_is_armed(bus)


@pytest.mark.parametrize("limit", [None, 5, math.inf])
async def test_who_waits_is_told_that_the_bus_has_closed(limit: float | None) -> None:
    told: list[str] = []

    async def wait(bus: EventBus) -> None:
        with pytest.raises(EventBusClosed) as caught:
            await bus.wait_for("custom", timeout=limit)
        told.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        async with open_event_bus() as bus:
            nursery.start_soon(wait, bus)  # noqa: ASYNC111 - outlives it on purpose
            nursery.start_soon(wait, bus)  # noqa: ASYNC111 - outlives it on purpose
            await settled()
        await settled()
        assert told == ["the bus closed before such an event came"] * 2
    assert_nothing_is_armed(bus)


async def test_what_came_in_the_last_step_of_the_bus_is_not_lost() -> None:
    found: list[int] = []

    async def wait(bus: EventBus) -> None:
        event = await bus.wait_for("custom")
        assert event is not None
        found.append(plain(event))

    async with trio.open_nursery() as nursery, open_event_bus(grace=0) as bus:
        nursery.start_soon(wait, bus)  # noqa: ASYNC111 - outlives it on purpose
        await settled()
        emitted(bus, 1)
    assert found == [1]


async def test_a_closed_bus_expects_nothing() -> None:
    async with open_event_bus() as bus:
        pass
    with pytest.raises(EventBusClosed):
        bus.expect("custom")
    with pytest.raises(EventBusClosed):
        await bus.wait_for("custom", timeout=0)
