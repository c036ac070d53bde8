"""Streams of events on the sync door: where they end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from phloem import OrganismConfig, open_organism_in_thread
from phloem.embedding import thread_calls
from support.listeners import BACK, Ask


def test_a_stream_that_is_asked_while_the_organism_ends_gives_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Calls are refused from the organism's end on, and what was not read is put aside only then."""
    asked, read = threading.Event(), list[Any]()

    with open_organism_in_thread(OrganismConfig("ends", (BACK,))) as organism:
        thread: Any = organism._thread
        own: Callable[..., None] = thread._begin

        def begin(call: Any, hold: Any = None) -> None:
            """As if the organism had ended just before, and its streams were not closed yet."""
            if not asked.is_set():
                return own(call, hold)
            call.end(thread_calls.LOST)
            return None

        with organism.open_stream("execution_completed") as events:
            organism.ask(Ask("x"), to="back")
            monkeypatch.setattr(thread, "_begin", begin)
            asked.set()
            reader = threading.Thread(target=lambda: read.extend(events))
            reader.start()
            reader.join(0.05)
            assert reader.is_alive(), "it ended before its end"
    reader.join(10)
    assert [event.type for event in read] == ["execution_completed"]
