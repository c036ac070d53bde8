"""Circles: handlers that publish to each other never hang, and whoever can wait does wait.

Mailboxes are tiny here, so that every publish would have to wait. ``at_rest`` is the moment when nothing
moves any more except by the test's own hand: what waits then would wait for ever.
"""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock
from trio.testing import wait_all_tasks_blocked as at_rest

from phloem.errors import PublishCircle
from phloem.events import AgentEvent, open_event_bus
from support.buses import event
from support.rings import Handler, fill, handled, holding, nothing, passing_on, waiting

# -- no hang ------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [1, 10])
@pytest.mark.parametrize("buffer", [1, 2, 1024])
async def test_ten_publishers_whose_handler_publishes_once_all_come_through(
    places: int, buffer: int, autojump_clock: MockClock
) -> None:
    async with open_event_bus(max_concurrent_handlers=places, buffer=buffer) as bus:
        id = bus.subscribe("custom", passing_on(bus, "s"), "s")
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(bus.publish, event(1))
            await at_rest()
        assert handled(bus, id) == 20


async def test_a_thousand_nested_publishes_of_one_subscription(autojump_clock: MockClock) -> None:
    async with open_event_bus(max_concurrent_handlers=1, buffer=1) as bus:
        id = bus.subscribe("custom", passing_on(bus, "s"), "s")
        with trio.fail_after(1):
            await bus.publish(event(1_000))
            await at_rest()
        assert handled(bus, id) == 1_001


async def test_a_thousand_subscriptions_that_each_publish_to_the_next(autojump_clock: MockClock) -> None:
    many = 1_000
    async with open_event_bus(max_concurrent_handlers=1, buffer=1) as bus:
        ids = [bus.subscribe("custom", passing_on(bus, f"s{i + 1}"), f"s{i}") for i in range(many + 1)]
        with trio.fail_after(1):
            await bus.publish(event(many, stream="s0"))
            await at_rest()
        assert [handled(bus, id) for id in ids] == [1] * (many + 1)


@pytest.mark.parametrize("apart", [False, True])
async def test_a_thousand_nested_deliveries(apart: bool, autojump_clock: MockClock) -> None:
    depth, seen = 1_000, list[int]()

    async with open_event_bus(max_concurrent_handlers=1, buffer=1, slow_after=10_000) as bus:

        async def handler(received: AgentEvent) -> None:
            n = received.data["n"]
            if n < depth:
                done = await bus.deliver(event(n + 1, stream=f"s{n + 1}" if apart else "s0"))
                assert (done.unawaited == ()) is apart
                assert done.errors == {}
            seen.append(n)

        for i in range(depth + 1 if apart else 1):
            bus.subscribe("custom", handler, f"s{i}")
        with trio.fail_after(1):
            await bus.deliver(event(0, stream="s0"))
            await at_rest()
    assert seen == sorted(range(depth + 1), reverse=apart), (
        "the innermost is through first, if all are awaited"
    )


@pytest.mark.parametrize("count", [1, 2, 3, 5])
async def test_a_ring_of_full_mailboxes_turns(count: int, autojump_clock: MockClock) -> None:
    """ABBA for two. Exactly one of the publishers does not wait: the one who closes the ring."""
    names = [f"s{i}" for i in range(count)]
    gates = {name: trio.Event() for name in names}
    async with open_event_bus(max_concurrent_handlers=1, buffer=1, slow_after=10_000) as bus:
        ids = [
            bus.subscribe("custom", holding(gates[name], passing_on(bus, names[(i + 1) % count])), name)
            for i, name in enumerate(names)
        ]
        with trio.fail_after(10_000):
            for name in names:
                bus.emit(event(7, stream=name))
            await trio.sleep(100)
            assert bus.get_stats()["handlers_running"] == 1, "one place"
        for gate in gates.values():
            gate.set()
        with trio.fail_after(10_000):
            await at_rest()
        assert sum(handled(bus, id) for id in ids) == 8 * count


@pytest.mark.parametrize("count", [2, 3, 5])
async def test_only_who_closes_a_ring_goes_over_the_bound(count: int, autojump_clock: MockClock) -> None:
    names = [f"s{i}" for i in range(count)]
    gates = [trio.Event() for _ in names]
    depths: list[list[int]] = []
    async with open_event_bus(buffer=1, slow_after=10_000) as bus:

        def one(i: int) -> Handler:
            async def handler(received: AgentEvent) -> None:
                if received.data["n"]:
                    await gates[i].wait()
                    await bus.publish(event(0, stream=names[(i + 1) % count]))
                    depths.append([waiting(bus, id) for id in ids])

            return handler

        ids = [bus.subscribe("custom", one(i), name) for i, name in enumerate(names)]
        for name in names:
            bus.emit(event(1, stream=name))
        await at_rest()
        for name in names:
            bus.emit(event(0, stream=name))
        for gate in gates[:-1]:
            gate.set()
            await at_rest()
            assert depths == [], "an open chain"
        gates[-1].set()
        await at_rest()
        assert len(depths) == count
        assert depths[0] == [2, *[1] * (count - 1)]
        assert [handled(bus, id) for id in ids] == [3] * count


