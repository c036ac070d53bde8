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

from phloem import MessageRejected, Organism, ShutdownReport, open_organism

ORGANISM = Path(__file__).with_name("organism.yaml")


class TodoTest(unittest.TestCase):
    def test_the_assistant_is_reminded_of_what_the_item_is_for(self) -> None:
        async def scenario(organism: Organism) -> None:
            done = await organism.ask(errand(organism, item="milk", then="feed the cat"), to="assistant")
            self.assertEqual(done.text, "Errand from outside, Fetched from runner; now feed the cat")

        report = run(scenario)
        self.assertEqual(report.rejected + report.failed + report.undeliverable, 0)

    def test_no_todo_outlives_its_conversation(self) -> None:
        async def scenario(organism: Organism) -> None:
            await organism.ask(errand(organism, item="milk", then="feed the cat"), to="assistant")
            self.assertEqual(organism.todos, ())

        run(scenario)

    def test_two_errands_at_once_are_never_mixed_up(self) -> None:
        async def scenario(organism: Organism) -> None:
            errands = {"milk": "feed the cat", "a ladder": "change the bulb"}
            receipts = [
                await organism.send(errand(organism, item=item, then=then), to="assistant")
                for item, then in errands.items()
            ]
            for receipt, then in zip(receipts, errands.values(), strict=True):
                [done] = (await organism.wait(receipt)).payloads
                self.assertTrue(done.text.endswith(f"; now {then}"), done.text)

        run(scenario)

    def test_an_errand_for_nothing_is_refused_and_the_sender_is_told_where(self) -> None:
        async def scenario(organism: Organism) -> None:
            with self.assertRaises(MessageRejected) as refused:
                await organism.ask(errand(organism, item="", then="feed the cat"), to="assistant")
            self.assertEqual(refused.exception.huh.path, "/Errand/Item")

        self.assertEqual(run(scenario).rejected, 1)

    def test_every_message_is_accounted_for(self) -> None:
        async def scenario(organism: Organism) -> None:
            for item in ("milk", "bread", "tea"):
                await organism.send(errand(organism, item=item, then="lay the table"), to="assistant")

        report = run(scenario)
        ended = report.handled + report.rejected + report.undeliverable + report.failed + report.abandoned
        self.assertEqual(report.accepted, ended)
        self.assertEqual(report.abandoned, 0)


def errand(organism: Organism, **fields: Any) -> Any:
    """A payload for the assistant, of the very class that the organism has loaded."""
    return organism.listeners["assistant"].payload_class(**fields)


def run(scenario: Callable[[Organism], Awaitable[None]]) -> ShutdownReport:
    """Open the organism, play the scenario, shut down; the report of how every message ended."""

    async def main() -> ShutdownReport:
        async with open_organism(ORGANISM) as organism:
            await scenario(organism)
        return organism.report

    return trio.run(main, clock=MockClock(autojump_threshold=0))


if __name__ == "__main__":
    unittest.main()
