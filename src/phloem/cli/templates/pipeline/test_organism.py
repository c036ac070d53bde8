"""Tests of the organism: asked from outside, as whoever uses it would.

Run it as it is (python test_organism.py), or by pytest. Time is virtual: a handler that
waits costs none, and one that hangs meets its deadline at once.
"""

import unittest
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from phloem import Budgets, ConversationFailed, MessageRejected, Organism, ShutdownReport, open_organism

ORGANISM = Path(__file__).with_name("organism.yaml")


class PipelineTest(unittest.TestCase):
    def test_a_complaint_becomes_a_ticket_for_tomorrow(self) -> None:
        async def scenario(organism: Organism) -> None:
            words = feedback(organism, customer="C0042", text="My parcel is late again.")
            ticket = await organism.ask(words, to="desk")
            self.assertEqual((ticket.customer, ticket.kind, ticket.days), ("C0042", "complaint", 1))

        report = run(scenario)
        self.assertEqual(report.rejected + report.failed + report.undeliverable, 0)

    def test_the_agent_tells_questions_and_praise_apart(self) -> None:
        async def scenario(organism: Organism) -> None:
            for text, kind in (("When do you open?", "question"), ("Thanks a lot.", "praise")):
                words = feedback(organism, customer="C0042", text=text)
                found = await organism.ask(words, to="sorter")
                self.assertEqual(found.kind, kind)

        run(scenario)

    def test_a_wrong_customer_number_is_refused_and_the_sender_is_told_where(self) -> None:
        async def scenario(organism: Organism) -> None:
            with self.assertRaises(MessageRejected) as refused:
                await organism.ask(feedback(organism, customer="42", text="Hello?"), to="desk")
            self.assertEqual(refused.exception.huh.path, "/Feedback/Customer")

        self.assertEqual(run(scenario).rejected, 1)

    def test_a_conversation_that_costs_too_much_is_ended(self) -> None:
        async def scenario(organism: Organism) -> None:
            words = feedback(organism, customer="C0042", text="My parcel is late again.")
            with self.assertRaises(ConversationFailed) as ended:
                await organism.ask(words, to="desk", budgets=Budgets(messages=2))
            self.assertEqual(ended.exception.outcome.state, "out_of_budget")

        run(scenario)

    def test_every_message_is_accounted_for(self) -> None:
        async def scenario(organism: Organism) -> None:
            for number in range(1, 4):
                words = feedback(organism, customer=f"C000{number}", text="When do you open?")
                await organism.send(words, to="desk")

        report = run(scenario)
        ended = report.handled + report.rejected + report.undeliverable + report.failed + report.abandoned
        self.assertEqual(report.accepted, ended)
        self.assertEqual(report.abandoned, 0)


def feedback(organism: Organism, **fields: Any) -> Any:
    """A payload for the desk, of the very class that the organism has loaded."""
    return organism.listeners["desk"].payload_class(**fields)


def run(scenario: Callable[[Organism], Awaitable[None]]) -> ShutdownReport:
    """Open the organism, play the scenario, shut down; the report of how every message ended."""

    async def main() -> ShutdownReport:
        async with open_organism(ORGANISM) as organism:
            await scenario(organism)
        return organism.report

    return trio.run(main, clock=MockClock(autojump_threshold=0))


if __name__ == "__main__":
    unittest.main()
