"""Whatever of an organism of agents is cut, at whichever scheduler step: nothing is left, no other notices.

Agents that wait for all, agents that wait for each, messages that go early, corrections, spent attempts, a
backend that fails and one that steps in, budgets, todos and turns, each call of a model slow: run once
undisturbed, and then again for steps spread over that run, cut just before each.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import pytest
import trio

from phloem.config import Budgets, ListenerConfig
from phloem.llm.requests import LLMRequest
from phloem.llm.script import Scripted
from phloem.llm.scripted import ScriptedBackend
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism
from support.simulated_agents import Result, Task, result, task
from support.simulating import runs
from support.sweeping import VICTIM, Scenario, World, check, logged, run, scheduling, side_by_side

WRONG: Final = '<send to="search"><Task><Wrong>x</Wrong></Task></send>'
TODO: Final = '<send to="system.todo"><TodoUntil><WaitFor>Result</WaitFor></TodoUntil></send>'


def speak(request: LLMRequest) -> Scripted:
    """What each agent's model says, by what it has heard."""
    words = "\n".join(each.content for each in request.messages if each.role == "user")
    results, wrong = words.count("<Result>"), words.count("<Huh>")
    match request.agent, results:
        case "lead", results if results < 3 and results < words.count("<Task>") * 3:
            said = task("one", "scout") + task("two", "scout") + task("three", "search")
        case "scout", 0:
            said = task("left", "search") + task("right", "search")
        case "scout", 1:
            said = "<wait/>"
        case "planner", 0 if "TodoRegistered" not in words:
            said = TODO + task("planned", "search")
        case "planner", 0:
            said = "<wait/>"
        case "stutterer", 0 if not wrong:
            said = task("fine", "search") + WRONG
        case "hopeless", _:
            said = WRONG
        case "racer", 0:
            said = task("slow", "slow") + task("fast", "search")
        case _:
            said = result(f"{request.agent} {results}")
    return Scripted(said, delay=0.2, pause=0.05, chunks=50)


class Model:
    """Answers as ``speak``, and keeps nothing: one is there for all runs."""

    def complete(self, request: LLMRequest) -> Any:
        return ScriptedBackend(speak).complete(request)

    def stream(self, request: LLMRequest) -> Any:
        return ScriptedBackend(speak).stream(request)


def fail(request: LLMRequest) -> Scripted:
    return Scripted("overloaded", status=529, delay=0.1)


async def search(name: str, payload: Any, metadata: HandlerMetadata) -> Any:
    await trio.sleep(300 if name == "slow" else 0.3)
    return HandlerResponse.respond(Result(payload.text))


def listeners(world: World) -> list[ListenerConfig]:
    tools = [
        logged(world, name, Task, search, responds_with=Result, idempotent=True, max_concurrent=2)
        for name in ("search", "slow")
    ]

    def agent(name: str, *peers: str, **more: Any) -> ListenerConfig:
        takes: dict[str, Any] = {"is_agent": True, "prompt": f"You are {name}.", "responds_with": Result}
        return ListenerConfig(name, Task, description=name, peers=peers, **takes, **more)

    return [
        *tools,
        agent("lead", "scout", "search", wait="all", stream=True, accept_early=True),
        agent("scout", "search", idempotent=True, max_concurrent=2),
        agent("planner", "search", wait="each"),
        agent("stutterer", "search", wait="all", max_attempts=2),
        agent("hopeless", "search", max_attempts=2),
        agent("racer", "slow", "search"),
    ]


async def strangers(world: World, organism: Organism) -> None:
    """Everything that is asked of the organism, side by side."""

    async def turns() -> Any:
        async with organism.open_conversation() as block:
            first = await block.ask(Task("first"), "lead")
            return first, await block.ask(Task("second"), "racer")

    def ask(name: str, **more: Any) -> Any:
        return partial(organism.ask, Task(name), name, **more)

    await side_by_side(
        world,
        {
            "asked": ask("lead", sender=VICTIM),
            "turns": turns,
            "planner": ask("planner"),
            "stutterer": ask("stutterer"),
            "hopeless": ask("hopeless"),
            "racer": ask("racer"),
            "poor": ask("lead", budgets=Budgets(tokens=3000)),
            "short": ask("lead", budgets=Budgets(messages=3)),
            "timed": ask("racer", budgets=Budgets(seconds=0.6)),
        },
    )


