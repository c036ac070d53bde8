"""The simulation finds what it promises: bugs planted on purpose, each in a program of its own.

And it finds nothing in the same programs without them.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import cast

import pytest

from phloem.errors import ScheduleFailure
from phloem.testing.sim import Report, explore, simulate, sweep
from planted.catalogue import BUGS, PlantedBug
from planted.measuring import runs_to_find, runs_to_find_by_trio

TESTS = Path(__file__).parents[1]
BY_SCHEDULE = [bug for bug in BUGS if bug.how == "explore"]
BY_CANCEL = [bug for bug in BUGS if bug.how == "sweep"]
REPLAYS = 20
READABLE = 5  # preemptions that a person can follow


def name_of(bug: PlantedBug) -> str:
    return bug.name


def default_search(bug: PlantedBug) -> Report:
    return sweep(bug.main) if bug.how == "sweep" else explore(bug.main)


def search(bug: PlantedBug) -> ScheduleFailure:
    """What the default search for this kind of bug comes to."""
    with pytest.raises(ScheduleFailure) as caught:
        default_search(bug)
    return caught.value


@pytest.fixture(scope="module", params=BUGS, ids=name_of)
def bug(request: pytest.FixtureRequest) -> PlantedBug:
    return cast("PlantedBug", request.param)


@pytest.fixture(scope="module")
def search_once() -> Callable[[PlantedBug], ScheduleFailure]:
    known: dict[str, ScheduleFailure] = {}

    def search_once(bug: PlantedBug) -> ScheduleFailure:
        if bug.name not in known:
            known[bug.name] = search(bug)
        return known[bug.name]

    return search_once


@pytest.fixture(scope="module")
def found(bug: PlantedBug, search_once: Callable[[PlantedBug], ScheduleFailure]) -> ScheduleFailure:
    return search_once(bug)


def leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(each)
    else:
        yield error


def test_it_is_found_and_shows_as_what_it_is(bug: PlantedBug, found: ScheduleFailure) -> None:
    assert {type(each) for each in leaves(found.failure)} == {bug.shows_as}


def test_it_is_shrunk_to_what_a_person_can_follow(found: ScheduleFailure) -> None:
    assert sum(1 for choice in found.schedule if choice) <= READABLE


def test_its_token_replays_to_one_digest_and_the_same_failure(
    bug: PlantedBug, found: ScheduleFailure
) -> None:
    again = [simulate(bug.main, replay=found.token) for _ in range(REPLAYS)]
    assert {result.digest for result in again} == {found.result.digest}
    assert {result.schedule for result in again} == {found.schedule}
    assert {repr(result.failure) for result in again} == {repr(found.failure)}
    assert not any(result.diverged for result in again)


def test_its_report_has_the_seed_the_token_and_the_program(bug: PlantedBug, found: ScheduleFailure) -> None:
    text = str(found)
    assert f"seed {found.seed}" in text
    assert found.token in text
    assert Path(inspect.getfile(bug.main)).name in text
    assert bug.shows_as.__name__ in text


def test_the_program_without_it_passes_the_same_search(bug: PlantedBug) -> None:
    report = sweep(bug.fixed) if bug.how == "sweep" else explore(bug.fixed, runs=200)
    assert report.passed
    assert report.runs >= (10 if bug.how == "sweep" else 200)


def test_the_program_without_it_leaves_nothing_behind(bug: PlantedBug) -> None:
    assert explore(bug.fixed, runs=20, resources=True).passed


@pytest.mark.parametrize("bug", BY_SCHEDULE, ids=name_of)
def test_its_schedule_is_found_soon_whatever_the_seed(bug: PlantedBug) -> None:
    needed = [runs_to_find(bug, seed=1_000 * number) for number in range(1, 6)]
    assert None not in needed
    assert fmean(cast("list[int]", needed)) <= bug.mean_runs


@pytest.mark.parametrize("bug", BY_CANCEL, ids=name_of)
def test_its_cancel_is_found_in_one_sweep(bug: PlantedBug) -> None:
    needed = runs_to_find(bug)
    assert needed is not None
    assert needed <= bug.mean_runs


@pytest.mark.parametrize("bug", BY_CANCEL, ids=name_of)
def test_one_cancel_for_each_place_finds_it_too(bug: PlantedBug) -> None:
    with pytest.raises(ScheduleFailure) as caught:
        sweep(bug.main, cancel="every-site")
    assert {type(each) for each in leaves(caught.value.failure)} == {bug.shows_as}


@pytest.mark.parametrize("bug", BY_CANCEL, ids=name_of)
def test_no_schedule_shows_what_needs_a_cancel(bug: PlantedBug) -> None:
    assert explore(bug.main, runs=100).passed


@pytest.mark.parametrize("bug", BY_SCHEDULE, ids=name_of)
def test_fair_batches_never_show_it(bug: PlantedBug) -> None:
    assert runs_to_find(bug, runs=200, strategy="shuffle") is None


def test_coin_tosses_never_starve_a_task_long_enough() -> None:
    (bug,) = (bug for bug in BUGS if bug.name == "starved start")
    assert runs_to_find(bug, runs=200, strategy="walk") is None
    assert runs_to_find(bug, runs=200, strategy="pct") is not None


@pytest.mark.parametrize("bug", BUGS, ids=name_of)
def test_trio_alone_never_shows_it(bug: PlantedBug) -> None:
    assert runs_to_find_by_trio(bug.main, runs=100) is None


def test_another_process_replays_every_token_to_the_same_digest(
    search_once: Callable[[PlantedBug], ScheduleFailure],
) -> None:
    failures = [search_once(bug) for bug in BUGS]
    program = """
import sys
from phloem.testing.sim import simulate
from planted.catalogue import BUGS
for bug, token in zip(BUGS, sys.argv[1:], strict=True):
    print(simulate(bug.main, replay=token).digest)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", program, *(failure.token for failure in failures)],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "7"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [failure.result.digest for failure in failures]
