"""Handlers that run in the host's loop: values, errors and cancellation, from Trio's side to the host's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import sniffio
import trio

from phloem import (
    ConfigurationError,
    ConversationFailed,
    ListenerConfig,
    Organism,
    OrganismConfig,
    WouldDeadlock,
    get_context_buffer,
    on_host,
    open_organism,
)
from phloem.embedding.readers import read_from_host
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from support.embedded import in_loops, opened, until
from support.listeners import BACK, Ask, Reply, listener

WHO: ContextVar[str] = ContextVar("who", default="nobody")


def hosted(handler: Any, **more: Any) -> ListenerConfig:
    return listener("hosted", Ask, on_host(handler), **more)


class Hangs:
    """Waits in the host's loop, and takes some turns to leave."""

    def __init__(self, answer: str | None = None) -> None:
        self.entered = self.cancels = self.left = 0
        self.answer = answer

    async def __call__(self, payload: Any, metadata: HandlerMetadata) -> HandlerResponse | None:
        self.entered += 1
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            self.cancels += 1
            await asyncio.sleep(0.003)  # noqa: ASYNC102
            self.left += 1
            if self.answer is None:
                raise
        return None if self.answer is None else HandlerResponse.respond(Reply(self.answer))


@in_loops
async def test_a_hosted_handler_runs_in_the_loop_in_its_callers_context() -> None:
    async def handler(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        assert sniffio.current_async_library() == "asyncio"
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is not None
        assert not trio.lowlevel.in_trio_task()
        assert len(get_context_buffer().get_thread(metadata.thread_id)) == 1
        await asyncio.sleep(0.001)
        return HandlerResponse.respond(Reply(f"{payload.text} {WHO.get()}"))

    loop = asyncio.get_running_loop()
    async with opened(hosted(handler)) as organism:
        WHO.set("me")
        assert await organism.ask(Ask("x"), to="hosted") == Reply("x me")


@in_loops
async def test_what_a_hosted_handler_raises_is_its_failure() -> None:
    async def fails(payload: Any, metadata: HandlerMetadata) -> None:
        await asyncio.sleep(0)
        if payload.text == "cancel":
            raise asyncio.CancelledError
        raise LookupError("in the host")

    async with opened(hosted(fails)) as organism:
        with pytest.raises(ConversationFailed, match="raised LookupError: in the host"):
            await organism.ask(Ask("x"), to="hosted")
        with pytest.raises(ConversationFailed, match="raised CancelledError"):
            await organism.ask(Ask("cancel"), to="hosted")


@in_loops
async def test_a_killed_handler_is_cancelled_in_the_loop_and_waited_for() -> None:
    hangs = Hangs()
    async with opened(hosted(hangs)) as organism:
        receipt = await organism.send(Ask("x"), to="hosted")
        await until(lambda: hangs.entered)
        await organism.kill(receipt.conversation)
        assert (hangs.cancels, hangs.left) == (1, 1)
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await organism.ask(Ask("x"), to="hosted")
        await organism.wait_idle()
        assert (hangs.cancels, hangs.left) == (2, 2)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "phloem host call"]


@in_loops
async def test_a_deadline_crosses_and_what_came_all_the_same_is_dropped_with_it() -> None:
    for hangs in (Hangs(), Hangs("too late")):
        async with opened(hosted(hangs, handler_timeout=0.005)) as organism:
            if hangs.answer is None:
                with pytest.raises(ConversationFailed, match="overran its deadline"):
                    await organism.ask(Ask("x"), to="hosted")
            else:  # as on Trio: a handler that returns normally after its deadline is handled
                assert await organism.ask(Ask("x"), to="hosted") == Reply("too late")
        assert (hangs.cancels, hangs.left) == (1, 1)


@in_loops
async def test_an_organism_that_ends_takes_its_hosted_handlers_along() -> None:
    hangs = Hangs()
    with pytest.raises(LookupError):  # noqa: PT012
        async with opened(hosted(hangs)) as organism:
            await organism.send(Ask("x"), to="hosted")
            await until(lambda: hangs.entered)
            raise LookupError
    assert (hangs.cancels, hangs.left) == (1, 1)


@in_loops
async def test_a_handler_cancelled_before_its_first_step_in_the_loop_is_not_entered() -> None:
    hangs = Hangs()
    async with opened(hosted(hangs)) as organism:
        for _ in range(20):
            receipt = await organism.send(Ask("x"), to="hosted")
            await organism.kill(receipt.conversation)
        await organism.wait_idle()
        assert hangs.entered == hangs.left


