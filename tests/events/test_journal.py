"""A journal beside a bus: what is published is written, and no disk hurts a publisher."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import EventBusClosed, InvalidEvent, JournalError
from phloem.events.journal import BATCH, Fsync, open_journal
from phloem.events.opening import open_event_bus
from phloem.events.replaying import read_journal
from phloem.events.types import AgentEvent
from support.disks import Disk, event, numbers, until
from support.journals import lines_of, lost, published, until_it_writes

# -- writing -----------------------------------------------------------------------------------


async def test_what_is_published_in_the_block_is_on_disk_after_it(path: Path) -> None:
    async with open_event_bus() as bus:
        await published(bus, 0)
        async with open_journal(bus, path) as journal:
            await published(bus, 1, 2)
            bus.emit(event(3))
            assert journal.path == path
        await published(bus, 4)
        assert bus.get_stats()["stream_stats"] == {}
    assert (journal.written, journal.lagged) == (3, 0)
    assert numbers(read_journal(path)) == [1, 2, 3]


async def test_an_event_is_read_back_as_it_was_published(path: Path) -> None:
    async with open_event_bus(types=["my.own"]) as bus, open_journal(bus, path):
        given = await bus.publish(
            AgentEvent("my.own", "s", "n", "e", {"deep": {"list": [1, "\ud800 ü \x18\n"]}}, cause_id="c")
        )
    assert list(read_journal(path)) == [given]


async def test_only_what_the_filters_let_through_is_written(path: Path) -> None:
    async with open_event_bus() as bus, open_journal(bus, path, "custom", "s", "n", "e") as journal:
        for kind, stream, node, execution in [
            ("custom", "s", "n", "e"),
            ("state_changed", "s", "n", "e"),
            ("custom", "x", "n", "e"),
            ("custom", "s", None, "e"),
            ("custom", "s", "n", "x"),
        ]:
            await bus.publish(AgentEvent(kind, stream, node, execution))
        await journal.flush()
        assert journal.written == 1
    assert [item.seq for item in read_journal(path) if isinstance(item, AgentEvent)] == [1]


async def test_a_second_run_goes_on_in_the_same_file(path: Path) -> None:
    for number in (1, 2):
        async with open_event_bus() as bus, open_journal(bus, path):
            await published(bus, number)
    assert numbers(read_journal(path)) == [1, 2]


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "coalesce", "latest"])
async def test_what_was_received_and_what_was_lost_is_what_was_published(path: Path, overflow: str) -> None:
    async with (
        open_event_bus() as bus,
        open_journal(bus, path, max_bytes=4_000, keep=100, buffer=16, overflow=overflow, linger=0) as journal,
    ):

        async def publisher(base: int) -> None:
            for number in range(base, base + 100):
                if number % 3:
                    await bus.publish(event(number))
                else:
                    bus.emit(event(number))

        async with trio.open_nursery() as nursery:
            for base in range(0, 1_000, 100):
                nursery.start_soon(publisher, base)
        await journal.flush()
        assert journal.written + journal.lagged == 1_000
    found = numbers(read_journal(path))
    assert len(found) == len(set(found)) == journal.written
    assert lost(path) == journal.lagged
    assert [n for n in found if n < 100] == sorted(n for n in found if n < 100)


async def test_publishers_that_wait_for_room_lose_nothing_over_many_files(path: Path) -> None:
    async with (
        open_event_bus() as bus,
        open_journal(bus, path, max_bytes=2_000, keep=100, buffer=4) as journal,
        trio.open_nursery() as nursery,
    ):
        for base in range(0, 500, 100):
            nursery.start_soon(published, bus, *range(base, base + 100))
    assert (journal.written, journal.lagged) == (500, 0)
    assert sorted(numbers(read_journal(path))) == list(range(500))
    assert len(list(path.parent.iterdir())) > 20


async def test_many_events_at_once_are_few_writes(path: Path, disk: Disk) -> None:
    async with open_event_bus() as bus, open_journal(bus, path) as journal:
        for number in range(2_000):
            bus.emit(event(number))
        await journal.flush()
        assert disk.calls.count("write") < 40
        assert journal.written == 2_000


async def test_events_that_come_one_by_one_are_gathered_for_a_moment(
    path: Path, disk: Disk, mock_clock: trio.testing.MockClock
) -> None:
    async with open_event_bus() as bus, open_journal(bus, path, linger=1) as journal:
        for number in range(9):
            await published(bus, number)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(0.1)
        assert disk.calls.count("write") == 0
        await journal.flush()  # which does not wait for the rest of the moment
        assert disk.calls.count("write") == 1
        assert mock_clock.current_time() < 1


async def test_nothing_published_costs_no_write(path: Path, disk: Disk) -> None:
    async with open_event_bus() as bus, open_journal(bus, path):
        pass
    assert "write" not in disk.calls
    assert list(read_journal(path)) == []


async def test_the_loop_goes_on_while_the_disk_takes_its_time(path: Path, disk: Disk) -> None:
    async with open_event_bus() as bus, open_journal(bus, path, linger=0) as journal:
        disk.gate.clear()
        try:
            await published(bus, 0)
            await until_it_writes(disk)
            for number in range(1, 2 * BATCH):
                await bus.publish(event(number))
            assert journal.written == 0
        finally:
            disk.gate.set()
    assert numbers(read_journal(path)) == list(range(2 * BATCH))


async def test_so_many_events_are_taken_at_once_and_no_more(path: Path, disk: Disk) -> None:
    async with open_event_bus() as bus, open_journal(bus, path) as journal:
        disk.gate.clear()
        try:
            for number in range(3 * BATCH):
                bus.emit(event(number))
            await until_it_writes(disk)
            assert len(journal._pending) == BATCH
        finally:
            disk.gate.set()
    assert journal.written == 3 * BATCH


# -- flushing ------------------------------------------------------------------------------------


async def test_flushed_means_on_disk(path: Path) -> None:
    async with open_event_bus() as bus, open_journal(bus, path, linger=60) as journal:
        for count in range(1, 20):
            bus.emit(event(count))
            if count % 2:
                await trio.lowlevel.checkpoint()
            await journal.flush()
            assert len(numbers(read_journal(path))) == journal.written == count


async def test_a_flush_of_nothing_returns_and_lets_others_run(path: Path) -> None:
    async with open_event_bus() as bus, open_journal(bus, path) as journal:
        with trio.testing.assert_checkpoints():
            await journal.flush()
    with trio.testing.assert_checkpoints():
        await journal.flush()


async def test_a_flush_does_not_wait_for_what_is_published_after_it(path: Path) -> None:
    async with open_event_bus() as bus, open_journal(bus, path, buffer=64, linger=0) as journal:
        flushed = 0

        async def flusher() -> None:
            nonlocal flushed
            for _ in range(10):
                await journal.flush()
                flushed += 1
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher)
            for number in range(1_000_000):  # never a moment in which the stream is empty
                await bus.publish(event(number))
    assert flushed == 10


async def test_a_flush_ends_though_the_stream_is_never_empty(path: Path, disk: Disk) -> None:
    token = trio.lowlevel.current_trio_token()

    def publish_more() -> None:
        if not flushed.is_set():
            for number in range(BATCH):
                bus.emit(event(number))

    def before(call: str) -> None:
        if call == "write":
            trio.from_thread.run_sync(publish_more, trio_token=token)

    flushed = trio.Event()
    async with open_event_bus() as bus, open_journal(bus, path, linger=0) as journal:
        disk.before = before
        publish_more()
        try:
            with trio.fail_after(10):
                await journal.flush()
        finally:
            flushed.set()
        assert journal._stream.waiting > 0


async def test_any_number_of_tasks_may_flush(path: Path) -> None:
    async with open_event_bus() as bus, open_journal(bus, path) as journal:
        done: list[int] = []

        async def one(number: int) -> None:
            await bus.publish(event(number))
            await journal.flush()
            assert number in numbers(read_journal(path))
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
        assert len(done) == 50


async def test_a_flush_cancelled_while_it_waits_leaves_the_journal_as_it_was(path: Path, disk: Disk) -> None:
    async with open_event_bus() as bus, open_journal(bus, path) as journal:
        disk.gate.clear()
        try:
            await published(bus, 1)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(journal.flush)
                    await until_it_writes(disk)
                    scope.cancel()
            assert scope.cancelled_caught
            assert journal.written == 0
        finally:
            disk.gate.set()
        await published(bus, 2)
        await journal.flush()
        assert numbers(read_journal(path)) == [1, 2]


@pytest.mark.parametrize(
    ("fsync", "forced"), [("never", [0, 0, 0, 0]), ("batch", [2, 2, 3, 3]), (Fsync.CLOSE, [0, 2, 2, 3])]
)
async def test_bytes_are_forced_to_the_disk_as_the_policy_says(
    path: Path, disk: Disk, fsync: str, forced: list[int]
) -> None:
    counted: list[int] = []
    async with open_event_bus() as bus, open_journal(bus, path, fsync=fsync, linger=0) as journal:
        await published(bus, 1)
        await until(lambda: journal.written == 1)
        await trio.sleep(0.01)
        counted.append(len(disk.synced))  # the file, and once the folder that it is new in
        await journal.flush()
        counted.append(len(disk.synced))
        await published(bus, 2)
        await until(lambda: journal.written == 2)
        await trio.sleep(0.01)
        counted.append(len(disk.synced))
    counted.append(len(disk.synced))
    assert counted == forced


# -- opening -------------------------------------------------------------------------------------


async def test_a_path_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    async with open_event_bus() as bus:
        for path in (tmp_path, tmp_path / "missing" / "j", tmp_path / "a\0b"):
            with pytest.raises(JournalError, match="expected a file that can be written"):
                async with open_journal(bus, path):
                    raise AssertionError
        assert bus.get_stats()["stream_stats"] == {}


async def test_two_journals_do_not_share_a_file(path: Path) -> None:
    async with open_event_bus() as bus, open_journal(bus, path):
        with pytest.raises(JournalError, match="another journal"):
            async with open_journal(bus, path):
                raise AssertionError
        await published(bus, 1)
    assert numbers(read_journal(path)) == [1]


@pytest.mark.parametrize(
    "settings",
    [
        {"fsync": "sometimes"},
        {"fsync": None},
        {"max_bytes": 0},
        {"max_bytes": 1.5},
        {"keep": -1},
        {"keep": 101},
        {"keep": True},
        {"buffer": 0},
        {"overflow": "error"},
        {"overflow": "close"},
        {"overflow": "lossy"},
        {"linger": -1},
        {"linger": math.nan},
        {"event_types": "no_such_type"},
        {"filter_stream": ""},
    ],
    ids=str,
)
async def test_settings_that_are_none_are_refused_before_a_file_is_made(
    path: Path, settings: dict[str, Any]
) -> None:
    (name,) = settings
    async with open_event_bus() as bus:
        with pytest.raises(InvalidEvent, match=f"{name}.*expected"):
            async with open_journal(bus, path, **settings):
                raise AssertionError
    assert lines_of(path) is None


async def test_a_closed_bus_has_no_journal(path: Path) -> None:
    async with open_event_bus() as bus:
        pass
    with pytest.raises(EventBusClosed):
        async with open_journal(bus, path):
            raise AssertionError
    assert lines_of(path) is None


async def test_opening_cancelled_leaves_nothing_open(path: Path) -> None:
    async with open_event_bus() as bus:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with open_journal(bus, path):
                raise AssertionError
        assert scope.cancelled_caught
        assert bus.get_stats()["stream_stats"] == {}
        async with open_journal(bus, path):
            await published(bus, 1)
    assert numbers(read_journal(path)) == [1]
