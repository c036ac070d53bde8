"""The program that ``phloem sim`` simulates: an organism opened anew, a batch sent to it side by side.

Decides where the organism's ports come from (the run: chance, faults and time; ids are the same in every
run, so that traces can be compared), and what the oracle of a run is: the pump's promises, ``judging``,
and whether it came to the same as the first. Opens no file and starts no thread. ``simulation`` runs it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, final

import trio

from phloem.config import OrganismConfig
from phloem.errors import MessageRejected, NotSimulated, OrganismClosed
from phloem.framing.requests import Request
from phloem.organism import Organism
from phloem.pump.observer import Observer, Observers
from phloem.pump.ports import SeededIds
from phloem.pump.routing import twin_keys
from phloem.testing.confluence import Confluence
from phloem.testing.invariants import check_pump, open_watched_organism
from phloem.testing.sim import Result, current_run

from .judging import Book

__all__ = ["Main", "Scenario"]

Main = Callable[[], Awaitable[tuple[str, ...]]]
_IDS: Final = b"phloem sim"  # the n-th conversation has one id, whatever the seed


@final
class Scenario:
    """One organism and one batch. ``main`` is a run of them, ``check`` its oracle."""

    def __init__(
        self,
        config: OrganismConfig,
        requests: Sequence[Request],
        *,
        confluent: bool = True,
        deadlines: bool = True,
    ) -> None:
        """``confluent``: compare what becomes of each message; ``deadlines``: to meet one is a violation."""
        self.name = config.name
        self.entered: set[str] = set()  # keys of listeners that had a message in some run
        self.states: set[str] = set()  # how conversations ended in some run
        self._config, self._requests = config, tuple(requests)
        self._confluence = Confluence() if confluent else None
        self._deadlines = deadlines
        self.confluent = confluent
        self.listeners = twin_keys([own.name for own in config.listeners])
        self.main = self.recorded(None)

    def recorded(self, recorder: Observer | None) -> Main:
        """``main``, told to a recorder as well. Has the same digest."""

        async def program() -> tuple[str, ...]:
            return await self._program(recorder)

        watched = program if self._confluence is None else self._confluence.watching(program)

        async def main() -> tuple[str, ...]:
            ends: tuple[str, ...] = await watched()
            return ends

        main.__module__, main.__qualname__ = self._config.name, "batch"  # as reports name it
        return main

    def check(self, result: Result) -> None:
        """The oracle: raises what is wrong with a run that did not fail by itself."""
        check_pump(result)
        for book in result.found:
            if isinstance(book, Book):
                book.judge(result, deadlines=self._deadlines)
        if self._confluence is not None and not result.faults:
            self._confluence.check(result)

    async def _program(self, recorder: Observer | None) -> tuple[str, ...]:
        run = current_run()
        if run is None:
            raise NotSimulated(
                "found no simulation running, expected to be called within simulate or explore"
            )
        book = Book(self.entered, self.states)
        run.found.append(book)
        listeners = [
            replace(own, handler=None if own.handler is None else book.around(own.handler))
            for own in self._config.listeners
        ]
        ends = dict[int, str]()
        async with (
            open_watched_organism(
                replace(self._config, listeners=listeners),
                observer=book if recorder is None else Observers(book, recorder),
                ids=SeededIds(_IDS),
                random=random.Random(run.random.getrandbits(64)),
                faults=run.faults,
            ) as organism,
            trio.open_nursery() as messages,
        ):
            for number, request in enumerate(self._requests):
                messages.start_soon(_carry, organism, number, request, ends, name=f"message {request.id}")
        return tuple(ends[number] for number in sorted(ends))


async def _carry(organism: Organism, number: int, request: Request, ends: dict[int, str]) -> None:
    """One message, from sending to its conversation's end."""
    try:
        if request.payload is not None:
            receipt = await organism.send(request.payload, request.to)
        else:
            receipt = await organism.inject(request.xml)
    except MessageRejected:
        ends[number] = f"{request.id}: rejected"
    except OrganismClosed:  # a handler may shut it down
        ends[number] = f"{request.id}: not sent"
    else:
        outcome = await organism.wait(receipt)
        ends[number] = f"{request.id}: {outcome.state}"
