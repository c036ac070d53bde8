"""Claims of testing/sim/injecting.py: what a plan may say, and that a seed decides the rest of it alone."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from phloem.errors import ConfigurationError
from phloem.testing.sim.injecting import (
    FaultKind,
    FaultPlan,
    FiredFault,
    InjectedBaseException,
    InjectedFault,
    Injector,
    Point,
)


def plan_of(*kinds: FaultKind, per_run: float = 1.0, per_visit: float = 1.0, **more: Any) -> FaultPlan:
    return FaultPlan({"p": Point(kinds, per_run, per_visit, **more)})


async def work(calls: list[object], value: object) -> object:
    await trio.lowlevel.checkpoint()
    calls.append(value)
    return value


async def visited(injector: Injector, *names: str, point: str = "p") -> list[FiredFault]:
    """Visit it under each of these names; what fired."""
    for name in names:
        try:
            with trio.move_on_after(100):
                await injector.visit(point, name, work, [], 1)
        except (InjectedFault, InjectedBaseException):
            pass  # it stands in ``fired``
    return injector.fired


def drawn(seed: int, *names: str, per_run: float = 1.0, per_visit: float = 0.3) -> list[FiredFault]:
    plan = FaultPlan({"p": Point((FaultKind.RAISE, FaultKind.BASE), per_run, per_visit)})
    return trio.run(visited, Injector(plan, seed), *names)


# -- what each kind does -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "called"),
    [
        (FaultKind.RAISE, InjectedFault, []),
        (FaultKind.RAISE_AFTER, InjectedFault, [1]),
        (FaultKind.BASE, InjectedBaseException, []),
    ],
)
async def test_what_raises_says_where_and_calls_or_does_not(
    kind: FaultKind, error: type[BaseException], called: list[int]
) -> None:
    injector, calls = Injector(plan_of(kind), 0), list[object]()
    with pytest.raises(error) as raised:
        await injector.visit("p", "worker", work, calls, 1)
    assert str(raised.value) == f"injected: {kind} at p 'worker', visit 1"
    assert calls == called
    assert injector.fired == [FiredFault("p", "worker", 1, kind)]


async def test_a_point_may_raise_an_error_of_its_own() -> None:
    with pytest.raises(OSError, match="injected: raise at p 'disk', visit 1"):
        await Injector(plan_of(FaultKind.RAISE, raises=OSError), 0).visit("p", "disk", work, [], 1)


async def test_a_hang_ends_when_it_is_cancelled_and_has_called_nothing(autojump_clock: Any) -> None:
    calls = list[object]()
    with trio.move_on_after(1e9) as scope:
        await Injector(plan_of(FaultKind.HANG), 0).visit("p", "x", work, calls, 1)
    assert (scope.cancelled_caught, calls) == (True, [])


async def test_slow_takes_its_seconds_and_then_does_its_work(autojump_clock: Any) -> None:
    calls = list[object]()
    began = trio.current_time()
    assert await Injector(plan_of(FaultKind.SLOW, slow=7.5), 0).visit("p", "x", work, calls, 1) == 1
    assert (trio.current_time() - began, calls) == (7.5, [1])


async def test_garbage_comes_back_in_place_of_a_result_that_was_made_and_anew_each_time() -> None:
    injector, calls = Injector(plan_of(FaultKind.GARBAGE, garbage=(list, dict)), 3), list[object]()
    got = [await injector.visit("p", "x", work, calls, number) for number in range(40)]
    assert calls == list(range(40))
    assert {type(each) for each in got} == {list, dict}
    assert len({id(each) for each in got}) == 40


@pytest.mark.parametrize("kind", FaultKind)
async def test_without_a_fault_a_visit_is_the_call_and_nothing_more(kind: FaultKind) -> None:
    injector = Injector(plan_of(kind, per_visit=0.0, garbage=(list,)), 0)
    assert await injector.visit("p", "x", work, [], 5) == 5
    assert await injector.visit("elsewhere", "x", work, [], 6) == 6
    assert injector.fired == []
    assert injector.visits == {("p", "x"): 1, ("elsewhere", "x"): 1}


@pytest.mark.parametrize("kind", [FaultKind.SLOW, FaultKind.HANG, FaultKind.GARBAGE, FaultKind.RAISE_AFTER])
async def test_cancelled_goes_on_through_a_fault_and_through_none(kind: FaultKind) -> None:
    for plan in (plan_of(kind, garbage=(list,)), plan_of(kind, per_visit=0.0, garbage=(list,))):
        with trio.CancelScope() as scope:
            scope.cancel()
            await Injector(plan, 0).visit("p", "x", work, [], 1)
        assert scope.cancelled_caught


async def test_each_fault_is_told_just_before_it_happens() -> None:
    told = list[FiredFault]()
    injector = Injector(plan_of(FaultKind.RAISE), 0, told=told.append)
    with pytest.raises(InjectedFault):
        await injector.visit("p", "x", work, [], 1)
    assert told == injector.fired == [FiredFault("p", "x", 1, FaultKind.RAISE)]


# -- what a seed decides -------------------------------------------------------------------------


def test_one_seed_draws_the_same_and_others_do_not() -> None:
    names = ["a"] * 50
    assert drawn(1, *names) == drawn(1, *names)
    assert len({tuple(drawn(seed, *names)) for seed in range(20)}) == 20


@given(st.lists(st.sampled_from("abc"), max_size=30), st.randoms(use_true_random=False), st.integers())
def test_no_order_of_visits_moves_a_draw(names: list[str], random: Any, seed: int) -> None:
    shuffled = random.sample(names, len(names))
    assert Counter(drawn(seed, *names)) == Counter(drawn(seed, *shuffled))


def test_who_visits_more_often_moves_no_draw_of_others() -> None:
    few, many = drawn(4, *"abab" * 9), drawn(4, *"abbbab" * 9)
    assert [each for each in few if each.name == "a"] == [each for each in many if each.name == "a"]


def test_names_of_one_point_are_drawn_apart() -> None:
    met = {name: [each.visit for each in drawn(4, *[name] * 50, per_visit=0.5)] for name in "abcd"}
    assert len(set(map(tuple, met.values()))) == 4


def test_points_are_drawn_apart() -> None:
    kinds = (FaultKind.RAISE,)
    both = FaultPlan({"p": Point(kinds, 0.5), "q": Point(kinds, 0.5)})
    alone = FaultPlan({"q": Point(kinds, 0.5)})
    active = [Injector(both, seed).active for seed in range(200)]
    assert {frozenset[str](), frozenset("p"), frozenset("q"), frozenset("pq")} == set(active)
    assert [found & {"q"} for found in active] == [Injector(alone, seed).active for seed in range(200)]


def test_probabilities_are_what_they_say() -> None:
    plan = FaultPlan({"p": Point((FaultKind.RAISE,), 0.3)})
    runs = sum(bool(Injector(plan, seed).active) for seed in range(2_000))
    assert 520 <= runs <= 680  # four standard deviations of 20 around 600
    kinds = Counter(each.kind for each in drawn(0, *["a"] * 2_000, per_visit=0.1))
    assert 146 <= kinds.total() <= 254  # likewise, of 13.4 around 200
    assert abs(kinds[FaultKind.RAISE] - kinds[FaultKind.BASE]) < 57  # likewise, of 14.2
    assert drawn(0, *["a"] * 100, per_run=0.0) == drawn(0, *["a"] * 100, per_visit=0.0) == []


def test_the_draws_are_the_same_in_every_process() -> None:
    code = (
        "from phloem.testing.sim.injecting import *\n"
        "plan = FaultPlan.parse('handler=raise,hang:0.5:0.1; ü=slow:0.5')\n"
        "print([sorted(Injector(plan, seed).active) for seed in range(64)])"
        "\nprint([Injector(plan, 5)._kind(*where, n) for where in (('handler', 'a'), ('ü', 'b'))"
        " for n in range(99)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1
    assert b"FaultKind.SLOW" in said.pop()


# -- replaying and shrinking ---------------------------------------------------------------------


async def test_what_fired_fires_again_with_the_same_garbage_and_nothing_else_does() -> None:
    plan = plan_of(FaultKind.GARBAGE, per_visit=0.4, garbage=(lambda: 7, lambda: 8, lambda: 9))
    first = Injector(plan, 11)
    got = [await first.visit("p", "x", work, [], 1) for _ in range(60)]
    again = Injector(plan, 11, first.fired)
    assert [await again.visit("p", "x", work, [], 1) for _ in range(60)] == got
    assert {7, 8, 9, 1} == set(got)
    assert again.fired == first.fired
    fewer = Injector(plan, 11, first.fired[::2])
    without = [await fewer.visit("p", "x", work, [], 1) for _ in range(60)]
    assert fewer.fired == first.fired[::2]
    kept = {each.visit for each in first.fired[::2]}
    assert without == [value if visit in kept else 1 for visit, value in enumerate(got, 1)]


async def test_a_list_of_no_faults_has_none_fire() -> None:
    injector = Injector(plan_of(FaultKind.RAISE), 0, [])
    assert await injector.visit("p", "x", work, [], 1) == 1
    assert (injector.fired, injector.active) == ([], frozenset())


async def test_a_listed_fault_needs_no_luck() -> None:
    plan = plan_of(FaultKind.SLOW, per_run=0.0, per_visit=0.0)
    with pytest.raises(InjectedFault):
        await Injector(plan, 0, [FiredFault("p", "x", 1, FaultKind.RAISE)]).visit("p", "x", work, [], 1)


def test_listed_faults_that_the_plan_cannot_do_are_refused_all_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Injector(
            plan_of(FaultKind.RAISE),
            0,
            [FiredFault("q", "x", 1, FaultKind.RAISE), FiredFault("p", "y", 2, FaultKind.GARBAGE)],
        )
    assert str(refused.value).splitlines() == [
        "fault raise at q 'x', visit 1: found a point that the plan does not have, expected one of p",
        "fault garbage at p 'y', visit 2: found garbage at a point that knows none, "
        "expected Point(…, garbage=(maker, …))",
    ]


# -- plans as text -------------------------------------------------------------------------------

names = st.text(st.characters(categories=["L", "N", "S", "Zs"], exclude_characters="=:;"), min_size=1).filter(
    lambda name: name == name.strip() and name.isprintable()
)
chances = st.floats(0, 1)
points = st.builds(
    Point,
    st.lists(
        st.sampled_from([kind for kind in FaultKind if kind is not FaultKind.GARBAGE]),
        min_size=1,
        unique=True,
    ).map(tuple),
    chances,
    chances,
    st.floats(0, 1e9),
)


@given(st.dictionaries(names, points, min_size=1, max_size=3))
def test_a_plan_survives_its_text(found: dict[str, Point]) -> None:
    plan = FaultPlan(found)
    again = FaultPlan.parse(str(plan))
    assert again == plan
    assert hash(again) == hash(plan)
    assert str(again) == str(plan)


def test_a_text_says_as_much_as_is_needed() -> None:
    plan = FaultPlan.parse(" thread = slow ;handler=raise, hang:0.25:1;; ")
    assert plan.points == {
        "handler": Point((FaultKind.RAISE, FaultKind.HANG), 0.25, 1.0),
        "thread": Point((FaultKind.SLOW,)),
    }
    assert str(plan) == "handler=raise,hang:0.25:1:10; thread=slow:0.5:0.1:10"


def test_what_a_text_leaves_out_is_as_it_is_known() -> None:
    known = {"p": Point((FaultKind.SLOW, FaultKind.GARBAGE), 0.2, 0.3, 4.0, (list,), OSError)}
    assert FaultPlan.parse("p", known).points == known
    assert FaultPlan.parse("p=:0.7", known).points["p"] == Point(
        (FaultKind.SLOW, FaultKind.GARBAGE), 0.7, 0.3, 4.0, (list,), OSError
    )
    assert FaultPlan.parse("p=garbage", known).points["p"].garbage == (list,)


def test_the_order_of_points_is_no_difference_and_a_plan_is_not_changed_from_outside() -> None:
    one, two = Point((FaultKind.HANG,)), Point((FaultKind.SLOW,))
    mine = {"b": one, "a": two}
    plan = FaultPlan(mine)
    assert plan == FaultPlan({"a": two, "b": one})
    mine.clear()
    assert list(plan.points) == ["a", "b"]
    with pytest.raises(TypeError):
        plan.points["c"] = one  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


KINDS = "some of raise, raise-after, hang, slow, garbage, base-exception, each once"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "faults: found nothing, expected name=kind,"),
        (" ; ", "faults: found nothing, expected name=kind,"),
        ("p", "faults: p: found no kinds, expected name=kind,"),
        ("p=", f"faults: p: found no kinds, expected {KINDS}"),
        ("p=rise", f"faults: p: found rise, expected {KINDS}"),
        ("p=raise,raise", f"faults: p: found raise,raise, expected {KINDS}"),
        ("p=raise:often", "faults: p: per_run: found 'often', expected a number"),
        ("p=raise:0.5:2", "faults: p: per_visit: found 2.0, expected a number from 0 to 1"),
        ("p=raise:nan", "faults: p: per_run: found nan, expected a number from 0 to 1"),
        ("p=raise:1:1:inf", "faults: p: slow: found inf, expected seconds, 0 or more"),
        ("p=raise:1:1:-1", "faults: p: slow: found -1.0, expected seconds, 0 or more"),
        ("p=raise:1:1:1:1", "faults: p: found 4 numbers, expected at most per_run, per_visit, slow"),
        ("p=raise; p=hang", "faults: p: found it twice, expected each point once"),
        ("=raise", "faults: found '', expected a name that is printable"),
        ("p=garbage", "faults: p: found garbage at a point that knows none, expected Point(…, garbage="),
    ],
)
def test_a_text_that_is_no_plan_is_told_where(text: str, found: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        FaultPlan.parse(text)
    assert found in str(refused.value)


def test_a_name_that_nothing_visits_is_refused_where_the_points_are_known() -> None:
    known = {"b": Point((FaultKind.RAISE,)), "a": Point((FaultKind.RAISE,))}
    with pytest.raises(ConfigurationError, match=r"faults: c: found a point that nothing visits, .* a, b$"):
        FaultPlan.parse("c=raise", known)


def test_all_that_is_wrong_with_a_plan_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        FaultPlan({"a": Point((), math.nan), "b:c": Point((FaultKind.GARBAGE,)), "d": Point((), slow=-1)})
    assert [fault.where for fault in refused.value.faults] == [
        "faults: a",
        "faults: a: per_run",
        "faults",
        "faults: b:c",
        "faults: d",
        "faults: d: slow",
    ]
