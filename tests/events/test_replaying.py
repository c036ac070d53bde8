"""A replay: what it publishes, when, and what is left when it is cancelled."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import EventBusClosed, InvalidEvent, JournalError
from phloem.events.bus import EventBus
from phloem.events.journal import open_journal
from phloem.events.journal_lines import encoded
from phloem.events.opening import open_event_bus
from phloem.events.replaying import AHEAD, open_replay, read_journal, replay
from phloem.events.types import AgentEvent, EventType, HistoryGap, Lagged
from support.disks import Item, event, numbers

AT = datetime(2031, 5, 17, 9, 30, tzinfo=UTC)


def put(path: Path, items: Sequence[Item], tail: bytes = b"") -> None:
    path.write_bytes(b"".join(map(encoded, items)) + tail)


def at(*seconds: float) -> list[Item]:
    """Numbered events at these times."""
    return [event(number, timestamp=AT + timedelta(seconds=each)) for number, each in enumerate(seconds)]


# -- replaying -----------------------------------------------------------------------------------


async def test_a_replay_publishes_what_was_published(path: Path) -> None:
    async with open_event_bus(types=["my.own"], id="one") as bus, open_journal(bus, path):
        given = [
            await bus.publish(AgentEvent("my.own", "s", "n", "e", {"a": [1, {"b": None}]}, cause_id="c")),
            await bus.publish(AgentEvent("custom", "s", correlation_id="m-1")),
        ]
    async with open_event_bus(id="two") as other:
        await other.publish(event(0))
        assert await replay(path, other, speed=math.inf) == 2
        found = other.get_history(limit=2)[::-1]
    assert [{**each.to_dict(), "seq": 0} for each in found] == [
        {**each.to_dict(), "seq": 0} for each in given
    ]
    assert [each.seq for each in found] == [2, 3]
    assert found[0].id.startswith("one-")


async def test_types_that_the_bus_does_not_know_are_registered(path: Path) -> None:
    put(path, [AgentEvent("their.own", "s", timestamp=AT)])
    async with open_event_bus() as bus:
        assert "their.own" not in bus.types
        await replay(path, bus, speed=math.inf)
        assert "their.own" in bus.types
        assert bus.latest("their.own") is not None


async def test_types_that_every_bus_knows_come_back_as_such(path: Path) -> None:
    put(path, [AgentEvent("node_stalled", "s", timestamp=AT)])
    async with open_event_bus() as bus:
        await replay(path, bus)
        (found,) = bus.get_history()
    assert found.type is EventType.NODE_STALLED


async def test_losses_are_passed_over_and_not_counted(path: Path) -> None:
    put(path, [HistoryGap(1, 2), event(1, timestamp=AT), Lagged(5), event(2, timestamp=AT)])
    async with open_event_bus() as bus:
        assert await replay(path, bus) == 2
        assert bus.get_stats()["total_events"] == 2


@pytest.mark.parametrize(
    ("times", "speed", "expected"),
    [
        ([0, 1, 1, 3.5], 1.0, [0, 1, 1, 3.5]),
        ([0, 10, 20], 2, [0, 5, 10]),
        ([0, 10, 20], 0.5, [0, 20, 40]),
        ([0, 10, 20], math.inf, [0, 0, 0]),
        ([0, 5, 2, 6], 1.0, [0, 5, 5, 6]),  # an older one comes at once, and puts off nothing
        ([10, 0, 0, 11], 1.0, [0, 0, 0, 1]),
        ([0, 3_600 * 24 * 365], 1.0, [0, 3_600 * 24 * 365]),
    ],
)
async def test_events_come_as_far_apart_as_they_were(
    path: Path,
    autojump_clock: trio.testing.MockClock,
    times: list[float],
    speed: float,
    expected: list[float],
) -> None:
    put(path, at(*times))
    begun = trio.current_time()
    seen: list[float] = []

    async def note(event: AgentEvent) -> None:
        seen.append(trio.current_time() - begun)

    async with open_event_bus() as bus:
        bus.subscribe(None, note)
        assert await replay(path, bus, speed=speed) == len(times)
        await trio.testing.wait_all_tasks_blocked()
    assert seen == pytest.approx(expected)


async def test_who_falls_behind_catches_up(path: Path, autojump_clock: trio.testing.MockClock) -> None:
    put(path, at(0, 1, 2, 10))
    begun = trio.current_time()
    async with open_replay(path) as items:
        seen: list[float] = []
        async for item in items:
            seen.append(trio.current_time() - begun)
            if numbers([item]) == [0]:
                await trio.sleep(5)
    assert seen == pytest.approx([0, 5, 5, 10])


async def test_an_event_without_a_timestamp_comes_at_once(
    path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    put(path, [*at(0), AgentEvent("custom", "s"), Lagged(1), *at(0)])
    begun = trio.current_time()
    async with open_event_bus() as bus:
        assert await replay(path, bus) == 3
    assert trio.current_time() == begun


async def test_a_replay_waits_for_room_as_any_publisher(path: Path) -> None:
    put(path, [event(number, timestamp=AT) for number in range(100)])
    async with open_event_bus(buffer=1) as bus, bus.open_stream(buffer=1) as stream:
        seen: list[int] = []

        async def read() -> None:
            async for item in stream:
                seen.extend(numbers([item]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await replay(path, bus)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert seen == list(range(100))


@pytest.mark.parametrize("count", [0, 1, AHEAD - 1, AHEAD, AHEAD + 1, 3 * AHEAD])
async def test_however_many_there_are_all_come_once(path: Path, count: int) -> None:
    put(path, [event(number, timestamp=AT) for number in range(count)])
    async with open_replay(path) as items:
        assert numbers([item async for item in items]) == list(range(count))
        with pytest.raises(StopAsyncIteration):
            await anext(items)


async def test_long_lines_are_not_all_read_ahead(path: Path) -> None:
    put(path, [event(number, "x" * 400_000, timestamp=AT) for number in range(9)])
    async with open_replay(path) as items:
        await anext(items)
        assert len(items._ahead) < 3
        assert len([item async for item in items]) == 8


async def test_a_replay_cancelled_between_two_events_has_published_whole_ones(
    path: Path, mock_clock: trio.testing.MockClock
) -> None:
    put(path, at(0, 1, 5))
    async with open_event_bus() as bus:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(replay, path, bus)
                while bus.get_stats()["total_events"] < 1:
                    await trio.testing.wait_all_tasks_blocked(0.001)
                mock_clock.jump(1)
                await trio.testing.wait_all_tasks_blocked(0.01)
                scope.cancel()
        assert numbers(bus.get_history()) == [1, 0]
        assert await replay(path, bus, speed=math.inf) == 3


async def test_an_item_whose_wait_was_cancelled_comes_with_the_next_call(
    path: Path, mock_clock: trio.testing.MockClock
) -> None:
    put(path, at(0, 1, 2))
    async with open_replay(path) as items:
        assert numbers([await anext(items)]) == [0]
        for _ in range(3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(anext, items)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            assert scope.cancelled_caught
        mock_clock.autojump_threshold = 0
        assert numbers([item async for item in items]) == [1, 2]
    assert trio.current_time() == pytest.approx(2)


async def test_a_replay_cancelled_before_it_begins_publishes_nothing(path: Path) -> None:
    put(path, at(0))
    async with open_event_bus() as bus:
        with trio.CancelScope() as scope:
            scope.cancel()
            await replay(path, bus)
        assert scope.cancelled_caught
        assert bus.get_stats()["total_events"] == 0


async def test_each_item_is_a_checkpoint(path: Path) -> None:
    put(path, [event(1, timestamp=AT), Lagged(1), event(2, timestamp=AT), event(3, timestamp=AT)])
    async with open_replay(path, speed=math.inf) as items:
        for _ in range(4):
            with trio.testing.assert_checkpoints():
                await anext(items)
        with trio.testing.assert_checkpoints(), pytest.raises(StopAsyncIteration):
            await anext(items)


async def test_two_tasks_cannot_wait_for_the_same_item(
    path: Path, mock_clock: trio.testing.MockClock
) -> None:
    put(path, at(0, 1))
    async with open_replay(path) as items, trio.open_nursery() as nursery:
        await anext(items)
        nursery.start_soon(anext, items)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(items)
        nursery.cancel_scope.cancel()


async def test_a_bad_line_ends_a_replay_after_what_is_good_before_it(path: Path) -> None:
    put(path, at(0, 0, 0), b"garbage\n" + encoded(at(0)[0]))
    async with open_event_bus() as bus:
        with pytest.raises(JournalError, match=f"{path}:4: found 'garbage'"):
            await replay(path, bus)
        assert numbers(bus.get_history()) == [2, 1, 0]


async def test_a_replay_of_no_journal_is_an_error(path: Path) -> None:
    async with open_event_bus() as bus:
        with pytest.raises(JournalError, match="found no file"):
            await replay(path, bus)


async def test_a_bus_that_is_closed_takes_no_replay(path: Path) -> None:
    put(path, at(0))
    async with open_event_bus() as bus:
        pass
    with pytest.raises(EventBusClosed):
        await replay(path, bus)


@pytest.mark.parametrize("speed", [0, -1, math.nan, True, "fast", None])
async def test_a_speed_that_is_none_is_refused(path: Path, speed: Any) -> None:
    put(path, at(0))
    async with open_event_bus() as bus:
        with pytest.raises(InvalidEvent, match=r"speed: found .*, expected a number above 0"):
            await replay(path, bus, speed=speed)


async def test_a_replay_into_the_bus_that_is_being_written_ends(path: Path) -> None:
    async with open_event_bus() as bus, open_journal(bus, path, linger=0) as journal:
        for number in range(5):
            await bus.publish(event(number))
        await journal.flush()
        with trio.fail_after(5):
            assert await replay(path, bus, speed=math.inf) == 5
    assert numbers(read_journal(path)) == [*range(5), *range(5)]


async def test_the_loop_goes_on_while_a_journal_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(path, at(0))
    begun, go_on = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()
    real = Path.stat

    def slow(self: Path, **more: Any) -> os.stat_result:
        if self == path:
            trio.from_thread.run_sync(begun.set, trio_token=token)
            trio.from_thread.run(go_on.wait, trio_token=token)
        return real(self, **more)

    monkeypatch.setattr(Path, "stat", slow)
    async with open_event_bus() as bus, trio.open_nursery() as nursery:

        async def replayed(bus: EventBus) -> None:
            assert await replay(path, bus) == 1

        nursery.start_soon(replayed, bus)
        with trio.fail_after(5):
            await begun.wait()
            await bus.publish(event(9))
        go_on.set()
