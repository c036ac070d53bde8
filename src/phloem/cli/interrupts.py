"""SIGINT and SIGTERM between simulated runs: the first ends the search, the second the process.

Decides that a run is not broken off: what is known after it is told. A run that never ends is left by the
second signal, in the handler itself. For ``sim``, in the main thread; ``signals`` is for a running loop.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

from .exit_codes import Tally, exit_code
from .signals import handled_by

__all__ = ["Interrupted", "Interrupts", "watched_interrupts"]


@final
class Interrupted(BaseException):
    """Raised between two runs, after a signal. No Exception: no verdict on a run takes it for one."""


@final
class Interrupts:
    """The signals received so far."""

    def __init__(self) -> None:
        self.received: tuple[signal.Signals, ...] = ()

    def look(self) -> None:
        """Raises Interrupted if there was one."""
        if self.received:
            raise Interrupted


@contextmanager
def watched_interrupts(tell: Callable[[str], object]) -> Iterator[Interrupts]:
    """Signals until the block is left; ``tell`` says to a person what the first one does.

    Does nothing outside the main thread.
    """
    interrupts = Interrupts()

    def receive(number: signal.Signals) -> None:
        interrupts.received += (number,)
        if len(interrupts.received) > 1:
            os._exit(exit_code(Tally(), signals=interrupts.received))
        tell("stopping after this run; a second signal stops at once\n")

    with handled_by(receive):
        yield interrupts
