"""Looking back at a bus: its history, its latest events and its counts."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import InvalidEvent
from phloem.events.opening import open_event_bus
from phloem.events.types import AgentEvent, EventType
from support.streaming import emitted, numbered, plain

settled = trio.testing.wait_all_tasks_blocked


def seqs(events: list[AgentEvent]) -> list[int]:
    return [event.seq for event in events]


# -- get_history --------------------------------------------------------------------------------


async def test_history_is_most_recent_first() -> None:
    async with open_event_bus() as bus:
        assert bus.get_history() == []
        emitted(bus, 1, 2, 3)
        assert [plain(event) for event in bus.get_history()] == [3, 2, 1]


@pytest.mark.parametrize(("limit", "expected"), [(0, 0), (1, 1), (4, 4), (5, 5), (6, 5), (2**63, 5)])
async def test_a_limit_is_the_most_there_can_be(limit: int, expected: int) -> None:
    async with open_event_bus() as bus:
        emitted(bus, 1, 2, 3, 4, 5)
        assert seqs(bus.get_history(limit=limit)) == [5, 4, 3, 2, 1][:expected]
        assert seqs(bus.get_history("custom", limit=limit)) == [5, 4, 3, 2, 1][:expected]


async def test_a_limit_of_thousands_of_digits_is_no_limit() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 1, 2)
        assert len(bus.get_history(limit=10**5000)) == 2
        with pytest.raises(InvalidEvent, match=r"^limit: found "):
            bus.get_history(limit=-(10**5000))


async def test_a_hundred_are_given_unless_more_are_asked_for() -> None:
    async with open_event_bus() as bus:
        emitted(bus, *range(150))
        assert seqs(bus.get_history()) == list(range(150, 50, -1))
        assert len(bus.get_history(limit=1000)) == 150


async def test_each_filter_and_all_of_them_together_hold() -> None:
    rng = random.Random(3)
    types, streams, others = ("custom", "goal_progress", "goal_achieved"), ("s", "t"), (None, "a", "b")
    async with open_event_bus() as bus:
        sent = [
            bus.emit(
                AgentEvent(rng.choice(types), rng.choice(streams), rng.choice(others), rng.choice(others))
            )
            for _ in range(200)
        ]
        for wanted in (None, "custom", EventType.GOAL_PROGRESS, ["custom", "goal_achieved"], "node_stalled"):
            names = {wanted} if isinstance(wanted, str) else wanted
            for stream in (None, "s", "nobody"):
                for node in (None, "a", "nobody"):
                    for execution in (None, "b", "nobody"):
                        expected = [
                            event
                            for event in reversed(sent)
                            if (names is None or event.type in names)
                            and stream in (None, event.stream_id)
                            and node in (None, event.node_id)
                            and execution in (None, event.execution_id)
                        ]
                        for limit in (0, 1, 7, 1000):
                            asked = (wanted, stream, node, execution)
                            assert bus.get_history(*asked, limit) == expected[:limit]
                        assert bus.latest(wanted, stream, node, execution) == next(iter(expected), None)


async def test_what_is_read_equals_what_was_delivered_and_returned() -> None:
    delivered: list[AgentEvent] = []

    async def keep(event: AgentEvent) -> None:
        delivered.append(event)

    at = datetime(2031, 5, 17, tzinfo=UTC)
    async with open_event_bus(types=["my.own"]) as bus:
        bus.subscribe(None, keep)
        returned = [
            bus.emit(AgentEvent("custom", "s")),
            bus.emit(
                AgentEvent("my.own", "s", "n", "e", {"deep": [1, {"two": (3,)}], "none": None}, at, "c")
            ),
            await bus.publish(AgentEvent("custom", "s", id="mine", cause_id="why")),
            (await bus.deliver(AgentEvent("custom", "s", data={"n": float("inf")}))).event,
        ]
        await settled()
        assert bus.get_history()[::-1] == returned == delivered
        assert [each.to_dict() for each in bus.get_history()[::-1]] == [each.to_dict() for each in returned]
        assert [type(each.type) for each in bus.get_history()[::-1]] == [type(each.type) for each in returned]


async def test_what_was_recorded_reads_as_if_it_had_been_emitted() -> None:
    delivered: list[AgentEvent] = []

    async def keep(event: AgentEvent) -> None:
        delivered.append(event)

    async with open_event_bus(id="b") as bus:
        bus.record("custom", "s", "n", "e", {"text": "x" * 500, "n": 1}, "c", "why", 500)
        bus.subscribe(None, keep)
        bus.record("custom", "s", None, None, {})
        await settled()
        newest, oldest = bus.get_history()
        assert delivered == [newest]
        assert (oldest.id, oldest.seq, oldest.correlation_id, oldest.cause_id) == ("b-1", 1, "c", "why")
        assert oldest.timestamp.utcoffset() is not None
        assert oldest == bus.get_history()[1], "each reading makes the same event"
        assert bus.get_stats()["events_by_type"] == {"custom": 2}


async def test_what_is_read_cannot_be_changed() -> None:
    async with open_event_bus() as bus:
        bus.emit(AgentEvent("custom", "s", data={"list": [1]}))
        bus.record("custom", "s", None, None, {"n": 1})
        for event in bus.get_history():
            data: Any = event.data
            with pytest.raises(TypeError):
                data["n"] = 2
        history = bus.get_history()
        history.clear()
        assert len(bus.get_history()) == 2


async def test_a_publisher_that_changes_its_data_afterwards_changes_no_history() -> None:
    data: dict[str, Any] = {"n": 1, "deep": [{"m": 1}]}
    async with open_event_bus() as bus:
        bus.emit(AgentEvent("custom", "s", data=data))
        data["n"] = 2
        data["deep"][0]["m"] = 2
        data["deep"].append(3)
        (event,) = bus.get_history()
        assert event.to_dict()["data"] == {"n": 1, "deep": [{"m": 1}]}


async def test_a_bus_that_keeps_no_history_has_counts_all_the_same() -> None:
    async with open_event_bus(max_history=0) as bus:
        emitted(bus, 1, 2)
        assert bus.get_history() == []
        assert bus.latest("custom") is None
        assert bus.get_stats()["total_events"] == 2
        assert bus.get_stats()["history"] == {"events": 0, "bytes": 0, "evicted": 2}


async def test_history_and_counts_are_there_while_an_event_is_handled() -> None:
    found: list[int] = []
    async with open_event_bus() as bus:

        async def look(event: AgentEvent) -> None:
            (newest,) = bus.get_history(limit=1)
            found.append(newest.seq)
            assert bus.latest("custom") == event
            assert bus.get_stats()["total_events"] == event.seq

        id = bus.subscribe("custom", look)
        assert (await bus.deliver(numbered(1))).errors == {}
        assert found == [1]
        assert bus.get_stats()["subscription_stats"][id]["delivered"] == 1


async def test_reading_is_no_checkpoint() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 1)
        with trio.testing.assert_no_checkpoints():
            bus.get_history()
            bus.latest("custom")
            bus.get_stats()


# -- latest ------------------------------------------------------------------------------------


async def test_latest_is_the_newest_that_history_holds_or_none() -> None:
    async with open_event_bus(max_history=3) as bus:
        assert bus.latest(None) is None
        emitted(bus, 1, 2)
        bus.emit(numbered(3, "goal_progress"))
        newest = bus.latest(None)
        custom = bus.latest("custom")
        assert newest is not None
        assert custom is not None
        assert (plain(newest), plain(custom)) == (3, 2)
        assert bus.latest("goal_achieved") is None


async def test_deltas_do_not_evict_the_latest_lifecycle_event() -> None:
    async with open_event_bus(max_history=10) as bus:
        bus.emit(AgentEvent("execution_started", "s", execution_id="e"))
        for _ in range(1000):
            bus.emit(AgentEvent("llm_text_delta", "s"))
        found = bus.latest("execution_started", execution_id="e")
        assert found is not None
        assert found.seq == 1


# -- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "found"), [(-1, "-1"), (1.5, "1.5"), (None, "None"), (True, "True"), ("9", "'9'")]
)
async def test_a_limit_that_is_none_is_refused(limit: Any, found: str) -> None:
    async with open_event_bus() as bus:
        emitted(bus, 1)
        with pytest.raises(InvalidEvent) as caught:
            bus.get_history(limit=limit)
        assert str(caught.value) == f"limit: found {found}, expected a whole number, 0 or more"


@pytest.mark.parametrize("name", ["stream_id", "node_id", "execution_id"])
async def test_an_empty_filter_is_refused_and_named_as_it_was_given(name: str) -> None:
    said = f"^{name}: found '', expected None \\(any\\) or a text that is not empty$"
    async with open_event_bus() as bus:
        empty: dict[str, Any] = {name: ""}
        with pytest.raises(InvalidEvent, match=said):
            bus.get_history(**empty)
        with pytest.raises(InvalidEvent, match=said):
            bus.latest("custom", **empty)


async def test_an_unknown_type_is_refused_not_merely_absent() -> None:
    async with open_event_bus() as bus:
        for read in (bus.get_history, bus.latest):
            with pytest.raises(
                InvalidEvent, match=r"^event_type: found the unknown type 'execution_start', "
            ):
                read("execution_start")
        bus.register_type("execution_start")
        assert bus.get_history("execution_start") == []


# -- get_stats --------------------------------------------------------------------------------


async def test_stats_have_the_references_keys_and_ours() -> None:
    async with open_event_bus() as bus:
        assert bus.get_stats() == {
            "total_events": 0,
            "subscriptions": 0,
            "events_by_type": {},
            "subscription_stats": {},
            "stream_stats": {},
            "handlers_running": 0,
            "history": {"events": 0, "bytes": 0, "evicted": 0},
        }
        assert list(bus.get_stats())[:3] == ["total_events", "subscriptions", "events_by_type"]


async def test_stats_count_events_by_type_and_not_only_those_that_history_holds() -> None:
    async with open_event_bus(max_history=2) as bus:
        emitted(bus, 1, 2, 3)
        bus.emit_goal_progress("s", 0.5, {})
        bus.record("goal_progress", "s", None, None, {})
        found = bus.get_stats()
        assert found["total_events"] == 5
        assert found["events_by_type"] == {"custom": 3, "goal_progress": 2}
        assert {type(name) for name in found["events_by_type"]} == {str}, "plain text, as JSON has it"
        assert (found["history"]["events"], found["history"]["evicted"]) == (2, 3)


async def test_stats_tell_each_subscription_apart() -> None:
    gate = trio.Event()

    async def slow(event: AgentEvent) -> None:
        await gate.wait()

    async def raises(event: AgentEvent) -> None:
        raise ValueError("own")

    async with open_event_bus() as bus:
        waiting = bus.subscribe("custom", slow, buffer=2)
        raising = bus.subscribe("custom", raises)
        emitted(bus, 1)
        await settled()
        emitted(bus, 2, 3, 4, 5)
        await settled()
        found = bus.get_stats()
        assert found["subscriptions"] == 2
        expected = {"delivered": 0, "lagged": 2, "errors": 0, "queue_depth": 2}
        assert expected.items() <= found["subscription_stats"][waiting].items()
        expected = {"delivered": 0, "lagged": 0, "errors": 5, "queue_depth": 0}
        assert expected.items() <= found["subscription_stats"][raising].items()
        assert found["handlers_running"] == 1
        gate.set()
        await settled()
        assert bus.get_stats()["subscription_stats"][waiting]["delivered"] == 3
        assert bus.unsubscribe(raising)
        assert list(bus.get_stats()["subscription_stats"]) == [waiting]


async def test_streams_and_expectations_are_no_subscriptions() -> None:
    async with open_event_bus() as bus, bus.open_stream() as stream:
        with bus.expect("custom"):
            found = bus.get_stats()
            assert found["subscriptions"] == 0
            assert list(found["stream_stats"]) == [stream.id]


async def test_stats_are_a_copy() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 1)
        bus.get_stats()["events_by_type"].clear()
        assert bus.get_stats()["events_by_type"] == {"custom": 1}


# -- after the block ---------------------------------------------------------------------------


async def test_history_and_stats_can_be_read_after_the_block_was_left() -> None:
    async def ignore(event: AgentEvent) -> None:
        await trio.lowlevel.checkpoint()

    async with open_event_bus() as bus:
        id = bus.subscribe("custom", ignore)
        emitted(bus, 1, 2)
    assert [plain(event) for event in bus.get_history()] == [2, 1]
    assert bus.latest("custom") == bus.get_history()[0]
    assert bus.get_stats()["total_events"] == 2
    assert bus.get_stats()["subscription_stats"][id]["delivered"] == 2
    with pytest.raises(InvalidEvent):
        bus.get_history(limit=-1)


async def test_they_can_be_read_after_a_block_that_was_left_by_an_error() -> None:
    async def fail() -> None:
        async with open_event_bus() as bus:
            left.append(bus)
            emitted(bus, 1)
            raise KeyError("own")

    left: list[Any] = []
    with pytest.raises(KeyError, match="own"):
        await fail()
    (bus,) = left
    assert [plain(event) for event in bus.get_history()] == [1]
    assert bus.get_stats()["total_events"] == 1
