"""Claims of loading on the section ``events:``: each limit of the bus has a key, and each key its limit."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from phloem.config import EventLimits, OrganismConfig
from phloem.loading.keys import EVENTS

if TYPE_CHECKING:
    from .conftest import Folder


def test_every_limit_of_the_bus_has_a_key_of_its_name() -> None:
    assert [row.field for row in EVENTS.values()] == [field.name for field in fields(EventLimits)]
    assert list(EVENTS) == [row.field for row in EVENTS.values()]


def test_each_key_becomes_its_limit(folder: Folder) -> None:
    config = folder.load(
        """
        events:
          max_history: 0
          max_history_bytes: 1
          max_concurrent_handlers: 2
          buffer: 3
          slow_after: 0.5
          grace: 0
        """
    )
    assert config.events == EventLimits(
        max_history=0,
        max_history_bytes=1,
        max_concurrent_handlers=2,
        buffer=3,
        slow_after=0.5,
        grace=0.0,
    )


def test_a_part_of_the_section_leaves_the_rest_at_its_defaults(folder: Folder) -> None:
    assert folder.load("events: {buffer: 3}\n").events == EventLimits(buffer=3)
    assert folder.load("events: {}\n").events == EventLimits()
    assert folder.load("max_in_flight: 1\n").events == OrganismConfig().events == EventLimits()


def test_a_bound_of_the_bus_is_not_the_pumps_of_the_same_name(folder: Folder) -> None:
    config = folder.load("max_concurrent_handlers: 7\nevents: {max_concurrent_handlers: 2}\n")
    assert (config.max_concurrent_handlers, config.events.max_concurrent_handlers) == (7, 2)
    config = folder.load("events: {max_concurrent_handlers: 2}\n")
    assert config.max_concurrent_handlers == OrganismConfig().max_concurrent_handlers
