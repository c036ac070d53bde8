"""Through a scope one speaks from its place and hears its execution; nobody else's is in reach."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import combinations
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import AccessRefused, EventBusClosed, InvalidEvent
from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from phloem.events.scoped import ScopedBus
from phloem.events.types import AgentEvent, Lagged
from support.emits import PLACE

OWN = {"stream_id": "s", "node_id": "n", "execution_id": "e"}
HERE = AgentEvent("custom", "s", "n", "e")
FIELDS = [fields for count in range(4) for fields in combinations(PLACE, count)]
READERS = ["subscribe", "open_stream", "expect", "get_history", "latest"]

Place = tuple[str, str | None, str | None]


@asynccontextmanager
async def opened(**scope: Any) -> AsyncIterator[tuple[EventBus, ScopedBus]]:
    async with open_event_bus() as bus:
        yield bus, ScopedBus(bus, **scope)


def place(event: AgentEvent) -> Place:
    return event.stream_id, event.node_id, event.execution_id


def spread(bus: EventBus) -> list[Place]:
    """One event at each of eight places, the scope's own among them."""
    places: list[Place] = [(s, n, e) for s in ("s", "s2") for n in ("n", "n2") for e in ("e", "e2")]
    for stream, node, execution in places:
        bus.emit(AgentEvent("custom", stream, node, execution))
    return places


def into(seen: list[Any]) -> Callable[[AgentEvent], None]:
    def handle(event: AgentEvent) -> None:
        seen.append(event)

    return handle


async def ignore(event: AgentEvent) -> None:
    await trio.lowlevel.checkpoint()


def call(scoped: ScopedBus, reader: str, **filters: Any) -> Any:
    """One of the readers, with filters under whichever names it has for them."""
    names = inspect.signature(getattr(scoped, reader)).parameters
    called = {"stream_id": "filter_stream", "node_id": "filter_node", "execution_id": "filter_execution"}
    given = {name if name in names else called[name]: value for name, value in filters.items()}
    before = ("custom", ignore) if reader == "subscribe" else ("custom",)
    return getattr(scoped, reader)(*before, **given)


# what it is


@pytest.mark.parametrize(
    "name",
    [*READERS, "wait_for", "publish", "deliver", "emit", "unsubscribe", "scoped"],
)
def test_it_takes_what_the_bus_takes(name: str) -> None:
    ours = inspect.signature(getattr(ScopedBus, name)).parameters
    theirs = inspect.signature(getattr(EventBus, name)).parameters
    assert [(each.name, each.default, each.kind) for each in ours.values()] == [
        (each.name, each.default, each.kind) for each in theirs.values()
    ]


def test_it_offers_nothing_that_reaches_beyond_its_place() -> None:
    offered = {name for name in dir(ScopedBus) if not name.startswith(("_", "emit_"))}
    assert offered == {
        *READERS,
        *PLACE,
        *("emit", "publish", "deliver", "wait_for", "unsubscribe", "scoped"),
    }


async def test_it_says_its_place() -> None:
    async with opened(**OWN) as (_, scoped):
        assert (scoped.stream_id, scoped.node_id, scoped.execution_id) == ("s", "n", "e")
        assert "stream_id='s'" in repr(scoped)
        event = scoped.emit(AgentEvent("custom", scoped.stream_id))
        assert place(event) == ("s", "n", "e")
    async with opened(node_id="n") as (_, scoped):
        with pytest.raises(InvalidEvent, match="stream_id: found none"):
            _ = scoped.stream_id
        assert scoped.execution_id is None


async def test_a_bus_gives_one() -> None:
    async with open_event_bus() as bus:
        scoped = bus.scoped(stream_id="s", node_id="n", execution_id="e")
        assert type(scoped) is ScopedBus
        assert place(scoped.emit(AgentEvent("custom", "s"))) == ("s", "n", "e")
        with pytest.raises(InvalidEvent):
            bus.scoped(stream_id="")


# publishing


@pytest.mark.parametrize("fields", FIELDS, ids=", ".join)
@pytest.mark.parametrize("way", ["emit", "publish", "deliver", "emit_node_stalled"])
async def test_every_scope_stamps_what_it_sets_in_every_way_of_publishing(
    fields: tuple[str, ...], way: str
) -> None:
    sets = {field: OWN[field] for field in fields}
    async with opened(**sets, correlation_id="c", cause_id="k") as (bus, scoped):
        match way:
            case "emit":
                scoped.emit(AgentEvent("custom", "s"))
            case "publish":
                await scoped.publish(AgentEvent("custom", "s"))
            case "deliver":
                delivered = await scoped.deliver(AgentEvent("custom", "s"))
                assert delivered.event.correlation_id == "c"
            case _:
                scoped.emit_node_stalled(stream_id="s", node_id="n")
        (event,) = bus.get_history()
        node = "n" if way == "emit_node_stalled" else sets.get("node_id")
        assert place(event) == ("s", node, sets.get("execution_id"))
        assert (event.correlation_id, event.cause_id) == ("c", "k")


