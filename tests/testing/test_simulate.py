"""Claims of testing/sim/running.py: one run, however it ends, and everything back in its place after it."""

from __future__ import annotations

import functools
import gc
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio

from phloem.errors import Deadlock, Livelock
from phloem.testing.sim import explore, simulate
from support.untouched import nothing_changed, run_of, value


@pytest.fixture(autouse=True)
def _everything_is_put_back() -> Iterator[None]:
    with nothing_changed():
        yield


# -- each way a run can end -------------------------------------------------------------------------


def test_a_value_is_given_back_and_time_is_virtual() -> None:
    started = time.monotonic()
    result = run_of(value)
    assert (result.value, result.failure, result.virtual_seconds) == (3, None, 5.0)
    assert result.unwrap() == 3
    assert time.monotonic() - started < 2


def test_the_clock_starts_at_zero_and_jumps_when_nothing_can_run() -> None:
    async def main() -> list[float]:
        seen = [trio.current_time()]
        await trio.sleep(3600)
        seen.append(trio.current_time())
        return seen

    assert run_of(main).unwrap() == [0.0, 3600.0]


class Base(BaseException):
    pass


@pytest.mark.parametrize(
    "kind", [ValueError, SystemExit, Base, GeneratorExit, StopIteration, StopAsyncIteration]
)
def test_what_main_raises_is_the_failure_and_never_raised(kind: type[BaseException]) -> None:
    async def main() -> None:
        await trio.sleep(1)
        raise kind("told")

    failure = run_of(main).failure
    if kind is StopIteration:  # Python's own rule for coroutines
        assert isinstance(failure, RuntimeError)
        return
    assert failure is not None
    assert type(failure) is kind
    assert failure.args == ("told",)


def test_unwrap_raises_the_failure_itself() -> None:
    async def main() -> None:
        raise LookupError("here")

    result = run_of(main)
    with pytest.raises(LookupError, match="here") as caught:
        result.unwrap()
    assert caught.value is result.failure


def test_an_error_of_a_child_comes_in_its_group() -> None:
    async def child() -> None:
        await trio.sleep(1)
        raise KeyError("child")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(trio.sleep_forever)

    failure = run_of(main).failure
    assert isinstance(failure, ExceptionGroup)
    assert [type(each) for each in failure.exceptions] == [KeyError]


def test_a_main_that_is_no_async_function_fails_in_words() -> None:
    assert isinstance(run_of(lambda: 3).failure, TypeError)  # type: ignore[arg-type,return-value]


def test_a_deadlock_ends_and_what_cleans_up_does_so_in_the_same_world() -> None:
    cleaned: list[float] = []

    async def main() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(9)
            cleaned.append(time.monotonic())

    result = run_of(main)
    assert isinstance(result.failure, Deadlock)
    assert cleaned == [9.0]


def test_a_deadlock_behind_a_shield_ends() -> None:
    async def main() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    assert isinstance(run_of(main).failure, Deadlock)


def test_a_deadlock_in_the_cleanup_after_a_deadlock_ends() -> None:
    async def main() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.Event().wait()

    assert isinstance(run_of(main).failure, Deadlock)


async def swallows_everything() -> None:
    while True:
        try:
            await trio.sleep_forever()
        except BaseException:  # noqa: ASYNC103, ASYNC104 - the very thing that is tested
            continue


async def swallows_cancelled() -> None:
    while True:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:  # noqa: ASYNC103, ASYNC104 - the very thing that is tested
            continue


def test_a_task_that_swallows_cancelled_is_ended_by_force() -> None:
    result = run_of(swallows_cancelled)
    assert isinstance(result.failure, Deadlock)
    assert not any("GeneratorExit" in note for note in getattr(result.failure, "__notes__", ()))


def test_a_task_that_swallows_everything_even_at_its_deallocation_is_ended_without_a_sound() -> None:
    told: list[object] = []
    stock, sys.unraisablehook = sys.unraisablehook, told.append
    try:
        result = simulate(swallows_everything)
        assert isinstance(result.failure, Deadlock)
        del result
        gc.collect()
    finally:
        sys.unraisablehook = stock
    assert told == []


def test_a_child_that_swallows_everything_is_ended_by_force() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(swallows_cancelled)
            nursery.start_soon(trio.sleep_forever)
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

    failure = run_of(main).failure
    assert isinstance(failure, Deadlock)
    assert len(failure.tasks) == 3


@pytest.mark.parametrize("shield", [False, True])
@pytest.mark.parametrize("strategy", ["calm", "walk", "shuffle", "pct"])
def test_a_livelock_ends(shield: bool, strategy: str) -> None:
    async def main() -> None:
        with trio.CancelScope(shield=shield):
            while True:  # noqa: ASYNC110
                await trio.lowlevel.checkpoint()

    result = run_of(main, max_steps=500, strategy=strategy)
    assert isinstance(result.failure, Livelock)
    assert "main" in str(result.failure)
    assert "500" in str(result.failure)


