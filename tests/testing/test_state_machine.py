"""An example: Hypothesis drives one organism, step by step, in one simulated run that is held alive.

The machine draws what callers do and how time passes; ``HeldRun`` draws, from one seed, who runs when.
What must hold after every step is an invariant: the books balance, and nobody's answer is lost.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from phloem.config import OrganismConfig
from phloem.errors import OrganismClosed
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Receipt
from phloem.organism import Organism
from phloem.testing.organisms import open_simulated_organism
from phloem.testing.sim.holding import HeldRun
from support.listeners import BACK, SLOW, Ask, Reply, fall, listener


async def forward(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
    if isinstance(payload, Reply):
        return HandlerResponse.respond(Reply(payload.text + "!"))
    return HandlerResponse(payload, to="slow")


CONFIG = OrganismConfig(
    "machine",
    [BACK, SLOW, listener("fall", Ask, fall), listener("via", [Ask, Reply], forward)],
    max_in_flight=4,
)
EXPECTED = {
    "back": ConversationState.COMPLETED,
    "slow": ConversationState.COMPLETED,
    "via": ConversationState.COMPLETED,
    "fall": ConversationState.FAILED,
}


class Callers(RuleBasedStateMachine):
    """Callers of one organism."""

    receipts: Bundle[tuple[str, Receipt]] = Bundle("receipts")

    @initialize(seed=st.integers(0, 2**32 - 1), strategy=st.sampled_from(["walk", "shuffle", "calm", "pct3"]))
    def open(self, seed: int, strategy: str) -> None:
        self.stack = ExitStack()
        self.run = self.stack.enter_context(HeldRun(seed=seed, strategy=strategy))
        self.organism: Organism = self.run.enter(open_simulated_organism(CONFIG))
        self.sent = 0
        self.answers: list[Any] = []
        self.asked = 0
        self.killed: set[str] = set()

    @rule(target=receipts, to=st.sampled_from(sorted(EXPECTED)))
    def send(self, to: str) -> tuple[str, Receipt]:
        """With all seats taken it waits for one, and so for time to pass."""
        receipt = self.run.do(lambda: self.organism.send(Ask(f"{self.sent}"), to=to))
        self.sent += 1
        return to, receipt

    @rule()
    def ask_beside(self) -> None:
        """Nobody waits for this answer yet."""
        number = self.asked
        self.asked += 1

        async def ask() -> None:
            with suppress(OrganismClosed):  # at the end, if it had no seat by then
                self.answers.append((number, await self.organism.ask(Ask(f"beside {number}"), to="via")))

        self.run.start(ask)

    @rule(receipt=receipts)
    def wait(self, receipt: tuple[str, Receipt]) -> None:
        to, receipt_ = receipt
        outcome = self.run.do(self.organism.wait, receipt_)
        killed = receipt_.conversation in self.killed
        assert outcome.state in {EXPECTED[to], *([ConversationState.CANCELLED] if killed else [])}

    @rule(receipt=receipts)
    def kill(self, receipt: tuple[str, Receipt]) -> None:
        if self.run.do(self.organism.kill, receipt[1].conversation):
            self.killed.add(receipt[1].conversation)

    @rule()
    def settle(self) -> None:
        self.run.settle()

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 60.0]))
    def advance(self, seconds: float) -> None:
        before = self.run.time
        self.run.advance(seconds)
        assert self.run.time == before + seconds

    @rule()
    def wait_for_all(self) -> None:
        for _ in range(self.sent + self.asked):  # who has no seat yet gets one when another is done
            self.run.advance(5)
        self.run.do(self.organism.wait_idle)
        assert self.organism.report.in_flight == 0
        assert sorted(self.answers) == [(n, Reply(f"beside {n}!")) for n in range(self.asked)]

    @invariant()
    def the_books_balance(self) -> None:
        if hasattr(self, "organism"):
            report = self.organism.report
            ended = report.handled + report.rejected + report.undeliverable + report.failed + report.abandoned
            assert report.accepted == ended + report.in_flight

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()
            assert self.organism.report.in_flight == 0


def test_an_organism_keeps_its_promises_whatever_its_callers_do() -> None:
    run_state_machine_as_test(
        Callers, settings=settings(max_examples=30, stateful_step_count=20, deadline=None)
    )


def test_the_machine_finds_what_is_broken() -> None:
    class Impatient(Callers):
        @invariant()
        def nobody_is_ever_abandoned(self) -> None:
            if hasattr(self, "organism"):
                report = self.organism.report
                assert report.abandoned == 0, report

    found = settings(max_examples=300, deadline=None, derandomize=True, phases=[Phase.generate])
    with pytest.raises(AssertionError, match="abandoned=1"):
        run_state_machine_as_test(Impatient, settings=found)
