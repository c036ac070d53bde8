"""A listener that holds each message until the test lets it go, and how many threads live meanwhile."""

from __future__ import annotations

import trio
import trio.testing

from phloem.config import ListenerConfig
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism

from .listeners import Ask, Reply, listener


class Gates:
    """A gate for each text; who has been let in answers once its gate is open."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self._gates: dict[str, trio.Event] = {}

    async def hold(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        self.entered.append(payload.text)
        await self._gates.setdefault(payload.text, trio.Event()).wait()
        return HandlerResponse.respond(Reply(payload.text))

    def open(self, text: str) -> None:
        self._gates.setdefault(text, trio.Event()).set()

    @property
    def listener(self) -> ListenerConfig:
        return listener("gate", Ask, self.hold)


def live(organism: Organism) -> int:
    """How many threads live, by two ways of counting."""
    counted: int = organism.context.get_stats()["thread_count"]
    assert counted == len(organism.threads)
    return counted


def free(organism: Organism) -> int:
    """Seats that nobody holds."""
    seats: int = organism.statistics()["seats"]["free"]
    return seats


async def settled() -> None:
    """Until every task waits for something."""
    await trio.testing.wait_all_tasks_blocked()
