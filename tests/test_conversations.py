"""`open_conversation`: several turns with one memory, one seat, and an end of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import (
    ConversationFailed,
    MessageRejected,
    NoResponse,
    OrganismClosed,
    OutcomeForgotten,
    SenderRefused,
)
from phloem.messages import SYSTEM, ConversationState, HandlerMetadata, HandlerResponse, Outcome, Receipt
from phloem.organism import Organism, open_organism
from phloem.pump.conversing import Conversation
from support.auditing import assert_nothing_is_left, report_of
from support.listeners import BACK, HANG, SLOW, Ask, Reply, fall, hang, listener
from support.shop import Order
from support.wire import message

FALL = listener("fall", Ask, fall)


class Recorder:
    """Remembers how conversations ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def conversation_ended(self, conversation: Any, outcome: Outcome) -> None:
        if conversation.sender != SYSTEM:  # Boot's is not one of ours
            self.outcomes.append(outcome)

    def unseen(self, *_: Any, **__: Any) -> None: ...

    conversation_started = dispatched = ended = refused = buried = raised = unseen
    call_started = call_ended = budget_warning = repeating = unseen
    unread = broke = step_raised = unseen
    retrying = claim_ignored = mended = waiting = overslept = held_up = phase = unseen


@asynccontextmanager
async def running(
    *listeners: ListenerConfig, observer: Recorder | None = None, **settings: Any
) -> AsyncIterator[Organism]:
    """An organism whose books must close and whose seats must all come back."""
    async with open_organism(
        OrganismConfig("turns", listeners, **settings), observer=observer or Recorder()
    ) as organism:
        yield organism
        await organism.wait_idle()
        assert organism._pump.slots.borrowed() == 0
        assert organism.threads == ()
        if not organism._pump.intake.closed:
            assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight
    assert_nothing_is_left(organism)


