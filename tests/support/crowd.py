"""A crowd at the way in, for simulations: few seats, fewer threads, long documents, and little patience.

Strangers give up in line for a seat, with a seat in line for threads to end, while their document is
parsed, on the step from there to the books, and at their answer. Whoever goes leaves his seat to others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import trio

from phloem.config import ListenerConfig, MemoryLimits, OrganismConfig, WireLimits
from phloem.errors import ConversationFailed
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism
from phloem.testing.invariants import open_watched_organism

STRANGERS: Final = 7
LONG: Final = " " * 120  # white space that makes a document long enough to be parsed aside
CONFIG: Final = OrganismConfig(
    "crowd",
    max_in_flight=3,
    wire=WireLimits(thread_parse_bytes=len(LONG)),
    memory=MemoryLimits(max_threads=3),  # a conversation here has two: the second seat's holder waits
)


@dataclass
class Knock:
    times: int


async def answer(payload: Knock, metadata: HandlerMetadata) -> Any:
    """After a while that is as long as some strangers' patience."""
    await trio.sleep(0.1 * payload.times)
    return HandlerResponse.respond(payload)


async def _stranger(organism: Organism, number: int) -> None:
    for patience in (0.1 * (number % 3), 0.15, 500.0):  # the last is for sweeps, which let it fire anywhere
        with trio.move_on_after(patience):
            try:
                if number % 2:
                    await organism.ask(Knock(1 + number // 2 % 2))
                else:
                    receipt = await organism.inject(f"<Knock>{LONG}<Times>1</Times></Knock>")
                    await organism.wait(receipt)
            except ConversationFailed:
                pass  # all of it was cut


async def crowd() -> None:
    """Until each stranger has come three times; then all seats are free again, as the watch looks."""
    porter = ListenerConfig("porter", Knock, answer, "answers")
    async with (
        open_watched_organism(CONFIG, listeners=[porter]) as organism,
        trio.open_nursery() as nursery,
    ):
        for number in range(STRANGERS):
            nursery.start_soon(partial(_stranger, organism, number), name=f"stranger {number}")
