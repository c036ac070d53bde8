"""The front door: ask, send, inject, wait, wait_idle, kill, shutdown, report, statistics."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from phloem.config import OrganismConfig
from phloem.errors import (
    ContractError,
    ConversationFailed,
    OrganismClosed,
    OutcomeForgotten,
    SenderRefused,
)
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Outcome, Receipt
from phloem.organism import Organism, open_organism
from support.auditing import assert_nothing_is_left, report_of, running, still_answers
from support.listeners import BACK, HANG, ONE, SENDERS, SLOW, Ask, Reply, answer, listener
from support.wire import message


# -- sending and waiting ----------------------------------------------------------------------
async def test_send_returns_before_and_wait_at_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async with running(SLOW) as organism:
        receipt = await organism.send(Ask("x"), to="slow")
        assert trio.current_time() == 0
        outcome = await organism.wait(receipt)
        assert trio.current_time() == 5
        assert outcome == Outcome(receipt.conversation, ConversationState.COMPLETED, payloads=(Reply("x"),))
        assert await organism.wait(receipt) is outcome


async def test_any_number_of_tasks_may_wait_for_one_outcome(autojump_clock: trio.testing.MockClock) -> None:
    told: list[Outcome] = []

    async def wait(organism: Organism, receipt: Receipt) -> None:
        told.append(await organism.wait(receipt))

    async with running(SLOW) as organism:
        receipt = await organism.send(Ask("x"), to="slow")
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(wait, organism, receipt)
    assert len(told) == 10
    assert len(set(map(id, told))) == 1


async def test_a_document_is_injected_as_bytes_or_text_bare_or_in_an_envelope() -> None:
    bare = "<Ask><Text>x</Text></Ask>"
    enveloped = message('<Ask xmlns=""><Text>x</Text></Ask>', meta="<from>x</from><to>back</to>")
    async with running(BACK) as organism:
        for document in (bare, bare.encode(), enveloped, enveloped.encode()):
            outcome = await organism.wait(await organism.inject(document))
            assert outcome.payloads == (Reply("x"),)


async def test_a_class_that_cannot_be_a_payload_is_the_callers_fault() -> None:
    async with running(BACK) as organism:
        for payload in (object(), "text", {"a": 1}, None):
            with pytest.raises(ContractError):
                await organism.ask(payload, to="back")
            with pytest.raises(ContractError):
                await organism.send(payload, to="back")
        assert report_of(organism).accepted == 0
        assert organism.statistics()["seats"]["free"] == 1_000
        await still_answers(organism)


async def test_outcomes_older_than_the_newest_are_forgotten() -> None:
    async with running(BACK, keep_outcomes=3) as organism:
        receipts = [await organism.send(Ask(str(n)), to="back") for n in range(5)]
        await organism.wait_idle()
        kept = 0
        for receipt in receipts:
            try:
                assert (await organism.wait(receipt)).conversation == receipt.conversation
                kept += 1
            except OutcomeForgotten:
                with pytest.raises(OutcomeForgotten, match="keep_outcomes"):
                    await organism.wait(receipt)
        assert kept == 3


async def test_who_already_waits_is_told_even_if_the_outcome_is_not_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    told: list[str] = []

    async def wait(organism: Organism, receipt: Receipt) -> None:
        (payload,) = (await organism.wait(receipt)).payloads
        told.append(payload.text)

    async with (
        running(SLOW, keep_outcomes=1) as organism,
        trio.open_nursery() as nursery,
    ):
        for n in range(5):
            nursery.start_soon(wait, organism, await organism.send(Ask(str(n)), to="slow"))
    assert sorted(told) == ["0", "1", "2", "3", "4"]


async def test_a_receipt_that_was_never_given_out_is_forgotten_too() -> None:
    async with running(BACK) as organism:
        for receipt in (Receipt("nobody", "nothing"), Receipt("nobody", "nothing", 7)):
            with pytest.raises(OutcomeForgotten):
                await organism.wait(receipt)


async def test_wait_idle_returns_at_once_when_nothing_is_in_flight_and_else_when_all_is_done(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running(SLOW) as organism:
        await organism.wait_idle()
        assert trio.current_time() == 0
        for _ in range(3):
            await organism.send(Ask("x"), to="slow")
            await trio.sleep(1)
        await organism.wait_idle()
        assert trio.current_time() == 7
        assert report_of(organism).handled == 3


async def test_wait_idle_never_returns_between_a_message_and_its_follow_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def go(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse | None:
        left = int(payload.text)
        return HandlerResponse(Ask(str(left - 1)), to="go") if left else None

    async with running(listener("go", Ask, go)) as organism:
        for _ in range(20):
            receipt = await organism.send(Ask("20"), to="go")
            await organism.wait_idle()
            assert organism.report.in_flight == 0
            assert organism._pump.core.outcome(receipt) is not None


# -- killing ----------------------------------------------------------------------------------
async def test_kill_returns_when_the_last_handler_has_left(autojump_clock: trio.testing.MockClock) -> None:
    left: list[float] = []

    async def tidy(payload: Ask, metadata: HandlerMetadata) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            left.append(trio.current_time())

    async with running(listener("tidy", Ask, tidy), SLOW) as organism:
        other = await organism.send(Ask("other"), to="slow")
        receipt = await organism.send(Ask("x"), to="tidy")
        await trio.sleep(1)
        assert await organism.kill(receipt.conversation)
        assert left == [3]
        outcome = await organism.wait(receipt)
        assert outcome.state is ConversationState.CANCELLED
        assert outcome.cause is not None
        assert outcome.cause.reason == "killed"
        assert not await organism.kill(receipt.conversation)
        assert (await organism.wait(other)).state is ConversationState.COMPLETED
        assert organism.statistics()["messages"]["abandoned_by"] == {"killed": 1}


async def test_killing_what_is_not_live_kills_nothing() -> None:
    async with running(BACK) as organism:
        assert not await organism.kill("nobody")
        receipt = await organism.send(Ask("x"), to="back")
        await organism.wait(receipt)
        assert not await organism.kill(receipt.conversation)
        assert (await organism.wait(receipt)).state is ConversationState.COMPLETED


async def test_a_handler_that_kills_its_own_conversation_is_cancelled_and_no_other() -> None:
    after: list[str] = []

    async def suicide(payload: Ask, metadata: HandlerMetadata) -> None:
        await organism.kill(metadata.conversation)
        await trio.lowlevel.checkpoint()
        after.append("alive")

    async with running(listener("suicide", Ask, suicide), BACK) as organism:
        receipt = await organism.send(Ask("x"), to="suicide")
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
        await still_answers(organism)
    assert after == []


async def test_a_handler_may_kill_another_conversation(autojump_clock: trio.testing.MockClock) -> None:
    async def killer(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Reply(str(await organism.kill(payload.text))))

    async with running(listener("killer", Ask, killer), HANG) as organism:
        receipt = await organism.send(Ask("x"), to="hang")
        assert await organism.ask(Ask(receipt.conversation), to="killer") == Reply("True")
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED


# -- shutting down ----------------------------------------------------------------------------


async def test_a_closed_organism_takes_nothing_and_still_tells_what_it_knows(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running(BACK) as organism:
        receipt = await organism.send(Ask("x"), to="back")
        report = await organism.shutdown()
        for send in SENDERS.values():
            with pytest.raises(OrganismClosed):
                await send(organism)
        with pytest.raises(OrganismClosed):
            async with organism.open_conversation():
                pytest.fail("opened")
        assert (await organism.wait(receipt)).payloads == (Reply("x"),)
        await organism.wait_idle()
        assert not await organism.kill(receipt.conversation)
        assert await organism.shutdown() == report == organism.report
    assert organism.report == report


async def test_strangers_who_wait_for_a_seat_are_told_that_it_closes() -> None:
    told: list[str] = []

    async def wait(organism: Organism) -> None:
        with pytest.raises(OrganismClosed):
            await organism.send(Ask("x"), to="hang")
        told.append("closed")

    async with running(HANG, max_in_flight=1) as organism:
        await organism.send(Ask("x"), to="hang")
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait, organism)
            await trio.testing.wait_all_tasks_blocked()
            assert organism.statistics()["seats"]["waiting"] == 3
            await organism.shutdown(0)
    assert told == ["closed"] * 3
    assert report_of(organism).accepted == 1


async def test_a_drain_lets_follow_ups_and_retries_finish(autojump_clock: trio.testing.MockClock) -> None:
    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Reply):
            return HandlerResponse.respond(payload)
        return HandlerResponse(payload, to="flaky")

    async def flaky(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(1)
        if metadata.attempt == 1:
            raise ValueError("x")
        return HandlerResponse(payload, to="slow")

    async def sink(payload: Ask, metadata: HandlerMetadata) -> None:
        await trio.sleep(1)

    async with running(
        listener("front", [Ask, Reply], front),
        listener("flaky", Ask, flaky, retries=1),
        listener("slow", Ask, sink),
        shutdown_grace=60,
    ) as organism:
        await organism.send(Ask("x"), to="front")
    assert report_of(organism).handled == report_of(organism).accepted == 3
    assert trio.current_time() < 10


async def test_the_report_lists_what_shutdown_abandoned_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running(ONE, BACK) as organism:
        killed = await organism.send(Ask("killed"), to="one")
        await organism.send(Ask("running"), to="one")
        await organism.send(Ask("queued"), to="one")
        await organism.kill(killed.conversation)
        await trio.sleep(1)
        report = await organism.shutdown(grace=1)
        assert report.abandoned == 3
        rows = sorted((row.state, row.listener, row.payload) for row in report.abandoned_messages)
        assert rows == [("queued", "one", "Ask"), ("running", "one", "Ask")]
        assert organism.statistics()["messages"]["abandoned_by"] == {"killed": 1, "shutdown": 2}


async def test_cancelled_from_outside_it_drains_nothing_and_the_report_can_be_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    organisms: list[Organism] = []
    with trio.move_on_after(1) as scope:
        async with open_organism(OrganismConfig("o", [ONE])) as opened:
            organisms.append(opened)
            for _ in range(3):
                await opened.send(Ask("x"), to="one")
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == 1
    (organism,) = organisms
    assert_nothing_is_left(organism)
    assert organism.report.abandoned == len(organism.report.abandoned_messages) == 3


async def test_an_ask_of_another_task_is_told_of_the_drain(autojump_clock: trio.testing.MockClock) -> None:
    states: list[ConversationState] = []

    async def ask(organism: Organism) -> None:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Ask("x"), to="hang")
        states.append(caught.value.outcome.state)

    async with running(HANG) as organism, trio.open_nursery() as nursery:
        nursery.start_soon(ask, organism)
        await trio.sleep(1)
        await organism.shutdown(grace=2)
    assert states == [ConversationState.DRAINED]


async def test_nobody_speaks_under_the_ledgers_name_of_a_twin() -> None:
    twins = [listener("twin", Ask, answer, broadcast=True) for _ in range(2)]
    async with running(*twins) as organism:
        for sender in ("twin", "TWIN", "twin#2"):
            with pytest.raises(SenderRefused):
                await organism.send(Ask("x"), to="twin", sender=sender)
        assert report_of(organism).accepted == 0
