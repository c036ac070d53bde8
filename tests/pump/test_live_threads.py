"""``max_threads``: who comes in waits while too many threads live, and what runs goes on."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio
import trio.testing

from phloem.config import Budgets, ListenerConfig, MemoryLimits
from phloem.errors import MessageRejected, OrganismClosed, WouldDeadlock
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.organism import Organism
from support.auditing import open_audited
from support.flows import down, outcome_of, step
from support.listeners import BACK, HANG, Ask, Note, Reply, drop, listener

TWO: Final = MemoryLimits(max_threads=2)  # one stranger's: a root and the thread it asks
FOUR: Final = MemoryLimits(max_threads=4)


def live(organism: Organism) -> int:
    """How many threads live, by two ways of counting."""
    counted: int = organism.context.get_stats()["thread_count"]
    assert counted == len(organism.threads)
    return counted


def free(organism: Organism) -> int:
    seats: int = organism.statistics()["seats"]["free"]
    return seats


class Gates:
    """A listener that holds each message until the test lets it go, by its text."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self._gates: dict[str, trio.Event] = {}

    async def hold(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        self.entered.append(payload.text)
        await self._gates.setdefault(payload.text, trio.Event()).wait()
        return HandlerResponse.respond(Reply(payload.text))

    def open(self, text: str) -> None:
        self._gates.setdefault(text, trio.Event()).set()

    @property
    def listener(self) -> ListenerConfig:
        return listener("gate", Ask, self.hold)


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


# -- waiting ---------------------------------------------------------------------------------------
async def test_at_the_limit_strangers_wait_and_come_in_one_by_one_in_their_order() -> None:
    gates = Gates()
    async with open_audited(gates.listener, memory=TWO) as organism, trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(organism.ask, Ask(str(number)), "gate")
            await settled()
        for number in range(5):
            await settled()
            assert gates.entered == [str(each) for each in range(number + 1)]
            assert live(organism) == 2
            gates.open(str(number))


async def test_one_who_comes_as_there_is_room_again_does_not_pass_those_who_wait() -> None:
    gates = Gates()
    async with open_audited(gates.listener, memory=TWO) as organism, trio.open_nursery() as nursery:
        nursery.start_soon(organism.ask, Ask("first"), "gate")
        await settled()
        for text in ("second", "third"):
            nursery.start_soon(organism.ask, Ask(text), "gate")
            await settled()
        gates.open("first")
        nursery.start_soon(organism.ask, Ask("fourth"), "gate")
        for text in ("second", "third", "fourth"):
            await settled()
            gates.open(text)
    assert gates.entered == ["first", "second", "third", "fourth"]


async def test_below_the_limit_nobody_waits_and_one_may_come_in_who_brings_more_than_is_left() -> None:
    async with open_audited(HANG, BACK, memory=FOUR) as organism:
        first = await organism.send(Ask("x"), to="hang")
        assert live(organism) == 2
        second = await organism.send(Ask("x"), to="hang")
        assert live(organism) == 4
        await organism.kill(second.conversation)
        with trio.fail_after(1):
            assert await organism.ask(Ask("x"), to="back") == Reply("x")
        await organism.kill(first.conversation)
        assert live(organism) == 0


async def test_conversations_that_run_go_on_over_the_limit() -> None:
    async with open_audited(down(), memory=TWO) as organism:
        assert await organism.ask(Ask("50"), to="down") == Reply("1")
        assert live(organism) == 0


async def test_as_long_as_running_conversations_are_over_the_limit_nobody_comes_in() -> None:
    gates = Gates()
    chain = [step("a", "b"), step("b", "gate")]  # root, a, b, gate: four threads
    async with open_audited(*chain, gates.listener, memory=FOUR) as organism:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(organism.ask, Ask("deep"), "a")
            await settled()
            nursery.start_soon(organism.ask, Ask("late"), "gate")
            await settled()
            assert gates.entered == ["deep"]
            assert live(organism) == 4
            gates.open("deep")
            gates.open("late")
        assert gates.entered == ["deep", "late"]


async def test_a_thread_that_ends_within_a_conversation_makes_room_before_that_ends() -> None:
    gates, going_on = Gates(), trio.Event()

    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Ask):
            return HandlerResponse(payload, to="gate")
        await going_on.wait()  # its child has ended, and it has not
        return HandlerResponse.respond(payload)

    limit = MemoryLimits(max_threads=3)
    both = (listener("front", [Ask, Reply], front), gates.listener)
    async with open_audited(*both, memory=limit) as organism, trio.open_nursery() as nursery:
        nursery.start_soon(organism.ask, Ask("long"), "front")
        await settled()
        nursery.start_soon(organism.ask, Ask("late"), "gate")
        await settled()
        assert gates.entered == ["long"]
        gates.open("long")
        await settled()
        assert gates.entered == ["long", "late"]
        gates.open("late")
        going_on.set()


async def test_as_many_come_in_as_there_is_room_for_at_once() -> None:
    gates = Gates()
    async with open_audited(gates.listener, memory=FOUR) as organism, trio.open_nursery() as nursery:
        for text in ("1", "2", "3", "4"):
            nursery.start_soon(organism.ask, Ask(text), "gate")
            await settled()
        assert gates.entered == ["1", "2"]
        gates.open("1")
        gates.open("2")
        await settled()
        assert gates.entered == ["1", "2", "3", "4"]
        gates.open("3")
        gates.open("4")


