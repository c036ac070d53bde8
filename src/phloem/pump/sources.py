"""A source: a name that messages come in under, with a line and figures of its own.

Decides nothing about a message: each goes in at the door like any stranger's, only through its
source's line. Made by the organism's ``open_source`` for use within its block, and for a stream that
is attached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, final

import trio

from phloem.config import Budgets
from phloem.errors import MessageRejected
from phloem.messages import ConversationState, Receipt

from .door import Door
from .open_sources import Feed
from .pump import Pump

__all__ = ["Source", "open_source"]

T = TypeVar("T")


@final
class Source:
    """A source that is open; from ``organism.open_source``, inside its block."""

    def __init__(
        self, door: Door, pump: Pump, name: str, *, priority: bool = False, feed: Feed | None = None
    ) -> None:
        """``feed`` is what the name stands for among the open ones; this, if it is None.

        Raises SenderRefused.
        """
        door.check_sender(name)
        self._door, self._pump = door, pump
        self._origin = pump.origin(name, urgent=priority)
        self._rejected = 0
        self._feed: Feed = self if feed is None else feed

    def open(self) -> None:
        """Take the name. Raises OrganismClosed, and SenderRefused if it is taken."""
        self._pump.sources.add(self._feed)

    @property
    def name(self) -> str:
        """Who its messages are from."""
        return self._origin.name

    @property
    def priority(self) -> bool:
        """Whether its messages go before those of sources without."""
        return self._origin.urgent

    @property
    def closed(self) -> bool:
        """Nothing of it is accepted any more: its block was left, or the organism stops."""
        return self._origin.closed

    async def send(self, payload: Any, to: str | None = None, *, budgets: Budgets | None = None) -> Receipt:
        """As ``Organism.send``, from this source. Checkpoint. Cancelled means: nothing was accepted.

        Raises OrganismClosed once the source is closed too.
        """
        entering = self._door.enter(self._door.payload(payload, to, self._origin), self.name, budgets, None)
        return (await self._counted(entering)).receipt

    async def inject(self, xml: bytes | str, *, budgets: Budgets | None = None) -> Receipt:
        """As ``Organism.inject``, from this source. Checkpoint. Cancelled means: nothing was accepted."""
        entering = self._door.enter(
            self._door.document(xml, self.name, self._origin), self.name, budgets, None
        )
        return (await self._counted(entering)).receipt

    async def ask(self, payload: Any, to: str | None = None, *, budgets: Budgets | None = None) -> Any:
        """As ``Organism.ask``, from this source; it stands in the source's line until it is accepted only.

        Checkpoint. Cancelled means: its conversation was killed.
        """
        asking = self._door.ask(self._door.payload(payload, to, self._origin), self.name, budgets, None)
        return await self._counted(asking)

    def statistics(self) -> dict[str, Any]:
        """Counts of messages: accepted, rejected, waiting; of the accepted ones in_flight and how they ended.

        ``accepted`` is ``in_flight`` and all endings together: completed, failed, cancelled, timed_out,
        out_of_budget and drained, as conversations end.
        """
        origin, refused = self._origin, ConversationState.REJECTED
        ended = {state.value: count for state, count in origin.ended.items() if state is not refused}
        return {
            "accepted": origin.live + sum(ended.values()),
            "rejected": self._rejected,
            "waiting": self._pump.intake.waiting_of(origin),
            "in_flight": origin.live,
            **ended,
        }

    def close(self) -> None:
        """Accept nothing more, also of who waits in its line; what was accepted goes on. Idempotent."""
        if not self._origin.closed:
            self._pump.intake.close_source(self._origin)
        self._pump.sources.remove(self._feed)

    async def _counted(self, entering: Awaitable[T]) -> T:
        try:
            return await entering
        except MessageRejected:
            self._rejected += 1
            raise


@asynccontextmanager
async def open_source(door: Door, pump: Pump, name: str, *, priority: bool) -> AsyncIterator[Source]:
    """A source, until the block is left. Checkpoint. Cancelled means: nothing was opened.

    Raises SenderRefused and OrganismClosed.
    """
    source = Source(door, pump, name, priority=priority)
    await trio.lowlevel.checkpoint()
    source.open()
    try:
        yield source
    finally:
        source.close()
