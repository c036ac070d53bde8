"""The event bus: what the outside may watch. A library of its own, for any Trio or anyio-on-Trio program.

``types`` is what an event is (``freezing`` keeps its data as it was), ``commits`` where one comes to
be (``routes`` knows whom it concerns, ``history`` keeps the newest), ``bus`` and ``opening`` the way
in. Behind them ``mailbox``, ``pool`` (with its ``tasks`` and a ``watchdog``) and ``room`` run
handlers and let publishers wait; ``streams`` and ``expecting`` are for readers, ``emitting`` and
``scoped`` for publishers, ``journal`` for the disk.
"""

from __future__ import annotations

from .bus import EventBus
from .emitting import Committed
from .expecting import Expectation
from .journal import Fsync, Journal, open_journal
from .mailbox import Delivered, EventHandler, Subscription
from .opening import open_event_bus
from .replaying import Replay, open_replay, read_journal, replay
from .scoped import ScopedBus
from .streams import EventStream, Overflow
from .types import UNPUBLISHED, AgentEvent, EventType, HistoryGap, Lagged

__all__ = [
    "UNPUBLISHED",
    "AgentEvent",
    "Committed",
    "Delivered",
    "EventBus",
    "EventHandler",
    "EventStream",
    "EventType",
    "Expectation",
    "Fsync",
    "HistoryGap",
    "Journal",
    "Lagged",
    "Overflow",
    "Replay",
    "ScopedBus",
    "Subscription",
    "open_event_bus",
    "open_journal",
    "open_replay",
    "read_journal",
    "replay",
]
