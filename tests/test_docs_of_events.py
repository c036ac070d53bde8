"""docs/events.md holds what it says: every type, and for those of the pump the data that it records."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio

from phloem.config import Budgets, ListenerConfig, OrganismConfig
from phloem.errors import ConversationFailed, MessageRejected
from phloem.events import EventBus, EventType, open_event_bus
from phloem.llm.script import Scripted
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import open_organism
from phloem.pump.telling import PumpEvent
from support.agents import ASK as SEARCH
from support.agents import DONE, TOOL, Question, agent, organism_of
from support.listeners import Ask, Note, Reply

PAGE = (Path(__file__).parents[1] / "docs" / "events.md").read_text("utf-8")
ROW = re.compile(r"^\| `(?P<type>\w+)` \| (?P<who>.+?) \| (?P<data>.*?) ?\|$", re.MULTILINE)
ROWS = {row["type"]: row for row in ROW.finditer(PAGE[PAGE.index("### Who emits what") :])}
LOOSE = {"seconds", "limit"}  # of one of the two ways in which a node stalls


def keys(type: str) -> set[str]:
    """The data keys that the table promises: bare words, what stands in brackets explains them."""
    told = re.sub(r"\([^)]*\)", "", ROWS[type]["data"])
    told = told.replace(" of one that overslept", "").replace(" and ", ", ")
    return {word.strip() for word in told.split(",") if word.strip()}


def test_the_tables_have_each_type_once() -> None:
    assert set(ROWS) == {*(kind.value for kind in EventType), *(kind.value for kind in PumpEvent)}
    assert len(ROW.findall(PAGE)) >= len(ROWS)


async def test_the_pump_emits_what_the_table_says_and_nothing_that_is_for_applications_only() -> None:
    tries: list[int] = []

    async def work(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Note):
            tries.append(metadata.attempt)
            raise ValueError("never")
        if payload.text == "nobody":
            return HandlerResponse(Ask("x"), to="stranger")
        return HandlerResponse.respond(Reply(payload.text))

    listener = ListenerConfig(
        "worker",
        [Ask, Note],
        work,
        "Works.",
        is_agent=True,
        peers=["worker"],
        retries=1,
        retry_base_delay=0.001,
    )
    async with open_organism(OrganismConfig("org", [listener], max_in_flight=1)) as organism:
        await organism.ask(Ask("x"), to="worker", budgets=Budgets(messages=1))
        with pytest.raises(ConversationFailed):
            await organism.ask(Note("x"), to="worker")
        with pytest.raises(ConversationFailed):
            await organism.ask(Ask("nobody"), to="worker")
        with pytest.raises(MessageRejected):
            await organism.inject(b"<Ask><Wrong/></Ask>")
        async with organism.open_conversation(), trio.open_nursery() as nursery:
            nursery.start_soon(organism.wait_idle)
            with trio.move_on_after(0.01):
                await organism.ask(Ask("waits"), to="worker")
        await organism.attach("/no/such/stream", sender="feed").wait_done()
        bus = organism.events
    assert tries == [1, 2]
    script = [Scripted(f"Let me see.\n{SEARCH}", chunks=9, reasoning="hm"), DONE]
    driven = organism_of(agent("judge", "search", stream=True), TOOL, script=script)
    async with open_organism(driven) as agents:
        await agents.ask(Question("are trees tall?"), "judge")
    seen = seen_keys(bus)
    for type, found in seen_keys(agents.events).items():
        seen.setdefault(type, []).extend(found)
    for type, found in seen.items():
        assert not ROWS[type]["who"].startswith("applications"), f"{type} is for applications only"
        for data in found:
            assert data - LOOSE == keys(type) - LOOSE, type
    told = {type for type in ROWS if not ROWS[type]["who"].startswith("applications")}
    # These take a repaired document, a cut queue or a handler that shields itself: test_telling has them.
    assert told - set(seen) == {"message_mended", "message_abandoned", "node_stalled"}


def seen_keys(bus: EventBus) -> dict[str, list[set[str]]]:
    seen: dict[str, list[set[str]]] = {}
    for event in bus.get_history(limit=1_000):
        seen.setdefault(str(event.type), []).append(set(event.data))
    return seen


async def test_a_bus_of_its_own_has_the_limits_that_the_page_names() -> None:
    async with open_event_bus() as bus:
        pool = bus._pool
        assert (pool._most, pool.watchdog._slow_after) == (10, 1.0)
        assert (bus._buffer, bus._commits.history._max_rows) == (1_024, 1_000)
        assert bus._commits.history._max_bytes == 4 * 1024 * 1024
    for said in ("(10) handlers", "`slow_after` seconds (1)", "`grace` seconds (1)", "(1,000)", "(4 MiB)"):
        assert said in PAGE
