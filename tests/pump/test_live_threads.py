"""``max_threads``: who comes in waits while too many threads live, and what runs goes on."""

from __future__ import annotations

from typing import Final

import pytest
import trio

from phloem.config import MemoryLimits, OrganismConfig, WireLimits
from phloem.errors import MessageRejected, OrganismClosed, WouldDeadlock
from phloem.loading import resolve, running_listeners
from phloem.memory.threads import Census
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.pump.intake import Intake
from phloem.pump.slots import Slots
from phloem.pump.steps import Steps
from support.auditing import open_audited
from support.flows import down, outcome_of, step
from support.gates import Gates, free, live, settled
from support.listeners import BACK, HANG, Ask, Note, Reply, drop, listener

TWO: Final = MemoryLimits(max_threads=2)  # one stranger's: a root and the thread it asks
FOUR: Final = MemoryLimits(max_threads=4)


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


async def test_long_documents_do_not_come_in_over_the_limit() -> None:
    gates = Gates()
    async with open_audited(gates.listener, memory=TWO) as organism, trio.open_nursery() as nursery:
        for number in range(10):
            long = f"<Ask><Text>{number:0100000}</Text></Ask>"  # parsed aside, in a worker thread
            nursery.start_soon(organism.inject, long)
        while not gates.entered or organism._pump.intake.parsing:
            await settled()
            await trio.sleep(0.01)
        assert live(organism) <= 4, "one that was being read meanwhile, at most"
        for number in range(10):
            gates.open(f"{number:0100000}")
    assert len(gates.entered) == 10


@pytest.mark.parametrize("attempt", range(10))  # which of two tasks Trio runs first is chance
async def test_one_who_comes_just_as_there_is_room_again_stands_behind_those_who_wait(attempt: int) -> None:
    census, came_in = Census(1), list[str]()
    listeners = running_listeners(resolve(OrganismConfig("one", [BACK])))
    steps, slots = Steps(listeners, WireLimits()), Slots(listeners, handlers=9, pipelines=9, threads=2)
    intake = Intake(steps, slots, lambda: None, census, seats=9, limits=WireLimits())

    async def enters(name: str) -> None:
        await intake.take_seat(may_wait=True)
        came_in.append(name)
        census.live += 1

    census.live = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(enters, "waits")
        await settled()
        nursery.start_soon(enters, "comes")
        await trio.lowlevel.checkpoint()  # it has its seat, and will look for room in its next step
        census.left(1)
        await settled()
        assert came_in == ["waits"]
        census.left(1)
    assert came_in == ["waits", "comes"]
    assert (intake.free_seats, intake.waiting) == (7, 0)


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
