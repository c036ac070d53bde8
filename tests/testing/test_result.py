"""Claims of testing/sim/result.py: a run is written down alike in every process, whatever it gave back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from array import array

import pytest
import trio

from phloem.errors import Deadlock
from phloem.testing.sim import Trace, TraceEvent, simulate
from phloem.testing.sim.result import digest_of, ending


class Plain:
    pass


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


# -- endings -----------------------------------------------------------------------------------


class Speechless(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_an_ending_says_what_was_returned_or_raised() -> None:
    assert ending({2, 1}, None) == "returned set({1, 2})"
    assert ending(None, ValueError("no")) == "raised ValueError: no"
    assert ending(None, KeyboardInterrupt()) == "raised KeyboardInterrupt: "
    assert ending(None, ValueError(f"at {Plain()}")) == f"raised ValueError: at <{__name__}.Plain object>"
    assert ending(None, Speechless()) == "raised Speechless: (its text raised ZeroDivisionError)"


def test_the_order_in_a_group_is_not_told() -> None:
    """Which child's error a nursery takes up first is no difference between two runs."""
    a, b = ValueError("a"), ExceptionGroup("inner", [TypeError("b"), KeyError("c")])
    inner = "raised ExceptionGroup(raised KeyError: 'c'; raised TypeError: b)"
    text = f"raised ExceptionGroup({inner}; raised ValueError: a)"
    assert ending(None, ExceptionGroup("x", [a, b])) == text
    assert ending(None, ExceptionGroup("y", [ExceptionGroup("z", b.exceptions[::-1]), a])) == text


# -- digests -----------------------------------------------------------------------------------


def test_a_digest_covers_who_ran_who_was_there_what_was_noted_and_the_end() -> None:
    digests = {
        digest_of(array("I", order), names, log, value, failure)
        for order, names, log, value, failure in (
            ([], [], [], None, None),
            ([0, 1], [], [], None, None),
            ([1, 0], [], [], None, None),
            ([], ["a", "b"], [], None, None),
            ([], ["ab"], [], None, None),
            ([], [], [(0, "note", "a")], None, None),
            ([], [], [(1, "note", "a")], None, None),
            ([], [], [(0, "clock", "a")], None, None),
            ([], [], [], 1, None),
            ([], [], [], None, ValueError()),
            ([], [], [], None, ValueError("x")),
        )
    }
    assert len(digests) == 11
    assert all(len(each) == 32 and not set(each) - set("0123456789abcdef") for each in digests)


def test_a_digest_does_not_mind_addresses_surrogates_and_failing_texts() -> None:
    order = array("I", [0, 2**32 - 1])
    ones, others = (
        digest_of(order, [f"task {Plain()}", "\ud800"], [(0, "note", f"{Plain()} \udfff")], Plain(), failure)
        for failure in (Speechless(), Speechless())
    )
    assert ones == others


def test_where_a_deadlocked_task_stands_is_told_and_not_in_the_digest() -> None:
    one, other = Deadlock(["  a#1 waits\n    x.py:3 in a"]), Deadlock(["  a#1 waits\n    x.py:4 in a"])
    assert ending(None, one) != ending(None, other)
    assert digest_of(array("I"), [], [], None, one) == digest_of(array("I"), [], [], None, other)
    groups = [ExceptionGroup("g", [each, ValueError()]) for each in (one, other)]
    assert len({digest_of(array("I"), [], [], None, each) for each in groups}) == 1


def test_of_an_error_of_many_lines_every_line_is_in_the_digest() -> None:
    failures = [
        ValueError("a\nb"),
        ValueError("a\nc"),
        ExceptionGroup("g", [ValueError("a\nb"), ValueError("x")]),
    ]
    failures += [ExceptionGroup("g", [ValueError("a\nb"), ValueError("y")])]
    assert len({digest_of(array("I"), [], [], None, each) for each in failures}) == 4


PROGRAM = """
    import dataclasses, trio
    from phloem.testing.sim import simulate, current_run

    @dataclasses.dataclass
    class Told:
        words: set
        by: dict

    class Plain: pass

    async def work(name, words):
        await trio.sleep(len(name))
        words.add(name)
        current_run().note(f"{name} {Plain()}")

    async def main():
        words = set()
        async with trio.open_nursery() as nursery:
            for name in ("ann", "bob", "eve", "zoe"):
                nursery.start_soon(work, name, words, name=name)
        return [Told(words, {Plain: words}), Plain(), frozenset({("a", 1), None, "b"}), work, main]

    for strategy in ("walk", "shuffle", "pct3@20"):
        result = simulate(main, seed=3, strategy=strategy)
        print(result.digest, result.token, result.schedule, result.trace, result)
"""


def test_a_run_is_written_down_alike_in_every_process() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PROGRAM)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "42")
    }
    assert len(told) == 1
    assert "0x" not in told.pop().replace("0x…", "")


# -- what a run gives ----------------------------------------------------------------------------


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


def test_a_result_gives_its_value_or_raises_its_failure() -> None:
    async def fine() -> int:
        return 5

    async def bad() -> None:
        raise ValueError("no")

    assert simulate(fine).unwrap() == 5
    with pytest.raises(ValueError, match="no"):
        simulate(bad).unwrap()


@pytest.mark.parametrize(
    "value",
    [Broken(), "x" * 1_000_000, [[]] * 200_000, Plain()],
    ids=lambda each: type(each).__name__,
)
def test_a_result_can_be_shown_whatever_its_value(value: object) -> None:
    async def main() -> object:
        return value

    shown = repr(simulate(main))
    assert shown.startswith("<Result seed=0 walk returned ")
    assert len(shown) < 400
    assert "0x" not in shown


def test_a_trace_is_a_sequence_of_lines() -> None:
    events = [TraceEvent(step, "note", f"n{step}") for step in range(3)]
    trace = Trace(lambda: events)
    assert list(trace) == events
    assert (len(trace), trace[0], trace[-1], tuple(trace[1:])) == (
        3,
        events[0],
        events[2],
        (events[1], events[2]),
    )
    assert events[1] in trace
    assert str(trace).splitlines() == ["     0  note    n0", "     1  note    n1", "     2  note    n2"]
    assert str(Trace(list)) == ""


def test_the_last_line_of_a_trace_is_its_end() -> None:
    assert [event.kind for event in simulate(nothing).trace][-1] == "end"
    assert str(simulate(nothing).trace[-1]).endswith("end     returned None")
