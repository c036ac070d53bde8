"""Expectations: the first event that matches, from the moment it is asked for.

Decides nothing but that: armed in a sync call, kept until it is met, disarmed or the bus ends.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, final

import trio

from phloem.errors import EventBusClosed

from .room import Room
from .routes import Filters
from .types import AgentEvent

if TYPE_CHECKING:
    from .tasks import Waiter

__all__ = ["Expectation"]


@final
class Expectation:
    """An event to come: ``event = await expected``, or ``with bus.expect(…) as expected`` to disarm it.

    Once met it stays met, and may be awaited again. One that is never met takes room in its bus
    until it is disarmed: use ``with`` unless you await it at once.
    """

    def __init__(self, id: str, filters: Filters, room: Room, disarm: Callable[[Expectation], None]) -> None:
        self.id, self.filters = id, filters
        self.once = True
        self.limit = 1
        self.line: list[Waiter] = []
        self.event: AgentEvent | None = None
        self._room, self._disarm = room, disarm
        self._met = trio.Event()
        self._over = False

    # -- the bus's side -------------------------------------------------------------------------

    binds = False
    waiting = 0

    def put(self, event: AgentEvent, tracker: object, *, drops: bool) -> None:
        """Met."""
        self.event = event
        self._met.set()

    def end(self) -> None:
        """It will not be met any more."""
        self._over = True
        self._met.set()

    # -- the caller's side ------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, Any, AgentEvent]:
        return self.wait().__await__()

    async def wait(self) -> AgentEvent:
        """The event. Checkpoint. Cancelled means: only the waiting ended. Raises EventBusClosed."""
        if self._met.is_set():
            await trio.lowlevel.checkpoint()
        else:
            await self._room.aside(self._met.wait)
        if self.event is None:
            raise EventBusClosed("the expectation was disarmed, or the bus closed before it was met")
        return self.event

    async def within(self, limit: float) -> AgentEvent | None:
        """The event, or None after so many seconds; with 0 others run once. Checkpoint."""

        async def wait() -> None:
            if limit == 0:
                await trio.lowlevel.checkpoint()
            with trio.move_on_after(limit):
                await self._met.wait()

        await self._room.aside(wait)
        if self._over:
            raise EventBusClosed("the bus closed before such an event came")
        return self.event

    def cancel(self) -> None:
        """Disarm it: from here on no event meets it."""
        self._disarm(self)

    def __enter__(self) -> Expectation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
