"""Simulation and fixtures for those who test what they built on phloem, or on Trio alone.

Decides which names are public; loads each when it is asked for, so that ``phloem.testing.sim`` can be had
without the rest of phloem.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from . import faults
    from .confluence import assert_confluent
    from .invariants import Violation, check_pump, open_watched_organism
    from .organisms import open_simulated_organism
    from .sim import (
        Cut,
        FaultPlan,
        HeldRun,
        RealCall,
        Report,
        Result,
        Run,
        Strategy,
        audit,
        check_determinism,
        current_run,
        exhaust,
        explore,
        simulate,
        sometimes,
        sweep,
    )

__all__ = [
    "Cut",
    "FaultPlan",
    "HeldRun",
    "RealCall",
    "Report",
    "Result",
    "Run",
    "Strategy",
    "Violation",
    "assert_confluent",
    "audit",
    "check_determinism",
    "check_pump",
    "current_run",
    "exhaust",
    "explore",
    "faults",
    "open_simulated_organism",
    "open_watched_organism",
    "simulate",
    "sometimes",
    "sweep",
]

_ELSEWHERE: Final = MappingProxyType(  # what knows of organisms; all else is in ``sim``
    {
        "Violation": ".invariants",
        "assert_confluent": ".confluence",
        "check_pump": ".invariants",
        "open_simulated_organism": ".organisms",
        "open_watched_organism": ".invariants",
    }
)


def __getattr__(name: str) -> Any:
    if name == "faults":
        return import_module(".faults", __name__)
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, ".sim"), __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
