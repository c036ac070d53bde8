"""A source of messages, as lines and books know it: compared by identity, and no more than counters.

Decides nothing: the lines ask whether it goes first and when it last had its turn, the books count what
became of what it sent. None stands in its place for everybody who sends without a source of his own;
those are one together. Pure. Made by the pump.
"""

from __future__ import annotations

from typing import Any, final

from phloem.messages import ConversationState

__all__ = ["Origin", "born"]


@final
class Origin:
    """Where messages come from. An ``urgent`` one's go before all others'; a ``closed`` one has no more.

    ``born`` is the turn that was counted when it came, which stands for its last one until it has one.
    """

    __slots__ = ("at_the_gate", "born", "closed", "ended", "live", "name", "turns", "urgent")

    def __init__(self, name: str, *, urgent: bool = False, born: int = 0) -> None:
        self.name, self.urgent, self.born = name, urgent, born
        self.closed = False
        self.at_the_gate = 0  # its messages that have a seat and wait for threads to end
        self.turns: dict[Any, int] = {}  # the run queue's lines -> its last turn there
        self.live = 0  # its conversations that have not ended
        self.ended: dict[ConversationState, int] = dict.fromkeys(ConversationState, 0)


def born(origin: Origin | None) -> int:
    """What stands for its last turn while it has had none; strangers were there before everybody."""
    return 0 if origin is None else origin.born
