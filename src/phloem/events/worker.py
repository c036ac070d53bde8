"""A worker: a task that runs handlers, as a record.

Decides nothing: ``pool`` moves it, ``mailbox`` gives it events, ``watchdog`` looks at it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from .mailbox import Mailbox, Tracked
    from .room import Waiter
    from .types import AgentEvent

__all__ = ["Worker"]


@final
class Worker:
    """A task that serves mailboxes, one after the other."""

    __slots__ = (
        "at_work",
        "away",
        "box",
        "broken",
        "counted",
        "item",
        "key",
        "left",
        "moved",
        "parked",
        "runs",
        "seen",
        "since",
        "slow",
        "task",
        "until",
        "waits",
    )

    def __init__(self, box: Mailbox) -> None:
        self.box = box
        self.task: Any = None  # once it has begun
        self.counted = True  # holds one of the places
        self.at_work = True  # False: it ends
        self.moved = False  # to a mailbox whose context is not in effect yet
        self.item: AgentEvent | Tracked | None = None  # that a handler has
        self.left = 0  # events it may still take in this visit…
        self.until = 0.0  # …and when it is over, if there is another to serve
        self.slow = False
        self.broken = False  # a handler has left something open in its task
        self.away = 0  # tasks of its handler that wait inside the bus
        self.waits: list[Waiter] = []  # what these wait for
        self.key: Hashable = None  # of a keyed mailbox: the one in its hands…
        self.parked: deque[AgentEvent | Tracked] | None = None  # …and what waits behind it
        self.runs = 0  # handlers entered and left
        self.seen, self.since = 0, 0.0  # this many runs at that time, or since then
