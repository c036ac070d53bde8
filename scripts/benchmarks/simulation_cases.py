"""The cases on the simulation: what a simulated run costs beside a plain `trio.run` of the same program.

The pump is a plain Trio one of 100 messages, three workers and a limiter: 700 and some task steps. Plain
and simulated rounds go by turns, and the quickest of each are compared, for noise only ever adds.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
import trio.testing

from phloem import OrganismConfig, open_organism
from phloem.errors import ScheduleFailure
from phloem.testing import explore, simulate, sweep
from phloem.testing.sim.collecting import quiet_collector
from phloem.testing.sim.running import Settings, recipe_of, run

from .payloads import Ball
from .phloem_cases import players

Program = Callable[[], Awaitable[Any]]
TURNS: Final = 12  # of short rounds: some fall where no neighbour runs
ROUND: Final = 10  # runs: some 60 ms


def pump(messages: int) -> Program:
    """A source, three workers behind a limiter, a sink."""

    async def main() -> None:
        to_work, work = trio.open_memory_channel[int](8)
        to_sink, sink = trio.open_memory_channel[int](8)
        limiter = trio.CapacityLimiter(2)

        async def source() -> None:
            async with to_work:
                for number in range(messages):
                    await to_work.send(number)

        async def worker(inbox: trio.MemoryReceiveChannel[int], outbox: trio.MemorySendChannel[int]) -> None:
            async with inbox, outbox:
                async for number in inbox:
                    async with limiter:
                        await trio.lowlevel.checkpoint()
                    await outbox.send(number)

        async with to_work, work, to_sink, sink, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(worker, work.clone(), to_sink.clone())
            nursery.start_soon(source)
            await to_sink.aclose()
            found = [number async for number in sink]
        assert sorted(found) == list(range(messages)), found

    return main


async def organism() -> None:
    """60 hops through the production pump."""
    async with open_organism(OrganismConfig("bench", players())) as running:
        await running.ask(Ball(61), to="ping")


def _plain(program: Program) -> float:
    started = time.process_time()
    for _ in range(ROUND):
        trio.run(program, clock=trio.testing.MockClock(autojump_threshold=0))
    return (time.process_time() - started) / ROUND


def _simulated(program: Program, strategy: str) -> float:
    started = time.process_time()
    for seed in range(ROUND):
        if (failure := run(program, recipe_of(seed, strategy), Settings()).failure) is not None:
            raise failure
    return (time.process_time() - started) / ROUND


def overhead(program: Program, strategy: str) -> tuple[float, float]:
    """(CPU time of a simulated run over that of a plain one, seconds of the simulated one)."""
    with quiet_collector() as collect:
        plain, simulated = list[float](), list[float]()
        for _ in range(TURNS):
            plain.append(_plain(program))
            simulated.append(_simulated(program, strategy))
            collect()
    return min(simulated) / min(plain), min(simulated)


def sweep_seconds(messages: int) -> tuple[float, int]:
    """(seconds for a cancel at every step of the pump, how many steps that was)."""
    started = time.perf_counter()
    report = sweep(pump(messages))
    assert report.passed, report
    return time.perf_counter() - started, report.cancels


async def racy() -> None:
    """Three tasks pay into one account 40 times each, with a gap between reading and writing."""
    balance, between = [0], trio.lowlevel.checkpoint

    async def pay(rounds: int) -> None:
        for _ in range(rounds):
            await between()
            before = balance[0]
            await between()
            balance[0] = before + 1

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(pay, 40)
    assert balance[0] >= 80, balance


def shrunk() -> tuple[int, int, int]:
    """(steps, preemptions as found, preemptions left) of a failing schedule of some 250 steps."""
    try:
        explore(racy, runs=1_000, strategy="walk")
    except ScheduleFailure as failure:
        found = simulate(racy, seed=failure.seed, strategy="walk")
        return found.steps, sum(map(bool, found.schedule)), sum(map(bool, failure.schedule))
    raise AssertionError("not one of 1,000 schedules lost anything")
