"""What a person sees of a simulation: a bar while it lasts, its violations, one table at its end.

Decides the words, and what of the places nobody waited at is the organism's and not phloem's own. Draws
no bar where stderr is no terminal. For ``sim``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, cast

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import phloem.messages
from phloem.errors import NotConfluent
from phloem.guarding import said
from phloem.testing.sim import Report, Result, Site
from phloem.testing.sim.coverage import unreached

from .shell import counted
from .simulating import Scenario
from .simulation import Finding, Findings, Plan, one_line
from .simulation import Progress as Told
from .standard import STDERR
from .whole_batch import WholeBatch

__all__ = ["drawn_bar", "print_replay", "print_summary", "print_violations", "verdict"]

EVERY: Final = 0.1  # seconds between two drawings: smooth enough, and no load
LISTED: Final = 20  # lines of what was not covered; a longer list is counted
_OURS: Final = os.path.dirname(os.path.abspath(phloem.messages.__file__)) + os.sep


@contextmanager
def drawn_bar(*, quiet: bool) -> Iterator[Told | None]:
    """A bar on stderr for as long as the block lasts; gives what tells it of each run, or None for no bar."""
    console = Console(stderr=True)
    if quiet or not os.isatty(STDERR) or console.is_dumb_terminal:
        yield None
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("the first schedule, twice", total=None)
        drawn = 0.0

        def told(what: str, report: Report) -> None:
            nonlocal drawn
            if (now := time.monotonic()) - drawn < EVERY:
                return
            drawn = now
            found = f", {counted(len(report.failures), 'violation')}" if report.failures else ""
            words = f"{report.runs:,} of {report.planned:,} {what}{found}"
            # One more than there is: a bar that has reached its end shows a clock that stands still.
            total = max(report.planned, report.runs) + 1
            bar.update(task, total=total, completed=report.runs, description=words, refresh=True)

        yield told


def verdict(findings: Findings) -> str:
    """In one word or two."""
    if findings.violations:
        return counted(len(findings.violations), "violation")
    return "interrupted" if findings.interrupted else "passed"


def print_violations(console: Console, violations: Sequence[Finding]) -> None:
    """The first in full; of each further one what it is, and how to have it again."""
    for number, each in enumerate(violations):
        console.print(Text(f"violation {number + 1} of {len(violations)}", style="bold"))
        lines = each.text.splitlines()
        if number:
            lines = [
                line for line in lines if line.startswith(("failure:", "again:", "fault fired:", "cut:"))
            ] or lines[:1]
        for line in lines:
            console.print(line, markup=False, soft_wrap=True)
        console.print()


def print_summary(
    console: Console, findings: Findings, plan: Plan, scenario: Scenario, batch: WholeBatch
) -> None:
    """The table."""
    sites = {site for report in findings.reports for site in report.sites if not site.file.startswith(_OURS)}
    messages, listeners = counted(len(batch.requests), "message"), scenario.listeners
    told = f"{scenario.name}: {messages} simulated: {verdict(findings)}"
    console.print(Text(told, style="bold"))
    had = [key for key in listeners if key in scenario.entered]
    waited = f"handlers waited at {counted(len({site.place for site in sites}), 'line')}"
    rows = {
        "schedules": _schedules(findings, plan),
        "distinct traces": f"{sum(report.distinct for report in findings.reports):,}",
        "cancels tried": _cancels(findings, plan),
        "faults fired": _faults(findings, plan),
        "conversations": ", ".join(sorted(state.replace("_", " ") for state in scenario.states)) or "none",
        "violations": f"{len(findings.violations):,}",
        "same seed twice": _twice(findings),
        "confluence": _confluence(findings, plan, scenario.confluent),
        "coverage": f"{len(had):,} of {counted(len(listeners), 'listener')} had a message; {waited}",
        "not covered": "\n".join(_shortened(_not_covered(findings, plan, scenario, batch, sites))),
    }
    table = Table("simulated", "", box=SIMPLE_HEAD)
    for label, value in rows.items():
        table.add_row(label, Text(value))
    console.print(table)


def print_replay(console: Console, result: Result, failure: BaseException | None, *, quiet: bool) -> None:
    """Who ran when, and the verdict."""
    if not quiet:
        for event in result.trace:
            if event.kind != "exit":
                console.print(f"  {event}", markup=False, soft_wrap=True)
        for fault in result.faults:
            console.print(f"fault fired: {fault}", markup=False, soft_wrap=True)
    if result.diverged:
        told = "it did not go as its token says: the code, the batch or the options are not what they were"
        console.print(told, markup=False, soft_wrap=True)
    run = f"seed {result.seed} ({result.strategy}): {counted(result.steps, 'step')}, digest {result.digest}"
    console.print(run, markup=False, soft_wrap=True)
    told = "no violation" if failure is None else f"violation: {_text(failure)}"
    console.print(told, markup=False, soft_wrap=True)


def _text(failure: BaseException) -> str:
    """All of it: a deadlock has a paragraph for each task."""
    if isinstance(failure, BaseExceptionGroup):
        return one_line(cast("BaseExceptionGroup[BaseException]", failure))
    return f"{type(failure).__name__}: {said(failure)}"


def _schedules(findings: Findings, plan: Plan) -> str:
    report = findings.explored
    if report is None:
        return f"0 of {plan.seeds:,}"
    told = f"{report.runs:,}" if report.runs >= plan.seeds else f"{report.runs:,} of {plan.seeds:,}"
    how = f"{plan.strategy}, from seed {plan.seed}"
    return f"{told} ({how}): {counted(report.steps, 'step')}, {report.seconds:.1f} s"


def _cancels(findings: Findings, plan: Plan) -> str:
    report = findings.swept
    if report is None:
        return "0"
    told = f"{report.cancels:,}" if plan.cancel is None else f"{report.cancels:,} ({plan.cancel})"
    if plan.timeouts:
        told += f", {counted(report.timeouts, 'timeout')}"
    return f"{told}, {report.second_cuts:,} cut again in their cleanup, {report.seconds:.1f} s"


def _faults(findings: Findings, plan: Plan) -> str:
    fired = sum(report.faults_fired for report in findings.reports)
    return f"{fired:,}" if plan.faults is None else f"{fired:,} (at {', '.join(plan.faults.points)})"


def _twice(findings: Findings) -> str:
    if findings.same_twice is None:
        return "not compared"
    return "the same run" if findings.same_twice else "two different runs"


def _confluence(findings: Findings, plan: Plan, confluent: bool) -> str:
    if not confluent:
        return "not compared: --no-confluence, or agents that hear answers as they come"
    if findings.explored is None:
        return "not compared"
    if any(isinstance(each.failure, NotConfluent) for each in findings.violations):
        return "messages come to something else under another schedule"
    where = " in which no fault fired" if plan.faults is not None else ""
    if findings.violations:  # such a run is not compared
        where += " without a violation"
    return f"messages come to the same under every schedule{where}"


def _not_covered(
    findings: Findings,
    plan: Plan,
    scenario: Scenario,
    batch: WholeBatch,
    sites: Iterable[Site],
) -> Iterator[str]:
    if findings.interrupted:
        yield "all that was to come after the signal"
    if (report := findings.explored) is None or report.runs < plan.seeds:
        yield f"{plan.seeds - (report.runs if report else 0):,} of {plan.seeds:,} schedules"
    if findings.swept is None and (plan.cancel is not None or plan.timeouts):
        yield "cancels and timeouts, which come after the schedules"
    if plan.faults is not None and not any(report.faults_fired for report in findings.reports):
        yield f"no fault was met, of those planned at {', '.join(plan.faults.points)}"
    if batch.unreadable:
        yield f"{counted(len(batch.unreadable), 'message')} of the batch that cannot be read"
    missed = [key for key in scenario.listeners if key not in scenario.entered]
    if missed:
        some = ", ".join(missed[:LISTED]) + (
            f" and {len(missed) - LISTED} more" if len(missed) > LISTED else ""
        )
        yield f"no message came to: {some}"
    yield from (f"never waited at: {place}" for place in unreached(sites))
    for each in dict.fromkeys(line for report in findings.reports for line in report.not_covered):
        if not each.startswith("never waited at"):  # said above, for all reports in one
            yield each
    asked = (
        (plan.cancel is None, "cancels (--sweep)"),
        (not plan.timeouts, "timeouts (--timeouts)"),
        (plan.faults is None, "faults (--faults)"),
    )
    if left := [name for is_left, name in asked if is_left]:
        yield f"not asked for: {', '.join(left)}"


def _shortened(lines: Iterator[str]) -> Iterator[str]:
    every = list(lines)
    yield from every[:LISTED]
    if len(every) > LISTED:
        yield f"and {len(every) - LISTED:,} more"
