"""What a thread keeps of a call while it lasts: what an agent calls by it, and what it tried in answer.

Decides nothing. ``settling`` writes both, readers of the bus and dead letters read them.
"""

from __future__ import annotations

from typing import final

from phloem.messages import Huh

from .conversation import Delivery, Turn

__all__ = ["Call", "Tried", "tried_by"]


@final
class Call:
    """An agent's call of a peer: ``tool``, and the tag of what it was given and of what it answered.

    ``error`` is the reason of its failure, if it failed.
    """

    __slots__ = ("error", "payload", "result", "tool")

    def __init__(self, tool: str, payload: str) -> None:
        self.tool, self.payload = tool, payload
        self.result = self.error = ""


@final
class Tried:
    """Attempts in a row that were refused, ``wrong`` of them, and the message that they were to answer."""

    __slots__ = ("cause_id", "huhs", "id", "sender", "text", "wrong")

    def __init__(self, first: Delivery) -> None:
        self.id, self.sender, self.text = first.id, first.sender, first.text
        self.cause_id = first.cause_id
        self.huhs: list[Huh] = []
        self.wrong = 0


def tried_by(delivery: Delivery) -> Tried:
    """What has been tried on its thread in its turn, ``delivery`` being the first if nothing has.

    Each turn has its own: a lasting thread may have several at once, and some that were cut meanwhile.
    """
    kept: dict[Turn, Tried] = delivery.thread.tried or {}
    tried = {turn: own for turn, own in kept.items() if turn.outcome is None}
    delivery.thread.tried = tried
    return tried.setdefault(delivery.turn, Tried(delivery))
