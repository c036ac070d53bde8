"""Agents, their tools, their models and their budgets under any schedule, and cut at any step."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, cast

import pytest
import trio

from phloem.config import Budgets
from phloem.errors import PhloemError
from phloem.organism import Organism
from phloem.testing import check_pump, explore, faults, open_simulated_organism, simulate, sometimes, sweep
from support.simulated_agents import Result, Task, World
from support.simulated_budgets import delegations
from support.simulating import runs
from support.witness import left_over

STEPS_OF_TASKS: Final = 200_000


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of organisms in which everything goes wrong have nothing to tell."""
    log = logging.getLogger("phloem")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


async def stranger(world: World, number: int) -> None:
    organism = world.organism
    for turn in range(world.of(1, 2, 3)):
        to, token = world.of(*world.names), f"q {number}.{turn}"
        budgets = world.of(None, None, Budgets(messages=5), Budgets(tokens=6000, seconds=9.0))
        with trio.move_on_after(world.of(1e9, 1e9, 5, 0.01)):
            try:
                if world.often(0.8):
                    answer = await organism.ask(Task(token), to, budgets=budgets)
                    assert isinstance(answer, Result | list), answer
                    sometimes(True, "somebody is answered")
                else:
                    receipt = await organism.send(Task(token), to, budgets=budgets)
                    await trio.sleep(world.of(0, 0.2, 3))
                    await organism.kill(receipt.conversation)
            except PhloemError:  # NoResponse too: a tool says nothing now and then, and nobody goes on then
                pass


async def guest(world: World, number: int) -> None:
    """Several turns with one memory, some of them at once."""

    async def turn(name: str) -> None:
        with trio.move_on_after(world.of(1e9, 1e9, 2)):
            try:
                await conversation.ask(Task(name), agent)
                sometimes(True, "a turn is answered")
            except PhloemError:
                pass

    agent = world.of(*world.names)
    try:
        async with world.organism.open_conversation() as conversation, trio.open_nursery() as nursery:
            for count in range(world.of(2, 3)):
                name = f"g {number}.{count}"
                if world.often(0.5):
                    nursery.start_soon(turn, name)
                    await trio.sleep(world.of(0, 1))
                else:
                    await turn(name)
    except PhloemError:
        pass


async def anything(world: World | None = None) -> list[Any]:
    world = world or World()
    organism: Organism | None = None
    try:
        async with open_simulated_organism(world.config(), observer=cast("Any", world.witness)) as organism:
            world.organism = organism
            async with trio.open_nursery() as nursery:
                for number in range(world.of(1, 2, 4)):
                    nursery.start_soon(stranger, world, number)
                nursery.start_soon(guest, world, 0)
                if world.often(0.2):
                    await trio.sleep(world.of(0, 1, 8))
                    await organism.shutdown(world.of(0, 10))
    finally:
        if organism is not None:
            broken = left_over(organism, world.witness)
            assert not broken, "\n".join(broken[:5])
    return world.witness.calls


def test_whatever_agents_are_put_together_they_keep_every_promise_under_any_schedule() -> None:
    report = explore(anything, runs=runs(40), check=check_pump, max_steps=STEPS_OF_TASKS)
    assert report.passed
    assert report.never == ()


def test_and_with_faults_at_the_providers_and_in_handlers() -> None:
    points = "provider=raise,raise-after,hang,slow;handler=raise,raise-after,slow,hang"
    report = explore(
        anything,
        runs=runs(30),
        seed=500,
        faults=faults.plan(points),
        check=check_pump,
        max_steps=STEPS_OF_TASKS,
    )
    assert report.passed


@pytest.mark.parametrize("seed", [5, 9])
def test_and_wherever_all_of_it_is_cut_nothing_is_left(seed: int) -> None:
    report = sweep(anything, cancel="every-site", seed=seed, check=check_pump, max_steps=STEPS_OF_TASKS)
    assert report.passed
    assert report.cancels > 10


@pytest.mark.parametrize("seed", range(6))
def test_one_seed_is_one_run_and_its_models_are_asked_the_same(seed: int) -> None:
    first, second = (simulate(anything, seed=seed, max_steps=STEPS_OF_TASKS) for _ in range(2))
    assert first.failure is None
    assert (first.digest, first.value) == (second.digest, second.value)


def test_no_budget_is_overshot_by_delegations_side_by_side() -> None:
    """32 at once, under 5 messages, or under tokens or money that are not enough for all."""
    endings: Counter[str] = Counter()

    def check(result: Any) -> None:
        check_pump(result)
        endings.update(result.value or ())

    assert explore(delegations, runs=runs(25), check=check, max_steps=2 * STEPS_OF_TASKS).passed
    assert min(endings["out_of_budget"], endings["completed"]) > 20


def test_nor_with_faults_at_the_providers() -> None:
    """But for those that answer and fail: nobody is told what that took."""
    points = "provider=raise,hang,slow"
    report = explore(
        delegations,
        runs=runs(15),
        seed=300,
        faults=faults.plan(points),
        check=check_pump,
        max_steps=2 * STEPS_OF_TASKS,
    )
    assert report.passed
