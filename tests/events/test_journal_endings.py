"""How a journal ends: left, by an error, cancelled anywhere, over a closed bus, by a kill."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from phloem.events.bus import EventBus
from phloem.events.journal import Fsync, open_journal
from phloem.events.journal_files import JournalFile
from phloem.events.opening import open_event_bus
from phloem.events.replaying import read_journal
from support.disks import event, numbers
from support.journals import lines_of, lost, published

# -- leaving -------------------------------------------------------------------------------------


async def test_an_error_of_the_body_arrives_as_it_was_raised_and_what_came_before_is_written(
    path: Path,
) -> None:
    async def use(bus: EventBus) -> None:
        async with open_journal(bus, path, linger=60):
            await published(bus, 1, 2)
            raise LookupError("mine")

    async with open_event_bus() as bus:
        with pytest.raises(LookupError, match="mine") as caught:
            await use(bus)
    assert not hasattr(caught.value, "__notes__")
    assert numbers(read_journal(path)) == [1, 2]


async def test_what_was_published_before_a_cancel_is_written(path: Path) -> None:
    async with open_event_bus() as bus:
        with trio.CancelScope() as scope:
            async with open_journal(bus, path, linger=60):
                await published(bus, *range(5_000))
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
    assert numbers(read_journal(path)) == list(range(5_000))


class CancelAt(trio.abc.Instrument):
    """Cancels just before a task's step of this number."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self.left, self.scope = step, scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


def test_cancelled_at_any_step_what_was_published_is_written(tmp_path: Path) -> None:
    async def run(path: Path, step: int) -> bool:
        sent: list[int] = []
        tasks = trio.lowlevel.current_statistics().tasks_living
        scope = trio.CancelScope()
        instrument = CancelAt(step, scope)
        async with open_event_bus() as bus:
            with scope:
                trio.lowlevel.add_instrument(instrument)
                async with open_journal(bus, path, max_bytes=500, keep=50, linger=0) as journal:
                    for number in range(4):
                        bus.emit(event(number))
                        sent.append(number)
                        await trio.lowlevel.checkpoint()
                    await journal.flush()
                    await bus.publish(event(4))
                    sent.append(4)
            trio.lowlevel.remove_instrument(instrument)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        if lines_of(path) is not None:
            assert numbers(read_journal(path)) == sent
            file = JournalFile(path, fsync=Fsync.NEVER, max_bytes=1_000, keep=1)
            file.open()  # nobody holds it
            file.close()
        return scope.cancel_called

    step = 1
    while trio.run(run, tmp_path / f"{step}.ndjson", step):
        step += 1
    assert step > 20


async def test_under_a_mock_clock_that_jumps_all_is_written(
    path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    # for that clock a thread at work is nothing to wait for: its time is up at once
    async with open_event_bus() as bus, open_journal(bus, path, max_bytes=50_000, keep=99) as journal:
        for number in range(5_000):
            bus.emit(event(number))
    assert journal.written == 5_000
    assert numbers(read_journal(path)) == list(range(5_000))


async def test_a_bus_that_closes_first_has_all_of_it_written(path: Path) -> None:
    async def run_bus() -> None:
        async with open_event_bus() as bus:
            buses.append(bus)
            await opened.wait()
            await published(bus, 1, 2, 3)
        closed.set()

    buses: list[EventBus] = []
    opened, closed = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_bus)
        await trio.testing.wait_all_tasks_blocked()
        async with open_journal(buses[0], path, linger=60) as journal:
            opened.set()
            await closed.wait()
            with trio.fail_after(5):
                await journal.flush()
            assert numbers(read_journal(path)) == [1, 2, 3]
            file = JournalFile(path, fsync=Fsync.NEVER, max_bytes=1_000, keep=1)
            file.open()  # it has ended: the file is anybody's
            file.close()
    assert journal.written == 3


async def test_a_journal_left_while_publishers_go_on_ends(path: Path) -> None:
    async with open_event_bus() as bus, trio.open_nursery() as nursery:

        async def publish_for_ever() -> None:
            number = 0
            while True:
                await bus.publish(event(number))
                number += 1

        async with open_journal(bus, path, buffer=8, linger=0):
            nursery.start_soon(publish_for_ever)
            await trio.sleep(0.05)
        found = numbers(read_journal(path))
        await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert found == list(range(len(found)))
    assert found


# -- a crash ---------------------------------------------------------------------------------------

WRITER = """
    import sys, trio
    from phloem.events.journal import open_journal
    from phloem.events.opening import open_event_bus
    from phloem.events.types import AgentEvent

    async def main():
        async with open_event_bus() as bus, open_journal(bus, sys.argv[1], max_bytes=20_000, keep=100):
            number = 0
            while True:
                await bus.publish(AgentEvent("custom", "s", data={"n": number, "text": "x" * (number % 97)}))
                number += 1

    trio.run(main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal that nothing can catch, as POSIX has")
def test_a_process_that_is_killed_leaves_a_beginning_and_no_garbage(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path)])
    try:
        until = time.monotonic() + 20
        while not path.with_name(f"{path.name}.2").exists():
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    found = numbers(read_journal(path))
    assert len(found) > 50
    assert found == list(range(found[0], found[0] + len(found)))
    assert lost(path) == 0
    first = found[0]
    assert first == 0 or path.with_name(f"{path.name}.100").exists()
