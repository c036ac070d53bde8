"""A scenario run once undisturbed, to count its scheduler steps, then once for each, cut just before it.

A ``Scenario`` says which listeners there are and what strangers ask of them; here is what can be
cut (everything, in four ways, or one call of many) and what must hold after any cut. For the tests
of cancellation; each of them looks in its own scenario for what it is about.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import trio
import trio._core._run as trio_run
import trio.testing

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import ConversationFailed, MessageRejected, OrganismClosed
from phloem.messages import Cause, ConversationState, Ending, HandlerMetadata, Outcome
from phloem.organism import Organism, open_organism
from phloem.pump.ports import SeededIds

from .auditing import assert_all_was_told

VICTIM: Final = "victim"  # the sender whose conversation is killed where the cut is "kill"
CUTS: Final = {
    "shutdown": ConversationState.DRAINED,
    "killed": ConversationState.CANCELLED,
    "deadline": ConversationState.TIMED_OUT,
}


class Own(Exception):
    """An error of the body."""


class Recorder:
    """An observer that remembers what began and what ended."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.outcomes: dict[str, list[Outcome]] = {}
        self.endings: list[tuple[str, str | None]] = []
        self.cuts: dict[str, str] = {}  # conversation -> why something of it was abandoned
        self.retries = 0

    def conversation_started(self, conversation: Any) -> None:
        self.started.append(conversation.id)

    def conversation_ended(self, conversation: Any, outcome: Outcome) -> None:
        self.outcomes.setdefault(conversation.id, []).append(outcome)

    def ended(self, delivery: Any, cause: Cause | None) -> None:
        self.endings.append((delivery.id, None if cause is None else cause.reason))
        if delivery.ending is Ending.ABANDONED and cause is not None and cause.reason in CUTS:
            self.cuts[delivery.conversation.id] = cause.reason

    def retrying(self, delivery: Any, cause: Cause, delay: float) -> None:
        self.retries += 1

    def unseen(self, *_: Any, **__: Any) -> None: ...

    unread = broke = unseen
    call_started = call_ended = budget_warning = repeating = unseen
    dispatched = refused = buried = raised = claim_ignored = mended = overslept = held_up = step_raised = (
        waiting
    ) = phase = unseen


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


@dataclass(frozen=True)
class Scenario:
    """``strangers`` asks everything, side by side; ``drained`` is what is sent before the block is left.

    ``calls`` are the strangers' calls that can be cancelled by name, ``settings`` the organism's.
    """

    listeners: Callable[[World], Sequence[ListenerConfig]]
    strangers: Callable[[World, Organism], Awaitable[None]]
    drained: Sequence[tuple[Any, str]]
    calls: Sequence[str]
    settings: Mapping[str, Any]


@dataclass
class World:
    """One run of the scenario: what handlers did, what callers got, what may be cut."""

    scenario: Scenario
    at: AtStep
    cut: str
    scheduling: str
    log: list[str] = field(default_factory=list[str])
    results: dict[str, Any] = field(default_factory=dict[str, Any])
    recorder: Recorder = field(default_factory=Recorder)
    organism: Organism | None = None
    scopes: dict[str, trio.CancelScope] = field(default_factory=dict[str, trio.CancelScope])
    cut_at: trio.Event = field(default_factory=trio.Event)
    frozen: list[str] | None = None  # the log as it was when nothing was to run any more
    killed: list[str] = field(default_factory=list[str])
    broken: list[str] = field(default_factory=list[str])  # what handlers found that must not be
    tasks_left: int = -1


Handle = Callable[[str, Any, HandlerMetadata], Awaitable[Any]]


def logged(world: World, name: str, takes: Any, handle: Handle, **more: Any) -> ListenerConfig:
    """A listener that logs when it comes and, in any case, when it goes."""

    async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
        # "!" has no "-" to go with it: nothing of a conversation is entered after its kill
        world.log.append(("!" if metadata.conversation in world.killed else "+") + name)
        try:
            return await handle(name, payload, metadata)
        finally:
            world.log.append(f"-{name}")

    return ListenerConfig(name, takes, handler, name, **more)


async def side_by_side(world: World, calls: Mapping[str, Callable[[], Awaitable[Any]]]) -> None:
    """Each call in a task and a scope of its own; what came of it is in ``world.results``."""

    async def run_one(name: str, call: Callable[[], Awaitable[Any]]) -> None:
        world.results[name] = "cancelled"
        with trio.CancelScope() as world.scopes[name]:
            try:
                world.results[name] = repr(await call())
            except ConversationFailed as error:
                world.results[name] = str(error.outcome.state)
            except (OrganismClosed, MessageRejected) as error:
                world.results[name] = type(error).__name__

    async with trio.open_nursery() as nursery:
        for name, call in calls.items():
            nursery.start_soon(run_one, name, call)


async def _disturb(world: World, organism: Organism) -> None:
    """Cut what this run is to cut, as soon as it is told to."""
    await world.cut_at.wait()
    if world.cut == "shutdown":
        await organism.shutdown(0)
        world.frozen = list(world.log)
    elif world.cut == "error":
        raise Own
    else:
        for thread in organism.threads:
            if thread.chain == (VICTIM,):
                world.killed.append(thread.conversation)
                await organism.kill(thread.conversation)


