"""Whatever is cancelled, and at whichever scheduler step: the books close and nothing is left.

A scenario with everything in it (fan-out, responds, a failure, a retry, a broadcast, a huh, a
prune that cancels a running handler, a kill, a block of turns) runs once undisturbed, to count
its scheduler steps, and then once for each of them, cut just before that step.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio._core._run as trio_run
import trio.testing

from phloem.config import Budgets, ListenerConfig, OrganismConfig
from phloem.errors import ConversationFailed, MessageRejected, OrganismClosed
from phloem.messages import (
    Cause,
    ConversationState,
    Ending,
    HandlerMetadata,
    HandlerResponse,
    Huh,
    Outcome,
    SystemError,
)
from phloem.organism import Organism, open_organism
from phloem.pump.ports import SeededIds
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


class Own(Exception):
    """An error of the body."""


class Recorder:
    """An observer that remembers what began and what ended."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.outcomes: dict[str, list[Outcome]] = {}
        self.endings: list[tuple[str, str | None]] = []
        self.retries = 0

    def conversation_started(self, conversation: Any) -> None:
        self.started.append(conversation.id)

    def conversation_ended(self, conversation: Any, outcome: Outcome) -> None:
        self.outcomes.setdefault(conversation.id, []).append(outcome)

    def ended(self, delivery: Any, cause: Cause | None) -> None:
        self.endings.append((delivery.id, None if cause is None else cause.reason))

    def retrying(self, delivery: Any, cause: Cause, delay: float) -> None:
        self.retries += 1

    def unseen(self, *_: Any, **__: Any) -> None: ...

    dispatched = refused = buried = raised = claim_ignored = mended = overslept = held_up = phase = unseen


class AtStep(trio.abc.Instrument):
    """Calls ``act`` just before the ``step``-th step of any task, and counts them all."""

    def __init__(self, step: int | None) -> None:
        self.step, self.steps = step, 0
        self.act: Callable[[], object] | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.act is not None:
            if self.steps == self.step:
                self.act()
            self.steps += 1


@dataclass
class World:
    """One run of the scenario: what handlers did, what callers got, what may be cut."""

    at: AtStep
    cut: str
    scheduling: str
    log: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    recorder: Recorder = field(default_factory=Recorder)
    organism: Organism | None = None
    scopes: dict[str, trio.CancelScope] = field(default_factory=dict)
    cut_at: trio.Event = field(default_factory=trio.Event)
    frozen: list[str] | None = None  # the log as it was when nothing was to run any more
    killed: list[str] = field(default_factory=list)
    tasks_left: int = -1


async def handle(
    name: str, payload: Any, attempt: int
) -> HandlerResponse | list[HandlerResponse] | bytes | None:
    """What the listener of that name does."""
    match name, payload:
        case "splitter", Job(parts):
            return [HandlerResponse(Part(number), to="worker.one") for number in range(parts)]
        case "splitter", Done(2):
            return HandlerResponse.respond(payload)  # the slow ones are still at work, or queued
        case "worker.one", Part(0) if attempt == 1:
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


