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
    from .sim import (
        Cut,
        FaultPlan,
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
    "Report",
    "Result",
    "Run",
    "Strategy",
    "audit",
    "check_determinism",
    "current_run",
    "exhaust",
    "explore",
    "faults",
    "simulate",
    "sometimes",
    "sweep",
]

_ELSEWHERE: Final = MappingProxyType(
    {
        "faults": ".faults",
    }
)


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        module = import_module(_ELSEWHERE[name], __name__)
        return module if _ELSEWHERE[name] == f".{name}" else getattr(module, name)
    if name in __all__:
        return getattr(import_module(".sim", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
