"""The outcomes of turns that have ended, for whoever still waits for one or asks later.

Decides how many are kept, and how much of them: the newest that fit, in number and in characters.
Pure; the core alone calls it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import final

from phloem.messages import Outcome

__all__ = ["Outcomes"]


@final
class Outcomes:
    """At most ``most`` outcomes, of payloads that weigh ``most_weight`` together; one is always kept."""

    def __init__(self, most: int, most_weight: int) -> None:
        self._kept: OrderedDict[tuple[str, int], tuple[Outcome, int]] = OrderedDict()
        self._most, self._most_weight, self._weight = most, most_weight, 0

    def of(self, conversation: str, turn: int) -> Outcome | None:
        """That turn's, if it has ended and is remembered."""
        kept = self._kept.get((conversation, turn))
        return None if kept is None else kept[0]

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._kept)

    def remember(self, conversation: str, turn: int, outcome: Outcome, weight: int) -> None:
        """Keep it, and the newest ones before it that fit."""
        self._kept[conversation, turn] = (outcome, weight)
        self._weight += weight
        while len(self._kept) > self._most or (self._weight > self._most_weight and len(self._kept) > 1):
            _, (_, freed) = self._kept.popitem(last=False)
            self._weight -= freed
