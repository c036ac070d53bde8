"""Tests of the organism: asked from outside, as whoever uses it would.

Run it as it is (python test_organism.py), or by pytest. No model is called, whether or not there is a
key: a script answers. Time is virtual, so what waits costs none.
"""

import runpy
import unittest
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from phloem import (
    Budgets,
    ConversationFailed,
    Organism,
    Scripted,
    ScriptedBackend,
    ShutdownReport,
    open_organism,
)

ORGANISM = Path(__file__).with_name("organism.yaml")
ANSWER = runpy.run_path(str(ORGANISM.with_name("stand_in.py")))["answer"]


class ResearchTest(unittest.TestCase):
    def test_the_report_rests_on_what_the_library_has_and_says_what_it_has_not(self) -> None:
        async def scenario(organism: Organism) -> None:
            report = await organism.ask(topic(organism, text="Wax and dragons"), to="editor")
            self.assertEqual(report.sources, ["Wax"])
            self.assertIn("no answer to “What is there to know of dragons?”", report.text)

        ended = run(scenario, ScriptedBackend(ANSWER))
        self.assertEqual(ended.rejected + ended.failed + ended.undeliverable, 0)

    def test_three_questions_take_as_long_as_one_and_the_editor_is_called_once_for_all_answers(self) -> None:
        backend = ScriptedBackend(lambda request: Scripted(ANSWER(request), delay=10))

        async def scenario(organism: Organism) -> None:
            began = trio.current_time()
            await organism.ask(topic(organism, text="Bees, honey and wax"), to="editor")
            self.assertAlmostEqual(trio.current_time() - began, 40, delta=1)

        run(scenario, backend)
        asked = [request.agent for request in backend.requests]
        self.assertEqual((asked.count("editor"), asked.count("researcher")), (2, 6))

    def test_a_researcher_that_is_wrong_twice_is_told_of_as_failed_and_the_others_are_not(self) -> None:
        refused: list[str] = []

        def stubborn(request: Any) -> str:
            told = request.messages[-1].content
            if request.agent == "researcher" and ("dragons" in told or "<Huh>" in told):
                refused.append(told)
                return "I would rather not say."
            return str(ANSWER(request))

        async def scenario(organism: Organism) -> None:
            report = await organism.ask(topic(organism, text="Wax and dragons"), to="editor")
            self.assertEqual(report.sources, ["Wax"])

        self.assertEqual(run(scenario, ScriptedBackend(stubborn)).failed, 1)
        self.assertEqual(len(refused), 2)

    def test_no_topic_costs_more_than_it_may(self) -> None:
        async def scenario(organism: Organism) -> None:
            for most in (Budgets(tokens=12_000), Budgets(cost=0.01)):
                with self.assertRaises(ConversationFailed) as ended:
                    await organism.ask(topic(organism, text="Bees, honey and wax"), to="editor", budgets=most)
                self.assertEqual(ended.exception.outcome.state, "out_of_budget")
            for used in organism.llm.usage("conversation"):
                self.assertTrue(used.total_tokens <= 12_000 or (used.cost or 0) <= 0.01, used)

        run(scenario, ScriptedBackend(ANSWER))

    def test_every_message_is_accounted_for(self) -> None:
        async def scenario(organism: Organism) -> None:
            for text in ("Bees", "Honey and wax", "Dragons, dwarves and elves"):
                await organism.send(topic(organism, text=text), to="editor")

        report = run(scenario, ScriptedBackend(ANSWER))
        ended = report.handled + report.rejected + report.undeliverable + report.failed + report.abandoned
        self.assertEqual(report.accepted, ended)
        self.assertEqual(report.abandoned, 0)


def topic(organism: Organism, **fields: Any) -> Any:
    """A payload for the editor, of the very class that the organism has loaded."""
    return organism.listeners["editor"].payload_class(**fields)


def run(scenario: Callable[[Organism], Awaitable[None]], backend: ScriptedBackend) -> ShutdownReport:
    """Open the organism, play the scenario, shut down; the report of how every message ended."""

    async def main() -> ShutdownReport:
        async with open_organism(ORGANISM, backends=[backend]) as organism:
            await scenario(organism)
        return organism.report

    return trio.run(main, clock=MockClock(autojump_threshold=0))


if __name__ == "__main__":
    unittest.main()
