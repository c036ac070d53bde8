"""Claims of ``sometimes`` and of the running simulation in testing/sim/context.py."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from phloem.errors import NeverReached, ScheduleFailure
from phloem.testing.sim import Run, current_run, exhaust, explore, simulate, sometimes, sweep
from phloem.testing.sim.context import EPOCH


async def main() -> None:
    order: list[int] = []

    async def notes(number: int) -> None:
        await trio.lowlevel.checkpoint()
        order.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(notes, 0)
        nursery.start_soon(notes, 1)
    sometimes(order[0] == 1, "the second is first")


async def never() -> None:
    await trio.sleep(1)
    sometimes(False, "a flying pig")
    sometimes([], "another")
    sometimes(True, "a plain one")


@pytest.mark.parametrize("condition", [1, [1], True, "x"])
def test_it_gives_back_the_truth_of_the_condition_in_a_run_and_outside(condition: Any) -> None:
    assert sometimes(condition, "x") is True
    assert sometimes(type(condition)(), "x") is False

    async def inside() -> tuple[bool, bool]:
        return sometimes(condition, "x"), sometimes(type(condition)(), "x")

    assert simulate(inside).unwrap() == (True, False)


async def test_within_a_plain_trio_run_it_only_gives_back_the_truth() -> None:
    assert sometimes(1, "x") is True
    assert current_run() is None
    await trio.lowlevel.checkpoint()


def test_outside_of_trio_there_is_no_run() -> None:
    assert current_run() is None


def test_a_state_reached_in_one_run_of_many_is_enough() -> None:
    assert explore(main, runs=30).passed
    results = [simulate(main, seed=seed) for seed in range(20)]
    assert {dict(each.sometimes)["the second is first"] for each in results} == {True, False}


def test_once_true_stays_true_within_a_run() -> None:
    async def both() -> None:
        sometimes(True, "x")
        sometimes(False, "x")

    assert simulate(both).sometimes == {"x": True}


def test_states_never_reached_fail_the_exploration_by_their_names() -> None:
    with pytest.raises(ScheduleFailure) as caught:
        explore(never, runs=5)
    failure = caught.value.failure
    assert isinstance(failure, NeverReached)
    assert failure.names == ("a flying pig", "another")
    assert "5 runs" in str(caught.value)
    assert "a plain one" not in str(failure)


def test_the_seed_told_of_a_state_never_reached_is_the_first_that_was_tried() -> None:
    async def main() -> None:
        sometimes(False, "never")

    with pytest.raises(ScheduleFailure) as caught:
        explore(main, runs=2, seed=77)
    assert caught.value.seed == 77


def test_kept_going_they_are_among_the_failures_and_nothing_has_passed() -> None:
    report = explore(never, runs=5, keep_going=True)
    assert [type(each.failure) for each in report.failures] == [NeverReached]
    assert not report.passed
    assert report.never == ("a flying pig", "another")


def test_a_sweep_and_an_exhaustive_search_hold_to_it_as_well() -> None:
    with pytest.raises(ScheduleFailure) as caught:
        exhaust(never)
    assert isinstance(caught.value.failure, NeverReached)
    with pytest.raises(ScheduleFailure) as caught:
        sweep(never)
    assert isinstance(caught.value.failure, NeverReached)


def test_a_failure_of_the_program_is_told_before_a_state_never_reached() -> None:
    async def fails() -> None:
        sometimes(False, "x")
        raise ValueError("first")

    with pytest.raises(ScheduleFailure) as caught:
        explore(fails, runs=5)
    assert isinstance(caught.value.failure, ValueError)


def test_it_changes_nothing_of_the_run() -> None:
    async def plain() -> None:
        await trio.sleep(1)

    async def asks() -> None:
        sometimes(True, "x")
        await trio.sleep(1)

    assert simulate(plain).steps == simulate(asks).steps


# -- the run -----------------------------------------------------------------------------------------


def test_the_run_has_its_seed_its_own_chance_and_its_wall_clock() -> None:
    async def main() -> tuple[object, ...]:
        run = current_run()
        assert isinstance(run, Run)
        await trio.sleep(3)
        return run.seed, run.random.random(), run.wall(), run.faults

    seed, chance, wall, faults = simulate(main, seed=9).unwrap()
    assert (seed, wall, faults) == (9, EPOCH + 3, None)
    assert simulate(main, seed=9).unwrap()[1] == chance != simulate(main, seed=8).unwrap()[1]


def test_the_runs_chance_is_not_that_of_the_program() -> None:
    async def draws(first: bool) -> float:
        run = current_run()
        assert run is not None
        if first:
            run.random.random()
        return random.random()

    async def one() -> float:
        return await draws(True)

    async def other() -> float:
        return await draws(False)

    assert simulate(one).unwrap() == simulate(other).unwrap()


def test_a_note_is_a_line_of_the_trace_and_part_of_the_digest() -> None:
    text = ["one"]

    async def main() -> None:
        run = current_run()
        assert run is not None
        await trio.sleep(1)
        run.note(f"{text[0]} {object()}")

    first = simulate(main)
    assert [each.text for each in first.trace if each.kind == "note"] == ["one <object object>"]
    assert simulate(main).digest == first.digest
    text[0] = "other"
    assert simulate(main).digest != first.digest


def test_the_run_is_known_in_children_system_tasks_and_jobs() -> None:
    async def main() -> bool:
        here = current_run()
        found: list[object] = []

        async def child() -> None:
            found.append(current_run())

        async with trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(child)
        trio.lowlevel.spawn_system_task(child)
        await trio.sleep(1)
        found.append(await trio.to_thread.run_sync(current_run))
        return all(each is here for each in found) and len(found) == 3

    assert simulate(main).unwrap() is True
