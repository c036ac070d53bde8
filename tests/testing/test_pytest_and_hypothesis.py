"""Inputs from ``@given``, schedules from a seed: with the mark, and without it."""

from __future__ import annotations

import re

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.errors import Deadlock
from phloem.testing.sim import simulate
from support.inner_pytest import ANYIO, HYPOTHESIS, OURS, TRIO, Inner, inner_pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    return inner_pytest(pytester, monkeypatch)


HEAD = """
    import pytest, trio
    from hypothesis import assume, example, given, settings, strategies as st
    from phloem.testing.sim import current_run

    pytestmark = []
    seen = []
    few = settings(max_examples=20, database=None, deadline=None)
"""
LOST = (
    HEAD
    + """
    async def add(total, number):
        seen = total[0]
        await trio.lowlevel.checkpoint()
        total[0] = seen + number

    @pytest.mark.sim(runs=10)
    @settings(database=None, deadline=None, phases=["explicit", "generate", "shrink"])
    @given(items=st.lists(st.integers(0, 9), max_size=8)){}
    async def test_lost(items):
        total = [0]
        async with trio.open_nursery() as nursery:
            for number in items:
                nursery.start_soon(add, total, number)
        assert total == [sum(items)]
"""
)
ORDERS = [(TRIO, HYPOTHESIS, OURS), (OURS, HYPOTHESIS, TRIO, ANYIO), (HYPOTHESIS, ANYIO, OURS, TRIO)]
MODE = "trio_mode = true"


# -- without the mark: a plain test that draws the seed as it draws the rest ------------------------
@given(seed=st.integers(0, 2**32 - 1), items=st.lists(st.integers(), max_size=5))
@settings(max_examples=50)
def test_a_plain_test_may_draw_the_seed_as_well(seed: int, items: list[int]) -> None:
    async def main() -> list[int]:
        send, receive = trio.open_memory_channel[int](len(items))
        async with trio.open_nursery() as nursery:
            for item in items:
                nursery.start_soon(send.send, item)
        send.close()
        return [item async for item in receive]

    assert sorted(simulate(main, seed=seed).unwrap()) == sorted(items)


def test_a_bug_that_needs_a_schedule_is_found_by_drawing_the_seed() -> None:
    @given(seed=st.integers(0, 2**32 - 1))
    @settings(database=None)
    def lock_twice(seed: int) -> None:
        async def main() -> None:
            locks = trio.Lock(), trio.Lock()

            async def take(first: trio.Lock, second: trio.Lock) -> None:
                async with first, second:
                    pass

            async with trio.open_nursery() as nursery:
                nursery.start_soon(take, locks[0], locks[1])
                nursery.start_soon(take, locks[1], locks[0])

        simulate(main, seed=seed).unwrap()

    with pytest.raises(Deadlock, match=r"deadlock: \d tasks wait"):
        lock_twice()


# -- with the mark ----------------------------------------------------------------------------------
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mode", [MODE, ""])
def test_each_example_is_run_once_under_a_seed_of_its_own(
    inner: Inner, order: tuple[str, ...], mode: str
) -> None:
    result = inner(
        HEAD
        + """
    strategies = set()

    @pytest.mark.sim(check=lambda result: strategies.add(result.strategy.partition("@")[0]))
    @few
    @given(number=st.integers())
    async def test_drawn(number):
        await trio.sleep(1e6)
        seen.append((number, current_run().seed))

    def test_told():
        assert len(dict(seen)) == len(set(seen)) > 10
        assert len({seed for _, seed in seen}) == len(dict(seen))
        assert len(strategies) > 2
    """,
        order=order,
        ini=mode,
    )
    result.assert_outcomes(passed=2)


def test_equal_examples_have_equal_seeds_whatever_their_addresses(inner: Inner) -> None:
    result = inner(
        HEAD
        + """
    class Thing:
        pass

    @pytest.mark.sim(seed=5)
    @few
    @given(thing=st.builds(Thing), number=st.integers())
    @example(thing=Thing(), number=7)
    @example(thing=Thing(), number=8)
    @example(thing=Thing(), number=7)
    async def test_drawn(thing, number):
        seen.append(current_run().seed)

    def test_told():
        assert seen[0] == seen[2] != seen[1]
    """,
        order=(HYPOTHESIS, OURS),
    )
    result.assert_outcomes(passed=2)


def test_the_mark_may_ask_for_more_runs_of_each(inner: Inner) -> None:
    result = inner(
        HEAD
        + """
    @pytest.mark.sim(runs=4)
    @few
    @given(number=st.integers(0, 3))
    async def test_drawn(number):
        seen.append(number)

    def test_told():
        assert sorted(seen) == sorted([*range(4)] * 4)
    """,
        order=(HYPOTHESIS, OURS),
    )
    result.assert_outcomes(passed=2)


def test_a_failure_has_the_smallest_input_and_the_smallest_schedule(inner: Inner) -> None:
    result = inner(LOST.format(""), order=(TRIO, HYPOTHESIS, OURS), ini=MODE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "failure: AssertionError: assert *",
            "schedule: 1 preemptions in *",
            "*test_lost(*",
            "*items=[[]0, 1[]],*",
        ]
    )
    assert "All traceback entries are hidden" not in result.stdout.str()


def test_a_token_replays_it_for_the_same_input(inner: Inner) -> None:
    fixed = LOST.format("\n    @example(items=[0, 1])").replace(
        '"explicit", "generate", "shrink"', '"explicit"'
    )
    first = inner(fixed, order=(HYPOTHESIS, OURS))
    (token,) = re.findall(r"^token (\S+)$", first.stdout.str(), re.MULTILINE)
    again = inner("", "--sim-replay", token, order=(HYPOTHESIS, OURS))
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*replay of *test_lost failed*", f"token {token}"])
    assert "NOT REPRODUCED" not in again.stdout.str()


def test_assumptions_and_interactive_draws_work_in_a_run(inner: Inner) -> None:
    result = inner(
        HEAD
        + """
    @pytest.mark.sim
    @few
    @given(data=st.data())
    async def test_drawn(data):
        number = data.draw(st.integers(0, 9))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            assume(number % 2)
        seen.append(number)

    def test_told():
        assert seen
        assert all(number % 2 for number in seen)
    """,
        order=(HYPOTHESIS, OURS),
    )
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("order", ORDERS)
def test_parametrized_methods_are_examined_each_on_their_own(inner: Inner, order: tuple[str, ...]) -> None:
    result = inner(
        HEAD
        + """
    pytestmark = pytest.mark.trio

    class TestIt:
        @pytest.mark.sim
        @pytest.mark.parametrize("word", ["a", "b"])
        @few
        @given(number=st.integers())
        async def test_it(self, word, number):
            seen.append((word, current_run() is not None))

    async def test_told():
        assert set(seen) == {("a", True), ("b", True)}
    """,
        order=(*order, TRIO) if TRIO not in order else order,
    )
    result.assert_outcomes(passed=3)
