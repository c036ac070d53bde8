"""What the bus adds to an event: its number, id and time; what it leaves as it was given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from trio.testing import wait_all_tasks_blocked

from phloem.events import UNPUBLISHED, AgentEvent, EventType, open_event_bus
from support.buses import event


class Wall:
    """A clock port whose wall time is set by the test."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return 0.0


async def test_a_published_event_is_stamped_by_the_bus() -> None:
    clock = Wall()
    async with open_event_bus(clock=clock, id="bus") as bus:
        first = bus.emit(event(cause_id="c", correlation_id="m"))
        clock.now += 1.5
        second = await bus.publish(event())
        third = (await bus.deliver(event())).event
    assert [e.seq for e in (first, second, third)] == [1, 2, 3]
    assert [e.id for e in (first, second, third)] == ["bus-1", "bus-2", "bus-3"]
    assert first.timestamp == datetime.fromtimestamp(1_900_000_000.0, UTC)
    assert second.timestamp - first.timestamp == timedelta(seconds=1.5)
    assert first.timestamp.tzinfo is UTC
    assert (first.cause_id, first.correlation_id) == ("c", "m")


async def test_what_a_publisher_says_of_time_and_id_stays() -> None:
    given = datetime(2001, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    async with open_event_bus() as bus:
        stamped = bus.emit(event(timestamp=given, id="mine"))
        assert (stamped.timestamp, stamped.id) == (given, "mine")
        assert bus.get_history()[0] == stamped


async def test_an_event_that_is_published_again_is_an_event_of_its_own() -> None:
    async with open_event_bus(id="bus") as bus:
        first = bus.emit(event(7))
        second = bus.emit(first)
        assert (second.seq, second.id, second.data["n"]) == (2, "bus-2", 7)
        assert (first.seq, first.id) == (1, "bus-1")


async def test_an_event_that_is_unpublished_keeps_saying_so() -> None:
    mine = event()
    async with open_event_bus() as bus:
        bus.emit(mine)
    assert (mine.seq, mine.id, mine.timestamp) == (0, "", UNPUBLISHED)


class Stopped(Wall):
    def wall(self) -> float:
        if self.now < 0:
            raise OSError("no clock")
        return self.now


async def test_a_clock_that_raises_leaves_no_gap_between_the_numbers() -> None:
    clock = Stopped()
    async with open_event_bus(clock=clock) as bus:
        assert bus.emit(event()).seq == 1
        clock.now = -1.0
        with pytest.raises(OSError, match="no clock"):
            bus.emit(event())
        with pytest.raises(OSError, match="no clock"):
            bus.record("custom", "s", None, None, {})
        clock.now = 1.0
        assert bus.emit(event()).seq == 2


async def test_record_makes_an_event_only_where_somebody_reads() -> None:
    seen: list[AgentEvent] = []
    async with open_event_bus(id="bus", clock=Wall()) as bus:
        bus.record(EventType.NODE_STALLED, "s", "n", "e", {"reason": "a"}, "m", "c", weight=10)
        bus.subscribe("node_stalled", seen.append)
        bus.record(EventType.NODE_STALLED, "s", "n", "e", {"reason": "b"})
        await wait_all_tasks_blocked()
        newest, oldest = bus.get_history()
        assert seen == [newest]
        assert oldest.to_dict() == {
            "type": "node_stalled",
            "stream_id": "s",
            "node_id": "n",
            "execution_id": "e",
            "data": {"reason": "a"},
            "timestamp": datetime.fromtimestamp(1_900_000_000.0, UTC).isoformat(),
            "correlation_id": "m",
            "id": "bus-1",
            "seq": 1,
            "cause_id": "c",
        }
        with pytest.raises(TypeError):
            newest.data["reason"] = "c"  # type: ignore[index]
    bus.record(EventType.NODE_STALLED, "s", "n", "e", {"reason": "late"})
    assert bus.get_history(limit=1)[0].data["reason"] == "late"
