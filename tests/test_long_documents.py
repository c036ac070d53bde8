"""Documents that are parsed in a worker thread: what they hold meanwhile, and that they leave nothing.

The one place where real threads, and so real time, are the subject.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from phloem.config import OrganismConfig, WireLimits
from phloem.errors import OrganismClosed
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism, open_organism
from support.auditing import report_of
from support.listeners import Handle, Note, hang
from support.resting import organism_of
from support.wire import message


def document(text: str, to: str) -> str:
    return message(f'<Note xmlns=""><Text>{text}</Text></Note>', meta=f"<from>x</from><to>{to}</to>")


LONG = document("&amp;" * 200_000, "one")  # 1 MB; parsing it takes some 30 ms


def held_by(gate: trio.Event) -> Handle:
    async def hold(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        await gate.wait()
        return HandlerResponse.respond(payload)

    return hold


def with_one_slot(handler: Handle) -> OrganismConfig:
    """Every document is long, and the handler holds the slot it would be parsed in."""
    return organism_of(handler, max_concurrent_pipelines=1, wire=WireLimits(thread_parse_bytes=1))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a thread sets no event
        await trio.lowlevel.checkpoint()


async def test_a_long_document_is_parsed_in_a_thread_that_holds_a_pipeline_slot() -> None:
    async with open_organism(organism_of(hang)) as organism:
        slots = organism._pump.slots
        async with trio.open_nursery() as nursery:
            nursery.start_soon(organism.inject, LONG)
            with trio.fail_after(10):
                await until(lambda: slots.threads.borrowed_tokens == 1)
            assert slots.pipelines.borrowed_tokens == 1
            assert slots.handlers.borrowed_tokens == 0
            assert report_of(organism).accepted == 0
        assert slots.threads.borrowed_tokens == 0
        assert report_of(organism).accepted == 1
        await organism.shutdown(0)


async def test_cancelling_an_inject_while_its_document_is_parsed_is_all_or_nothing() -> None:
    receipts: list[object] = []

    async def inject(organism: Organism) -> None:
        receipts.append(await organism.inject(LONG))

    async with open_organism(organism_of(hang)) as organism:
        slots = organism._pump.slots
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inject, organism)
            with trio.fail_after(10):
                await until(lambda: slots.threads.borrowed_tokens == 1)
            nursery.cancel_scope.cancel()
        assert slots.threads.borrowed_tokens == 0
        assert report_of(organism).accepted == len(receipts)
        assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight - len(receipts)
        await organism.shutdown(0)
    assert slots.borrowed() == 0


async def test_long_documents_wait_for_a_slot_and_are_told_if_the_intake_closes_first() -> None:
    told: list[str] = []
    gate = trio.Event()
    async with open_organism(with_one_slot(held_by(gate))) as organism:
        await organism.send(Note("x"), to="one")
        await trio.testing.wait_all_tasks_blocked()

        async def late() -> None:
            with pytest.raises(OrganismClosed):
                await organism.inject(document("x", "echo"))
            told.append("closed")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(late)
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as impatient:
                impatient.start_soon(organism.inject, document("x", "echo"))
                await trio.testing.wait_all_tasks_blocked()
                impatient.cancel_scope.cancel()
            assert organism._pump.slots.threads.borrowed_tokens == 0
            seats = organism.config.max_in_flight - 2  # one who is heard, one who waits; who gave up has none
            assert organism.statistics()["seats"]["free"] == seats
            await organism.shutdown(0)
        assert told == ["closed"]
        assert organism._pump.slots.borrowed() == 0
    assert report_of(organism).accepted == 1


async def test_a_long_document_gets_the_slot_that_a_handler_gives_back() -> None:
    gate = trio.Event()
    async with open_organism(with_one_slot(held_by(gate))) as organism:
        first = await organism.send(Note("x"), to="one")
        async with trio.open_nursery() as nursery:
            answers: list[object] = []

            async def late() -> None:
                receipt = await organism.inject(document("y", "echo"))
                answers.extend((await organism.wait(receipt)).payloads)

            nursery.start_soon(late)
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
        assert answers == [Note("y")]
        assert (await organism.wait(first)).payloads == (Note("x"),)


async def test_leaving_the_block_waits_for_documents_that_others_brought() -> None:
    """A stranger's task may outlive the block; the organism's thread job may not."""
    async with trio.open_nursery() as strangers:

        async def inject(organism: Organism) -> None:
            with pytest.raises(OrganismClosed):
                await organism.inject(LONG)

        async with open_organism(organism_of(hang)) as organism:
            slots = organism._pump.slots
            strangers.start_soon(inject, organism)  # noqa: ASYNC111 - it outlives the block on purpose
            with trio.fail_after(10):
                await until(lambda: slots.threads.borrowed_tokens == 1)
        assert slots.threads.borrowed_tokens == 0
        assert slots.borrowed() == 0
    assert report_of(organism).accepted == 0