async def _use(world: World, organism: Organism, outer: trio.CancelScope) -> None:
    """The body of the organism's block; says what happens at the chosen step."""
    strangers = world.scenario.strangers
    match world.cut:
        case "organism":
            world.at.act = outer.cancel
            await strangers(world, organism)
        case "drain":
            for payload, to in world.scenario.drained:
                await organism.send(payload, to=to)
            world.at.act = outer.cancel
        case "shutdown" | "error" | "kill":
            async with trio.open_nursery() as nursery:
                world.at.act = world.cut_at.set
                nursery.start_soon(_disturb, world, organism)
                await strangers(world, organism)
                nursery.cancel_scope.cancel()
        case name:
            world.at.act = lambda: name in world.scopes and world.scopes[name].cancel()
            await strangers(world, organism)


async def _live(world: World) -> None:
    """Open, use, leave; then look whether anything still moves."""
    scenario, settings = world.scenario, world.scenario.settings
    config = OrganismConfig(
        "swept", scenario.listeners(world), thread_scheduling=world.scheduling, **settings
    )
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as outer:
        try:
            async with open_organism(
                config, ids=SeededIds(b"s"), random=random.Random(1), observer=world.recorder
            ) as organism:
                world.organism = organism
                await _use(world, organism, outer)
                if world.cut in (*scenario.calls, "kill"):
                    await organism.wait_idle()
                    assert organism.statistics()["seats"] == {"free": config.max_in_flight, "waiting": 0}
                    assert_nothing_is_remembered(organism)
        except* Own:
            pass
    world.at.act = None
    if world.frozen is None:
        world.frozen = list(world.log)
    world.tasks_left = trio.lowlevel.current_statistics().tasks_living - before
    await trio.sleep(10_000)


def run(scenario: Scenario, step: int | None, cut: str, seed: int) -> World:
    """The scenario from its start to long after its end."""
    trio_run._r.seed(seed)
    world = World(scenario, AtStep(step), cut, ("breadth-first", "depth-first")[seed % 2])
    trio.run(_live, world, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[world.at])
    return world


def assert_nothing_is_remembered(organism: Organism) -> None:
    """No conversation lives, so no thread, slot or watcher does."""
    assert organism.threads == ()
    assert organism.todos == ()
    stats = organism.context.get_stats()
    assert stats == dict.fromkeys(("thread_count", "total_slots", "total_bytes", "finished"), 0)


def check(world: World) -> None:
    """What must hold after any cut."""
    organism, recorder = world.organism, world.recorder
    assert organism is not None
    assert world.frozen == world.log, "a handler did something after the organism was closed"
    assert world.broken == []
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

    assert_nothing_is_remembered(organism)
    assert_all_was_told(organism)
    assert organism.statistics()["queued"] == 0
    assert organism._pump.slots.borrowed() == 0
    assert organism._pump.intake.closed
    assert organism._pump.intake.waiting == 0

    assert Counter(recorder.started) == {id: len(ends) for id, ends in recorder.outcomes.items()}
    for id, (outcome,) in recorder.outcomes.items():
        assert outcome.conversation == id
        cut = recorder.cuts.get(id)
        assert cut is None or outcome.state is CUTS[cut], f"{outcome.state}, though it was cut: {cut}"


@contextmanager
def scheduling(*, shuffled: bool) -> Iterator[range]:
    """Seeds for Trio's scheduler, whose batches are shuffled, or reversed as it has them by itself."""
    state = trio_run._r.getstate()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", shuffled)
        yield range(2, 4)  # one breadth-first, one depth-first; in 0 the "error" comes when all is done
    trio_run._r.setstate(state)


def sweep(scenario: Scenario, cut: str, seeds: range) -> Iterator[World]:
    """Each step of each seed's run, cut there and checked."""
    for seed in seeds:
        undisturbed = run(scenario, None, cut, seed)
        check(undisturbed)
        for step in range(undisturbed.at.steps):
            try:
                world = run(scenario, step, cut, seed)
                check(world)
            except BaseException as error:
                error.add_note(f"cut: {cut}, seed {seed}, step {step} of {undisturbed.at.steps}")
                raise
            yield world


def count_met(scenario: Scenario, cut: str, seeds: range) -> int:
    """How many of a sweep's cuts met a message in flight."""
    worlds = [world for world in sweep(scenario, cut, seeds) if world.organism is not None]
    return sum(bool(world.organism and world.organism.report.abandoned_messages) for world in worlds)


def results_of_one(scenario: Scenario, cut: str, seeds: range, undisturbed: Mapping[str, str]) -> set[str]:
    """What one call came to wherever it was cut, after a look whether all others came to what they do."""
    own = "asked" if cut == "kill" else cut
    seen: set[str] = set()
    for world in sweep(scenario, cut, seeds):
        result = world.results[own]
        assert world.results == {**undisturbed, own: result}
        seen.add(result)
    return seen
