"""The limits that a dispatch needs room in, taken all or none.

Decides whether a delivery may run now. Nobody waits in these limiters: their lines are
first come first served over all conversations, which would undo fairness and depth-first;
the run queue is the line, and each release asks it again. The pump alone calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import trio

from .gates import Gates
from .routing import Listener

__all__ = ["Slots"]


@final
class Slots:
    """A limiter per listener that has a limit; one for all handlers, the pipeline, the parse threads.

    The borrower is the carrier. It keeps its handler and pipeline slots from one delivery to
    the next: giving both back and taking them again in one sync stretch would be the same.
    """

    def __init__(self, listeners: Sequence[Listener], *, handlers: int, pipelines: int, threads: int) -> None:
        self.gates: Gates | None = None  # of users' steps, once the organism is open
        self._most_handlers = handlers
        self.handlers = trio.CapacityLimiter(handlers)
        self.pipelines = trio.CapacityLimiter(pipelines)
        self.threads = trio.CapacityLimiter(threads)
        self._listeners = {
            listener: trio.CapacityLimiter(listener.max_concurrent)
            for listener in listeners
            if listener.max_concurrent is not None
        }

    def any_room(self) -> bool:
        """True if one more carrier may have something to carry."""
        # Asked at every hop while others wait: `available_tokens` is three properties deep.
        return self.handlers.borrowed_tokens < self._most_handlers and self.pipelines.available_tokens > 0

    def room_for(self, line: Listener | None) -> bool:
        """True if that listener has a token left; None stands for all that have no limit."""
        if self.gates is not None and not self.gates.open():
            return False
        return line is None or self._listeners[line].available_tokens > 0

    def enter(self, borrower: object) -> None:
        """A handler and a pipeline slot, after ``any_room`` said yes in the same sync stretch."""
        self.handlers.acquire_on_behalf_of_nowait(borrower)
        self.pipelines.acquire_on_behalf_of_nowait(borrower)

    def leave(self, borrower: object) -> None:
        """Both given back."""
        self.handlers.release_on_behalf_of(borrower)
        self.pipelines.release_on_behalf_of(borrower)

    def take(self, listener: Listener, borrower: object) -> None:
        """The listener's token, after ``room_for`` said yes in the same sync stretch."""
        if self.gates is not None:
            self.gates.enter()
        limiter = self._listeners.get(listener)
        if limiter is not None:
            limiter.acquire_on_behalf_of_nowait(borrower)

    def give_back(self, listener: Listener, borrower: object) -> None:
        """The listener's token again."""
        if self.gates is not None:
            self.gates.leave()
        limiter = self._listeners.get(listener)
        if limiter is not None:
            limiter.release_on_behalf_of(borrower)

    def borrowed(self) -> int:
        """Tokens out on loan, over all limiters."""
        limiters = (self.handlers, self.pipelines, self.threads, *self._listeners.values())
        return sum(limiter.borrowed_tokens for limiter in limiters)