def test_a_livelock_that_swallows_cancelled_ends() -> None:
    async def main() -> None:
        while True:
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled:  # noqa: ASYNC103, ASYNC104 - the very thing that is tested
                continue

    assert isinstance(run_of(main, max_steps=500).failure, Livelock)


def test_a_heartbeat_for_ever_is_a_livelock_that_tells_who_waits_behind_it() -> None:
    async def waits_for_nobody() -> None:
        await trio.Event().wait()

    async def heartbeat() -> None:
        while True:  # noqa: ASYNC110 - it waits for nothing
            await trio.sleep(1)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heartbeat)
            nursery.start_soon(waits_for_nobody)

    failure = run_of(main, max_steps=500).failure
    assert isinstance(failure, Livelock)
    assert "heartbeat" in str(failure)
    assert "waits_for_nobody" in str(failure)


def test_a_crash_of_trio_is_told_as_what_it_is_and_the_world_is_put_back() -> None:
    async def main() -> None:
        with trio.move_on_after(1):
            await trio.lowlevel.wait_task_rescheduled(lambda _: 1 / 0)  # type: ignore[arg-type,return-value]

    failure = run_of(main).failure
    assert isinstance(failure, trio.TrioInternalError)
    assert isinstance(failure.__cause__, ZeroDivisionError)


def test_a_system_task_that_fails_is_told() -> None:
    async def fails() -> None:
        raise ValueError("of a system task")

    async def main() -> None:
        trio.lowlevel.spawn_system_task(fails)
        await trio.sleep(1)

    failure = run_of(main).failure
    assert isinstance(failure, trio.TrioInternalError)


def test_a_system_task_that_outlives_main_behind_a_shield_is_no_hang() -> None:
    async def stays() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    async def main() -> None:
        trio.lowlevel.spawn_system_task(stays)
        await trio.sleep(1)

    failure = run_of(main).failure
    assert isinstance(failure, Deadlock)
    assert "stays" in str(failure)


def test_a_system_task_that_spins_after_main_is_no_hang() -> None:
    async def spins() -> None:
        with trio.CancelScope(shield=True):
            while True:  # noqa: ASYNC110
                await trio.lowlevel.checkpoint()

    async def main() -> None:
        trio.lowlevel.spawn_system_task(spins)
        await trio.sleep(1)

    failure = run_of(main, max_steps=500).failure
    assert isinstance(failure, Livelock)


def test_a_generator_whose_end_hangs_after_main_is_no_hang() -> None:
    async def generates() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

    held: list[AsyncIterator[int]] = []

    async def main() -> None:
        held.append(generates())
        await anext(held[0])

    assert run_of(main).failure is not None
    held.clear()


async def interrupted() -> None:
    await trio.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)
    await trio.sleep(1)


async def interrupted_in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(interrupted)
        await trio.sleep_forever()


async def interrupted_in_a_thread() -> None:
    await trio.to_thread.run_sync(os.kill, os.getpid(), signal.SIGINT)
    await trio.sleep(1)


async def interrupted_in_a_shield() -> None:
    with trio.CancelScope(shield=True):
        await interrupted()
        await trio.sleep_forever()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is heard, also where the tests were started by a shell that ignores it for what runs aside."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    "search", [simulate, functools.partial(explore, keep_going=True)], ids=["simulate", "explore"]
)
@pytest.mark.parametrize(
    "main", [interrupted, interrupted_in_a_nursery, interrupted_in_a_thread, interrupted_in_a_shield]
)
def test_a_real_interrupt_goes_on_and_all_is_put_back(
    main: Callable[[], Awaitable[Any]], search: Callable[..., object]
) -> None:
    with nothing_changed(), pytest.raises(BaseException) as caught:
        search(main)
    assert leaves(caught.value) == [KeyboardInterrupt]


def leaves(error: BaseException) -> list[type[BaseException]]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [type(error)]


def test_the_process_is_as_before_even_if_the_program_tampers_with_it() -> None:
    async def main() -> None:
        gc.enable()
        random.seed(3)
        random.random()
        time.sleep(0)  # noqa: ASYNC251 - the simulated one

    was = gc.isenabled()
    try:
        gc.disable()
        simulate(main)
        assert not gc.isenabled()
    finally:
        if was:
            gc.enable()


def test_the_collector_is_off_within_and_on_again_after_each_end() -> None:
    seen: list[bool] = []

    async def main() -> None:
        seen.append(gc.isenabled())
        await trio.sleep_forever()

    simulate(main)
    assert seen == [False]
    assert gc.isenabled()
