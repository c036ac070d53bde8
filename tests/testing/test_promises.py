"""phloem's own promises, held to by simulation: under any schedule, wherever it is cut, whatever fails.

The programs are in ``support``: ``reference`` has everything that an organism does, ``crowd`` is about
seats, ``delegations`` about budgets, ``bus_reference`` about the bus alone. Each run opens a whole
organism (or bus), watches it from the first message to long after the end, and must break no promise.
``PHLOEM_SIM_RUNS`` asks for more runs than the tests have by themselves.
"""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from phloem.testing import faults
from phloem.testing.invariants import check_pump
from phloem.testing.sim import Result, explore, simulate, sometimes, sweep
from support.bus_reference import bus_reference
from support.crowd import crowd
from support.delegations import delegations
from support.reference import reference
from support.simulating import check_reference, runs

STEPS = 20_000  # of one run; the longest has some hundred: one that goes round for ever is to be told soon


@pytest.fixture(autouse=True)
def quietly(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "phloem")  # handlers fail by the thousand


# -- the reference scenario -----------------------------------------------------------------------


@pytest.mark.slow
def test_no_promise_is_broken_under_a_thousand_schedules() -> None:
    report = explore(reference, runs=runs(1000), check=check_reference, max_steps=STEPS)
    assert report.passed
    assert report.distinct > 0.9 * report.runs


@pytest.mark.slow
def test_no_promise_is_broken_by_a_cancel_at_any_step() -> None:
    report = sweep(reference, cancel="every-step", check=check_reference, max_steps=STEPS)
    assert report.passed
    assert report.cancels > 250


@pytest.mark.slow
def test_no_promise_is_broken_by_a_cancel_or_a_deadline_at_any_place() -> None:
    report = sweep(
        reference,
        cancel="every-site",
        timeouts=True,
        check=check_reference,
        seed=3,
        strategy="walk",
        max_steps=STEPS,
    )
    assert report.passed
    assert report.timeouts > 5


def test_the_scenario_has_all_that_it_promises() -> None:
    result = simulate(reference, seed=1)
    check_reference(result)
    assert 200 < result.steps < 800
    again = simulate(reference, replay=result.token)
    assert again.digest == result.digest


async def faulty_reference() -> None:
    await reference(faults=faults.current())


def test_no_promise_is_broken_whatever_handlers_subscribers_and_threads_do() -> None:
    report = explore(
        faulty_reference, runs=runs(100), faults=faults.plan(), check=check_pump, max_steps=STEPS
    )
    assert report.passed
    assert report.faults_fired > report.runs


# -- seats ------------------------------------------------------------------------------------------


def test_no_seat_is_lost_by_strangers_who_give_up_under_any_schedule() -> None:
    assert explore(crowd, runs=runs(100), check=check_pump, max_steps=STEPS).passed


def test_no_seat_is_lost_by_strangers_who_give_up_at_any_step() -> None:
    report = sweep(crowd, cancel=None, timeouts=True, check=check_pump, max_steps=STEPS)
    assert report.passed
    assert report.timeouts > 50


# -- budgets ----------------------------------------------------------------------------------------


def came_to_all_ends(results: list[str]) -> None:
    for state in ("out_of_budget", "failed", "timed_out", "cancelled", "gone"):
        sometimes(state in results, state)


async def judged_delegations() -> None:
    came_to_all_ends(await delegations())


def test_no_budget_is_overshot_by_parallel_delegations_whatever_is_cancelled_or_crashes() -> None:
    plan = faults.plan("handler=raise,raise-after,hang,slow,base-exception:0.7:0.2")
    report = explore(judged_delegations, runs=runs(250), faults=plan, check=check_pump, max_steps=STEPS)
    assert report.passed
    assert report.faults_fired > report.runs


def test_no_budget_is_overshot_wherever_delegations_are_cut() -> None:
    plan = faults.plan("handler=raise:1.0:0.1")
    report = sweep(
        delegations, faults=plan, check=check_pump, max_steps=STEPS, cancel="every-site", timeouts=True
    )
    assert report.passed


# -- the bus alone ------------------------------------------------------------------------------------


async def judged_bus() -> None:
    outcomes = await bus_reference()
    sometimes(outcomes.get("in time"), "an event that came in time")
    sometimes(outcomes.get("too late"), "an event that came too late")
    sometimes(outcomes.get("cancelled"), "a publisher that was cancelled")


def test_the_bus_keeps_order_counts_and_wake_ups_under_any_schedule() -> None:
    report = explore(judged_bus, runs=runs(300), max_steps=STEPS)
    assert report.passed


def test_the_bus_keeps_order_counts_and_wake_ups_wherever_it_is_cut() -> None:
    cut: Counter[str] = Counter()

    def note(result: Result) -> None:
        cut[result.cut.kind if result.cut is not None else "nothing"] += 1

    report = sweep(bus_reference, cancel="every-step", timeouts=True, max_steps=STEPS, check=note)
    assert report.passed
    assert cut["cancel"] > 100
    assert cut["timeout"]
