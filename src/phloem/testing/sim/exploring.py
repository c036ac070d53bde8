"""``explore``: many schedules of one program, until one fails.

Decides which run has which seed and strategy. ``pct`` expects the program to be as long as it was at its
longest so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from .injecting import FaultPlan
from .report import Report
from .running import MAX_STEPS, Check, Main, Settings, recipe_of
from .searching import Search
from .strategies import LENGTH, Strategy, concrete

__all__ = ["explore"]

LOOK_AT: Final = 10  # runs whose places are looked at in any case…
LOOK_EVERY: Final = 20  # …and then every so many: it doubles what a run costs


def explore(
    main: Main,
    *,
    runs: int = 1000,
    seed: int = 0,
    strategy: str = Strategy.PORTFOLIO,
    check: Check | None = None,
    faults: FaultPlan | None = None,
    keep_going: bool = False,
    max_steps: int = MAX_STEPS,
    resources: bool = False,
    command: Callable[[str], str] | None = None,
    progress: Callable[[Report], object] | None = None,
) -> Report:
    """Run ``main`` under ``runs`` seeds from ``seed`` on, each with a schedule of its own.

    A run fails by what ``main`` raises, by a deadlock, by what ``check(result)`` raises, and with
    ``resources`` by what it leaves behind. The first failure is shrunk to few preemptions (and faults),
    had again, and raised as ScheduleFailure; with ``keep_going`` up to twenty different ones are kept in
    the report. ``command`` makes the line to paste of a token; ``progress`` is called after each run.

    Raises ValueError for a strategy or a number of runs that is none, ScheduleFailure, and
    SimulationUnsupported. Not async.
    """
    if runs < 1:
        raise ValueError(f"runs: found {runs}, expected 1 or more")
    concrete(strategy, 0, LENGTH)
    search = Search(
        "explore",
        main,
        Settings(faults, max_steps),
        check=check,
        keep_going=keep_going,
        command=command,
        progress=progress,
    )
    report = search.report
    report.planned = runs
    with search.open():
        for number in range(runs):
            recipe = recipe_of(seed + number, strategy, number, report.longest or LENGTH)
            look = number < LOOK_AT or number % LOOK_EVERY == 0
            search.try_(replace(recipe, resources=resources), look_from=0 if look else math.inf)
            if search.full:
                break
    report.not_covered = search.places()
    if report.runs < runs:
        report.not_covered += (f"{runs - report.runs} runs after as many different failures as are kept",)
    return search.finish(finished=report.runs == runs)
