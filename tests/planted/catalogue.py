"""The planted bugs: what each is called, what finds it, what it shows as, and how long that may take.

Decides the promises that ``test_planted_bugs`` keeps. The programs themselves are in the other files,
each with its bug in ``main`` and without it in ``main_fixed``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import trio

from phloem.errors import Deadlock, ResourceLeft

from . import (
    close_race,
    distant_windows,
    early_idle,
    late_phase,
    late_registration,
    leaked_token,
    lost_letter,
    lost_wakeup,
    starved_start,
    unshielded_journal,
)

__all__ = ["BUGS", "PlantedBug"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedBug:
    """A program with one bug, and what the simulation promises about it.

    ``how`` is the search that finds it: "explore" where an order of tasks shows it, "sweep" where only
    a cancel does. ``shows_as`` is the failure's kind, taken out of its groups. ``mean_runs`` is the
    most that the default portfolio may need on average, over many seeds; for a sweep, the most that
    one sweep may need.
    """

    name: str
    main: Callable[[], Awaitable[Any]]
    fixed: Callable[[], Awaitable[Any]]
    how: Literal["explore", "sweep"]
    shows_as: type[Exception]
    mean_runs: int


BUGS: Final = (
    PlantedBug(
        name="lost letter",
        main=lost_letter.main,
        fixed=lost_letter.main_fixed,
        how="sweep",
        shows_as=AssertionError,
        mean_runs=50,
    ),
    PlantedBug(
        name="leaked token",
        main=leaked_token.main,
        fixed=leaked_token.main_fixed,
        how="sweep",
        shows_as=ResourceLeft,
        mean_runs=50,
    ),
    PlantedBug(
        name="close race",
        main=close_race.main,
        fixed=close_race.main_fixed,
        how="explore",
        shows_as=trio.ClosedResourceError,
        mean_runs=50,
    ),
    PlantedBug(
        name="lost wake-up",
        main=lost_wakeup.main,
        fixed=lost_wakeup.main_fixed,
        how="explore",
        shows_as=Deadlock,
        mean_runs=50,
    ),
    PlantedBug(
        name="starved start",
        main=starved_start.main,
        fixed=starved_start.main_fixed,
        how="explore",
        shows_as=KeyError,
        mean_runs=50,
    ),
    PlantedBug(
        name="distant windows",
        main=distant_windows.main,
        fixed=distant_windows.main_fixed,
        how="explore",
        shows_as=AssertionError,
        mean_runs=150,
    ),
    PlantedBug(
        name="late registration",
        main=late_registration.main,
        fixed=late_registration.main_fixed,
        how="explore",
        shows_as=AssertionError,
        mean_runs=50,
    ),
    PlantedBug(
        name="unshielded journal",
        main=unshielded_journal.main,
        fixed=unshielded_journal.main_fixed,
        how="sweep",
        shows_as=AssertionError,
        mean_runs=50,
    ),
    PlantedBug(
        name="early idle",
        main=early_idle.main,
        fixed=early_idle.main_fixed,
        how="explore",
        shows_as=AssertionError,
        mean_runs=50,
    ),
    PlantedBug(
        name="late phase",
        main=late_phase.main,
        fixed=late_phase.main_fixed,
        how="explore",
        shows_as=Deadlock,
        mean_runs=50,
    ),
)