# -- memory -----------------------------------------------------------------------------------
async def test_turns_share_the_conversation_the_root_and_the_listeners_thread() -> None:
    seen: list[HandlerMetadata] = []

    async def note(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append(metadata)
        return HandlerResponse.respond(Reply(payload.text))

    async with running(listener("note", Ask, note), BACK) as organism:
        async with organism.open_conversation(sender="console") as conversation:
            assert await conversation.ask(Ask("one"), to="note") == Reply("one")
            assert await conversation.ask(Ask("two"), to="note") == Reply("two")
            first = await conversation.send(Ask("three"), to="back")
            assert (first.conversation, first.turn) == (conversation.id, 3)
            assert (await organism.wait(first)).payloads == (Reply("three"),)
            assert [thread.chain for thread in organism.threads] == [
                ("console",),
                ("console", "note"),
                ("console", "back"),
            ]
        assert report_of(organism).handled == 3
    assert {metadata.conversation for metadata in seen} == {conversation.id}
    assert len({metadata.thread_id for metadata in seen}) == 1
    assert len({metadata.message_id for metadata in seen}) == 2
    assert {metadata.from_id for metadata in seen} == {"console"}


async def test_a_document_is_a_turn_too() -> None:
    async with running(BACK) as organism, organism.open_conversation() as conversation:
        asks = [f'<Ask xmlns=""><Text>{text}</Text></Ask>' for text in "ab"]
        document = message(*asks, meta="<from>x</from><to>back</to>")
        receipt = await conversation.inject(document)
        outcome = await organism.wait(receipt)
        # one child per listener addressed: its first respond ends what is queued on it for this turn
        assert outcome.payloads == (Reply("a"),)
        assert outcome.state is ConversationState.COMPLETED
        assert organism.statistics()["messages"]["abandoned_by"] == {"pruned": 1}


@pytest.mark.parametrize("scheduling", ["breadth-first", "depth-first"])
async def test_a_threads_messages_are_handled_in_the_order_they_were_sent(scheduling: str) -> None:
    log: list[str] = []

    async def note(payload: Ask, metadata: HandlerMetadata) -> None:
        log.append(payload.text)

    asks = [f'<Ask xmlns=""><Text>{text}</Text></Ask>' for text in "abc"]
    document = message(*asks, meta="<from>x</from><to>note</to>")
    async with (
        running(listener("note", Ask, note), thread_scheduling=scheduling) as organism,
        organism.open_conversation() as conversation,
    ):
        await conversation.inject(document)
        await conversation.send(Ask("d"), to="note")
    assert log == ["a", "b", "c", "d"]


async def test_turns_run_side_by_side_but_never_on_one_thread(
    autojump_clock: trio.testing.MockClock,
) -> None:
    now: dict[str, int] = {}

    def slow(name: str) -> ListenerConfig:
        async def work(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
            now[name] = now.get(name, 0) + 1
            assert now[name] == 1
            await trio.sleep(1)
            now[name] -= 1
            return HandlerResponse.respond(Reply(payload.text))

        return listener(name, Ask, work)

    async with (
        running(slow("a"), slow("b")) as organism,
        organism.open_conversation() as conversation,
    ):
        receipts = [
            await conversation.send(Ask(f"{name}{n}"), to=name) for n in range(3) for name in ("a", "b")
        ]
        outcomes = [await organism.wait(receipt) for receipt in receipts]
        assert trio.current_time() == 3
    assert [outcome.payloads[0].text for outcome in outcomes] == ["a0", "b0", "a1", "b1", "a2", "b2"]


async def test_a_respond_to_the_root_ends_its_own_turns_subtree_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    done: list[str] = []

    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Reply):
            done.append(payload.text)
            return HandlerResponse.respond(payload)
        if payload.text == "at once":
            return HandlerResponse.respond(Reply("at once"))
        return HandlerResponse(payload, to="slow")

    async with (
        running(listener("front", [Ask, Reply], front), SLOW) as organism,
        organism.open_conversation() as conversation,
    ):
        first = await conversation.send(Ask("first"), to="front")
        await trio.sleep(1)
        assert await conversation.ask(Ask("at once"), to="front") == Reply("at once")
        assert trio.current_time() == 1
        assert [thread.chain[1:] for thread in organism.threads] == [(), ("front",), ("front", "slow")]
        assert (await organism.wait(first)).payloads == (Reply("first"),)
        assert trio.current_time() == 5
    assert done == ["first"]


async def test_a_turn_ends_when_nothing_of_it_is_in_flight(autojump_clock: trio.testing.MockClock) -> None:
    async def front(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(payload, to="slow")

    async def slow(payload: Ask, metadata: HandlerMetadata) -> None:
        await trio.sleep(3)

    async with (
        running(listener("front", Ask, front), listener("slow", Ask, slow)) as organism,
        organism.open_conversation() as conversation,
    ):
        with pytest.raises(NoResponse):
            await conversation.ask(Ask("x"), to="front")
        assert trio.current_time() == 3


# -- how a block ends -------------------------------------------------------------------------
async def test_a_block_ends_as_one_event_completed() -> None:
    recorder = Recorder()
    async with running(BACK, observer=recorder) as organism:
        async with organism.open_conversation() as conversation:
            for _ in range(3):
                await conversation.ask(Ask("x"), to="back")
            assert recorder.outcomes == []
        (outcome,) = recorder.outcomes
        assert (outcome.conversation, outcome.state) == (conversation.id, ConversationState.COMPLETED)
        assert organism.statistics()["conversations"]["completed"] == 2  # Boot's as well


async def test_a_block_with_a_failed_turn_goes_on_and_ends_failed() -> None:
    recorder = Recorder()
    async with running(BACK, FALL, observer=recorder) as organism:
        async with organism.open_conversation() as conversation:
            with pytest.raises(ConversationFailed):
                await conversation.ask(Ask("x"), to="fall")
            assert await conversation.ask(Ask("y"), to="back") == Reply("y")
            assert await conversation.ask(Ask("y"), to="back") == Reply("y")
        (outcome,) = recorder.outcomes
        assert outcome.state is ConversationState.FAILED
        assert outcome.cause is not None
        assert outcome.cause.exception == "ValueError"


async def test_a_rejected_turn_fails_nobody() -> None:
    recorder = Recorder()
    async with running(listener("shop", Order, hang), BACK, observer=recorder) as organism:
        async with organism.open_conversation() as conversation:
            with pytest.raises(MessageRejected):
                await conversation.ask(Order(0), to="shop")
            assert await conversation.ask(Ask("y"), to="back") == Reply("y")
        assert [outcome.state for outcome in recorder.outcomes] == [ConversationState.COMPLETED]
        assert organism.report.rejected == 1


async def test_a_block_without_a_turn_completes() -> None:
    recorder = Recorder()
    async with running(BACK, observer=recorder) as organism:
        async with organism.open_conversation():
            assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight - 1
        assert [outcome.state for outcome in recorder.outcomes] == [ConversationState.COMPLETED]
        assert report_of(organism).accepted == 0


async def test_a_block_left_normally_waits_for_its_turns(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(payload: Ask, metadata: HandlerMetadata) -> None:
        await trio.sleep(4)

    async with running(listener("slow", Ask, slow)) as organism:
        async with organism.open_conversation() as conversation:
            await conversation.send(Ask("x"), to="slow")
        assert trio.current_time() == 4
        assert report_of(organism).handled == 1


async def test_a_block_left_by_an_error_kills_its_turns(autojump_clock: trio.testing.MockClock) -> None:
    recorder = Recorder()
    async with running(HANG, observer=recorder) as organism:
        receipts: list[Receipt] = []

        async def leave_by_an_error() -> None:
            async with organism.open_conversation() as conversation:
                receipts.append(await conversation.send(Ask("x"), to="hang"))
                await trio.sleep(1)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await leave_by_an_error()
        (receipt,) = receipts
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
        assert [outcome.state for outcome in recorder.outcomes] == [ConversationState.CANCELLED]
        assert organism.report.abandoned == 1


async def test_after_its_block_a_conversation_takes_no_more() -> None:
    async with running(BACK) as organism:
        async with organism.open_conversation() as conversation:
            await conversation.ask(Ask("x"), to="back")
        for call in (conversation.ask, conversation.send):
            with pytest.raises(OrganismClosed):
                await call(Ask("x"), to="back")
        with pytest.raises(OrganismClosed):
            await conversation.inject("<Ask><Text>x</Text></Ask>")
        assert report_of(organism).accepted == 1


async def test_outcomes_of_turns_are_kept_one_by_one_and_forgotten_as_any_other() -> None:
    async with running(BACK, keep_outcomes=2) as organism, organism.open_conversation() as conversation:
        receipts = []
        for n in range(3):
            receipts.append(await conversation.send(Ask(str(n)), to="back"))
            await organism.wait(receipts[-1])
        with pytest.raises(OutcomeForgotten):
            await organism.wait(receipts[0])
        assert (await organism.wait(receipts[1])).payloads == (Reply("1"),)
        assert (await organism.wait(receipts[2])).payloads == (Reply("2"),)


# -- seats ------------------------------------------------------------------------------------
async def test_a_block_holds_one_seat_however_many_turns_it_has() -> None:
    async with (
        running(HANG, max_in_flight=1, shutdown_grace=0) as organism,
        organism.open_conversation() as conversation,
    ):
        receipts = [await conversation.send(Ask("x"), to="hang") for _ in range(5)]
        assert {receipt.conversation for receipt in receipts} == {conversation.id}
        assert organism.statistics()["seats"] == {"free": 0, "waiting": 0}
        await organism.kill(conversation.id)


async def test_a_block_waits_for_its_seat_and_cancelled_meanwhile_opened_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    recorder = Recorder()
    opened: list[Conversation] = []
    async with running(HANG, BACK, observer=recorder, max_in_flight=1) as organism:
        receipt = await organism.send(Ask("x"), to="hang")
        with trio.move_on_after(1) as scope:
            async with organism.open_conversation() as conversation:
                opened.append(conversation)
        assert scope.cancelled_caught
        assert opened == []
        await organism.kill(receipt.conversation)
        async with organism.open_conversation() as conversation:
            assert await conversation.ask(Ask("x"), to="back") == Reply("x")
    assert len(recorder.outcomes) == 2


@pytest.mark.parametrize("sender", ["back", "BACK", "system", ""])
async def test_nobody_opens_a_block_under_a_name_that_is_not_his(sender: str) -> None:
    async with running(BACK) as organism:
        with pytest.raises(SenderRefused):
            async with organism.open_conversation(sender):
                pytest.fail("opened")
        assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight
