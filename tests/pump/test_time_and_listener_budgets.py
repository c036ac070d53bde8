"""Budgets of seconds, and those of a listener."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, ListenerConfig
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Outcome
from phloem.organism import Organism

Audited = Callable[..., AbstractAsyncContextManager[Organism]]


@dataclass
class Ask:
    text: str


@dataclass
class Reply:
    text: str


def listener(name: str, takes: Any, handler: Any, **more: Any) -> ListenerConfig:
    return ListenerConfig(name, takes, handler, f"Is {name}.", **more)


async def answer(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Reply(payload.text))


async def drop(payload: Any, metadata: HandlerMetadata) -> None:
    return None


def step(name: str, to: str, **more: Any) -> ListenerConfig:
    """Forwards what it is asked, and responds with what it is answered."""

    async def go(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Ask):
            return HandlerResponse(payload, to=to)
        return HandlerResponse.respond(payload)

    return listener(name, [Ask, Reply], go, **more)


def down(name: str = "down") -> ListenerConfig:
    """Calls itself as many times as it is told to, then responds all the way up."""

    async def go(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        left = int(payload.text)
        if isinstance(payload, Ask) and left > 1:
            return HandlerResponse(Ask(str(left - 1)), to=name)
        return HandlerResponse.respond(Reply(payload.text))

    return listener(name, [Ask, Reply], go)


def fan(to: str, count: int, **more: Any) -> ListenerConfig:
    async def spread(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(Reply(str(n)), to=to) for n in range(count)]

    return listener("fan", Ask, spread, **more)


async def outcome_of(organism: Organism, payload: Any, to: str, **more: Any) -> Outcome:
    return await organism.wait(await organism.send(payload, to=to, **more))


def looping(times: int, to: str) -> Any:
    done = 0

    async def loop(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        nonlocal done
        if isinstance(payload, Reply):
            done += 1
        if done == times:
            return HandlerResponse.respond(Reply(str(done)))
        return HandlerResponse(Ask("again"), to=to)

    return loop


# -- seconds ----------------------------------------------------------------------------------
async def test_seconds_end_a_conversation_wherever_it_is(
    audited: Audited, autojump_clock: trio.testing.MockClock
) -> None:
    async def slow(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(1)
        return HandlerResponse(payload, to="slow")

    async with audited(listener("slow", Ask, slow), budgets=Budgets(seconds=4.5)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "slow")
        assert trio.current_time() == 4.5
        assert outcome.state is ConversationState.TIMED_OUT
        assert outcome.cause is not None
        assert "4.5 s" in outcome.cause.text
        assert organism.statistics()["messages"]["abandoned_by"] == {"deadline": 1}
        assert organism.report.handled == 4


async def test_seconds_run_while_a_conversation_is_only_queued(
    audited: Audited, autojump_clock: trio.testing.MockClock
) -> None:
    async def hang(payload: Ask, metadata: HandlerMetadata) -> None:
        await trio.sleep(100)

    async with audited(listener("one", Ask, hang, max_concurrent=1)) as organism:
        await organism.send(Ask("x"), to="one")
        outcome = await outcome_of(organism, Ask("y"), "one", budgets=Budgets(seconds=2))
        assert trio.current_time() == 2
        assert outcome.state is ConversationState.TIMED_OUT
        assert organism.statistics()["queued"] == 0
        await organism.shutdown(0)


async def test_a_conversation_that_ends_in_time_leaves_no_timer(
    audited: Audited, autojump_clock: trio.testing.MockClock
) -> None:
    async with audited(listener("back", Ask, answer)) as organism:
        tasks = trio.lowlevel.current_statistics().tasks_living
        for _ in range(20):
            await organism.ask(Ask("x"), to="back", budgets=Budgets(seconds=1_000))
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert trio.current_time() == 0


# -- of a listener ----------------------------------------------------------------------------
async def test_a_listeners_messages_are_its_deliveries_in_one_conversation(audited: Audited) -> None:
    async with audited(
        listener("loop", [Ask, Reply], looping(4, "back")),
        listener("back", Ask, answer, budgets=Budgets(messages=3)),
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "loop")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert outcome.cause is not None
        assert "'back'" in outcome.cause.text
        assert organism.statistics()["listeners"]["back"]["handled"] == 3
        for _ in range(5):  # another conversation has its own
            assert await organism.ask(Ask("x"), to="back") == Reply("x")


async def test_a_listeners_messages_fit_all_or_none(audited: Audited) -> None:
    async with audited(
        fan("leaf", 4), listener("leaf", Reply, drop, budgets=Budgets(messages=3))
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "fan")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert organism.report.accepted == 1


async def test_a_listeners_seconds_are_the_sum_of_its_dispatches(
    audited: Audited, autojump_clock: trio.testing.MockClock
) -> None:
    async def slow(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(2)
        return HandlerResponse.respond(Reply("x"))

    async with audited(
        listener("loop", [Ask, Reply], looping(10, "slow")),
        listener("slow", Ask, slow, budgets=Budgets(seconds=5)),
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "loop")
        assert trio.current_time() == pytest.approx(5)
        assert outcome.state is ConversationState.TIMED_OUT
        assert outcome.cause is not None
        assert outcome.cause.listener == "slow"
        assert organism.statistics()["listeners"]["slow"]["handled"] == 2
        assert organism.report.abandoned == 1


async def test_dispatches_side_by_side_spend_a_listeners_seconds_together(
    audited: Audited, autojump_clock: trio.testing.MockClock
) -> None:
    async def slow(payload: Reply, metadata: HandlerMetadata) -> None:
        await trio.sleep(2)

    async with audited(fan("slow", 5), listener("slow", Reply, slow, budgets=Budgets(seconds=5))) as organism:
        outcome = await outcome_of(organism, Ask("x"), "fan")
        assert trio.current_time() == pytest.approx(1)
        assert outcome.state is ConversationState.TIMED_OUT


async def test_a_listeners_seconds_do_not_run_while_it_rests(
    audited: Audited, autojump_clock: trio.testing.MockClock
) -> None:
    async def rest(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(100)
        return HandlerResponse.respond(Reply("rested"))

    async with audited(
        step("quick", "rest", budgets=Budgets(seconds=1)), listener("rest", Ask, rest)
    ) as organism:
        assert await organism.ask(Ask("x"), to="quick") == Reply("rested")
