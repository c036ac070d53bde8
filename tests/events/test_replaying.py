"""A journal read back: which lines count, which are errors, and how long a replay takes."""

from __future__ import annotations

import logging
import math
import os
import sys
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from support.disks import Item, event, numbers

from phloem.errors import EventBusClosed, InvalidEvent, JournalError
from phloem.events.bus import EventBus
from phloem.events.journal import open_journal
from phloem.events.journal_files import Fsync, JournalFile, numbered
from phloem.events.journal_lines import encoded
from phloem.events.opening import open_event_bus
from phloem.events.replaying import AHEAD, open_replay, read_journal, replay
from phloem.events.types import AgentEvent, EventType, HistoryGap, Lagged

AT = datetime(2031, 5, 17, 9, 30, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


def put(path: Path, items: Sequence[Item]) -> None:
    path.write_bytes(b"".join(map(encoded, items)))


def at(*seconds: float) -> list[Item]:
    """Numbered events at these times."""
    return [event(number, timestamp=AT + timedelta(seconds=each)) for number, each in enumerate(seconds)]


def faults_of(path: Path) -> str:
    with pytest.raises(JournalError) as caught:
        list(read_journal(path))
    return str(caught.value)


# -- reading -----------------------------------------------------------------------------------


def test_the_oldest_file_comes_first(path: Path) -> None:
    for number, file in enumerate((12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)):
        put(numbered(path, file), [event(number)])
    assert numbers(read_journal(path)) == list(range(13))


def test_losses_are_read_where_they_happened(path: Path) -> None:
    put(path, [HistoryGap(1, 4), event(1), Lagged(3), event(2)])
    found = list(read_journal(path))
    assert found[0] == HistoryGap(1, 4)
    assert found[2] == Lagged(3)


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_number_that_a_crash_left_out_hides_no_older_file(path: Path, missing: int) -> None:
    for number in {0, 1, 2, 3, 4} - {missing}:
        put(numbered(path, number), [event(number)])
    assert numbers(read_journal(path)) == sorted({0, 1, 2, 3, 4} - {missing}, reverse=True)


def test_copies_with_other_names_are_no_part_of_it(path: Path) -> None:
    put(path, [event(1)])
    for name in (".20310517", ".bak", ".01", ".3", ".-1", "1"):
        put(path.with_name(path.name + name), [event(99)])
    assert numbers(read_journal(path)) == [1]


def test_a_torn_last_line_is_passed_over_and_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(encoded(event(1)) + encoded(event(2))[:-5])
    assert numbers(read_journal(path)) == [1]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{path}:2: passed over a line that is torn: '{{")


def test_a_last_line_that_only_lacks_its_end_counts(path: Path) -> None:
    path.write_bytes(encoded(event(1)) + encoded(event(2))[:-1])
    assert numbers(read_journal(path)) == [1, 2]


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (b"garbage\n", "found 'garbage', expected an event as one JSON object"),
        (b'{"type": "cus\n', 'found \'{"type": "cus\', expected an event'),
        (b"\n", "found '', expected an event"),
        (b"\xff\xfe\n", "found '\\\\xff\\\\xfe', expected an event"),
        (b"x" * 100_000 + b"\n", f"found '{'x' * 59}\\u2026', expected an event"),
        (b'{"lagged":0}\n', "expected how many events were lost"),
    ],
    ids=lambda value: ascii(value[:12]),
)
def test_a_line_that_is_no_event_is_named(path: Path, bad: bytes, found: str) -> None:
    path.write_bytes(encoded(event(1)) + bad + encoded(event(2)))
    said = faults_of(path)
    assert said.startswith(f"{path}:2: found ")
    assert found in said


def test_what_is_good_before_a_bad_line_is_read(path: Path) -> None:
    path.write_bytes(encoded(event(1)) + b"garbage\n")
    items = read_journal(path)
    assert numbers([next(items)]) == [1]
    with pytest.raises(JournalError):
        next(items)


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "missing").endswith("found no file, expected a journal")
    assert "found a folder" in faults_of(tmp_path)
    assert "null" in faults_of(tmp_path / "a\0b")
    assert "no file" in faults_of(Path(os.devnull))
    (tmp_path / "file").write_text("")
    assert "Not a directory" in faults_of(tmp_path / "file" / "j")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a named pipe, as POSIX has")
def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    assert "no file" in faults_of(path)


def test_an_empty_journal_holds_nothing(path: Path) -> None:
    path.touch()
    assert list(read_journal(path)) == []


def test_reading_takes_the_memory_of_a_line(path: Path) -> None:
    with path.open("wb") as handle:
        for number in range(20_000):
            handle.write(encoded(event(number, "x" * 200)))
    assert path.stat().st_size > 7_000_000
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_journal(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 300_000


def test_a_journal_that_is_being_written_and_moved_is_read_whole_and_once(path: Path) -> None:
    size = len(encoded(event(100)))
    file = JournalFile(path, fsync=Fsync.NEVER, max_bytes=3 * size, keep=100)
    file.open()
    file.append([event(number) for number in range(100, 110)])
    items = read_journal(path)
    seen = numbers([next(items)])
    file.append([event(number) for number in range(110, 150)])  # every file has another name now
    seen += numbers(items)
    file.close()
    assert seen == list(range(100, 110))


def test_a_move_between_two_files_being_opened_hides_and_doubles_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(encoded(event(100)))
    file = JournalFile(path, fsync=Fsync.NEVER, max_bytes=size, keep=100)
    file.open()
    file.append([event(number) for number in range(100, 106)])
    real, opened = Path.open, [0]

    def slow(self: Path, *args: Any) -> Any:
        handle = real(self, *args)
        opened[0] += 1
        if opened[0] in (1, 2, 5):
            file.append([event(200 + opened[0])])
        return handle

    monkeypatch.setattr(Path, "open", slow)
    seen = numbers(read_journal(path))
    file.close()
    assert seen == list(range(100, 106))


def test_a_reader_that_stops_early_closes_its_files(path: Path) -> None:
    put(path, [event(1), event(2)])
    items = read_journal(path)
    next(items)
    items.close()
    assert list(items) == []


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
    path.write_bytes(b"".join(map(encoded, at(0, 0, 0))) + b"garbage\n" + encoded(at(0)[0]))
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
        with pytest.raises(InvalidEvent, match="speed: found .*, expected a number above 0"):
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
