"""What ``get_context_buffer`` gives a handler, where, and for how long."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trio.testing

from phloem import get_context_buffer
from phloem.errors import AccessRefused, NoDispatch
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.pump.within import ContextBuffer
from support.auditing import open_audited
from support.flows import outcome_of, step
from support.listeners import BACK, Ask, Handle, Note, Reply, hang, listener


def texts(buffer: ContextBuffer) -> list[str]:
    return [slot.payload.text for slot in buffer.get_thread()]


def calls() -> list[Callable[[ContextBuffer], Any]]:
    return [
        lambda buffer: buffer.get_thread(),
        lambda buffer: buffer.get_thread("x"),
        lambda buffer: buffer.get_conversation(),
        lambda buffer: buffer.thread_exists("x"),
        lambda buffer: buffer.get_stats(),
    ]


def assert_over(buffer: ContextBuffer) -> None:
    for call in calls():
        with pytest.raises(NoDispatch, match="while it runs"):
            call(buffer)


async def run_in(handler: Handle, *more: Any, **settings: Any) -> None:
    """One message through the handler; whatever it asserts must hold."""
    async with open_audited(listener("one", [Ask, Reply], handler), *more, **settings) as organism:
        outcome = await outcome_of(organism, Ask("x"), "one")
        assert outcome.state is ConversationState.COMPLETED, outcome


# -- where it is found ---------------------------------------------------------------------------
async def test_outside_of_a_handler_there_is_none() -> None:
    with pytest.raises(NoDispatch, match="running handler"):
        get_context_buffer()
    async with open_audited(BACK) as organism:
        await organism.ask(Ask("x"), to="back")
        with pytest.raises(NoDispatch):
            get_context_buffer()
        async with organism.open_conversation():
            with pytest.raises(NoDispatch):
                get_context_buffer()


def test_without_trio_there_is_none() -> None:
    with pytest.raises(NoDispatch):
        get_context_buffer()


async def test_a_handler_finds_its_own_message_on_its_own_thread() -> None:
    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        buffer = get_context_buffer()
        (slot,) = buffer.get_thread()
        told = slot.metadata
        assert slot.payload == payload
        assert (told.thread_id, told.from_id, told.to_id) == (metadata.thread_id, "outside", "one")
        assert (told.message_id, told.slot_index, told.payload_type) == (metadata.message_id, 0, "Ask")
        assert list(buffer.get_thread(metadata.thread_id)) == [slot]
        assert list(buffer.get_conversation()) == [slot]
        assert buffer.thread_exists(metadata.thread_id)

    await run_in(one)


async def test_tasks_that_the_handler_starts_find_it_and_may_use_it_at_once() -> None:
    found: list[list[str]] = []

    async def child(buffer: ContextBuffer) -> None:
        await trio.lowlevel.checkpoint()
        found.append(texts(buffer))
        found.append(texts(get_context_buffer()))

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(child, get_context_buffer())

    await run_in(one)
    assert found == [["x"]] * 6


async def test_an_async_generator_of_the_handler_finds_it() -> None:
    async def slots() -> AsyncIterator[str]:
        for text in texts(get_context_buffer()):
            await trio.lowlevel.checkpoint()
            yield text
        for text in texts(get_context_buffer()):
            yield text

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        generator = slots()
        try:
            assert [text async for text in generator] == ["x", "x"]
        finally:
            await generator.aclose()  # type: ignore[attr-defined]

    await run_in(one)


async def test_a_worker_thread_has_none_and_cannot_use_the_handlers() -> None:
    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        buffer, refused = get_context_buffer(), []

        def work() -> None:
            for call in (get_context_buffer, *(lambda call=call: call(buffer) for call in calls())):
                with pytest.raises(NoDispatch):
                    call()
                refused.append(threading.current_thread())

        await trio.to_thread.run_sync(work)
        assert len(refused) == 6
        assert threading.main_thread() not in refused

    await run_in(one)


async def test_a_worker_thread_may_call_back_into_its_handler() -> None:
    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        buffer = get_context_buffer()

        def work() -> list[str]:
            return [
                *trio.from_thread.run_sync(texts, buffer),
                *trio.from_thread.run_sync(lambda: texts(get_context_buffer())),
            ]

        assert await trio.to_thread.run_sync(work) == ["x", "x"]

    await run_in(one)


async def test_another_trio_run_inside_a_thread_of_the_handler_finds_nothing_it_could_break() -> None:
    async def elsewhere() -> str:
        try:
            get_context_buffer().get_stats()
        except NoDispatch:
            return "refused"
        return "found"

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        assert await trio.to_thread.run_sync(trio.run, elsewhere) == "refused"

    await run_in(one)


# -- for how long --------------------------------------------------------------------------------
async def test_after_the_dispatch_the_buffer_is_over_and_what_it_gave_can_be_read_on() -> None:
    held: list[Any] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        buffer = get_context_buffer()
        held.extend([buffer, buffer.get_thread(), buffer.get_conversation()])

    async with open_audited(listener("one", Ask, one)) as organism:
        await outcome_of(organism, Ask("x"), "one")
        buffer, *histories = held
        assert_over(buffer)
    assert_over(buffer)
    for history in histories:
        assert [slot.payload for slot in history] == [Ask("x")]


async def test_a_task_that_the_handler_left_elsewhere_finds_it_over() -> None:
    ended, told = trio.Event(), trio.Event()

    async def later(buffer: ContextBuffer) -> None:
        assert texts(buffer) == ["x"]
        told.set()
        await ended.wait()
        assert_over(buffer)
        with pytest.raises(NoDispatch):
            get_context_buffer()

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        nursery.start_soon(later, get_context_buffer())
        await told.wait()

    async with open_audited(listener("one", Ask, one)) as organism, trio.open_nursery() as nursery:
        await outcome_of(organism, Ask("x"), "one")
        ended.set()


async def test_a_buffer_of_an_earlier_attempt_is_over_in_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    held: list[ContextBuffer] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        for buffer in held:
            assert_over(buffer)
        held.append(get_context_buffer())
        assert texts(held[-1]) == ["x"]
        if metadata.attempt < 3:
            raise ValueError("again")

    async with open_audited(listener("one", Ask, one, retries=2)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "one")
        assert outcome.state is ConversationState.COMPLETED, outcome
    assert len(held) == 3


async def test_a_buffer_of_an_attempt_that_failed_is_over_while_the_message_waits_for_its_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    held: list[ContextBuffer] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        held.append(get_context_buffer())
        raise ValueError("always")

    async with open_audited(listener("one", Ask, one, retries=1, retry_base_delay=10)) as organism:
        receipt = await organism.send(Ask("x"), to="one")
        await trio.sleep(1)
        assert len(held) == 1
        assert_over(held[0])
        assert list(organism.context.get_conversation(receipt.conversation)) == []
        await organism.wait(receipt)


async def test_a_handler_that_is_cancelled_may_still_read_in_its_cleanup_and_not_after(
    autojump_clock: trio.testing.MockClock,
) -> None:
    held: list[ContextBuffer] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        held.append(get_context_buffer())
        try:
            await trio.sleep_forever()
        finally:
            assert texts(held[0]) == ["x"]

    async with open_audited(listener("one", Ask, one)) as organism:
        receipt = await organism.send(Ask("x"), to="one")
        await trio.testing.wait_all_tasks_blocked()
        assert await organism.kill(receipt.conversation)
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
        assert_over(held[0])


# -- which threads -------------------------------------------------------------------------------
async def refusals(buffer: ContextBuffer, *ids: str) -> set[str]:
    """What is said of each, without the id."""
    said: set[str] = set()
    for id in ids:
        assert not buffer.thread_exists(id)
        with pytest.raises(AccessRefused) as refused:
            buffer.get_thread(id)
        said.add(str(refused.value).replace(id, "ID") if id else str(refused.value))
    return said


async def test_ids_of_other_conversations_ended_ones_and_garbage_are_refused_in_the_same_words() -> None:
    said: set[str] = set()

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        buffer = get_context_buffer()
        live = [view.id for view in organism.threads if view.conversation != metadata.conversation]
        assert len(live) == 2
        said.update(await refusals(buffer, *live, ended.thread, f"{ended.conversation}-1", "no-such"))
        said.update(await refusals(buffer, f"{metadata.conversation}-999", metadata.conversation))
        own = metadata.thread_id
        for id in (
            "",
            " ",
            own + " ",
            own.upper() + "X",
            own[:-1],
            "../" + own,
            "\x00",
            "💥",
            "x" * 1_000_000,
        ):
            with pytest.raises(AccessRefused, match="expected one of this conversation") as refused:
                buffer.get_thread(id)
            assert len(str(refused.value)) < 500

    async with open_audited(listener("one", Ask, one), listener("hang", Ask, hang), BACK) as organism:
        ended = await organism.send(Ask("x"), to="back")
        await organism.wait(ended)
        other = await organism.send(Ask("x"), to="hang")
        outcome = await outcome_of(organism, Ask("x"), "one")
        assert outcome.state is ConversationState.COMPLETED, outcome
        await organism.kill(other.conversation)
    assert said == {"found the thread 'ID', expected one of this conversation"}


@pytest.mark.parametrize("id", [0, 1.5, b"x", object(), True, ("a",)])
async def test_what_is_no_id_at_all_is_refused(id: Any) -> None:
    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        assert not get_context_buffer().thread_exists(id)
        with pytest.raises(AccessRefused):
            get_context_buffer().get_thread(id)

    await run_in(one)


async def test_a_thread_of_its_own_conversation_that_has_ended_is_refused_like_one_that_never_was() -> None:
    ids: list[str] = []

    async def one(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse | None:
        buffer = get_context_buffer()
        if isinstance(payload, Ask):
            return HandlerResponse(payload, to="two")
        assert not buffer.thread_exists(ids[0])
        assert await refusals(buffer, *ids) == await refusals(buffer, "never")
        return None

    async def two(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        ids.append(metadata.thread_id)
        assert get_context_buffer().thread_exists(metadata.thread_id)
        return HandlerResponse.respond(Reply(payload.text))

    await run_in(one, listener("two", Ask, two))


async def test_callers_and_siblings_of_its_conversation_can_be_read() -> None:
    async def leaf(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        buffer = get_context_buffer()
        whole = buffer.get_conversation()
        assert [slot.metadata.to_id for slot in whole] == ["a", "b", "leaf"]
        for slot in whole:
            assert list(buffer.get_thread(slot.metadata.thread_id)) == [slot]
        return HandlerResponse.respond(Reply("done"))

    async with open_audited(step("a", "b"), step("b", "leaf"), listener("leaf", Ask, leaf)) as organism:
        assert await organism.ask(Ask("x"), to="a") == Reply("done")


# -- counts --------------------------------------------------------------------------------------
async def test_the_counts_are_those_of_its_own_conversation() -> None:
    stats: list[dict[str, int]] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        stats.append(get_context_buffer().get_stats())

    async with open_audited(listener("one", Ask, one), listener("hang", Note, hang)) as organism:
        other = await organism.send(Note("elsewhere"), to="hang")
        async with organism.open_conversation() as conversation:
            for _ in range(2):
                await organism.wait(await conversation.send(Ask("x"), to="one"))
        await organism.kill(other.conversation)
    size = len("<Ask><Text>x</Text></Ask>")
    assert stats == [
        {"thread_count": 2, "total_slots": 0, "total_bytes": 0},
        {"thread_count": 2, "total_slots": 1, "total_bytes": size},
    ]