@pytest.mark.parametrize("field", PLACE)
async def test_publishing_elsewhere_is_refused_and_nothing_is_published(field: str) -> None:
    there: Any = OWN | {field: "other"}
    elsewhere = AgentEvent("custom", **there)
    async with opened(**OWN) as (bus, scoped):
        match = f"{field}: found 'other', expected '{OWN[field]}'"
        with pytest.raises(AccessRefused, match=match):
            scoped.emit(elsewhere)
        with pytest.raises(AccessRefused, match=match):
            await scoped.publish(elsewhere)
        with pytest.raises(AccessRefused, match=match):
            await scoped.deliver(elsewhere)
        with pytest.raises(AccessRefused, match=match):
            scoped.emit_node_stalled(**{field: "other"})
        assert bus.get_stats()["total_events"] == 0
        assert scoped.emit(HERE).seq == 1


async def test_a_publish_cancelled_before_it_began_publishes_nothing() -> None:
    async with opened(**OWN) as (bus, scoped):
        for publish in (scoped.publish, scoped.deliver):
            with trio.CancelScope() as scope:
                scope.cancel()
                await publish(HERE)
            assert scope.cancelled_caught
        assert bus.get_stats()["total_events"] == 0
        assert (await scoped.publish(HERE)).seq == 1


async def test_an_emit_whose_await_is_cancelled_has_published_once() -> None:
    async with opened(**OWN) as (bus, scoped):
        with trio.CancelScope() as scope:
            scope.cancel()
            await scoped.emit_goal_progress(0.5, {})
        assert scope.cancelled_caught
        assert [place(event) for event in bus.get_history()] == [("s", "n", "e")]


async def test_deliver_tells_what_handlers_raised() -> None:
    async def raises(event: AgentEvent) -> None:
        raise ValueError("no")

    async with opened(**OWN) as (_, scoped):
        id = scoped.subscribe("custom", raises)
        delivered = await scoped.deliver(HERE)
        assert {key: str(error) for key, error in delivered.errors.items()} == {id: "no"}


# reading


async def test_a_reader_hears_its_execution_and_all_nodes_of_it() -> None:
    seen: list[AgentEvent] = []
    async with opened(**OWN) as (bus, scoped):
        scoped.subscribe("custom", into(seen))
        async with scoped.open_stream("custom", buffer=100) as events:
            places = spread(bus)
            expected = [each for each in places if each[0] == "s" and each[2] == "e"]
            assert [each[1] for each in expected] == ["n", "n2"], "a neighbour among them"
            streamed = [await events.receive() for _ in expected]
            with pytest.raises(trio.WouldBlock):
                events.receive_nowait()
        await bus.deliver(AgentEvent("custom", "nobody's"))
        assert [place(event) for event in seen] == expected
        assert [place(event) for event in streamed if isinstance(event, AgentEvent)] == expected
        assert [place(event) for event in scoped.get_history()] == expected[::-1]
        latest = scoped.latest("custom")
        assert latest is not None
        assert place(latest) == expected[-1]


async def test_a_stream_with_a_past_has_the_past_of_its_place_only() -> None:
    async with opened(**OWN) as (bus, scoped):
        spread(bus)
        async with scoped.open_stream(since=0) as events:
            past = [events.receive_nowait() for _ in range(2)]
            with pytest.raises(trio.WouldBlock):
                events.receive_nowait()
        assert [each.execution_id for each in past if isinstance(each, AgentEvent)] == ["e", "e"]


async def test_settings_of_a_stream_reach_the_bus() -> None:
    async with (
        opened(**OWN) as (bus, scoped),
        scoped.open_stream("custom", buffer=2, overflow="latest") as events,
    ):
        newest = [bus.emit(HERE) for _ in range(3)][-1]
        assert [await events.receive(), events.receive_nowait()] == [Lagged(2), newest]


async def test_waiting_and_expecting_are_met_by_its_place_only() -> None:
    async with opened(**OWN) as (bus, scoped):
        with scoped.expect("custom") as expected:
            spread(bus)
            assert place(await expected) == ("s", "n", "e")
        with scoped.expect("custom", node_id="n2") as expected:
            spread(bus)
            assert place(await expected) == ("s", "n2", "e")
        with trio.fail_after(1):
            assert await scoped.wait_for("custom", timeout=0) is None
        with trio.CancelScope() as scope:
            scope.cancel()
            await scoped.wait_for("custom")
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:

            async def emit() -> None:
                await trio.testing.wait_all_tasks_blocked()
                bus.emit(AgentEvent("custom", "s2", "n", "e"))
                bus.emit(HERE)

            nursery.start_soon(emit)
            met = await scoped.wait_for("custom")
        assert met is not None
        assert place(met) == ("s", "n", "e")


