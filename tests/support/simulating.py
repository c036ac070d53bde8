"""How much the tests of phloem's promises simulate: what one setting says, read in this one place.

``PHLOEM_SIM_RUNS`` is a number of schedules, for each exploration, in place of its own: few for a quick
look (states that come up rarely are then not met, and said to be), many for a night.
"""

from __future__ import annotations

import os
from typing import Any

from phloem.testing.invariants import check_pump

from .reference import UNDISTURBED

__all__ = ["check_reference", "runs"]


def runs(own: int) -> int:
    """How many schedules an exploration has that asks for ``own``."""
    return int(os.environ.get("PHLOEM_SIM_RUNS") or own)


def check_reference(result: Any) -> None:
    """No promise is broken; and where nothing was cut, all in ``reference`` came to what they should."""
    check_pump(result)
    if result.cut is None:
        wrong = {name: came for name, came in result.value.items() if came not in UNDISTURBED[name]}
        assert not wrong, wrong
