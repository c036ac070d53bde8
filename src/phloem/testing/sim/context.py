"""What code inside a simulation may know of its run: the seed's chance, a note, a state to be reached.

Decides nothing. Found through the Trio run itself, so two runs never meet, and outside of a
simulation there is none.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, final

import trio

from .strategies import stream

if TYPE_CHECKING:
    from .injecting import Injector

__all__ = ["EPOCH", "Run", "current_run", "enter_run", "sometimes"]

EPOCH: Final = 946_684_800.0  # 2000-01-01 UTC: a simulated wall clock begins there, plainly not today


@final
class Run:
    """The running simulation, for the code in it."""

    def __init__(self, seed: int, faults: Injector | None, note: Callable[[str, str], None]) -> None:
        self.seed, self.faults = seed, faults
        self.reached: dict[str, bool] = {}
        self.found: list[object] = []  # what the program's own oracles leave, for checks after the run
        self.abandoning: list[trio.CapacityLimiter] = []  # whose threads may outlive the program, as it says
        self._note = note

    def left_at_work(self, threads: int) -> int:
        """Of so many threads at work, those that nobody said may be abandoned."""
        return threads - sum(int(limiter.borrowed_tokens) for limiter in self.abandoning)

    @cached_property
    def random(self) -> random.Random:
        """The scenario's own chance, which nothing else draws from."""
        return stream(self.seed, "program")

    def note(self, text: str) -> None:
        """A line in the trace, which the digest covers. Never a checkpoint."""
        self._note("note", text)

    def wall(self) -> float:
        """Seconds since 1970 on the simulated wall clock, which begins on 2000-01-01."""
        return EPOCH + trio.current_time()


_current: trio.lowlevel.RunVar[Run | None] = trio.lowlevel.RunVar("phloem_simulation")


def current_run() -> Run | None:
    """The simulation that the calling code is in; None outside of one."""
    try:
        return _current.get(None)
    except RuntimeError:  # no Trio here at all
        return None


def enter_run(run: Run) -> None:
    """Make ``run`` the current one of this Trio run. For ``running`` and ``holding``."""
    _current.set(run)


def sometimes(condition: Any, name: str) -> bool:
    """``bool(condition)``; and an exploration fails if it was never true under this name in any run.

    For states that a test must come to, else it proves little: ``sometimes(len(waiting) > 1, "a queue")``.
    Never a checkpoint. Outside of a simulation it only gives back the condition.
    """
    true = bool(condition)
    run = current_run()
    if run is not None and not run.reached.get(name):
        run.reached[name] = true
    return true
