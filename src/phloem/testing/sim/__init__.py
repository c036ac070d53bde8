"""Deterministic simulation of any Trio program: one seed, one run; and every schedule within reach.

Stands on its own: of phloem it imports errors only, and it works on code that has never heard of it.
"""

from .auditing import RealCall, audit
from .context import Run, current_run, sometimes
from .determinism import check_determinism
from .exhausting import exhaust
from .exploring import explore
from .holding import HeldRun
from .injecting import (
    FaultKind,
    FaultPlan,
    FiredFault,
    InjectedBaseException,
    InjectedFault,
    Injector,
    Point,
)
from .report import Report
from .result import Result, Trace, TraceEvent
from .running import simulate
from .sites import Site
from .strategies import Strategy
from .sweeping import sweep
from .tokens import Cut

__all__ = [
    "Cut",
    "FaultKind",
    "FaultPlan",
    "FiredFault",
    "HeldRun",
    "InjectedBaseException",
    "InjectedFault",
    "Injector",
    "Point",
    "RealCall",
    "Report",
    "Result",
    "Run",
    "Site",
    "Strategy",
    "Trace",
    "TraceEvent",
    "audit",
    "check_determinism",
    "current_run",
    "exhaust",
    "explore",
    "simulate",
    "sometimes",
    "sweep",
]
