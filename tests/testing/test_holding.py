"""A run that is held alive: what happens in a call, and that nothing happens between two."""

from __future__ import annotations

import gc
import os
import random
import time
import uuid
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import Deadlock, Livelock
from phloem.testing.sim import FaultKind, FaultPlan, InjectedFault, Point, current_run
from phloem.testing.sim.holding import HeldRun

STRATEGIES = ["walk", "shuffle", "calm", "pct3"]


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


async def give(value: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return value


# -- do -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_do_gives_what_the_function_gives_or_raises_what_it_raises(strategy: str) -> None:
    async def fail() -> None:
        await nothing()
        raise LookupError("mine")

    with HeldRun(strategy=strategy) as run:
        assert run.do(give, 7) == 7
        with pytest.raises(LookupError, match="mine"):
            run.do(fail)
        assert run.do(give, 8) == 8


def test_do_jumps_to_the_timers_it_waits_for() -> None:
    with HeldRun() as run:
        started = time.monotonic()
        run.do(trio.sleep, 3600)
        assert run.time == 3600
        assert time.monotonic() - started < 10


def test_do_without_a_timer_is_a_deadlock_that_names_the_task_and_ends_nothing() -> None:
    event = trio.Event()

    async def wait_for_it() -> None:
        await event.wait()

    async def set_it() -> None:
        event.set()

    with HeldRun() as run:
        with pytest.raises(Deadlock, match="wait_for_it") as caught:
            run.do(wait_for_it)
        assert len(caught.value.tasks) == 1
        run.do(set_it)
        run.settle()


def test_what_a_task_raises_that_was_given_up_is_raised_by_a_later_call() -> None:
    event = trio.Event()

    async def fail() -> None:
        await event.wait()
        raise LookupError("late")

    with HeldRun() as run:
        with pytest.raises(Deadlock):
            run.do(fail)
        event.set()
        with pytest.raises(LookupError, match="late"):
            run.settle()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_who_waits_until_all_others_wait_is_woken_before_the_run_has_settled(strategy: str) -> None:
    rounds: list[int] = []

    async def wait_for_rest() -> None:
        for number in range(5):
            await trio.testing.wait_all_tasks_blocked()
            rounds.append(number)

    with HeldRun(strategy=strategy) as run:
        run.start(wait_for_rest)
        run.settle()
        assert rounds[:1] == [0]
        run.do(wait_for_rest)
        assert rounds.count(4) == 2


def test_what_a_task_nobody_waits_for_raises_is_raised_by_the_next_call() -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise LookupError("beside")

    with HeldRun() as run:
        run.start(fail)
        run.settle()
        with pytest.raises(LookupError, match="beside"):
            run.advance(1)
        run.settle()


def test_a_block_does_not_end_well_with_an_error_untold() -> None:
    async def fail() -> None:
        raise LookupError("at the end")

    def held() -> None:
        with HeldRun() as run:
            run.start(fail)

    with pytest.raises(LookupError, match="at the end"):
        held()


def test_a_spin_is_a_livelock_and_ends_the_run() -> None:
    async def spin() -> None:
        for _ in range(10_000):
            await trio.lowlevel.checkpoint()

    def held() -> None:
        with HeldRun(max_steps=500) as run:
            run.do(spin)

    with pytest.raises(Livelock, match="spin"):
        held()
    trio.run(nothing)


# -- time -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_everything_happens_at_its_time(strategy: str) -> None:
    seen: list[float] = []

    async def tick(every: float) -> None:
        while True:
            await trio.sleep(every)
            seen.append(trio.current_time())

    with HeldRun(strategy=strategy) as run:
        run.start(tick, 1.5)
        run.start(tick, 2)
        run.settle()
        assert seen == []
        assert run.time == 0
        run.advance(0)
        run.advance(3.75)
        assert (seen, run.time) == ([1.5, 2, 3], 3.75)
        run.advance(0.25)
        assert seen[3:] == [4]


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_time_goes_forward_by_a_finite_number(seconds: float) -> None:
    with HeldRun() as run, pytest.raises(ValueError, match=r"advance: found .* expected a finite number"):
        run.advance(seconds)


def test_between_two_calls_nothing_happens_and_the_world_is_real() -> None:
    steps = 0

    async def count() -> None:
        nonlocal steps
        for _ in range(1_000):
            steps += 1
            await trio.lowlevel.checkpoint()

    real = time.time, os.urandom, random.Random.seed, time.sleep
    shuffler = trio._core._run._r
    with HeldRun() as run:
        run.start(count)
        run.do(nothing)
        before = steps
        gc.collect()
        assert (time.time, os.urandom, random.Random.seed, time.sleep) == real
        assert trio._core._run._r is shuffler
        assert time.time() > 1_700_000_000
        assert steps == before
        run.settle()
        assert steps == 1_000


def test_within_a_call_the_world_is_simulated_and_no_two_calls_draw_the_same() -> None:
    async def look() -> tuple[Any, ...]:
        run = current_run()
        assert run is not None
        return random.random(), uuid.uuid4(), os.urandom(4), run.random.random()

    def looks(seed: int) -> list[tuple[Any, ...]]:
        with HeldRun(seed=seed) as run:
            return [run.do(look) for _ in range(3)]

    assert looks(1) == looks(1)
    for kind in zip(*(looks(1) + looks(2)), strict=True):
        assert len(set(kind)) == 6
    state = random.getstate()
    looks(3)
    assert random.getstate() == state


def test_threads_run_inline() -> None:
    with HeldRun() as run:
        assert run.do(trio.to_thread.run_sync, lambda: 7) == 7
        assert run.time > 0


# -- determinism ----------------------------------------------------------------------------------
def race(seed: int, strategy: str) -> tuple[list[int], str]:
    order: list[int] = []

    async def go(number: int) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        order.append(number)

    with HeldRun(seed=seed, strategy=strategy) as run:
        for number in range(5):
            run.start(go, number)
        run.settle()
        return order, run.digest


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_and_the_same_calls_are_the_same_run(strategy: str) -> None:
    assert race(3, strategy) == race(3, strategy)
    orders = {tuple(race(seed, strategy)[0]) for seed in range(20)}
    assert (len(orders) > 1) is (strategy != "calm")


def test_faults_come_from_the_plan_and_the_seed() -> None:
    async def visit() -> str:
        run = current_run()
        assert run is not None
        assert run.faults is not None
        return str(await run.faults.visit("disk", "c", give, "read"))

    plan = FaultPlan({"disk": Point((FaultKind.RAISE,), 1.0, 1.0)})
    with HeldRun(faults=plan) as run, pytest.raises(InjectedFault):
        run.do(visit)