@in_loops
async def test_a_hosted_handler_that_would_wait_for_its_organism_is_refused_and_may_send() -> None:
    async def asks(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        with pytest.raises(WouldDeadlock):
            await found[0].ask(Ask("y"), to="back")
        receipt = await found[0].send(Ask("y"), to="back")
        return HandlerResponse.respond(Reply(receipt.conversation))

    found: list[Organism] = []
    async with opened(BACK, hosted(asks)) as organism:
        found.append(organism)
        assert (await organism.ask(Ask("x"), to="hosted")).text != ""
        await organism.wait_idle()


@in_loops
async def test_many_hosted_handlers_at_once() -> None:
    async def handler(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        await asyncio.sleep(0)
        return HandlerResponse.respond(Reply(payload.text))

    async with opened(hosted(handler)) as organism, asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(organism.ask(Ask(str(n)), to="hosted")) for n in range(200)]
    assert [task.result().text for task in answers] == [str(n) for n in range(200)]


async def test_on_trio_there_is_no_host_and_the_configuration_says_so() -> None:
    with pytest.raises(ConfigurationError, match="host"):
        async with open_organism(OrganismConfig("no host", (hosted(Hangs()),))):
            pytest.fail("nobody could call it")


# -- what the host hands in ---------------------------------------------------------------------------


@in_loops
async def test_a_source_of_the_hosts_is_read_in_its_loop_and_closed_there() -> None:
    closed: list[str] = []

    async def messages() -> AsyncIterator[Ask]:
        try:
            for number in range(1_000):
                await asyncio.sleep(0)
                assert not trio.lowlevel.in_trio_task()
                yield Ask(str(number))
        finally:
            await asyncio.sleep(0)  # noqa: ASYNC102
            closed.append(sniffio.current_async_library())

    async with opened(BACK) as organism:
        async with organism.open_batch(messages(), max_in_flight=3) as results:
            first = await anext(results)
            assert first.outcome.payloads == (Reply("0"),)
        await until(lambda: closed)
    assert closed == ["asyncio"]


@in_loops
async def test_what_a_source_of_the_hosts_raises_is_raised() -> None:
    async def messages() -> AsyncIterator[Ask]:
        yield Ask("0")
        raise LookupError("no more")

    async with opened(BACK) as organism:
        with pytest.raises(LookupError, match="no more"):  # noqa: PT012
            async with organism.open_batch(messages()) as results:
                async for _ in results:
                    pass


@in_loops
async def test_streams_of_the_hosts_are_attached() -> None:
    reader = asyncio.StreamReader()
    send, receive = anyio.create_memory_object_stream[bytes](10)
    process = await anyio.open_process([sys.executable, "-c", "print('<Ask><Text>p</Text></Ask>')"])
    async with opened(BACK) as organism, process:
        assert process.stdout is not None
        streams = {"reader": reader, "channel": receive, "process": process.stdout}
        attached = [organism.attach(stream, sender=name) for name, stream in streams.items()]
        reader.feed_data(b"<Ask><Text>r</Text></Ask>\n")
        reader.feed_eof()
        await send.send(b"<Ask><Text>")
        await send.send(b"c</Text></Ask>")
        await send.aclose()
        for each in attached:
            await each.wait_done()
        await organism.wait_idle()
        assert [each.statistics()["messages"] for each in attached] == [1, 1, 1]
        assert [each.statistics()["error"] for each in attached] == [None, None, None]
        assert organism.report.handled == 4  # Boot as well
    receive.close()


@in_loops
async def test_an_attached_stream_of_the_hosts_that_hangs_ends_with_its_organism() -> None:
    reader = asyncio.StreamReader()
    send, receive = anyio.create_memory_object_stream[bytes](10)
    async with opened(BACK) as organism:
        attached = [organism.attach(stream, sender=name) for name, stream in (("a", reader), ("b", receive))]
        await asyncio.sleep(0.002)
    assert [each.closed for each in attached] == [True, True]
    reader.feed_data(b"x")
    assert await reader.read(1) == b"x", "it stays its owner's"
    send.close()
    receive.close()


@in_loops
async def test_a_source_sends_from_the_hosts_side() -> None:
    async with opened(BACK) as organism, organism.open_source("console") as source:
        assert await source.ask(Ask("x"), to="back") == Reply("x")
        receipt = await source.send(Ask("y"), to="back")
        assert (await organism.wait(receipt)).payloads == (Reply("y"),)
        await source.inject("<Ask><Text>x</Text></Ask>")
        assert source.statistics()["accepted"] == 3


async def test_what_is_trios_own_is_read_where_it_is() -> None:
    class NoHost:
        async def call(self, function: Any, *args: Any) -> Any:
            raise AssertionError("nobody asked for the host")

    send, receive = trio.open_memory_channel[int](1)
    for own in (receive, [1, 2], "a/path"):
        assert read_from_host(NoHost(), own) is own
    with open(__file__, "rb") as file:  # noqa: ASYNC230 - it is not read
        async_file = trio.wrap_file(file)
        assert read_from_host(NoHost(), async_file) is async_file
    send.close()
    receive.close()
