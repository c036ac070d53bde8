"""Claims of testing/sim/sweeping.py: what a cut leaves behind is found, what was never cut is told."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import ResourceLeft, ScheduleFailure
from phloem.testing.sim import FaultKind, FaultPlan, Point, Result, current_run, simulate, sweep


def failure_of(main: Callable[[], Awaitable[Any]], **more: Any) -> ScheduleFailure:
    with pytest.raises(ScheduleFailure) as caught:
        sweep(main, **more)
    return caught.value


# -- what is left behind -----------------------------------------------------------------------------


async def leaks_a_token() -> None:
    limiter = trio.CapacityLimiter(1)
    await limiter.acquire()
    await trio.lowlevel.checkpoint()
    limiter.release()


async def leaves_a_channel_open() -> None:
    send, receive = trio.open_memory_channel[int](1)
    await trio.lowlevel.checkpoint()
    send.close()
    receive.close()


async def leaves_a_task() -> None:
    scope = trio.CancelScope()

    async def stays() -> None:
        with scope:
            await trio.sleep_forever()

    trio.lowlevel.spawn_system_task(stays)
    await trio.lowlevel.checkpoint()
    scope.cancel()
    await trio.testing.wait_all_tasks_blocked()


async def leaves_a_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async for _ in numbers():
        await trio.lowlevel.checkpoint()


async def leaves_a_thread() -> None:
    await trio.to_thread.run_sync(len, "", abandon_on_cancel=True)


async def leaves_an_item() -> None:
    send, receive = trio.open_memory_channel[int](1)
    send.send_nowait(1)
    await trio.lowlevel.checkpoint()
    receive.receive_nowait()
    send.close()
    receive.close()


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (leaks_a_token, "token(s) of the limiter"),
        (leaves_a_channel_open, "end of the channel"),
        (leaves_a_task, "the task"),
        (leaves_a_generator, "async generator"),
        (leaves_a_thread, "thread(s) at work"),
        (leaves_an_item, "item(s) unread"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_a_cancel_leaves_behind_is_found_and_replays(
    main: Callable[[], Awaitable[Any]], words: str
) -> None:
    assert simulate(main, resources=True).failure is None
    told = failure_of(main)
    assert isinstance(told.failure, ResourceLeft)
    assert words in str(told)
    again = simulate(main, replay=told.token)
    assert isinstance(again.failure, ResourceLeft)
    assert again.digest == told.result.digest
    if main is not leaves_a_generator:
        assert sweep(main, resources=False).passed


# -- what was not covered -----------------------------------------------------------------------------


def test_a_place_never_cut_is_told() -> None:
    async def main() -> None:
        await trio.sleep(1)
        try:
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)

    report = sweep(main, cancel=None)
    assert any("never cut at" in each and "test_sweep_leftovers.py" in each for each in report.not_covered)


def test_a_sweep_stopped_by_its_many_failures_has_not_passed_and_says_what_is_open() -> None:
    async def main() -> None:
        at = [0]
        try:
            for number in range(60):
                at[0] = number
                await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            raise type(f"Kind{at[0]}", (Exception,), {}) from None

    report = sweep(main, keep_going=True)
    assert len(report.failures) == 20
    assert not report.finished
    assert any("cuts after as many different failures" in each for each in report.not_covered)


def test_a_failing_program_is_told_without_any_cut() -> None:
    async def main() -> None:
        raise ValueError("at once")

    told = failure_of(main)
    assert told.result.cut is None
    assert "cut:" not in str(told)


def test_a_cut_that_was_never_made_is_not_counted_as_one() -> None:
    """The second run is shorter than the first, so its cuts are beyond its end."""
    ran: list[int] = []

    async def main() -> None:
        ran.append(1)
        for _ in range(10 if len(ran) == 1 else 1):
            await trio.lowlevel.checkpoint()

    report = sweep(main)
    assert report.cancels < 11 or not report.passed


# -- with faults, and as people write -----------------------------------------------------------------


def test_cuts_and_faults_together_replay() -> None:
    plan = FaultPlan({"work": Point((FaultKind.SLOW,), per_run=1.0, per_visit=1.0, slow=1.0)})

    async def work() -> None:
        await trio.sleep(1)

    async def main() -> None:
        run = current_run()
        assert run is not None
        assert run.faults is not None
        limiter = trio.CapacityLimiter(1)
        await limiter.acquire()
        await run.faults.visit("work", "w", work)
        limiter.release()

    told = failure_of(main, faults=plan)
    again = simulate(main, replay=told.token, faults=plan)
    assert again.digest == told.result.digest
    assert isinstance(again.failure, ResourceLeft)


@asynccontextmanager
async def open_connection(pool: trio.CapacityLimiter, sound: bool) -> AsyncIterator[str]:
    if sound:
        async with pool:
            await trio.sleep(0.1)  # to connect
            yield "connection"
        return
    await pool.acquire()
    await trio.sleep(0.1)  # the bug: a cancel here keeps the token
    try:
        yield "connection"
    finally:
        pool.release()


@pytest.mark.parametrize("sound", [True, False])
def test_a_pool_of_connections_that_leaks_on_a_cancel_is_found(sound: bool) -> None:
    async def main() -> None:
        pool = trio.CapacityLimiter(2)

        async def uses() -> None:
            with trio.move_on_after(20):
                async with open_connection(pool, sound):
                    await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(uses)

    report = sweep(main, timeouts=True, keep_going=True)
    assert bool(report.failures) is not sound, report
    site = sweep(main, cancel="every-site", timeouts=True, keep_going=True)
    assert bool(site.failures) is not sound
    assert site.runs < report.runs


@pytest.mark.parametrize("sound", [True, False])
def test_a_transfer_between_two_accounts_that_a_cancel_tears_is_found(sound: bool) -> None:
    accounts = {"a": 0, "b": 0}

    async def main() -> None:
        accounts.update(a=10, b=0)
        with trio.CancelScope(shield=sound):
            accounts["a"] -= 5
            await trio.sleep(1)
            accounts["b"] += 5

    def check(result: Result) -> None:
        assert sum(accounts.values()) == 10

    report = sweep(main, check=check, keep_going=True)
    assert bool(report.failures) is not sound


def test_a_shrunk_cut_keeps_its_step() -> None:
    told = failure_of(leaks_a_token, strategy="walk")
    assert told.result.cut is not None
    assert math.isfinite(told.result.cut.step)
    assert simulate(leaks_a_token, replay=told.token).cut == told.result.cut
