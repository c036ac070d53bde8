"""Claims of pump/sources.py: whose messages they are, what is counted, what closing means."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from phloem.config import Budgets, MemoryLimits, OrganismConfig, WireLimits
from phloem.errors import CallerError, MessageRejected, OrganismClosed, SenderRefused, WouldDeadlock
from phloem.messages import ConversationState, HandlerMetadata
from phloem.organism import open_organism
from phloem.pump.sources import Source
from support.auditing import open_audited
from support.feeds import counts, envelope
from support.gates import Gates, settled
from support.listeners import BACK, HANG, SLOW, Ask, Reply, fall, listener

# -- figures ---------------------------------------------------------------------------------------


async def test_a_source_counts_what_became_of_its_messages(autojump_clock: trio.abc.Clock) -> None:
    bad = listener("bad", Ask, fall)
    async with open_audited(BACK, SLOW, HANG, bad, max_in_flight=4, shutdown_grace=0) as organism:
        async with organism.open_source("one") as one, organism.open_source("two") as two:
            assert await one.ask(Ask("x"), "back") == Reply("x")
            await one.inject(envelope("back"))
            await one.send(Ask("x"), "bad")
            await organism.wait_idle()
            with pytest.raises(MessageRejected):
                await one.inject("<Ask><Nothing/></Ask>")
            with pytest.raises(MessageRejected):
                await one.send(Ask("x"), "nobody")
            await one.send(Ask("x"), "slow", budgets=Budgets(seconds=1))
            await one.send(Ask("x"), "hang")
            await trio.sleep(2)
            assert counts(one) == (5, 2, 0, 1)
            assert counts(two) == (0, 0, 0, 0)
            ended = one.statistics()
            assert (ended["completed"], ended["failed"], ended["timed_out"]) == (2, 1, 1)
            assert organism.statistics()["sources"] == {
                "one": one.statistics(),
                "two": two.statistics(),
            }
            assert organism.statistics()["conversations"]["rejected"] == 2
        assert organism.statistics()["sources"] == {}
        assert counts(one) == (5, 2, 0, 1)
        await organism.shutdown(0)
    assert one.statistics()["drained"] == 1


# -- names and blocks ------------------------------------------------------------------------------


async def test_a_name_is_open_once_whatever_its_case_and_free_again_after_its_block() -> None:
    async with open_audited(BACK) as organism:
        async with organism.open_source("Console") as first:
            assert organism.sources == {"Console": first}
            with pytest.raises(SenderRefused, match="'Console' is open"):
                async with organism.open_source("console"):
                    pass
            assert (await first.send(Ask("x"), "back")).turn == 1
            await organism.send(Ask("x"), "back", sender="console")  # a stranger may say so still
        assert organism.sources == {}
        async with organism.open_source("console") as second:
            assert organism.sources == {"console": second}
        assert issubclass(SenderRefused, CallerError)
        assert issubclass(SenderRefused, ValueError)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "''"),
        (" ", "' '"),
        ("back", "'back'"),
        ("BACK", "'BACK'"),
        ("system", "'system'"),
        ("system.todo", "'system.todo'"),
        ("x" * 129, "'xxx"),
        ("a\x00", r"'a\x00'"),
        (3, "3"),
        (None, "None"),
    ],
)
async def test_a_name_that_a_stranger_may_not_have_is_refused(name: Any, said: str) -> None:
    async with open_audited(BACK) as organism:
        with pytest.raises(SenderRefused, match=re.escape(f"sender: found {said}")):
            async with organism.open_source(name):
                pass
        assert organism.sources == {}


async def test_messages_come_from_their_source() -> None:
    gates = Gates()
    seen: list[str] = []

    async def see(payload: Ask, metadata: HandlerMetadata) -> None:
        seen.append(metadata.from_id)
        await trio.lowlevel.checkpoint()

    async with (
        open_audited(gates.listener, listener("see", Ask, see)) as organism,
        organism.open_source("console") as source,
    ):
        assert source.name == "console"
        await source.send(Ask("x"), "see")
        await source.inject(envelope("see"))
        await organism.wait_idle()
    assert seen == ["console", "console"]


async def test_a_source_that_is_left_accepts_nothing_and_what_it_sent_goes_on() -> None:
    gates = Gates()
    async with open_audited(gates.listener) as organism:
        async with organism.open_source("console") as source:
            receipt = await source.send(Ask("a"), "gate")
            assert not source.closed
        assert source.closed
        for call in (source.send, source.ask):
            with pytest.raises(OrganismClosed, match="the source 'console' has been closed"):
                await call(Ask("b"), "gate")
        with pytest.raises(OrganismClosed, match="'console'"):
            await source.inject(envelope("gate"))
        gates.open("a")
        assert (await organism.wait(receipt)).state is ConversationState.COMPLETED
        assert counts(source) == (1, 0, 0, 0)


@pytest.mark.parametrize("where", ["seat", "threads", "reading"])
async def test_who_waits_in_a_source_that_is_closed_is_told_so_and_others_wait_on(where: str) -> None:
    gates = Gates()
    ways: dict[str, dict[str, Any]] = {
        "seat": {"max_in_flight": 1},
        "threads": {"memory": MemoryLimits(max_threads=2)},
        "reading": {"wire": WireLimits(thread_parse_bytes=10)},
    }
    settings = ways[where]
    told: list[str] = []

    async def waits(source: Source) -> None:
        try:
            await source.inject("<Ask><Text>waits</Text></Ask>")
        except OrganismClosed as error:
            told.append(str(error))
        else:
            told.append("accepted")

    async with open_audited(gates.listener, max_concurrent_pipelines=2, **settings) as organism:
        slots, held = organism._pump.slots, [object(), object()]
        if where == "reading":
            for each in held:
                slots.pipelines.acquire_on_behalf_of_nowait(each)
        else:
            await organism.send(Ask("first"), "gate")
        async with organism.open_source("stays") as stays, trio.open_nursery() as nursery:
            async with organism.open_source("goes", priority=True) as goes:
                for _ in range(3):
                    nursery.start_soon(waits, goes)  # noqa: ASYNC111 - outlives it on purpose
                nursery.start_soon(waits, stays)
                await settled()
                assert (counts(goes)[2], counts(stays)[2]) == (3, 1)
            await settled()
            assert told == ["the source 'goes' has been closed and takes no more messages"] * 3
            assert (counts(goes)[2], counts(stays)[2]) == (0, 1)
            gates.open("first")
            gates.open("waits")
            if where == "reading":
                for each in held:
                    slots.pipelines.release_on_behalf_of(each)
                organism._pump.carriers.pulse()
            while len(told) < 4:
                await settled()
                await trio.sleep(0.001)
            assert told[3] == "accepted"


async def test_a_document_that_is_read_while_its_source_closes_is_not_accepted() -> None:
    closing, reading = trio.Event(), trio.Event()

    class Slow:
        """A port in which reading takes until the source is closed."""

        async def visit(
            self, point: str, name: str, function: Callable[..., Awaitable[Any]], *args: Any
        ) -> Any:
            if point == "thread":
                reading.set()
                await closing.wait()
            return await function(*args)

    told: list[str] = []

    async def inject(source: Source) -> None:
        try:
            await source.inject("<Ask><Text>x</Text></Ask>")
        except OrganismClosed as error:
            told.append(str(error))

    config = OrganismConfig("x", [BACK], wire=WireLimits(thread_parse_bytes=10), max_in_flight=2)
    async with open_organism(config, faults=Slow()) as organism, trio.open_nursery() as nursery:
        async with organism.open_source("console") as source:
            nursery.start_soon(inject, source)  # noqa: ASYNC111 - outlives it on purpose
            await reading.wait()
        closing.set()
        await settled()
        await trio.sleep(0.01)
    assert told == ["the source 'console' has been closed and takes no more messages"]
    assert (organism.report.accepted, counts(source)) == (1, (0, 0, 0, 0))


async def test_a_handler_that_would_wait_in_a_source_is_told_that_it_would_deadlock() -> None:
    raised: list[str] = []
    sources: list[Source] = []

    async def tries(payload: Ask, metadata: HandlerMetadata) -> None:
        for call in (sources[0].send, sources[0].ask):
            with pytest.raises(WouldDeadlock):
                await call(Ask("x"), "tries")
            raised.append(call.__name__)

    async with (
        open_audited(listener("tries", Ask, tries), max_in_flight=1) as organism,
        organism.open_source("console") as source,
    ):
        sources.append(source)
        await source.send(Ask("x"), "tries")
        await organism.wait_idle()
    assert raised == ["send", "ask"]
