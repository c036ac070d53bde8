"""The front door, the same on Trio, asyncio and uvloop: one suite, run unchanged on each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import sniffio

from phloem import (
    AgentEvent,
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
from support.listeners import BACK, HANG, Ask, Note, Reply, drop, fall, listener

WHO: ContextVar[str] = ContextVar("who", default="nobody")


async def name_caller(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    assert sniffio.current_async_library() == "trio"
    await anyio.sleep(0)  # which asks sniffio where it is
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
        assert outer == outer  # noqa: PLR0124 - faces of one object
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
        with pytest.raises(LookupError) as raised:
            async with organism.open_conversation() as conversation:
                receipt = await conversation.send(Ask("x"), to="place")
                await until(lambda: place.entered)
                raise error
        assert raised.value is error
        assert error.__cause__ is None
        await organism.wait_idle()
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED


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


# -- cancellation -----------------------------------------------------------------------------------


@everywhere
async def test_a_cancelled_ask_is_killed() -> None:
    place = Place()
    async with opened(BACK, place.listener(Note)) as organism:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(organism.ask, Note("x"), "place")
            await until(lambda: place.entered)
            tasks.cancel_scope.cancel()
        await organism.wait_idle()
        assert (place.left, organism.report.abandoned) == (1, 1)
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


@everywhere
async def test_move_on_after_ends_an_ask_and_nothing_else() -> None:
    place = Place(turns=2)
    async with opened(BACK, place.listener(Note)) as organism:
        with anyio.move_on_after(0.02) as scope:
            await organism.ask(Note("x"), to="place")
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), anyio.fail_after(0.02):
            await organism.ask(Note("x"), to="place")
        await organism.wait_idle()
        assert (place.entered, place.left) == (2, 2)
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


@everywhere
async def test_each_wait_may_be_cancelled_and_done_again() -> None:
    place = Place()
    async with opened(place.listener(Ask)) as organism:
        receipt = await organism.send(Ask("x"), to="place")
        await until(lambda: place.entered)
        waits: list[Any] = [organism.wait_idle, lambda: organism.wait(receipt)]
        for wait in waits:
            with anyio.move_on_after(0.01) as scope:
                await wait()
            assert scope.cancelled_caught
        assert place.left == 0, "only the waiting ended"
        place.go = True
        for wait in waits:
            await wait()


@everywhere
async def test_a_send_that_is_cancelled_while_it_waits_for_a_seat_was_not_accepted() -> None:
    place = Place()
    async with opened(place.listener(Ask), max_in_flight=1) as organism:
        await organism.send(Ask("x"), to="place")
        for _ in range(3):
            with anyio.move_on_after(0.01) as scope:
                await organism.send(Ask("y"), to="place")
            assert scope.cancelled_caught
        assert organism.report.accepted == 2  # Boot as well
        place.go = True
        await organism.wait_idle()
        assert place.entered == 1


@everywhere
async def test_a_cancelled_kill_kills_and_a_cancelled_shutdown_goes_on() -> None:
    place = Place(turns=30)
    async with opened(place.listener(Ask)) as organism:
        receipt = await organism.send(Ask("x"), to="place")
        await until(lambda: place.entered)
        with anyio.move_on_after(0.005) as scope:
            await organism.kill(receipt.conversation)
        assert scope.cancelled_caught
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
        await organism.send(Ask("x"), to="place")
        await until(lambda: place.entered == 2)
        with anyio.move_on_after(0.005) as scope:
            await organism.shutdown(grace=0)
        assert scope.cancelled_caught
        assert (await organism.shutdown()).in_flight == 0


# -- the block ----------------------------------------------------------------------------------------


@everywhere
async def test_the_body_raises_and_its_error_arrives_as_it_is() -> None:
    place = Place(turns=3)
    for error in (ValueError("mine"), ExceptionGroup("mine", [ValueError("x")]), SystemExit(3)):
        before = place.entered
        with pytest.raises(type(error)) as raised:
            async with opened(place.listener(Ask)) as organism:
                await organism.send(Ask("x"), to="place")
                await until(lambda: place.entered > before)  # noqa: B023 - done within the turn
                raise error
        assert raised.value is error
        assert (error.__cause__, organism.report.abandoned) == (None, 1)
        assert place.entered == place.left


@everywhere
async def test_left_normally_it_drains() -> None:
    place = Place()
    async with anyio.create_task_group() as tasks:

        async def finish() -> None:
            await until(lambda: place.entered)
            place.go = True

        async with opened(place.listener(Ask)) as organism:
            await organism.send(Ask("x"), to="place")
            tasks.start_soon(finish)
    assert (organism.report.handled, organism.report.abandoned) == (2, 0)


@everywhere
async def test_the_outer_task_group_is_cancelled() -> None:
    place = Place(turns=5)
    left = []

    async def live() -> None:
        try:
            async with opened(place.listener(Ask)) as organism:
                await organism.ask(Ask("x"), to="place")
        finally:
            left.append((place.left, organism.report.in_flight))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live)
        await until(lambda: place.entered)
        tasks.cancel_scope.cancel()
    assert left == [(1, 0)]


@everywhere
async def test_a_drain_may_be_cancelled() -> None:
    place = Place(turns=3)
    with anyio.move_on_after(0.05) as scope:
        async with opened(place.listener(Ask)) as organism:
            await organism.send(Ask("x"), to="place")
            await until(lambda: place.entered)
    assert scope.cancelled_caught
    assert (organism.report.abandoned, place.left) == (1, 1)


@everywhere
async def test_it_is_opened_and_left_again_and_again() -> None:
    for _ in range(5):
        async with opened(BACK) as organism:
            assert await organism.ask(Ask("x"), to="back") == Reply("x")


# -- events -------------------------------------------------------------------------------------------


@everywhere
async def test_a_stream_gives_each_event_in_order() -> None:
    async with opened(BACK) as organism:
        async with organism.events.open_stream("execution_completed", buffer=50) as events:
            receipts = [await organism.send(Ask(str(n)), to="back") for n in range(20)]
            seen = [await anext(events) for _ in range(20)]
        assert sorted(event.stream_id or "" for event in seen if isinstance(event, AgentEvent)) == sorted(
            event.stream_id or "" for event in seen if isinstance(event, AgentEvent)
        )
        seqs = [event.seq for event in seen if isinstance(event, AgentEvent)]
        assert seqs == sorted(seqs)
        assert len(set(seqs)) == len(receipts) == 20
        assert events.statistics() == {"received": 20, "lost": 0, "waiting": 0}


@everywhere
async def test_a_stream_ends_with_its_organism_and_what_waits_may_be_read() -> None:
    seen = []
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            async with organism.events.open_stream("stream_stopped") as events:
                reading.append(True)
                async for event in events:
                    seen.append(event)  # noqa: PERF401

        reading: list[bool] = []
        async with opened(BACK) as organism:
            tasks.start_soon(read)
            await until(lambda: reading)
    assert [event.type for event in seen if isinstance(event, AgentEvent)] == ["stream_stopped"]


@everywhere
async def test_a_cancelled_reader_has_taken_nothing() -> None:
    organism: Organism
    async with opened(BACK) as organism:
        organism.events.register_type("mine")
        async with organism.events.open_stream("mine") as events:
            for _ in range(20):
                with anyio.move_on_after(0.001) as scope:
                    await events.receive()
                assert scope.cancelled_caught
            for number in range(3):
                await organism.events.publish(AgentEvent("mine", str(number)))
            seen = [await events.receive() for _ in range(3)]
            assert [event.stream_id for event in seen if isinstance(event, AgentEvent)] == ["0", "1", "2"]


@everywhere
async def test_handlers_of_events_run_and_expectations_are_met() -> None:
    heard: list[str] = []

    async def hear(event: AgentEvent) -> None:
        assert sniffio.current_async_library() == "trio"
        heard.append(f"{WHO.get()} {event.stream_id}")

    async with opened(BACK) as organism:
        bus = organism.events
        bus.register_type("mine")
        WHO.set("subscriber")
        bus.subscribe("mine", hear)
        with bus.expect("mine") as expected:
            bus.emit(AgentEvent("mine", "1"))
            assert (await expected).stream_id == "1"
            assert (await expected.wait()).stream_id == "1"
        delivered = await bus.deliver(AgentEvent("mine", "2"))
        assert delivered.errors == {}
        assert heard == ["subscriber 1", "subscriber 2"]
        assert await bus.wait_for("mine", timeout=0.01) is None
        await bus.emit_state_changed("3", "node", "execution", "a", "b") if False else None
        with anyio.move_on_after(0.01) as scope:
            await bus.wait_for("mine")
        assert scope.cancelled_caught
        await bus.scoped(stream_id="s").publish(AgentEvent("mine", "s"))
        latest = bus.latest("mine")
        assert latest is not None
        assert latest.stream_id == "s"


# -- batches -------------------------------------------------------------------------------------------


@everywhere
async def test_a_batch_gives_one_result_for_each_message() -> None:
    async def messages() -> AsyncIterator[Ask]:
        for number in range(30):
            await anyio.sleep(0)  # the source is the caller's, and waits on the caller's side
            yield Ask(str(number))

    async with opened(BACK) as organism:
        for source in ([Ask(str(number)) for number in range(30)], messages()):
            async with organism.open_batch(source, max_in_flight=4) as results:
                texts = [result.outcome.payloads[0].text async for result in results]
            assert texts == [str(number) for number in range(30)]
        async with organism.open_batch([Ask("x")] * 10) as results:
            await anext(results)
        assert organism.report.in_flight == 0


@everywhere
async def test_a_hung_organism_is_left_by_a_cancelled_body() -> None:
    with anyio.move_on_after(0.02) as scope:
        async with opened(HANG) as organism:
            await organism.ask(Ask("x"), to="hang")
    assert scope.cancelled_caught
    assert organism.report.abandoned == 1
