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


class GreeterTest(unittest.TestCase):
    def test_it_greets_people_by_their_names(self) -> None:
        async def scenario(organism: Organism) -> None:
            reply = await organism.ask(greeting(organism, name="Ada"), to="greeter")
            self.assertEqual(reply.text, "Hello, Ada!")

        report = run(scenario)
        self.assertEqual(report.rejected + report.failed + report.undeliverable, 0)

    def test_a_name_of_nothing_is_refused_and_the_sender_is_told_where(self) -> None:
        async def scenario(organism: Organism) -> None:
            with self.assertRaises(MessageRejected) as refused:
                await organism.ask(greeting(organism, name=""), to="greeter")
            self.assertEqual(refused.exception.huh.path, "/Greeting/Name")

        self.assertEqual(run(scenario).rejected, 1)

    def test_xml_that_is_no_greeting_is_refused_and_the_sender_is_told_where(self) -> None:
        async def scenario(organism: Organism) -> None:
            with self.assertRaises(MessageRejected) as refused:
                await organism.inject("<Greeting><Nmae>Ada</Nmae></Greeting>")
            self.assertEqual(refused.exception.huh.path, "/Greeting/Nmae")

        self.assertEqual(run(scenario).rejected, 1)

    def test_every_message_is_accounted_for(self) -> None:
        async def scenario(organism: Organism) -> None:
            for name in ("Ada", "Grace", "Edsger"):
                await organism.send(greeting(organism, name=name), to="greeter")

        report = run(scenario)
        ended = report.handled + report.rejected + report.undeliverable + report.failed + report.abandoned
        self.assertEqual(report.accepted, ended)
        self.assertEqual(report.abandoned, 0)


def greeting(organism: Organism, **fields: Any) -> Any:
    """A payload for the greeter, of the very class that the organism has loaded."""
    return organism.listeners["greeter"].payload_class(**fields)


def run(scenario: Callable[[Organism], Awaitable[None]]) -> ShutdownReport:
    """Open the organism, play the scenario, shut down; the report of how every message ended."""

    async def main() -> ShutdownReport:
        async with open_organism(ORGANISM) as organism:
            await scenario(organism)
        return organism.report

    return trio.run(main, clock=MockClock(autojump_threshold=0))


if __name__ == "__main__":
    unittest.main()
