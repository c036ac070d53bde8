"""A journal on a disk that refuses: no publisher is hurt, nothing is lost silently."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
import trio
import trio.testing

from phloem.errors import JournalError
from phloem.events.bus import EventBus
from phloem.events.journal import BATCH, LEAVE_TRIES, RETRY_PAUSE, Journal, open_journal
from phloem.events.journal_lines import encoded
from phloem.events.opening import open_event_bus
from phloem.events.replaying import read_journal
from support.disks import Disk, event, numbers, until
from support.journals import lines_of, published

# -- a disk that refuses -------------------------------------------------------------------------


async def test_a_full_disk_hurts_no_publisher_and_is_told_once(
    path: Path, disk: Disk, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_event_bus() as bus, open_journal(bus, path, linger=0) as journal:
        await published(bus, 0)
        await journal.flush()
        disk.room = 300
        await published(bus, *range(1, 6))
        await until(lambda: disk.calls.count("write") >= 12, 0.1)
        assert len(numbers(read_journal(path))) <= 2
        assert bus.get_stats()["total_events"] == 6
        disk.room = math.inf
        await journal.flush()
        assert numbers(read_journal(path)) == list(range(6))
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert str(path) in errors[0].getMessage()
    assert "No space left" in errors[0].getMessage()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert journal.written == 6


async def test_while_a_disk_refuses_the_buffer_bounds_what_is_kept(
    path: Path, disk: Disk, mock_clock: trio.testing.MockClock
) -> None:
    async def use(bus: EventBus) -> None:
        async with open_journal(bus, path, buffer=10, linger=0) as journal:
            disk.refuses = {"write"}
            for number in range(5_000):
                bus.emit(event(number))
                if number % 100 == 0:
                    with trio.move_on_after(0):
                        await journal.flush()
                    await trio.testing.wait_all_tasks_blocked()
            mock_clock.rate = 10_000
            assert len(journal._pending) <= BATCH
            assert journal._stream.waiting <= 10
            assert journal._flushes == []  # all were given up

    async with open_event_bus() as bus:
        with pytest.raises(JournalError):
            await use(bus)


async def test_publishers_that_wait_for_a_journal_whose_disk_refuses_may_be_cancelled(
    path: Path, disk: Disk
) -> None:
    async with open_event_bus() as bus, open_journal(bus, path, buffer=1, linger=0) as journal:
        disk.refuses = {"write"}
        await published(bus, 0)
        await until(lambda: "write" in disk.calls)
        await published(bus, 1)
        with trio.move_on_after(0.01) as scope:
            await published(bus, 2)
        assert scope.cancelled_caught
        disk.refuses = set()
        await journal.flush()
    assert numbers(read_journal(path)) == [0, 1]


async def test_what_was_not_written_when_the_journal_is_left_is_raised(
    path: Path, disk: Disk, autojump_clock: trio.testing.MockClock
) -> None:
    journals: list[Journal] = []

    async def use(bus: EventBus) -> None:
        async with open_journal(bus, path) as journal:
            journals.append(journal)
            await published(bus, 0)
            await journal.flush()
            disk.room = 5
            await published(bus, 1, 2, 3)

    async with open_event_bus() as bus:
        with pytest.raises(JournalError, match=f"{path}: 3 events were not written: .*No space left"):
            await use(bus)
        (journal,) = journals
        with pytest.raises(JournalError, match="3 events were not written"):
            await journal.flush()
        await published(bus, 4)
    assert autojump_clock.current_time() >= (LEAVE_TRIES - 1) * RETRY_PAUSE
    assert journal.written == 1
    assert [*map(encoded, read_journal(path))] == lines_of(path)
    assert numbers(read_journal(path)) == [0]


async def test_a_disk_that_takes_it_a_moment_later_is_waited_for_when_the_journal_is_left(
    path: Path, disk: Disk, autojump_clock: trio.testing.MockClock
) -> None:
    def before(call: str) -> None:
        disk.refuses = {"write"} if disk.calls.count("write") <= 3 else set()

    async with open_event_bus() as bus, open_journal(bus, path, linger=60):
        disk.before = before
        await published(bus, 1)
    assert numbers(read_journal(path)) == [1]


async def test_what_was_not_written_is_a_note_to_an_error_that_is_on_its_way(
    path: Path, disk: Disk, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(bus: EventBus) -> None:
        async with open_journal(bus, path):
            disk.refuses = {"write"}
            await published(bus, 1, 2)
            raise LookupError("mine")

    async with open_event_bus() as bus:
        with pytest.raises(LookupError, match="mine") as caught:
            await use(bus)
    assert "2 events were not written" in caught.value.__notes__[0]
    assert "2 events were not written" in caplog.text


async def test_a_cancel_goes_on_though_nothing_could_be_written(
    path: Path, disk: Disk, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_event_bus() as bus:
        with trio.CancelScope() as scope:
            async with open_journal(bus, path):
                disk.refuses = {"write"}
                await published(bus, 1)
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
    assert "1 events were not written" in caplog.text


async def test_bytes_that_could_not_be_forced_after_the_bus_has_closed_are_told(
    path: Path, disk: Disk
) -> None:
    async def use(bus: EventBus) -> None:
        async with open_journal(bus, path, fsync="close") as journal:
            await published(bus, 1)
            disk.refuses = {"fsync"}
            bus._close()
            with pytest.raises(JournalError, match="may not be on the disk"):
                await journal.flush()

    async with open_event_bus() as bus:
        with pytest.raises(JournalError, match="may not be on the disk"):
            await use(bus)


async def test_bytes_that_could_not_be_forced_at_the_end_are_told(path: Path, disk: Disk) -> None:
    async def use(bus: EventBus) -> None:
        async with open_journal(bus, path, fsync="close"):
            await published(bus, 1)
            disk.refuses = {"fsync"}

    async with open_event_bus() as bus:
        with pytest.raises(JournalError, match="may not be on the disk"):
            await use(bus)
    assert numbers(read_journal(path)) == [1]


async def test_a_flush_that_waits_for_a_disk_that_refuses_ends_with_the_journal(
    path: Path, disk: Disk, autojump_clock: trio.testing.MockClock
) -> None:
    async def flush(journal: Journal) -> None:
        with pytest.raises(JournalError, match="1 events were not written"):
            await journal.flush()
        ended.set()

    async def use(bus: EventBus, nursery: trio.Nursery) -> None:
        async with open_journal(bus, path) as journal:
            disk.refuses = {"write"}
            await published(bus, 1)
            nursery.start_soon(flush, journal)
            await trio.testing.wait_all_tasks_blocked()

    ended = trio.Event()
    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        with pytest.raises(JournalError):
            await use(bus, nursery)
        with trio.fail_after(1):
            await ended.wait()


async def test_a_bus_that_closes_over_a_disk_that_refuses_closes_all_the_same(
    path: Path, disk: Disk, autojump_clock: trio.testing.MockClock
) -> None:
    async def use(bus: EventBus) -> None:
        async with open_journal(bus, path):
            opened.set()
            await left.wait()

    async def run_bus() -> None:
        async with open_event_bus() as bus:
            buses.append(bus)
            await opened.wait()
            disk.refuses = {"write"}
            await published(bus, 1)
        left.set()

    buses: list[EventBus] = []
    opened, left = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_bus)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(JournalError, match="1 events were not written"):
            await use(buses[0])
