"""The tasks that a bus knows by name, as records: those that run handlers, those that wait.

Decides nothing: ``pool`` moves workers, ``mailbox`` gives them events, ``watchdog`` looks at them;
``room`` has the waiters. What lies in mailboxes is theirs to say, so it has no type here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Any, final

import trio

__all__ = ["Waiter", "Worker"]


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

    def __init__(self, box: Any) -> None:
        self.box = box  # the mailbox it serves, or has served last
        self.task: Any = None  # once it has begun
        self.counted = True  # holds one of the places
        self.at_work = True  # False: it ends
        self.moved = False  # to a mailbox whose context is not in effect yet
        self.item: Any = None  # that a handler has
        self.left = 0  # events it may still take in this visit…
        self.until = 0.0  # …and when it is over, if there is another to serve
        self.slow = False
        self.broken = False  # a handler has left something open in its task
        self.away = 0  # tasks of its handler that wait inside the bus
        self.waits: list[Waiter] = []  # what these wait for
        self.key: Hashable = None  # of a keyed mailbox: the one in its hands…
        self.parked: deque[Any] | None = None  # …and what waits behind it
        self.runs = 0  # handlers entered and left
        self.seen, self.since = 0, 0.0  # this many runs at that time, or since then


@final
class Waiter:
    """A task that waits inside the bus, and what it waits for."""

    __slots__ = ("called", "items", "sinks", "task", "ticket", "worker")

    def __init__(self, ticket: int, worker: Worker | None) -> None:
        self.ticket, self.worker = ticket, worker
        self.task = trio.lowlevel.current_task()
        self.sinks: list[Any] = []  # without room for it
        self.items: list[Any] = []  # not handled yet
        self.called = trio.Event()

    def wake(self) -> None:
        """Have it look again."""
        self.called.set()
