"""Whatever is cancelled, and at whichever scheduler step: no watcher, slot or thread is left behind.

The scenario has todos in every way there is: registered by handlers, by agents and by strangers,
raised, closed, left open; undone by a failure, an overrun, a retry; pruned, killed, timed out; kept
over the turns of a block on a thread that nothing else keeps alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from phloem.config import Budgets, ListenerConfig, MemoryLimits
from phloem.messages import HandlerMetadata, HandlerResponse, SystemError
from phloem.organism import Organism
from phloem.primitives import TodoClosed, TodoComplete, TodoRegistered, TodoUntil
from phloem.pump.within import get_context_buffer, get_todo_registry
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
from support.watching import unfit

SEATS = 4  # fewer than the scenario's strangers, so that one of them waits for a seat


@dataclass
class Job:
    text: str


@dataclass
class Part:
    number: int


@dataclass
class Done:
    number: int


async def handle(name: str, payload: Any, metadata: HandlerMetadata) -> Any:
    """What the listener of that name does."""
    todos, respond = get_todo_registry(), HandlerResponse.respond
    get_context_buffer().get_thread()
    match name, payload:
        case "keeper", Job():
            todos.register(wait_for="done", from_listener="worker")
            until = TodoUntil("Done", description="say so")
            return [HandlerResponse(Part(1), to="worker"), HandlerResponse(until, to="system.todo")]
        case "keeper", Done():
            first, second = todos.get_raised_for(metadata.thread_id, "keeper")
            todos.close(first.id)
            return HandlerResponse(TodoComplete(second.id))
        case "keeper", TodoClosed():
            return respond(Done(payload.was_raised + 10 * bool(metadata.todo_nudge)))
        case "worker", Part():
            todos.register(wait_for="Nothing")
            await trio.sleep(payload.number)
            return respond(Done(payload.number))
        case "flaky", Part():
            before = todos.close_all_for_thread()
            todos.register(wait_for="Done")
            await trio.sleep(0.5)
            if metadata.attempt < 3:
                raise ValueError("the first attempts always fail")
            return respond(Done(before + 10 * len(todos.get_pending_for())))
        case "unaware", Part():
            return [HandlerResponse(TodoUntil("Done")), HandlerResponse(Part(1), to="worker")]
        case "unaware", Done():
            return respond(Done(len(todos.get_raised_for())))
        case "racer", Job():
            return [HandlerResponse(Part(number), to="worker") for number in (300, 3)]
        case "racer", Done():
            return respond(payload)  # the slower one is cancelled, and its todo goes
        case "late", Part():
            todos.register(wait_for="Done")
            await trio.sleep_forever()
        case "host", Job("first"):
            return HandlerResponse(Part(1), to="sitter")
        case "host", Job():
            return HandlerResponse(Part(2), to="sitter")
        case "host", Done():
            return respond(payload)
        case "sitter", Part(1):
            todos.register(wait_for="Job", from_listener="outside")
        case "sitter", Part():
            closed = [todos.close(todo.id) for todo in todos.get_raised_for()]
            return respond(Done(closed.count(True) + 10 * ("Job from outside" in metadata.todo_nudge)))
        case _:
            return None  # what it is told beside that, it only hears
    return None


def listeners(world: World) -> list[ListenerConfig]:
    async def looked_at(name: str, payload: Any, metadata: HandlerMetadata) -> Any:
        assert world.organism is not None
        world.broken += unfit(world.organism)
        return await handle(name, payload, metadata)

    def listener(name: str, takes: Any, **more: Any) -> ListenerConfig:
        return logged(world, name, takes, looked_at, **more)

    return [
        listener("keeper", [Job, Done, TodoRegistered, TodoClosed], is_agent=True, peers=["worker"]),
        listener("worker", Part, max_concurrent=5),
        listener("flaky", Part, retries=2),
        listener("unaware", [Part, Done]),
        listener("racer", [Job, Done]),
        listener("late", Part, handler_timeout=2.5),
        listener("host", [Job, Done, SystemError]),
        listener("sitter", Part),
    ]


async def strangers(world: World, organism: Organism) -> None:
    """Everything that is asked of the organism, side by side."""

    async def killed() -> Any:
        receipt = await organism.send(Part(200), to="worker")
        await trio.sleep(1.5)
        await organism.kill(receipt.conversation)
        return (await organism.wait(receipt)).state

    async def turns() -> Any:
        async with organism.open_conversation() as block:
            await organism.wait(await block.send(Job("first"), to="host"))
            kept = len([todo for todo in organism.todos if todo.issuer == "sitter"])
            return kept, await block.ask(Job("second"), to="host")

    async def direct() -> Any:
        async with organism.open_conversation() as block:
            opened = await block.ask(TodoUntil("Part"), to="system.todo")
            await block.ask(Part(1), to="worker")
            return (await block.ask(TodoComplete(opened.id))).was_raised

    await side_by_side(
        world,
        {
            "asked": lambda: organism.ask(Job("x"), to="keeper", sender=VICTIM),
            "race": lambda: organism.ask(Job("x"), to="racer"),
            "flaky": lambda: organism.ask(Part(1), to="flaky"),
            "unaware": lambda: organism.ask(Part(1), to="unaware"),
            "killed": killed,
            "late": lambda: organism.ask(Part(1), to="late"),
            "turns": turns,
            "direct": direct,
            "timed": lambda: organism.ask(Part(90), to="worker", budgets=Budgets(seconds=4)),
            "spent": lambda: organism.ask(Job("first"), to="host", budgets=Budgets(depth=1)),
        },
    )


CALLS = ("asked", "turns", "killed", "direct", "unaware")
UNDISTURBED = {
    "asked": "Done(number=1)",
    "race": "Done(number=3)",
    "flaky": "Done(number=10)",
    "unaware": "Done(number=1)",
    "killed": "<ConversationState.CANCELLED: 'cancelled'>",
    "late": "failed",
    "turns": "(1, Done(number=11))",
    "direct": "True",
    "timed": "timed_out",
    "spent": "out_of_budget",
}
SCENARIO = Scenario(
    listeners,
    strangers,
    drained=[(Job("x"), "keeper"), (Part(1), "flaky"), (Job("x"), "racer"), (Job("first"), "host")],
    calls=CALLS,
    settings={
        "max_in_flight": SEATS,
        "max_concurrent_handlers": 6,
        "memory": MemoryLimits(max_threads=10),
    },
)


@pytest.fixture(params=["any order", "stock order"])
def seeds(request: pytest.FixtureRequest) -> Iterator[range]:
    """A seed for each order: depth-first in one, breadth-first in the other; test_cancellation crosswise."""
    shuffled = request.param == "any order"
    with scheduling(shuffled=shuffled) as seeds:
        yield seeds[1:] if shuffled else seeds[:1]


def test_the_scenario_has_everything_in_it(seeds: range) -> None:
    for seed in seeds:
        world = run(SCENARIO, None, "organism", seed)
        check(world)
        assert world.results == UNDISTURBED
        assert world.recorder.retries == 2
        reasons = {reason for _, reason in world.recorder.endings}
        assert reasons == {None, "pruned", "killed", "deadline"}


@pytest.mark.parametrize(("cut", "met"), [("organism", 30), ("shutdown", 30), ("error", 20), ("drain", 15)])
def test_all_can_be_cut_at_every_step(cut: str, met: int, seeds: range) -> None:
    """The whole organism cancelled, shut down without grace, left by an error, cancelled while it drains."""
    assert count_met(SCENARIO, cut, seeds) > met, "the sweep hardly ever met a message in flight"


@pytest.mark.parametrize("cut", ["kill", *CALLS])
def test_one_call_can_be_cut_at_every_step_and_no_other_notices(cut: str, seeds: range) -> None:
    """One conversation killed; a stranger cancelled in its ask, its block, its wait."""
    own = "asked" if cut == "kill" else cut
    assert results_of_one(SCENARIO, cut, seeds, UNDISTURBED) == {"cancelled", UNDISTURBED[own]}
