"""The cases on embedding: what a call costs from an event loop, one after another and 3,000 at once.

Two calls: ``kill`` of a conversation that is not there, which does nothing but cross; and ``ask``, a whole
conversation. Times are wall-clock: the way over to an idle guest is a wake-up of a thread, which costs
no CPU to speak of. Each is the quickest of some rounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from statistics import median
from typing import Any, Final

import anyio
import trio

from phloem import HandlerMetadata, HandlerResponse, ListenerConfig, Organism, OrganismConfig, open_organism

from .payloads import Ball

ROUNDS: Final = 5
Call = Callable[[Organism], Coroutine[Any, Any, None]]


async def answer(ball: Ball, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(ball)


async def hang(ball: Ball, metadata: HandlerMetadata) -> None:
    await trio.sleep_forever()


CONFIG: Final = OrganismConfig(
    "embedded",
    (
        ListenerConfig("answers", Ball, answer, "Gives the ball back."),
        ListenerConfig("hangs", Ball, hang, "Keeps it."),
    ),
    max_in_flight=10_000,
    max_concurrent_handlers=10_000,
)


async def nothing(organism: Organism) -> None:
    assert await organism.kill("nobody") is False


async def ask(organism: Organism) -> None:
    assert await organism.ask(Ball(1), to="answers") == Ball(1)


CALLS: Final = {"a call that only crosses": nothing, "an ask": ask}


def _run(backend: str, main: Callable[[], Awaitable[float]]) -> float:
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    name = "trio" if backend == "trio" else "asyncio"
    return anyio.run(main, backend=name, backend_options=options)


def in_turn(backend: str, call: Call, count: int) -> float:
    """Seconds for each of ``count`` calls, one after another."""

    async def main() -> float:
        async with open_organism(CONFIG) as organism:
            times: list[float] = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                for _ in range(count):
                    await call(organism)
                times.append(time.perf_counter() - started)
            return min(times) / count

    return _run(backend, main)


def at_once(backend: str, call: Call, count: int) -> float:
    """Seconds for each of ``count`` calls that are all begun before the first has ended."""

    async def main() -> float:
        async with open_organism(CONFIG) as organism:
            times: list[float] = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                async with anyio.create_task_group() as tasks:
                    for _ in range(count):
                        tasks.start_soon(call, organism)
                times.append(time.perf_counter() - started)
            return min(times) / count

    return _run(backend, main)


def cancel_seconds(backend: str, count: int) -> float:
    """Seconds from a host's cancel until it has been to Trio's side and back; the median."""

    async def main() -> float:
        async with open_organism(CONFIG) as organism:
            receipt = await organism.send(Ball(1), to="hangs")
            times: list[float] = []
            for _ in range(count):
                task = asyncio.create_task(organism.wait(receipt))
                await asyncio.sleep(0.001)
                started = time.perf_counter()
                task.cancel()
                await asyncio.wait([task])
                times.append(time.perf_counter() - started)
            await organism.kill(receipt.conversation)
            return median(times)

    return _run(backend, main)
