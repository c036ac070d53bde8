"""How a plan speaks in faults, whichever way a payload goes.

Decides the words for what was expected and the check of lengths that writing and reading
share. Called by ``writing`` and ``reading`` alone.
"""

from __future__ import annotations

from typing import Final

from phloem.messages import Fault, HuhCode

from .plans import Choice, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table
from .types import Refusal

__all__ = ["TOO_DEEP", "check_length", "kind_of", "refused"]

TOO_DEEP: Final = "nesting deeper than Python's stack"


def check_length(plan: Many | Table, length: int, path: str, faults: list[Fault]) -> None:
    if length < plan.least or (plan.most is not None and length > plan.most):
        faults.append(Fault(HuhCode.FACET, path, f"{length} items", _length_words(plan)))


def _length_words(plan: Many | Table) -> str:
    if plan.most is None:
        return f"at least {plan.least}"
    return f"{plan.least} to {plan.most}" if plan.least else f"at most {plan.most}"


def refused(path: str, refusal: Refusal) -> Fault:
    return Fault(refusal.code, path, refusal.found, refusal.expected)


def kind_of(plan: Plan) -> str:
    match plan:
        case Leaf():
            return plan.scalar.words
        case Choice() | Many():
            return plan.words
        case Nothing():
            return "None"
        case Row():
            return "a tuple"
        case Table():
            return "a dict"
        case OneOf():
            return f"one of {', '.join(plan.members)}"
        case Record():
            return f"a {plan.cls.__qualname__}"
