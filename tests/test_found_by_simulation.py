"""What simulations of random organisms have found: a small program of each, under schedules that meet it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trio

from phloem.config import ListenerConfig, MemoryLimits, OrganismConfig, WireLimits
from phloem.errors import OrganismClosed
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.testing.invariants import check_pump, open_watched_organism
from phloem.testing.sim import explore, sometimes

LONG = " " * 200
PARSED_ASIDE = WireLimits(thread_parse_bytes=len(LONG))


@dataclass
class Go:
    times: int


@dataclass
class Note:
    text: str


async def answer(payload: Note, metadata: HandlerMetadata) -> Any:
    return HandlerResponse.respond(payload)


def test_a_handlers_long_document_waits_for_no_slot_that_was_free_when_it_came() -> None:
    """It is read at once, for a handler that waits holds a slot that others wait for."""

    async def main() -> None:
        sent = trio.Event()

        async def inject(payload: Go, metadata: HandlerMetadata) -> Any:
            await organism.inject(f"<Note>{LONG}<Text>x</Text></Note>", sender="a handler")
            sent.set()
            return HandlerResponse.respond(payload)

        async def hold(payload: Go, metadata: HandlerMetadata) -> Any:
            sometimes(not sent.is_set(), "who holds the last slot waits for who injects")
            await sent.wait()
            return HandlerResponse.respond(payload)

        config = OrganismConfig(
            "slots",
            [
                ListenerConfig("injects", Go, inject, "injects"),
                ListenerConfig("holds", Go, hold, "holds a slot"),
                ListenerConfig("reads", Note, answer, "reads"),
            ],
            max_concurrent_pipelines=2,
            wire=PARSED_ASIDE,
        )
        async with open_watched_organism(config) as organism, trio.open_nursery() as nursery:
            nursery.start_soon(organism.ask, Go(1), "injects")
            nursery.start_soon(organism.ask, Go(1), "holds")

    explore(main, runs=40, strategy="walk", check=check_pump)


def test_nobody_is_said_to_wait_for_a_seat_once_the_door_is_closed() -> None:
    """Who waited for threads to end has been told, though his task has not run since."""

    async def main() -> None:
        async def late() -> None:
            try:
                await organism.send(Go(1))
            except OrganismClosed:
                sometimes(True, "somebody is told that it is closed")

        async def hold(payload: Go, metadata: HandlerMetadata) -> Any:
            await trio.sleep(1)
            return HandlerResponse.respond(payload)

        config = OrganismConfig(
            "gate",
            [ListenerConfig("holds", Go, hold, "holds a thread")],
            memory=MemoryLimits(max_threads=2),
        )
        async with trio.open_nursery() as strangers, open_watched_organism(config) as organism:
            await organism.send(Go(1))
            strangers.start_soon(late)
            strangers.start_soon(late)
            await trio.sleep(0.5)
            sometimes(organism.statistics()["seats"]["waiting"] == 2, "two wait at the gate")
            await organism.shutdown(0.0)
            assert organism.statistics()["seats"]["waiting"] == 0

    explore(main, runs=40, check=check_pump)
