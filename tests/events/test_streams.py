"""Streams as their readers meet them: what matches, who gets it, how it ends, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import EventBusClosed, InvalidEvent
from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from phloem.events.streams import EventStream, Overflow
from phloem.events.types import AgentEvent, EventType, HistoryGap, Lagged

settled = trio.testing.wait_all_tasks_blocked


def numbered(n: int, type: str = "custom", stream: str = "s", **fields: Any) -> AgentEvent:
    return AgentEvent(type, stream, data={"n": n}, **fields)


def plain(item: AgentEvent | Lagged | HistoryGap) -> Any:
    """An event's number; anything else as it is."""
    return item.data["n"] if isinstance(item, AgentEvent) else item


def read(stream: EventStream) -> list[Any]:
    """All that can be read now; trio.EndOfChannel last if that is the end."""
    found: list[Any] = []
    while True:
        try:
            found.append(plain(stream.receive_nowait()))
        except trio.WouldBlock:
            return found
        except trio.EndOfChannel:
            return [*found, trio.EndOfChannel]


def sinks(bus: EventBus) -> int:
    return len(bus._commits.routes)


# -- what it takes ----------------------------------------------------------------------------


async def test_it_gives_what_is_published_while_it_is_open_and_nothing_else() -> None:
    async with open_event_bus() as bus:
        bus.emit(numbered(1))
        async with bus.open_stream() as stream:
            sent = [bus.emit(numbered(2)), await bus.publish(numbered(3))]
            sent.append((await bus.deliver(numbered(4))).event)
        bus.emit(numbered(5))
        found = [item async for item in stream]
        assert found == sent
        assert all(one is other for one, other in zip(found, sent, strict=True)), "one object for all"


async def test_it_gives_what_is_recorded_as_if_it_had_been_emitted() -> None:
    async with open_event_bus(id="b") as bus, bus.open_stream("custom") as stream:
        bus.record("custom", "s", "n", "e", {"n": 1}, "c", "because", 10)
        found = stream.receive_nowait()
        assert isinstance(found, AgentEvent)
        assert (found.id, found.seq, found.node_id, found.execution_id) == ("b-1", 1, "n", "e")
        assert (found.correlation_id, found.cause_id, found.data) == ("c", "because", {"n": 1})
        assert found == bus.latest("custom")


async def test_each_filter_and_all_of_them_together_hold() -> None:
    events = [
        AgentEvent(type, stream, node, execution)
        for type in ("custom", "goal_progress")
        for stream in ("s", "t")
        for node in (None, "n", "m")
        for execution in (None, "e", "f")
    ]
    async with open_event_bus() as bus:
        for types in (None, "custom", [EventType.CUSTOM], ("custom", "goal_achieved")):
            for stream in (None, "s"):
                for node in (None, "n"):
                    for execution in (None, "e"):
                        async with bus.open_stream(types, stream, node, execution) as opened:
                            for event in events:
                                bus.emit(event)
                        found = [item async for item in opened]
                        assert [
                            (each.type, each.stream_id, each.node_id, each.execution_id)
                            for each in found
                            if isinstance(each, AgentEvent)
                        ] == [
                            (each.type, each.stream_id, each.node_id, each.execution_id)
                            for each in events
                            if (types is None or each.type == "custom")
                            and stream in (None, each.stream_id)
                            and node in (None, each.node_id)
                            and execution in (None, each.execution_id)
                        ]


async def test_an_event_without_a_node_is_not_one_of_any_node() -> None:
    async with open_event_bus() as bus, bus.open_stream(filter_node="n") as stream:
        bus.emit(numbered(1))
        bus.emit(numbered(2, node_id="n"))
        assert read(stream) == [2]


async def test_types_of_ones_own_can_be_streamed_once_registered() -> None:
    async with open_event_bus(types=["my.own"]) as bus, bus.open_stream("my.own") as stream:
        bus.register_type("my.other")
        async with bus.open_stream(["my.other", "my.own"]) as both:
            bus.emit(numbered(1, "my.own"))
            bus.emit(numbered(2, "my.other"))
            assert (read(stream), read(both)) == ([1], [1, 2])


