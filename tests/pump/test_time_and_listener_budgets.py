"""Budgets of seconds, and those of a listener."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from support.auditing import open_audited, report_of
from support.flows import fan, looping, outcome_of, step
from support.listeners import BACK, Ask, Reply, answer, drop, listener


# -- seconds ----------------------------------------------------------------------------------
async def test_seconds_end_a_conversation_wherever_it_is(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(1)
        return HandlerResponse(payload, to="slow")

    async with open_audited(listener("slow", Ask, slow), budgets=Budgets(seconds=4.5)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "slow")
        assert trio.current_time() == 4.5
        assert outcome.state is ConversationState.TIMED_OUT
        assert outcome.cause is not None
        assert "4.5 s" in outcome.cause.text
        assert organism.statistics()["messages"]["abandoned_by"] == {"deadline": 1}
        assert report_of(organism).handled == 4


async def test_seconds_run_while_a_conversation_is_only_queued(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def hang(payload: Ask, metadata: HandlerMetadata) -> None:
        await trio.sleep(100)

    async with open_audited(listener("one", Ask, hang, max_concurrent=1)) as organism:
        await organism.send(Ask("x"), to="one")
        outcome = await outcome_of(organism, Ask("y"), "one", budgets=Budgets(seconds=2))
        assert trio.current_time() == 2
        assert outcome.state is ConversationState.TIMED_OUT
        assert organism.statistics()["queued"] == 0
        await organism.shutdown(0)


async def test_a_conversation_that_ends_in_time_leaves_no_timer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_audited(BACK) as organism:
        await trio.testing.wait_all_tasks_blocked()  # whoever carried Boot has left
        tasks = trio.lowlevel.current_statistics().tasks_living
        for _ in range(20):
            await organism.ask(Ask("x"), to="back", budgets=Budgets(seconds=1_000))
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert trio.current_time() == 0


# -- of a listener ----------------------------------------------------------------------------
async def test_a_listeners_messages_are_its_deliveries_in_one_conversation() -> None:
    async with open_audited(
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


async def test_a_listeners_messages_fit_all_or_none() -> None:
    async with open_audited(
        fan("leaf", 4), listener("leaf", Reply, drop, budgets=Budgets(messages=3))
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "fan")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert report_of(organism).accepted == 1


async def test_a_listeners_seconds_are_the_sum_of_its_dispatches(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(2)
        return HandlerResponse.respond(Reply("x"))

    async with open_audited(
        listener("loop", [Ask, Reply], looping(10, "slow")),
        listener("slow", Ask, slow, budgets=Budgets(seconds=5)),
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "loop")
        assert trio.current_time() == pytest.approx(5)
        assert outcome.state is ConversationState.TIMED_OUT
        assert outcome.cause is not None
        assert outcome.cause.listener == "slow"
        assert organism.statistics()["listeners"]["slow"]["handled"] == 2
        assert report_of(organism).abandoned == 1


async def test_dispatches_side_by_side_spend_a_listeners_seconds_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(payload: Reply, metadata: HandlerMetadata) -> None:
        await trio.sleep(2)

    async with open_audited(
        fan("slow", 5), listener("slow", Reply, slow, budgets=Budgets(seconds=5))
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "fan")
        assert trio.current_time() == pytest.approx(1)
        assert outcome.state is ConversationState.TIMED_OUT


async def test_a_listeners_seconds_do_not_run_while_it_rests(autojump_clock: trio.testing.MockClock) -> None:
    async def rest(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(100)
        return HandlerResponse.respond(Reply("rested"))

    async with open_audited(
        step("quick", "rest", budgets=Budgets(seconds=1)), listener("rest", Ask, rest)
    ) as organism:
        assert await organism.ask(Ask("x"), to="quick") == Reply("rested")
