"""Budgets of messages, hops and depth: the organism's, a call's; what an overrun says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets
from phloem.errors import ConversationFailed
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Huh, SystemError
from support.auditing import open_audited, report_of
from support.flows import down, fan, looping, outcome_of, step
from support.listeners import BACK, Ask, Reply, answer, drop, fall, listener
from support.wire import message


@dataclass
class Number:
    text: str


class Theirs:
    """What its receiver takes for a Number."""

    @dataclass
    class Number:
        value: int


# -- messages ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("budget", "state"), [(5, ConversationState.COMPLETED), (4, ConversationState.OUT_OF_BUDGET)]
)
async def test_messages_are_the_deliveries_of_a_conversation(budget: int, state: ConversationState) -> None:
    async with open_audited(
        step("a", "b"), step("b", "c"), listener("c", Ask, answer), budgets=Budgets(messages=budget)
    ) as organism:  # a, b, c, and two answers
        outcome = await outcome_of(organism, Ask("x"), "a")
        assert outcome.state is state
        assert report_of(organism).accepted == budget


async def test_follow_ups_fit_all_or_none_and_the_cause_lists_them() -> None:
    async with open_audited(
        fan("leaf", 10), listener("leaf", Reply, drop), budgets=Budgets(messages=10)
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "fan")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert outcome.cause is not None
        assert outcome.cause.reason == "budget"
        assert outcome.cause.listener == "fan"
        assert "10 more" in outcome.cause.text
        assert outcome.cause.text.count("leaf") == 10
        assert report_of(organism).accepted == report_of(organism).handled == 1, "none was opened"
        assert organism.statistics()["conversations"]["out_of_budget"] == 1


async def test_a_cause_stays_readable_however_many_follow_ups_it_lists() -> None:
    async with open_audited(fan("leaf", 10_001), listener("leaf", Reply, drop)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "fan")
        assert outcome.cause is not None
        assert "10001 more" in outcome.cause.text
        assert len(outcome.cause.text) < 500


async def test_an_overrun_cuts_everything_else_of_its_conversation_and_nothing_of_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def spread(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(Reply("hang"), to="hang"), HandlerResponse(Ask("x"), to="late")]

    async def late(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        await trio.sleep(1)
        return [HandlerResponse(Reply("x"), to="hang")] * 10

    async def hang(payload: Reply, metadata: HandlerMetadata) -> None:
        await trio.sleep(5)

    async with open_audited(
        listener("spread", Ask, spread),
        listener("late", Ask, late),
        listener("hang", Reply, hang),
        budgets=Budgets(messages=5),
    ) as organism:
        other = await organism.send(Reply("other"), to="hang")
        outcome = await outcome_of(organism, Ask("x"), "spread")
        assert trio.current_time() == 1
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert organism.statistics()["messages"]["abandoned_by"] == {"budget": 1}
        assert (await organism.wait(other)).state is ConversationState.COMPLETED


async def test_a_strangers_own_fan_out_must_fit_too() -> None:
    document = message('<Reply xmlns=""><Text>x</Text></Reply>' * 4, meta="<from>x</from><to>leaf</to>")
    async with open_audited(listener("leaf", Reply, drop), budgets=Budgets(messages=3)) as organism:
        outcome = await organism.wait(await organism.inject(document))
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert report_of(organism).handled == 0
        enough = await organism.inject(document, budgets=Budgets(messages=4))
        assert (await organism.wait(enough)).state is ConversationState.COMPLETED


async def test_faults_that_are_told_are_deliveries_and_count() -> None:
    async def front(payload: Ask | SystemError, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return HandlerResponse(payload, to="fall")
        return HandlerResponse.respond(Reply("told"))

    listeners = listener("front", [Ask, SystemError], front), listener("fall", Ask, fall)
    async with open_audited(*listeners) as organism:
        outcome = await outcome_of(organism, Ask("x"), "front", budgets=Budgets(messages=2))
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        outcome = await outcome_of(organism, Ask("x"), "front", budgets=Budgets(messages=3))
        assert outcome.state is ConversationState.COMPLETED


@pytest.mark.parametrize("to", ["nobody", "strict"])
async def test_what_is_refused_and_the_notice_that_tells_of_it_both_count(to: str) -> None:
    async def front(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Ask):
            return HandlerResponse(Number("x"), to=to)
        return HandlerResponse.respond(Reply("told"))

    listeners = listener("front", [Ask, Huh, SystemError], front), listener("strict", Theirs.Number, drop)
    async with open_audited(*listeners) as organism:
        outcome = await outcome_of(organism, Ask("x"), "front", budgets=Budgets(messages=2))
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        outcome = await outcome_of(organism, Ask("x"), "front", budgets=Budgets(messages=3))
        assert outcome.payloads == (Reply("told"),)


# -- hops and depth ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("hops", "state"), [(9, ConversationState.COMPLETED), (8, ConversationState.OUT_OF_BUDGET)]
)
async def test_hops_are_the_longest_causal_path(hops: int, state: ConversationState) -> None:
    async with open_audited(down()) as organism:  # five down, four up
        outcome = await outcome_of(organism, Ask("5"), "down", budgets=Budgets(hops=hops))
        assert outcome.state is state


async def test_a_wide_fan_out_is_not_a_long_path() -> None:
    async with open_audited(
        fan("leaf", 100), listener("leaf", Reply, drop), budgets=Budgets(hops=2, depth=2)
    ) as organism:
        assert (await outcome_of(organism, Ask("x"), "fan")).state is ConversationState.COMPLETED


@pytest.mark.parametrize(
    ("depth", "state"), [(5, ConversationState.COMPLETED), (4, ConversationState.OUT_OF_BUDGET)]
)
async def test_depth_is_the_live_thread_tree(depth: int, state: ConversationState) -> None:
    async with open_audited(down()) as organism:
        outcome = await outcome_of(organism, Ask("5"), "down", budgets=Budgets(depth=depth))
        assert outcome.state is state


async def test_answers_make_room_for_depth_again() -> None:
    """A hundred calls one after the other are never deeper than two."""
    async with open_audited(
        listener("loop", [Ask, Reply], looping(100, "back")),
        BACK,
        budgets=Budgets(depth=2),
    ) as organism:
        assert await organism.ask(Ask("x"), to="loop") == Reply("100")
        assert report_of(organism).handled == 201


async def test_a_refusal_deepens_nothing() -> None:
    """What was misrouted opened no thread: its sender is told, on the deepest thread there may be."""
    told: list[str] = []

    async def astray(payload: Ask | SystemError, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, SystemError):
            told.append(payload.code)
            return HandlerResponse.respond(Reply("told"))
        return HandlerResponse(payload, to="nobody")

    async with open_audited(
        listener("astray", [Ask, SystemError], astray), budgets=Budgets(depth=1)
    ) as organism:
        assert await organism.ask(Ask("x"), to="astray") == Reply("told")
    assert told == ["routing"]


# -- runaways ---------------------------------------------------------------------------------
async def test_a_runaway_loop_meets_a_default_and_its_cause_names_the_cycle() -> None:
    async with open_audited(step("in", "ping"), step("ping", "pong"), step("pong", "ping")) as organism:
        outcome = await outcome_of(organism, Ask("x"), "in")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert outcome.cause is not None
        assert "ping > pong > ping" in outcome.cause.text or "pong > ping > pong" in outcome.cause.text
        assert "in >" not in outcome.cause.text
        assert report_of(organism).accepted <= 1_000


async def test_a_runaway_loop_of_answers_meets_a_default_too() -> None:
    async with open_audited(listener("loop", [Ask, Reply], looping(100_000, "back")), BACK) as organism:
        outcome = await outcome_of(organism, Ask("x"), "loop")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert outcome.cause is not None
        assert "loop > back > loop" in outcome.cause.text or "back > loop > back" in outcome.cause.text


async def test_a_runaway_fan_out_meets_a_default() -> None:
    async def double(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(payload, to="double")] * 2

    async with open_audited(listener("double", Ask, double)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "double")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert report_of(organism).accepted <= 10_000


async def test_a_conversation_without_a_cycle_names_none() -> None:
    async with open_audited(
        step("a", "b"), step("b", "c"), listener("c", Ask, answer), budgets=Budgets(hops=2)
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "a")
        assert outcome.cause is not None
        assert "repeat" not in outcome.cause.text


async def test_ask_raises_what_ended_it() -> None:
    async with open_audited(step("ping", "pong"), step("pong", "ping")) as organism:
        with pytest.raises(ConversationFailed, match="out_of_budget") as caught:
            await organism.ask(Ask("x"), to="ping")
        assert caught.value.outcome.state is ConversationState.OUT_OF_BUDGET


# -- of a call --------------------------------------------------------------------------------
async def test_a_calls_budget_is_its_own_and_the_next_call_has_the_organisms() -> None:
    async with open_audited(down(), budgets=Budgets(hops=3)) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Ask("5"), to="down")
        assert await organism.ask(Ask("5"), to="down", budgets=Budgets(hops=9)) == Reply("1")
        with pytest.raises(ConversationFailed):
            await organism.ask(Ask("5"), to="down")


async def test_what_a_calls_budget_leaves_out_is_the_organisms() -> None:
    async with open_audited(down(), budgets=Budgets(depth=4)) as organism:
        with pytest.raises(ConversationFailed, match="depth"):
            await organism.ask(Ask("5"), to="down", budgets=Budgets(hops=100))
