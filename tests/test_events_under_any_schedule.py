"""The bus under any schedule, and cut at any scheduler step: order, atomicity and counts hold.

One scenario with everything in it: mailboxes of one to three events, few places for handlers, handlers that
publish into themselves and into each other, wait inside the bus and outside of it, raise, are cancelled,
and are unsubscribed; streams of every policy; strangers that publish, emit and deliver. ``Witness`` says
what has to hold.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
import trio._core._run as trio_run
import trio.testing

from phloem.events import open_event_bus
from support.bus_scenarios import Run, Witness
from support.sweeping import AtStep, scheduling

PLACES = 2  # fewer than handlers that want to run
SLOW_AFTER = 1.0
POLICIES = ("drop_oldest", "coalesce", "latest", "error", "close")
OUTCOMES = (
    "published",
    "cancelled",
    "PublishCircle",
    "delivered",
    "over the bound",
    "lagged",
    "discarded",
    "lost",
)
FOREVER = 1_000  # virtual seconds; the scenario takes a few


class Own(Exception):
    """An error of the body."""


@dataclass
class World:
    """One run of the scenario: how much happens in it, and what may be cut."""

    at: AtStep
    cut: str
    depth: int  # how often what is published is answered by publishing
    few: bool = False  # only those who wait for each other
    witness: Witness | None = None
    scopes: dict[str, trio.CancelScope] = field(default_factory=dict[str, trio.CancelScope])
    left: dict[str, int] = field(default_factory=dict[str, int])  # the step at which a scope was last left
    stop: trio.Event = field(default_factory=trio.Event)
    outside: int = 0  # tasks that handlers have left elsewhere
    tasks_left: int = -1

    @property
    def w(self) -> Witness:
        assert self.witness is not None
        return self.witness


def behaviours(world: World, strangers: trio.Nursery) -> None:
    """Subscribe everybody."""
    w = world.w

    async def answer(run: Run, stream: str) -> None:
        depth: int = run.event.data["depth"]
        if depth < world.depth:
            await w.publish(w.event(stream, depth + 1, f"n{depth % 2}"), run)

    async def ping(run: Run) -> None:
        await answer(run, "b")

    async def pong(run: Run) -> None:
        await answer(run, "a")
        if run.event.data["depth"] < world.depth:
            w.emit(w.event("c", run.event.data["depth"] + 1))

    async def observer(run: Run) -> None:
        await trio.sleep(run.event.seq % 3 / 100)

    async def selfish(run: Run) -> None:
        await answer(run, "c")
        await answer(run, "c")

    async def keyed(run: Run) -> None:
        await trio.sleep(0.01)
        if run.event.stream_id == "d":
            await answer(run, "d")

    async def fan(run: Run) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, run, "a")
            nursery.start_soon(answer, run, "c")

    async def once(run: Run) -> None:
        await answer(run, "d")

    async def waiting(run: Run) -> None:
        with w.inside_bus(run):
            await w.bus.wait_for("custom", "b", timeout=0.02)

    async def reading(run: Run) -> None:
        async with w.bus.open_stream("custom", "b", buffer=1) as events:
            with trio.move_on_after(0.01), w.inside_bus(run):
                await events.receive()
            await answer(run, "b")

    async def raising(run: Run) -> None:
        if run.event.seq % 2:
            raise ValueError("every other one")

    async def delivering(run: Run) -> None:
        depth: int = run.event.data["depth"]
        if depth < world.depth:
            await w.deliver(w.event("a", depth + 1), run)
            await w.deliver(w.event("d", depth + 1), run)  # a circle of its own

    async def doubting(run: Run) -> None:
        with trio.CancelScope(deadline=trio.current_time() + 0.01) as world.scopes["handler"]:
            await answer(run, "d")
        world.left["handler"] = world.at.steps
        await trio.lowlevel.checkpoint()

    async def leaving(run: Run) -> None:
        """Has a task publish that is none of its own."""

        async def elsewhere() -> None:
            await w.publish(w.event("c", world.depth))
            world.outside -= 1

        world.outside += 1
        strangers.start_soon(elsewhere)

    w.subscribe("ping", ping, "a", buffer=1)
    w.subscribe("pong", pong, "b", buffer=2)
    w.subscribe("twin", observer, "a", buffer=2)
    w.subscribe("selfish", selfish, "c", buffer=1)
    w.subscribe("keyed", keyed, buffer=3, key=lambda event: event.node_id)
    w.subscribe("fan", fan, "b", buffer=2, concurrent=True)
    w.subscribe("reading", reading, "d", buffer=1)
    w.subscribe("delivering", delivering, "d", buffer=1)
    w.subscribe("doubting", doubting, "a", buffer=1)
    if not world.few:
        w.subscribe("other twin", observer, "a", buffer=2)
        w.subscribe("once", once, "a", once=True)
        w.subscribe("waiting", waiting, "c", buffer=2)
        w.subscribe("raising", raising, "b", buffer=1)
        w.subscribe("leaving", leaving, "d", buffer=3)
        w.subscribe("ended", observer, buffer=3)


async def strangers(world: World) -> None:
    """Everybody who publishes and is no handler."""
    w = world.w

    async def publisher() -> None:
        for stream in "dabc":
            await w.publish(w.event(stream))

    async def deliverer() -> None:
        await w.deliver(w.event("d"))

    async def emitter() -> None:
        for stream in "bca":
            w.emit(w.event(stream))
            await trio.sleep(0.01)

    async def impatient() -> None:
        with trio.move_on_after(0.015):
            await w.publish(w.event("c"))
            await w.publish(w.event("a"))

    async def breaker() -> None:
        await trio.sleep(0.03)
        w.unsubscribe("ended")

    async def scoped(call: Callable[[], Awaitable[None]]) -> None:
        with trio.CancelScope() as world.scopes[call.__name__]:
            await call()
        world.left[call.__name__] = world.at.steps

    async with trio.open_nursery() as nursery:
        for call in (publisher, deliverer, emitter, impatient, breaker)[: 2 if world.few else None]:
            nursery.start_soon(scoped, call)


async def use(world: World) -> None:
    """The body of the bus's block."""
    w = world.w

    async def reader() -> None:
        with trio.CancelScope() as world.scopes["reader"]:
            await w.read("block", 0.01, "b", buffer=1)
        world.left["reader"] = world.at.steps

    async def stopper() -> None:
        await world.stop.wait()
        raise Own

    async with trio.open_nursery() as nursery:
        behaviours(world, nursery)
        nursery.start_soon(reader)
        nursery.start_soon(stopper)
        for policy in POLICIES[: 1 if world.few else None]:
            nursery.start_soon(partial(w.read, policy, 0.02, buffer=2, overflow=policy))
        await trio.testing.wait_all_tasks_blocked()
        await strangers(world)
        while world.outside or w.bus._pool.running:
            await w.bus._pool.quiet()
            await trio.sleep(0.01)
        await trio.lowlevel.checkpoint_if_cancelled()
        w.rest()
        nursery.cancel_scope.cancel()