async def test_two_hundred_strangers_on_a_narrow_limit_all_get_through() -> None:
    most = 0

    async def one(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        nonlocal most
        most = max(most, live(organism))
        await trio.lowlevel.checkpoint()
        return HandlerResponse.respond(Reply(payload.text))

    async with open_audited(listener("one", Ask, one), memory=MemoryLimits(max_threads=6)) as organism:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(organism.ask, Ask(str(number)), "one")
        assert live(organism) == 0
    assert most == 6


# -- other ways in ---------------------------------------------------------------------------------
@pytest.mark.parametrize("way", ["send", "inject", "ask", "open_conversation"])
async def test_every_way_in_waits(way: str) -> None:
    gates = Gates()
    came_in: list[str] = []

    async def enters() -> None:
        if way == "send":
            await organism.send(Ask("late"), to="gate")
        elif way == "ask":
            await organism.ask(Ask("late"), to="gate")
        elif way == "inject":
            await organism.inject("<Ask><Text>late</Text></Ask>")
        else:
            async with organism.open_conversation() as conversation:
                came_in.append(way)
                await conversation.ask(Ask("late"), to="gate")
        came_in.append(way)

    async with open_audited(gates.listener, memory=TWO) as organism, trio.open_nursery() as nursery:
        nursery.start_soon(organism.ask, Ask("early"), "gate")
        await settled()
        nursery.start_soon(enters)
        await settled()
        assert came_in == []
        assert gates.entered == ["early"]
        gates.open("late")
        gates.open("early")
    assert came_in[-1] == way
    assert gates.entered == ["early", "late"]


async def test_turns_of_an_open_block_do_not_wait() -> None:
    async with open_audited(BACK, listener("drop", Note, drop), memory=TWO) as organism:
        async with organism.open_conversation() as conversation:
            assert await conversation.ask(Ask("1"), to="back") == Reply("1")
            assert live(organism) == 2
            with trio.fail_after(1):
                await organism.wait(await conversation.send(Note("2"), to="drop"))
                assert live(organism) == 3
                assert await conversation.ask(Ask("3"), to="back") == Reply("3")
        assert live(organism) == 0


async def test_an_idle_block_keeps_its_threads_and_whoever_waits_comes_in_when_it_is_left() -> None:
    async with open_audited(BACK, memory=TWO) as organism, trio.open_nursery() as nursery:
        async with organism.open_conversation() as conversation:
            await conversation.ask(Ask("x"), to="back")
            nursery.start_soon(organism.ask, Ask("late"), "back")
            await settled()
            assert organism.statistics()["conversations"]["live"] == 1
        await settled()
        assert live(organism) == 0
    assert organism.report.handled == 3


async def test_one_who_is_rejected_once_it_is_in_lets_the_next_in() -> None:
    gates = Gates()

    async def is_rejected() -> None:
        with pytest.raises(MessageRejected):
            await organism.send(Note("nobody takes it"), to="gate")

    async with open_audited(gates.listener, memory=TWO) as organism, trio.open_nursery() as nursery:
        nursery.start_soon(organism.ask, Ask("first"), "gate")
        await settled()
        nursery.start_soon(is_rejected)
        await settled()
        nursery.start_soon(organism.ask, Ask("second"), "gate")
        await settled()
        gates.open("first")
        gates.open("second")
    assert gates.entered == ["first", "second"]


# -- inside a dispatch -----------------------------------------------------------------------------
async def test_inside_a_dispatch_whoever_would_wait_is_told_at_once() -> None:
    async def one(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        before = free(organism)
        for _ in range(2):
            with pytest.raises(WouldDeadlock):
                await organism.send(Ask("x"), to="back")
            with pytest.raises(WouldDeadlock):
                await organism.inject("<Ask><Text>x</Text></Ask>")
            with pytest.raises(WouldDeadlock):
                async with organism.open_conversation():
                    pytest.fail("opened")
        assert free(organism) == before
        return HandlerResponse.respond(Reply("done"))

    async with open_audited(listener("one", Ask, one), BACK, memory=TWO) as organism:
        assert await organism.ask(Ask("x"), to="one") == Reply("done")
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


async def test_inside_a_dispatch_below_the_limit_send_starts_a_conversation() -> None:
    async def one(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await organism.send(Ask("another"), to="back")
        return HandlerResponse.respond(Reply("done"))

    async with open_audited(listener("one", Ask, one), BACK, memory=FOUR) as organism:
        assert await organism.ask(Ask("x"), to="one") == Reply("done")
        await organism.wait_idle()


async def test_inside_a_dispatch_a_closed_organism_says_so_first() -> None:
    refused: list[BaseException] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        await organism.shutdown(10)
        try:
            await organism.send(Ask("x"), to="back")
        except (OrganismClosed, WouldDeadlock) as error:
            refused.append(error)

    async with open_audited(listener("one", Ask, one), BACK, memory=TWO) as organism:
        await outcome_of(organism, Ask("x"), "one")
    assert [type(error) for error in refused] == [OrganismClosed]


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
