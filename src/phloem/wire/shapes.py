"""What repair has to know of contracts: names, and which elements hold text.

Decides only the question, never the answer: ``contract`` implements these two protocols
and hands them in. Kept apart so that the parts of repair need not know one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

__all__ = ["Shape", "Shapes"]


class Shape(Protocol):
    """What the repairer knows of an element: its tag and its children's tags. ``contract`` implements it."""

    @property
    def tag(self) -> str:
        """The tag as the contract spells it."""
        ...

    @property
    def leaf(self) -> bool:
        """Text only."""
        ...

    @property
    def order(self) -> Sequence[str]:
        """The tags of its children in the schema's order; () for a leaf."""
        ...

    @property
    def fixed(self) -> bool:
        """Each child at most once, in this order, so that order may be mended; else order is data."""
        ...

    def child(self, tag: str) -> Shape | None:
        """The child of exactly this tag."""
        ...


class Shapes(Protocol):
    """The shapes of all payloads that an organism takes."""

    def shape_of(self, tag: str) -> Shape | None:
        """The payload of exactly this root tag."""
        ...

    def tags(self) -> Iterable[str]:
        """All root tags."""
        ...
