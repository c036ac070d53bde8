"""What many runs were: counts, failures, and what they did not cover.

Decides when a search has passed: no failure, and nothing cut short. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, final

from phloem.errors import ScheduleFailure

from .result import Result
from .sites import Site

__all__ = ["Report"]

SHOWN: Final = 20  # lines of what was not covered; a longer list is counted


@final
@dataclass(slots=True)
class Report:
    """Of an exploration, a sweep or an exhaustive search; it grows while that goes on.

    ``distinct`` counts different traces, ``cancels`` and ``timeouts`` the runs that were cut so, once.
    ``not_covered`` says in words what nobody has looked at. ``finished`` is False if the search was cut
    short; it has not ``passed`` then, whatever it found.
    """

    kind: str
    planned: int = 0  # runs, where that is known
    runs: int = 0
    steps: int = 0
    cancels: int = 0
    timeouts: int = 0
    second_cuts: int = 0  # runs that were cut again while they cleaned up after a cut
    faults_fired: int = 0
    failures: tuple[ScheduleFailure, ...] = ()
    not_covered: tuple[str, ...] = ()
    finished: bool = False
    seconds: float = 0.0
    longest: int = 0  # choices of the longest run
    _digests: set[str] = field(default_factory=set[str], repr=False)
    _sometimes: dict[str, bool] = field(default_factory=dict[str, bool], repr=False)
    _stood: set[Site] = field(default_factory=set[Site], repr=False)
    _looked: int = 0

    @property
    def distinct(self) -> int:
        """How many different traces there were."""
        return len(self._digests)

    @property
    def passed(self) -> bool:
        """No failure, and nothing cut short."""
        return self.finished and not self.failures

    @property
    def never(self) -> tuple[str, ...]:
        """The names given to ``sometimes`` that were never true."""
        return tuple(sorted(name for name, true in self._sometimes.items() if not true))

    @property
    def sites(self) -> frozenset[Site]:
        """The lines at which some task was seen to wait."""
        return frozenset(self._stood)

    @property
    def looked_at(self) -> int:
        """The runs whose places were looked at: each step of them costs as much again as the run."""
        return self._looked

    def add(self, result: Result) -> None:
        """Count one run."""
        self.runs += 1
        self.steps += result.steps
        self.longest = max(self.longest, result.choices)
        self.faults_fired += len(result.faults)
        self._digests.add(result.digest)
        for name, true in result.sometimes.items():
            self._sometimes[name] = self._sometimes.get(name, False) or true
        if len(result.cuts) > 1:
            self.second_cuts += 1
        elif result.cut is not None:
            self.cancels += result.cut.kind == "cancel"
            self.timeouts += result.cut.kind == "timeout"
        if result.stood:
            self._looked += 1
            for stood in result.stood:
                self._stood.update(stood.stack)

    def __str__(self) -> str:
        count = len(self.failures)
        failed = f"{count} failure{'s' if count > 1 else ''}"
        how = "passed" if self.passed else failed if count else "cut short"
        lines = [f"{self.kind}: {how}; {self.runs:,} runs, {self.distinct:,} distinct, {self.steps:,} steps"]
        if self.cancels or self.timeouts:
            lines.append(
                f"  cut: {self.cancels:,} by cancel, {self.timeouts:,} by timeout, {self.second_cuts:,} twice"
            )
        if self.faults_fired:
            lines.append(f"  faults fired: {self.faults_fired:,}")
        lines += [f"  not covered: {each}" for each in self.not_covered[:SHOWN]]
        if len(self.not_covered) > SHOWN:
            lines.append(f"  not covered: {len(self.not_covered) - SHOWN} more")
        return "\n".join(lines)