# -- other ways to close a circle ------------------------------------------------------------------


async def test_a_circle_through_a_blocking_stream_that_the_publisher_reads(
    autojump_clock: MockClock,
) -> None:
    read: list[int] = []
    async with open_event_bus(buffer=1, slow_after=10_000) as bus:

        async def reader(received: AgentEvent) -> None:
            async with bus.open_stream("custom", "out", buffer=1) as events:
                bus.emit(event(100, stream="out"))
                read.append((await events.receive()).data["n"])  # type: ignore[union-attr]
                for n in range(3):  # in its hand, in its mailbox, and over the bound
                    await bus.publish(event(n, stream="work"))
                while len(read) < 7:
                    read.append((await events.receive()).data["n"])  # type: ignore[union-attr]

        async def worker(received: AgentEvent) -> None:
            for _ in range(2):
                await bus.publish(event(received.data["n"], stream="out"))

        bus.subscribe("custom", reader, "in")
        work = bus.subscribe("custom", worker, "work")
        with trio.fail_after(1):
            done = await bus.deliver(event(stream="in"))
        assert done.errors == {}
        assert read == [100, 0, 0, 1, 1, 2, 2]
        assert handled(bus, work) == 3


async def test_who_alone_reads_a_stream_is_not_made_to_wait_for_himself() -> None:
    async with open_event_bus() as bus, bus.open_stream("custom", buffer=2) as events:
        bus.emit(event())
        await events.receive()
        for n in range(4):
            await bus.publish(event(n))
        with pytest.raises(PublishCircle) as caught:
            await bus.publish(event(4))
        assert caught.value.subscriptions == (events.id,)
        assert [events.receive_nowait().data["n"] for _ in range(4)] == [0, 1, 2, 3]  # type: ignore[union-attr]


async def test_a_circle_through_a_concurrent_subscription(autojump_clock: MockClock) -> None:
    """Every handler of it waits for room in it: nobody else would make some."""
    async with open_event_bus(max_concurrent_handlers=2, buffer=2) as bus:
        id = bus.subscribe("custom", passing_on(bus, "s"), "s", concurrent=True)
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(bus.publish, event(5))
            await at_rest()
        assert handled(bus, id) == 60


async def test_a_circle_closed_by_deliver() -> None:
    unawaited: dict[str, tuple[str, ...]] = {}
    async with open_event_bus(max_concurrent_handlers=1, buffer=1) as bus:

        def delivering(to: str) -> Handler:
            async def handler(received: AgentEvent) -> None:
                n = received.data["n"]
                if n:
                    done = await bus.deliver(event(n - 1, stream=to))
                    unawaited[f"{received.stream_id}{n}"] = done.unawaited

            return handler

        a = bus.subscribe("custom", delivering("b"), "a")
        b = bus.subscribe("custom", delivering("a"), "b")
        done = await bus.deliver(event(2, stream="a"))
        await at_rest()
        assert done.unawaited == ()
        assert unawaited == {"a2": (), "b1": (a,)}
        assert (handled(bus, a), handled(bus, b)) == (2, 1)


async def test_a_deliver_to_itself_and_to_another_waits_for_the_other(autojump_clock: MockClock) -> None:
    found: list[tuple[tuple[str, ...], float]] = []
    async with open_event_bus() as bus:

        async def handler(received: AgentEvent) -> None:
            if received.data["n"]:
                done = await bus.deliver(event(0))
                found.append((done.unawaited, trio.current_time()))

        async def slow(received: AgentEvent) -> None:
            await trio.sleep(1)

        id = bus.subscribe("custom", handler)
        bus.subscribe("custom", slow)
        started = trio.current_time()
        with trio.fail_after(10):
            await bus.deliver(event(1))
        assert found == [((id,), started + 2)]


async def test_a_circle_of_a_publish_and_a_deliver() -> None:
    """A's handler waits for room in B, B's handler for A's."""
    unawaited: list[tuple[str, ...]] = []
    async with open_event_bus(buffer=1) as bus:
        gate = trio.Event()

        async def publishing(received: AgentEvent) -> None:
            if received.data["n"]:
                await bus.publish(event(0, stream="b"))

        async def delivering(received: AgentEvent) -> None:
            if received.data["n"]:
                await gate.wait()
                unawaited.append((await bus.deliver(event(0, stream="a"))).unawaited)

        a = bus.subscribe("custom", publishing, "a")
        b = bus.subscribe("custom", delivering, "b")
        bus.emit(event(1, stream="b"))
        await at_rest()
        bus.emit(event(0, stream="b"))
        bus.emit(event(1, stream="a"))
        await at_rest()
        gate.set()
        await at_rest()
        assert unawaited == [(a,)]
        assert (handled(bus, a), handled(bus, b)) == (2, 3)


