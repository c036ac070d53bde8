"""emit, publish and deliver: what each promises about waiting, losing and errors."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock, wait_all_tasks_blocked

from phloem.errors import EventBusClosed, InvalidEvent
from phloem.events import AgentEvent, open_event_bus
from support.buses import accounted, event, noting, stats_of


@pytest.mark.parametrize("how", ["emit", "publish", "deliver"])
async def test_what_the_publisher_changes_later_changes_nothing(how: str) -> None:
    data: dict[str, Any] = {"list": [1, {"deep": [2]}], "n": 0}
    seen: list[AgentEvent] = []
    async with open_event_bus() as bus:
        bus.subscribe("custom", seen.append)
        result = getattr(bus, how)(AgentEvent("custom", "s", data=data))
        if how != "emit":
            await result
        data["list"][1]["deep"].append(3)
        data["n"] = 9
        data["new"] = True
        await wait_all_tasks_blocked()
        assert seen[0].data == bus.get_history()[0].data == {"list": (1, {"deep": (2,)}), "n": 0}
        with pytest.raises(TypeError):
            seen[0].data["n"] = 1  # type: ignore[index]


async def test_data_is_taken_as_it_is_when_publish_is_called_not_when_there_is_room() -> None:
    data = {"n": 1}
    gate = trio.Event()

    async def handler(event: AgentEvent) -> None:
        await gate.wait()

    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        bus.subscribe("custom", handler, buffer=1)
        for n in range(2):
            bus.emit(event(n))
            await wait_all_tasks_blocked()
        nursery.start_soon(bus.publish, AgentEvent("custom", "s", data=data))
        await wait_all_tasks_blocked()
        data["n"] = 2
        gate.set()
        await wait_all_tasks_blocked()
        assert bus.get_history()[0].data == {"n": 1}


@pytest.mark.parametrize(
    "bad",
    [
        AgentEvent("no_such_type", "s"),
        AgentEvent("custom", "s", data={"self": {1, (2, 3)}, ("a",): 1}),  # type: ignore[dict-item]
    ],
)
async def test_an_event_that_no_bus_takes_is_refused_and_nothing_is_published(bad: AgentEvent) -> None:
    async with open_event_bus() as bus:
        seen: list[int] = []
        bus.subscribe(None, lambda e: seen.append(e.seq))
        with pytest.raises(InvalidEvent):
            bus.emit(bad)
        with pytest.raises(InvalidEvent):
            await bus.publish(bad)
        with pytest.raises(InvalidEvent):
            await bus.deliver(bad)
        assert bus.emit(event()).seq == 1
        await wait_all_tasks_blocked()
        assert seen == [1]


@pytest.mark.parametrize("given", [None, "custom", {"type": "custom", "stream_id": "s"}])
async def test_what_is_no_event_is_refused_by_name(given: Any) -> None:
    async with open_event_bus() as bus:
        for call in (bus.emit, bus.scoped(stream_id="s").emit):
            with pytest.raises(InvalidEvent, match="expected an AgentEvent"):
                call(given)
        for wait in (bus.publish, bus.deliver):
            with pytest.raises(InvalidEvent, match="event: found"):
                await wait(given)


async def test_emit_from_another_thread_is_refused_and_says_how_to_come_back() -> None:
    async with open_event_bus() as bus:
        with pytest.raises(RuntimeError, match=r"trio\.from_thread\.run_sync"):
            await trio.to_thread.run_sync(bus.emit, event())
        await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(bus.emit, event(1)))
        assert bus.get_history()[0].data["n"] == 1


# -- losing -------------------------------------------------------------------------------------


async def test_emit_never_waits_and_drops_a_full_mailboxs_oldest() -> None:
    seen: list[int] = []
    fast: list[int] = []
    async with open_event_bus() as bus:
        slow = bus.subscribe("custom", noting(seen), buffer=3)
        bus.subscribe("custom", noting(fast))
        for n in range(10):
            bus.emit(event(n))
        assert stats_of(bus, slow)["lagged"] == 7
        assert stats_of(bus, slow)["queue_depth"] == 3
        await wait_all_tasks_blocked()
        assert accounted(stats_of(bus, slow)) == 10
    assert seen == [7, 8, 9]
    assert fast == list(range(10))


@pytest.mark.parametrize("key", [lambda e: e.data["n"] % 2, lambda e: 0])
async def test_of_a_keyed_mailbox_too_the_oldest_goes(key: Any) -> None:
    seen: list[int] = []
    gate = trio.Event()

    async def handler(event: AgentEvent) -> None:
        await gate.wait()
        seen.append(event.data["n"])

    async with open_event_bus() as bus:
        id = bus.subscribe("custom", handler, key=key, buffer=4)
        for n in range(4):
            bus.emit(event(n))
        await wait_all_tasks_blocked()  # some in hand, some sorted behind their key
        in_hand = stats_of(bus, id)["running"]
        for n in range(4, 10):
            bus.emit(event(n))
        assert stats_of(bus, id)["queue_depth"] == 4
        gate.set()
        await wait_all_tasks_blocked()
        assert stats_of(bus, id)["lagged"] == 10 - 4 - in_hand
    assert sorted(seen) == [*range(in_hand), *range(6, 10)]


async def test_a_default_mailbox_holds_1024_events() -> None:
    async with open_event_bus() as bus:
        id = bus.subscribe("custom", noting([]))
        for n in range(1_024):
            bus.emit(event(n))
        assert stats_of(bus, id)["lagged"] == 0
        bus.emit(event())
        assert stats_of(bus, id)["lagged"] == 1


# -- backpressure -----------------------------------------------------------------------------------


async def test_publish_waits_for_room_and_loses_nothing(autojump_clock: MockClock) -> None:
    seen: list[int] = []

    async def slow(event: AgentEvent) -> None:
        await trio.sleep(1)
        seen.append(event.data["n"])

    async with open_event_bus(grace=100) as bus:
        id = bus.subscribe("custom", slow, buffer=2)
        for n in range(10):
            await bus.publish(event(n))
            assert stats_of(bus, id)["queue_depth"] <= 2
        assert trio.current_time() >= 7
        await bus.deliver(event(10))
        assert stats_of(bus, id)["lagged"] == 0
    assert seen == list(range(11))


async def test_a_publish_that_waits_has_reached_nobody_yet() -> None:
    gate = trio.Event()
    seen: list[int] = []

    async def handler(event: AgentEvent) -> None:
        await gate.wait()

    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        bus.subscribe("custom", handler, buffer=1)
        bus.subscribe("custom", noting(seen))
        for n in range(2):
            bus.emit(event(n))
            await wait_all_tasks_blocked()
        nursery.start_soon(bus.publish, event(2))
        await wait_all_tasks_blocked()
        assert seen == [0, 1]
        assert bus.get_history()[0].data["n"] == 1
        gate.set()
        await wait_all_tasks_blocked()
        assert seen == [0, 1, 2]


async def test_a_publish_that_was_cancelled_while_it_waited_was_not_published() -> None:
    gate = trio.Event()

    async def handler(event: AgentEvent) -> None:
        await gate.wait()

    async with open_event_bus() as bus:
        id = bus.subscribe("custom", handler, buffer=1)
        for n in range(2):
            bus.emit(event(n))
            await wait_all_tasks_blocked()
        for call in (bus.publish, bus.deliver):
            with trio.move_on_after(0.01) as scope:
                await call(event(99))
            assert scope.cancelled_caught
        assert bus.get_stats()["total_events"] == 2
        assert bus._boxes[id].line == []
        assert bus._room._waiters == {}
        gate.set()
        await wait_all_tasks_blocked()
        assert (await bus.publish(event(3))).seq == 3


async def test_waiting_publishers_go_in_the_order_in_which_they_came() -> None:
    seen: list[int] = []
    gate = trio.Event()

    async def handler(event: AgentEvent) -> None:
        await gate.wait()
        await trio.lowlevel.checkpoint()
        seen.append(event.data["n"])

    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        bus.subscribe("custom", handler, buffer=1)
        for n in range(20):
            nursery.start_soon(bus.publish, event(n))
            await wait_all_tasks_blocked()
        gate.set()
    assert seen == list(range(20))


async def test_a_slow_neighbour_holds_up_emit_and_publishers_of_others_not_at_all() -> None:
    seen: list[int] = []

    async def hangs(event: AgentEvent) -> None:
        await trio.sleep_forever()

    async with open_event_bus(grace=0) as bus:
        bus.subscribe("custom", hangs, "slow", buffer=1)
        bus.subscribe("custom", noting(seen))
        for n in range(50):
            bus.emit(event(n, stream="slow"))
        with trio.fail_after(1):
            for n in range(50, 100):
                await bus.publish(event(n))
        await wait_all_tasks_blocked()
    assert seen == list(range(100))


@pytest.mark.parametrize("how", ["publish", "deliver"])
async def test_publish_is_a_checkpoint_on_every_path(how: str) -> None:
    async with open_event_bus() as bus:
        call = getattr(bus, how)
        with trio.testing.assert_checkpoints():
            await call(event())
        bus.subscribe("custom", noting([]))
        with trio.testing.assert_checkpoints():
            await call(event())
        with trio.CancelScope() as scope:
            scope.cancel()
            await call(event(99))
        assert scope.cancelled_caught
        assert bus.get_history()[0].data["n"] == 0


# -- closed -----------------------------------------------------------------------------------------


async def test_a_closed_bus_takes_no_event() -> None:
    async with open_event_bus() as bus:
        bus.emit(event())
    with pytest.raises(EventBusClosed):
        bus.emit(event())
    with pytest.raises(EventBusClosed):
        await bus.publish(event())
    with pytest.raises(EventBusClosed):
        await bus.deliver(event())
    with pytest.raises(EventBusClosed):
        bus.emit_goal_progress("s", 1.0, {})
    assert bus.get_stats()["total_events"] == 1


async def test_publishers_that_wait_are_told_that_the_bus_has_closed() -> None:
    told: list[str] = []

    async def hangs(event: AgentEvent) -> None:
        await trio.sleep_forever()

    async def publish(call: Any) -> None:
        try:
            await call(event(9))
        except EventBusClosed:
            told.append(call.__name__)

    async with trio.open_nursery() as nursery, open_event_bus(grace=0) as bus:
        bus.subscribe("custom", hangs, buffer=1)
        bus.emit(event(0))
        await wait_all_tasks_blocked()
        bus.emit(event(1))
        nursery.start_soon(publish, bus.publish)  # noqa: ASYNC111 - outliving the bus is what they are to do
        nursery.start_soon(publish, bus.deliver)  # noqa: ASYNC111
        await wait_all_tasks_blocked()
    assert sorted(told) == ["deliver", "publish"]
