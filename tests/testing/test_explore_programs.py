"""Programs as people write them, sound and not: each bug is found, and no sound one is blamed."""

from __future__ import annotations

import itertools
import random
from os import urandom as early  # real chance, whatever a simulation does

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
import trio
import trio.testing

from phloem.errors import Deadlock, ScheduleFailure
from phloem.testing.sim import (
    Result,
    exhaust,
    explore,
    simulate,
)
from support.small_programs import deadlocks_sometimes, failure_of, loses_an_update

# -- programs as people write them ---------------------------------------------------------------------


async def serve_echo(stream: trio.abc.Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def echo() -> bytes:
    """The tutorial's echo server, on streams in memory."""
    client, server = trio.testing.memory_stream_pair()
    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_echo, server)

        async def sends() -> None:
            for number in range(3):
                await client.send_all(b"%d" % number)
                await trio.sleep(1)
            await client.send_eof()

        nursery.start_soon(sends)
        while data := await client.receive_some(1):
            got += data
            if len(got) == 3:
                break
        nursery.cancel_scope.cancel()
    return got


def test_the_echo_server_of_the_tutorial_is_sound_under_every_schedule() -> None:
    def check(result: Result) -> None:
        assert result.value == b"012"

    assert explore(echo, runs=200, check=check).passed


class Pool:
    """A pool of connections whose ``take`` has a window between looking and taking, if it is not sound."""

    def __init__(self, size: int, sound: bool) -> None:
        self.size, self.sound, self.open, self.free = size, sound, 0, list[int]()
        self.most = 0
        self.given_back = trio.Event()

    async def take(self) -> int:
        while not self.free and self.open >= self.size:
            await self.given_back.wait()
        if self.free:
            return self.free.pop()
        if self.sound:
            self.open += 1
            await trio.sleep(0.1)  # to connect
        else:
            await trio.sleep(0.1)
            self.open += 1
        self.most = max(self.most, self.open)
        return self.open

    def give(self, connection: int) -> None:
        self.free.append(connection)
        self.given_back.set()
        self.given_back = trio.Event()


@pytest.mark.parametrize("sound", [True, False])
def test_a_pool_that_opens_too_many_is_found(sound: bool) -> None:
    async def main() -> None:
        pool = Pool(2, sound)

        async def uses() -> None:
            connection = await pool.take()
            await trio.sleep(random.random())
            pool.give(connection)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(uses)
        assert pool.most <= 2

    report = explore(main, runs=100, keep_going=True)
    assert bool(report.failures) is not sound


class ReadWriteLock:
    """Many readers or one writer; the unsound one lets a writer pass who has waited for one reader of two."""

    def __init__(self, sound: bool) -> None:
        self.sound, self.readers, self.writing = sound, 0, False
        self.changed = trio.Condition()

    async def read(self) -> None:
        async with self.changed:
            while self.writing:
                await self.changed.wait()
            self.readers += 1

    async def read_done(self) -> None:
        async with self.changed:
            self.readers -= 1
            self.changed.notify_all()

    async def write(self) -> None:
        async with self.changed:
            if self.sound:
                while self.writing or self.readers:
                    await self.changed.wait()
            elif self.writing or self.readers:
                await self.changed.wait()
            self.writing = True

    async def write_done(self) -> None:
        async with self.changed:
            self.writing = False
            self.changed.notify_all()


@pytest.mark.parametrize("sound", [True, False])
def test_a_lock_for_readers_and_writers_that_lets_both_in_is_found(sound: bool) -> None:
    async def main() -> None:
        lock, inside = ReadWriteLock(sound), {"readers": 0, "writers": 0}

        async def reads() -> None:
            await lock.read()
            inside["readers"] += 1
            await trio.lowlevel.checkpoint()
            assert not inside["writers"]
            inside["readers"] -= 1
            await lock.read_done()

        async def writes() -> None:
            await lock.write()
            inside["writers"] += 1
            await trio.lowlevel.checkpoint()
            assert inside == {"readers": 0, "writers": 1}
            inside["writers"] -= 1
            await lock.write_done()

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(reads)
                nursery.start_soon(writes)

    report = explore(main, runs=300, keep_going=True)
    assert bool(report.failures) is not sound, report