def look_at_models(organism: Organism) -> None:
    """Nobody holds anything of the models, and all that was used was booked."""
    llm: Any = organism.llm
    assert llm.lines._lines == {}
    assert [(each.running, each.waiting, each.reserved) for each in llm.backends] == [(0, 0, 0)] * 2
    spending: Any = organism.statistics()["spending"]
    assert (spending["reserved_tokens"], spending["reserved_cost"]) == (0, 0)
    assert spending["tokens"] == sum(row.total_tokens for row in llm.usage())


CALLS: Final = ("asked", "turns", "stutterer")
UNDISTURBED: Final = {
    "asked": "Result(text='lead 3')",
    "turns": "(Result(text='lead 3'), Result(text='racer 1'))",
    "planner": "Result(text='planner 1')",
    "stutterer": "Result(text='stutterer 1')",
    "hopeless": "failed",
    "racer": "Result(text='racer 1')",
    "poor": "out_of_budget",
    "short": "out_of_budget",
    "timed": "timed_out",
}
SCENARIO: Final = Scenario(
    listeners,
    strangers,
    drained=[(Task("a"), "lead"), (Task("b"), "racer"), (Task("c"), "hopeless")],
    calls=CALLS,
    settings={
        "max_in_flight": 20,
        "max_concurrent_handlers": 8,
        "max_concurrent_pipelines": 9,
        "llm_config": {
            "default_model": "some",
            "retries": 2,
            "retry_base_delay": 0.2,
            "defaults": {"max_tokens": 300},
            "backends": [
                {"provider": ScriptedBackend(fail, name="down"), "name": "down", "priority": 1},
                {"provider": Model(), "name": "up", "priority": 2, "max_concurrent": 4},
            ],
        },
    },
)


@pytest.fixture(params=["any order", "stock order"])
def seeds(request: pytest.FixtureRequest) -> Iterator[range]:
    with scheduling(shuffled=request.param == "any order") as seeds:
        yield seeds


def test_the_scenario_has_everything_in_it(seeds: range) -> None:
    for seed in seeds:
        world = run(SCENARIO, None, "organism", seed)
        assert world.results == UNDISTURBED
        reasons = {reason for _, reason in world.recorder.endings}
        assert reasons == {None, "pruned", "budget", "deadline", "validation"}


def cut_somewhere(cut: str, seeds: range) -> Iterator[World]:
    """Steps spread over each run, others for each cut; with PHLOEM_SIM_RUNS so many of them."""
    for seed in seeds:
        undisturbed = run(SCENARIO, None, cut, seed)
        steps = range(undisturbed.at.steps)
        for step in steps[zlib.crc32(cut.encode()) % 7 :: max(len(steps) // runs(7), 1)]:
            world = run(SCENARIO, step, cut, seed)
            try:
                check(world)
                if world.organism is not None:
                    look_at_models(world.organism)
            except BaseException as error:
                error.add_note(f"cut: {cut}, seed {seed}, step {step} of {len(steps)}")
                raise
            yield world


@pytest.mark.parametrize(("cut", "least"), [("organism", 6), ("shutdown", 6), ("error", 6), ("drain", 1)])
def test_all_can_be_cut_at_any_step(cut: str, least: int, seeds: range) -> None:
    worlds = list(cut_somewhere(cut, seeds))
    abandoned = [each.organism.report.abandoned for each in worlds if each.organism is not None]
    assert sum(count > least for count in abandoned) > len(worlds) / 3, (
        "hardly any cut met a message in flight"
    )


@pytest.mark.parametrize("cut", ["kill", *CALLS])
def test_one_call_can_be_cut_at_any_step_and_no_other_notices(cut: str, seeds: range) -> None:
    own = "asked" if cut == "kill" else cut
    for world in cut_somewhere(cut, seeds):
        result = world.results[own]
        assert world.results == {**UNDISTURBED, own: result}
        assert result in ("cancelled", UNDISTURBED[own])
