"""``since=``: the past, then the present, each event once and in order, and what is no longer known."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import InvalidEvent, StreamOverflowed
from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from phloem.events.streams import EventStream, Overflow
from phloem.events.types import AgentEvent, HistoryGap, Lagged

settled = trio.testing.wait_all_tasks_blocked


def an_event(type: str = "custom", stream: str = "s", **fields: Any) -> AgentEvent:
    return AgentEvent(type, stream, **fields)


def emitted(bus: EventBus, count: int, type: str = "custom", **fields: Any) -> None:
    for _ in range(count):
        bus.emit(an_event(type, **fields))


def plain(item: AgentEvent | Lagged | HistoryGap) -> Any:
    """An event's seq; anything else as it is."""
    return item.seq if isinstance(item, AgentEvent) else item


def read(stream: EventStream, most: int = 1 << 30) -> list[Any]:
    """What can be read now."""
    found: list[Any] = []
    while len(found) < most:
        try:
            found.append(plain(stream.receive_nowait()))
        except trio.WouldBlock:
            break
    return found


# -- the past and the present ----------------------------------------------------------------


async def test_without_since_a_stream_has_no_past() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 3)
        async with bus.open_stream() as stream:
            assert read(stream) == []


@pytest.mark.parametrize("since", range(6))
async def test_it_begins_with_the_first_event_after_since(since: int) -> None:
    async with open_event_bus() as bus:
        emitted(bus, 5)
        async with bus.open_stream(since=since) as stream:
            emitted(bus, 2)
            assert read(stream) == list(range(since + 1, 8))


async def test_since_0_of_a_bus_without_events_is_everything_to_come() -> None:
    async with open_event_bus() as bus, bus.open_stream(since=0) as stream:
        assert read(stream) == []
        emitted(bus, 2)
        assert read(stream) == [1, 2]


async def test_events_of_the_past_are_those_that_others_were_given() -> None:
    async with open_event_bus() as bus, bus.open_stream() as live:
        bus.emit(an_event(data={"deep": [1, {"two": 3}]}, node_id="n", correlation_id="c", cause_id="why"))
        bus.record("goal_progress", "s", None, "e", {"n": 1}, weight=5)
        given = [live.receive_nowait(), live.receive_nowait()]
        async with bus.open_stream(since=0) as stream:
            assert [stream.receive_nowait(), stream.receive_nowait()] == given


async def test_the_past_is_larger_than_the_buffer_and_loses_nothing() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 100)
        async with bus.open_stream(buffer=1, since=0) as stream:
            assert stream.statistics() == {"received": 0, "lost": 0, "waiting": 0}
            bus.emit(an_event())
            assert read(stream) == list(range(1, 102))
            assert stream.statistics() == {"received": 101, "lost": 0, "waiting": 0}


async def test_the_past_is_no_part_of_the_buffer_so_publish_does_not_wait_for_it() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 10)
        async with bus.open_stream(buffer=2, since=0) as stream:
            with trio.fail_after(5):
                await bus.publish(an_event())
                await bus.publish(an_event())
            assert read(stream) == list(range(1, 13))


async def test_the_past_stays_readable_though_history_moves_on() -> None:
    async with open_event_bus(max_history=5) as bus:
        emitted(bus, 5)
        async with bus.open_stream(since=0) as stream:
            emitted(bus, 50)
            assert read(stream) == list(range(1, 56))


async def test_what_is_emitted_while_the_past_is_read_follows_it_in_order() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 5)
        async with bus.open_stream(since=2) as stream:
            found: list[Any] = []
            while len(found) < 8:
                found.extend(read(stream, 1))
                if len(found) < 6:
                    bus.emit(an_event())
            assert found == list(range(3, 11))


async def test_a_loss_in_the_present_is_told_after_the_past() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 2)
        async with bus.open_stream(buffer=1, since=0) as stream:
            emitted(bus, 3)
            assert read(stream) == [1, 2, Lagged(2), 5]


async def test_one_that_overflows_while_the_past_is_read_gives_all_of_the_past_first() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 2)
        async with (
            bus.open_stream(buffer=1, since=0, overflow="close") as closing,
            bus.open_stream(buffer=1, since=0, overflow="error") as failing,
        ):
            emitted(bus, 3)
            assert [plain(item) async for item in closing] == [1, 2, 3, Lagged(2)]
            assert [plain(await failing.receive()) for _ in range(3)] == [1, 2, 3]
            with pytest.raises(StreamOverflowed):
                await failing.receive()