def config_of(world: World) -> OrganismConfig:
    """Listeners that log when they come and, in any case, when they go."""

    def listener(name: str, takes: Any, **more: Any) -> ListenerConfig:
        async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
            # "!" has no "-" to go with it: nothing of a conversation is entered after its kill
            world.log.append(("!" if metadata.conversation in world.killed else "+") + name)
            try:
                return await handle(name, payload, metadata.attempt)
            finally:
                world.log.append(f"-{name}")

        return ListenerConfig(name, takes, handler, name, **more)

    return OrganismConfig(
        "swept",
        [
            listener("splitter", [Job, Done, SystemError, Huh]),
            listener("worker.one", Part, retries=1, max_concurrent=5),
            listener("bell", Call, broadcast=True),
            listener("bell", Call, broadcast=True),
            listener("stutterer", [Call, Huh]),
            listener("racer", [Call, Done]),
        ],
        thread_scheduling=world.scheduling,
        max_in_flight=SEATS,
        max_concurrent_handlers=6,
        max_concurrent_pipelines=7,
    )


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

    async def run(name: str, call: Callable[[], Awaitable[Any]]) -> None:
        world.results[name] = "cancelled"
        with trio.CancelScope() as world.scopes[name]:
            try:
                world.results[name] = repr(await call())
            except ConversationFailed as error:
                world.results[name] = str(error.outcome.state)
            except (OrganismClosed, MessageRejected) as error:
                world.results[name] = type(error).__name__

    async with trio.open_nursery() as nursery:
        for name, call in {
            "asked": lambda: organism.ask(Job(4), to="splitter", sender="victim"),
            "race": lambda: organism.ask(Call("r"), to="racer"),
            "failing": lambda: organism.ask(Part(1), to="worker.one"),
            "killed": killed,
            "fanned out": fanned_out,
            "turns": turns,
            "huh": lambda: organism.ask(Call("x"), to="stutterer"),
            "timed": lambda: organism.ask(Part(90), to="worker.one", budgets=Budgets(seconds=4)),
            "refused": lambda: organism.inject("<Part><Number>none</Number></Part>"),
        }.items():
            nursery.start_soon(run, name, call)


async def disturb(world: World, organism: Organism) -> None:
    """Cut what this run is to cut, as soon as it is told to."""
    await world.cut_at.wait()
    if world.cut == "shutdown":
        await organism.shutdown(0)
        world.frozen = list(world.log)
    elif world.cut == "error":
        raise Own
    else:
        for thread in organism.threads:
            if thread.chain == ("victim",):
                world.killed.append(thread.conversation)
                await organism.kill(thread.conversation)


async def use(world: World, organism: Organism, outer: trio.CancelScope) -> None:
    """The body of the organism's block; says what happens at the chosen step."""
    match world.cut:
        case "organism":
            world.at.act = outer.cancel
            await strangers(world, organism)
        case "drain":
            for payload, to in ((Job(4), "splitter"), (Call("c"), "bell"), (Call("r"), "racer")):
                await organism.send(payload, to=to)
            world.at.act = outer.cancel
        case "shutdown" | "error" | "kill":
            async with trio.open_nursery() as nursery:
                world.at.act = world.cut_at.set
                nursery.start_soon(disturb, world, organism)
                await strangers(world, organism)
                nursery.cancel_scope.cancel()
        case name:
            world.at.act = lambda: name in world.scopes and world.scopes[name].cancel()
            await strangers(world, organism)


async def live(world: World) -> None:
    """Open, use, leave; then look whether anything still moves."""
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as outer:
        try:
            async with open_organism(
                config_of(world), ids=SeededIds(b"s"), random=random.Random(1), observer=world.recorder
            ) as organism:
                world.organism = organism
                await use(world, organism, outer)
                if world.cut in ONE_OF_MANY:
                    await organism.wait_idle()
                    assert organism.statistics()["seats"] == {"free": SEATS, "waiting": 0}
        except* Own:
            pass
    world.at.act = None
    if world.frozen is None:
        world.frozen = list(world.log)
    world.tasks_left = trio.lowlevel.current_statistics().tasks_living - before
    await trio.sleep(10_000)


def run(step: int | None, cut: str, seed: int) -> World:
    """The scenario from its start to long after its end."""
    trio_run._r.seed(seed)
    world = World(AtStep(step), cut, ("breadth-first", "depth-first")[seed % 2])
    trio.run(live, world, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[world.at])
    return world


