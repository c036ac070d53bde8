"""Whether instances of a payload class can be shared, because nobody can change them.

Decides it from the class and its plan, never from an instance: a frozen dataclass that holds
scalars, enum members, tuples, frozensets and other such classes. What an instance has beside
its fields does not count, for it is not what was sent. Called by ``contract`` alone.
"""

from __future__ import annotations

import dataclasses

from .plans import Choice, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table

__all__ = ["is_immutable"]


def is_immutable(record: Record) -> bool:
    """Whether what the class carries stays as it was made. A class may contain itself."""
    return _holds(record, set())


def _holds(plan: Plan, known: set[type]) -> bool:
    match plan:
        case Leaf() | Choice() | Nothing():
            return True
        case Many():
            return plan.kind in (tuple, frozenset) and _holds(plan.item, known)
        case Row():
            return all(_holds(item, known) for item in plan.items)
        case Table():
            return False
        case OneOf():
            return all(_holds(member, known) for member in plan.members.values())
        case Record():
            if plan.cls in known:  # being looked at further up, where a fault is found as well
                return True
            known.add(plan.cls)
            return _is_frozen(plan) and all(_holds(field.plan, known) for field in plan.fields)


def _is_frozen(record: Record) -> bool:
    """Frozen itself, and with no field that the plan does not have (``init=False``)."""
    parameters = record.cls.__dict__.get("__dataclass_params__")
    frozen: bool = getattr(parameters, "frozen", False)
    return frozen and len(dataclasses.fields(record.cls)) == len(record.fields)
