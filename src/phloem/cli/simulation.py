"""The runs of one ``phloem sim``, one search after the other, and what they found.

Decides the order: the same seed twice, then the seeds, then the cuts; a signal ends it between two runs.
What fails in two searches in the same way is told once. The run that is worth a look (the first that
fails, else the first) can be had again and written down. Prints nothing. ``sim`` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast, final

from phloem.errors import Deadlock, Livelock, NotDeterministic
from phloem.testing.sim import FaultPlan, Report, Result, explore, simulate, sweep
from phloem.testing.sim.result import ending
from phloem.testing.sim.running import Settings
from phloem.testing.sim.searching import Search, signature_of

from .exit_codes import ExitCode
from .interrupts import Interrupted, Interrupts
from .judging import is_deadlock
from .recording import Recorder
from .simulating import Main, Scenario
from .trace_diff import first_difference
from .trace_lines import header_line, row_line

__all__ = ["Finding", "Findings", "Plan", "Progress", "Simulation", "one_line"]

LONGEST: Final = 500  # characters of a failure in one line
SHOWN: Final = 20  # lines of a run without an end: it goes round in a few
CONTEXT: Final = 5  # events before the one that differs

Progress = Callable[[str, Report], object]  # what is searched for, and how far that is


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked for. ``cancel``: ``every-step``, ``every-site`` or None."""

    seeds: int
    seed: int
    strategy: str
    cancel: str | None
    timeouts: bool
    faults: FaultPlan | None
    max_steps: int


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One violation. ``text`` is its report; ``token`` is empty where no run shows it again."""

    failure: BaseException
    text: str = ""
    token: str = ""

    @property
    def code(self) -> ExitCode:
        """What it alone would make the command end with."""
        waited = isinstance(self.failure, Deadlock) or is_deadlock(self.failure)
        return ExitCode.DEADLINE if waited else ExitCode.FAILED


@final
@dataclass(slots=True)
class Findings:
    """What the searches have come to; a report is None for a search that was not asked for, or not begun."""

    violations: list[Finding] = field(default_factory=list[Finding])
    same_twice: bool | None = None  # whether the first seed did the same twice
    explored: Report | None = None
    swept: Report | None = None
    interrupted: bool = False

    @property
    def reports(self) -> list[Report]:
        """Those that there are."""
        return [report for report in (self.explored, self.swept) if report is not None]


@final
class _EndsNever(Exception):
    """The first run is one without an end."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


