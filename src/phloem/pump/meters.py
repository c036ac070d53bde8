"""How much time a listener has left in a turn, over all its dispatches at once.

Decides the moment at which a listener's own budget of seconds runs out: the sum of its
dispatches counts, so two that run side by side spend it twice as fast. Pure: is told the
time, and moves deadlines of scopes it is given. The dispatch alone calls it.
"""

from __future__ import annotations

import math
from typing import Final, Protocol, final

from phloem.config import BUDGET_WARNING

__all__ = ["Meter"]

PRECISION: Final = 1e-9  # seconds; a deadline is met to the clock's own precision


class _Scope(Protocol):
    @property
    def deadline(self) -> float: ...
    @deadline.setter
    def deadline(self, new_deadline: float, /) -> None: ...


@final
class Meter:
    """One listener's seconds in one turn."""

    __slots__ = ("_at", "_left", "_near", "_running")

    def __init__(self, seconds: float, now: float) -> None:
        self._left, self._at = seconds, now
        self._near = seconds - seconds * BUDGET_WARNING + PRECISION  # what is left when it is nearly spent
        self._running: dict[_Scope, float] = {}  # scope -> its deadline but for this budget

    def start(self, scope: _Scope, now: float) -> None:
        """A dispatch under ``scope`` begins to spend."""
        self._advance(now)
        self._running[scope] = scope.deadline
        self._set_deadlines()

    def stop(self, scope: _Scope, now: float) -> None:
        """It spends no more."""
        self._advance(now)
        self._running.pop(scope, None)
        self._set_deadlines()

    def empty(self, now: float) -> bool:
        """True once nothing is left."""
        self._advance(now)
        return self._left <= PRECISION

    def now_near(self, now: float) -> float | None:
        """The seconds left, once it is nearly spent and was not when this was asked before; else None."""
        self._advance(now)
        if not PRECISION < self._left <= self._near:
            return None
        self._near = -math.inf
        return self._left

    def _advance(self, now: float) -> None:
        self._left -= (now - self._at) * len(self._running)
        self._at = now

    def _set_deadlines(self) -> None:
        if self._running:
            until = self._at + max(self._left, 0.0) / len(self._running)
            for scope, own in self._running.items():
                scope.deadline = min(own, until)
