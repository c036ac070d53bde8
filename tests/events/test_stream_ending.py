"""Readers that are cancelled, and streams that end: nothing is lost, and nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from phloem.events.streams import EventStream, Overflow
from phloem.events.types import AgentEvent
from support.streaming import numbered, plain, read

settled = trio.testing.wait_all_tasks_blocked


def sinks(bus: EventBus) -> int:
    return len(bus._commits.routes)


# -- readers that are cancelled -----------------------------------------------------------------------


async def test_a_reader_cancelled_while_it_waits_has_taken_nothing() -> None:
    async with open_event_bus() as bus, bus.open_stream() as stream:
        with trio.move_on_after(0) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        bus.emit(numbered(1))
        assert plain(await stream.receive()) == 1
        assert not stream._readers


async def test_a_reader_cancelled_before_it_begins_has_taken_nothing() -> None:
    async with open_event_bus() as bus, bus.open_stream() as stream:
        bus.emit(numbered(1))
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test")
            await stream.receive()
        assert scope.cancelled_caught
        assert read(stream) == [1]


async def test_an_event_in_the_same_step_as_the_cancel_is_taken_or_left_to_the_next_reader() -> None:
    for cancel_first in (True, False):
        found: list[int] = []
        async with open_event_bus() as bus, bus.open_stream() as stream, trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def receive(scope: trio.CancelScope, stream: EventStream, found: list[int]) -> None:
                with scope:
                    found.append(plain(await stream.receive()))

            nursery.start_soon(receive, scope, stream, found)
            await settled()
            if cancel_first:
                scope.cancel(reason="the test")
            bus.emit(numbered(1))
            scope.cancel(reason="the test")
            await settled()
            assert scope.cancelled_caught is cancel_first
            assert [*found, *read(stream)] == [1]


async def test_of_two_who_wait_the_other_gets_what_a_cancelled_one_would_have() -> None:
    found: list[int] = []
    async with open_event_bus() as bus, bus.open_stream() as stream, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def receive(scope: trio.CancelScope) -> None:
            with scope:
                found.append(plain(await stream.receive()))

        nursery.start_soon(receive, scope)
        await settled()
        nursery.start_soon(receive, trio.CancelScope())
        await settled()
        scope.cancel(reason="the test")
        bus.emit(numbered(1))
        await settled()
        assert scope.cancelled_caught
        assert found == [1]


async def test_what_a_handler_was_woken_for_and_cancelled_before_it_had_its_place_goes_to_the_next() -> None:
    found: list[int] = []
    async with open_event_bus(max_concurrent_handlers=1) as bus, bus.open_stream("custom") as stream:
        scope, gate = trio.CancelScope(), trio.Event()

        async def reads(event: AgentEvent) -> None:
            with scope:
                await stream.receive()

        async def holds_the_place(event: AgentEvent) -> None:
            await gate.wait()

        async def receive() -> None:
            found.append(plain(await stream.receive()))

        bus.subscribe("goal_progress", reads)
        bus.subscribe("goal_achieved", holds_the_place)
        bus.emit(numbered(0, "goal_progress"))
        await settled()
        bus.emit(numbered(0, "goal_achieved"))
        await settled()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await settled()
            bus.emit(numbered(1))
            scope.cancel(reason="the test")
            await settled()
            assert found == [1]
        gate.set()


async def test_a_handler_that_reads_a_stream_gives_its_place_to_those_who_fill_it() -> None:
    found: list[int] = []
    async with open_event_bus(max_concurrent_handlers=1) as bus, bus.open_stream("custom") as stream:

        async def reads(event: AgentEvent) -> None:
            found.append(plain(await stream.receive()))

        async def fills(event: AgentEvent) -> None:
            await bus.publish(numbered(1))

        bus.subscribe("goal_progress", reads)
        bus.subscribe("goal_progress", fills)
        with trio.fail_after(5):
            await bus.deliver(numbered(0, "goal_progress"))
        assert found == [1]


# -- the end ----------------------------------------------------------------------------------------------


async def test_nothing_of_it_stays_in_the_bus() -> None:
    async with open_event_bus() as bus:
        for _ in range(100):
            async with bus.open_stream("custom", "s", "n", "e"), bus.open_stream():
                assert sinks(bus) == 2
        assert sinks(bus) == 0
        assert bus._commits.routes.tables == {}
        assert bus._streams == {}


async def test_cancelled_while_it_opens_it_leaves_nothing() -> None:
    async with open_event_bus() as bus:
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test")
            async with bus.open_stream():
                pass
        assert scope.cancelled_caught
        assert (sinks(bus), bus._streams) == (0, {})


async def test_left_by_an_error_or_cancelled_it_leaves_nothing_and_what_waits_can_be_read() -> None:
    streams: list[EventStream] = []
    async with open_event_bus() as bus:

        async def fail() -> None:
            async with bus.open_stream() as stream:
                streams.append(stream)
                bus.emit(numbered(1))
                raise KeyError("own")

        with pytest.raises(KeyError, match="own"):
            await fail()
        with trio.CancelScope() as scope:
            async with bus.open_stream() as other:
                streams.append(other)
                bus.emit(numbered(2))
                scope.cancel(reason="the test")
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert sinks(bus) == 0
        assert (read(streams[0]), read(streams[1])) == ([1, trio.EndOfChannel], [2, trio.EndOfChannel])


async def test_all_who_wait_are_told_that_the_block_was_left() -> None:
    ended: list[bool] = []
    async with open_event_bus() as bus, trio.open_nursery() as nursery:

        async def receive(stream: EventStream) -> None:
            ended.append([item async for item in stream] == [])

        async with bus.open_stream() as stream:
            for _ in range(3):
                nursery.start_soon(receive, stream)  # noqa: ASYNC111 - outlives it on purpose
            await settled()
    assert ended == [True] * 3


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_one_that_is_read_elsewhere_gives_what_waits_and_ends_when_the_bus_closes(
    overflow: str,
) -> None:
    found: list[int] = []
    async with trio.open_nursery() as nursery:
        gate = trio.Event()

        async def receive(bus: EventBus, *, task_status: trio.TaskStatus[None]) -> None:
            async with bus.open_stream(overflow=overflow) as stream:
                task_status.started()
                await gate.wait()
                found.extend([plain(item) async for item in stream])

        async with open_event_bus() as bus:
            await nursery.start(receive, bus)  # noqa: ASYNC111 - outlives it on purpose
            for n in (1, 2, 3):
                bus.emit(numbered(n, node_id=f"node {n}"))
        gate.set()
    assert found == [1, 2, 3]


async def test_one_who_waits_as_the_bus_closes_is_told_the_end() -> None:
    async with trio.open_nursery() as nursery:
        ended = trio.Event()

        async def receive(bus: EventBus, *, task_status: trio.TaskStatus[None]) -> None:
            async with bus.open_stream() as stream:
                task_status.started()
                with pytest.raises(trio.EndOfChannel):
                    await stream.receive()
                ended.set()

        async with open_event_bus() as bus:
            await nursery.start(receive, bus)  # noqa: ASYNC111 - outlives it on purpose
            await settled()
        await settled()
        assert ended.is_set()


async def test_one_who_waits_as_the_body_of_the_bus_raises_is_told_the_end() -> None:
    async with trio.open_nursery() as nursery:
        found: list[Any] = []

        async def receive(bus: EventBus, *, task_status: trio.TaskStatus[None]) -> None:
            async with bus.open_stream() as stream:
                task_status.started()
                found.extend([plain(item) async for item in stream])
                found.append("the end")

        async def fail() -> None:
            async with open_event_bus() as bus:
                await nursery.start(receive, bus)
                bus.emit(numbered(1))
                raise KeyError("own")

        with pytest.raises(KeyError, match="own"):
            await fail()
        await settled()
        assert found == [1, "the end"]


async def test_after_the_bus_has_closed_nothing_is_put_into_it() -> None:
    async with trio.open_nursery() as nursery:
        closed = trio.Event()
        found: list[Any] = []

        async def receive(bus: EventBus, *, task_status: trio.TaskStatus[None]) -> None:
            async with bus.open_stream() as stream:
                task_status.started()
                await closed.wait()
                bus.record("custom", "s", None, None, {"n": 9})
                found.extend(read(stream))

        async with open_event_bus() as bus:
            await nursery.start(receive, bus)  # noqa: ASYNC111 - outlives it on purpose
            bus.emit(numbered(1))
        closed.set()
    assert found == [1, trio.EndOfChannel]
    assert [plain(event) for event in bus.get_history()] == [9, 1]
