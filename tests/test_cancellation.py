"""Whatever is cancelled, and at whichever scheduler step: the books close and nothing is left.

A scenario with everything in it (fan-out, responds, a failure, a retry, a broadcast, a huh, a
prune that cancels a running handler, a kill, a block of turns) runs once undisturbed, to count
its scheduler steps, and then once for each of them, cut just before that step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from phloem.config import Budgets, ListenerConfig
from phloem.messages import HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import Organism
from support.sweeping import (
    VICTIM,
    Scenario,
    World,
    check,
    count_met,
    logged,
    results_of_one,
    run,
    scheduling,
    side_by_side,
)
from support.wire import message

SEATS = 4  # fewer than the scenario's strangers, so that one of them waits for a seat


@dataclass
class Job:
    parts: int


@dataclass
class Part:
    number: int


@dataclass
class Done:
    number: int


@dataclass
class Call:
    text: str


async def handle(
    name: str, payload: Any, metadata: HandlerMetadata
) -> HandlerResponse | list[HandlerResponse] | bytes | None:
    """What the listener of that name does."""
    match name, payload:
        case "splitter", Job(parts):
            return [HandlerResponse(Part(number), to="worker.one") for number in range(parts)]
        case "splitter", Done(2):
            return HandlerResponse.respond(payload)  # the slow ones are still at work, or queued
        case "worker.one", Part(0) if metadata.attempt == 1:
            raise ValueError("the first attempt always fails")
        case "worker.one", Part(1):
            raise ValueError("this one always fails")
        case "worker.one", Part(number):
            await trio.sleep(number)
            return HandlerResponse.respond(Done(number))
        case "bell", Call():
            await trio.sleep(0.5)
            return HandlerResponse.respond(payload)
        case "stutterer", Call():
            return b"<Part><Number>many</Number></Part>"
        case "stutterer", Huh():
            return HandlerResponse.respond(Done(payload.attempts_left))
        case "racer", Call():
            return [HandlerResponse(Part(number), to="worker.one") for number in (300, 3)]
        case "racer", Done():
            return HandlerResponse.respond(payload)  # the slower one is cancelled
        case _:
            return None


def listeners(world: World) -> list[ListenerConfig]:
    def listener(name: str, takes: Any, **more: Any) -> ListenerConfig:
        return logged(world, name, takes, handle, **more)

    return [
        listener("splitter", [Job, Done, SystemError, Huh]),
        listener("worker.one", Part, retries=1, max_concurrent=5),
        listener("bell", Call, broadcast=True),
        listener("bell", Call, broadcast=True),
        listener("stutterer", [Call, Huh]),
        listener("racer", [Call, Done]),
    ]


async def strangers(world: World, organism: Organism) -> None:
    """Everything that is asked of the organism, side by side."""

    async def killed() -> Any:
        receipt = await organism.send(Part(200), to="worker.one")
        await trio.sleep(1.5)
        await organism.kill(receipt.conversation)
        return (await organism.wait(receipt)).state

    async def fanned_out() -> Any:
        payloads = '<Call xmlns=""><Text>a</Text></Call><Nobody xmlns=""/>'
        receipt = await organism.inject(message(payloads, meta="<from>x</from><to>bell</to>"))
        return (await organism.wait(receipt)).state

    async def turns() -> Any:
        async with organism.open_conversation() as block:
            first = await block.ask(Part(5), to="worker.one")
            await block.send(Call("b"), to="bell")
            return first, await block.ask(Call("a"), to="racer")

    await side_by_side(
        world,
        {
            "asked": lambda: organism.ask(Job(4), to="splitter", sender=VICTIM),
            "race": lambda: organism.ask(Call("r"), to="racer"),
            "failing": lambda: organism.ask(Part(1), to="worker.one"),
            "killed": killed,
            "fanned out": fanned_out,
            "turns": turns,
            "huh": lambda: organism.ask(Call("x"), to="stutterer"),
            "timed": lambda: organism.ask(Part(90), to="worker.one", budgets=Budgets(seconds=4)),
            "refused": lambda: organism.inject("<Part><Number>none</Number></Part>"),
        },
    )


CALLS = ("asked", "turns", "killed", "fanned out")
UNDISTURBED = {
    "asked": "Done(number=2)",
    "race": "Done(number=3)",
    "failing": "failed",
    "killed": "<ConversationState.CANCELLED: 'cancelled'>",
    "fanned out": "<ConversationState.FAILED: 'failed'>",
    "turns": "(Done(number=5), Done(number=3))",
    "huh": "Done(number=2)",
    "timed": "timed_out",
    "refused": "MessageRejected",
}
SCENARIO = Scenario(
    listeners,
    strangers,
    drained=[(Job(4), "splitter"), (Call("c"), "bell"), (Call("r"), "racer")],
    calls=CALLS,
    settings={
        "max_in_flight": SEATS,
        "max_concurrent_handlers": 6,
        "max_concurrent_pipelines": 7,
    },
)


@pytest.fixture(params=["any order", "stock order"])
def seeds(request: pytest.FixtureRequest) -> Iterator[range]:
    """A seed for each order: breadth-first in one, depth-first in the other; memory has it crosswise."""
    shuffled = request.param == "any order"
    with scheduling(shuffled=shuffled) as seeds:
        yield seeds[:1] if shuffled else seeds[1:]


def test_the_scenario_has_everything_in_it(seeds: range) -> None:
    for seed in seeds:
        world = run(SCENARIO, None, "organism", seed)
        check(world)
        assert world.results == UNDISTURBED
        assert world.recorder.retries >= 2
        assert world.organism is not None
        assert world.organism.report.rejected == 3
        reasons = {reason for _, reason in world.recorder.endings}
        assert reasons == {None, "handler", "pruned", "killed", "deadline"}


@pytest.mark.parametrize(("cut", "met"), [("organism", 30), ("shutdown", 30), ("error", 20), ("drain", 10)])
def test_all_can_be_cut_at_every_step(cut: str, met: int, seeds: range) -> None:
    """The whole organism cancelled, shut down without grace, left by an error, cancelled while it drains."""
    assert count_met(SCENARIO, cut, seeds) > met, "the sweep hardly ever met a message in flight"


@pytest.mark.parametrize("cut", ["kill", *CALLS])
def test_one_call_can_be_cut_at_every_step_and_no_other_notices(cut: str, seeds: range) -> None:
    """One conversation killed; a stranger cancelled in its ask, its block, its wait or its inject."""
    own = "asked" if cut == "kill" else cut
    assert results_of_one(SCENARIO, cut, seeds, UNDISTURBED) == {"cancelled", UNDISTURBED[own]}