def act(world: World, outer: trio.CancelScope) -> Callable[[], object]:
    """What happens at the chosen step."""
    w = world.w

    def cancel() -> None:
        if world.cut in world.scopes:
            world.scopes[world.cut].cancel()

    match world.cut:
        case "bus":
            return outer.cancel
        case "error":
            return world.stop.set
        case "unsubscribe":
            return lambda: w.unsubscribe("ping")
        case "emit":
            return lambda: w.emit(w.event("a", world.depth))
        case _:
            return cancel


async def live(world: World) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.fail_after(FOREVER), trio.CancelScope() as outer:
        try:
            async with open_event_bus(10_000, PLACES, slow_after=SLOW_AFTER, id="x") as bus:
                world.witness = Witness(bus, PLACES, SLOW_AFTER)
                world.at.act = act(world, outer)
                await use(world)
        except* Own:
            assert world.stop.is_set()
    world.at.act = None
    world.tasks_left = trio.lowlevel.current_statistics().tasks_living - before
    if world.witness is not None:
        world.witness.end()


def run(step: int | None, cut: str, seed: int, depth: int, *, few: bool = False) -> World:
    trio_run._r.seed(seed)
    world = World(AtStep(step), cut, depth, few)
    try:
        trio.run(live, world, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[world.at])
        assert world.w.broken == []
        assert world.tasks_left == 0
    except BaseException as error:
        error.add_note(f"cut: {cut}, seed {seed}, depth {depth}, step {step} of {world.at.steps}")
        if world.witness is not None:
            error.add_note(f"broken: {world.witness.broken[:5]}")
        raise
    return world


@pytest.fixture(autouse=True)
def quietly(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "phloem.events")  # handlers raise by the thousand


@pytest.fixture
def any_order() -> Iterator[None]:
    with scheduling(shuffled=True):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("any_order")
def test_order_atomicity_and_counts_hold_under_300_schedules() -> None:
    met = Counter[str]()
    for seed in range(300):
        few = seed % 2 == 1
        world = run(None, "nothing", seed, depth=2 if few or seed % 10 == 0 else 1, few=few)
        met.update(world.w.attempts.values())
        met["delivered"] += world.w.delivered
        met["over the bound"] += world.w.over_the_bound
        met["lagged"] += sum(one.box.lagged for one in world.w.subscribed.values())
        met["discarded"] += sum(one.box.discarded for one in world.w.subscribed.values())
        met["lost"] += sum(one.stream.lost for one in world.w.opened.values())
    rare = {name: met[name] for name in OUTCOMES if met[name] < 100}
    assert not rare, "the scenario hardly ever comes to this"


CANCELS = ("bus", "error", "publisher", "deliverer", "reader", "handler")
OTHERS = ("unsubscribe", "emit")  # no cancels: every third step will do


@pytest.mark.slow
@pytest.mark.usefixtures("any_order")
@pytest.mark.parametrize("cut", [*CANCELS, *OTHERS])
def test_all_holds_whatever_is_cut_at_every_step(cut: str) -> None:
    """The bus, a publisher, a deliver, a reader, a handler's own scope; or no cancel, but one event more."""
    undisturbed = run(None, cut, seed=0, depth=1, few=True)
    outcomes = list(undisturbed.w.attempts.values())
    last = undisturbed.left.get(cut, undisturbed.at.steps)
    worlds = [run(step, cut, 0, 1, few=True) for step in range(0, last, 3 if cut in OTHERS else 1)]
    changed = sum(sorted(world.w.attempts.values()) != sorted(outcomes) for world in worlds)
    assert changed > 10, "the sweep hardly ever changed anything"
