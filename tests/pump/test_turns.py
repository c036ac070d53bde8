"""Turns of an open conversation: how they are cut, what they may spend, cancelled while blocked."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, ListenerConfig
from phloem.errors import (
    ConversationFailed,
    OrganismClosed,
)
from phloem.messages import Cause, ConversationState, HandlerMetadata, HandlerResponse, Huh, Outcome
from phloem.pump.conversing import Conversation
from support.auditing import open_audited, report_of
from support.listeners import BACK, HANG, SLOW, Ask, Reply, hang, listener, slow
from support.shop import Order


# -- cuts -------------------------------------------------------------------------------------
async def test_cancelling_an_ask_cuts_its_turn_only(autojump_clock: trio.testing.MockClock) -> None:

    async with open_audited(HANG, SLOW) as organism:
        async with organism.open_conversation() as conversation:
            other = await conversation.send(Ask("other"), to="slow")
            with trio.move_on_after(1) as scope:
                await conversation.ask(Ask("x"), to="hang")
            assert scope.cancelled_caught
            assert (await organism.wait(other)).payloads == (Reply("other"),)
            assert await conversation.ask(Ask("again"), to="slow") == Reply("again")
        assert (report_of(organism).handled, report_of(organism).abandoned) == (2, 1)


async def test_cancelling_a_queued_ask_leaves_nothing_in_its_threads_line(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen: list[str] = []

    async def slow(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append(payload.text)
        await trio.sleep(5)
        return HandlerResponse.respond(Reply(payload.text))

    async with (
        open_audited(listener("slow", Ask, slow)) as organism,
        organism.open_conversation() as conversation,
    ):
        await conversation.send(Ask("first"), to="slow")
        with trio.move_on_after(1):
            await conversation.ask(Ask("impatient"), to="slow")
        assert await conversation.ask(Ask("second"), to="slow") == Reply("second")
        assert trio.current_time() == 10
    assert seen == ["first", "second"]


async def test_cancelling_a_queued_ask_lets_the_next_turn_on_its_thread_come_forward(
    autojump_clock: trio.testing.MockClock,
) -> None:

    async def impatient(conversation: Conversation) -> None:
        with trio.move_on_after(1) as scope:
            await conversation.ask(Ask("first"), to="slow")
        assert scope.cancelled_caught

    async with open_audited(listener("slow", Ask, slow, max_concurrent=1)) as organism:
        await organism.send(Ask("keeps it busy"), to="slow")
        async with organism.open_conversation() as conversation, trio.open_nursery() as nursery:
            nursery.start_soon(impatient, conversation)
            await trio.testing.wait_all_tasks_blocked()
            await conversation.send(Ask("next"), to="slow")
        assert trio.current_time() == 10
        assert (report_of(organism).handled, report_of(organism).abandoned) == (2, 1)


async def test_a_killed_block_ends_its_turns_and_refuses_later_ones(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outcomes: list[Outcome] = []
    async with open_audited(HANG, BACK, outcomes=outcomes) as organism:
        async with organism.open_conversation() as conversation:
            receipt = await conversation.send(Ask("x"), to="hang")
            assert await organism.kill(conversation.id)
            assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
            assert outcomes == [], "it ends when its block is left"
            for call in (conversation.ask, conversation.send):
                with pytest.raises(ConversationFailed) as caught:
                    await call(Ask("x"), to="back")
                assert caught.value.outcome.state is ConversationState.CANCELLED
            assert report_of(organism).accepted == 1
        assert [outcome.state for outcome in outcomes] == [ConversationState.CANCELLED]


async def test_a_turn_that_its_caller_cancelled_does_not_make_the_block_fail(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outcomes: list[Outcome] = []
    async with open_audited(HANG, BACK, outcomes=outcomes) as organism:
        async with organism.open_conversation() as conversation:
            with trio.move_on_after(1):
                await conversation.ask(Ask("x"), to="hang")
            await conversation.ask(Ask("x"), to="back")
        assert [outcome.state for outcome in outcomes] == [ConversationState.COMPLETED]


async def test_an_idle_block_that_is_killed_takes_no_more() -> None:
    outcomes: list[Outcome] = []
    async with open_audited(BACK, outcomes=outcomes) as organism:
        async with organism.open_conversation() as conversation:
            assert await organism.kill(conversation.id)
            with pytest.raises(ConversationFailed):
                await conversation.ask(Ask("x"), to="back")
        assert [outcome.state for outcome in outcomes] == [ConversationState.CANCELLED]
        assert not await organism.kill(conversation.id)


async def test_an_open_idle_block_does_not_hold_up_a_drain(autojump_clock: trio.testing.MockClock) -> None:
    outcomes: list[Outcome] = []
    async with (
        open_audited(BACK, outcomes=outcomes) as organism,
        organism.open_conversation() as conversation,
    ):
        await conversation.ask(Ask("x"), to="back")
        await organism.wait_idle()
        await organism.shutdown(grace=100)
        assert trio.current_time() == 0
        with pytest.raises(OrganismClosed):
            await conversation.ask(Ask("x"), to="back")
    assert [outcome.state for outcome in outcomes] == [ConversationState.COMPLETED]


async def test_shutdown_drains_the_turns_of_a_block(autojump_clock: trio.testing.MockClock) -> None:
    outcomes: list[Outcome] = []
    async with (
        open_audited(HANG, outcomes=outcomes) as organism,
        organism.open_conversation() as conversation,
    ):
        receipt = await conversation.send(Ask("x"), to="hang")
        await organism.shutdown(grace=3)
        assert trio.current_time() == 3
        assert (await organism.wait(receipt)).state is ConversationState.DRAINED
    assert [outcome.state for outcome in outcomes] == [ConversationState.DRAINED]


# -- budgets ----------------------------------------------------------------------------------
def chain() -> ListenerConfig:
    async def go(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse | None:
        left = int(payload.text)
        return HandlerResponse(Ask(str(left - 1)), to="chain") if left > 1 else None

    return listener("chain", Ask, go)


async def test_messages_count_over_the_block_and_overrunning_them_ends_it() -> None:
    outcomes: list[Outcome] = []
    async with open_audited(BACK, outcomes=outcomes) as organism:
        async with organism.open_conversation(budgets=Budgets(messages=3)) as conversation:
            for _ in range(3):
                await conversation.ask(Ask("x"), to="back")
            with pytest.raises(ConversationFailed) as caught:
                await conversation.ask(Ask("x"), to="back")
            assert caught.value.outcome.state is ConversationState.OUT_OF_BUDGET
            with pytest.raises(ConversationFailed) as caught:
                await conversation.ask(Ask("x"), to="back")
            assert caught.value.outcome.state is ConversationState.OUT_OF_BUDGET
        assert [outcome.state for outcome in outcomes] == [ConversationState.OUT_OF_BUDGET]
        assert report_of(organism).handled == 3


async def test_hops_count_per_turn_and_overrunning_them_ends_the_turn() -> None:
    async with (
        open_audited(chain()) as organism,
        organism.open_conversation(budgets=Budgets(hops=4)) as conversation,
    ):
        for _ in range(3):
            receipt = await conversation.send(Ask("4"), to="chain")
            assert (await organism.wait(receipt)).state is ConversationState.COMPLETED
        receipt = await conversation.send(Ask("5"), to="chain")
        assert (await organism.wait(receipt)).state is ConversationState.OUT_OF_BUDGET
        receipt = await conversation.send(Ask("4"), to="chain")
        assert (await organism.wait(receipt)).state is ConversationState.COMPLETED


async def test_seconds_count_per_turn(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(float(payload.text))
        return HandlerResponse.respond(Reply(payload.text))

    async with (
        open_audited(listener("slow", Ask, slow)) as organism,
        organism.open_conversation(budgets=Budgets(seconds=3)) as conversation,
    ):
        for _ in range(3):
            await conversation.ask(Ask("2"), to="slow")
        with pytest.raises(ConversationFailed) as caught:
            await conversation.ask(Ask("4"), to="slow")
        assert caught.value.outcome.state is ConversationState.TIMED_OUT
        assert trio.current_time() == 9
        assert await conversation.ask(Ask("2"), to="slow") == Reply("2")


async def test_the_messages_of_a_call_count_for_its_turn() -> None:
    async with open_audited(chain()) as organism, organism.open_conversation() as conversation:
        receipt = await conversation.send(Ask("4"), to="chain", budgets=Budgets(messages=3))
        assert (await organism.wait(receipt)).state is ConversationState.OUT_OF_BUDGET
        receipt = await conversation.send(Ask("4"), to="chain", budgets=Budgets(messages=4))
        assert (await organism.wait(receipt)).state is ConversationState.COMPLETED


async def test_depth_counts_over_the_block_and_overrunning_it_ends_it() -> None:
    async with (
        open_audited(chain(), BACK) as organism,
        organism.open_conversation(budgets=Budgets(depth=3)) as conversation,
    ):
        receipt = await conversation.send(Ask("4"), to="chain")
        assert (await organism.wait(receipt)).state is ConversationState.OUT_OF_BUDGET
        with pytest.raises(ConversationFailed):
            await conversation.ask(Ask("x"), to="back")


async def test_the_depth_of_a_call_ends_its_turn_only() -> None:
    async with open_audited(chain(), BACK) as organism, organism.open_conversation() as conversation:
        receipt = await conversation.send(Ask("4"), to="chain", budgets=Budgets(depth=3))
        assert (await organism.wait(receipt)).state is ConversationState.OUT_OF_BUDGET
        assert await conversation.ask(Ask("x"), to="back") == Reply("x")


async def test_a_turn_after_spent_attempts_is_a_new_call_with_attempts_of_its_own() -> None:
    """The lasting thread stays, but the call on it ended with its attempts; a later one may err again."""
    told: list[int] = []

    async def careless(payload: Ask | Huh, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Huh):
            told.append(payload.attempts_left)
            if len(told) == 3:
                return HandlerResponse.respond(Reply("learnt"))
        return b"<Order><Amount>0</Amount></Order>"

    async with (
        open_audited(listener("careless", [Ask, Huh], careless), listener("shop", Order, hang)) as organism,
        organism.open_conversation() as conversation,
    ):
        with pytest.raises(ConversationFailed):
            await conversation.ask(Ask("x"), to="careless")
        assert told == [2, 1]
        assert await conversation.ask(Ask("x"), to="careless") == Reply("learnt")
    assert told == [2, 1, 2]


# -- cancelled while blocked ------------------------------------------------------------------
async def test_cancelling_a_wait_for_a_turn_ends_the_waiting_only(
    autojump_clock: trio.testing.MockClock,
) -> None:

    async with (
        open_audited(SLOW) as organism,
        organism.open_conversation() as conversation,
    ):
        receipt = await conversation.send(Ask("x"), to="slow")
        with trio.move_on_after(1) as scope:
            await organism.wait(receipt)
        assert scope.cancelled_caught
        assert (await organism.wait(receipt)).payloads == (Reply("x"),)


async def test_a_send_that_is_cancelled_at_once_accepted_nothing() -> None:
    async with (
        open_audited(BACK) as organism,
        organism.open_conversation() as conversation,
    ):
        with trio.CancelScope() as scope:
            scope.cancel()
            await conversation.send(Ask("x"), to="back")
        assert scope.cancelled_caught
        assert report_of(organism).accepted == 0
        receipt = await conversation.send(Ask("x"), to="back")
        assert receipt.turn == 1


async def test_cancelling_the_end_of_a_block_kills_what_it_waits_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outcomes: list[Outcome] = []
    async with open_audited(HANG, outcomes=outcomes) as organism:
        with trio.move_on_after(2) as scope:
            async with organism.open_conversation() as conversation:
                await conversation.send(Ask("x"), to="hang")
        assert scope.cancelled_caught
        await organism.wait_idle()
        assert [outcome.state for outcome in outcomes] == [ConversationState.CANCELLED]
        (outcome,) = outcomes
        assert isinstance(outcome.cause, Cause)
