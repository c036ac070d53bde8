"""Organisms under audit: their books must add up, and everything is given back at the end.

``open_audited`` checks at every event of the pump; ``running`` only after the end, and so takes an
observer of the test's own. Neither waits for anything the organism itself would not wait for.
phloem's own first message is left out of what tests are told, here and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from phloem.config import ListenerConfig, OrganismConfig
from phloem.messages import BOOT, SYSTEM, ConversationState, Ending, Outcome, ShutdownReport
from phloem.organism import Organism, open_organism

from .listeners import Ask, Reply

FEW: Final = 20  # conversations whose threads are counted at every event; of more it would take too long


def ended(report: ShutdownReport) -> int:
    """How many messages have ended, in whichever way."""
    return report.handled + report.rejected + report.undeliverable + report.failed + report.abandoned


def assert_adds_up(report: ShutdownReport) -> None:
    assert report.accepted == ended(report) + report.in_flight


def without_boot(report: ShutdownReport) -> ShutdownReport:
    """A report of a run that has begun, without the message it began with."""
    assert report.handled >= 1, "Boot is handled before anybody comes in"
    assert all(row.listener != BOOT for row in report.abandoned_messages)
    return replace(report, accepted=report.accepted - 1, handled=report.handled - 1)


def report_of(organism: Organism) -> ShutdownReport:
    """The books of what the test sent: Boot, which every run begins with, left out."""
    assert _endings(organism, BOOT) == Counter({Ending.HANDLED: 1}), "one Boot, and it was handled"
    return without_boot(organism.report)


def _endings(organism: Organism, key: str) -> Counter[Ending]:
    counts = organism._core.ledger.by_listener.get(key, {})
    return +Counter(counts)  # without the endings that nothing met


def assert_nothing_is_left(organism: Organism) -> None:
    assert_adds_up(report_of(organism))
    assert organism.report.in_flight == 0
    assert organism._pump.slots.borrowed() == 0
    assert organism.threads == ()
    assert organism.statistics()["queued"] == 0
    assert organism._core.memory.census.live == 0


def assert_all_was_told(organism: Organism) -> None:
    """The bus has counted what the books have: each conversation and each message, once from start to end."""
    told = Counter(organism.events.get_stats()["events_by_type"])
    core = organism._core
    ends = told["execution_completed"] + told["execution_failed"]
    assert told["execution_started"] == ends == sum(core.ended.values())
    assert told["execution_completed"] == core.ended[ConversationState.COMPLETED]
    assert told["node_loop_started"] == told["node_loop_completed"]
    queued = core.ledger.accepted - core.ledger.refused
    assert told["node_loop_completed"] + told["message_abandoned"] == queued
    assert told["node_loop_iteration"] >= told["node_loop_started"]
    assert (told["stream_started"], told["stream_stopped"]) == (1, 1)


async def still_answers(organism: Organism) -> None:
    assert await organism.ask(Ask("still here"), to="back") == Reply("still here")


class Auditor:
    """Watches a pump, and holds its books to account whenever it is told something.

    ``boots`` is how phloem's own conversation ended, which stands in nothing else here.
    """

    def __init__(self, outcomes: list[Outcome]) -> None:
        self.organism: Organism | None = None
        self.outcomes = outcomes
        self.boots: list[ConversationState | None] = []
        self.started: list[str] = []
        self.ended_conversations: Counter[str] = Counter()
        self.ended_messages: Counter[str] = Counter()

    def audit(self) -> None:
        if self.organism is None:
            return
        assert_adds_up(self.organism.report)
        core = self.organism._core
        if len(core.conversations) <= FEW:
            live = sum(len(conversation.threads) for conversation in core.conversations.values())
            assert core.memory.census.live == live

    def conversation_started(self, conversation: Any) -> None:
        if conversation.sender == SYSTEM:  # no stranger speaks under that name
            assert (self.boots, self.started) == ([], []), "Boot comes once, before anybody else"
            self.boots.append(None)
            return
        self.started.append(conversation.id)
        self.audit()

    def conversation_ended(self, conversation: Any, outcome: Outcome) -> None:
        if conversation.sender == SYSTEM:
            assert self.boots == [None]
            self.boots = [outcome.state]
            return
        self.ended_conversations[conversation.id] += 1
        self.outcomes.append(outcome)
        self.audit()

    def ended(self, delivery: Any, cause: Any) -> None:
        assert delivery.ending is not None
        if delivery.conversation.sender == SYSTEM:
            assert (delivery.listener.key, delivery.ending) == (BOOT, Ending.HANDLED)
            return
        self.ended_messages[delivery.id] += 1
        self.audit()

    def unseen(self, *_: Any, **__: Any) -> None:
        self.audit()

    dispatched = refused = buried = raised = retrying = unseen
    call_started = call_ended = budget_warning = repeating = unseen
    unread = broke = unseen
    claim_ignored = mended = overslept = held_up = step_raised = waiting = phase = unseen


def _taken_ports(settings: dict[str, Any]) -> dict[str, Any]:
    """What of the keyword arguments is for ``open_organism``; the rest of them stays."""
    return {name: settings.pop(name) for name in ("clock", "ids", "random") if name in settings}


@asynccontextmanager
async def open_audited(
    *listeners: ListenerConfig, outcomes: list[Outcome] | None = None, **settings: Any
) -> AsyncIterator[Organism]:
    """An organism whose books are checked at every event; ``outcomes`` collects all ends."""
    ports = _taken_ports(settings)
    auditor = Auditor([] if outcomes is None else outcomes)
    async with open_organism(
        OrganismConfig("audited", listeners, **settings), observer=auditor, **ports
    ) as organism:
        auditor.organism = organism
        assert auditor.boots == [ConversationState.COMPLETED]
        yield organism
        if organism.report.in_flight == 0 and not organism._pump.intake.closed:
            assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight
    assert_nothing_is_left(organism)
    assert_all_was_told(organism)
    assert len(organism._pump.core.queue) == 0
    assert auditor.ended_conversations == Counter(auditor.started)
    assert set(auditor.ended_messages.values()) <= {1}


@asynccontextmanager
async def running(*listeners: ListenerConfig, **settings: Any) -> AsyncIterator[Organism]:
    """An organism whose books must close once the test is done with it."""
    ports = _taken_ports(settings)
    async with open_organism(OrganismConfig("front door", listeners, **settings), **ports) as organism:
        yield organism
    assert_nothing_is_left(organism)
