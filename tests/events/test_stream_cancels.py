"""One task of several is cancelled at each scheduler step in turn: the others get what it would have got.

Two readers of one stream, two publishers that wait for room in it, a handler that reads another
stream, and a handler that waits for an event, over one place for handlers.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio
import trio._core._run as trio_run
import trio.testing

from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from phloem.events.streams import EventStream
from phloem.events.types import AgentEvent
from support.streaming import numbered
from support.sweeping import AtStep, scheduling

EACH = 4  # events of each publisher
VICTIMS = ("reader 0", "reader 1", "publisher 0", "publisher 1", "waiter", "handler", "waiting handler")


class Run:
    """One run, in which ``victim`` is cancelled just before the ``step``-th step."""

    def __init__(self, victim: str, step: int | None) -> None:
        self.victim = victim
        self.at = AtStep(step)
        self.scopes = {name: trio.CancelScope() for name in VICTIMS}
        self.entered: set[str] = set()
        self.returned: Counter[str] = Counter()
        self.read: list[int] = []  # by the readers
        self.handled: list[int] = []  # by the handlers that read
        self.published: list[int] = []

    def scope(self, name: str) -> trio.CancelScope:
        """The one that may be cancelled for who comes first, one of its own for who comes later."""
        first = name not in self.entered
        self.entered.add(name)
        return self.scopes[name] if first else trio.CancelScope()

    def act(self) -> None:
        self.scopes[self.victim].cancel(reason="the test")

    async def publish(self, name: str, bus: EventBus) -> None:
        with self.scope(name):
            for _ in range(EACH):
                self.published.append((await bus.publish(numbered(0))).seq)
                self.returned[name] += 1

    async def receive(self, name: str, stream: EventStream) -> None:
        with self.scope(name):
            while True:
                item = await stream.receive()
                assert isinstance(item, AgentEvent)
                self.read.append(item.seq)

    async def wait(self, bus: EventBus) -> None:
        with self.scope("waiter"):
            for timeout in (None, 5, 0):
                await bus.wait_for("custom", timeout=timeout)
                self.returned["waiter"] += 1

    async def live(self) -> None:
        async with (
            open_event_bus(max_concurrent_handlers=1, slow_after=1e6) as bus,
            bus.open_stream("custom", buffer=1) as stream,
            bus.open_stream("goal_progress", buffer=9) as inner,
        ):

            async def reads(event: AgentEvent) -> None:
                with self.scope("handler"):
                    item = await inner.receive()
                    assert isinstance(item, AgentEvent)
                    self.handled.append(item.seq)

            async def waits(event: AgentEvent) -> None:
                with self.scope("waiting handler"):
                    await bus.wait_for("goal_achieved", timeout=3)
                await bus.publish(numbered(0, "goal_progress"))

            bus.subscribe("state_changed", reads, concurrent=True)
            bus.subscribe("state_changed", waits)
            async with trio.open_nursery() as nursery:
                self.at.act = self.act
                for name in ("reader 0", "reader 1"):
                    nursery.start_soon(self.receive, name, stream)
                nursery.start_soon(self.wait, bus)
                for name in ("publisher 0", "publisher 1"):
                    nursery.start_soon(self.publish, name, bus)
                for _ in range(2):
                    bus.emit(numbered(0, "state_changed"))
                await trio.sleep(1)
                bus.emit(numbered(0, "goal_achieved"))
                await trio.sleep(10)
                self.at.act = None
                self.check(bus, stream, inner)
                nursery.cancel_scope.cancel(reason="the test")
        assert len(bus._commits.routes) == 0

    def check(self, bus: EventBus, stream: EventStream, inner: EventStream) -> None:
        """All is at rest: what could be read has been, and nobody waits for what is there."""
        victim, counts = self.victim, bus.get_stats()["events_by_type"]
        assert sorted(self.read) == sorted(event.seq for event in bus.get_history("custom"))
        assert set(self.published) <= set(self.read)
        assert stream.statistics() == {"received": len(self.read), "lost": 0, "waiting": 0}
        for name in ("publisher 0", "publisher 1"):
            assert self.returned[name] == EACH or name == victim
        assert self.returned["waiter"] == 3 or victim == "waiter"
        assert counts["goal_progress"] == 2
        if victim != "handler":
            assert len(self.handled) == 2
        assert len(self.handled) + inner.statistics()["waiting"] == 2
        assert len(set(self.handled)) == len(self.handled)
        assert bus._expected == {}
        assert bus._room._waiters == {}
        assert bus._pool._active == 0


def run(victim: str, step: int | None, seed: int) -> Run:
    trio_run._r.seed(seed)
    made = Run(victim, step)
    trio.run(made.live, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[made.at])
    return made


@pytest.mark.parametrize("victim", VICTIMS)
def test_whatever_step_one_is_cancelled_at_the_others_go_on_and_nothing_is_lost(victim: str) -> None:
    cancelled: Any = Counter()
    with scheduling(shuffled=True):
        for seed in range(2):
            steps = run(victim, None, seed).at.steps
            assert steps > 20
            for step in range(steps):
                made = run(victim, step, seed)
                cancelled[made.scopes[victim].cancelled_caught] += 1
    assert cancelled[True] >= 2, "the sweep has met it while it waited"
