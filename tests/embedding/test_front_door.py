"""The front door, the same on Trio, asyncio and uvloop: one suite, run unchanged on each."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio

from phloem import (
    Budgets,
    ContractError,
    ConversationFailed,
    MessageRejected,
    NoResponse,
    Organism,
    OrganismClosed,
    SenderRefused,
    WouldDeadlock,
)
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from support.embedded import BACKENDS, Place, everywhere, opened, run, until
from support.listeners import BACK, Ask, Note, Reply, drop, fall, listener

WHO: ContextVar[str] = ContextVar("who", default="nobody")


async def name_caller(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    assert sniffio.current_async_library() == "trio"
    await anyio.lowlevel.checkpoint()  # which asks sniffio where it is
    return HandlerResponse.respond(Reply(WHO.get()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_test_really_runs_where_it_says(backend: str) -> None:
    async def where() -> str:
        return sniffio.current_async_library()

    assert run(backend, where) == ("trio" if backend == "trio" else "asyncio")


# -- sending and waiting ---------------------------------------------------------------------------


@everywhere
async def test_ask_gives_the_answer() -> None:
    async with opened(BACK) as organism:
        assert await organism.ask(Ask("x"), to="back") == Reply("x")
        assert isinstance(organism, Organism)


@everywhere
async def test_send_is_accepted_and_wait_tells_the_end() -> None:
    async with opened(BACK) as organism:
        receipt = await organism.send(Ask("x"), to="back", budgets=Budgets(hops=3))
        outcome = await organism.wait(receipt)
        assert (outcome.state, outcome.payloads) == (ConversationState.COMPLETED, (Reply("x"),))
        assert await organism.wait(receipt) is outcome


@everywhere
async def test_a_document_is_injected() -> None:
    async with opened(BACK) as organism:
        for document in ("<Ask><Text>x</Text></Ask>", b"<Ask><Text>x</Text></Ask>"):
            outcome = await organism.wait(await organism.inject(document))
            assert outcome.payloads == (Reply("x"),)


@everywhere
async def test_errors_arrive_as_they_are() -> None:
    async with opened(BACK, listener("fall", Ask, fall), listener("drop", Ask, drop)) as organism:
        with pytest.raises(ContractError):
            await organism.ask("text", to="back")
        with pytest.raises(SenderRefused):
            await organism.send(Ask("x"), to="back", sender="back")
        with pytest.raises(MessageRejected) as rejected:
            await organism.inject("<Ask><Txt>x</Txt></Ask>")
        assert rejected.value.outcome is not None
        with pytest.raises(ConversationFailed, match="raised ValueError: x"):
            await organism.ask(Ask("x"), to="fall")
        with pytest.raises(NoResponse):
            await organism.ask(Ask("x"), to="drop")
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


@everywhere
async def test_wait_idle_waits_for_all_that_is_in_flight() -> None:
    place = Place()
    async with opened(place.listener(Ask)) as organism:
        for _ in range(3):
            await organism.send(Ask("x"), to="place")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(organism.wait_idle)
            await until(lambda: place.entered == 3)
            place.go = True
        assert (organism.report.in_flight, place.left) == (0, 3)


@everywhere
async def test_kill_returns_when_the_handler_has_left() -> None:
    place = Place(turns=5)
    async with opened(place.listener(Ask)) as organism:
        receipt = await organism.send(Ask("x"), to="place")
        await until(lambda: place.entered)
        assert await organism.kill(receipt.conversation) is True
        assert place.left == 1
        assert await organism.kill(receipt.conversation) is False
        assert await organism.kill("nobody") is False
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED


@everywhere
async def test_shutdown_gives_the_books_and_nothing_enters_afterwards() -> None:
    place = Place()
    async with opened(BACK, place.listener(Ask)) as organism:
        await organism.ask(Ask("x"), to="back")
        await organism.send(Ask("x"), to="place")
        await until(lambda: place.entered)
        report = await organism.shutdown(grace=0)
        assert (report.in_flight, report.abandoned, place.left) == (0, 1, 1)
        assert await organism.shutdown() == report
        for enter in (organism.ask, organism.send):
            with pytest.raises(OrganismClosed):
                await enter(Ask("x"), to="back")


@everywhere
async def test_a_handler_that_would_wait_for_its_own_organism_is_refused() -> None:
    async def asks(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        with pytest.raises(WouldDeadlock):
            await found[0].ask(Ask("y"), to="back")
        receipt = await found[0].send(Ask("y"), to="back")  # the host's own object, within a task of Trio's
        return HandlerResponse.respond(Reply(receipt.conversation))

    found: list[Organism] = []
    async with opened(BACK, listener("asks", Ask, asks)) as organism:
        found.append(organism)
        assert (await organism.ask(Ask("x"), to="asks")).text != ""
        await organism.wait_idle()
        assert organism.report.handled == 3  # Boot as well


@everywhere
async def test_the_callers_context_variables_reach_the_handler() -> None:
    async with opened(listener("who", Ask, name_caller)) as organism:

        async def ask(name: str) -> None:
            WHO.set(name)
            assert await organism.ask(Ask("x"), to="who") == Reply(name)
            receipt = await organism.send(Ask("x"), to="who")
            assert (await organism.wait(receipt)).payloads == (Reply(name),)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, f"caller {number}")
        assert await organism.ask(Ask("x"), to="who") == Reply("nobody")


@everywhere
async def test_many_at_once_each_get_their_own_answer() -> None:
    async with opened(BACK) as organism:

        async def ask(text: str) -> None:
            assert await organism.ask(Ask(text), to="back") == Reply(text)

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(ask, str(number))
        assert organism.statistics()["conversations"]["live"] == 0


@everywhere
async def test_two_organisms_live_side_by_side_and_one_within_the_other() -> None:
    async with opened(BACK) as outer, opened(BACK) as inner:
        assert await outer.ask(Ask("x"), to="back") == await inner.ask(Ask("x"), to="back")
        assert outer.events.id != inner.events.id
        assert outer != inner
        assert outer == outer
        assert len({outer, outer, inner}) == 2


# -- conversations ----------------------------------------------------------------------------------


@everywhere
async def test_a_conversation_has_turns_and_ends_with_its_block() -> None:
    place = Place()
    async with opened(BACK, place.listener(Note)) as organism:
        async with organism.open_conversation() as conversation:
            assert await conversation.ask(Ask("x"), to="back") == Reply("x")
            assert (await organism.wait(await conversation.send(Ask("y"), to="back"))).payloads == (
                Reply("y"),
            )
            await conversation.inject("<Ask><Text>x</Text></Ask>")
            receipt = await conversation.send(Note("z"), to="place")
            assert receipt.conversation == conversation.id
            await until(lambda: place.entered)
            place.go = True
        assert place.left == 1
        with pytest.raises(OrganismClosed):
            await conversation.ask(Ask("x"), to="back")


@everywhere
async def test_a_conversation_left_by_an_error_is_killed_and_the_error_is_the_same() -> None:
    place = Place(turns=3)
    error = LookupError("mine")
    async with opened(place.listener(Ask)) as organism:
        with pytest.raises(LookupError) as raised:  # noqa: PT012
            async with organism.open_conversation() as conversation:
                receipt = await conversation.send(Ask("x"), to="place")
                await until(lambda: place.entered)
                raise error
        assert raised.value is error
        assert error.__cause__ is None
        await organism.wait_idle()
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED  # pyright: ignore[reportPossiblyUnboundVariable]


@everywhere
async def test_a_conversation_waits_for_its_seat_and_may_be_cancelled_there() -> None:
    async with opened(BACK, max_in_flight=1) as organism:
        async with organism.open_conversation():
            with anyio.move_on_after(0.02) as scope:
                async with organism.open_conversation():
                    pytest.fail("there is one seat")
            assert scope.cancelled_caught
        async with organism.open_conversation() as conversation:
            assert await conversation.ask(Ask("x"), to="back") == Reply("x")
