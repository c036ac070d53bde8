"""``sweep``: one schedule of a program, cut at each of its steps, or at each place it stands.

Decides where: the undisturbed run is measured first, then the scenario is cancelled before each step of
it; the innermost deadline fires before each step that has one around it; and what a cut run does to clean
up, or goes on to do, is cut once more at each new place. What was never cut is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, final

from .coverage import never
from .injecting import FaultPlan
from .looking import Stood
from .report import Report
from .result import Result
from .running import MAX_STEPS, Check, Main, Settings, recipe_of
from .searching import Search
from .sites import Site, Stack
from .strategies import Strategy
from .tokens import Cut, Recipe

__all__ = ["sweep"]

EVERY_STEP: Final = "every-step"
EVERY_SITE: Final = "every-site"


def sweep(
    main: Main,
    *,
    cancel: str | None = EVERY_STEP,
    timeouts: bool = False,
    check: Check | None = None,
    seed: int = 0,
    strategy: str = Strategy.CALM,
    faults: FaultPlan | None = None,
    keep_going: bool = False,
    max_steps: int = MAX_STEPS,
    resources: bool = True,
    command: Callable[[str], str] | None = None,
    progress: Callable[[Report], object] | None = None,
) -> Report:
    """Run ``main`` once undisturbed under ``seed``, then again for each of its steps, cut just before it.

    ``cancel="every-step"`` cancels the whole scenario before its k-th task step for every k;
    ``"every-site"`` once for each distinct await stack; None not at all. With ``timeouts`` the innermost
    scope with a deadline fires at each step (or site) as well, also that of a task that waits while another
    is at work (once for each two places); and the TooSlowError or TimeoutError that this may be is no
    failure. In the cleanup that follows a cut, each shielded deadline fires once at each place; and after a
    deadline has fired, the scenario is cancelled too at each place where it was not before. A run fails
    by what ``main`` raises, a deadlock, what ``check(result)`` raises (``result.cut`` says what was done;
    ``value`` is None where the cut ended it), and by what it leaves behind (``resources``).

    Raises ValueError for words that are none, ScheduleFailure (see ``explore``), and
    SimulationUnsupported. Not async.
    """
    if cancel not in (EVERY_STEP, EVERY_SITE, None):
        raise ValueError(f"cancel: found {cancel!r}, expected {EVERY_STEP!r}, {EVERY_SITE!r} or None")
    search = Search(
        "sweep",
        main,
        Settings(faults, max_steps),
        check=check,
        keep_going=keep_going,
        command=command,
        progress=progress,
    )
    with search.open():
        recipe = replace(recipe_of(seed, strategy), resources=resources)
        return _Sweep(search, recipe, every_step=cancel != EVERY_SITE, cancel=cancel is not None).run(
            timeouts
        )


@final
class _Sweep:
    def __init__(self, search: Search, recipe: Recipe, *, every_step: bool, cancel: bool) -> None:
        self._search, self._recipe = search, recipe
        self._every_step, self._cancel = every_step, cancel
        self._stood: set[Stack] = set()  # stacks that were cut, or could have been
        self._cut: set[Stack] = set()
        self._cleaned: set[Stack] = set()  # where a cleanup was cut
        self._open = 0  # cuts planned and not made
        self._beyond = 0  # cuts after the end of a run that should have been as long as the first

    def run(self, timeouts: bool) -> Report:
        report = self._search.report
        baseline = self._search.try_(self._recipe, look_from=0, look_around=timeouts)
        self._stood.update(stood.stack for stood in baseline.stood)
        cuts = list(self._planned(baseline.stood, timeouts))
        report.planned = 1 + len(cuts)
        for index, cut in enumerate(cuts):
            if self._search.full:
                self._open = len(cuts) - index
                break
            self._try(cut)
        uncut = {stack[-1] for stack in self._stood if stack} - {stack[-1] for stack in self._cut if stack}
        report.not_covered = (
            *self._search.places(),
            *never("cut", uncut),
        )
        if self._open:
            report.not_covered += (f"{self._open} cuts after as many different failures as are kept",)
        if self._beyond:
            report.not_covered += (
                f"{self._beyond} cuts beyond the end of their runs: the program does not do the same twice",
            )
        return self._search.finish(finished=not self._open and not self._beyond)

    def _planned(self, stood: Sequence[Stood], timeouts: bool) -> Iterator[Cut]:
        if self._cancel:
            yield from (Cut(step) for step in self._steps(stood))
        if timeouts:
            inside = [each for each in stood if each.deadline]
            yield from (Cut(step, "timeout") for step in self._steps(inside))
            yield from self._of_others(stood)

    def _of_others(self, stood: Sequence[Stood]) -> Iterator[Cut]:
        """A deadline fires while another task is at work: once for each two places, of both."""
        seen = set[tuple[Site | None, Site]]()
        for each in stood:
            at = each.stack[-1] if each.stack else None
            for number, waits_at in each.waiting:
                if (at, waits_at) not in seen:
                    seen.add((at, waits_at))
                    yield Cut(each.step, "timeout", number)

    def _steps(self, stood: Sequence[Stood]) -> Iterator[int]:
        seen = set[Stack]()
        for each in stood:
            if self._every_step or each.stack not in seen:
                seen.add(each.stack)
                yield each.step

    def _try(self, cut: Cut) -> None:
        """One cut; then the cleanup that followed it, cut where no cleanup was yet."""
        result = self._search.try_(replace(self._recipe, cuts=(cut,)), look_from=cut.step)
        self._saw(result)
        self._beyond += result.steps <= cut.step
        for second in self._seconds(result, cut):
            if self._search.full:
                self._open += 1
                return
            self._search.report.planned += 1
            cuts = (cut, second)
            again = self._search.try_(replace(self._recipe, cuts=cuts), look_from=second.step)
            self._saw(again)

    def _seconds(self, result: Result, cut: Cut) -> Iterator[Cut]:
        """What may follow a cut: the deadlines of its cleanup; a cancel of what only a timeout leads to."""
        for each in result.stood:
            if each.step <= cut.step:
                continue
            if each.deadline and each.stack not in self._cleaned:
                self._cleaned.add(each.stack)
                yield Cut(each.step, "timeout")
            if self._cancel and cut.kind == "timeout" and each.stack not in self._cut:
                yield Cut(each.step)

    def _saw(self, result: Result) -> None:
        self._stood.update(stood.stack for stood in result.stood)
        self._cut.update(result.cut_stacks)
