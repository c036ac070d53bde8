"""The unit of every figure, and how one figure is told.

Decides what a checkpoint costs here, which clock is read, how memory is read and when a
figure holds. Knows nothing of phloem; every case of the benchmark uses it.

What only computes is measured in CPU time: a neighbour on the machine would else double a
figure from one run to the next. `Hops` keeps the wall clock beside it, so that a pump that
waits where it could work is seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

CHECKPOINTS: Final = 20_000  # about 0.1 s a round: long beside the timer, short beside a noisy neighbour
ROUNDS: Final = 7
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Figure:
    """One measured number: what it is, in which unit, and the most it may be.

    ``other`` is the same measured on the asyncio pump or bus, in the same unit.
    """

    name: str
    value: float
    unit: str
    hold: float | None = None
    other: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        return None if self.hold is None else self.value <= self.hold

    @property
    def mark(self) -> str:
        return {None: "", True: "pass", False: "OVER"}[self.holds]


@dataclass(frozen=True)
class Hops:
    """Seconds of CPU and of the wall clock for a hop, and the bytes all of them left after a fifth."""

    cpu: float
    wall: float
    grown: int


class Stopwatch:
    """Reads both clocks: started when made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def hops(self, count: int, grown: int) -> Hops:
        """What a hop took, if there were so many since."""
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        return Hops(cpu / count, wall / count, grown)


async def _checkpoints(count: int) -> float:
    checkpoint = trio.lowlevel.checkpoint
    started = time.process_time()
    for _ in range(count):
        await checkpoint()
    return (time.process_time() - started) / count


def checkpoint_seconds() -> float:
    """Seconds for one bare Trio checkpoint; the quickest round, since noise only ever adds."""
    return min(trio.run(_checkpoints, CHECKPOINTS) for _ in range(ROUNDS))


def per_call(function: Callable[[], object], count: int = 5_000) -> float:
    """Seconds for one call; the quickest round."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(count):
            function()
        best = min(best, (time.process_time() - started) / count)
    return best


def resident_bytes() -> int:
    """What this process keeps in memory now. Linux; 0 elsewhere."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE
    except OSError:
        return 0
