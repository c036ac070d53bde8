"""Whoever watches an organism, and whatever its watchers do: the organism does what it does unwatched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import trio
import trio._core._run as trio_run
import trio.testing

from phloem.config import EventLimits, OrganismConfig
from phloem.events import AgentEvent, EventType
from phloem.organism import Organism, open_organism
from phloem.pump.telling import PumpEvent
from support.causal import LIMITS, Life, live
from support.listeners import BACK, Ask, Reply

SEEDS: Final = range(11)
GRACE: Final = LIMITS.grace


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """What raises is logged with its traceback, thousands of times."""
    logging.getLogger("phloem").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("phloem").setLevel(logging.NOTSET)


@contextmanager
def shuffled(seed: int) -> Iterator[None]:
    """Trio's own batches in an order of that seed's."""
    state = trio_run._r.getstate()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        trio_run._r.seed(seed)
        yield
    trio_run._r.setstate(state)


def raising(error: Callable[[], BaseException]) -> Any:
    def watcher(organism: Organism) -> Any:
        async def handler(event: AgentEvent) -> None:
            raise error()

        return handler

    return watcher


def slow(organism: Organism) -> Any:
    async def handler(event: AgentEvent) -> None:
        await trio.sleep(3.0)

    return handler


def never(organism: Organism) -> Any:
    async def handler(event: AgentEvent) -> None:
        await trio.sleep_forever()

    return handler


def no_checkpoint(organism: Organism) -> Any:
    def handler(event: AgentEvent) -> None:
        sum(range(100))

    return handler


def emitting(organism: Organism) -> Any:
    async def handler(event: AgentEvent) -> None:
        if event.type != EventType.CUSTOM:
            organism.events.emit(AgentEvent(EventType.CUSTOM, event.stream_id, data={"of": event.seq}))

    return handler


def publishing(organism: Organism) -> Any:
    async def handler(event: AgentEvent) -> None:
        if event.type != EventType.CUSTOM:
            await organism.events.publish(AgentEvent(EventType.CUSTOM, event.stream_id))

    return handler


def ending(organism: Organism) -> Any:
    """It opens and ends subscriptions while it is told of events."""

    async def handler(event: AgentEvent) -> None:
        id = organism.events.subscribe(None, slow(organism))
        organism.events.unsubscribe(id)

    return handler


WATCHERS: Final = {
    "slow": slow,
    "never returns": never,
    "sync": no_checkpoint,
    "emits": emitting,
    "publishes": publishing,
    "subscribes": ending,
    "raises ValueError": raising(ValueError),
    "raises SystemExit": raising(SystemExit),
    "raises GeneratorExit": raising(GeneratorExit),
    "raises asyncio's CancelledError": raising(asyncio.CancelledError),
    "raises a group": raising(lambda: BaseExceptionGroup("x", [SystemExit(), ValueError()])),
}
MANNERS: Final[dict[str, dict[str, Any]]] = {
    "in order": {},
    "by key": {"key": lambda event: event.execution_id},
    "concurrently": {"concurrent": True},
    "once": {"once": True},
}


def watched(seed: int, watcher: Any, **manner: Any) -> Life:
    async def watch(organism: Organism) -> None:
        for _ in range(3):
            organism.events.subscribe(None, watcher(organism), **manner)

    return live(seed, watch)


@pytest.fixture(scope="module")
def unwatched() -> list[Life]:
    return [live(seed) for seed in SEEDS]


def test_the_organism_of_a_seed_does_the_same_under_any_schedule(unwatched: list[Life]) -> None:
    """Else the tests below would prove nothing."""
    for seed, life in zip(SEEDS, unwatched, strict=True):
        for schedule in range(3):
            with shuffled(schedule):
                assert live(seed).all == life.all
    assert len({str(life.all) for life in unwatched}) == len(unwatched)


def test_the_organisms_meet_every_kind_of_event_and_end(unwatched: list[Life]) -> None:
    told = {kind for life in unwatched for kind in life.organism.events.get_stats()["events_by_type"]}
    states = {outcome.state for life in unwatched for outcome in life.outcomes.values()}
    assert states >= {"completed", "failed", "cancelled", "timed_out", "out_of_budget", "drained"}
    assert told >= {
        "constraint_violation",
        "node_input_blocked",
        *set(PumpEvent) - {"message_mended", "source_failed"},
    }


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("watcher", WATCHERS)
def test_the_trace_the_books_and_the_outcomes_are_those_of_an_organism_that_nobody_watches(
    watcher: str, manner: str, unwatched: list[Life]
) -> None:
    seeds = SEEDS if manner == "in order" else SEEDS[:3]
    for seed, plain in zip(seeds, unwatched, strict=False):
        life = watched(seed, WATCHERS[watcher], **MANNERS[manner])
        assert sorted(life.trace) == sorted(plain.trace)
        assert life.all == plain.all
        assert plain.seconds <= life.seconds <= plain.seconds + GRACE
        stats = life.organism.events.get_stats()
        if manner == "in order":
            assert all(
                own["delivered"] or own["errors"] or "never" in watcher for own in subscriptions(stats)
            )


def subscriptions(stats: dict[str, Any]) -> list[dict[str, int]]:
    found: list[dict[str, int]] = list(stats["subscription_stats"].values())
    assert len(found) == 3
    return found


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_every_conversation_starts_once_and_ends_once_whatever_cuts_it(
    number: int, unwatched: list[Life]
) -> None:
    life = unwatched[number]
    bus = life.organism.events
    assert bus.get_stats()["history"]["evicted"] == 0
    seen: dict[str, list[str]] = {}
    for event in reversed(bus.get_history(limit=100_000)):
        if event.type.startswith("execution_"):
            seen.setdefault(event.execution_id, []).append(event.type)
            if event.type != EventType.EXECUTION_STARTED:
                outcome = life.outcomes[event.execution_id]
                assert event.data["state"] == outcome.state
                assert (event.type == EventType.EXECUTION_COMPLETED) == (outcome.state == "completed")
        elif event.execution_id is not None and event.type != EventType.NODE_STALLED:
            assert seen[event.execution_id] == ["execution_started"], f"{event} outside of its execution"
    assert set(seen) == set(life.outcomes)
    assert all(len(types) == 2 for types in seen.values())


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_each_message_has_one_loop_or_none_and_none_comes_before_its_cause(
    number: int, unwatched: list[Life]
) -> None:
    life = unwatched[number]
    loops: dict[str, list[AgentEvent]] = {}
    for event in reversed(life.organism.events.get_history(limit=100_000)):
        if event.type.startswith("node_loop_") or event.type == PumpEvent.MESSAGE_ABANDONED:
            loops.setdefault(event.correlation_id, []).append(event)
    assert set(loops) == {id for id, _, _ in life.endings}
    for events in loops.values():
        types = [event.type.removeprefix("node_loop_") for event in events]
        if types != ["message_abandoned"]:
            attempts = types.count("iteration")
            assert types == ["started", *["iteration"] * attempts, "completed"]
            assert [event.data["iteration"] for event in events[1:-1]] == list(range(1, attempts + 1))
            assert events[-1].data["iterations"] == attempts <= events[0].data["max_iterations"]
        assert len({event.cause_id for event in events}) == 1
        cause = events[0].cause_id
        assert cause is None or events[0].seq > loops[cause][0].seq, "no message comes before its cause"


async def test_a_watcher_that_publishes_to_itself_for_ever_holds_up_nobody() -> None:
    limits = EventLimits(grace=0.05)
    seen = 0

    async def again(event: AgentEvent) -> None:
        nonlocal seen
        seen += 1
        organism.events.emit(AgentEvent("custom", "loop"))
        await trio.lowlevel.checkpoint()

    with trio.fail_after(5):
        async with open_organism(OrganismConfig("org", [BACK], events=limits)) as organism:
            organism.events.subscribe(None, again)
            for n in range(20):
                assert await organism.ask(Ask(str(n)), to="back") == Reply(str(n))
    assert seen > 20


@pytest.mark.parametrize("hangs", [True, False])
async def test_leaving_takes_the_grace_of_the_bus_and_only_where_a_watcher_hangs(
    hangs: bool, autojump_clock: trio.testing.MockClock
) -> None:
    cut: list[float] = []

    async def handler(event: AgentEvent) -> None:
        try:
            await trio.sleep(1_000 if hangs else 0)
        except trio.Cancelled:
            cut.append(trio.current_time())
            raise

    limits = EventLimits(grace=3.0)
    began = trio.current_time()
    async with open_organism(OrganismConfig("org", [BACK], events=limits)) as organism:
        organism.events.subscribe("execution_started", handler)
        await organism.ask(Ask("x"), to="back")
        await organism.shutdown()
        assert trio.current_time() == began, "a shutdown waits for messages and not for watchers"
    assert trio.current_time() == began + (3.0 if hangs else 0.0)
    assert len(cut) == hangs
