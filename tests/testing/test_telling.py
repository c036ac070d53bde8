"""Claims of testing/sim/telling.py: what a report says, and that it can be said of every failure."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from phloem.errors import Deadlock, Livelock, ScheduleFailure
from phloem.testing.sim import (
    FaultKind,
    FaultPlan,
    Point,
    current_run,
    exhaust,
    explore,
    simulate,
    sweep,
)
from phloem.testing.sim.report import Report
from phloem.testing.sim.telling import LONGEST, SHOWN, Found, preemptions, text_of

Main = Callable[[], Awaitable[Any]]


async def lost_update() -> None:
    """Fails where one adder is preempted between reading and writing."""
    count = 0

    async def add() -> None:
        nonlocal count
        read = count
        await trio.lowlevel.checkpoint()  # the window
        count = read + 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(add, name="ann")
        nursery.start_soon(add, name="bob")
    assert count == 2, f"two were added, {count} counted"  # the claim


def line_of(comment: str) -> int:
    lines = Path(__file__).read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {comment}"))


def failure_of(main: Main, **more: Any) -> ScheduleFailure:
    with pytest.raises(ScheduleFailure) as raised:
        explore(main, runs=200, **more)
    return raised.value


def told(main: Main, failure: BaseException | None = None, **more: Any) -> str:
    """The report of one run, with nothing else around it."""
    result = simulate(main)
    why = failure or result.failure
    assert why is not None
    values: dict[str, Any] = {
        "program": "shop.main", "first": result, "shrunk_in": 0, "replays": True, "fair": "", "plan": None,
        "command": None,
    }  # fmt: skip
    return text_of(Found(report=Report("explore"), result=result, failure=why, **(values | more)))


def raising(error: BaseException) -> Main:
    async def main() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return main


async def fail(error: BaseException) -> None:
    raise error


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


# -- what is said ----------------------------------------------------------------------------------


def test_a_report_has_the_seed_the_token_the_line_to_paste_the_interleaving_and_the_failure() -> None:
    failure = failure_of(lost_update)
    lines = str(failure).splitlines()
    assert re.fullmatch(r"explore of \S*test_telling\.lost_update failed in run \d+ of 200 \(\S+\)", lines[0])
    assert lines[1].startswith("failure: AssertionError: two were added, 1 counted")
    assert f"seed {failure.seed}" in lines
    assert f"token {failure.token}" in lines
    assert f"again: simulate(lost_update, replay={failure.token!r})" in lines
    assert any(
        re.fullmatch(
            r"schedule: \d preemptions in \d+ steps \(found with \d+ in \d+; shrunk in \d+ runs\)", each
        )
        for each in lines
    )
    assert any(each.startswith("reachable with fair batches: ") for each in lines)
    assert "NOT REPRODUCED" not in str(failure)


def test_the_line_to_paste_does_it_again() -> None:
    failure = failure_of(lost_update)
    (line,) = (each for each in str(failure).splitlines() if each.startswith("again: "))
    result = eval(line.removeprefix("again: "), {"simulate": simulate, "lost_update": lost_update})
    assert (result.digest, result.diverged) == (failure.result.digest, False)
    assert isinstance(result.failure, AssertionError)


def test_the_line_to_paste_has_all_that_no_token_says() -> None:
    async def main() -> None:
        run = current_run()
        while run is not None and run.faults is not None:
            await run.faults.visit("door", "front", trio.sleep, 1)

    failure = failure_of(main, max_steps=300, faults=FaultPlan.parse("door=slow:1:1:1"))
    (line,) = (each for each in str(failure).splitlines() if each.startswith("again: "))
    names = {"simulate": simulate, "main": main, "FaultPlan": FaultPlan}
    result = eval(line.removeprefix("again: "), names)
    assert (result.digest, result.diverged) == (failure.result.digest, False)
    assert isinstance(result.failure, Livelock)


def test_a_plan_whose_garbage_no_text_can_say_is_named_in_the_line_to_paste() -> None:
    async def main() -> None:
        run = current_run()
        assert run is not None
        assert run.faults is not None
        assert await run.faults.visit("door", "front", nothing) is None

    plan = FaultPlan({"door": Point((FaultKind.GARBAGE,), per_run=1, per_visit=1, garbage=(int,))})
    assert ", faults=plan)" in str(failure_of(main, faults=plan))


def test_each_switch_is_told_with_file_and_line_of_both() -> None:
    text = str(failure_of(lost_update))
    switches = [line for line in text.splitlines() if " switch " in line]
    window = line_of("the window")
    assert any(
        re.search(
            rf"goes on at test_telling\.py:\d+ in .*; \S+ was preempted at test_telling\.py:{window} in", each
        )
        for each in switches
    )
    assert all("test_telling.py:" in each for each in switches)


def test_the_traceback_is_that_of_the_programs_own_code() -> None:
    text = str(failure_of(lost_update))
    assert f'test_telling.py", line {line_of("the claim")}, in lost_update' in text
    assert "/trio/" not in text
    assert "phloem/testing/sim" not in text


def test_what_was_left_out_by_shrinking_is_counted() -> None:
    failure = failure_of(lost_update)
    assert f"schedule: {preemptions(failure.schedule)} preemptions in {failure.result.steps} steps" in str(
        failure
    )
    assert preemptions(()) == 0
    assert preemptions((0, 2, 0, 1)) == 2


def test_a_command_takes_the_place_of_the_line_to_paste() -> None:
    failure = failure_of(lost_update, command=lambda token: f"phloem sim shop.yaml --replay {token}")
    assert f"again: phloem sim shop.yaml --replay {failure.token}" in str(failure).splitlines()


def test_a_cut_is_told_with_its_step() -> None:
    async def main() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            raise ValueError("bad cleanup") from None

    with pytest.raises(ScheduleFailure) as raised:
        sweep(main)
    assert re.search(r"^cut: the scenario cancelled before step \d+$", str(raised.value), re.MULTILINE)
    assert "reachable" not in str(raised.value)


def test_faults_are_told_as_planned_and_as_fired() -> None:
    plan = FaultPlan({"till": Point((FaultKind.RAISE,), 1.0, 1.0)})

    async def main() -> None:
        run = current_run()
        assert run is not None
        assert run.faults is not None
        await run.faults.visit("till", "ann", nothing)
        await run.faults.visit("till", "bob", nothing)

    text = str(failure_of(main, faults=plan))
    assert f"faults planned: {plan}" in text
    assert text.count("fault fired: ") == 1
    assert "fault fired: raise at till 'ann', visit 1" in text


def test_a_failure_that_does_not_come_again_is_called_so() -> None:
    runs = list[int]()

    async def main() -> None:
        runs.append(0)
        await nothing()
        assert len(runs) != 5

    text = str(failure_of(main))
    assert "NOT REPRODUCED" in text
    assert "check_determinism" in text


def test_a_search_without_a_number_of_runs_says_which_run_it_was() -> None:
    with pytest.raises(ScheduleFailure, match=r"^exhaust of \S+lost_update failed in run \d+ \(exhaust\)"):
        exhaust(lost_update)


# -- what is too long ------------------------------------------------------------------------------


@pytest.mark.parametrize(("notes", "said"), [(SHOWN - 1, False), (SHOWN, True), (5_000, True)])
def test_of_a_long_interleaving_the_end_is_shown_and_the_rest_counted(notes: int, said: bool) -> None:
    async def main() -> None:
        run = current_run()
        assert run is not None
        for number in range(notes):
            run.note(f"note {number}")
        raise ValueError

    text = told(main)
    assert f"note {notes - 1}" in text
    assert text.count("  note  ") == min(notes, SHOWN - 1)
    assert (f"interleaving: (the last {SHOWN} of {notes + 1} lines)" in text) is said
    assert ("note 0" in text) is (not said)


def test_no_line_goes_on_for_ever() -> None:
    async def main() -> None:
        run = current_run()
        assert run is not None
        run.note("n" * 1_000_000)
        raise ValueError("x" * 1_000_000)

    text = told(main)
    assert len(text) < 3 * LONGEST
    assert "characters more)" in text


# -- every failure -----------------------------------------------------------------------------------


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Addressed(Exception):
    def __str__(self) -> str:
        return f"in {object()!r}"


@pytest.mark.parametrize("late", [False, True])
def test_what_a_system_task_raises_is_told_by_its_name_and_lines(late: bool) -> None:
    async def system() -> None:
        try:
            await trio.sleep(9 if late else 1)
        finally:
            raise ValueError("of the system task")  # raises it

    async def main() -> None:
        trio.lowlevel.spawn_system_task(system)
        await trio.sleep(5)

    failure = failure_of(main)
    assert isinstance(failure.failure, trio.TrioInternalError)
    lines = str(failure).splitlines()
    assert "caused by ValueError: of the system task" in lines
    place = f'test_telling.py", line {line_of("raises it")}'
    assert any(place in line for line in lines)


def test_two_system_tasks_that_fail_are_two_failures() -> None:
    async def one() -> None:
        raise ValueError("one")

    async def two() -> None:
        raise KeyError("two")

    async def main() -> None:
        run = current_run()
        assert run is not None
        trio.lowlevel.spawn_system_task(one if run.seed % 2 else two)
        await trio.sleep(5)

    assert len(explore(main, runs=4, keep_going=True).failures) == 2


def test_an_error_in_a_circle_of_causes_is_told() -> None:
    error = ValueError("a circle")
    error.__cause__ = cause = KeyError("its cause")
    cause.__cause__ = error
    text = told(nothing, error)
    assert "caused by KeyError: 'its cause'" in text
    assert len(text.splitlines()) < 40


def test_of_a_group_each_error_is_told_with_its_own_lines() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, ValueError("left"))
            nursery.start_soon(fail, TypeError("right"))

    text = told(main)
    assert "failure: ExceptionGroup(raised TypeError: right; raised ValueError: left)" in text
    assert "traceback of ValueError" in text
    assert "traceback of TypeError" in text


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Speechless(), "failure: Speechless: (its text raised RuntimeError)"),
        (Addressed(), "failure: Addressed: in <object object>"),
        (ValueError(), "failure: ValueError: "),
        (ValueError("a\nb"), "failure: ValueError: a\nb"),
        (ValueError("\ud800"), "failure: ValueError: \\ud800"),
        (KeyError("k"), "failure: KeyError: 'k'"),
        (BaseExceptionGroup("g", [SystemExit(3)]), "failure: BaseExceptionGroup(raised SystemExit: 3)"),
        (Deadlock(["  a#1 waits for Event.wait"]), "failure: Deadlock: deadlock: 1 tasks wait"),
    ],
)
def test_whatever_was_raised_can_be_told_and_printed(error: BaseException, says: str) -> None:
    text = told(raising(ValueError()), error)
    assert says in text
    assert text.encode("utf-8")
    assert "0x" not in text


def test_what_the_check_raised_is_the_failure() -> None:
    def check(result: object) -> None:
        raise LookupError("the till is empty")

    text = str(failure_of(nothing, check=check))
    assert "failure: LookupError: the till is empty" in text
    assert "in check" in text


def test_notes_are_told_also_those_of_a_group() -> None:
    inner, odd = ValueError("inner"), TypeError("odd")
    group = ExceptionGroup("g", [inner, odd])
    inner.add_note("a leaf's note")
    group.add_note(f"a group's note of {object()!r}")
    setattr(odd, "__notes__", [5, "said"])  # noqa: B010 - no type checker lets it be
    text = told(raising(ValueError()), group)
    for note in ("a leaf's note", "a group's note of <object object>", "said"):
        assert f"note: {note}\n" in f"{text}\n"
    setattr(odd, "__notes__", 7)  # noqa: B010
    assert "a leaf's note" in told(raising(ValueError()), group)


def test_an_error_without_a_line_of_the_program_has_no_traceback() -> None:
    assert "traceback" not in told(raising(ValueError()), KeyError("from nowhere"))
