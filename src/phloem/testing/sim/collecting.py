"""The garbage collector during simulated runs: off, so that no finalizer runs at a step nobody chose.

Decides when garbage is collected: between runs, and only what runs have left. Used around every run.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["quiet_collector"]


@contextmanager
def quiet_collector(*, many: bool = True) -> Iterator[Callable[[], None]]:
    """The cyclic garbage collector off; gives what collects the runs' garbage, cheaply, between them.

    For a single run (``many`` false) nothing is made cheap: its garbage is the next collection's.
    """
    enabled, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    freeze = many and not frozen
    if freeze:
        gc.freeze()  # what was there before is looked at no more
    try:
        yield _collect
    finally:
        if freeze:
            _collect()
            gc.unfreeze()
        (gc.enable if enabled else gc.disable)()  # whatever the program has done with it


def _collect() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # told as a failure already, if it is one
        gc.collect()
