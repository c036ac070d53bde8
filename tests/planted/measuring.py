"""Counts how many runs it takes to see a planted bug: by a search of the simulation, or by Trio alone.

Decides nothing about what is good enough: the tests and the benchmark do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
import trio.testing

from phloem.errors import ScheduleFailure
from phloem.testing.sim import Report, explore, sweep

from .catalogue import PlantedBug

__all__ = ["runs_to_find", "runs_to_find_by_trio"]

FOR_EVER: Final = 1_000.0  # virtual seconds; the programs never sleep, so whoever waits so long is stuck


def runs_to_find(
    bug: PlantedBug, *, seed: int = 0, runs: int = 1_000, strategy: str = "portfolio"
) -> int | None:
    """The number of the first run that shows the bug; None if none of ``runs`` does.

    A sweep has as many runs as the program has steps, whatever ``runs`` and ``strategy`` say. The time
    that it takes includes shrinking what was found.
    """
    seen: list[Report] = []  # always the same one, which grows
    try:
        if bug.how == "sweep":
            sweep(bug.main, seed=seed, progress=seen.append)
        else:
            explore(bug.main, runs=runs, seed=seed, strategy=strategy, progress=seen.append)
    except ScheduleFailure:
        return seen[-1].runs if seen else 1
    return None


def runs_to_find_by_trio(main: Callable[[], Awaitable[Any]], *, runs: int = 1_000) -> int | None:
    """The same with nothing but ``trio.run`` and a clock that jumps; None if ``main`` never fails."""

    async def or_stuck() -> None:
        with trio.fail_after(FOR_EVER):
            await main()

    for number in range(1, runs + 1):
        try:
            trio.run(or_stuck, clock=trio.testing.MockClock(autojump_threshold=0))
        except Exception:
            return number
    return None