# -- who belongs to a circle -------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 3])
async def test_a_handlers_child_tasks_belong_to_it(levels: int) -> None:
    async with open_event_bus(max_concurrent_handlers=1, buffer=2) as bus:

        async def further_down(level: int, n: int) -> None:
            async with trio.open_nursery() as nursery:
                if level:
                    nursery.start_soon(further_down, level - 1, n)
                else:
                    nursery.start_soon(bus.publish, event(n))
                    nursery.start_soon(bus.publish, event(n))

        async def handler(received: AgentEvent) -> None:
            if received.data["n"]:
                await further_down(levels, received.data["n"] - 1)

        id = bus.subscribe("custom", handler)
        await bus.publish(event(2))
        await at_rest()
        assert handled(bus, id) == 7


async def test_a_publish_waits_for_the_mailbox_that_is_in_no_circle() -> None:
    asked, gate, depths = trio.Event(), trio.Event(), list[int]()
    async with open_event_bus(buffer=1) as bus:

        async def handler(received: AgentEvent) -> None:
            if received.data["n"]:
                await asked.wait()
                await bus.publish(event(0))
                depths.extend((waiting(bus, mine), waiting(bus, other)))

        other = bus.subscribe("custom", holding(gate, nothing))
        mine = bus.subscribe("custom", handler)
        await bus.publish(event(1))
        await at_rest()
        await bus.publish(event(0))
        asked.set()
        await at_rest()
        assert depths == [], "its own is no reason to wait; the other one is"
        assert (waiting(bus, mine), waiting(bus, other)) == (1, 1)
        gate.set()
        await at_rest()
        assert depths == [2, 1]
        assert handled(bus, mine) == handled(bus, other) == 3


# -- the bound, and past it ----------------------------------------------------------------------------


@pytest.mark.parametrize("buffer", [1, 3])
async def test_a_mailbox_holds_twice_its_bound_and_then_the_circle_is_named(buffer: int) -> None:
    found: list[tuple[str, ...]] = []
    async with open_event_bus(buffer=buffer) as bus:

        async def handler(received: AgentEvent) -> None:
            if not received.data["n"]:
                return
            for _ in range(2 * buffer):
                await bus.publish(event(0))
            for _ in range(2):
                with pytest.raises(PublishCircle) as caught:
                    await bus.publish(event(0))
                found.append(caught.value.subscriptions)
            assert waiting(bus, own) == 2 * buffer

        own = bus.subscribe("custom", handler)
        bus.subscribe("custom", nothing)  # has room
        assert (await bus.deliver(event(1))).errors == {}
        await at_rest()
        assert found == [(own,)] * 2
        assert handled(bus, own) == 1 + 2 * buffer, "what was refused was not published"


@pytest.mark.parametrize("count", [2, 3])
async def test_the_error_names_exactly_the_subscriptions_of_the_circle(count: int) -> None:
    """Not those beside it: one with room, and a full one that stands in an open chain."""
    asked, gate, found = trio.Event(), trio.Event(), list[str]()
    async with open_event_bus(buffer=1) as bus:

        def one(i: int) -> Handler:
            to, node = (f"s{i + 1}", None) if i + 1 < count else ("s0", "chain")

            async def handler(received: AgentEvent) -> None:
                if received.data["n"]:
                    await bus.publish(event(0, stream=to, node_id=node))

            return handler

        async def asker(received: AgentEvent) -> None:
            if received.data["n"]:
                await asked.wait()
                await bus.publish(event(0, stream="s1"))
                with pytest.raises(PublishCircle) as caught:
                    await bus.publish(event(0, stream="s1"))
                found.extend(caught.value.subscriptions)

        ring = [bus.subscribe("custom", one(i) if i else asker, f"s{i}") for i in range(count)]
        bus.subscribe("custom", nothing, "s1", buffer=9)
        beside = bus.subscribe("custom", passing_on(bus, "end"), filter_node="chain")
        bus.subscribe("custom", holding(gate, nothing), "end")
        await fill(bus, ["end"])
        for stream, node in (
            ("beside", "chain"),
            ("s0", None),
            *((f"s{i}", None) for i in range(count - 1, 0, -1)),
        ):
            for n in (1, 0):  # the one in hand would be passed on, if there were room
                bus.emit(event(n, stream=stream, node_id=node))
                await at_rest()
        for id in (*ring, beside):
            assert waiting(bus, id) == 1
        asked.set()
        await at_rest()
        assert sorted(found) == sorted(ring)
        gate.set()
        await at_rest()
        assert bus.get_stats()["handlers_running"] == 0