@final
class Simulation:
    """One scenario and one plan."""

    def __init__(
        self,
        scenario: Scenario,
        plan: Plan,
        *,
        command: Callable[[str], str],
        interrupts: Interrupts | None = None,
        progress: Progress | None = None,
    ) -> None:
        """``command`` makes the line to paste of a token; ``progress`` is called after each run."""
        self._scenario, self._plan = scenario, plan
        self._command, self._told = command, progress
        self._interrupts = Interrupts() if interrupts is None else interrupts
        self.findings = Findings()

    def run(self) -> Findings:
        """All of it, or up to a signal. Raises SimulationUnsupported. Not async."""
        try:
            self._check_twice()
            self._explore()
            self._sweep()
        except Interrupted:
            self.findings.interrupted = True
            for report in self.findings.reports:
                self._keep(report)
        except _EndsNever as never:
            # Some hundred of these would take minutes, and to make one smaller as long again.
            failure = cast("Livelock", never.result.failure)
            events = list(never.result.trace)
            given_up = next(index for index, event in enumerate(events) if event.kind == "cut")
            lines = [
                "the first schedule does not end; no other was tried",
                f"failure: {one_line(failure)}",
                f"token {never.result.token}",
                f"again: {self._command(never.result.token)}",
                "interleaving, its last lines:",
                *(f"  {event}" for event in events[max(0, given_up - SHOWN) : given_up]),
            ]
            self.findings.violations.append(Finding(failure, "\n".join(lines), never.result.token))
        return self.findings

    # -- searches ---------------------------------------------------------------------------------

    def _check_twice(self) -> None:
        one, other = self._first(), self._first()
        self._interrupts.look()  # first: a signal wakes Trio's loop, which is a step more
        self.findings.same_twice = one.digest == other.digest
        if isinstance(one.failure, Livelock):
            raise _EndsNever(one)
        if not self.findings.same_twice:
            text = _parting(one, other)
            failure = NotDeterministic(text.splitlines()[0])
            self.findings.violations.append(Finding(failure, text))

    def _first(self) -> Result:
        """The run that an exploration begins with."""
        plan = self._plan
        return simulate(
            self._scenario.main,
            seed=plan.seed,
            strategy=plan.strategy,
            faults=plan.faults,
            max_steps=plan.max_steps,
        )

    def _explore(self) -> None:
        plan = self._plan

        def told(report: Report) -> None:
            self.findings.explored = report
            self._after_run("schedules", report)

        self.findings.explored = explore(
            self._scenario.main,
            runs=plan.seeds,
            seed=plan.seed,
            strategy=plan.strategy,
            check=self._scenario.check,
            faults=plan.faults,
            keep_going=True,
            max_steps=plan.max_steps,
            command=self._command,
            progress=told,
        )
        self._keep(self.findings.explored)

    def _sweep(self) -> None:
        plan = self._plan
        if plan.cancel is None and not plan.timeouts:
            return

        def told(report: Report) -> None:
            self.findings.swept = report
            self._after_run("cuts", report)

        self.findings.swept = sweep(
            self._scenario.main,
            cancel=plan.cancel,
            timeouts=plan.timeouts,
            check=self._scenario.check,
            seed=plan.seed,
            faults=plan.faults,
            keep_going=True,
            max_steps=plan.max_steps,
            command=self._command,
            progress=told,
        )
        self._keep(self.findings.swept)

    def _after_run(self, what: str, report: Report) -> None:
        if self._told is not None:
            self._told(what, report)
        self._interrupts.look()

    def _keep(self, report: Report) -> None:
        known = {signature_of(each.failure) for each in self.findings.violations}
        for failure in report.failures:
            if (signature := signature_of(failure.failure)) not in known:
                known.add(signature)
                self.findings.violations.append(Finding(failure.failure, str(failure), failure.token))

    # -- one run ----------------------------------------------------------------------------------

    def replay(self, token: str) -> tuple[Result, BaseException | None]:
        """The run of a token, and what is wrong with it. Compared with what the first seed comes to.

        Raises InvalidToken, and ConfigurationError for faults that the plan has no point for.
        """
        search = Search(
            "replay",
            self._scenario.main,
            Settings(self._plan.faults, self._plan.max_steps),
            check=self._scenario.check,
            keep_going=False,
            command=None,
            progress=None,
        )
        search.verdict(self._first())  # what others are compared with
        result = self._again(self._scenario.main, token)
        return result, search.verdict(result)

    def trace(self) -> str:
        """The run that is worth a look, as the text of a file."""
        found = self.findings.violations
        shown = next((each for each in found if each.token), found[0] if found else None)
        if shown is None:
            return self.trace_of(self._first().token, None)
        return self.trace_of(shown.token or self._first().token, shown.failure)

    def trace_of(self, token: str, failure: BaseException | None) -> str:
        """The run of a token, as the text of a file; ``failure`` is the verdict on it."""
        recorder = Recorder()
        result = self._again(self._scenario.recorded(recorder), token)
        header = header_line(
            organism=self._scenario.name,
            seed=result.seed,
            strategy=result.strategy,
            token=token,
            digest=result.digest,
            outcome="passed" if failure is None else one_line(failure),
            steps=result.steps,
            seconds=result.virtual_seconds,
        )
        events = (row_line({"step": e.step, "kind": e.kind, "text": e.text}) for e in result.trace)
        return "".join((header, *events, *map(row_line, recorder.rows())))

    def _again(self, main: Main, token: str) -> Result:
        return simulate(
            main,
            replay=token,
            faults=self._plan.faults,
            max_steps=self._plan.max_steps,
        )


def one_line(failure: BaseException) -> str:
    """A failure's class and text, short."""
    text = " ".join(ending(None, failure).removeprefix("raised ").split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _parting(one: Result, other: Result) -> str:
    """Where two runs of one seed part."""
    ones, others = ([str(event) for event in result.trace] for result in (one, other))
    index = first_difference(ones, others)
    if index is None:  # the digest covers more than a trace shows, such as each step's task
        found = f"seed {one.seed} gave two digests and one trace"
        return f"not deterministic: {found}: {one.digest}, then {other.digest}"
    lines = [
        f"not deterministic: seed {one.seed} did not do the same twice; the first event that differs is "
        f"{index + 1}: {_at(ones, index)}, then {_at(others, index)}",
        "Something outlives a run: a handler's module, a file, an object that is read by its address.",
        "before it:",
        *(f"  {text}" for text in ones[max(0, index - CONTEXT) : index]),
    ]
    return "\n".join(lines)


def _at(lines: list[str], index: int) -> str:
    return " ".join(lines[index].split()) if index < len(lines) else "no further event"
