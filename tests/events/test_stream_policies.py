"""What a full buffer does, policy by policy, and where its reader is told of it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import StreamOverflowed
from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from phloem.events.streams import Overflow
from phloem.events.types import AgentEvent, Lagged
from support.streaming import Account, emitted, numbered, plain, read

LOSSY = [each for each in Overflow if each is not Overflow.BLOCK]

every = pytest.mark.parametrize("overflow", list(Overflow))
ending = pytest.mark.parametrize("overflow", [Overflow.ERROR, Overflow.CLOSE])
settled = trio.testing.wait_all_tasks_blocked


async def test_block_makes_emit_drop_the_oldest() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2) as stream:
        emitted(bus, 1, 2, 3, 4)
        assert read(stream) == [Lagged(2), 3, 4]


async def test_block_makes_publish_wait_and_loses_nothing() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2) as stream, trio.open_nursery() as nursery:

        async def publish() -> None:
            for n in range(1, 31):
                await bus.publish(numbered(n))

        nursery.start_soon(publish)
        account = Account()
        while account.received < 30:
            await settled()
            assert stream.statistics()["waiting"] == min(2, 30 - account.received)
            account.take(await stream.receive())
        assert (account.told, stream.lost) == (0, 0)


async def test_block_is_the_policy_unless_another_is_asked_for() -> None:
    async with open_event_bus() as bus, bus.open_stream() as stream:
        assert stream.overflow is Overflow.BLOCK
        assert stream.limit == 1024


async def test_block_lets_publishers_in_by_turns() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1) as stream, trio.open_nursery() as nursery:
        for n in range(1, 21):
            nursery.start_soon(bus.publish, numbered(n))
            await settled()
        assert bus.get_stats()["total_events"] == 1
        assert [plain(await stream.receive()) for _ in range(20)] == list(range(1, 21))


async def test_drop_oldest_drops_the_oldest_whoever_publishes() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2, overflow="drop_oldest") as stream:
        emitted(bus, 1, 2)
        await bus.publish(numbered(3))
        await bus.deliver(numbered(4))
        assert read(stream) == [Lagged(2), 3, 4]


async def test_latest_gives_up_all_that_waits_for_the_newest() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=3, overflow="latest") as stream:
        emitted(bus, 1, 2, 3)
        assert read(stream) == [1, 2, 3], "while there is room it loses nothing"
        emitted(bus, 4, 5, 6, 7)
        assert read(stream) == [Lagged(3), 7]


async def test_coalesce_keeps_the_newest_of_each_place() -> None:
    async with open_event_bus() as bus, bus.open_stream(overflow="coalesce") as stream:
        for n, node in enumerate("abab", 1):
            bus.emit(numbered(n, node_id=node))
        assert read(stream) == [Lagged(2), 3, 4]


@pytest.mark.parametrize("field", ["type", "stream_id", "node_id", "execution_id"])
async def test_coalesce_keeps_apart_what_differs_in_type_stream_node_or_execution(field: str) -> None:
    same: dict[str, Any] = {"type": "custom", "stream_id": "s", "node_id": "n", "execution_id": "e"}
    other: dict[str, Any] = {**same, field: "goal_progress"}
    async with open_event_bus() as bus, bus.open_stream(overflow="coalesce") as stream:
        for n, fields in enumerate((same, other, other, same), 1):
            bus.emit(AgentEvent(**fields, data={"n": n}))
        found = read(stream)
        assert [each for each in found if each != Lagged(1) and each != Lagged(2)] == [3, 4]
        assert stream.lost == 2


async def test_coalesce_that_is_full_of_different_ones_drops_the_oldest() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2, overflow="coalesce") as stream:
        for n, node in enumerate("abc", 1):
            bus.emit(numbered(n, node_id=node))
        assert read(stream) == [Lagged(1), 2, 3]


async def test_coalesce_that_is_full_replaces_before_it_drops() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2, overflow="coalesce") as stream:
        for n, node in enumerate("aba", 1):
            bus.emit(numbered(n, node_id=node))
        assert read(stream) == [Lagged(1), 2, 3]


async def test_error_gives_what_waits_then_raises_once_then_ends() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2, overflow="error") as stream:
        emitted(bus, 1, 2, 3, 4, 5)
        assert [plain(await stream.receive()) for _ in range(2)] == [1, 2]
        with pytest.raises(StreamOverflowed) as caught:
            await stream.receive()
        assert caught.value.lost == stream.lost == 3
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel):
                await stream.receive()


async def test_error_raises_out_of_a_loop_over_the_stream() -> None:
    found: list[Any] = []
    async with open_event_bus() as bus, bus.open_stream(buffer=1, overflow="error") as stream:

        async def loop() -> None:
            async for item in stream:
                found.append(plain(item))

        emitted(bus, 1, 2)
        with pytest.raises(StreamOverflowed):
            await loop()
        assert found == [1]
        assert [item async for item in stream] == []


async def test_close_gives_what_waits_then_the_count_then_ends() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2, overflow="close") as stream:
        emitted(bus, 1, 2, 3, 4, 5)
        assert [plain(item) async for item in stream] == [1, 2, Lagged(3)]
        with pytest.raises(trio.EndOfChannel):
            stream.receive_nowait()


@ending
async def test_one_that_overflew_takes_nothing_more_though_there_is_room_again(overflow: str) -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1, overflow=overflow) as stream:
        emitted(bus, 1, 2)
        assert plain(stream.receive_nowait()) == 1
        emitted(bus, 3, 4)
        *_, told, end = read(stream)
        assert (getattr(told, "lost", 0) or told.count, end) == (3, trio.EndOfChannel)


@ending
async def test_after_its_end_nothing_comes_any_more(overflow: str) -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1, overflow=overflow) as stream:
        emitted(bus, 1, 2)
        assert read(stream)[-1] is trio.EndOfChannel
        lost = stream.lost
        emitted(bus, 3)
        await bus.publish(numbered(4))
        bus.record("custom", "s", None, None, {"n": 5})
        assert read(stream) == [trio.EndOfChannel]
        assert stream.lost == lost == 1, "the reader was told of all it ever lost"


@ending
async def test_all_who_wait_for_one_that_overflows_are_told_the_end(overflow: str) -> None:
    found: list[Any] = []
    async with open_event_bus() as bus, bus.open_stream(buffer=1, overflow=overflow) as stream:

        async def receive() -> None:
            try:
                found.append(plain(await stream.receive()))
            except (StreamOverflowed, trio.EndOfChannel) as error:
                found.append(type(error))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(receive)
            await settled()
            emitted(bus, 1, 2)
            await settled()
            assert len(found) == 5
        told = StreamOverflowed if overflow == "error" else Lagged(1)
        assert [found.count(each) for each in (1, told, trio.EndOfChannel)] == [1, 1, 3]


@pytest.mark.parametrize("overflow", LOSSY)
async def test_none_but_block_makes_publish_wait(overflow: str) -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1, overflow=overflow) as stream:
        with trio.fail_after(5):
            for n in range(1, 101):
                await bus.publish(numbered(n))
        assert (stream.statistics()["waiting"], stream.lost) == (1, 99)


@every
async def test_nobody_reads_it_and_the_bus_goes_on(overflow: str) -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=3, overflow=overflow) as stream:
        emitted(bus, *range(1, 1001))
        found = stream.statistics()
        assert found["received"] == 0
        assert found["lost"] + found["waiting"] == 1000
        assert found["waiting"] <= 3
        assert bus.get_stats()["stream_stats"] == {stream.id: found}


@every
async def test_a_buffer_of_one_is_enough_for_a_reader_that_keeps_up(overflow: str) -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=1, overflow=overflow) as stream:
        for n in range(1, 51):
            bus.emit(numbered(n))
            assert read(stream) == [n]
        assert stream.statistics() == {"received": 50, "lost": 0, "waiting": 0}


async def test_losses_between_two_reads_are_told_each_at_its_place() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2) as stream:
        emitted(bus, 1, 2, 3)
        assert plain(stream.receive_nowait()) == Lagged(1)
        emitted(bus, 4)
        assert plain(stream.receive_nowait()) == Lagged(1)
        assert plain(stream.receive_nowait()) == 3
        emitted(bus, 5, 6, 7)
        assert read(stream) == [Lagged(2), 6, 7]


@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.DROP_OLDEST, Overflow.LATEST])
async def test_a_loss_that_nobody_was_told_of_is_told_when_the_bus_has_closed(overflow: str) -> None:
    async with trio.open_nursery() as nursery:
        found: list[Any] = []

        async def watch(bus: EventBus, *, task_status: trio.TaskStatus[None]) -> None:
            async with bus.open_stream(buffer=1, overflow=overflow) as stream:
                emitted(bus, 1, 2, 3)
                task_status.started()
                await closed.wait()
                found.extend(read(stream))

        closed = trio.Event()
        async with open_event_bus() as bus:
            await nursery.start(watch, bus)  # noqa: ASYNC111 - outlives it on purpose
        closed.set()
    assert found == [Lagged(2), 3, trio.EndOfChannel]