async def test_a_publisher_that_changes_its_data_afterwards_changes_no_event() -> None:
    data: dict[str, Any] = {"n": 1, "deep": {"list": [1]}}
    async with open_event_bus() as bus, bus.open_stream(buffer=1) as stream, trio.open_nursery() as nursery:
        bus.emit(AgentEvent("custom", "s", data=data))
        nursery.start_soon(bus.publish, AgentEvent("custom", "s", data=data))
        await settled()
        data["n"] = 2
        data["deep"]["list"].append(2)
        one, other = await stream.receive(), await stream.receive()
        for item in (one, other):
            assert isinstance(item, AgentEvent)
            assert item.to_dict()["data"] == {"n": 1, "deep": {"list": [1]}}
        found = bus.get_history()
        assert [each.to_dict()["data"]["n"] for each in found] == [1, 1]


async def test_two_streams_keep_two_buffers() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1) as one, bus.open_stream() as other:
        for n in range(1, 4):
            bus.emit(numbered(n))
        assert (read(one), read(other)) == ([Lagged(2), 3], [1, 2, 3])


async def test_what_a_reader_emits_to_its_own_stream_it_reads_next() -> None:
    async with open_event_bus() as bus, bus.open_stream() as stream:
        bus.emit(numbered(1))
        found: list[int] = []
        async for item in stream:
            found.append(plain(item))
            if len(found) == 5:
                break
            bus.emit(numbered(found[-1] + 1))
        assert found == [1, 2, 3, 4, 5]


# -- what is refused ------------------------------------------------------------------------------

OVERFLOWS = "block, drop_oldest, coalesce, latest, error, close"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"buffer": 0}, "buffer: found 0, expected a whole number, 1 or more"),
        ({"buffer": -1}, "buffer: found -1, expected a whole number, 1 or more"),
        ({"buffer": True}, "buffer: found True, expected a whole number, 1 or more"),
        ({"buffer": 1.0}, "buffer: found 1.0, expected a whole number, 1 or more"),
        ({"overflow": "drop"}, f"overflow: found 'drop', expected one of {OVERFLOWS}"),
        ({"overflow": "BLOCK"}, f"overflow: found 'BLOCK', expected one of {OVERFLOWS}"),
        ({"overflow": None}, f"overflow: found None, expected one of {OVERFLOWS}"),
        ({"overflow": []}, f"overflow: found [], expected one of {OVERFLOWS}"),
        (
            {"event_types": "costum"},
            "event_types: found the unknown type 'costum', expected one of EventType, or a name "
            "registered with bus.register_type(name) (did you mean 'custom'?)",
        ),
        (
            {"event_types": []},
            "event_types: found an empty list, expected None (any), an event type, or an iterable of them; "
            "at least one",
        ),
        (
            {"event_types": ["custom", 1]},
            "event_types: found a value of type int, expected an event type: a text",
        ),
        (
            {"event_types": 1},
            "event_types: found a value of type int, expected None (any), an event type, or an iterable of them",
        ),
        ({"filter_stream": ""}, "filter_stream: found '', expected None (any) or a text that is not empty"),
        ({"filter_node": ""}, "filter_node: found '', expected None (any) or a text that is not empty"),
        (
            {"filter_execution": 1},
            "filter_execution: found a value of type int, expected None (any) or a text that is not empty",
        ),
        ({"since": -1}, "since: found -1, expected a whole number, 0 or more"),
        ({"since": 1}, "since: found 1, expected at most 0, the newest event's seq"),
        ({"since": "0"}, "since: found '0', expected a whole number, 0 or more"),
    ],
)
async def test_what_is_refused_says_where_what_was_found_and_what_was_expected(
    settings: dict[str, Any], said: str
) -> None:
    async with open_event_bus() as bus:
        with pytest.raises(InvalidEvent) as caught:
            async with bus.open_stream(**settings):
                pass
        assert str(caught.value) == said
        assert sinks(bus) == 0
        assert bus.get_stats()["stream_stats"] == {}


