"""Publishers that wait for room in a stream: who goes first, and when they wait no more."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import EventBusClosed, PublishCircle
from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from phloem.events.types import AgentEvent, Lagged
from support.streaming import numbered, plain, read

settled = trio.testing.wait_all_tasks_blocked


async def test_a_publish_cancelled_while_it_waits_for_room_is_not_published() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1) as stream, trio.open_nursery() as nursery:
        await bus.publish(numbered(1))
        scope = trio.CancelScope()

        async def publish() -> None:
            with scope:
                await bus.publish(numbered(2))

        nursery.start_soon(publish)
        await settled()
        scope.cancel(reason="the test")
        await settled()
        assert scope.cancelled_caught
        assert bus.get_stats()["total_events"] == 1
        assert read(stream) == [1]
        await bus.publish(numbered(3))
        assert read(stream) == [3]


async def test_a_publisher_cancelled_at_the_very_read_that_made_room_leaves_it_to_the_next() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1) as stream, trio.open_nursery() as nursery:
        await bus.publish(numbered(1))
        scope = trio.CancelScope()

        async def publish() -> None:
            with scope:
                await bus.publish(numbered(2))

        nursery.start_soon(publish)
        await settled()
        nursery.start_soon(bus.publish, numbered(3))
        await settled()
        assert plain(stream.receive_nowait()) == 1
        scope.cancel(reason="the test")
        await settled()
        found = read(stream)
        await settled()
        cancelled = scope.cancelled_caught
        assert [*found, *read(stream)] == ([3] if cancelled else [2, 3])
        assert bus.get_stats()["total_events"] == (2 if cancelled else 3)


async def test_publishers_go_on_when_the_stream_they_wait_for_is_left() -> None:
    async with open_event_bus() as bus:
        async with trio.open_nursery() as nursery, bus.open_stream(buffer=1) as stream:
            for n in range(1, 6):
                nursery.start_soon(bus.publish, numbered(n))
                await settled()
            assert bus.get_stats()["total_events"] == 1
        assert bus.get_stats()["total_events"] == 5
        assert read(stream) == [1, trio.EndOfChannel]


async def test_publishers_that_wait_for_two_streams_go_on_when_one_is_left_and_the_other_read() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1) as kept, trio.open_nursery() as nursery:
        async with bus.open_stream(buffer=1):
            await bus.publish(numbered(1))
            nursery.start_soon(bus.publish, numbered(2))
            await settled()
            assert read(kept) == [1]
            await settled()
            assert bus.get_stats()["total_events"] == 1
        await settled()
        assert read(kept) == [2]


async def test_an_event_comes_to_all_its_streams_at_once_or_to_none() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1) as full, bus.open_stream(buffer=9) as roomy:
        async with trio.open_nursery() as nursery:
            await bus.publish(numbered(1))
            nursery.start_soon(bus.publish, numbered(2))
            await settled()
            assert read(roomy) == [1], "not the one that waits for room elsewhere"
            assert read(full) == [1]
        assert (read(roomy), read(full)) == ([2], [2])


async def test_emit_goes_ahead_of_those_who_wait_and_they_go_on_waiting() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2) as stream, trio.open_nursery() as nursery:
        await bus.publish(numbered(1))
        await bus.publish(numbered(2))
        for n in (4, 5):
            nursery.start_soon(bus.publish, numbered(n))
            await settled()
        bus.emit(numbered(3))
        await settled()
        assert [plain(await stream.receive()) for _ in range(3)] == [Lagged(1), 2, 3]
        assert [plain(await stream.receive()) for _ in range(2)] == [4, 5]
        assert stream.lost == 1


async def test_room_taken_by_emit_before_a_woken_publisher_ran_is_waited_for_again() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1) as stream, trio.open_nursery() as nursery:
        await bus.publish(numbered(1))
        nursery.start_soon(bus.publish, numbered(3))
        await settled()
        assert plain(stream.receive_nowait()) == 1
        bus.emit(numbered(2))
        await settled()
        assert bus.get_stats()["total_events"] == 2
        assert [plain(await stream.receive()) for _ in range(2)] == [2, 3]


async def test_publishers_that_wait_are_refused_when_the_bus_closes() -> None:
    refused: list[str] = []
    async with trio.open_nursery() as nursery:
        closed = trio.Event()

        async def publish(bus: EventBus, n: int) -> None:
            with pytest.raises(EventBusClosed) as caught:
                await bus.publish(numbered(n))
            refused.append(str(caught.value))

        async def watch(bus: EventBus, *, task_status: trio.TaskStatus[None]) -> None:
            async with bus.open_stream(buffer=1) as stream:
                await bus.publish(numbered(1))
                nursery.start_soon(publish, bus, 2)
                nursery.start_soon(publish, bus, 3)
                await settled()
                task_status.started()
                await closed.wait()
                assert read(stream) == [1, trio.EndOfChannel]

        async with open_event_bus() as bus:
            await nursery.start(watch, bus)  # noqa: ASYNC111 - outlives it on purpose
        closed.set()
    assert refused == ["the bus was closed before there was room for the event"] * 2
    assert bus.get_stats()["total_events"] == 1


async def test_a_reader_that_publishes_to_itself_does_not_wait_for_itself() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=3) as stream:
        await bus.publish(numbered(1))
        assert plain(await stream.receive()) == 1
        with trio.fail_after(5):
            for n in range(2, 8):
                await bus.publish(numbered(n))
            with pytest.raises(PublishCircle) as caught:
                await bus.publish(numbered(8))
        assert caught.value.subscriptions == (stream.id,)
        assert read(stream) == [2, 3, 4, 5, 6, 7]


async def test_a_publisher_waits_for_a_reader_that_has_not_begun_yet(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found: list[Any] = []
    async with open_event_bus() as bus, bus.open_stream(buffer=1) as stream, trio.open_nursery() as nursery:

        async def receive() -> None:
            await trio.sleep(1)
            found.extend([plain(await stream.receive()) for _ in range(6)])

        nursery.start_soon(receive)
        for n in range(1, 7):
            await bus.publish(numbered(n))
    assert found == [1, 2, 3, 4, 5, 6]


async def test_a_publisher_that_reads_as_well_waits_for_the_other_reader(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found: list[Any] = []
    async with open_event_bus() as bus, bus.open_stream(buffer=1) as stream, trio.open_nursery() as nursery:

        async def receive() -> None:
            for _ in range(6):
                found.append(plain(await stream.receive()))
                await trio.sleep(1)

        nursery.start_soon(receive)
        await settled()
        await bus.publish(numbered(1))
        await settled()
        await bus.publish(numbered(2))
        assert plain(await stream.receive()) == 2
        for n in range(3, 8):
            await bus.publish(numbered(n))
    assert found == [1, 3, 4, 5, 6, 7]


async def test_a_handler_does_not_wait_for_a_reader_that_waits_for_the_handler() -> None:
    circles: list[tuple[str, ...]] = []
    async with open_event_bus() as bus, bus.open_stream("goal_progress", buffer=2) as stream:

        async def publishes(event: AgentEvent) -> None:
            for n in range(1, 7):
                try:
                    await bus.publish(numbered(n, "goal_progress"))
                except PublishCircle as error:
                    circles.append(error.subscriptions)

        id = bus.subscribe("custom", publishes)
        bus.emit(numbered(0, "goal_progress"))
        assert plain(await stream.receive()) == 0
        with trio.fail_after(5):
            assert (await bus.deliver(numbered(0))).errors == {}
        assert read(stream) == [1, 2, 3, 4], "twice its bound"
        assert [set(each) for each in circles] == [{stream.id, id}] * 2


async def test_a_reader_and_a_handler_that_feed_each_other_do_not_hang() -> None:
    refused: list[tuple[str, ...]] = []
    published, enough = 0, trio.Event()
    async with open_event_bus(buffer=1) as bus, bus.open_stream("goal_progress", buffer=1) as stream:

        async def answers_twice(event: AgentEvent) -> None:
            nonlocal published
            for _ in range(2 if published < 60 else 0):
                try:
                    await bus.publish(numbered(0, "goal_progress"))
                    published += 1
                    if published == 60:
                        enough.set()
                except PublishCircle as error:
                    refused.append(error.subscriptions)

        async def reads() -> None:
            async for _ in stream:
                await bus.publish(numbered(0))

        id = bus.subscribe("custom", answers_twice)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reads)
            await settled()
            with trio.fail_after(5):
                await bus.publish(numbered(0))
                await enough.wait()
            await settled()
            assert stream.statistics() == {"received": published, "lost": 0, "waiting": 0}
            assert {name for each in refused for name in each} <= {stream.id, id}
            nursery.cancel_scope.cancel(reason="the test")
