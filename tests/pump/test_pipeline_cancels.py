"""A pipeline with an async step at every place, under any schedule and cancelled at any step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

import pytest
import trio

from phloem.organism import Organism
from phloem.testing import check_pump, current_run, explore, open_watched_organism, simulate, sometimes, sweep
from support.listeners import Ask
from support.piped_flows import config, everything, full_pipeline, patient_pipeline
from support.simulating import runs

STEPS = 20_000
ANSWERS = {
    "fine": "fine",
    "dropped": "NoResponse",
    "refused": "MessageRejected",
    "several": "several",
    "broken": "SystemError",
    "lost": "SystemError",
    "failing": "SystemError",
    "slow": "ConversationFailed",
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What goes wrong in these runs is meant to, and telling it would take most of their time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def as_undisturbed() -> None:
    answers = await everything()
    assert answers == ANSWERS


def test_everything_comes_to_the_same_under_any_schedule_and_the_books_add_up() -> None:
    report = explore(as_undisturbed, runs=runs(50), check=check_pump, max_steps=STEPS, resources=True)
    assert report.passed
    assert report.distinct == report.runs


def test_one_seed_is_one_trace_with_chance_pauses_and_gates_in_it() -> None:
    first, again, other = (simulate(everything, seed=seed, strategy="walk") for seed in (5, 5, 6))
    assert first.failure is None
    assert first.digest == again.digest
    assert first.digest != other.digest


async def relayed(kind: str, *, full: bool, give_up: int | None = None) -> None:
    """One stranger, whose message goes to ``front``, on to ``bench``, and back.

    ``give_up``: after so many checkpoints of another task he is cancelled.
    """
    pipeline = full_pipeline() if full else patient_pipeline()
    opened: list[Organism] = []
    try:
        async with open_watched_organism(config(), pipeline=pipeline) as organism:
            opened.append(organism)
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                if give_up is not None:
                    nursery.start_soon(cancel, scope, give_up, name="gives up")
                with scope:
                    await come_in(organism, kind)
                nursery.cancel_scope.cancel()
            await organism.wait_idle()
            assert organism.statistics()["seats"] == {"free": 3, "waiting": 0}
            assert organism.threads == ()
            if give_up is not None:
                cut = scope.cancelled_caught
                sometimes(cut and organism.report.accepted == 1, "cut before it was accepted")
                sometimes(
                    cut and organism._pump.core.ledger.abandoned_by, "cut with all that was in the books"
                )
    finally:
        for organism in opened:
            report = organism.report
            ends = report.handled + report.rejected + report.undeliverable + report.failed + report.abandoned
            assert (report.accepted, report.in_flight) == (ends, 0)
            assert organism._pump.slots.borrowed() == 0
            assert organism._pump.flow is not None
            for stage in organism._pump.flow._walk.stages:
                assert stage.limiter is None or stage.limiter.taken == 0


async def cancel(scope: trio.CancelScope, after: int) -> None:
    for _ in range(after):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def come_in(organism: Organism, kind: str) -> None:
    if kind == "ask":
        await organism.ask(Ask("fine"))
    elif kind == "inject":
        await organism.wait(await organism.inject("<Ask><text>broken</Text></Ask>"))
    else:
        async with organism.open_conversation() as conversation:
            await conversation.inject("<Ask><Text>fine</Text></Ask>")


@pytest.mark.parametrize("kind", ["ask", "inject", "turn"])
def test_an_organism_cancelled_anywhere_leaves_nothing_behind(kind: str) -> None:
    main = partial(relayed, kind, full=True)
    report = sweep(main, cancel="every-site", check=check_pump, max_steps=STEPS)
    assert report.passed
    assert report.cancels > 30


def test_nor_does_one_with_a_step_at_every_place_cancelled_at_every_step() -> None:
    report = sweep(partial(relayed, "ask", full=False), check=check_pump, max_steps=STEPS)
    assert report.passed
    assert report.cancels > 60


async def given_up() -> None:
    run = current_run()
    assert run is not None
    kind, full = run.random.choice(["ask", "inject", "turn"]), run.random.random() < 0.5
    await relayed(kind, full=full, give_up=run.random.randrange(80))


def test_a_stranger_who_gives_up_at_any_time_under_any_schedule_leaves_nothing_behind() -> None:
    report = explore(given_up, runs=runs(150), check=check_pump, max_steps=STEPS, resources=True)
    assert report.passed
