"""Claims of the simulation about anyio's programs on Trio: nothing is missed, refused or told wrongly."""

from __future__ import annotations

import anyio
import anyio.abc
import anyio.to_thread
import pytest
import trio

from phloem.errors import Deadlock, Livelock, ResourceLeft, ScheduleFailure
from phloem.testing.sim import explore, simulate, sweep


async def serves(*, task_status: anyio.abc.TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
    await anyio.sleep(1)
    task_status.started(5)
    await anyio.sleep_forever()


async def tour() -> list[object]:
    """One of everything that anyio has and the simulation has a word in."""
    told: list[object] = []
    async with anyio.create_task_group() as group:
        told.append(await group.start(serves))
        send, receive = anyio.create_memory_object_stream[int](2)
        async with send, receive:
            group.start_soon(send.send, 1)
            told.append(await receive.receive())
        with anyio.move_on_after(3) as scope:
            await anyio.sleep(9)
        told.append(scope.cancelled_caught)
        told.append(anyio.current_time())
        try:
            with anyio.fail_after(1):
                await anyio.Event().wait()
        except TimeoutError:
            told.append("timeout")
        lock, condition, limiter = anyio.Lock(), anyio.Condition(), anyio.CapacityLimiter(1)
        async with lock, condition, limiter, anyio.Semaphore(1):
            await anyio.lowlevel.checkpoint()
        told.append(await anyio.to_thread.run_sync(len, "four", limiter=limiter))
        await anyio.wait_all_tasks_blocked()
        told.append(anyio.get_current_task().name is not None)
        group.cancel_scope.cancel()
    return told


def test_all_of_it_works_in_virtual_time_and_leaves_nothing() -> None:
    result = simulate(tour, resources=True)
    found = result.unwrap()
    assert found == [5, 1, True, 4.0, "timeout", 4, True]
    assert result.virtual_seconds < 6


@pytest.mark.parametrize("strategy", ["calm", "walk", "shuffle", "pct"])
def test_it_is_the_same_each_time(strategy: str) -> None:
    first = simulate(tour, strategy=strategy, seed=3)
    assert {simulate(tour, replay=first.token).digest for _ in range(20)} == {first.digest}


def test_it_is_sound_wherever_it_is_cut() -> None:
    report = sweep(tour, timeouts=True)
    assert report.passed, report
    assert report.cancels > 10
    assert report.timeouts >= 1


def test_the_error_of_a_deadline_made_to_fire_is_no_failure() -> None:
    async def main() -> None:
        with anyio.fail_after(100):
            await anyio.sleep(1)

    report = sweep(main, timeouts=True)
    assert report.passed
    assert report.timeouts


def test_an_error_of_the_program_that_is_a_timeout_too_is_one() -> None:
    async def main() -> None:
        await anyio.sleep(1)
        raise TimeoutError("of its own")

    with pytest.raises(ScheduleFailure) as caught:
        sweep(main, timeouts=True)
    assert isinstance(caught.value.failure, TimeoutError)


def test_a_stream_not_closed_on_a_cancel_is_found() -> None:
    async def main() -> None:
        send, receive = anyio.create_memory_object_stream[int](2)
        await send.send(1)
        await receive.receive()
        send.close()
        receive.close()

    assert simulate(main, resources=True).failure is None
    with pytest.raises(ScheduleFailure) as caught:
        sweep(main)
    failure = caught.value.failure
    assert isinstance(failure, ResourceLeft)
    assert any("test_simulate_anyio.py" in each for each in failure.left)


def test_a_deadlock_of_two_locks_is_found() -> None:
    async def main() -> None:
        one, other = anyio.Lock(), anyio.Lock()

        async def takes(first: anyio.Lock, second: anyio.Lock) -> None:
            async with first:
                await anyio.lowlevel.checkpoint()
                async with second:
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(takes, one, other)
            group.start_soon(takes, other, one)

    with pytest.raises(ScheduleFailure) as caught:
        explore(main, runs=200)
    assert isinstance(caught.value.failure, Deadlock)


def test_a_loop_that_never_yields_the_turn_for_long_is_a_livelock() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110
            await anyio.lowlevel.checkpoint()

    assert isinstance(simulate(main, max_steps=300).failure, Livelock)


def test_both_libraries_in_one_program() -> None:
    async def main() -> float:
        async with anyio.create_task_group() as group, trio.open_nursery() as nursery:
            nursery.start_soon(anyio.sleep, 1)
            group.start_soon(trio.sleep, 2)
        return trio.current_time()

    assert simulate(main).unwrap() == 2.0
