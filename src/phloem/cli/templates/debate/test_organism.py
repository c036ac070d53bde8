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


class DebateTest(unittest.TestCase):
    def test_both_sides_are_heard_twice_before_there_is_a_verdict(self) -> None:
        backend = ScriptedBackend(ANSWER)

        async def scenario(organism: Organism) -> None:
            verdict = await organism.ask(motion(organism, text="Tea is better."), to="judge")
            self.assertEqual(verdict.winner, "skeptic")
            self.assertIn("4 arguments", verdict.why)

        report = run(scenario, backend)
        asked = [request.agent for request in backend.requests]
        self.assertEqual(
            {name: asked.count(name) for name in asked}, {"judge": 3, "optimist": 2, "skeptic": 2}
        )
        self.assertEqual(report.rejected + report.failed + report.undeliverable, 0)

    def test_both_sides_think_at_the_same_time(self) -> None:
        def slowly(request: Any) -> Scripted:
            return Scripted(ANSWER(request), delay=10)

        async def scenario(organism: Organism) -> None:
            began = trio.current_time()
            await organism.ask(motion(organism, text="Tea is better."), to="judge")
            self.assertAlmostEqual(
                trio.current_time() - began, 50, delta=1
            )  # three times the judge, two rounds

        run(scenario, ScriptedBackend(slowly))

    def test_an_answer_that_breaks_the_contract_goes_back_to_the_model_with_what_is_wrong(self) -> None:
        wrong = "<Verdict><Winner>nobody</Winner><Why>a draw</Why></Verdict>"
        right = "<Verdict><Winner>optimist</Winner><Why>none</Why></Verdict>"
        backend = ScriptedBackend([wrong, right])

        async def scenario(organism: Organism) -> None:
            verdict = await organism.ask(motion(organism, text="Tea is better."), to="judge")
            self.assertEqual(verdict.winner, "optimist")

        run(scenario, backend)
        self.assertEqual(backend.calls, 2)
        self.assertIn("/Verdict/Winner", backend.requests[1].messages[-1].content)

    def test_a_debate_that_costs_too_much_is_ended(self) -> None:
        async def scenario(organism: Organism) -> None:
            text = motion(organism, text="Tea is better.")
            with self.assertRaises(ConversationFailed) as ended:
                await organism.ask(text, to="judge", budgets=Budgets(tokens=9_000))
            self.assertEqual(ended.exception.outcome.state, "out_of_budget")
            self.assertLessEqual(organism.llm.usage("conversation")[0].total_tokens, 9_000)

        run(scenario, ScriptedBackend(ANSWER))

    def test_every_message_is_accounted_for(self) -> None:
        async def scenario(organism: Organism) -> None:
            for text in ("Tea is better.", "Cats are better.", "Nothing is better."):
                await organism.send(motion(organism, text=text), to="judge")

        report = run(scenario, ScriptedBackend(ANSWER))
        ended = report.handled + report.rejected + report.undeliverable + report.failed + report.abandoned
        self.assertEqual(report.accepted, ended)
        self.assertEqual(report.abandoned, 0)


def motion(organism: Organism, **fields: Any) -> Any:
    """A payload for the judge, of the very class that the organism has loaded."""
    return organism.listeners["judge"].payload_class(**fields)


def run(scenario: Callable[[Organism], Awaitable[None]], backend: ScriptedBackend) -> ShutdownReport:
    """Open the organism, play the scenario, shut down; the report of how every message ended."""

    async def main() -> ShutdownReport:
        async with open_organism(ORGANISM, backends=[backend]) as organism:
            await scenario(organism)
        return organism.report

    return trio.run(main, clock=MockClock(autojump_threshold=0))


if __name__ == "__main__":
    unittest.main()
