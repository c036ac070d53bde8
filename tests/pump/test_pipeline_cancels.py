"""A pipeline with an async step at every place, under any schedule and cancelled at any step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import trio

from phloem.messages import Ending
from phloem.testing import check_pump, explore, open_watched_organism, simulate, sometimes, sweep
from support.listeners import Ask
from support.piped_flows import config, everything, full_pipeline, patient_pipeline
from support.pipelines import ASK
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
    report = explore(as_undisturbed, runs=runs(60), check=check_pump, max_steps=STEPS, resources=True)
    assert report.passed
    assert report.distinct == report.runs


def test_one_seed_is_one_trace_with_chance_pauses_and_gates_in_it() -> None:
    first, again, other = (simulate(everything, seed=seed, strategy="walk") for seed in (5, 5, 6))
    assert first.failure is None
    assert first.digest == again.digest
    assert first.digest != other.digest


async def relayed(kind: str, *, full: bool) -> None:
    """One stranger, whose message goes to ``front``, on to ``bench``, and back."""
    pipeline = full_pipeline() if full else patient_pipeline()
    async with open_watched_organism(config(), pipeline=pipeline) as organism:
        with trio.CancelScope():
            if kind == "ask":
                await organism.ask(Ask("fine"))
            elif kind == "turn":
                async with organism.open_conversation() as conversation:
                    await conversation.inject(ASK.replace("x", "fine"))
            else:
                await organism.wait(await organism.inject("<Ask><text>broken</Text></Ask>"))
        await organism.wait_idle()
        seats = organism.statistics()["seats"]
        assert seats == {"free": 3, "waiting": 0}
        assert organism._pump.slots.borrowed() == 0
        assert organism.threads == ()
        assert organism._pump.flow is not None
        limiters = [stage.limiter for stage in organism._pump.flow._walk.stages if stage.limiter is not None]
        assert [limiter.borrowed_tokens for limiter in limiters] == [0] * len(limiters)
        ends = organism._pump.core.ledger.endings
        sometimes(ends[Ending.ABANDONED], "something was cut in the books")
        sometimes(organism.report.accepted == 1, "it was cancelled before it was accepted")


@pytest.mark.parametrize("kind", ["ask", "inject", "turn"])
@pytest.mark.parametrize("full", [False, True])
def test_a_stranger_cancelled_at_any_step_leaves_nothing_behind(kind: str, full: bool) -> None:
    report = sweep(partial(relayed, kind, full=full), cancel="every-site", check=check_pump, max_steps=STEPS)
    assert report.passed
    assert report.cancels > 30


def test_an_ask_cancelled_at_every_step_leaves_nothing_behind() -> None:
    report = sweep(partial(relayed, "ask", full=False), check=check_pump, max_steps=STEPS)
    assert report.passed
    assert report.cancels > 100


async def timed_out() -> Any:
    async with open_watched_organism(config(), pipeline=full_pipeline()) as organism:
        with trio.move_on_after(1):
            await organism.ask(Ask("slow"))
        await organism.wait_idle()


def test_a_deadline_that_fires_at_any_place_leaves_nothing_behind() -> None:
    report = sweep(timed_out, cancel=None, timeouts=True, check=check_pump, max_steps=STEPS)
    assert report.passed
    assert report.timeouts > 10