async def test_coalesce_does_not_reach_into_the_past() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 3)
        async with bus.open_stream(since=1, overflow="coalesce") as stream:
            emitted(bus, 3)
            assert read(stream) == [2, 3, Lagged(2), 6]


async def test_the_filters_hold_for_the_past_as_for_the_present() -> None:
    fields: dict[str, Any] = {"stream": "s", "node_id": "n", "execution_id": "e"}
    others = [{**fields, name: "other"} for name in fields]
    async with open_event_bus() as bus:

        def emit_all() -> None:
            for each in (fields, *others):
                bus.emit(an_event("custom", **each))
                bus.emit(an_event("goal_progress", **each))

        emit_all()
        async with bus.open_stream("custom", "s", "n", "e", since=0) as stream:
            emit_all()
            assert read(stream) == [1, 9]


async def test_a_reader_that_comes_back_with_the_last_seq_it_read_misses_nothing() -> None:
    rng = random.Random(5)
    async with open_event_bus() as bus:
        found: list[Any] = []
        while len(found) < 200:
            async with bus.open_stream(since=found[-1] if found else 0, buffer=4) as stream:
                emitted(bus, rng.randrange(3))
                found.extend(read(stream, rng.randrange(6)))
                emitted(bus, rng.randrange(3))
            emitted(bus, rng.randrange(3))
        assert found == list(range(1, found[-1] + 1))


@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.DROP_OLDEST, Overflow.LATEST])
async def test_wherever_it_is_opened_among_busy_publishers_each_event_comes_once(
    overflow: Overflow, autojump_clock: trio.testing.MockClock
) -> None:
    for seed in range(40):
        rng = random.Random(seed)
        async with open_event_bus() as bus, trio.open_nursery() as nursery:

            async def publish(bus: EventBus, rng: random.Random) -> None:
                for _ in range(20):
                    await trio.sleep(rng.choice((0, 0, 0.01)))
                    await bus.publish(an_event())

            async def follow(bus: EventBus, rng: random.Random) -> None:
                await trio.sleep(rng.choice((0, 0.02, 0.05)))
                since = bus.get_stats()["total_events"] // 2
                accounted = since
                async with bus.open_stream(since=since, buffer=3, overflow=overflow) as stream:
                    while accounted < 60:
                        item = await stream.receive()
                        if isinstance(item, Lagged):
                            accounted += item.count
                        else:
                            accounted += 1
                            assert plain(item) == accounted
                        await trio.sleep(rng.choice((0, 0, 0.01)))
                    assert overflow is not Overflow.BLOCK or stream.lost == 0

            for _ in range(3):
                nursery.start_soon(publish, bus, rng)
                nursery.start_soon(follow, bus, rng)


async def test_a_reader_cancelled_while_it_replays_has_taken_nothing() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 3)
        async with bus.open_stream(since=0) as stream:
            assert plain(await stream.receive()) == 1
            with trio.CancelScope() as scope:
                scope.cancel(reason="the test")
                await stream.receive()
            assert scope.cancelled_caught
            assert read(stream) == [2, 3]


async def test_several_readers_share_the_past() -> None:
    found: list[Any] = []
    async with open_event_bus() as bus:
        emitted(bus, 10)
        async with bus.open_stream(since=0) as stream:

            async def receive() -> None:
                for _ in range(4):
                    found.append(plain(await stream.receive()))

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(receive)
                await settled()
                emitted(bus, 2)
    assert sorted(found) == list(range(1, 13))


async def test_what_was_not_read_of_the_past_can_be_read_after_the_bus_has_closed() -> None:
    async with open_event_bus() as bus:
        emitted(bus, 3)
        async with bus.open_stream(since=0) as stream:
            assert plain(await stream.receive()) == 1
    assert [plain(item) async for item in stream] == [2, 3]


# -- what is no longer known -----------------------------------------------------------------------


async def test_a_gap_comes_first_and_says_from_where_to_where() -> None:
    async with open_event_bus(max_history=3) as bus:
        emitted(bus, 10)
        async with bus.open_stream(since=2) as stream:
            emitted(bus, 1)
            assert read(stream) == [HistoryGap(2, 7), 8, 9, 10, 11]


@pytest.mark.parametrize("since", range(7, 11))
async def test_there_is_no_gap_as_long_as_history_reaches_back(since: int) -> None:
    async with open_event_bus(max_history=3) as bus:
        emitted(bus, 10)
        async with bus.open_stream(since=since) as stream:
            assert read(stream) == list(range(since + 1, 11))