async def test_a_closed_bus_opens_no_stream() -> None:
    async with open_event_bus() as bus:
        pass
    with pytest.raises(EventBusClosed):
        async with bus.open_stream():
            pass


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_each_overflow_may_be_named_or_given_as_a_member(overflow: Overflow) -> None:
    async with open_event_bus() as bus:
        async with (
            bus.open_stream(overflow=overflow) as one,
            bus.open_stream(overflow=overflow.value) as other,
        ):
            assert one.overflow is other.overflow is overflow


# -- reading -----------------------------------------------------------------------------------------


async def test_receive_nowait_says_that_there_is_nothing_yet_and_nothing_any_more() -> None:
    async with open_event_bus() as bus:
        async with bus.open_stream() as stream:
            with pytest.raises(trio.WouldBlock):
                stream.receive_nowait()
            bus.emit(numbered(1))
            assert plain(stream.receive_nowait()) == 1
        with pytest.raises(trio.EndOfChannel):
            stream.receive_nowait()


async def test_receive_is_a_checkpoint_whether_it_waits_or_not_and_receive_nowait_never() -> None:
    async with open_event_bus() as bus, bus.open_stream() as stream, trio.open_nursery() as nursery:
        bus.emit(numbered(1))
        bus.emit(numbered(2))
        with trio.testing.assert_checkpoints():
            await stream.receive()
        with trio.testing.assert_no_checkpoints():
            stream.receive_nowait()
        nursery.start_soon(bus.publish, numbered(3))
        with trio.testing.assert_checkpoints():
            await stream.receive()


async def test_open_stream_is_a_checkpoint() -> None:
    async with open_event_bus() as bus:
        with trio.testing.assert_checkpoints():
            async with bus.open_stream():
                pass


async def test_statistics_say_what_was_received_lost_and_waits() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2) as stream:
        assert stream.statistics() == {"received": 0, "lost": 0, "waiting": 0}
        for n in range(1, 6):
            bus.emit(numbered(n))
        assert stream.statistics() == {"received": 0, "lost": 3, "waiting": 2}
        assert plain(await stream.receive()) == Lagged(3)
        assert stream.statistics() == {"received": 0, "lost": 3, "waiting": 2}, "a count is no event"
        assert plain(await stream.receive()) == 4
        assert bus.get_stats()["stream_stats"] == {stream.id: {"received": 1, "lost": 3, "waiting": 1}}
    assert bus.get_stats()["stream_stats"] == {}
    assert stream.statistics() == {"received": 1, "lost": 3, "waiting": 1}


async def test_several_readers_get_each_event_once_in_turn() -> None:
    found: dict[str, list[int]] = {"one": [], "other": []}
    async with open_event_bus() as bus, bus.open_stream() as stream, trio.open_nursery() as nursery:

        async def receive(name: str) -> None:
            async for item in stream:
                found[name].append(plain(item))

        nursery.start_soon(receive, "one")
        await settled()
        nursery.start_soon(receive, "other")
        for n in range(1, 21):
            await settled()
            bus.emit(numbered(n))
        await settled()
        nursery.cancel_scope.cancel(reason="the test")
    assert found == {"one": list(range(1, 21, 2)), "other": list(range(2, 21, 2))}


async def test_a_burst_wakes_as_many_readers_as_it_has_events() -> None:
    found: list[int] = []
    async with open_event_bus() as bus, bus.open_stream() as stream, trio.open_nursery() as nursery:

        async def receive() -> None:
            found.append(plain(await stream.receive()))

        for _ in range(5):
            nursery.start_soon(receive)
        await settled()
        for n in (1, 2, 3):
            bus.emit(numbered(n))
        await settled()
        assert sorted(found) == [1, 2, 3]
        nursery.cancel_scope.cancel(reason="the test")


async def test_one_who_only_looks_may_take_what_a_waiting_one_was_woken_for() -> None:
    found: list[int] = []
    async with open_event_bus() as bus, bus.open_stream() as stream, trio.open_nursery() as nursery:

        async def receive() -> None:
            found.append(plain(await stream.receive()))

        nursery.start_soon(receive)
        await settled()
        bus.emit(numbered(1))
        assert read(stream) == [1]
        await settled()
        assert found == []
        bus.emit(numbered(2))
        await settled()
        assert found == [2]


