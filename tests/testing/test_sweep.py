"""Claims of testing/sim/sweeping.py: each step is cut once; what is left behind or never cut is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio

from phloem.errors import Deadlock, ScheduleFailure
from phloem.testing.sim import Cut, Result, simulate, sweep


def failure_of(main: Callable[[], Awaitable[Any]], **more: Any) -> ScheduleFailure:
    with pytest.raises(ScheduleFailure) as caught:
        sweep(main, **more)
    return caught.value


async def talks() -> int:
    send, receive = trio.open_memory_channel[int](0)
    async with trio.open_nursery() as nursery, receive:

        async def sends() -> None:
            async with send:
                for number in range(3):
                    await send.send(number)

        nursery.start_soon(sends)
        return sum([number async for number in receive])  # noqa: ASYNC121


# -- which cuts there are ------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["calm", "walk", "shuffle", "pct"])
def test_every_step_is_cancelled_once_and_only_once(strategy: str) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(steps)

    async def steps() -> None:
        for _ in range(4):
            await trio.lowlevel.checkpoint()

    seen: list[Cut | None] = []
    report = sweep(main, strategy=strategy, check=lambda result: seen.append(result.cut))
    whole = simulate(main, strategy=strategy).steps
    assert seen == [None, *(Cut(step) for step in range(whole))]
    assert (report.runs, report.cancels, report.timeouts) == (whole + 1, whole, 0)
    assert report.passed


def test_a_cut_comes_just_before_its_step() -> None:
    reached: list[int] = []

    async def main() -> None:
        reached.append(0)
        for number in range(1, 6):
            await trio.lowlevel.checkpoint()
            reached.append(number)

    ends: list[int] = []

    def check(result: Result) -> None:
        ends.append(max(reached))
        reached.clear()

    sweep(main, check=check)
    assert ends == [5, 0, 0, 1, 2, 3, 4]  # cut before step k: the step runs, and its next wait is cancelled


def test_what_was_cut_is_in_the_result_and_its_value_is_none() -> None:
    def check(result: Result) -> None:
        assert result.failure is None
        if result.cut is None:
            assert result.value == 3
        elif result.value is not None:
            assert result.cut.step >= 5

    assert sweep(talks, check=check).passed


def test_each_site_is_each_distinct_stack_once() -> None:
    async def waits() -> None:
        await trio.lowlevel.checkpoint()

    async def main() -> None:
        for _ in range(5):
            await waits()
        await waits()

    report = sweep(main, cancel="every-site")
    assert report.cancels == 3  # the start; the wait within the loop; the one after it
    assert sweep(main).cancels == 7


def test_words_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="every-second"):
        sweep(talks, cancel="every-second")
    with pytest.raises(ValueError, match="strategy"):
        sweep(talks, strategy="fair")


def test_without_cancels_only_deadlines_fire() -> None:
    async def main() -> None:
        with trio.move_on_after(10):
            await trio.sleep(1)

    report = sweep(main, cancel=None, timeouts=True)
    assert (report.cancels, report.timeouts, report.passed) == (0, 1, True)


def test_the_innermost_deadline_is_what_fires() -> None:
    fired: list[str] = []

    async def main() -> None:
        with trio.move_on_after(50) as outer:
            await trio.lowlevel.checkpoint()
            with trio.move_on_after(20) as inner, trio.CancelScope():
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
            if inner.cancelled_caught:
                fired.append("inner")
            await trio.lowlevel.checkpoint()
        if outer.cancelled_caught:
            fired.append("outer")

    report = sweep(main, cancel=None, timeouts=True)
    assert report.timeouts == 4
    # one that fires as its block is about to be left catches nothing: there is no wait left in it
    assert fired[:2] == ["outer", "inner"]


def test_a_deadline_of_a_task_that_waits_fires_at_the_steps_of_others_too() -> None:
    """A client gives up while its server writes, which is none of the client's own steps."""

    async def main() -> None:
        asked, done, state = trio.Event(), trio.Event(), ["idle"]

        async def serves() -> None:
            await asked.wait()
            await trio.sleep(1)
            state[0] = "writing"
            await trio.sleep(1)
            state[0] = "written"
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serves)
            await trio.sleep(0.5)
            asked.set()
            with trio.move_on_after(100) as scope:
                await done.wait()
            assert not (scope.cancelled_caught and state[0] == "writing"), "the bug"

    told = failure_of(main, cancel=None, timeouts=True)
    assert "the bug" in str(told)


def test_a_deadline_that_raises_is_no_failure_but_what_else_is_raised_is() -> None:
    async def main() -> None:
        with trio.fail_after(10):
            await trio.sleep(1)

    assert sweep(main, timeouts=True).passed

    async def in_a_group() -> None:
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(main)

    assert sweep(in_a_group, timeouts=True).passed

    async def turns_it_into_its_own() -> None:
        try:
            await main()
        except trio.TooSlowError:
            raise ConnectionError("gave up") from None

    assert isinstance(failure_of(turns_it_into_its_own, timeouts=True).failure, ConnectionError)