async def test_a_gap_is_no_event_and_is_not_counted() -> None:
    async with open_event_bus(max_history=1) as bus:
        emitted(bus, 3)
        async with bus.open_stream(since=0) as stream:
            assert await stream.receive() == HistoryGap(0, 2)
            assert stream.statistics() == {"received": 0, "lost": 0, "waiting": 0}
            assert plain(await stream.receive()) == 3
            assert stream.statistics() == {"received": 1, "lost": 0, "waiting": 0}


async def test_a_gap_is_told_only_if_rows_of_these_types_are_gone() -> None:
    async with open_event_bus(max_history=4) as bus:
        emitted(bus, 1, "goal_achieved")
        emitted(bus, 10, "llm_text_delta")
        for types, expected in (
            ("goal_achieved", [1]),
            ("goal_progress", []),
            (["goal_achieved", "goal_progress"], [1]),
            ("llm_text_delta", [HistoryGap(0, 8), 9, 10, 11]),
            (["goal_achieved", "llm_text_delta"], [HistoryGap(0, 8), 1, 9, 10, 11]),
            (None, [HistoryGap(0, 8), 1, 9, 10, 11]),
        ):
            async with bus.open_stream(types, since=0) as stream:
                assert read(stream) == expected, types


async def test_a_history_of_nothing_makes_a_gap_of_all_that_was() -> None:
    async with open_event_bus(max_history=0) as bus:
        async with bus.open_stream(since=0) as stream:
            emitted(bus, 1)
            assert read(stream) == [1], "before the first event there was nothing to miss"
        emitted(bus, 1)
        for since, expected in ((0, [HistoryGap(0, 2)]), (1, [HistoryGap(1, 2)]), (2, [])):
            async with bus.open_stream(since=since) as stream:
                assert read(stream) == expected
        async with bus.open_stream("goal_progress", since=0) as stream:
            assert read(stream) == [], "none of that type was there"
            emitted(bus, 1, "goal_progress")
            assert read(stream) == [3]


async def test_an_event_too_large_for_history_is_a_gap_too() -> None:
    async with open_event_bus(max_history_bytes=2000) as bus:
        emitted(bus, 1)
        bus.emit(an_event(data={"text": "x" * 10_000}))
        emitted(bus, 1)
        async with bus.open_stream(since=0) as stream:
            assert read(stream) == [HistoryGap(0, 2), 1, 3]
        async with bus.open_stream(since=2) as stream:
            assert read(stream) == [3]


async def test_every_history_and_every_since_is_told_exactly() -> None:
    types = ("custom", "goal_progress", "goal_achieved")
    for seed in range(60):
        rng = random.Random(seed)
        async with open_event_bus(max_history=rng.choice((0, 1, 3, 8, 40))) as bus:
            sent = [bus.emit(an_event(rng.choice(types))) for _ in range(30)]
            kept = {event.seq for event in bus.get_history()}
            for since in range(31):
                for wanted in (None, "custom", ["custom", "goal_achieved"]):
                    asked = [
                        event.seq
                        for event in sent
                        if event.seq > since and (wanted is None or event.type in wanted)
                    ]
                    gone = [seq for seq in asked if seq not in kept]
                    gap = [HistoryGap(since, gone[-1])] if gone else []
                    async with bus.open_stream(wanted, since=since) as stream:
                        assert read(stream) == [*gap, *(seq for seq in asked if seq in kept)]


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("since", [4, 10**30])
async def test_a_since_beyond_the_newest_is_refused(since: int) -> None:
    async with open_event_bus() as bus:
        emitted(bus, 3)
        with pytest.raises(
            InvalidEvent, match=r"^since: found \d+, expected at most 3, the newest event's seq$"
        ):
            async with bus.open_stream(since=since):
                pass
        assert bus.get_stats()["stream_stats"] == {}


@pytest.mark.parametrize("since", [10**4000, 10**5000], ids=["4000", "5000"])
async def test_a_since_of_thousands_of_digits_is_refused_in_one_line(since: int) -> None:
    async with open_event_bus() as bus:
        with pytest.raises(InvalidEvent, match=r"^since: found ") as caught:
            async with bus.open_stream(since=since):
                pass
        assert len(str(caught.value)) < 200


async def test_one_that_is_refused_leaves_the_bus_as_it_was() -> None:
    async with open_event_bus() as bus:
        with pytest.raises(InvalidEvent):
            async with bus.open_stream(since=1):
                pass
        emitted(bus, 1)
        async with bus.open_stream(since=1) as stream:
            emitted(bus, 1)
            assert read(stream) == [2]
