"""Claims of testing/sim/exhausting.py: every schedule in the bound, each once; and it says when that was all.

What it finds is held against all orders of a toy, written down one by one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from math import comb

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.errors import ScheduleFailure
from phloem.testing.sim import Report, Result, current_run, exhaust, simulate, sometimes
from phloem.testing.sim.exhausting import _advance, _Choice

Program = Callable[[], Awaitable[str]]

# A toy has some tasks, and of each its steps: "." is nothing, "s" sets the one event, "w" waits for it.
Toy = tuple[str, ...]
NAMES = "abcd"


def program_of(toy: Toy) -> Program:
    """A program whose value is who ran, one letter a step."""

    async def main() -> str:
        event, ran = trio.Event(), list[str]()

        async def task(name: str, steps: str) -> None:
            for number, step in enumerate(steps):
                ran.append(name)
                if step == "s":
                    event.set()
                if step == "w":
                    await event.wait()
                elif number + 1 < len(steps):
                    await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for name, steps in zip(NAMES, toy, strict=False):
                nursery.start_soon(task, name, steps, name=name)
        return "".join(ran)

    return main


def orders_of(toy: Toy, preemptions: int) -> Iterator[str]:
    """Each order of the toy with at most so many preemptions, one by one."""
    # A wait is the end of one step, and what follows it one more: also where nothing follows it.
    steps = [each + "." if each.endswith("w") else each for each in toy]
    shown = [len(each) for each in toy]

    def can_run(task: int, done: tuple[int, ...]) -> bool:
        if done[task] == len(steps[task]):
            return False
        is_set = any("s" in steps[each][: done[each]] for each in range(len(toy)))
        return is_set or done[task] == 0 or steps[task][done[task] - 1] != "w"

    def go_on(done: tuple[int, ...], last: int | None, left: int, ran: str) -> Iterator[str]:
        ready = [task for task in range(len(toy)) if can_run(task, done)]
        if not ready:
            yield ran
        for task in ready:
            cost = int(last in ready and task != last)
            if cost <= left:
                now = tuple(count + (each == task) for each, count in enumerate(done))
                yield from go_on(
                    now, task, left - cost, ran + (NAMES[task] if done[task] < shown[task] else "")
                )

    yield from go_on((0,) * len(toy), None, preemptions, "")


def found_of(toy: Toy, preemptions: int) -> tuple[Report, list[str]]:
    values = list[str]()
    report = exhaust(
        program_of(toy), preemptions=preemptions, check=lambda result: values.append(result.value)
    )
    return report, values


# -- every schedule, once ------------------------------------------------------------------------


@pytest.mark.parametrize("preemptions", [0, 1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_two_tasks_have_as_many_orders_as_the_formula_says(length: int, preemptions: int) -> None:
    """Of b blocks in turn: one switch, from the task that has ended, is no preemption."""

    def with_blocks(count: int) -> int:
        half, odd = divmod(count, 2)
        return 2 * comb(length - 1, half - 1) * comb(length - 1, half - 1 + odd)

    report, values = found_of(("." * length,) * 2, preemptions)
    assert report.runs == sum(with_blocks(count) for count in range(2, preemptions + 3))
    assert len(set(values)) == report.runs
    assert report.passed


@pytest.mark.parametrize(
    ("toy", "preemptions"),
    [
        (("...",), 2),
        (("...", "..."), 9),
        (("..", "..", ".."), 0),
        (("..", "..", ".."), 2),
        (("..", "..", ".."), 9),
        (("...", "..", "."), 2),
        ((".", ".", ".", "."), 0),
        ((".w.", "..s"), 0),
        ((".w.", "..s"), 2),
        (("w..", "w..", "s.."), 1),
        (("w", "s"), 1),
        ((".ws", ".s.w", "w"), 2),
    ],
)
def test_each_order_of_a_toy_is_run_exactly_once(toy: Toy, preemptions: int) -> None:
    report, values = found_of(toy, preemptions)
    assert sorted(values) == sorted(orders_of(toy, preemptions))
    assert report.finished
    assert report.passed


@settings(max_examples=25)
@given(
    st.lists(
        st.text(".", min_size=1, max_size=3) | st.sampled_from(["w", "w.", ".w"]), min_size=1, max_size=2
    ),
    st.integers(0, 2),
)
def test_each_order_of_any_toy_is_run_exactly_once(tasks: list[str], preemptions: int) -> None:
    toy = (*tasks, ".s.")
    report, values = found_of(toy, preemptions)
    assert sorted(values) == sorted(orders_of(toy, preemptions))
    assert report.finished


def test_without_preemptions_only_waiting_tasks_give_way() -> None:
    assert set(found_of(("...", "..."), 0)[1]) == {"aaabbb", "bbbaaa"}


def test_the_first_run_preempts_nobody_and_each_later_one_differs_as_late_as_it_can() -> None:
    _, values = found_of(("..", ".."), 1)
    assert values == ["aabb", "abba", "bbaa", "baab"]


def test_each_run_has_a_token_that_does_it_again() -> None:
    kept = list[Result]()
    exhaust(program_of(("..", "..")), preemptions=2, check=kept.append)
    for result in kept:
        again = simulate(program_of(("..", "..")), replay=result.token)
        assert (again.value, again.digest, again.diverged) == (result.value, result.digest, False)


# -- the end, and what is no end -------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_search_that_was_cut_short_never_passes(most: int) -> None:
    report = exhaust(program_of(("...", "...")), preemptions=2, max_runs=most)
    assert report.runs == most
    assert not report.finished
    assert not report.passed
    assert report.not_covered[-1].startswith(f"cut short after {most} runs: ")
    assert "cut short" in str(report)


def test_a_search_that_ends_with_its_last_run_is_not_cut_short() -> None:
    whole = len(list(orders_of(("...", "..."), 1)))
    assert exhaust(program_of(("...", "...")), preemptions=1, max_runs=whole).passed
    assert not exhaust(program_of(("...", "...")), preemptions=1, max_runs=whole - 1).finished


def test_what_is_open_counts_what_the_bound_allows() -> None:
    """One run of four: the switch after it costs what there is not, the two first tasks are free."""
    report = exhaust(program_of(("..", "..")), preemptions=0, max_runs=1)
    assert report.not_covered[-1] == "cut short after 1 runs: 1 choices or more are open"


def test_a_program_of_one_task_has_one_schedule() -> None:
    async def main() -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()

    report = exhaust(main, preemptions=5)
    assert (report.runs, report.passed) == (1, True)


def test_a_program_that_does_not_do_the_same_twice_is_not_called_finished() -> None:
    runs = list[int]()

    async def main() -> None:
        runs.append(0)
        async with trio.open_nursery() as nursery:
            for _ in range(1 + len(runs) % 3):
                nursery.start_soon(trio.lowlevel.checkpoint)

    report = exhaust(main, preemptions=1, max_runs=50)
    assert not report.finished
    assert "the last did not have the choices of its schedule" in report.not_covered[-1]


def test_a_task_that_spins_does_not_make_it_endless() -> None:
    async def main() -> None:
        done = False

        async def spin() -> None:
            while not done:  # noqa: ASYNC110 - to spin is what it is about
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(spin)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            done = True

    assert exhaust(main, preemptions=0, max_runs=50, max_steps=400).passed
    assert exhaust(main, preemptions=1, max_runs=500, max_steps=400).passed


def test_preemptions_and_runs_must_be_numbers_that_can_be() -> None:
    for preemptions, max_runs in ((-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="expected 0 and 1 or more"):
            exhaust(program_of((".",)), preemptions=preemptions, max_runs=max_runs)


# -- failures --------------------------------------------------------------------------------------


async def lost_update() -> None:
    """Fails where one of three is preempted between reading and writing, and in no other way."""
    count = 0

    async def add() -> None:
        nonlocal count
        read = count
        await trio.lowlevel.checkpoint()
        count = read + 1

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(add)
    assert count == 3


def test_a_bug_of_one_preemption_is_there_with_one_and_not_with_none() -> None:
    assert exhaust(lost_update, preemptions=0).passed
    with pytest.raises(ScheduleFailure) as raised:
        exhaust(lost_update, preemptions=1)
    assert isinstance(raised.value.failure, ExceptionGroup | AssertionError)
    assert sum(map(bool, raised.value.schedule)) <= 2
    assert simulate(lost_update, replay=raised.value.token).failure is not None


def test_with_keep_going_one_failure_does_not_hide_the_rest() -> None:
    """Two ways to fail, each of one order."""

    async def main() -> None:
        order = await program_of(("..", ".."))()
        if order == "abba":
            raise ValueError(order)
        if order == "baab":
            raise TypeError(order)

    report = exhaust(main, preemptions=1, keep_going=True)
    assert [type(each.failure) for each in report.failures] == [ValueError, TypeError]
    assert report.runs == 4
    assert report.finished
    assert not report.passed


def test_a_state_that_only_one_schedule_comes_to_is_come_to() -> None:
    async def main() -> None:
        sometimes(await program_of(("...", "..."))() == "ababab", "in turn")

    assert exhaust(main, preemptions=4).passed
    with pytest.raises(ScheduleFailure, match="in turn"):
        exhaust(main, preemptions=2)


def test_all_runs_have_the_same_seed() -> None:
    drawn = set[float]()

    async def main() -> None:
        run = current_run()
        assert run is not None
        drawn.add(run.random.random())
        await program_of(("..", ".."))()

    exhaust(main, seed=5)
    assert len(drawn) == 1


# -- the order of the search -----------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=5), st.integers(0, 3))
def test_a_tree_of_choices_is_walked_through_once(shape: list[tuple[int, bool]], preemptions: int) -> None:
    """All codes in the order of counting up, but for those whose costs are above the bound."""
    path, seen = [_Choice(0, count, costs) for count, costs in shape], list[tuple[int, ...]]()
    while True:
        seen.append(tuple(choice.code for choice in path))
        if not _advance(path, preemptions):
            break
        path += [_Choice(0, count, costs) for count, costs in shape[len(path) :]]

    def all_of(at: int, left: int) -> Iterator[tuple[int, ...]]:
        if at == len(shape):
            yield ()
            return
        count, costs = shape[at]
        for code in range(count):
            cost = int(costs and code > 0)
            if cost <= left:
                yield from ((code, *rest) for rest in all_of(at + 1, left - cost))

    assert seen == list(all_of(0, preemptions))