# -- readers that are cancelled -----------------------------------------------------------------------


async def test_a_reader_cancelled_while_it_waits_has_taken_nothing() -> None:
    async with open_event_bus() as bus, bus.open_stream() as stream:
        with trio.move_on_after(0) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        bus.emit(numbered(1))
        assert plain(await stream.receive()) == 1
        assert not stream._readers


async def test_a_reader_cancelled_before_it_begins_has_taken_nothing() -> None:
    async with open_event_bus() as bus, bus.open_stream() as stream:
        bus.emit(numbered(1))
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test")
            await stream.receive()
        assert scope.cancelled_caught
        assert read(stream) == [1]


async def test_an_event_in_the_same_step_as_the_cancel_is_taken_or_left_to_the_next_reader() -> None:
    for cancel_first in (True, False):
        found: list[int] = []
        async with open_event_bus() as bus, bus.open_stream() as stream, trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def receive(scope: trio.CancelScope, stream: EventStream, found: list[int]) -> None:
                with scope:
                    found.append(plain(await stream.receive()))

            nursery.start_soon(receive, scope, stream, found)
            await settled()
            if cancel_first:
                scope.cancel(reason="the test")
            bus.emit(numbered(1))
            scope.cancel(reason="the test")
            await settled()
            assert scope.cancelled_caught is cancel_first
            assert [*found, *read(stream)] == [1]


async def test_of_two_who_wait_the_other_gets_what_a_cancelled_one_would_have() -> None:
    found: list[int] = []
    async with open_event_bus() as bus, bus.open_stream() as stream, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def receive(scope: trio.CancelScope) -> None:
            with scope:
                found.append(plain(await stream.receive()))

        nursery.start_soon(receive, scope)
        await settled()
        nursery.start_soon(receive, trio.CancelScope())
        await settled()
        scope.cancel(reason="the test")
        bus.emit(numbered(1))
        await settled()
        assert scope.cancelled_caught
        assert found == [1]


async def test_what_a_handler_was_woken_for_and_cancelled_before_it_had_its_place_goes_to_the_next() -> None:
    found: list[int] = []
    async with open_event_bus(max_concurrent_handlers=1) as bus, bus.open_stream("custom") as stream:
        scope, gate = trio.CancelScope(), trio.Event()

        async def reads(event: AgentEvent) -> None:
            with scope:
                await stream.receive()

        async def holds_the_place(event: AgentEvent) -> None:
            await gate.wait()

        async def receive() -> None:
            found.append(plain(await stream.receive()))

        bus.subscribe("goal_progress", reads)
        bus.subscribe("goal_achieved", holds_the_place)
        bus.emit(numbered(0, "goal_progress"))
        await settled()
        bus.emit(numbered(0, "goal_achieved"))
        await settled()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await settled()
            bus.emit(numbered(1))
            scope.cancel(reason="the test")
            await settled()
            assert found == [1]
        gate.set()


async def test_a_handler_that_reads_a_stream_gives_its_place_to_those_who_fill_it() -> None:
    found: list[int] = []
    async with open_event_bus(max_concurrent_handlers=1) as bus, bus.open_stream("custom") as stream:

        async def reads(event: AgentEvent) -> None:
            found.append(plain(await stream.receive()))

        async def fills(event: AgentEvent) -> None:
            await bus.publish(numbered(1))

        bus.subscribe("goal_progress", reads)
        bus.subscribe("goal_progress", fills)
        with trio.fail_after(0.5):
            await bus.deliver(numbered(0, "goal_progress"))
        assert found == [1]


# -- the end ----------------------------------------------------------------------------------------------


async def test_nothing_of_it_stays_in_the_bus() -> None:
    async with open_event_bus() as bus:
        for _ in range(100):
            async with bus.open_stream("custom", "s", "n", "e"), bus.open_stream():
                assert sinks(bus) == 2
        assert sinks(bus) == 0
        assert bus._commits.routes._tables == {}
        assert bus._streams == {}