def check(world: World) -> None:
    """What must hold after any cut."""
    organism, recorder = world.organism, world.recorder
    assert organism is not None
    assert world.frozen == world.log, "a handler did something after the organism was closed"
    assert world.tasks_left == 0
    entered, left = (Counter(line[1:] for line in world.log if line[0] == sign) for sign in "+-")
    assert entered == left, "a handler was entered after its kill, or never left"

    report, ledger = organism.report, organism._core.ledger
    assert report.in_flight == 0
    assert report.accepted == sum(getattr(report, ending.value) for ending in Ending)
    assert len({id for id, _ in recorder.endings}) == len(recorder.endings), "a message ended twice"
    assert len(recorder.endings) + ledger.refused == report.accepted
    assert sum(ledger.abandoned_by.values()) == report.abandoned
    assert len(report.abandoned_messages) == ledger.abandoned_by.get("shutdown", 0)

    assert organism.threads == ()
    assert organism.statistics()["queued"] == 0
    assert organism._pump.slots.borrowed() == 0
    assert organism._pump.intake.closed
    assert organism._pump.intake.waiting == 0

    assert Counter(recorder.started) == {id: len(ends) for id, ends in recorder.outcomes.items()}
    cuts = {id.rpartition("-")[0]: reason for id, reason in recorder.endings if reason in CUTS}
    for id, (outcome,) in recorder.outcomes.items():
        assert outcome.conversation == id
        if id in cuts:
            assert outcome.state is CUTS[cuts[id]], f"{outcome.state}, though it was cut: {cuts[id]}"


ONE_OF_MANY = ("kill", "asked", "turns", "killed", "fanned out")
CUTS = {
    "shutdown": ConversationState.DRAINED,
    "killed": ConversationState.CANCELLED,
    "deadline": ConversationState.TIMED_OUT,
}
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


@pytest.fixture(params=["any order", "stock order"])
def seeds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[range]:
    """Seeds for Trio's scheduler: shuffled batches, and the reversed ones it has by itself."""
    state = trio_run._r.getstate()
    monkeypatch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", request.param == "any order")
    yield range(2)  # one breadth-first, one depth-first
    trio_run._r.setstate(state)


def sweep(cut: str, seeds: range) -> Iterator[World]:
    """Each step of each seed's run, cut there and checked."""
    for seed in seeds:
        undisturbed = run(None, cut, seed)
        check(undisturbed)
        for step in range(undisturbed.at.steps):
            try:
                world = run(step, cut, seed)
                check(world)
            except BaseException as error:
                error.add_note(f"cut: {cut}, seed {seed}, step {step} of {undisturbed.at.steps}")
                raise
            yield world


def test_the_scenario_has_everything_in_it(seeds: range) -> None:
    for seed in seeds:
        world = run(None, "organism", seed)
        check(world)
        assert world.results == UNDISTURBED
        assert world.recorder.retries >= 2
        assert world.organism is not None
        assert world.organism.report.rejected == 3
        reasons = {reason for _, reason in world.recorder.endings}
        assert reasons == {None, "handler", "pruned", "killed", "deadline"}


@pytest.mark.parametrize(("cut", "met"), [("organism", 60), ("shutdown", 60), ("error", 60), ("drain", 20)])
def test_all_can_be_cut_at_every_step(cut: str, met: int, seeds: range) -> None:
    """The whole organism cancelled, shut down without grace, left by an error, cancelled while it drains."""
    cut_by_us = [world.organism.report.abandoned_messages for world in sweep(cut, seeds) if world.organism]
    assert sum(map(bool, cut_by_us)) > met, "the sweep hardly ever met a message in flight"


@pytest.mark.parametrize("cut", ONE_OF_MANY)
def test_one_call_can_be_cut_at_every_step_and_no_other_notices(cut: str, seeds: range) -> None:
    """One conversation killed; a stranger cancelled in its ask, its block, its wait or its inject."""
    own = "asked" if cut == "kill" else cut
    seen: set[str] = set()
    for world in sweep(cut, seeds):
        result = world.results[own]
        assert world.results == UNDISTURBED | {own: result}
        seen.add(result)
    assert seen == {"cancelled", UNDISTURBED[own]}
