"""Claims of testing/faults.py: phloem's own plan, and what handlers give back under it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import trio

from phloem.config import WireLimits
from phloem.events import (
    AgentEvent,
)
from phloem.messages import ConversationState, HandlerResponse, Outcome
from phloem.testing import faults as own
from phloem.testing.faults import FaultKind, FaultPlan, FiredFault, Injector, Point
from support.faulty import Port, audited, gives, once
from support.listeners import BACK, Ask, Reply, listener


@pytest.mark.parametrize("number", range(len(own.GARBAGE)))
async def test_garbage_is_judged_as_the_handlers_own_answer_and_the_pump_goes_on(number: int) -> None:
    garbage, outcomes = own.GARBAGE[number](), list[Outcome]()
    async with audited(Port({"handler": once(gives(garbage))}), outcomes=outcomes) as organism:
        await organism.send(Ask("x"), to="back")
        assert await organism.ask(Ask("goes on"), to="back") == Reply("goes on")
    first, second = sorted(outcomes, key=lambda outcome: outcome.payloads == (Reply("goes on"),))
    assert second.state is ConversationState.COMPLETED
    if garbage == HandlerResponse.respond(own.Stray()):  # of no class that anybody agreed on; nor were others
        assert first.payloads == (own.Stray(),)
    else:
        assert first.state is ConversationState.FAILED
        assert first.dead_letters
    assert " at 0x" not in str(first), "an address differs from run to run"


def test_outside_of_a_simulation_there_are_no_faults() -> None:
    assert own.current() is None


async def test_nor_are_there_in_a_plain_trio_run() -> None:
    assert own.current() is None


def test_phloems_plan_has_every_point_that_it_visits_and_a_text_picks_among_them() -> None:
    assert set(own.plan().points) == {"handler", "bus subscriber", "thread", "provider"}
    assert own.plan("all") == own.plan() == own.plan(str(own.plan()))
    assert own.plan("thread").points == {"thread": own.POINTS["thread"]}
    picked = own.plan("handler=garbage:1:1").points["handler"]
    assert (picked.kinds, picked.garbage) == ((FaultKind.GARBAGE,), own.GARBAGE)


async def lived(port: Injector) -> tuple[list[tuple[str, str]], list[FiredFault]]:
    """A few conversations under these faults, with a bus subscriber and long documents; how each ended."""
    outcomes, settings = list[Outcome](), {"wire": WireLimits(thread_parse_bytes=1), "max_in_flight": 2}

    async def watch(event: AgentEvent) -> None:
        await trio.lowlevel.checkpoint()

    tried = listener("back", Ask, BACK.handler, retries=1, handler_timeout=20.0)
    async with audited(port, tried, outcomes=outcomes, **settings) as organism:
        organism.events.subscribe(None, watch, name="watch")
        for number in range(12):
            try:
                await organism.inject(f"<Ask><Text>{number}</Text></Ask>")
            except own.InjectedOSError:
                pass  # not accepted; the books say whether that is so
    return [(each.conversation[-2:], each.state) for each in outcomes], port.fired


@pytest.mark.parametrize("seed", range(12))
async def test_under_phloems_whole_plan_the_books_add_up(seed: int, autojump_clock: Any) -> None:
    points = {name: Point(p.kinds, 1.0, 0.3, p.slow, p.garbage, p.raises) for name, p in own.POINTS.items()}
    _, fired = await lived(Injector(FaultPlan(points), seed))
    assert {each.point for each in fired} == {"handler", "bus subscriber", "thread"}


def test_a_plan_of_phloems_can_be_taken_to_another_interpreter() -> None:
    again = pickle.loads(pickle.dumps(dict(own.plan().points)))
    assert [[type(make()) for make in point.garbage] for point in again.values()] == [
        [type(make()) for make in point.garbage] for point in own.plan().points.values()
    ]
