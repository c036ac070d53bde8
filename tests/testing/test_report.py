"""Claims of testing/sim/report.py: what is counted, and when a search has passed."""

from __future__ import annotations

from typing import Any

import trio

from phloem.errors import ScheduleFailure
from phloem.testing.sim import FaultKind, FaultPlan, Point, current_run, explore, simulate, sometimes, sweep
from phloem.testing.sim.report import SHOWN, Report


async def three_steps() -> None:
    for _ in range(2):
        await trio.lowlevel.checkpoint()


def failure() -> ScheduleFailure:
    return ScheduleFailure("text", seed=0, token="", schedule=(), failure=ValueError(), result=None)


def test_a_search_has_passed_if_it_came_to_its_end_without_a_failure() -> None:
    assert Report("explore", finished=True).passed
    assert not Report("explore").passed
    assert not Report("explore", finished=True, failures=(failure(),)).passed


def test_a_report_says_in_its_first_line_how_it_went() -> None:
    for report, how in (
        (Report("explore", runs=1_000, steps=12_345, finished=True), "passed"),
        (Report("explore", runs=1_000, steps=12_345), "cut short"),
        (Report("explore", runs=1_000, steps=12_345, finished=True, failures=(failure(),)), "1 failure"),
        (Report("explore", runs=1_000, steps=12_345, failures=(failure(),) * 3), "3 failures"),
    ):
        assert str(report) == f"explore: {how}; 1,000 runs, 0 distinct, 12,345 steps"


def test_what_was_not_covered_is_told_line_by_line_and_then_counted() -> None:
    report = Report("sweep", not_covered=tuple(f"place {number}" for number in range(SHOWN + 5)))
    lines = str(report).splitlines()[1:]
    assert lines == [*(f"  not covered: place {number}" for number in range(SHOWN)), "  not covered: 5 more"]
    assert "more" not in str(Report("sweep", not_covered=report.not_covered[:SHOWN]))


def test_runs_and_steps_are_counted_and_the_same_trace_only_once() -> None:
    report = Report("explore")
    for _ in range(3):
        report.add(simulate(three_steps))
    assert (report.runs, report.distinct) == (3, 1)
    assert report.steps == 3 * simulate(three_steps).steps


def test_cancels_timeouts_and_second_cuts_are_counted() -> None:
    async def main() -> None:
        with trio.move_on_after(5):
            try:
                await trio.sleep(1)
            finally:
                with trio.move_on_after(1, shield=True):
                    await trio.sleep(2)

    report = sweep(main, timeouts=True)
    assert report.passed
    assert report.cancels > 0
    assert report.timeouts > 0
    assert report.second_cuts > 0
    assert report.runs == 1 + report.cancels + report.timeouts + report.second_cuts
    told = f"cut: {report.cancels} by cancel, {report.timeouts} by timeout, {report.second_cuts} twice"
    assert told in str(report)


def test_faults_that_fired_are_counted() -> None:
    async def main() -> None:
        run = current_run()
        assert run is not None
        assert run.faults is not None
        await run.faults.visit("till", "ann", three_steps)

    plan = FaultPlan({"till": Point((FaultKind.SLOW,), 1.0, 1.0)})
    report = explore(main, runs=10, faults=plan)
    assert report.faults_fired == 10
    assert "faults fired: 10" in str(report)
    assert "faults" not in str(explore(three_steps, runs=1))


def test_the_longest_run_is_measured_whether_it_switched_or_not() -> None:
    """``pct`` draws its changes from that many: after a run without switches it would else draw none."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(three_steps)
            nursery.start_soon(three_steps)

    calm, walk = (explore(main, runs=5, strategy=strategy) for strategy in ("calm", "walk"))
    assert simulate(main, strategy="calm").schedule == ()
    assert calm.longest >= 3
    assert walk.longest >= 3


def test_a_state_is_reached_if_it_was_in_any_run() -> None:
    async def main() -> None:
        run = current_run()
        assert run is not None
        sometimes(run.random.random() < 0.3, "b: now and then")
        sometimes(False, "a: never")

    report = Report("explore")
    for seed in range(30):
        report.add(simulate(main, seed=seed))
    assert report.never == ("a: never",)


def test_the_runs_whose_places_were_looked_at_are_counted() -> None:
    report = explore(three_steps, runs=100)
    assert 0 < report.looked_at < 100
    assert {site.function for site in report.sites} == {"three_steps"}


def test_a_report_is_shown_without_what_it_keeps_to_itself() -> None:
    report = Report("explore")
    report.add(simulate(three_steps))
    shown: Any = repr(report)
    assert "_digests" not in shown
    assert "runs=1" in shown
