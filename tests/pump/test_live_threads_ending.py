"""``max_threads``: who waits is cancelled or turned away, and every thread is counted off once."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio
import trio.testing

from phloem.config import Budgets, MemoryLimits
from phloem.errors import OrganismClosed
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from support.auditing import open_audited
from support.flows import outcome_of, step
from support.gates import Gates, free, live, settled
from support.listeners import BACK, HANG, Ask, Reply, listener

TWO: Final = MemoryLimits(max_threads=2)  # one stranger's: a root and the thread it asks


# -- cancelled, closed -----------------------------------------------------------------------------
@pytest.mark.parametrize("which", [0, 1, 2], ids=["the first", "one in the middle", "the last"])
async def test_cancelling_who_waits_gives_its_seat_back_and_loses_nobody_else_its_turn(which: int) -> None:
    gates = Gates()
    scopes: list[trio.CancelScope] = []

    async def enters(text: str) -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await organism.ask(Ask(text), to="gate")

    async with open_audited(gates.listener, memory=TWO, max_in_flight=10) as organism:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(organism.ask, Ask("first"), "gate")
            await settled()
            for number in range(3):
                nursery.start_soon(enters, str(number))
                await settled()
            assert free(organism) == 6
            scopes[which].cancel()
            await settled()
            assert scopes[which].cancelled_caught
            assert free(organism) == 7
            assert gates.entered == ["first"]
            for text in ("first", "0", "1", "2"):
                gates.open(text)
        assert gates.entered == ["first", *(str(number) for number in range(3) if number != which)]
        assert free(organism) == 10
        assert organism.report.abandoned == 0, "it was never accepted"


async def test_cancelled_in_the_very_step_in_which_there_is_room_the_next_comes_in() -> None:
    gates = Gates()
    scope = trio.CancelScope()

    async def enters() -> None:
        with scope:
            await organism.ask(Ask("cancelled"), to="gate")

    async with open_audited(gates.listener, memory=TWO, max_in_flight=10) as organism:
        async with trio.open_nursery() as nursery:
            first = await organism.send(Ask("first"), to="gate")
            nursery.start_soon(enters)
            await settled()
            nursery.start_soon(organism.ask, Ask("next"), "gate")
            await settled()
            gates.open("next")
            nursery.start_soon(organism.kill, first.conversation)
            scope.cancel()
        await organism.wait_idle()
        assert gates.entered in (["first", "next"], ["first", "cancelled", "next"])
        assert free(organism) == 10
        assert live(organism) == 0


@pytest.mark.parametrize("step", range(12))
async def test_a_cancel_at_any_step_leaves_no_seat_and_no_turn_behind(step: int) -> None:
    gates = Gates()

    async def enters(scope: trio.CancelScope) -> None:
        with scope:
            await organism.ask(Ask("late"), to="gate")

    async with open_audited(gates.listener, BACK, memory=TWO, max_in_flight=10) as organism:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(organism.ask, Ask("early"), "gate")
            await settled()
            nursery.start_soon(enters, scope)
            nursery.start_soon(organism.ask, Ask("later"), "gate")
            gates.open("late")
            gates.open("later")
            gates.open("early")
            for _ in range(step):
                await trio.lowlevel.checkpoint()
            scope.cancel()
        await organism.wait_idle()  # a cancelled ask kills its conversation, and does not wait for that
        assert "later" in gates.entered
        assert (free(organism), live(organism)) == (10, 0)
        with trio.fail_after(1):
            assert await organism.ask(Ask("x"), to="back") == Reply("x")


async def test_whoever_waits_when_the_organism_closes_is_told_so() -> None:
    gates = Gates()
    told: list[Any] = []

    async def opens_a_block() -> None:
        async with organism.open_conversation():
            pytest.fail("opened")

    async def enters(number: int) -> None:
        with pytest.raises(OrganismClosed):
            await (organism.ask(Ask(str(number)), to="gate") if number % 2 else opens_a_block())
        told.append(number)

    async with open_audited(gates.listener, memory=TWO) as organism, trio.open_nursery() as nursery:
        first = await organism.send(Ask("first"), to="gate")
        await settled()
        for number in range(4):
            nursery.start_soon(enters, number)
        await settled()
        nursery.start_soon(organism.shutdown, 100)
        await settled()
        assert sorted(told) == [0, 1, 2, 3]
        with pytest.raises(OrganismClosed):
            await organism.send(Ask("too late"), to="gate")
        gates.open("first")
        assert (await organism.wait(first)).state is ConversationState.COMPLETED
    assert gates.entered == ["first"]


async def test_leaving_the_block_by_an_error_tells_those_who_wait_outside_of_it() -> None:
    told: list[str] = []

    async def enters() -> None:
        with pytest.raises(OrganismClosed):
            await organism.ask(Ask("late"), to="hang")
        told.append("closed")

    async with trio.open_nursery() as nursery:
        try:
            async with open_audited(HANG, memory=TWO) as organism:
                await organism.send(Ask("first"), to="hang")
                nursery.start_soon(enters)
                await settled()
                raise ValueError("the body")
        except ValueError as error:
            told.append(str(error))
    assert sorted(told) == ["closed", "the body"]


# -- the count -------------------------------------------------------------------------------------
async def test_a_conversation_that_overruns_a_budget_is_counted_off_once() -> None:
    async def loop(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(payload, to="loop")

    async with open_audited(listener("loop", Ask, loop)) as organism:
        for budgets in (Budgets(hops=5), Budgets(depth=5), Budgets(messages=5)):
            outcome = await outcome_of(organism, Ask("x"), "loop", budgets=budgets)
            assert outcome.state is ConversationState.OUT_OF_BUDGET
            assert live(organism) == 0


async def test_a_turn_that_overruns_a_budget_leaves_the_block_its_threads() -> None:
    async def loop(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(payload, to="loop")

    async with open_audited(listener("loop", Ask, loop), BACK) as organism:
        async with organism.open_conversation() as conversation:
            receipt = await conversation.send(Ask("x"), to="loop", budgets=Budgets(hops=5))
            assert (await organism.wait(receipt)).state is ConversationState.OUT_OF_BUDGET
            await conversation.ask(Ask("x"), to="back")
            assert live(organism) == 3  # the root, and a lasting thread for each that was addressed
        assert live(organism) == 0


@pytest.mark.parametrize("ending", ["kill", "timeout", "failure", "shutdown"])
async def test_however_a_conversation_ends_its_threads_are_counted_off(
    ending: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def last(payload: Ask, metadata: HandlerMetadata) -> None:
        if ending == "failure":
            raise ValueError("x")
        await trio.sleep_forever()

    chain = [step("a", "b"), step("b", "last"), listener("last", Ask, last)]
    async with open_audited(*chain, memory=TWO) as organism:
        budgets = Budgets(seconds=5) if ending == "timeout" else None
        receipt = await organism.send(Ask("x"), to="a", budgets=budgets)
        await trio.sleep(1)
        if ending == "kill":
            await organism.kill(receipt.conversation)
        if ending == "shutdown":
            await organism.shutdown(0)
        await organism.wait(receipt)
        assert live(organism) == 0


async def test_a_call_that_is_pruned_is_counted_off_with_everything_below_it() -> None:
    counts: list[int] = []

    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        counts.append(live(organism))
        if isinstance(payload, Ask):
            return HandlerResponse(payload, to="middle")
        return HandlerResponse.respond(payload)

    async def middle(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return [HandlerResponse(payload, to="a"), HandlerResponse(payload, to="slow")]
        counts.append(live(organism))
        return HandlerResponse.respond(payload)

    async def slow(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.testing.wait_all_tasks_blocked()
        return HandlerResponse.respond(Reply("done"))

    everyone = [
        listener("front", [Ask, Reply], front),
        listener("middle", [Ask, Reply], middle),
        listener("slow", Ask, slow),
        step("a", "b"),
        step("b", "hang"),
        HANG,
    ]
    async with open_audited(*everyone) as organism:
        assert await organism.ask(Ask("x"), to="front") == Reply("done")
    assert counts == [2, 6, 2], "root and front; middle, a, b, hang with them; root and front"
