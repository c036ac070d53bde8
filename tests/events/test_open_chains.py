"""Whoever can wait does wait: chains that are long but open, places in a line, and no false alarm."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock
from trio.testing import wait_all_tasks_blocked as at_rest

from phloem.events import AgentEvent, Delivered, open_event_bus
from support.buses import event, noting
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
                depths.append(waiting(bus, id))

        id = bus.subscribe("custom", handler, key=lambda event: event.node_id)
        await bus.publish(event(0, node_id="other"))
        await bus.publish(event(1, node_id="mine"))
        await at_rest()
        assert depths == [], "it waits"
        gate.set()
        await at_rest()
        assert depths in ([0], [1])
        assert handled(bus, id) == 4


async def test_a_task_that_the_handler_does_not_wait_for_waits_like_a_stranger() -> None:
    """It is no part of a circle: the handler ends without it, and then there is room."""
    async with open_event_bus(buffer=1) as bus, trio.open_nursery() as elsewhere:
        gate, depths = trio.Event(), list[int]()

        async def stranger() -> None:
            await bus.publish(event(0))
            depths.append(waiting(bus, id))

        async def handler(received: AgentEvent) -> None:
            if received.data["n"]:
                elsewhere.start_soon(stranger)
                await gate.wait()

        id = bus.subscribe("custom", handler)
        bus.emit(event(1))
        await at_rest()  # the handler waits at its gate, and the mailbox holds what the stranger published
        elsewhere.start_soon(stranger)
        await at_rest()
        assert depths == [1]
        gate.set()
        await at_rest()
        assert len(depths) == 2
        assert handled(bus, id) == 3


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


# -- places -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_handler_gets_no_place_back_while_another_of_its_tasks_waits(
    cancelled: bool, autojump_clock: MockClock
) -> None:
    """Else the only place would be held by one who waits for a handler that needs it."""
    first, second, scope = trio.Event(), trio.Event(), trio.CancelScope()
    async with open_event_bus(max_concurrent_handlers=1, buffer=1, slow_after=10_000) as bus:

        async def of_two_tasks(received: AgentEvent) -> None:
            async def later() -> None:
                await second.wait()
                await bus.publish(event(0, stream="y"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(later)
                with scope:
                    await bus.publish(event(0, stream="x"))

        two = bus.subscribe("custom", of_two_tasks, "two")
        x = bus.subscribe("custom", holding(first, nothing), "x")
        y = bus.subscribe("custom", nothing, "y")
        await bus.publish(event(0, stream="two"))
        bus.emit(event(0, stream="x"))
        await at_rest()  # its first task is called, since x has room, and waits for a place
        bus.emit(event(0, stream="y"))
        second.set()
        await at_rest()  # and its second one waits for room in y
        if cancelled:
            scope.cancel()
            await at_rest()
        first.set()
        with trio.fail_after(1):
            await at_rest()
        assert [handled(bus, id) for id in (two, x, y)] == [1, 1 if cancelled else 2, 2]


# -- who came first -----------------------------------------------------------------------------------


async def test_publishers_get_room_in_the_order_in_which_they_came() -> None:
    seen: list[int] = []
    gate = trio.Event()
    async with open_event_bus(buffer=1) as bus:
        bus.subscribe("custom", holding(gate, noting(seen)))
        async with trio.open_nursery() as nursery:
            for n in range(10):
                nursery.start_soon(bus.publish, event(n))
                await at_rest()
            gate.set()
        await at_rest()
    assert seen == list(range(10))


@pytest.mark.parametrize("cancelled", ["never", "before", "in the same step"])
async def test_nobody_takes_the_room_that_an_older_one_has_been_called_for(cancelled: str) -> None:
    """In the very step in which there is room, a newcomer publishes, and perhaps the eldest is cancelled."""
    seen: list[int] = []

    def read() -> None:
        item = events.receive_nowait()
        assert isinstance(item, AgentEvent)
        seen.append(item.data["n"])

    async with open_event_bus() as bus, bus.open_stream("custom", buffer=1) as events:
        bus.emit(event(0))
        async with trio.open_nursery() as nursery:
            eldest = trio.CancelScope()

            async def doomed() -> None:
                with eldest:
                    await bus.publish(event(1))

            for publish in (doomed, partial(bus.publish, event(2)), partial(bus.publish, event(3))):
                nursery.start_soon(publish)
                await at_rest()
            if cancelled == "before":
                eldest.cancel()
                await at_rest()
            for n in (4, 5, 6):
                read()
                nursery.start_soon(bus.publish, event(n))
                if cancelled == "in the same step":
                    eldest.cancel()
                await at_rest()
            while events.waiting:
                read()
                await at_rest()
    published = [item.data["n"] for item in reversed(bus.get_history())]
    assert seen == published == sorted(seen)
    assert seen == [n for n in range(7) if n != 1 or not eldest.cancelled_caught]
    assert eldest.cancelled_caught or cancelled != "before"


async def test_who_comes_back_to_a_line_stands_by_age_and_nobody_sleeps_before_room() -> None:
    """Old waits for A and B; A is read, then B, and the younger one in A's line has no place to go on."""
    order: list[str] = []
    gate = trio.Event()
    async with open_event_bus(max_concurrent_handlers=1, slow_after=10_000) as bus:

        async def young(received: AgentEvent) -> None:
            await bus.publish(event(stream="s"))
            order.append("young")

        async def old() -> None:
            await bus.publish(event(stream="s", node_id="b"))
            order.append("old")

        bus.subscribe("custom", young, "young")
        bus.subscribe("custom", holding(gate, nothing), "holder")
        async with (
            bus.open_stream("custom", "s", buffer=1) as a,
            bus.open_stream("custom", filter_node="b", buffer=1) as b,
            trio.open_nursery() as nursery,
        ):
            bus.emit(event(stream="s"))
            bus.emit(event(stream="x", node_id="b"))
            nursery.start_soon(old)
            await at_rest()
            for stream in ("young", "holder"):
                bus.emit(event(stream=stream))
                await at_rest()
            a.receive_nowait()
            await at_rest()
            b.receive_nowait()
            await at_rest()
            assert order == ["old"]
            a.receive_nowait()
            gate.set()
            await at_rest()
            assert order == ["old", "young"]
