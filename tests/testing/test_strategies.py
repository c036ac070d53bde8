"""Claims of testing/sim/strategies.py: what a seed decides, how likely an order is, and that nobody starves.

The tasks are toys: letters, each with a number of steps, or a rule that says who can run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from phloem.testing.sim import Strategy, explore, simulate
from phloem.testing.sim.strategies import (
    DEPTHS,
    STREAK,
    TURNS,
    Replay,
    chooser_for,
    concrete,
    stream,
)


def steps_of(strategy: str, seed: int, tasks: Mapping[str, int]) -> str:
    """Who ran, one letter a step; as the engine does, only real choices are asked for."""
    chooser = chooser_for(strategy, seed)
    left, ran = dict(tasks), ""
    while any(left.values()):
        batch = [task for task in left if left[task]]
        index = chooser.choose(batch, 0) if len(batch) > 1 else 0
        left[batch[index]] -= 1
        ran += batch[index]
    return ran


def turns_of(strategy: str, seed: int, ready: Callable[[list[str]], list[str]], most: int) -> list[str]:
    """Who ran where ``ready`` says who can, until nobody can or there were ``most`` steps."""
    chooser = chooser_for(strategy, seed)
    ran: list[str] = []
    while len(ran) < most and (batch := ready(ran)):
        ran.append(batch[chooser.choose(batch, 0) if len(batch) > 1 else 0])
    return ran


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number", "means"),
    [
        ("calm", 3, "calm"),
        ("walk", 3, "walk"),
        ("shuffle", 3, "shuffle"),
        (Strategy.WALK, 0, "walk"),
        ("pct3", 0, "pct3@258"),
        ("pct3@500", 0, "pct3@500"),
        ("pct@500", 1, "pct3@500"),
        ("pct1", 0, "pct1@258"),
        ("pct12@9", 0, "pct12@9"),
    ],
)
def test_a_name_becomes_all_that_a_run_needs(name: str, number: int, means: str) -> None:
    assert concrete(name, number, 258) == means
    assert concrete(means, 7, 1) == means  # it needs nothing else any more
    chooser_for(means, 0)


@pytest.mark.parametrize(
    "name",
    [
        "", "exhaust", "Walk", "walk ", "calm@5", "portfolio@5", "pct0", "pct-1", "pct03", "pct3@", "pct3@x",
        "pct3@1@2", "pct@", "pct3.5", "pct٣", "pct3@-1", "pct3\n", "pct9999999999", "pct2@9999999999",
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ValueError, match="expected one of calm, shuffle, walk, pct, portfolio, or a depth"):
        concrete(name, 0, 258)


def test_a_program_of_no_length_yet_has_depths_all_the_same() -> None:
    assert concrete("pct", 0, 0) == "pct2@1"
    assert steps_of("pct5@1", 0, {"a": 3, "b": 3})


def test_a_portfolio_is_a_fifth_shuffle_and_two_fifths_each_walk_and_pct_of_every_depth() -> None:
    names = Counter(concrete("portfolio", number, 100) for number in range(1_000))
    assert names == {"shuffle": 200, "walk": 400} | {f"pct{depth}@100": 100 for depth in (2, 3, 4, 5)}


def test_ten_runs_of_a_portfolio_have_all_of_it() -> None:
    for first in range(0, 30, 10):
        assert len({concrete("portfolio", number, 9) for number in range(first, first + 10)}) == 6


def test_pct_alone_goes_through_its_depths() -> None:
    names = Counter(concrete("pct", number, 9) for number in range(400))
    assert names == {f"pct{depth}@9": 100 for depth in DEPTHS}


# -- seeds -------------------------------------------------------------------------------------

NAMES = ("walk", "shuffle", "pct2@30", "pct5@30")
FIVE = dict.fromkeys("abcde", 6)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_everything(name: str) -> None:
    runs = [steps_of(name, seed, FIVE) for seed in range(50)]
    assert runs == [steps_of(name, seed, FIVE) for seed in range(50)]
    assert len(set(runs)) > 40


@given(st.integers(), st.integers())
def test_two_seeds_or_two_purposes_are_strangers(one: int, other: int) -> None:
    if one != other:
        assert stream(one, "a").random() != stream(other, "a").random()
    assert stream(one, "a").random() != stream(one, "b").random()


def test_a_seed_means_the_same_in_every_process() -> None:
    code = (
        "from phloem.testing.sim.strategies import chooser_for\n"
        "for name in ('walk', 'pct4@40'):\n"
        "    chooser = chooser_for(name, 7)\n"
        "    print([chooser.choose(['ann', 'bob', 'eve'], 0) for _ in range(40)])\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(told) == 1


def test_a_seed_means_the_same_in_every_version() -> None:
    """Tokens are kept in bug reports: what a seed draws must not change by accident."""
    six = dict.fromkeys("abc", 6)
    assert steps_of("walk", 1, six) == "acbbbcbcacbbaccaaa"
    assert steps_of("pct3@18", 1, six) == "ccccccaaaaaabbbbbb"


# -- walk and shuffle --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_walk_takes_each_that_can_run_equally_often(count: int) -> None:
    batch, draws = list(range(count)), 7_000
    chooser = chooser_for("walk", 5)
    taken = Counter(chooser.choose(batch, 0) for _ in range(draws))
    assert set(taken) == set(batch)
    expected = draws / count
    assert all(abs(each - expected) < 5 * expected**0.5 for each in taken.values())


@pytest.mark.parametrize("strategy", ["shuffle", "walk"])
def test_every_order_of_a_batch_is_equally_likely(strategy: str) -> None:
    async def main() -> str:
        ran: list[str] = []

        async def tell(name: str) -> None:
            ran.append(name)

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(tell, name)
        return "".join(ran)

    runs, orders = 600, Counter[str]()
    explore(main, runs=runs, strategy=strategy, check=lambda result: orders.update([result.value]))
    assert len(orders) == 6
    assert all(abs(each - runs / 6) < 5 * (runs / 6) ** 0.5 for each in orders.values())


# -- pct ---------------------------------------------------------------------------------------


def found(strategy: str, tasks: Mapping[str, int], order: Callable[[str], bool], runs: int) -> int:
    return sum(order(steps_of(strategy, seed, tasks)) for seed in range(runs))


def at_least(probability: float, runs: int) -> float:
    """What is not undercut by bad luck: four standard deviations below."""
    expected = runs * probability
    return expected - 4 * float(expected**0.5)


def test_without_changes_priorities_are_strict_and_every_order_of_them_is_drawn() -> None:
    orders = Counter(steps_of("pct1@12", seed, dict.fromkeys("abc", 4)) for seed in range(600))
    assert set(orders) == {
        x * 4 + y * 4 + z * 4 for x in "abc" for y in "abc" for z in "abc" if len({x, y, z}) == 3
    }
    assert min(orders.values()) > at_least(1 / 6, 600)


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_a_depth_has_one_change_less(depth: int) -> None:
    """Each change takes the turn from one task: three long tasks switch no more often."""
    most = 0
    for seed in range(300):
        ran = steps_of(f"pct{depth}@60", seed, dict.fromkeys("abc", 20))
        switches = sum(before != after for before, after in pairwise(ran))
        most = max(most, switches)
        assert switches <= 2 + (depth - 1) * 2  # a task that is moved back may still have to end
    assert most > depth


@pytest.mark.parametrize("first", "abcde")
def test_depth_1_lets_any_of_n_tasks_be_first_with_one_in_n(first: str) -> None:
    hits = found("pct1@20", dict.fromkeys("abcde", 4), lambda ran: ran.startswith(first * 4), 1_000)
    assert hits > at_least(1 / 5, 1_000)


@pytest.mark.parametrize("place", [1, 3, 5])
def test_depth_2_preempts_a_task_at_a_given_step_with_one_in_n_k(place: int) -> None:
    """All of b between two steps of a: one order of depth 2, wherever it is."""
    tasks = dict.fromkeys("abc", 6)
    wanted = "a" * place + "b" * 6
    hits = found("pct2@18", tasks, lambda ran: wanted in ran.replace("c", ""), 3_000)
    assert hits > at_least(1 / (3 * 18), 3_000)


def test_depth_3_preempts_two_tasks_at_given_steps_with_one_in_n_k_k() -> None:
    tasks = dict.fromkeys("abc", 3)
    hits = found("pct3@9", tasks, lambda ran: ran.startswith("aabbccc"), 6_000)
    assert hits > at_least(1 / (3 * 9**2), 6_000) / 2  # the order of those two is asked for as well


def test_tasks_that_wait_for_each_other_in_turn_are_found() -> None:
    """d is done first, then c, b, a in the reverse of the order in which they were preempted."""
    tasks = {"a": 2, "b": 2, "c": 2, "d": 1}
    hits = found("pct4@4", tasks, lambda ran: ran == "abcdcba", 20_000)
    assert hits > at_least(1 / (24 * 4**3), 20_000)


def test_a_new_task_may_come_before_and_behind_those_that_are_there() -> None:
    def ready(ran: list[str]) -> list[str]:
        return [] if len(ran) == 4 else ["a", "b", "c"] if len(ran) > 1 else ["a", "b"]

    third = Counter(turns_of("pct1@4", seed, ready, 10)[2] for seed in range(300))
    assert third["c"] == pytest.approx(100, abs=40)


# -- fairness ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["walk", "pct1@10", "pct2@10", "pct5@10"])
def test_a_task_that_spins_until_another_has_run_comes_to_its_end(name: str) -> None:
    def ready(ran: list[str]) -> list[str]:
        return [] if ran.count("b") == 5 else ["a", "b"]

    for seed in range(100):
        ran = turns_of(name, seed, ready, 100_000)
        assert ran.count("b") == 5
        assert len(ran) <= 7 * (STREAK + 1) + 5


def test_no_task_has_more_than_a_streak_while_another_waits() -> None:
    for seed in range(20):
        ran = "".join(turns_of("pct3@100", seed, lambda _: ["a", "b"], 2_000))
        assert max(map(len, ran.replace("ab", "a b").replace("ba", "b a").split())) <= STREAK + 1
        assert min(ran.count("a"), ran.count("b")) > 500


@pytest.mark.parametrize("members", [2, 3, 5])
def test_a_group_that_hands_the_turn_round_does_not_starve_another_for_ever(members: int) -> None:
    group = "abcdefgh"[:members]

    def ready(ran: list[str]) -> list[str]:
        """The next of the group, and one that nobody waits for."""
        round_ = [each for each in ran if each != "z"]
        return [] if "z" in ran else [group[len(round_) % members], "z"]

    for seed in range(50):
        assert len(turns_of("pct2@10", seed, ready, 100_000)) <= members * TURNS + 1


@pytest.mark.parametrize("name", ["calm", "walk", "shuffle", "pct1@10", "pct5@10"])
def test_a_program_that_spins_ends_under_every_strategy(name: str) -> None:
    async def main() -> None:
        done = False

        async def finish() -> None:
            nonlocal done
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            done = True

        async def spin() -> None:
            while not done:  # noqa: ASYNC110 - to spin is what it is about
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(spin)
            nursery.start_soon(spin)
            nursery.start_soon(finish)

    for seed in range(20):
        assert simulate(main, seed=seed, strategy=name, max_steps=5_000).failure is None


# -- replay ------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 5))
def test_a_replay_does_what_is_written_and_then_goes_on_with_the_same(schedule: list[int], more: int) -> None:
    batch: Sequence[Hashable] = ("a", "b", "c", "d")
    chooser = Replay(schedule)
    for number, choice in enumerate(schedule):
        base = number % 4
        assert chooser.choose(batch, base) == (base + choice) % 4
    assert [chooser.choose(batch, base % 4) for base in range(more)] == [base % 4 for base in range(more)]


def test_calm_stays_with_the_same_task() -> None:
    chooser = chooser_for("calm", 3)
    assert [chooser.choose("abc", base) for base in (2, 0, 1)] == [2, 0, 1]