async def test_cancelled_while_it_opens_it_leaves_nothing() -> None:
    async with open_event_bus() as bus:
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test")
            async with bus.open_stream():
                pass
        assert scope.cancelled_caught
        assert (sinks(bus), bus._streams) == (0, {})


async def test_left_by_an_error_or_cancelled_it_leaves_nothing_and_what_waits_can_be_read() -> None:
    async with open_event_bus() as bus:
        with pytest.raises(KeyError, match="own"):
            async with bus.open_stream() as one:
                bus.emit(numbered(1))
                raise KeyError("own")
        with trio.CancelScope() as scope:
            async with bus.open_stream() as other:
                bus.emit(numbered(2))
                scope.cancel(reason="the test")
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert sinks(bus) == 0
        assert (read(one), read(other)) == ([1, trio.EndOfChannel], [2, trio.EndOfChannel])


async def test_all_who_wait_are_told_that_the_block_was_left() -> None:
    ended: list[bool] = []
    async with open_event_bus() as bus, trio.open_nursery() as nursery:

        async def receive(stream: EventStream) -> None:
            ended.append([item async for item in stream] == [])

        async with bus.open_stream() as stream:
            for _ in range(3):
                nursery.start_soon(receive, stream)
            await settled()
    assert ended == [True] * 3


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_one_that_is_read_elsewhere_gives_what_waits_and_ends_when_the_bus_closes(
    overflow: str,
) -> None:
    found: list[int] = []
    async with trio.open_nursery() as nursery:
        gate = trio.Event()

        async def receive(bus: EventBus, *, task_status: trio.TaskStatus[None]) -> None:
            async with bus.open_stream(overflow=overflow) as stream:
                task_status.started()
                await gate.wait()
                found.extend([plain(item) async for item in stream])

        async with open_event_bus() as bus:
            await nursery.start(receive, bus)
            for n in (1, 2, 3):
                bus.emit(numbered(n, node_id=f"node {n}"))
        gate.set()
    assert found == [1, 2, 3]


async def test_one_who_waits_as_the_bus_closes_is_told_the_end() -> None:
    async with trio.open_nursery() as nursery:
        ended = trio.Event()

        async def receive(bus: EventBus, *, task_status: trio.TaskStatus[None]) -> None:
            async with bus.open_stream() as stream:
                task_status.started()
                with pytest.raises(trio.EndOfChannel):
                    await stream.receive()
                ended.set()

        async with open_event_bus() as bus:
            await nursery.start(receive, bus)
            await settled()
        await settled()
        assert ended.is_set()


async def test_one_who_waits_as_the_body_of_the_bus_raises_is_told_the_end() -> None:
    async with trio.open_nursery() as nursery:
        found: list[Any] = []

        async def receive(bus: EventBus, *, task_status: trio.TaskStatus[None]) -> None:
            async with bus.open_stream() as stream:
                task_status.started()
                found.extend([plain(item) async for item in stream])
                found.append("the end")

        with pytest.raises(KeyError, match="own"):
            async with open_event_bus() as bus:
                await nursery.start(receive, bus)
                bus.emit(numbered(1))
                raise KeyError("own")
        await settled()
        assert found == [1, "the end"]


async def test_after_the_bus_has_closed_nothing_is_put_into_it() -> None:
    async with trio.open_nursery() as nursery:
        closed = trio.Event()
        found: list[Any] = []

        async def receive(bus: EventBus, *, task_status: trio.TaskStatus[None]) -> None:
            async with bus.open_stream() as stream:
                task_status.started()
                await closed.wait()
                bus.record("custom", "s", None, None, {"n": 9})
                found.extend(read(stream))

        async with open_event_bus() as bus:
            await nursery.start(receive, bus)
            bus.emit(numbered(1))
        closed.set()
    assert found == [1, trio.EndOfChannel]
    assert [plain(event) for event in bus.get_history()] == [9, 1]
