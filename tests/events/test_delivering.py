"""deliver: returns when every matching handler is done, with what they raised."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from phloem.errors import EventDropped
from phloem.events import AgentEvent, open_event_bus
from support.buses import event, noting


async def test_deliver_returns_when_every_matching_handler_is_done_with_their_errors(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    error = ValueError("no")
    seen: list[int] = []

    async def slow(event: AgentEvent) -> None:
        await trio.sleep(3)
        seen.append(event.data["n"])

    async def bad(event: AgentEvent) -> None:
        await trio.sleep(1)
        raise error

    async with open_event_bus() as bus:
        bus.subscribe("custom", slow)
        id = bus.subscribe("custom", bad)
        bus.subscribe("state_changed", slow)
        delivered = await bus.deliver(event(1))
        assert trio.current_time() == 3
    assert seen == [1]
    assert delivered.event.data["n"] == 1
    assert delivered.errors == {id: error}
    assert delivered.unawaited == ()


async def test_deliver_keeps_the_order_of_its_subscriber() -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:
        bus.subscribe("custom", noting(seen))
        for n in range(5):
            bus.emit(event(n))
        await bus.deliver(event(5))
        assert seen == [0, 1, 2, 3, 4, 5]


async def test_deliver_without_subscribers_returns_at_once() -> None:
    async with open_event_bus() as bus:
        assert (await bus.deliver(event())).errors == {}


async def test_an_event_that_gives_way_to_others_is_an_error_of_its_deliver() -> None:
    gate = trio.Event()

    async def handler(event: AgentEvent) -> None:
        await gate.wait()

    results: list[Any] = []

    async def deliver(bus: Any) -> None:
        results.append(await bus.deliver(event(1)))

    async with open_event_bus() as bus, trio.open_nursery() as nursery:
        id = bus.subscribe("custom", handler, buffer=1)
        bus.emit(event(0))
        await wait_all_tasks_blocked()
        nursery.start_soon(deliver, bus)
        await wait_all_tasks_blocked()
        bus.emit(event(2))
        gate.set()
        await wait_all_tasks_blocked()
        assert isinstance(results[0].errors[id], EventDropped)


async def test_deliver_does_not_wait_for_a_subscription_that_ended() -> None:
    gate = trio.Event()

    async def handler(event: AgentEvent) -> None:
        await gate.wait()

    async with open_event_bus(grace=0) as bus, trio.open_nursery() as nursery:
        id = bus.subscribe("custom", handler)
        bus.emit(event(0))
        await wait_all_tasks_blocked()
        results: list[Any] = []

        async def deliver() -> None:
            results.append(await bus.deliver(event(1)))

        nursery.start_soon(deliver)
        await wait_all_tasks_blocked()
        bus.unsubscribe(id)
        await wait_all_tasks_blocked()
        assert isinstance(results[0].errors[id], EventDropped)


async def test_a_deliver_cancelled_while_it_waits_was_published_all_the_same(
    autojump_clock: MockClock,
) -> None:
    seen: list[int] = []

    async def slow(event: AgentEvent) -> None:
        await trio.sleep(3)
        seen.append(event.data["n"])

    async with open_event_bus(grace=10) as bus:
        bus.subscribe("custom", slow)
        with trio.move_on_after(1) as scope:
            await bus.deliver(event(1))
        assert scope.cancelled_caught
    assert seen == [1]
