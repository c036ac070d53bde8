"""Sources take turns wherever they wait: at seats, threads, long documents and handlers."""

from __future__ import annotations

import pytest
import trio

from phloem.config import MemoryLimits, WireLimits
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism
from phloem.pump.sources import Source
from support.auditing import open_audited
from support.feeds import counts
from support.gates import Gates, settled
from support.listeners import BACK, Ask, listener

FLOOD = 500


class Clerk:
    """A listener that takes a second for each message, one at a time, and writes down whose it was."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.listener = listener("clerk", Ask, self.serve, max_concurrent=1)

    async def serve(self, payload: Ask, metadata: HandlerMetadata) -> None:
        self.served.append(metadata.from_id)
        await trio.sleep(1)


# -- turns -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seats", [1, 2, 3, 100, 1_000])
async def test_a_flood_from_one_source_delays_another_by_one_message(
    seats: int, autojump_clock: trio.abc.Clock
) -> None:
    clerk = Clerk()
    async with (
        open_audited(clerk.listener, max_in_flight=seats, shutdown_grace=9_999) as organism,
        organism.open_source("flood") as flood,
        organism.open_source("calm") as calm,
        trio.open_nursery() as nursery,
    ):
        for number in range(FLOOD):
            nursery.start_soon(flood.send, Ask(str(number)), "clerk")
        await trio.sleep(10.5)
        before = len(clerk.served)
        assert before == 11
        await calm.send(Ask("calm"), "clerk")
        await trio.sleep(2)
        between = clerk.served[before:].index("calm")
        assert between <= 1, "the one that was served already is not counted"
    assert len(clerk.served) == FLOOD + 1


@pytest.mark.parametrize("seats", [1, 2, 7, 1_000])
async def test_each_flooding_source_delays_another_by_one_message(
    seats: int, autojump_clock: trio.abc.Clock
) -> None:
    clerk = Clerk()
    async with (
        open_audited(clerk.listener, max_in_flight=seats, shutdown_grace=9_999) as organism,
        organism.open_source("a") as a,
        organism.open_source("b") as b,
        organism.open_source("calm") as calm,
        trio.open_nursery() as nursery,
    ):
        for number in range(100):
            for source in (a, b, organism):  # strangers without a source are one together
                nursery.start_soon(source.send, Ask(str(number)), "clerk")
        await trio.sleep(10.5)
        before = len(clerk.served)
        await calm.send(Ask("calm"), "clerk")
        await trio.sleep(5)
        between = clerk.served[before : clerk.served.index("calm")]
        assert len(between) <= 3
        assert len(set(between)) == len(between)
        nursery.cancel_scope.cancel()
        await organism.shutdown(0)


@pytest.mark.parametrize("seats", [1, 1_000])
async def test_an_urgent_source_goes_before_all_others(seats: int, autojump_clock: trio.abc.Clock) -> None:
    clerk = Clerk()
    async with (
        open_audited(clerk.listener, max_in_flight=seats, shutdown_grace=9_999) as organism,
        organism.open_source("flood") as flood,
        organism.open_source("alarm", priority=True) as alarm,
        trio.open_nursery() as nursery,
    ):
        assert (alarm.priority, flood.priority) == (True, False)
        for number in range(20):
            nursery.start_soon(flood.send, Ask(str(number)), "clerk")
        await trio.sleep(3.5)
        for number in range(5):
            nursery.start_soon(alarm.send, Ask(str(number)), "clerk")
        await trio.sleep(6)
        assert clerk.served[:4] == ["flood"] * 4
        assert clerk.served[4:9] == ["alarm"] * 5
    assert len(clerk.served) == 25


async def test_who_waits_for_threads_to_end_waits_in_turn_as_well(autojump_clock: trio.abc.Clock) -> None:
    clerk = Clerk()
    limits = MemoryLimits(max_threads=2)  # the root's and the clerk's: one conversation
    async with (
        open_audited(clerk.listener, memory=limits, shutdown_grace=9_999) as organism,
        organism.open_source("flood") as flood,
        organism.open_source("calm") as calm,
        organism.open_source("alarm", priority=True) as alarm,
        trio.open_nursery() as nursery,
    ):
        for number in range(100):
            nursery.start_soon(flood.send, Ask(str(number)), "clerk")
        await trio.sleep(2.5)
        assert counts(flood)[2] == 97
        nursery.start_soon(calm.send, Ask("calm"), "clerk")
        await trio.sleep(0.1)
        nursery.start_soon(alarm.send, Ask("alarm"), "clerk")
        await trio.sleep(0.1)
        assert (counts(calm)[2], counts(alarm)[2]) == (1, 1)
        assert organism.statistics()["seats"]["waiting"] == 99
        await trio.sleep(4)
        assert clerk.served == ["flood"] * 3 + ["alarm", "flood", "calm", "flood"]
        nursery.cancel_scope.cancel()
        await organism.shutdown(0)


async def test_long_documents_are_read_in_turn() -> None:
    gates = Gates()
    limits = WireLimits(thread_parse_bytes=10)
    read: list[str] = []
    async with open_audited(gates.listener, wire=limits, max_concurrent_pipelines=1) as organism:
        slots = organism._pump.slots
        held = object()
        slots.pipelines.acquire_on_behalf_of_nowait(held)  # no document can be read for now

        async def inject(source: Source, text: str) -> None:
            await source.inject(f"<Ask><Text>{text}</Text></Ask>")
            read.append(text)

        async with (
            organism.open_source("flood") as flood,
            organism.open_source("calm") as calm,
            trio.open_nursery() as nursery,
        ):
            for number in range(20):
                nursery.start_soon(inject, flood, f"f{number}")
            await settled()
            nursery.start_soon(inject, calm, "calm")
            await settled()
            assert (counts(flood)[2], counts(calm)[2]) == (20, 1)
            for text in ("calm", *(f"f{number}" for number in range(20))):
                gates.open(text)
            slots.pipelines.release_on_behalf_of(held)
            organism._pump.carriers.pulse()
        assert read.index("calm") <= 2


async def test_what_a_conversation_of_a_source_goes_on_to_do_is_its_sources_turn(
    autojump_clock: trio.abc.Clock,
) -> None:
    clerk = Clerk()

    async def passes_on(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        await trio.lowlevel.checkpoint()
        return [HandlerResponse(Ask(str(number)), "clerk") for number in range(int(payload.text))]

    served: list[str] = []

    async def serve(payload: Ask, metadata: HandlerMetadata) -> None:
        served.append(metadata.conversation)
        await trio.sleep(1)

    clerk.listener = listener("clerk", Ask, serve, max_concurrent=1)
    front = listener("front", Ask, passes_on)
    async with (
        open_audited(front, clerk.listener, shutdown_grace=9_999) as organism,
        organism.open_source("flood") as flood,
        organism.open_source("calm") as calm,
    ):
        receipts = [await flood.send(Ask("3"), "front") for _ in range(3)]
        await trio.sleep(0.5)
        mine = await calm.send(Ask("3"), "front")
        await organism.wait_idle()
    flood_ids = {receipt.conversation for receipt in receipts}
    owners = ["c" if id == mine.conversation else "f" for id in served]
    assert "".join(owners) in ("ffcfcfcfffff", "fcfcfcffffff")
    assert set(served) == flood_ids | {mine.conversation}


async def test_what_handlers_send_without_a_source_belongs_to_none() -> None:
    organisms: list[Organism] = []

    async def send(payload: Ask, metadata: HandlerMetadata) -> None:
        await organisms[0].send(Ask("from within"), "back")

    async with open_audited(BACK, listener("sender", Ask, send)) as organism:
        organisms.append(organism)
        async with organism.open_source("calm", priority=True) as calm:
            await calm.send(Ask("x"), "sender")
            await organism.wait_idle()
            assert counts(calm) == (1, 0, 0, 0)
    assert organism.report.accepted == 3, "Boot, what came in and what its handler sent"