async def test_a_node_may_be_asked_for_and_its_own_is_not_assumed() -> None:
    async with opened(**OWN) as (bus, scoped):
        spread(bus)
        assert [event.node_id for event in scoped.get_history(node_id="n2")] == ["n2"]
        assert len(scoped.get_history()) == 2


@pytest.mark.parametrize("field", ["stream_id", "execution_id"])
@pytest.mark.parametrize("found", ["other", ""])
async def test_asking_for_another_place_is_refused(field: str, found: str) -> None:
    async with opened(**OWN) as (bus, scoped):
        for reader in READERS:
            with pytest.raises(AccessRefused, match=f"{field}: found '{found}', expected '{OWN[field]}'"):
                call(scoped, reader, **{field: found})
        with pytest.raises(AccessRefused, match=field):
            await scoped.wait_for("custom", **{field: found})  # type: ignore[arg-type]
        assert bus.subscriptions == ()


async def test_asking_for_its_own_place_is_not() -> None:
    async with opened(**OWN) as (bus, scoped):
        spread(bus)
        for reader in READERS:
            call(scoped, reader, stream_id="s", execution_id="e", node_id="n")
        assert len(scoped.get_history(None, "s", None, "e")) == 2


async def test_where_a_scope_sets_nothing_a_filter_is_the_readers() -> None:
    async with opened(node_id="n") as (bus, scoped):
        places = spread(bus)
        assert len(scoped.get_history()) == len(places)
        assert {event.stream_id for event in scoped.get_history(stream_id="s2")} == {"s2"}
        with pytest.raises(InvalidEvent):
            scoped.get_history(stream_id="")


# scopes in scopes


async def test_a_scope_narrows() -> None:
    async with opened(stream_id="s", correlation_id="c", cause_id="k") as (bus, scoped):
        inner = scoped.scoped(node_id="n", execution_id="e")
        event = inner.emit(AgentEvent("custom", "s"))
        assert place(event) == ("s", "n", "e")
        assert (event.correlation_id, event.cause_id) == ("c", "k")
        assert place(scoped.emit(AgentEvent("custom", "s"))) == ("s", None, None), (
            "the outer one is as it was"
        )
        spread(bus)
        assert {event.execution_id for event in inner.get_history()} == {"e"}
        assert {event.execution_id for event in scoped.get_history()} == {"e", "e2", None}


@pytest.mark.parametrize("field", PLACE)
async def test_a_scope_never_widens_and_never_moves(field: str) -> None:
    async with opened(**OWN) as (_, scoped):
        with pytest.raises(AccessRefused, match=f"{field}: found 'other', expected '{OWN[field]}'"):
            scoped.scoped(**{field: "other"})
        with pytest.raises(AccessRefused):
            scoped.scoped(**{field: ""})
        assert place(scoped.scoped(**{field: None}).emit(AgentEvent("custom", "s"))) == ("s", "n", "e")


async def test_narrowed_by_nothing_it_is_the_same() -> None:
    async with opened(**OWN) as (_, scoped):
        inner = scoped
        for _ in range(10_000):
            inner = inner.scoped(stream_id="s")
        assert inner is scoped


async def test_scopes_of_one_bus_do_not_hear_each_other() -> None:
    async with open_event_bus() as bus:
        one, other = (bus.scoped(stream_id="s", execution_id=name) for name in ("e1", "e2"))
        seen: list[Place] = []
        other.subscribe(None, lambda event: seen.append(place(event)))
        one.emit_execution_started()
        await one.deliver(AgentEvent("custom", "s"))
        await other.deliver(AgentEvent("custom", "s"))
        assert seen == [("s", None, "e2")]
        assert one.latest("custom") != other.latest("custom")


async def test_after_its_bus_has_closed_it_reads_and_takes_nothing_more() -> None:
    async with opened(**OWN) as (_, scoped):
        scoped.emit(HERE)
        id = scoped.subscribe(None, ignore)
    assert len(scoped.get_history()) == 1
    with pytest.raises(EventBusClosed):
        scoped.emit_goal_progress(0.5, {})
    with pytest.raises(EventBusClosed):
        scoped.subscribe(None, ignore)
    with pytest.raises(EventBusClosed):
        await scoped.publish(HERE)
    scoped.unsubscribe(id)
