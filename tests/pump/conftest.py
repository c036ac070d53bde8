"""A pump under audit: its books are checked at every event, and everything is given back at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from phloem.config import ListenerConfig, OrganismConfig
from phloem.messages import Outcome, ShutdownReport
from phloem.organism import Organism, open_organism


def assert_adds_up(report: ShutdownReport) -> None:
    ended = (report.handled, report.rejected, report.undeliverable, report.failed, report.abandoned)
    assert report.accepted == sum(ended) + report.in_flight


class Auditor:
    """Watches a pump, and holds its books to account whenever it is told something."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        self.organism: Organism | None = None
        self.outcomes = outcomes
        self.started: list[str] = []
        self.ended_conversations: Counter[str] = Counter()
        self.ended_messages: Counter[str] = Counter()

    def audit(self) -> None:
        if self.organism is not None:
            assert_adds_up(self.organism.report)

    def conversation_started(self, conversation: Any) -> None:
        self.started.append(conversation.id)
        self.audit()

    def conversation_ended(self, conversation: Any, outcome: Outcome) -> None:
        self.ended_conversations[conversation.id] += 1
        self.outcomes.append(outcome)
        self.audit()

    def ended(self, delivery: Any, cause: Any) -> None:
        assert delivery.ending is not None
        self.ended_messages[delivery.id] += 1
        self.audit()

    def unseen(self, *_: Any, **__: Any) -> None:
        self.audit()

    dispatched = refused = buried = raised = retrying = unseen
    claim_ignored = mended = overslept = held_up = phase = unseen


@asynccontextmanager
async def _open_audited(
    *listeners: ListenerConfig, outcomes: list[Outcome] | None = None, **settings: Any
) -> AsyncIterator[Organism]:
    ports = {name: settings.pop(name) for name in ("clock", "ids", "random") if name in settings}
    auditor = Auditor([] if outcomes is None else outcomes)
    async with open_organism(
        OrganismConfig("audited", listeners, **settings), observer=auditor, **ports
    ) as organism:
        auditor.organism = organism
        yield organism
        if organism.report.in_flight == 0 and not organism._pump.intake.closed:
            assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight
    assert_adds_up(organism.report)
    assert organism.report.in_flight == 0
    assert organism._pump.slots.borrowed() == 0
    assert organism.threads == ()
    assert len(organism._pump.core.queue) == 0
    assert auditor.ended_conversations == Counter(auditor.started)
    assert set(auditor.ended_messages.values()) <= {1}


@pytest.fixture(scope="session")  # it hands out a function, and keeps nothing
def audited() -> Callable[..., AbstractAsyncContextManager[Organism]]:
    """``async with audited(*listeners, **settings) as organism``; ``outcomes`` collects all ends."""
    return _open_audited