# -- cleanups -----------------------------------------------------------------------------------------


async def cleans_up_awaiting() -> None:
    """Wants to say goodbye, and waits for it in a ``finally`` without a shield."""
    said: list[str] = []
    try:
        await trio.sleep(10)
    finally:
        await trio.lowlevel.checkpoint()  # noqa: ASYNC102
        said.append("goodbye")
        log.extend(said)


log: list[str] = []


def test_an_unshielded_await_in_a_finally_is_found() -> None:
    def check(result: Result) -> None:
        said = list(log)
        log.clear()
        assert result.cut == Cut(0) or said == ["goodbye"]

    told = failure_of(cleans_up_awaiting, check=check)
    assert isinstance(told.failure, AssertionError)
    assert "cut: the scenario cancelled before step 1" in str(told)


def test_a_shielded_cleanup_is_cut_again_by_its_own_deadline() -> None:
    cut_short: list[bool] = []

    async def main() -> None:
        try:
            await trio.sleep(10)
        finally:
            with trio.move_on_after(2, shield=True) as scope:
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
            cut_short.append(scope.cancelled_caught)

    report = sweep(main)
    assert report.passed
    assert report.second_cuts >= 2
    assert True in cut_short


def test_a_bug_behind_a_second_cut_is_found_and_replays() -> None:
    async def main() -> None:
        try:
            await trio.sleep(10)
        finally:
            with trio.move_on_after(2, shield=True) as scope:
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
            if scope.cancelled_caught:
                raise RuntimeError("only when the cleanup is cut")

    told = failure_of(main)
    assert isinstance(told.failure, RuntimeError)
    assert len(told.result.cuts) == 2
    for _ in range(20):
        again = simulate(main, replay=told.token)
        assert (again.digest, again.diverged) == (told.result.digest, False)
        assert again.cuts == told.result.cuts


def test_what_only_a_timeout_leads_to_is_cancelled_too() -> None:
    connections: list[int] = []

    async def main() -> None:
        connections[:] = [1]
        with trio.move_on_after(1) as scope:
            await trio.sleep(0.5)
        if scope.cancelled_caught:
            connections.append(2)
            await trio.sleep(0.1)
            connections.pop()

    def check(result: Result) -> None:
        assert connections == [1]

    assert sweep(main, check=check).passed
    told = failure_of(main, check=check, timeouts=True)
    first, second = told.result.cuts
    assert (first.kind, second.kind) == ("timeout", "cancel")
    assert simulate(main, replay=told.token).digest == told.result.digest
    whole = sweep(main, timeouts=True)
    assert whole.not_covered == ()
    assert whole.planned == whole.runs == 1 + whole.cancels + whole.timeouts + whole.second_cuts
    alone = sweep(main, cancel=None, timeouts=True)
    assert (alone.cancels, alone.second_cuts, alone.passed) == (0, 0, True)


def test_a_main_that_raises_in_its_cleanup_fails() -> None:
    async def main() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            raise KeyError("in the cleanup") from None

    told = failure_of(main)
    assert isinstance(told.failure, KeyError)
    again = simulate(main, replay=told.token)
    assert isinstance(again.failure, KeyError)
    assert again.cut == told.result.cut


def test_a_main_that_swallows_the_cancel_and_returns_has_a_value() -> None:
    values: list[Any] = []

    async def main() -> str:
        try:
            await trio.sleep(1)
        except trio.Cancelled:  # noqa: ASYNC103 - the very thing that is tested
            return "swallowed"
        return "whole"

    assert sweep(main, check=lambda result: values.append(result.value)).passed
    assert set(values) == {"whole", "swallowed"}


def test_a_main_that_swallows_the_cancel_and_waits_for_ever_is_found() -> None:
    async def main() -> None:
        event = trio.Event()
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        try:
            await trio.sleep(1)
        except trio.Cancelled:  # noqa: ASYNC103 - the very thing that is tested
            with trio.CancelScope(shield=True):
                await event.wait()

    told = failure_of(main)
    assert isinstance(told.failure, Deadlock)
    assert "cut: the scenario cancelled" in str(told)


def test_a_deadline_that_was_made_to_fire_has_come_for_those_who_ask_the_clock() -> None:
    async def main() -> int:
        with anyio.fail_after(1):
            await anyio.sleep(0.5)
            value = [1]
        return value.pop()

    assert sweep(main, timeouts=True).passed


def test_too_slow_is_a_failure_where_no_deadline_was_made_to_fire() -> None:
    async def main() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            raise trio.TooSlowError from None

    told = failure_of(main)
    assert isinstance(told.failure, trio.TooSlowError)


def test_a_failure_of_a_child_beside_the_cancel_is_the_failure() -> None:
    async def child() -> None:
        try:
            await trio.sleep(5)
        finally:
            raise OSError("in the child's cleanup")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(trio.sleep, 9)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

    told = failure_of(main)
    assert isinstance(told.failure, ExceptionGroup)
    assert "OSError" in str(told)
