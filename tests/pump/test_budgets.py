"""Budgets of messages, hops and depth: the organism's, a call's; what an overrun says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, ListenerConfig
from phloem.errors import ConversationFailed
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Huh, Outcome, SystemError
from phloem.organism import Organism

Audited = Callable[..., AbstractAsyncContextManager[Organism]]


@dataclass
class Ask:
    text: str


@dataclass
class Reply:
    text: str


@dataclass
class Number:
    text: str


class Theirs:
    """What its receiver takes for a Number."""

    @dataclass
    class Number:
        value: int


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


# -- messages ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("budget", "state"), [(5, ConversationState.COMPLETED), (4, ConversationState.OUT_OF_BUDGET)]
)
async def test_messages_are_the_deliveries_of_a_conversation(
    budget: int, state: ConversationState, audited: Audited
) -> None:
    async with audited(
        step("a", "b"), step("b", "c"), listener("c", Ask, answer), budgets=Budgets(messages=budget)
    ) as organism:  # a, b, c, and two answers
        outcome = await outcome_of(organism, Ask("x"), "a")
        assert outcome.state is state
        assert organism.report.accepted == budget


async def test_follow_ups_fit_all_or_none_and_the_cause_lists_them(audited: Audited) -> None:
    async with audited(
        fan("leaf", 10), listener("leaf", Reply, drop), budgets=Budgets(messages=10)
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "fan")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert outcome.cause is not None
        assert outcome.cause.reason == "budget"
        assert outcome.cause.listener == "fan"
        assert "10 more" in outcome.cause.text
        assert outcome.cause.text.count("leaf") == 10
        assert organism.report.accepted == organism.report.handled == 1, "none was opened"
        assert organism.statistics()["conversations"]["out_of_budget"] == 1


async def test_a_cause_stays_readable_however_many_follow_ups_it_lists(audited: Audited) -> None:
    async with audited(fan("leaf", 10_001), listener("leaf", Reply, drop)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "fan")
        assert outcome.cause is not None
        assert "10001 more" in outcome.cause.text
        assert len(outcome.cause.text) < 500


async def test_an_overrun_cuts_everything_else_of_its_conversation_and_nothing_of_another(
    audited: Audited, autojump_clock: trio.testing.MockClock
) -> None:
    async def spread(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(Reply("hang"), to="hang"), HandlerResponse(Ask("x"), to="late")]

    async def late(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        await trio.sleep(1)
        return [HandlerResponse(Reply("x"), to="hang")] * 10

    async def hang(payload: Reply, metadata: HandlerMetadata) -> None:
        await trio.sleep(5)

    async with audited(
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


async def test_a_strangers_own_fan_out_must_fit_too(audited: Audited) -> None:
    document = (
        '<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>x</from><to>leaf</to></meta>'
        + '<Reply xmlns=""><Text>x</Text></Reply>' * 4
        + "</message>"
    )
    async with audited(listener("leaf", Reply, drop), budgets=Budgets(messages=3)) as organism:
        outcome = await organism.wait(await organism.inject(document))
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert organism.report.handled == 0
        enough = await organism.inject(document, budgets=Budgets(messages=4))
        assert (await organism.wait(enough)).state is ConversationState.COMPLETED


async def test_faults_that_are_told_are_deliveries_and_count(audited: Audited) -> None:
    async def front(payload: Ask | SystemError, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return HandlerResponse(payload, to="fall")
        return HandlerResponse.respond(Reply("told"))

    async def fall(payload: Ask, metadata: HandlerMetadata) -> None:
        raise ValueError("x")

    listeners = listener("front", [Ask, SystemError], front), listener("fall", Ask, fall)
    async with audited(*listeners) as organism:
        outcome = await outcome_of(organism, Ask("x"), "front", budgets=Budgets(messages=2))
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        outcome = await outcome_of(organism, Ask("x"), "front", budgets=Budgets(messages=3))
        assert outcome.state is ConversationState.COMPLETED


@pytest.mark.parametrize("to", ["nobody", "strict"])
async def test_what_is_refused_and_the_notice_that_tells_of_it_both_count(to: str, audited: Audited) -> None:
    async def front(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Ask):
            return HandlerResponse(Number("x"), to=to)
        return HandlerResponse.respond(Reply("told"))

    listeners = listener("front", [Ask, Huh, SystemError], front), listener("strict", Theirs.Number, drop)
    async with audited(*listeners) as organism:
        outcome = await outcome_of(organism, Ask("x"), "front", budgets=Budgets(messages=2))
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        outcome = await outcome_of(organism, Ask("x"), "front", budgets=Budgets(messages=3))
        assert outcome.payloads == (Reply("told"),)


# -- hops and depth ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("hops", "state"), [(9, ConversationState.COMPLETED), (8, ConversationState.OUT_OF_BUDGET)]
)
async def test_hops_are_the_longest_causal_path(
    hops: int, state: ConversationState, audited: Audited
) -> None:
    async with audited(down()) as organism:  # five down, four up
        outcome = await outcome_of(organism, Ask("5"), "down", budgets=Budgets(hops=hops))
        assert outcome.state is state


async def test_a_wide_fan_out_is_not_a_long_path(audited: Audited) -> None:
    async with audited(
        fan("leaf", 100), listener("leaf", Reply, drop), budgets=Budgets(hops=2, depth=2)
    ) as organism:
        assert (await outcome_of(organism, Ask("x"), "fan")).state is ConversationState.COMPLETED


@pytest.mark.parametrize(
    ("depth", "state"), [(5, ConversationState.COMPLETED), (4, ConversationState.OUT_OF_BUDGET)]
)
async def test_depth_is_the_live_thread_tree(depth: int, state: ConversationState, audited: Audited) -> None:
    async with audited(down()) as organism:
        outcome = await outcome_of(organism, Ask("5"), "down", budgets=Budgets(depth=depth))
        assert outcome.state is state


async def test_answers_make_room_for_depth_again(audited: Audited) -> None:
    """A hundred calls one after the other are never deeper than two."""
    async with audited(
        listener("loop", [Ask, Reply], looping(100, "back")),
        listener("back", Ask, answer),
        budgets=Budgets(depth=2),
    ) as organism:
        assert await organism.ask(Ask("x"), to="loop") == Reply("100")
        assert organism.report.handled == 201


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


async def test_a_refusal_deepens_nothing(audited: Audited) -> None:
    """What was misrouted opened no thread: its sender is told, on the deepest thread there may be."""
    told: list[str] = []

    async def astray(payload: Ask | SystemError, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, SystemError):
            told.append(payload.code)
            return HandlerResponse.respond(Reply("told"))
        return HandlerResponse(payload, to="nobody")

    async with audited(listener("astray", [Ask, SystemError], astray), budgets=Budgets(depth=1)) as organism:
        assert await organism.ask(Ask("x"), to="astray") == Reply("told")
    assert told == ["routing"]


# -- runaways ---------------------------------------------------------------------------------
async def test_a_runaway_loop_meets_a_default_and_its_cause_names_the_cycle(audited: Audited) -> None:
    async with audited(step("in", "ping"), step("ping", "pong"), step("pong", "ping")) as organism:
        outcome = await outcome_of(organism, Ask("x"), "in")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert outcome.cause is not None
        assert "ping > pong > ping" in outcome.cause.text or "pong > ping > pong" in outcome.cause.text
        assert "in >" not in outcome.cause.text
        assert organism.report.accepted <= 1_000


async def test_a_runaway_loop_of_answers_meets_a_default_too(audited: Audited) -> None:
    async with audited(
        listener("loop", [Ask, Reply], looping(100_000, "back")), listener("back", Ask, answer)
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "loop")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert outcome.cause is not None
        assert "loop > back > loop" in outcome.cause.text or "back > loop > back" in outcome.cause.text


async def test_a_runaway_fan_out_meets_a_default(audited: Audited) -> None:
    async def double(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(payload, to="double")] * 2

    async with audited(listener("double", Ask, double)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "double")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert organism.report.accepted <= 10_000


async def test_a_conversation_without_a_cycle_names_none(audited: Audited) -> None:
    async with audited(
        step("a", "b"), step("b", "c"), listener("c", Ask, answer), budgets=Budgets(hops=2)
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "a")
        assert outcome.cause is not None
        assert "repeat" not in outcome.cause.text


async def test_ask_raises_what_ended_it(audited: Audited) -> None:
    async with audited(step("ping", "pong"), step("pong", "ping")) as organism:
        with pytest.raises(ConversationFailed, match="out_of_budget") as caught:
            await organism.ask(Ask("x"), to="ping")
        assert caught.value.outcome.state is ConversationState.OUT_OF_BUDGET


# -- of a call --------------------------------------------------------------------------------
async def test_a_calls_budget_is_its_own_and_the_next_call_has_the_organisms(audited: Audited) -> None:
    async with audited(down(), budgets=Budgets(hops=3)) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Ask("5"), to="down")
        assert await organism.ask(Ask("5"), to="down", budgets=Budgets(hops=9)) == Reply("1")
        with pytest.raises(ConversationFailed):
            await organism.ask(Ask("5"), to="down")


async def test_what_a_calls_budget_leaves_out_is_the_organisms(audited: Audited) -> None:
    async with audited(down(), budgets=Budgets(depth=4)) as organism:
        with pytest.raises(ConversationFailed, match="depth"):
            await organism.ask(Ask("5"), to="down", budgets=Budgets(hops=100))
