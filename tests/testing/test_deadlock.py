"""Claims of the report of a deadlock: who waits, for what and where; and that nothing else is told as one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from phloem.errors import Deadlock, ScheduleFailure
from phloem.testing.sim import explore, simulate

STRATEGIES = ["calm", "walk", "shuffle", "pct"]


def deadlock_of(main: Callable[[], Awaitable[Any]], **more: Any) -> Deadlock:
    failure = simulate(main, **more).failure
    assert isinstance(failure, Deadlock), failure
    assert str(failure).startswith(f"deadlock: {len(failure.tasks)} tasks wait, and no timer is armed")
    return failure


def paragraph(failure: Deadlock, name: str) -> str:
    """The one of the task whose function is called so."""
    found = [each for each in failure.tasks if f"{name}#" in each.split("\n")[0]]
    assert len(found) == 1, failure
    return found[0]


# -- what a task waits for ----------------------------------------------------------------------------


async def an_event() -> None:
    await trio.Event().wait()


async def for_ever() -> None:
    await trio.sleep_forever()


async def a_full_channel() -> None:
    send, receive = trio.open_memory_channel[int](2)
    with receive:
        for number in range(9):
            await send.send(number)


async def an_empty_channel() -> None:
    send, receive = trio.open_memory_channel[int](2)
    with send:
        await receive.receive()


async def an_empty_channel_in_a_loop() -> None:
    send, receive = trio.open_memory_channel[int](2)
    with send:
        async for _ in receive:
            pass


async def a_lock() -> None:
    lock = trio.Lock()

    async def owns() -> None:
        async with lock:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(owns)
        await trio.testing.wait_all_tasks_blocked()
        async with lock:
            pass


async def a_semaphore() -> None:
    semaphore = trio.Semaphore(1)
    async with semaphore:
        await semaphore.acquire()


async def a_limiter() -> None:
    limiter = trio.CapacityLimiter(1)
    await limiter.acquire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, print)
        await limiter.acquire_on_behalf_of(object())


async def a_limiter_for_a_thread() -> None:
    limiter = trio.CapacityLimiter(1)
    await limiter.acquire()
    await trio.to_thread.run_sync(print, limiter=limiter)


async def a_condition() -> None:
    condition = trio.Condition()
    async with condition:
        await condition.wait()


async def children() -> None:
    async def child_with_a_name() -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:  # noqa: ASYNC112
        nursery.start_soon(child_with_a_name)


async def a_stream() -> None:
    _left, right = trio.testing.memory_stream_pair()
    await right.receive_some(1)


async def a_parking_lot() -> None:
    await trio.lowlevel.ParkingLot().park()


async def an_anyio_lock() -> None:
    lock = anyio.Lock()
    await lock.acquire()
    async with anyio.create_task_group() as group:  # noqa: ASYNC112
        group.start_soon(lock.acquire)


async def an_anyio_stream() -> None:
    send, receive = anyio.create_memory_object_stream[int](1)
    with send, receive:
        await receive.receive()


async def an_anyio_event() -> None:
    await anyio.Event().wait()


async def an_anyio_semaphore() -> None:
    async with anyio.Semaphore(0):
        pass


async def a_start_that_never_comes() -> None:
    async def never(task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC128
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:  # noqa: ASYNC112
        await nursery.start(never)


WAITS: dict[Callable[[], Awaitable[Any]], tuple[str, ...]] = {
    an_event: ("Event.wait",),
    for_ever: ("sleep_forever",),
    a_full_channel: ("MemorySendChannel.send", "current buffer used 2", "max buffer size 2"),
    an_empty_channel: ("MemoryReceiveChannel.receive", "current buffer used 0", "open send channels 1"),
    an_empty_channel_in_a_loop: ("MemoryReceiveChannel", "current buffer used 0"),
    a_lock: ("Lock", "locked True", "owns"),
    a_semaphore: ("Semaphore.acquire",),
    a_limiter: ("CapacityLimiter", "borrowed tokens 1", "total tokens 1", "a_limiter"),
    a_limiter_for_a_thread: (
        "CapacityLimiter",
        "borrowed tokens 1",
        "total tokens 1",
        "a_limiter_for_a_thread",
    ),
    a_condition: ("Condition.wait",),
    children: ("Nursery", "child_with_a_name"),
    a_stream: ("receive_some",),
    a_parking_lot: ("ParkingLot.park",),
    an_anyio_lock: ("TaskGroup", "acquire"),
    an_anyio_stream: ("MemoryObjectReceiveStream.receive", "current buffer used 0"),
    an_anyio_event: ("Event.wait",),
    an_anyio_semaphore: ("Semaphore",),
    a_start_that_never_comes: ("Nursery.start", "never"),
}


@pytest.mark.parametrize("main", WAITS, ids=lambda main: main.__name__)
def test_what_a_task_waits_for_is_told(main: Callable[[], Awaitable[Any]]) -> None:
    first = paragraph(deadlock_of(main), main.__name__).split("\n")[0]
    missing = [word for word in WAITS[main] if word not in first]
    assert not missing, first


@pytest.mark.parametrize("main", WAITS, ids=lambda main: main.__name__)
def test_no_address_and_no_number_of_an_object_is_in_it(main: Callable[[], Awaitable[Any]]) -> None:
    one, other = simulate(main), simulate(main)
    assert str(one.failure) == str(other.failure)
    assert one.digest == other.digest
    assert "0x" not in str(one.failure)
    assert "id=" not in str(one.failure)


def test_the_owner_of_an_anyio_lock_is_told_by_its_name() -> None:
    async def owns(lock: anyio.Lock) -> None:
        async with lock:
            await anyio.sleep_forever()

    async def waits(lock: anyio.Lock) -> None:
        await anyio.lowlevel.checkpoint()
        async with lock:
            pass

    async def main() -> None:
        lock = anyio.Lock()
        async with anyio.create_task_group() as group:
            group.start_soon(owns, lock)
            group.start_soon(waits, lock)

    first = paragraph(deadlock_of(main, strategy="calm"), "waits").split("\n")[0]
    assert "owns" in first
    assert "id=" not in first


# -- which tasks, and where --------------------------------------------------------------------------


def test_each_task_is_told_with_its_own_stack_the_outermost_first() -> None:
    async def inner(event: trio.Event) -> None:
        await event.wait()

    async def outer(event: trio.Event) -> None:
        await inner(event)

    async def of_a_child() -> None:
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(outer, trio.Event())

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(of_a_child)
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

    failure = deadlock_of(main)
    assert len(failure.tasks) == 3
    lines = paragraph(failure, "outer").split("\n")
    assert [line.rpartition(".")[2] for line in lines[1:]] == ["outer", "inner"]
    assert all("test_deadlock.py:" in line for line in lines[1:])
    assert "outer" in paragraph(failure, "of_a_child").split("\n")[0]
    assert "sleep_forever" in paragraph(failure, "main").split("\n")[0]


def test_two_of_one_function_are_told_apart() -> None:
    async def waits(event: trio.Event) -> None:
        await event.wait()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(waits, trio.Event())

    firsts = [each.split("\n")[0].split(" waits for ")[0] for each in deadlock_of(main).tasks]
    assert len(set(firsts)) == 3


def test_a_system_task_of_the_program_is_told_and_trios_own_are_not() -> None:
    async def of_the_system() -> None:
        await trio.sleep_forever()

    async def main() -> None:
        trio.lowlevel.spawn_system_task(of_the_system)
        await trio.sleep_forever()

    failure = deadlock_of(main)
    assert len(failure.tasks) == 2
    assert paragraph(failure, "of_the_system")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_dining_philosophers_are_found_and_each_is_told_with_the_fork_another_holds(
    strategy: str,
) -> None:
    async def main() -> None:
        forks = [trio.Lock() for _ in range(3)]

        async def philosopher(number: int) -> None:
            async with forks[number]:
                await trio.lowlevel.checkpoint()
                async with forks[(number + 1) % 3]:
                    await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(philosopher, number, name=f"philosopher {number}")

    with pytest.raises(ScheduleFailure) as caught:
        explore(main, runs=500, strategy="portfolio" if strategy == "calm" else strategy)
    failure = caught.value.failure
    assert isinstance(failure, Deadlock)
    assert len(failure.tasks) == 4
    for number in range(3):
        assert f"owner philosopher {(number + 1) % 3}" in paragraph(failure, f"philosopher {number}")


# -- what is none -----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cushion", [0.0, 0.02])
def test_who_waits_until_all_are_blocked_is_no_deadlock(strategy: str, cushion: float) -> None:
    async def main() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            for _ in range(3):
                await trio.testing.wait_all_tasks_blocked(cushion)
            nursery.cancel_scope.cancel()
        return "done"

    assert simulate(main, strategy=strategy).unwrap() == "done"


def test_an_armed_timer_is_none_however_far_it_is() -> None:
    async def main() -> float:
        with trio.move_on_after(3600 * 24 * 365):
            await trio.sleep_forever()
        return trio.current_time()

    assert simulate(main).unwrap() == 3600.0 * 24 * 365


def test_a_timer_behind_a_shield_is_one_still() -> None:
    async def main() -> None:
        with trio.move_on_after(10), trio.CancelScope(shield=True):
            await trio.Event().wait()

    failure = deadlock_of(main)
    assert "Event.wait" in failure.tasks[0]


def test_a_job_in_a_thread_is_none() -> None:
    async def main() -> float:
        return await trio.to_thread.run_sync(trio.from_thread.run_sync, trio.current_time)

    assert simulate(main).unwrap() > 0


def test_what_is_woken_from_outside_of_the_tasks_is_none() -> None:
    async def main() -> None:
        event = trio.Event()
        trio.lowlevel.current_trio_token().run_sync_soon(event.set)
        await event.wait()

    for seed in range(20):
        assert simulate(main, seed=seed).failure is None


def test_a_wait_for_all_threads_is_none() -> None:
    async def main() -> float:
        with trio.move_on_after(0):
            await trio.to_thread.run_sync(print, abandon_on_cancel=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, len, "job")
            await trio.testing.wait_all_threads_completed()
        return trio.current_time()

    assert simulate(main).failure is None


def test_a_deadlock_after_long_work_is_found_as_well() -> None:
    async def main() -> None:
        for _ in range(1_000):
            await trio.sleep(10)
        await trio.Event().wait()

    result = simulate(main)
    assert isinstance(result.failure, Deadlock)
    assert result.virtual_seconds == 10_000


def test_two_deadlocks_at_different_places_are_two_failures() -> None:
    async def main() -> None:
        order: list[int] = []

        async def notes(number: int) -> None:
            await trio.lowlevel.checkpoint()
            order.append(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(notes, 0)
            nursery.start_soon(notes, 1)
        if order == [0, 1]:
            await an_event()
        else:
            await for_ever()

    report = explore(main, runs=50, keep_going=True)
    assert len(report.failures) == 2
