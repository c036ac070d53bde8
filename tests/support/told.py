"""What an organism has told on its bus, as tests read it: Boot's left out, the oldest first."""

from __future__ import annotations

from typing import Any, Final

from phloem.events import AgentEvent
from phloem.organism import Organism

MOST: Final = 10_000


def told(organism: Organism, *types: str, **place: Any) -> list[AgentEvent]:
    """The events of these types (all, if none is given), the oldest first; Boot's left out."""
    events = organism.events.get_history(types or None, limit=MOST, **place)[::-1]
    (boot, *_) = organism.events.get_history("execution_started", limit=MOST)[::-1]
    return [event for event in events if event.execution_id != boot.execution_id]


def data(events: list[AgentEvent], *keys: str) -> list[tuple[Any, ...]]:
    """These entries of each event's data."""
    return [tuple(event.data[key] for key in keys) for event in events]
