"""Claims of testing/sim/exploring.py and searching.py: a failure is found, shrunk and told in full."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
import trio

from phloem.errors import Deadlock, Livelock, ResourceLeft, ScheduleFailure
from phloem.testing.sim import (
    FaultKind,
    FaultPlan,
    InjectedFault,
    Point,
    Report,
    Result,
    current_run,
    explore,
    simulate,
)
from phloem.testing.sim.strategies import LENGTH
from support.small_programs import deadlocks_sometimes, failure_of, fine, loses_an_update

# -- what is found ------------------------------------------------------------------------------------


def test_a_sound_program_passes_with_its_counts() -> None:
    report = explore(fine, runs=30)
    assert report.passed
    assert (report.runs, report.planned, report.failures) == (30, 30, ())
    assert report.steps == 60
    assert "passed" in str(report)


def test_a_failure_has_all_its_fields() -> None:
    told = failure_of(loses_an_update, runs=50, seed=100)
    assert isinstance(told.result, Result)
    assert told.result.failure is told.failure is told.__cause__ or isinstance(
        told.failure, ExceptionGroup | AssertionError
    )
    assert told.result.token == told.token
    assert told.result.schedule == told.schedule
    assert 100 <= told.seed < 150
    text = str(told)
    for words in (
        f"seed {told.seed}", f"token {told.token}", "again: simulate(loses_an_update, replay=",
        "interleaving:",
        "small_programs.py:", "schedule:", "preemptions", "traceback of AssertionError", "fair batches: ",
    ):  # fmt: skip
        assert words in text, text
    assert "0x" not in text
    assert "NOT REPRODUCED" not in text


@pytest.mark.parametrize("strategy", ["walk", "pct", "shuffle", "portfolio"])
def test_a_failure_replays_twenty_times_with_one_digest(strategy: str) -> None:
    for main in (loses_an_update, deadlocks_sometimes):
        told = failure_of(main, runs=500, strategy=strategy)
        again = [simulate(main, replay=told.token) for _ in range(20)]
        assert {each.digest for each in again} == {told.result.digest}
        assert not any(each.diverged for each in again)
        assert {type(each.failure) for each in again} == {type(told.failure)}


def test_pct_expects_a_program_as_long_as_it_was_so_far() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.lowlevel.checkpoint)

    seen: list[tuple[str, int]] = []
    explore(
        main, runs=6, strategy="pct3", check=lambda result: seen.append((result.strategy, result.choices))
    )
    longest = 0
    for strategy, choices in seen:
        assert strategy == f"pct3@{longest or LENGTH}"
        longest = max(longest, choices)
    assert 0 < longest != LENGTH


def test_it_stops_at_the_first_failure() -> None:
    started: list[int] = []
    reports: list[int] = []

    async def main() -> None:
        started.append(1)
        raise ValueError

    told = failure_of(main, runs=1000, progress=lambda report: reports.append(report.runs))
    assert "in run 1 of 1000" in str(told)
    assert len(started) < 300


def test_a_shrunk_schedule_has_the_fewest_preemptions() -> None:
    told = failure_of(deadlocks_sometimes, runs=500, strategy="walk")
    assert sum(map(bool, told.schedule)) == 1, told.schedule
    told = failure_of(loses_an_update, runs=500, strategy="walk")
    assert sum(map(bool, told.schedule)) <= 1


def test_a_failure_in_every_run_needs_no_preemption() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(trio.lowlevel.checkpoint)
        raise KeyError("always")

    told = failure_of(main, runs=10, strategy="walk")
    assert told.schedule == ()
    assert isinstance(told.failure, KeyError)


def test_what_the_check_raises_is_the_failure() -> None:
    def check(result: Result) -> None:
        assert result.value != 7, "seven"

    told = failure_of(fine, check=check)
    assert isinstance(told.failure, AssertionError)
    assert "seven" in str(told)
    assert told.result.value == 7


def test_what_pytest_fails_in_a_check_or_a_program_is_a_failure_with_its_report() -> None:
    def check(result: Result) -> None:
        pytest.fail("the check says no")

    assert "the check says no" in str(failure_of(fine, check=check))

    async def main() -> None:
        pytest.fail("the program says no")

    assert "the program says no" in str(failure_of(main))


def test_a_check_that_only_gives_a_coroutine_is_refused() -> None:
    async def check(result: Result) -> None:
        raise AssertionError("never run")

    with pytest.raises((TypeError, ScheduleFailure), match=r"check|async"):
        explore(fine, runs=3, check=check)


def test_a_check_sees_each_run_that_did_not_fail_by_itself() -> None:
    seen: list[int] = []
    explore(fine, runs=9, check=lambda result: seen.append(result.seed))
    assert seen == list(range(9))


def test_an_interrupt_in_a_check_goes_on() -> None:
    def check(result: Result) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore(fine, runs=3, check=check)


# -- different failures ------------------------------------------------------------------------------


async def fails_in_many_ways() -> None:
    order: list[int] = []

    async def notes(number: int) -> None:
        await trio.lowlevel.checkpoint()
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(notes, number)
    if order[0] == 0:
        raise ValueError("zero first")
    if order[0] == 1:
        raise KeyError("one first")
    await trio.Event().wait()


def test_kept_going_it_collects_each_kind_once() -> None:
    report = explore(fails_in_many_ways, runs=60, keep_going=True)
    assert {type(each.failure) for each in report.failures} == {ValueError, KeyError, Deadlock}
    assert len(report.failures) == 3
    assert report.runs == 60
    assert report.finished
    assert not report.passed


def test_one_line_that_fails_in_two_ways_is_two_and_two_lines_are_two() -> None:
    async def main() -> None:
        kind = random.choice([ValueError, KeyError])
        if random.random() < 0.5:
            raise kind
        raise kind

    report = explore(main, runs=100, keep_going=True)
    assert len(report.failures) == 4


def test_kept_going_twenty_are_enough_and_it_says_so() -> None:
    async def main() -> None:
        kind = type(f"Kind{random.randrange(1000)}", (Exception,), {})
        raise kind

    report = explore(main, runs=500, keep_going=True)
    assert len(report.failures) == 20
    assert not report.finished
    assert any("runs after as many different failures" in each for each in report.not_covered)


# -- what is no pass ---------------------------------------------------------------------------------


def test_more_steps_than_may_be_is_a_failure() -> None:
    async def main() -> None:
        for _ in range(200):
            await trio.lowlevel.checkpoint()

    assert explore(main, runs=5, max_steps=300).passed
    assert isinstance(failure_of(main, runs=5, max_steps=100).failure, Livelock)


def test_an_exploration_left_by_its_progress_is_not_finished() -> None:
    reports: list[Report] = []

    def progress(report: Report) -> None:
        reports.append(report)
        if report.runs == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore(fine, runs=10, progress=progress)
    assert not reports[-1].passed


@pytest.mark.parametrize("runs", [0, -5])
def test_no_runs_at_all_are_refused(runs: int) -> None:
    with pytest.raises(ValueError, match="runs"):
        explore(fine, runs=runs)


def test_an_unknown_strategy_is_refused_before_the_first_run() -> None:
    ran: list[int] = []

    async def main() -> None:
        ran.append(1)

    with pytest.raises(ValueError, match="lucky"):
        explore(main, strategy="lucky")
    assert ran == []


def test_places_never_waited_at_are_told() -> None:
    async def main(never: bool = False) -> None:
        await trio.sleep(1)
        if never:
            await trio.sleep(2)

    report = explore(main, runs=5)
    assert report.passed
    assert any("never waited at" in each and "test_explore.py" in each for each in report.not_covered)


def test_what_is_left_behind_is_a_failure_where_it_is_asked_for() -> None:
    async def main() -> None:
        await trio.CapacityLimiter(1).acquire()

    assert explore(main, runs=3).passed
    told = failure_of(main, runs=3, resources=True)
    assert isinstance(told.failure, ResourceLeft)
    assert isinstance(simulate(main, replay=told.token).failure, ResourceLeft)


# -- faults -----------------------------------------------------------------------------------------


async def visits() -> list[int]:
    run = current_run()
    assert run is not None
    done: list[int] = []

    async def works(number: int) -> int:
        await trio.sleep(1)
        done.append(number)
        return number

    for number in range(5):
        if run.faults is None:
            await works(number)
        else:
            await run.faults.visit("work", f"n{number}", works, number)
    return done


PLAN = FaultPlan({"work": Point((FaultKind.RAISE,), per_run=1.0, per_visit=0.7)})


def test_a_planned_fault_fires_is_shrunk_and_replays_with_the_same_plan() -> None:
    told = failure_of(visits, runs=20, faults=PLAN, keep_going=False)
    assert isinstance(told.failure, InjectedFault)
    assert len(told.result.faults) == 1
    assert "faults planned: " in str(told)
    assert "fault fired: " in str(told)
    again = simulate(visits, replay=told.token, faults=PLAN)
    assert (again.digest, again.faults, again.diverged) == (told.result.digest, told.result.faults, False)
    with pytest.raises(ValueError, match="faults"):
        simulate(visits, replay=told.token)


def test_faults_that_do_no_harm_are_counted() -> None:
    plan = FaultPlan({"work": Point((FaultKind.SLOW,), per_run=1.0, per_visit=1.0, slow=3.0)})
    report = explore(visits, runs=10, faults=plan)
    assert report.passed
    assert report.faults_fired == 50


def test_a_fault_that_hangs_is_a_deadlock_with_the_fault_in_its_report() -> None:
    plan = FaultPlan({"work": Point((FaultKind.HANG,), per_run=1.0, per_visit=0.5)})
    told = failure_of(visits, runs=20, faults=plan)
    assert isinstance(told.failure, Deadlock)
    assert len(told.result.faults) == 1


# -- the size of it ------------------------------------------------------------------------------------


GROWTH = """
import resource, sys, trio
from phloem.testing.sim import explore

async def talks(number):
    await trio.sleep(0.1)
    send, receive = trio.open_memory_channel(1)
    async with send, receive:
        await send.send(number)
        await receive.receive()

async def main():
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(talks, number)

def size():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

explore(main, runs=200)
before = size()
report = explore(main, runs=2_000, seed=500)
assert report.passed, report
print(size() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc: run it on Linux")
def test_two_thousand_runs_do_not_grow_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 6, "MiB"
