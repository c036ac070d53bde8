"""What callers, senders and handlers cannot do to an organism, its memory or its log."""

from __future__ import annotations

import gc
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, ListenerConfig, OrganismConfig
from phloem.errors import ConfigurationError, ConversationFailed, MessageRejected
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import Organism, open_organism
from phloem.pump.conversation import Delivery
from support.auditing import open_audited, report_of
from support.listeners import BACK, HANG, Ask, Reply, listener


@pytest.mark.parametrize("seconds", [-0.5, 0.0])
async def test_a_call_whose_time_is_over_times_out_and_nobody_else_notices(
    autojump_clock: trio.testing.MockClock, seconds: float
) -> None:
    async with open_audited(HANG, BACK) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Ask("x"), to="hang", budgets=Budgets(seconds=seconds))
        assert caught.value.outcome.state is ConversationState.TIMED_OUT
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


@pytest.mark.parametrize(
    "budgets",
    [
        Budgets(messages="3"),  # type: ignore[arg-type] # what is tested
        Budgets(hops=0),
        Budgets(depth=True),
        Budgets(seconds=math.nan),
        Budgets(seconds="1"),  # type: ignore[arg-type] # what is tested
        Budgets(tokens=0),
        Budgets(tokens=1.5),
        Budgets(tokens=True),
        Budgets(tokens=math.nan),
        Budgets(tokens="many"),  # type: ignore[arg-type] # what is tested
        Budgets(cost=0),
        Budgets(cost=-0.5),
        Budgets(cost=math.nan),
        Budgets(cost=True),
        Budgets(repeats=0),
        Budgets(repeats=2.5),
        Budgets(on_short="wait"),
        Budgets(on_short=True),  # type: ignore[arg-type] # what is tested
    ],
)
async def test_budgets_that_are_none_are_refused_before_a_seat_is_taken(budgets: Budgets) -> None:
    async with open_audited(BACK, max_in_flight=1) as organism:
        for call in (organism.ask, organism.send):
            with pytest.raises(ConfigurationError, match="budgets"):
                await call(Ask("x"), to="back", budgets=budgets)
        async with organism.open_conversation() as conversation:
            with pytest.raises(ConfigurationError, match="budgets"):
                await conversation.ask(Ask("x"), to="back", budgets=budgets)
        with pytest.raises(ConfigurationError, match="budgets"):
            async with organism.open_conversation(budgets=budgets):
                pytest.fail("not reached")
        assert organism.statistics()["seats"]["free"] == 1
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


@pytest.mark.parametrize("grace", [math.nan, -1.0])
async def test_a_grace_that_is_none_is_refused_and_stops_nothing(grace: float) -> None:
    async with open_audited(BACK) as organism:
        with pytest.raises(ConfigurationError, match="grace"):
            await organism.shutdown(grace)
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


