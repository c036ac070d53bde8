"""The limits that a dispatch needs room in, taken all or none.

Decides whether a delivery may run now. Nobody waits in these limiters: their lines are
first come first served over all conversations, which would undo fairness and depth-first;
the run queue is the line, and each release asks it again. The pump alone calls it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import trio

from .routing import Listener

__all__ = ["Slots"]


@final
class Slots:
    """One limiter per listener that has a limit, one for all handlers, one for the pipeline, one for parse threads."""

    def __init__(self, listeners: Sequence[Listener], *, handlers: int, pipelines: int, threads: int) -> None:
        self.handlers = trio.CapacityLimiter(handlers)
        self.pipelines = trio.CapacityLimiter(pipelines)
        self.threads = trio.CapacityLimiter(threads)
        self.listeners = {
            listener: trio.CapacityLimiter(
                math.inf if listener.max_concurrent is None else listener.max_concurrent
            )
            for listener in listeners
        }

    def any_room(self) -> bool:
        """True if some listener might be dispatched to."""
        return self.handlers.available_tokens > 0 and self.pipelines.available_tokens > 0

    def room_for(self, listener: Listener) -> bool:
        """True if that listener has a token left."""
        return self.listeners[listener].available_tokens > 0

    def take(self, listener: Listener, borrower: object) -> None:
        """All three, after ``any_room`` and ``room_for`` have said yes in the same sync stretch."""
        self.listeners[listener].acquire_on_behalf_of_nowait(borrower)
        self.handlers.acquire_on_behalf_of_nowait(borrower)
        self.pipelines.acquire_on_behalf_of_nowait(borrower)

    def give_back(self, listener: Listener, borrower: object) -> None:
        """All three again."""
        self.listeners[listener].release_on_behalf_of(borrower)
        self.handlers.release_on_behalf_of(borrower)
        self.pipelines.release_on_behalf_of(borrower)

    def borrowed(self) -> int:
        """Tokens out on loan, over all limiters."""
        limiters = (self.handlers, self.pipelines, self.threads, *self.listeners.values())
        return sum(limiter.borrowed_tokens for limiter in limiters)
