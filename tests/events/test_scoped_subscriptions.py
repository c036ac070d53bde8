"""Subscriptions made in a scope: who may end them, who is told of them, and that nothing piles up."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import EventBusClosed, InvalidEvent
from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from phloem.events.scoped import SWEEP_AT, ScopedBus
from phloem.events.types import AgentEvent

OWN: Any = {"stream_id": "s", "node_id": "n", "execution_id": "e"}
HERE = AgentEvent("custom", "s", "n", "e")


@asynccontextmanager
async def opened(**scope: Any) -> AsyncIterator[tuple[EventBus, ScopedBus]]:
    async with open_event_bus() as bus:
        yield bus, ScopedBus(bus, **scope)


async def ignore(event: AgentEvent) -> None:
    await trio.lowlevel.checkpoint()


async def test_it_ends_its_own_subscriptions_and_no_others() -> None:
    async with opened(**OWN) as (bus, scoped):
        other = ScopedBus(bus, **OWN)
        own, others, buses = (each.subscribe(None, ignore) for each in (scoped, other, bus))
        for id in (others, buses, "sub-999", "", None):
            assert scoped.unsubscribe(id) is False  # type: ignore[arg-type]
        assert scoped.unsubscribe(own) is True
        assert scoped._made == set()
        assert scoped.unsubscribe(own) is False
        assert {each.id for each in bus.subscriptions} == {others, buses}


async def test_one_ended_elsewhere_is_ended() -> None:
    async with opened(**OWN) as (bus, scoped):
        id = scoped.subscribe(None, ignore)
        assert bus.unsubscribe(id)
        assert scoped.unsubscribe(id) is False


async def test_each_new_one_is_told_of_once_at_whatever_depth() -> None:
    told: list[str] = []
    async with opened(stream_id="s", subscribed=told.append) as (_, scoped):
        inner = scoped.scoped(execution_id="e")
        ids = [each.subscribe(None, ignore) for each in (scoped, inner, inner.scoped(node_id="n"))]
        assert told == ids


async def test_one_that_is_refused_is_undone() -> None:
    def refuse(id: str) -> None:
        raise EventBusClosed("the conversation is over")

    async with opened(**OWN, subscribed=refuse) as (bus, scoped):
        with pytest.raises(EventBusClosed, match="over"):
            scoped.subscribe("custom", ignore)
        with pytest.raises(EventBusClosed, match="over"):
            scoped.scoped().subscribe("custom", ignore)
        assert bus.subscriptions == ()
        assert scoped._made == set()


async def test_one_the_bus_refuses_is_not_told_of() -> None:
    told: list[str] = []
    async with opened(**OWN, subscribed=told.append) as (_, scoped):
        nothing: Any = None
        with pytest.raises(InvalidEvent):
            scoped.subscribe("no_such_type", ignore)
        with pytest.raises(InvalidEvent):
            scoped.subscribe("custom", nothing)
        assert told == []


async def test_settings_of_a_subscription_reach_the_bus(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    keyed: list[AgentEvent] = []
    inside: list[AgentEvent] = []
    both = trio.Event()

    async def together(event: AgentEvent) -> None:
        inside.append(event)
        if len(inside) == 2:
            both.set()
        await both.wait()

    async def hang(event: AgentEvent) -> None:
        await trio.sleep_forever()

    async with opened(**OWN) as (bus, scoped):
        scoped.subscribe("custom", ignore, once=True)
        scoped.subscribe("custom", ignore, key=keyed.append)
        scoped.subscribe("custom", together, concurrent=True)
        small = scoped.subscribe("custom", ignore, buffer=3)
        slow = scoped.subscribe("custom", hang, cancel_after=0.5, name="the slow one")
        for _ in range(5):
            scoped.emit(HERE)
        stats = bus.get_stats()["subscription_stats"]
        assert stats[small]["lagged"] == 2
        assert len(stats) == 5
        with trio.fail_after(10):  # six hangs of half a second, and no more
            delivered = await scoped.deliver(HERE)
        assert {id: type(error) for id, error in delivered.errors.items()} == {slow: trio.TooSlowError}
        assert len(keyed) == 6
        assert len(inside) == 6
        assert "the slow one" in caplog.text
        assert len(bus.subscriptions) == 4, "once means once"
        for subscription in bus.subscriptions:
            assert (subscription.filter_stream, subscription.filter_execution) == ("s", "e")
            assert subscription.filter_node is None
            assert scoped.unsubscribe(subscription.id)


async def test_ids_of_ended_subscriptions_do_not_pile_up() -> None:
    async with opened(stream_id="s") as (bus, scoped):
        inner = scoped.scoped(execution_id="e")
        kept = [inner.subscribe("custom", ignore, "s", "elsewhere") for _ in range(10)]
        for _ in range(10 * SWEEP_AT):
            inner.subscribe("custom", ignore, once=True)
            await bus.deliver(AgentEvent("custom", "s", "n", "e"))
            assert bus.unsubscribe(inner.subscribe("custom", ignore))
        for each in (scoped, inner):
            assert len(each._made) <= SWEEP_AT + 2 * len(kept)
        for id in kept:
            assert inner.unsubscribe(id), "what lives is not forgotten"


async def test_many_live_ones_are_all_remembered() -> None:
    async with opened(**OWN) as (bus, scoped):
        ids = [scoped.subscribe("custom", ignore) for _ in range(5 * SWEEP_AT)]
        assert [scoped.unsubscribe(id) for id in ids] == [True] * len(ids)
        assert bus.subscriptions == ()


async def test_a_scope_nobody_holds_is_gone_at_once() -> None:
    class Caller:
        def told(self, id: str) -> None:
            pass

    async with open_event_bus() as bus:
        caller = Caller()
        scoped = ScopedBus(bus, **OWN, subscribed=caller.told)
        scoped.subscribe("custom", ignore)
        scoped.emit_goal_progress(0.5, {})
        gone = weakref.ref(caller)
        gc.disable()
        try:
            del scoped, caller
            assert gone() is None, "no circle keeps it, nor does the bus"
        finally:
            gc.enable()


async def test_the_outer_scope_ends_subscriptions_of_the_inner_and_not_the_other_way_round() -> None:
    async with opened(stream_id="s") as (bus, scoped):
        inner, sibling = scoped.scoped(execution_id="e"), scoped.scoped(execution_id="e")
        outers, inners = scoped.subscribe(None, ignore), inner.subscribe(None, ignore)
        assert not inner.unsubscribe(outers)
        assert not sibling.unsubscribe(inners)
        assert scoped.unsubscribe(inners)
        assert not inner.unsubscribe(inners)
        again = inner.subscribe(None, ignore)
        assert inner.unsubscribe(again)
        assert not scoped.unsubscribe(again)
        assert [each.id for each in bus.subscriptions] == [outers]