async def test_a_handler_that_leaves_a_scope_open_ends_neither_the_pump_nor_the_next_dispatch() -> None:
    kept: list[Any] = []

    async def numbers() -> AsyncIterator[int]:
        with trio.CancelScope():
            yield 1  # noqa: ASYNC101, ASYNC119 - the slip that is meant
            yield 2  # noqa: ASYNC101, ASYNC119 - the slip that is meant

    async def leaves(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        generator = numbers()
        kept.append(generator)
        async for number in generator:
            return HandlerResponse.respond(Reply(str(number)))
        raise AssertionError("not reached")

    async with open_audited(listener("leaves", Ask, leaves), BACK) as organism:
        for _ in range(3):
            assert await organism.ask(Ask("x"), to="leaves") == Reply("1")
            assert await organism.ask(Ask("x"), to="back") == Reply("x")


async def test_a_chain_of_conversations_that_handlers_begin_keeps_none_of_those_before() -> None:
    ends: list[int] = []
    opened: list[Organism] = []

    async def begins(payload: Ask, metadata: HandlerMetadata) -> None:
        left = int(payload.text)
        if left:
            await opened[0].send(Ask(str(left - 1)), to="begins")
        else:
            gc.collect()
            ends.append(sum(isinstance(each, Delivery) for each in gc.get_objects()))

    async with open_organism(
        OrganismConfig(listeners=[listener("begins", Ask, begins)], keep_outcomes=1)
    ) as organism:
        opened.append(organism)
        await organism.send(Ask("300"), to="begins")
        await organism.wait_idle()
    assert ends[0] < 10


async def test_a_handler_may_inject_a_long_document_though_it_holds_the_only_slot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    opened: list[Organism] = []

    async def injects(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await opened[0].inject(f"<Reply><Text>{'x' * 70_000}</Text></Reply>")
        return HandlerResponse.respond(Reply("done"))

    async def takes(payload: Reply, metadata: HandlerMetadata) -> None:
        assert len(payload.text) == 70_000

    listeners = [listener("injects", Ask, injects, handler_timeout=5), listener("takes", Reply, takes)]
    async with open_audited(*listeners, max_concurrent_pipelines=1) as organism:
        opened.append(organism)
        assert await organism.ask(Ask("x"), to="injects") == Reply("done")
        await organism.wait_idle()
    assert report_of(organism).failed == 0


@pytest.mark.parametrize("xml", ['<x xmlns="foo"/>', '<Ask xmlns:q="foo"><Text>a</Text></Ask>'])
async def test_an_element_without_a_canonical_form_is_its_senders_fault(xml: str) -> None:
    async def answers(payload: Ask, metadata: HandlerMetadata) -> bytes:
        return xml.encode()

    async with open_audited(listener("answers", Ask, answers), BACK) as organism:
        with pytest.raises(MessageRejected):
            await organism.inject(xml)
        outcome = await organism.wait(await organism.send(Ask("x"), to="answers"))
        assert outcome.state is ConversationState.FAILED
        assert outcome.rejections or outcome.dead_letters


async def test_long_names_are_quoted_in_part_wherever_they_are_told() -> None:
    long = "x" * 1_000_000

    async def shouts(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Reply("x"), to=long)

    async def many(payload: Ask, metadata: HandlerMetadata) -> bytes:
        return b"<Ask>" + b"<No/>" * 9_000 + b"</Ask>"

    async with open_audited(listener("shouts", Ask, shouts), listener("many", Ask, many), BACK) as organism:
        for to in ("shouts", "many"):
            outcome = await organism.wait(await organism.send(Ask("x"), to=to))
            assert outcome.cause is not None
            told = [outcome.cause.text, *(part for huh in outcome.rejections for part in vars(huh).values())]
            told += [part for each in outcome.dead_letters for part in (each.to_listener, each.cause.text)]
            assert all(len(str(part)) < 3_000 for part in told)
        with pytest.raises(MessageRejected) as caught:
            await organism.send(Ask("x"), to=long)
        assert len(str(caught.value)) < 1_000


async def test_a_listeners_own_budget_of_messages_counts_what_it_is_told() -> None:
    async def errs(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Ask("x"), to="nobody")

    agent = ListenerConfig("errs", [Ask, Huh, SystemError], errs, budgets=Budgets(messages=3))
    async with open_audited(agent, max_attempts=50) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="errs"))
    assert outcome.state is ConversationState.OUT_OF_BUDGET
    assert report_of(organism).handled == 3


async def test_kept_outcomes_are_bounded_by_what_they_hold_and_asked_ones_are_not_kept() -> None:
    async with open_audited(BACK, keep_outcome_bytes=10_000) as organism:
        for _ in range(20):
            await organism.wait(await organism.send(Ask("x" * 1_000), to="back"))
        kept = organism._pump.core._outcomes
        assert 5 <= len(kept) <= 10
        before = list(kept)
        await organism.ask(Ask("x"), to="back")
        assert list(kept) == before


async def test_what_was_mended_in_a_handlers_bytes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def writes(payload: Ask, metadata: HandlerMetadata) -> bytes:
        return b"Here it is:\n```xml\n<Reply><Text>a & b</Text></Reply>\n```"

    heard: list[str] = []

    async def hears(payload: Reply, metadata: HandlerMetadata) -> None:
        heard.append(payload.text)

    caplog.set_level("INFO", "phloem")
    listeners = [listener("writes", Ask, writes), listener("hears", Reply, hears)]
    async with open_organism(OrganismConfig(listeners=listeners)) as organism:
        await organism.wait(await organism.send(Ask("x"), to="writes"))
    assert heard == ["a & b"]
    assert any("mended in a document of writes" in record.message for record in caplog.records)


async def test_statistics_count_what_waits_in_a_threads_own_line(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_audited(HANG) as organism, organism.open_conversation() as conversation:
        for _ in range(5):
            await conversation.send(Ask("x"), to="hang")
        await trio.sleep(1)
        statistics = organism.statistics()
        assert (statistics["queued"], statistics["listeners"]["hang"]["running"]) == (4, 1)
        await organism.kill(conversation.id)
