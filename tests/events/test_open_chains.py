"""Whoever can wait does wait: chains that are long but open, and no false alarm."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock
from trio.testing import wait_all_tasks_blocked as at_rest

from phloem.events import AgentEvent, Delivered, open_event_bus
from support.buses import event
from support.rings import fill, handled, holding, nothing, passing_on, waiting

# -- long, but open ---------------------------------------------------------------------------------


@pytest.mark.parametrize("from_the_end", [False, True])
async def test_an_open_chain_makes_everybody_wait_however_long_it_is(from_the_end: bool) -> None:
    """Every mailbox is full, every handler waits for room in the next, and the last one is at work."""
    names = [f"s{i}" for i in range(100)]
    gates = [trio.Event() for _ in names]
    async with open_event_bus(max_concurrent_handlers=200, buffer=1) as bus:
        ids = [
            bus.subscribe("custom", holding(gate, passing_on(bus, f"s{i + 1}")), f"s{i}")
            for i, gate in enumerate(gates)
        ]
        await fill(bus, names, 1)
        for gate in reversed(gates[:-1]) if from_the_end else gates[:-1]:
            gate.set()
            await at_rest()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bus.publish, event(0, stream="s0"))
            await at_rest()
            assert {waiting(bus, id) for id in ids} == {1}, "nobody is taken over the bound"
            gates[-1].set()
        await at_rest()
        assert [handled(bus, id) for id in ids] == [3, *[4] * 99]


async def test_a_publish_from_one_key_waits_for_what_stands_behind_another() -> None:
    gate, depths = trio.Event(), list[int]()
    async with open_event_bus(buffer=1) as bus:

        async def handler(received: AgentEvent) -> None:
            if received.node_id == "other":
                await gate.wait()
            elif received.data["n"]:
                bus.emit(event(0, node_id="other"))  # the mailbox is full, and not with our own
                await bus.publish(event(0, node_id="mine"))
                depths.append(waiting(bus, own))

        own = bus.subscribe("custom", handler, key=lambda event: event.node_id)
        await bus.publish(event(0, node_id="other"))
        await bus.publish(event(1, node_id="mine"))
        await at_rest()
        assert depths == [], "it waits"
        gate.set()
        await at_rest()
        assert depths in ([0], [1])
        assert handled(bus, own) == 4


async def test_a_task_that_the_handler_does_not_wait_for_waits_like_a_stranger() -> None:
    """It is no part of a circle: the handler ends without it, and then there is room."""
    async with open_event_bus(buffer=1) as bus, trio.open_nursery() as elsewhere:
        gate, depths = trio.Event(), list[int]()

        async def stranger() -> None:
            await bus.publish(event(0))
            depths.append(waiting(bus, own))

        async def handler(received: AgentEvent) -> None:
            if received.data["n"]:
                elsewhere.start_soon(stranger)
                await gate.wait()

        own = bus.subscribe("custom", handler)
        bus.emit(event(1))
        await at_rest()  # the handler waits at its gate, and the mailbox holds what the stranger published
        elsewhere.start_soon(stranger)
        await at_rest()
        assert depths == [1]
        gate.set()
        await at_rest()
        assert len(depths) == 2
        assert handled(bus, own) == 3


async def test_a_task_in_a_nursery_that_the_handler_opened_belongs_to_it_whoever_started_it() -> None:
    given: list[trio.Nursery] = []
    async with open_event_bus(buffer=1) as bus:

        async def handler(received: AgentEvent) -> None:
            if received.data["n"]:
                async with trio.open_nursery() as nursery:
                    given.append(nursery)
                    await trio.sleep_forever()

        id = bus.subscribe("custom", handler)
        bus.emit(event(1))
        await at_rest()
        given[0].start_soon(bus.publish, event(0))
        given[0].start_soon(bus.publish, event(0))
        await at_rest()
        assert waiting(bus, id) == 2, "nobody but the handler would make room, and it waits for its nursery"
        given[0].cancel_scope.cancel()
        await at_rest()
        assert handled(bus, id) == 3


# -- no false alarm -----------------------------------------------------------------------------------


async def test_who_has_been_called_but_has_not_run_yet_does_not_close_a_circle() -> None:
    """One's handler waited for room in two; two's handler has just made some, and publishes to one."""
    gate, depths = trio.Event(), list[int]()
    async with open_event_bus(buffer=1) as bus:

        async def second(received: AgentEvent) -> None:
            await gate.wait()
            if received.data["n"] == 1:
                await bus.publish(event(0, stream="one"))
                depths.append(waiting(bus, one))

        one = bus.subscribe("custom", passing_on(bus, "two"), "one")
        bus.subscribe("custom", second, "two")
        for n, stream in ((0, "two"), (1, "two"), (1, "one"), (0, "one")):
            bus.emit(event(n, stream=stream))
            await at_rest()
        gate.set()
        await at_rest()
        assert depths
        assert max(depths) <= 1


async def test_a_deliver_does_not_wait_for_who_has_handled_its_event_and_gone_on() -> None:
    """C delivers to A, which is through, and to B, which is not; then A publishes to C."""
    gate, results, depths = trio.Event(), list[Delivered](), list[int]()
    async with open_event_bus(buffer=1) as bus:

        async def a(received: AgentEvent) -> None:
            if received.data["n"]:
                await bus.publish(event(0, stream="c"))
                depths.append(waiting(bus, c))

        async def delivering(received: AgentEvent) -> None:
            if received.data["n"]:
                results.append(await bus.deliver(event(0, stream="a", node_id="both")))

        bus.subscribe("custom", a, "a")
        bus.subscribe("custom", holding(gate, nothing), filter_node="both")
        c = bus.subscribe("custom", delivering, "c")
        for n, stream in ((1, "c"), (0, "c"), (1, "a")):
            bus.emit(event(n, stream=stream))
            await at_rest()
        assert depths == [], "an open chain: it ends at the gate"
        gate.set()
        await at_rest()
        assert results[0].unawaited == ()
        assert depths[0] <= 1


async def test_a_stream_with_two_readers_is_nobodys_own(autojump_clock: MockClock) -> None:
    async with (
        open_event_bus() as bus,
        bus.open_stream("custom", buffer=1) as events,
        trio.open_nursery() as n,
    ):

        async def reader() -> None:
            async for _ in events:
                await trio.sleep(1)

        n.start_soon(reader)
        await at_rest()
        bus.emit(event())
        await at_rest()
        bus.emit(event())
        await events.receive()  # now we are a reader too
        for _ in range(5):
            await bus.publish(event())
            assert events.waiting <= 1
        n.cancel_scope.cancel()


async def test_a_handler_that_has_read_a_stream_is_not_its_reader_for_ever() -> None:
    """Its task runs another handler by then; and whoever runs the first one's next event will read."""
    read: list[int] = []
    async with open_event_bus() as bus, bus.open_stream("custom", "out", buffer=1) as events:

        async def reading(received: AgentEvent) -> None:
            item = await events.receive()
            assert isinstance(item, AgentEvent)
            read.append(item.data["n"])

        async def publishing(received: AgentEvent) -> None:
            for n in range(1, 4):
                await bus.publish(event(n, stream="out"))
                assert events.waiting <= 1

        bus.subscribe("custom", reading, "read")
        id = bus.subscribe("custom", publishing, "publish")
        for stream in ("out", "read", "publish", "read", "read", "read"):
            bus.emit(event(0, stream=stream))
            await at_rest()
        assert read == [0, 1, 2, 3]
        assert handled(bus, id) == 1


