"""What users' steps let through to dispatch, and when: spacing, rates and limits of the whole organism.

Decides whether one more delivery may be taken now, and from when on it may. Nobody waits in here:
what may not go yet stays in the run queue, without a slot or a token, and ``carrying`` asks again
when its time has come. Called through ``slots``, in the same sync stretch as every other limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import final

import trio

from .ready_made import Limit, Pace, Rate

__all__ = ["Gates", "Spacing"]


@final
class Spacing:
    """At most ``burst`` at once, and one each ``interval`` seconds in the long run (GCRA, ITU-T I.371).

    A full bucket as one number: the time at which the next one would be due if all came evenly. It may
    run ahead of now by what a full bucket holds.
    """

    def __init__(self, step: Pace | Rate) -> None:
        self.interval = step.interval if isinstance(step, Pace) else 1 / step.per_second
        self._ahead = 0.0 if isinstance(step, Pace) else (step.burst - 1) * self.interval
        self._even = -math.inf

    @property
    def due(self) -> float:
        """When the next one may go."""
        return self._even - self._ahead

    def take(self, now: float) -> None:
        """One goes."""
        self._even = max(self._even, now) + self.interval


@final
class Gates:
    """All that stand before ``dispatch``. ``wake_at`` is told when to ask again."""

    def __init__(self, steps: Sequence[Limit | Pace | Rate], wake_at: Callable[[float], None]) -> None:
        self._spacings = [Spacing(step) for step in steps if not isinstance(step, Limit)]
        self._most = min((step.n for step in steps if isinstance(step, Limit)), default=None)
        self._running = 0
        self._wake_at = wake_at

    def open(self) -> bool:
        """True if one more may go now; else it is known when to ask again, or a leaving one will."""
        if self._most is not None and self._running >= self._most:
            return False
        due = max((spacing.due for spacing in self._spacings), default=-math.inf)
        if due > trio.current_time():
            self._wake_at(due)
            return False
        return True

    def enter(self) -> None:
        """One goes, after ``open`` said yes in the same sync stretch."""
        self._running += 1
        now = trio.current_time()
        for spacing in self._spacings:
            spacing.take(now)

    def leave(self) -> None:
        """One has come back."""
        self._running -= 1
