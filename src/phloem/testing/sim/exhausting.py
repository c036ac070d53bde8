"""``exhaust``: every schedule with at most so many preemptions.

Decides the order: depth first, each run the last one's schedule with its last choice that can be changed
changed. A preemption is a switch away from a task that could have gone on; where a task waits, whoever
goes on is free (iterative context bounding: Musuvathi and Qadeer, PLDI 2007).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Final, final

from .report import Report
from .running import MAX_STEPS, Check, Main, Settings
from .scheduling import Watch
from .searching import Search
from .tokens import Recipe

__all__ = ["exhaust"]

LOOK_AT: Final = 10  # runs whose places are looked at
MAX_RUNS: Final = 100_000  # some minutes of a small program; a larger one is not finished in hours either


def exhaust(
    main: Main,
    *,
    preemptions: int = 2,
    check: Check | None = None,
    seed: int = 0,
    keep_going: bool = False,
    max_runs: int = MAX_RUNS,
    max_steps: int = MAX_STEPS,
    resources: bool = False,
    command: Callable[[str], str] | None = None,
    progress: Callable[[Report], object] | None = None,
) -> Report:
    """Run every schedule of ``main`` with at most ``preemptions`` preemptions, under one ``seed``.

    ``Report.finished`` says whether there was an end to them within ``max_runs``; if not, the report says
    how far it came. Fails as ``explore`` does. For small programs: n steps of k tasks have about
    (n * k) ** preemptions schedules, times the orders in which waiting tasks are taken up.
    """
    if preemptions < 0 or max_runs < 1:
        raise ValueError(
            f"exhaust: found preemptions={preemptions}, max_runs={max_runs}, expected 0 and 1 or more"
        )
    search = Search(
        "exhaust",
        main,
        Settings(None, max_steps),
        check=check,
        keep_going=keep_going,
        command=command,
        progress=progress,
    )
    report = search.report
    path: list[_Choice] = []
    finished = alike = False
    with search.open():
        while report.runs < max_runs and not search.full:
            made = list[_Choice]()
            recipe = Recipe(seed, "exhaust", tuple(choice.code for choice in path), resources=resources)
            search.try_(recipe, look_from=0 if report.runs < LOOK_AT else math.inf, watch=_noting(made))
            alike = _shape(path) == _shape(made[: len(path)])
            if not alike:
                break
            path = made
            if not _advance(path, preemptions):
                finished = True
                break
    report.not_covered = search.places()
    if not finished:
        report.not_covered += (
            f"cut short after {report.runs} runs: {_open(path, preemptions, alike=alike)}",
        )
    return search.finish(finished=finished)


@final
class _Choice:
    """One tick in which several tasks could run: how many, which was taken, and what another costs."""

    __slots__ = ("code", "costs", "count")

    def __init__(self, code: int, count: int, costs: bool) -> None:
        self.code, self.count, self.costs = code, count, costs


def _noting(made: list[_Choice]) -> Watch:
    return lambda code, count, costs: made.append(_Choice(code, count, costs))


def _shape(path: list[_Choice]) -> list[tuple[int, int]]:
    return [(choice.code, choice.count) for choice in path]


def _open(path: list[_Choice], preemptions: int, *, alike: bool) -> str:
    if not alike:
        return "the last did not have the choices of its schedule; check_determinism and audit say where"
    spent = itertools.accumulate((each.costs and each.code > 0 for each in path), initial=0)
    free = ((each, before) for each, before in zip(path, spent, strict=False))
    count = sum(each.count - 1 - each.code for each, before in free if not each.costs or before < preemptions)
    return f"{1 + count} choices or more are open"


def _advance(path: list[_Choice], preemptions: int) -> bool:
    """Change the last choice that can be changed, and drop what came after it; False if there is none."""
    spent = [0]
    for choice in path:
        spent.append(spent[-1] + (choice.costs and choice.code > 0))
    while path:
        choice = path[-1]
        before = spent[len(path) - 1]
        if choice.code + 1 < choice.count and (not choice.costs or before < preemptions):
            choice.code += 1
            return True
        path.pop()
    return False
