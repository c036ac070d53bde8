"""What the repairer may know of a contract: names, and which elements hold only text.

Decides nothing: reads a plan. Implements the protocol that ``phloem.wire.repair`` defines.
A class with an XSD of its own tells nothing, so nothing inside it is ever mended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .plans import Choice, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table

__all__ = ["ContractShape"]


@final
@dataclass(frozen=True, slots=True)
class _Pair:
    """One item of a dict."""

    table: Table


@final
@dataclass(frozen=True, slots=True)
class ContractShape:
    """One element of a contract, seen from outside. ``of`` is None where nothing is known."""

    tag: str
    of: Plan | _Pair | None

    @property
    def leaf(self) -> bool:
        return isinstance(self.of, Leaf | Choice)

    @property
    def order(self) -> tuple[str, ...]:
        return tuple(self._children())

    @property
    def fixed(self) -> bool:
        return isinstance(self.of, Record)

    def child(self, tag: str) -> ContractShape | None:
        children = self._children()
        return ContractShape(tag, children[tag]) if tag in children else None

    def _children(self) -> dict[str, Plan | _Pair]:
        match self.of:
            case Record(fields=fields):
                return {field.tag: field.plan for field in fields}
            case Many(item=item):
                return {item.tag: item}
            case Row(tags=tags, items=items):
                return dict(zip(tags, items, strict=True))
            case Table():
                return {"Item": _Pair(self.of)}
            case _Pair(table=table):
                return {"Key": table.key, "Val": table.value}
            case OneOf(members=members):
                return dict(members)
            case Leaf() | Choice() | Nothing() | None:
                return {}