@pytest.mark.parametrize("sound", [True, False])
def test_a_limit_of_calls_a_second_that_is_overrun_is_found(sound: bool) -> None:
    async def main() -> None:
        calls: list[float] = []
        lock = trio.Lock()
        last = [-1.0]

        async def calls_within_the_limit() -> None:
            if sound:
                await lock.acquire()
            wait = last[0] + 1 - trio.current_time()
            if wait > 0:
                await trio.sleep(wait)
            last[0] = trio.current_time()
            if sound:
                lock.release()
            calls.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(calls_within_the_limit)
        assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(calls))

    report = explore(main, runs=50, keep_going=True)
    assert bool(report.failures) is not sound


@pytest.mark.parametrize("sound", [True, False])
def test_a_consumer_that_leaves_with_its_producers_at_work_is_found(sound: bool) -> None:
    async def main() -> int:
        send, receive = trio.open_memory_channel[int](2)
        seen: list[int] = []

        async def produces(mine: trio.MemorySendChannel[int]) -> None:
            async with mine:
                for number in range(4):
                    await mine.send(number)

        async def consumes() -> None:
            async with receive:
                async for number in receive:
                    seen.append(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumes)
            async with send:
                nursery.start_soon(produces, send.clone())
                nursery.start_soon(produces, send.clone() if sound else send)
                if not sound:
                    await trio.lowlevel.checkpoint()
        assert len(seen) == 8
        return len(seen)

    report = explore(main, runs=100, keep_going=True)
    assert bool(report.failures) is not sound


def test_exhaust_finds_what_an_exploration_finds_with_the_fewest_preemptions() -> None:
    with pytest.raises(ScheduleFailure) as caught:
        exhaust(deadlocks_sometimes, preemptions=1)
    assert isinstance(caught.value.failure, Deadlock)
    report = exhaust(deadlocks_sometimes, preemptions=0)
    assert report.passed
    with pytest.raises(ScheduleFailure):
        exhaust(loses_an_update, preemptions=1)


def test_exhaust_comes_to_an_end_of_a_program_that_spins() -> None:
    async def main() -> None:
        done: list[int] = []

        async def spins() -> None:
            while not done:  # noqa: ASYNC110
                await trio.lowlevel.checkpoint()

        async def works() -> None:
            await trio.lowlevel.checkpoint()
            done.append(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(spins)
            nursery.start_soon(works)

    report = exhaust(main, preemptions=1, max_steps=2_000)
    assert report.passed
    assert report.distinct == report.runs > 2


def test_anyio_programs_are_explored_as_any() -> None:
    async def main() -> None:
        count = [0]

        async def adds(*, task_status: anyio.abc.TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
            seen = count[0]
            task_status.started(seen)
            await anyio.lowlevel.checkpoint()
            count[0] = seen + 1

        async with anyio.create_task_group() as group:
            await group.start(adds)
            group.start_soon(adds)
        assert count[0] == 2

    assert isinstance(failure_of(main, runs=50).failure, AssertionError)


# -- programs that do not do the same twice ------------------------------------------------------------


def test_a_program_with_real_chance_is_told_as_not_reproduced() -> None:
    async def main() -> None:
        if early(1)[0] < 128:
            raise ValueError("perhaps")

    texts = [str(failure_of(main, runs=50)) for _ in range(20)]
    assert any("NOT REPRODUCED" in text for text in texts)


def test_a_failure_that_never_comes_again_is_told_as_it_was_found() -> None:
    ran: list[int] = []

    async def main() -> None:
        ran.append(1)
        await trio.sleep(1)
        if len(ran) == 3:
            raise ValueError("once")

    told = failure_of(main, runs=10)
    assert "NOT REPRODUCED" in str(told)
    assert isinstance(told.failure, ValueError)
    assert told.result.failure is told.failure


def test_a_state_kept_between_runs_shows_as_other_digests() -> None:
    ran: list[int] = []

    async def main() -> int:
        ran.append(1)
        return len(ran)

    first = simulate(main)
    assert simulate(main, replay=first.token).diverged


def test_one_program_run_many_times_with_its_state_reset_is_the_same_each_time() -> None:
    class Program:
        def __init__(self) -> None:
            self.log: list[int] = []

        async def __call__(self) -> list[int]:
            self.log = []
            async with trio.open_nursery() as nursery:
                for number in range(4):
                    nursery.start_soon(self.step, number)
            return self.log

        async def step(self, number: int) -> None:
            await trio.lowlevel.checkpoint()
            self.log.append(number)

    program = Program()
    assert len({simulate(program, seed=3).digest for _ in range(20)}) == 1
    assert explore(program, runs=50).distinct > 10
