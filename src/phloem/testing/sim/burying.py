"""What is done with the tasks of a run that was ended by force: they are closed, and nobody hears of it.

Decides that the interpreter has nothing to complain of later, wherever such a coroutine would be collected:
one may catch even this (``except BaseException`` in a loop), another's cleanup awaits, or finds no Trio.
Used by ``running`` and ``holding``.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Coroutine
from typing import Any, Final

from .scheduling import Scheduler
from .seam import forget

__all__ = ["bury"]

CLOSINGS: Final = 100  # of one coroutine: each nursery that it is in may await once more


def bury(scheduler: Scheduler) -> None:
    """Let go of the run's coroutines, here and now."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for task in scheduler.live:
                forget(task)
            for task in list(scheduler.live):
                if (error := _closed(task.coro)) is not None:
                    scheduler.note("end", f"{task.name} could not be ended: {error}")
                del task
            scheduler.let_go()
            gc.collect()
    finally:
        sys.unraisablehook = hook


def _closed(coroutine: Coroutine[Any, Any, Any]) -> str | None:
    """None if it is; else the kind of error that the last attempt met."""
    found = ""
    for _ in range(CLOSINGS):
        try:
            coroutine.close()
        except BaseException as error:  # noqa: ASYNC103, BLE001 - the run is over; nobody is left to tell
            found = type(error).__name__
        else:
            return None
    return found
