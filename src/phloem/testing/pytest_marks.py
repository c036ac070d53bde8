"""What ``@pytest.mark.sim(…)``, the command line and the environment ask for, as one frozen record.

Decides which of them wins (the command line over the environment over the mark nearest to the
test), what goes together, and what to say of what does not. Runs nothing and imports neither Trio
nor the simulation. Called by ``pytest_plugin``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import pytest

__all__ = [
    "MARK",
    "RULES",
    "RUNS",
    "RUNS_VARIABLE",
    "SimMarkError",
    "SimSettings",
    "marked",
    "settings_of",
    "whole_number",
]

MARK: Final = "sim"
RUNS_VARIABLE: Final = "PHLOEM_SIM_RUNS"
RUNS: Final = 100  # an exploration of a small test in about a second
SWEEPS: Final = ("every-step", "every-site")


class SimMarkError(Exception):
    """A test that cannot be simulated as it is marked; the text says why, without the test's name."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SimSettings:
    """How one test is simulated. ``runs`` is None if nobody gave a number; None elsewhere: the engine's own.

    ``runs_marked`` says that the mark itself has a number: then an exploration goes before a
    ``sweep`` or an ``exhaust``, which else stand alone.
    """

    runs: int | None = None
    runs_marked: bool = False
    strategy: str | None = None
    sweep: str | None = None
    timeouts: bool = False
    exhaust: int | None = None
    seed: int = 0
    faults: Any = None
    check: Callable[[Any], object] | None = None
    resources: bool | None = None
    replay: str | None = None

    @property
    def explores(self) -> bool:
        """True if the test is explored under many schedules."""
        return self.runs_marked or (self.sweep is None and self.exhaust is None)


def marked(item: pytest.Item) -> bool:
    """True if the test, its class or its module is marked."""
    return item.get_closest_marker(MARK) is not None


def settings_of(item: pytest.Item) -> SimSettings:
    """What is asked for this test. Raises SimMarkError with everything that is wrong with the mark."""
    given: dict[str, Any] = {}
    wrong: list[str] = []
    for mark in reversed(list(item.iter_markers(MARK))):  # from the outermost to the nearest, which wins
        if mark.args:
            shown = ", ".join(map(repr, mark.args))
            wrong.append(f"found {shown} without a name, expected keywords: {', '.join(RULES)}")
        given.update(mark.kwargs)
    for name, value in given.items():
        rule = RULES.get(name)
        if rule is None:
            wrong.append(f"found the keyword {name!r}, expected one of {', '.join(RULES)}")
        elif not rule.holds(value):
            wrong.append(f"{name}: found {value!r}, expected {rule.expected}")
    if not wrong:
        wrong += _contradictions(given)
    runs = given.get("runs")
    runs_marked = runs is not None
    try:
        runs = _runs_given(item.config, runs)
    except SimMarkError as error:
        wrong.append(str(error))
    if wrong:
        raise SimMarkError("; ".join(wrong))
    seed = item.config.getoption("phloem_sim_seed")
    return SimSettings(
        runs=runs,
        runs_marked=runs_marked,
        strategy=None if given.get("strategy") is None else str(given["strategy"]),
        sweep=given.get("sweep"),
        timeouts=given.get("timeouts", False),
        exhaust=given.get("exhaust"),
        seed=given.get("seed", 0) if seed is None else seed,
        faults=given.get("faults"),
        check=given.get("check"),
        resources=given.get("resources"),
        replay=item.config.getoption("phloem_sim_replay"),
    )


def whole_number(least: int) -> Callable[[str], int]:
    """For argparse and the environment: text -> a whole number of at least ``least``; raises ValueError."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise ValueError(text)
        return value

    number.__name__ = f"whole number from {least}"  # argparse says "invalid … value"
    return number


@final
@dataclass(frozen=True, slots=True)
class _Rule:
    """What a keyword may be."""

    holds: Callable[[Any], bool]
    expected: str


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


RULES: Final[Mapping[str, _Rule]] = {
    "runs": _Rule(lambda value: _whole(value, 1), "a whole number from 1"),
    "strategy": _Rule(
        lambda value: value is None or isinstance(value, str), "a Strategy, or the name of one such as 'walk'"
    ),
    "sweep": _Rule(lambda value: value is None or value in SWEEPS, f"None, {' or '.join(map(repr, SWEEPS))}"),
    "timeouts": _Rule(lambda value: isinstance(value, bool), "True or False"),
    "exhaust": _Rule(
        lambda value: value is None or _whole(value, 0),
        "None, or how many preemptions: a whole number from 0",
    ),
    "seed": _Rule(lambda value: _whole(value, 0), "a whole number from 0"),
    "faults": _Rule(
        lambda value: value is None or isinstance(value, str) or hasattr(value, "points"),
        "a FaultPlan or the text of one, such as 'handler=raise,hang'",
    ),
    "check": _Rule(lambda value: value is None or callable(value), "a function of the run's Result"),
    "resources": _Rule(lambda value: isinstance(value, bool), "True or False"),
}


def _contradictions(given: Mapping[str, Any]) -> list[str]:
    wrong: list[str] = []
    sweep, exhaust = given.get("sweep"), given.get("exhaust")
    if sweep is not None and exhaust is not None:
        wrong.append("found sweep and exhaust, expected one of them: make two tests")
    if given.get("timeouts") and sweep is None:
        wrong.append(
            "found timeouts=True without a sweep, expected sweep='every-step' or 'every-site' as well"
        )
    if exhaust is not None:
        both = "runs" in given  # then they are the exploration's
        for name in ("strategy", "faults"):
            if given.get(name) is not None and not both:
                wrong.append(f"found {name} beside exhaust, which tries every schedule, expected no {name}")
    return wrong


def _runs_given(config: pytest.Config, marked: int | None) -> int | None:
    """The command line's number, else the environment's, else the mark's."""
    asked: int | None = config.getoption("phloem_sim_runs")
    if asked is not None:
        return asked
    text = os.environ.get(RUNS_VARIABLE, "").strip()
    if not text:
        return marked
    try:
        return whole_number(1)(text)
    except ValueError:
        raise SimMarkError(
            f"the environment's {RUNS_VARIABLE}: found {text!r}, expected a whole number from 1"
        ) from None
