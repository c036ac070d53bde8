"""Lines and places: who waits for room gets it by age, and a place is for who can use it."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock
from trio.testing import wait_all_tasks_blocked as at_rest

from phloem.events import AgentEvent, open_event_bus
from support.buses import event, noting
from support.rings import handled, holding, nothing


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
