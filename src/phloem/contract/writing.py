"""Instance -> text, slowly and with every fault.

Decides what an object must be to fit a plan, and says all that is wrong at once, each with
its element path, what was found and what was expected. This is the truth that the encoder
of ``codec`` is a fast copy of: whatever that stumbles on is done again here. Linear in the
size of its input. Called by ``contract`` and ``codec``.
"""

from __future__ import annotations

from typing import Any, Final

from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode
from phloem.wire.text import escaped

from .faults import TOO_DEEP, check_length, kind_of, refused
from .plans import Choice, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table, can_hold
from .types import Refusal, wrong_type

__all__ = ["member_for", "write_text"]

_UNSET: Final = object()


def write_text(record: Record, payload: object) -> str:
    """The payload as canonical XML; raises ``InvalidMessage`` with every fault."""
    pieces: list[str] = []
    faults: list[Fault] = []
    try:
        _write(record, record.tag, payload, f"/{record.tag}", pieces, faults)
    except RecursionError:
        faults.append(
            Fault(HuhCode.TOO_LARGE, f"/{record.tag}", TOO_DEEP, "a payload that does not contain itself")
        )
    if faults:
        raise InvalidMessage(faults)
    return "".join(pieces)


def _write(plan: Plan, tag: str, value: Any, path: str, pieces: list[str], faults: list[Fault]) -> None:
    if not isinstance(plan, Leaf | OneOf) and not can_hold(plan, value):
        faults.append(refused(path, wrong_type(value, kind_of(plan))))
        return
    pieces.append(f"<{tag}>")
    match plan:
        case Leaf() | Choice():
            try:
                pieces.append(escaped(plan.write(value)))
            except Refusal as refusal:
                faults.append(refused(path, refusal))
        case Nothing():
            pass
        case Many():
            check_length(plan, len(value), path, faults)
            if plan.kind in (set, frozenset):
                _write_sorted(plan, value, path, pieces, faults)
            else:
                for number, item in enumerate(value, 1):
                    _write(
                        plan.item, plan.item.tag, item, f"{path}/{plan.item.tag}[{number}]", pieces, faults
                    )
        case Row():
            if len(value) != len(plan.items):
                faults.append(Fault(HuhCode.TYPE, path, f"{len(value)} items", f"{len(plan.items)}"))
            else:
                for name, item, inner in zip(plan.tags, plan.items, value, strict=True):
                    _write(item, name, inner, f"{path}/{name}", pieces, faults)
        case Table():
            check_length(plan, len(value), path, faults)
            for number, (key, inner) in enumerate(value.items(), 1):
                here = f"{path}/Item[{number}]"
                pieces.append("<Item>")
                _write(plan.key, "Key", key, f"{here}/Key", pieces, faults)
                _write(plan.value, "Val", inner, f"{here}/Val", pieces, faults)
                pieces.append("</Item>")
        case OneOf():
            chosen = member_for(plan, value)
            if chosen is None:
                faults.append(Fault(HuhCode.UNION, path, wrong_type(value, "").found, kind_of(plan)))
            else:
                _write(plan.members[chosen], chosen, value, f"{path}/{chosen}", pieces, faults)
        case Record():
            for field in plan.fields:
                inner = getattr(value, field.name, _UNSET)
                here = f"{path}/{field.tag}"
                if inner is _UNSET:
                    faults.append(
                        Fault(
                            HuhCode.MISSING_ELEMENT, here, "an attribute that was never set", field.type_words
                        )
                    )
                else:
                    _write(field.plan, field.tag, inner, here, pieces, faults)
    pieces.append(f"</{tag}>")


def _write_sorted(plan: Many, value: Any, path: str, pieces: list[str], faults: list[Fault]) -> None:
    """A set has no order, so its text gets one: two runs of a program write the same."""
    texts: list[str] = []
    here = f"{path}/{plan.item.tag}"
    for item in value:
        one: list[str] = []
        _write(plan.item, plan.item.tag, item, here, one, faults)
        texts.append("".join(one))
    pieces.extend(sorted(texts))


def member_for(plan: OneOf, value: Any) -> str | None:
    """The tag of the member that a value is written as: its exact type's, else the first that holds it."""
    for tag, member in plan.members.items():
        if isinstance(member, Leaf):
            if type(value) is member.scalar.python:
                return tag
        elif isinstance(member, Choice) and can_hold(member, value):
            return tag
    for tag, member in plan.members.items():
        if can_hold(member, value):
            return tag
    if type(value) is int and "Float" in plan.members:
        return "Float"
    return None
