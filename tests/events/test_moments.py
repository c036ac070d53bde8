"""Moments at which a subscription or the bus ends, a worker changes its mailbox, or a child reads."""

from __future__ import annotations

from contextvars import ContextVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from phloem.errors import EventBusClosed
from phloem.events import AgentEvent, open_event_bus
from support.buses import event


@pytest.mark.parametrize("how", ["unsubscribe", "retire", "once"])
async def test_publishers_in_line_go_on_when_their_mailbox_takes_no_more(how: str) -> None:
    gate = trio.Event()
    async with open_event_bus(buffer=1, slow_after=1e6) as bus:

        async def hang(e: AgentEvent) -> None:
            await gate.wait()

        id = bus.subscribe("custom", hang, once=how == "once")
        if how == "once":  # taken by the first event, with publishers in line for another reason: none can be
            bus.emit(event())
            await wait_all_tasks_blocked()
            with trio.fail_after(1):
                await bus.publish(event())
        else:
            bus.emit(event())
            await wait_all_tasks_blocked()
            bus.emit(event())
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(bus.publish, event())
                await wait_all_tasks_blocked()
                getattr(bus, how)(id)
                await wait_all_tasks_blocked()
                assert not nursery.child_tasks
        gate.set()


async def test_a_subscription_that_ends_is_there_until_its_handler_has_left() -> None:
    gate = trio.Event()
    async with open_event_bus() as bus:

        async def handler(e: AgentEvent) -> None:
            await gate.wait()

        id = bus.subscribe("custom", handler, once=True)
        bus.emit(event())
        await wait_all_tasks_blocked()
        assert bus.get_stats()["subscription_stats"][id]["running"] == 1
        gate.set()
        await wait_all_tasks_blocked()
        assert bus.subscriptions == ()


async def test_what_waits_behind_a_key_keeps_its_order_when_its_worker_gives_way() -> None:
    seen: list[int] = []
    gate, first = trio.Event(), trio.Event()
    async with open_event_bus(max_concurrent_handlers=2, slow_after=1e6) as bus:

        async def handler(e: AgentEvent) -> None:
            if e.data["n"] == 0:
                await first.wait()
            seen.append(e.data["n"])

        async def back(e: AgentEvent) -> None:  # comes back from the bus and wants its place
            await bus.wait_for("state_changed")
            await gate.wait()

        bus.subscribe("custom", handler, "keyed", key=lambda e: e.node_id)
        bus.subscribe("custom", back, "back")

        async def holds(e: AgentEvent) -> None:
            await gate.wait()

        bus.subscribe("custom", holds, "holds")
        bus.emit(event(stream="back"))
        await wait_all_tasks_blocked()
        for n in range(6):
            bus.emit(event(n, stream="keyed", node_id="k"))
        await wait_all_tasks_blocked()  # 1 to 5 are sorted behind 0
        bus.emit(event(stream="holds"))
        await wait_all_tasks_blocked()
        bus.emit(event(type="state_changed"))
        await wait_all_tasks_blocked()  # wants its place back: 0's worker gives way
        first.set()
        await wait_all_tasks_blocked()
        bus.emit(event(6, stream="keyed", node_id="k"))
        gate.set()
        await wait_all_tasks_blocked()
        assert seen == list(range(7))


async def test_one_worker_runs_each_handler_in_its_own_subscribers_context() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    seen: list[tuple[str, str]] = []
    async with open_event_bus(max_concurrent_handlers=1) as bus:
        for name in "abc":

            async def handler(e: AgentEvent, name: str = name) -> None:
                seen.append((name, variable.get()))

            variable.set(name)
            bus.subscribe(["custom"], handler)
            bus.subscribe("state_changed", handler, name)
        for _ in range(3):
            bus.emit(event())
        await wait_all_tasks_blocked()
        for name in "cab":
            bus.emit(event(stream=name, type="state_changed"))
            await wait_all_tasks_blocked()  # by an idle worker
    assert len(seen) == 12
    assert all(one == two for one, two in seen)


@pytest.mark.parametrize("steps", range(6))
async def test_a_stream_is_refused_by_a_bus_that_closes_as_it_is_opened(steps: int) -> None:
    async with trio.open_nursery() as nursery:

        async def opens() -> None:
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            try:
                async with bus.open_stream():
                    assert not bus.closed
            except EventBusClosed:
                assert bus.closed

        async with open_event_bus(grace=0) as bus:
            for _ in range(10):
                nursery.start_soon(opens)


async def test_a_stream_opened_by_a_handler_and_read_by_its_child_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    async with open_event_bus(slow_after=1e6) as bus:
        most: list[int] = []

        async def handler(e: AgentEvent) -> None:
            async with bus.open_stream("custom", "out", buffer=1) as events, trio.open_nursery() as nursery:

                async def read() -> None:
                    await trio.sleep(1)
                    for _ in range(4):
                        await events.receive()

                nursery.start_soon(read)
                for n in range(4):
                    await bus.publish(event(n, stream="out"))
                    most.append(events.waiting)

        bus.subscribe("custom", handler, "in")
        assert (await bus.deliver(event(stream="in"))).errors == {}
        assert max(most) == 1


async def test_a_subscription_retired_while_its_handler_is_at_work_is_there_until_it_has_left() -> None:
    gate = trio.Event()
    async with open_event_bus() as bus:

        async def handler(e: AgentEvent) -> None:
            await gate.wait()

        id = bus.subscribe("custom", handler)
        bus.emit(event())
        await wait_all_tasks_blocked()
        assert bus.retire(id)
        assert bus.get_stats()["subscription_stats"][id]["running"] == 1
        gate.set()
        await wait_all_tasks_blocked()
        assert bus.subscriptions == ()
