"""Streams as their readers meet them: what matches, who gets it, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import EventBusClosed, InvalidEvent
from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from phloem.events.streams import Overflow
from phloem.events.types import AgentEvent, EventType, Lagged
from support.streaming import numbered, plain, read

settled = trio.testing.wait_all_tasks_blocked


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
            "event_types: found a value of type int, expected None (any), an event type, or an iterable of "
            "them",
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
    async with (
        open_event_bus() as bus,
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