async def test_a_circle_through_a_key_does_not_wait_for_another_keys_handler() -> None:
    hung = trio.Event()
    async with open_event_bus(buffer=2, slow_after=10_000) as bus:

        async def handler(received: AgentEvent) -> None:
            if received.node_id == "other":
                await hung.wait()
            for _ in range(received.data["n"]):
                await bus.publish(event(0, node_id="mine"))

        own = bus.subscribe("custom", handler, key=lambda event: event.node_id)
        await bus.publish(event(0, node_id="other"))
        await bus.publish(event(4, node_id="mine"))
        await at_rest()
        assert handled(bus, own) == 5, "all but the one that hangs"
        hung.set()


async def test_what_a_worker_has_just_sorted_behind_a_key_is_looked_at_again(
    autojump_clock: MockClock,
) -> None:
    """Over the bound already, it waits for another key's event to be taken: that makes too little room."""
    hung = trio.Event()
    async with open_event_bus(buffer=2, slow_after=10_000) as bus:

        async def handler(received: AgentEvent) -> None:
            if received.node_id == "other":
                await hung.wait()
            elif received.data["n"]:
                for _ in range(3):
                    await bus.publish(event(0, node_id="mine"))
                bus.emit(event(0, node_id="other"))
                await bus.publish(event(0, node_id="mine"))

        own = bus.subscribe("custom", handler, key=lambda event: event.node_id)
        await bus.publish(event(1, node_id="mine"))
        await at_rest()
        stats = bus.get_stats()["subscription_stats"][own]
        assert (stats["delivered"], stats["queue_depth"], stats["lagged"]) == (4, 0, 1)
        hung.set()


async def test_a_stream_whose_reader_has_not_begun_to_read_is_waited_for() -> None:
    read: list[int] = []
    async with (
        open_event_bus() as bus,
        bus.open_stream("custom", buffer=1) as events,
        trio.open_nursery() as nursery,
    ):

        async def reader() -> None:
            await trio.lowlevel.checkpoint()
            for _ in range(4):
                item = await events.receive()
                assert isinstance(item, AgentEvent)
                read.append(item.data["n"])

        nursery.start_soon(reader)
        for n in range(4):
            await bus.publish(event(n))
            assert events.waiting <= 1
    assert read == [0, 1, 2, 3]


async def test_a_handler_that_waits_for_an_event_makes_its_mailbox_no_circle(
    autojump_clock: MockClock,
) -> None:
    """It waits inside the bus, but for what anybody may publish."""
    async with open_event_bus(buffer=1) as bus:

        async def handler(received: AgentEvent) -> None:
            if received.data["n"]:
                assert await bus.wait_for("state_changed", timeout=5)

        id = bus.subscribe("custom", handler)
        await fill(bus, ["s"], 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bus.publish, event(0))
            await at_rest()
            assert waiting(bus, id) == 1
            bus.emit(event(type="state_changed"))
            await at_rest()
            bus.emit(event(type="state_changed"))
        await at_rest()
        assert handled(bus, id) == 3
