"""What handlers may hold on to and look at: time, other conversations, context. No more than their own."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from phloem.errors import WouldDeadlock
from phloem.messages import (
    ConversationState,
    Ending,
    HandlerMetadata,
    HandlerResponse,
    Receipt,
)
from phloem.organism import Organism, open_organism
from support.auditing import report_of
from support.listeners import Note
from support.misbehaving import failure, organism_of


@dataclass
class Answer:
    text: str


# -- holding on -------------------------------------------------------------------------------
async def test_a_handler_that_never_awaits_cannot_be_timed_out_and_is_named_by_a_warning(
    mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def bad(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        mock_clock.jump(400)  # hard work, and not one checkpoint
        return HandlerResponse.respond(payload)

    async with open_organism(organism_of(bad, handler_timeout=300)) as organism:
        assert await organism.ask(Note("x"), to="bad") == Note("x")
    assert report_of(organism).handled == 1
    assert [r.levelno for r in caplog.records if "bad held on for 400.0 s" in r.message] == [logging.WARNING]


async def test_a_handler_that_overruns_is_a_dead_letter_and_what_it_then_returns_is_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def bad(payload: Note, metadata: HandlerMetadata) -> None:
        await trio.sleep_forever()

    async with open_organism(organism_of(bad, handler_timeout=7)) as organism:
        began = trio.current_time()
        letter = await failure(organism)
        assert trio.current_time() - began == 7
        assert "deadline of 7 s" in letter.cause.text


async def test_a_handler_that_shields_itself_delays_leaving_and_is_named_by_a_warning(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def bad(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        with trio.CancelScope(shield=True):
            await trio.sleep(60)
        return HandlerResponse.respond(payload)

    async with open_organism(organism_of(bad)) as organism:
        receipt = await organism.send(Note("x"), to="bad")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        report = await organism.shutdown(1)
        assert trio.current_time() - began == 60
        assert [(row.listener, row.payload, row.state) for row in report.abandoned_messages] == [
            ("bad", "Note", "running")
        ]
        assert (await organism.wait(receipt)).state is ConversationState.DRAINED
        assert (await organism.wait(receipt)).payloads == ()
    named = [r for r in caplog.records if "waits for cancelled handlers of bad" in r.message]
    assert named
    assert {r.levelno for r in named} == {logging.WARNING}


# -- looking around ---------------------------------------------------------------------------
async def test_a_handler_sees_its_callers_context_and_nothing_of_an_earlier_handlers() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    scratch: ContextVar[str] = ContextVar("scratch", default="clean")
    seen: list[tuple[str, str]] = []

    async def bad(payload: Note | Answer, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append((request.get(), scratch.get()))
        scratch.set("dirty")
        request.set("overwritten")
        await trio.lowlevel.checkpoint()
        assert (request.get(), scratch.get()) == ("overwritten", "dirty")
        if isinstance(payload, Note) and payload.text:
            return HandlerResponse(Note(payload.text[1:]), to="bad")
        return HandlerResponse.respond(Answer("done"))

    async with open_organism(organism_of(bad, takes=[Note, Answer])) as organism:

        async def ask(name: str) -> None:
            request.set(name)
            assert await organism.ask(Note("xxx"), to="bad") == Answer("done")

        async with trio.open_nursery() as nursery:
            for name in ("one", "two"):
                nursery.start_soon(ask, name)
        assert request.get() == "none"
    assert sorted(seen) == [("one", "clean")] * 7 + [("two", "clean")] * 7


async def test_a_handler_that_would_wait_for_others_is_told_at_once() -> None:
    told: list[str] = []

    async def bad(payload: Note, metadata: HandlerMetadata) -> None:
        for wait in (
            lambda: organism.ask(Note("y"), to="echo"),
            lambda: organism.wait(receipts[0]),
            organism.wait_idle,
        ):
            with pytest.raises(WouldDeadlock):
                await wait()
            told.append("told")
        await organism.shutdown(0)  # only asked for: it returns, and this dispatch is what it cuts
        await trio.sleep_forever()

    async with open_organism(organism_of(bad)) as organism:
        receipts = [await organism.send(Note("x"), to="bad")]
        assert (await organism.wait(receipts[0])).state is ConversationState.DRAINED
    assert told == ["told"] * 3
    assert organism.report.abandoned == 1


async def test_a_cut_handler_that_returns_all_the_same_is_abandoned_and_its_results_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def bad(payload: Note, metadata: HandlerMetadata) -> list[HandlerResponse]:
        with trio.CancelScope(shield=True):
            await trio.sleep(3)
        return [HandlerResponse(Note("y"), to="echo")]

    async with open_organism(organism_of(bad)) as organism:
        receipt = await organism.send(Note("x"), to="bad")
        await trio.sleep(1)
        assert await organism.kill(receipt.conversation)
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
        assert set(organism.statistics()["listeners"]["echo"].values()) == {0}
    assert organism.report.abandoned == report_of(organism).accepted == 1
    assert organism.statistics()["listeners"]["bad"][Ending.ABANDONED.value] == 1


async def test_what_a_handler_returns_after_the_organism_was_cancelled_is_dropped() -> None:
    async def bad(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        try:
            await trio.sleep_forever()
        finally:
            return HandlerResponse.respond(payload)  # noqa: B012 - it swallows its cancellation

    used: list[tuple[Organism, Receipt]] = []
    for _ in range(20):  # whether the handler or the pump hears of it first is Trio's choice
        with trio.CancelScope() as outer:
            async with open_organism(organism_of(bad)) as organism:
                used.append((organism, await organism.send(Note("x"), to="bad")))
                await trio.testing.wait_all_tasks_blocked()
                outer.cancel()
                await trio.sleep_forever()
    for organism, receipt in used:
        outcome = await organism.wait(receipt)
        assert outcome.state is ConversationState.DRAINED
        assert outcome.payloads == ()
        assert organism.report.abandoned == report_of(organism).accepted == 1
