"""A source of messages, as lines and books know it: compared by identity, and no more than counters.

Decides nothing: the lines ask whether it goes first, the books count what became of what it sent.
None stands in its place for everybody who sends without a source of his own; those are one together.
Pure. Made by ``sources``.
"""

from __future__ import annotations

from typing import final

from phloem.messages import ConversationState

__all__ = ["Origin"]


@final
class Origin:
    """Where messages come from. An ``urgent`` one's go before all others'; a ``closed`` one has no more."""

    __slots__ = ("at_the_gate", "closed", "ended", "live", "name", "urgent")

    def __init__(self, name: str, *, urgent: bool = False) -> None:
        self.name, self.urgent = name, urgent
        self.closed = False
        self.at_the_gate = 0  # its messages that have a seat and wait for threads to end
        self.live = 0  # its conversations that have not ended
        self.ended: dict[ConversationState, int] = dict.fromkeys(ConversationState, 0)
