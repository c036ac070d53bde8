"""Claims of testing/sim/shrinking.py: what is left still fails, nothing of it is idle, and it takes few runs.

The programs are stand-ins: functions that say whether a schedule fails.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.testing.sim.shrinking import TRIES, fewer, shrink_schedule

Schedule = tuple[int, ...]
Fails = Callable[[Schedule], bool]

schedules = st.lists(st.integers(0, 3), max_size=60).map(lambda each: (*each, 1))


def trimmed(schedule: Sequence[int]) -> Schedule:
    end = len(schedule)
    while end and not schedule[end - 1]:
        end -= 1
    return tuple(schedule[:end])


def switches(schedule: Schedule) -> list[int]:
    return [place for place, choice in enumerate(schedule) if choice]


class Program:
    """What ``shrink_schedule`` asks; it remembers every run."""

    def __init__(self, fails: Fails) -> None:
        self._fails = fails
        self.asked: list[Schedule] = []
        self.failed: list[Schedule] = []

    def __call__(self, schedule: Schedule) -> Schedule | None:
        self.asked.append(schedule)
        had = trimmed(schedule)
        if not self._fails(had):
            return None
        self.failed.append(had)
        return had


def needs(*places: int) -> Fails:
    return lambda schedule: all(place < len(schedule) and schedule[place] for place in places)


@given(schedules, st.data())
def test_of_a_set_of_needed_switches_exactly_that_set_is_left(
    schedule: Schedule, data: st.DataObject
) -> None:
    needed = data.draw(st.sets(st.sampled_from(switches(schedule)), max_size=6))
    smallest = shrink_schedule(schedule, Program(needs(*needed)))
    assert switches(smallest) == sorted(needed)


@given(schedules, st.data())
def test_where_any_few_of_many_will_do_that_many_are_left(schedule: Schedule, data: st.DataObject) -> None:
    good = data.draw(st.sets(st.sampled_from(switches(schedule)), min_size=1))
    few = data.draw(st.integers(0, min(len(good), 5)))
    smallest = shrink_schedule(schedule, Program(lambda had: len(good & set(switches(had))) >= few))
    assert len(switches(smallest)) == few


@given(schedules, st.integers(), st.integers(1, 40))
def test_whatever_fails_what_comes_back_was_seen_to_fail_and_is_no_larger(
    schedule: Schedule, seed: int, tries: int
) -> None:
    """Neither monotone nor anything else: each schedule fails or not by the toss of a coin."""
    program = Program(lambda had: random.Random(f"{seed} {had}").random() < 0.5)
    smallest = shrink_schedule(schedule, program, tries)
    assert smallest == trimmed(schedule) or smallest in program.failed
    assert len(switches(smallest)) <= len(switches(schedule))
    assert len(program.asked) <= tries


@given(schedules, st.integers())
def test_no_single_switch_of_what_is_left_is_idle(schedule: Schedule, seed: int) -> None:
    def fails(had: Schedule) -> bool:
        return had == schedule or random.Random(f"{seed} {had}").random() < 0.3

    program = Program(fails)
    smallest = shrink_schedule(schedule, program, 100_000)
    for place in switches(smallest):
        assert not fails(trimmed([0 if each == place else choice for each, choice in enumerate(smallest)]))


@given(schedules, st.integers())
def test_nothing_is_tried_twice(schedule: Schedule, seed: int) -> None:
    program = Program(lambda had: random.Random(f"{seed} {had}").random() < 0.5)
    shrink_schedule(schedule, program)
    asked = [trimmed(each) for each in program.asked]
    assert len(set(asked)) == len(asked)
    assert trimmed(schedule) not in asked


@given(schedules)
def test_a_failure_that_needs_no_schedule_takes_one_run(schedule: Schedule) -> None:
    program = Program(lambda _: True)
    assert shrink_schedule(schedule, program) == ()
    assert program.asked == [()]


@given(schedules)
def test_a_failure_that_is_not_had_again_stays_as_it_was(schedule: Schedule) -> None:
    program = Program(lambda _: False)
    assert shrink_schedule(schedule, program) == trimmed(schedule)
    assert len(program.asked) <= TRIES


def test_without_tries_nothing_runs() -> None:
    program = Program(lambda _: True)
    assert shrink_schedule((1, 0, 2), program, 0) == (1, 0, 2)
    assert program.asked == []


def test_a_switch_and_the_way_back_are_left_out_together() -> None:
    """A task is preempted at 5 and has the turn again at 9: without one of both, nothing is as it was."""
    schedule = tuple(1 if place in (2, 5, 9, 12) else 0 for place in range(13))

    def fails(had: Schedule) -> bool:
        return set(switches(had)) in ({2, 5, 9, 12}, {2, 12})

    assert switches(shrink_schedule(schedule, Program(fails))) == [2, 12]


def test_where_any_other_task_will_do_the_next_one_is_taken() -> None:
    assert shrink_schedule((0, 3, 0, 2), Program(needs(1, 3))) == (0, 1, 0, 1)
    assert shrink_schedule((0, 3, 0, 2), Program(lambda had: had[1:2] == (3,))) == (0, 3)


def test_a_choice_that_shifts_what_comes_after_it_is_lived_with() -> None:
    """Without an earlier switch, the later ones happen a tick sooner: only what the run had is true."""
    schedule = (1, 1, 0, 0, 2, 1)

    def attempt(candidate: Schedule) -> Schedule | None:
        had = trimmed(candidate[1:]) if candidate[:1] == (0,) else trimmed(candidate)
        return had if 2 in had else None

    smallest = shrink_schedule(schedule, attempt)
    assert 2 in smallest
    assert len(switches(smallest)) == 1


def test_a_run_that_had_something_larger_than_it_was_told_is_not_taken() -> None:
    schedule = (0, 1, 1)
    assert shrink_schedule(schedule, lambda candidate: (*candidate, 5, 5, 5)) == schedule


@pytest.mark.parametrize(("needed", "runs"), [(1, 12), (2, 22), (3, 33), (5, 55)])
def test_of_258_steps_a_few_needed_switches_are_left_in_some_ten_runs_each(needed: int, runs: int) -> None:
    counts = list[int]()
    for seed in range(100):
        chance = random.Random(seed)
        schedule = trimmed([chance.randrange(4) for _ in range(258)])
        places = chance.sample(switches(schedule), needed)
        program = Program(needs(*places))
        assert switches(shrink_schedule(schedule, program)) == sorted(places)
        counts.append(len(program.asked))
    assert statistics.mean(counts) <= runs


# -- of faults ---------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 40)), st.data())
def test_of_a_set_of_needed_parts_exactly_that_set_is_left(parts: set[int], data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.sampled_from(sorted(parts)), max_size=4)) if parts else set[int]()
    left = fewer(sorted(parts), lambda some: needed <= set(some))
    assert left == tuple(sorted(needed))


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(), st.integers(0, 30))
def test_of_parts_what_comes_back_was_seen_to_fail(parts: list[int], seed: int, tries: int) -> None:
    failed = [tuple(parts)]

    def fails(some: Sequence[int]) -> bool:
        if random.Random(f"{seed} {tuple(some)}").random() < 0.5:
            return False
        failed.append(tuple(some))
        return True

    assert fewer(parts, fails, tries) in failed


def test_parts_are_tried_no_more_often_than_allowed() -> None:
    tried = list[int]()

    def fails(some: Sequence[int]) -> bool:
        tried.append(len(some))
        return False

    assert fewer(range(1_000), fails, 25) == tuple(range(1_000))
    assert len(tried) == 25


def test_no_parts_are_left_as_they_are_without_a_run() -> None:
    assert fewer((), lambda _: False) == ()
