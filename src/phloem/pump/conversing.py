"""Several turns with one memory, as their owner holds them.

Decides nothing: each call becomes the next turn at the door. Made by the organism's
``open_conversation``, for use within its block.
"""

from __future__ import annotations

from typing import Any, final

from phloem.config import Budgets
from phloem.messages import Receipt

from .conversation import Conversation as _Conversation
from .door import Door

__all__ = ["Conversation"]


@final
class Conversation:
    """Several turns with one memory; from ``organism.open_conversation``, inside its block only."""

    def __init__(self, door: Door, conversation: _Conversation) -> None:
        self._door, self._conversation = door, conversation

    @property
    def id(self) -> str:
        """As in its receipts and outcomes."""
        return self._conversation.id

    async def ask(self, payload: Any, to: str | None = None, *, budgets: Budgets | None = None) -> Any:
        """As ``Organism.ask``, as the next turn. Checkpoint. Cancelled means: this turn was cut, no other."""
        own = self._conversation
        return await self._door.ask(self._door.payload(payload, to), own.sender, budgets, own)

    async def send(self, payload: Any, to: str | None = None, *, budgets: Budgets | None = None) -> Receipt:
        """As ``Organism.send``, as the next turn. Checkpoint. Cancelled means: nothing was accepted."""
        own = self._conversation
        return (await self._door.enter(self._door.payload(payload, to), own.sender, budgets, own)).receipt

    async def inject(self, xml: bytes | str, *, budgets: Budgets | None = None) -> Receipt:
        """As ``Organism.inject``, as the next turn. Checkpoint. Cancelled means: nothing was accepted."""
        own = self._conversation
        return (
            await self._door.enter(self._door.document(xml, own.sender), own.sender, budgets, own)
        ).receipt
