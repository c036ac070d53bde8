"""Whoever is cancelled together with the organism he asks hears of no closed door: he is cancelled."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from phloem.config import ListenerConfig, OrganismConfig, WireLimits
from phloem.contract import xmlify
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import open_organism
from phloem.testing import sweep


@xmlify
@dataclass
class Note:
    text: str


async def answer(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
    await trio.sleep(1)
    return HandlerResponse.respond(payload)


def document(text: str) -> bytes:
    return f"<Note><Text>{text}</Text></Note>".encode()


async def strangers() -> None:
    config = OrganismConfig(
        "office",
        [ListenerConfig("clerk", Note, answer, "Answers notes.")],
        max_in_flight=2,
        wire=WireLimits(thread_parse_bytes=10),
    )
    async with open_organism(config) as organism, trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(organism.ask, Note(str(number)), "clerk")
            nursery.start_soon(organism.inject, document(str(number)))
        async with organism.open_conversation() as conversation:
            await conversation.inject(document("turn"))


@pytest.mark.parametrize("seed", range(3))
def test_a_stranger_cancelled_with_the_organism_hears_of_no_closed_door(seed: int) -> None:
    report = sweep(strangers, seed=seed, strategy="walk")
    assert report.passed
