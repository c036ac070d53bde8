"""What a full buffer does, policy by policy: received and lost are what was published, exactly.

The reader is told of a loss where it happened, so the events and the counts it has read so far
always say which event comes next. ``account`` holds every reading here to that.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio._core._run as trio_run
import trio.testing

from phloem.errors import EventBusClosed, PublishCircle, StreamOverflowed
from phloem.events.bus import EventBus
from phloem.events.opening import open_event_bus
from phloem.events.streams import EventStream, Overflow
from phloem.events.types import AgentEvent, HistoryGap, Lagged

NODES = ("a", "b", "c")
LOSSY = [each for each in Overflow if each is not Overflow.BLOCK]
ENDING = (Overflow.ERROR, Overflow.CLOSE)

every = pytest.mark.parametrize("overflow", list(Overflow))
ending = pytest.mark.parametrize("overflow", ENDING)
settled = trio.testing.wait_all_tasks_blocked


def numbered(n: int, node: str | None = None) -> AgentEvent:
    return AgentEvent("custom", "s", node, data={"n": n})


def emitted(bus: EventBus, *numbers: int) -> None:
    for n in numbers:
        bus.emit(numbered(n))


def plain(item: AgentEvent | Lagged | HistoryGap) -> Any:
    """An event's number; anything else as it is."""
    return item.data["n"] if isinstance(item, AgentEvent) else item


def read(stream: EventStream) -> list[Any]:
    """All that can be read now; what the stream raised, if it ended, comes last."""
    found: list[Any] = []
    while True:
        try:
            found.append(plain(stream.receive_nowait()))
        except trio.WouldBlock:
            return found
        except trio.EndOfChannel:
            return [*found, trio.EndOfChannel]
        except StreamOverflowed as error:
            found.append(error)


class Account:
    """What one reader has read of events numbered from 1, held to what it may be told at that point."""

    def __init__(self, *, exact: bool = True) -> None:
        self.received = self.told = self.last = 0
        self.exact = exact

    def take(self, item: AgentEvent | Lagged | HistoryGap | StreamOverflowed) -> None:
        if isinstance(item, Lagged):
            assert item.count > 0
            self.told += item.count
            return
        if isinstance(item, StreamOverflowed):
            assert item.lost > 0
            self.told += item.lost
            return
        n = plain(item)
        assert n > self.last, "in publish order, and none twice"
        older = self.received + self.told
        assert older == n - 1 if self.exact else older >= n - 1, "each older one was read or told as lost"
        self.last = n
        self.received += 1

    def take_all(self, stream: EventStream) -> bool:
        """Everything that can be read now; False if the stream has ended."""
        while True:
            try:
                self.take(stream.receive_nowait())
            except trio.WouldBlock:
                return True
            except trio.EndOfChannel:
                return False
            except StreamOverflowed as error:
                self.take(error)


# -- each policy ---------------------------------------------------------------------------------


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
            bus.emit(numbered(n, node))
        assert read(stream) == [Lagged(2), 3, 4]


@pytest.mark.parametrize("field", ["type", "stream_id", "node_id", "execution_id"])
async def test_coalesce_keeps_apart_what_differs_in_type_stream_node_or_execution(field: str) -> None:
    same: dict[str, Any] = {"type": "custom", "stream_id": "s", "node_id": "n", "execution_id": "e"}
    other = {**same, field: "goal_progress"}
    async with open_event_bus() as bus, bus.open_stream(overflow="coalesce") as stream:
        for n, fields in enumerate((same, other, other, same), 1):
            bus.emit(AgentEvent(**fields, data={"n": n}))
        found = read(stream)
        assert [each for each in found if each != Lagged(1) and each != Lagged(2)] == [3, 4]
        assert stream.lost == 2


async def test_coalesce_that_is_full_of_different_ones_drops_the_oldest() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2, overflow="coalesce") as stream:
        for n, node in enumerate("abc", 1):
            bus.emit(numbered(n, node))
        assert read(stream) == [Lagged(1), 2, 3]


async def test_coalesce_that_is_full_replaces_before_it_drops() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=2, overflow="coalesce") as stream:
        for n, node in enumerate("aba", 1):
            bus.emit(numbered(n, node))
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
        emitted(bus, 1, 2)
        with pytest.raises(StreamOverflowed):
            async for item in stream:
                found.append(plain(item))
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
        with trio.fail_after(0.5):
            for n in range(1, 101):
                await bus.publish(numbered(n))
        account = Account()
        account.take_all(stream)
        assert account.received + account.told == 100
        assert account.received == 1


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
            await nursery.start(watch, bus)
        closed.set()
    assert found == [Lagged(2), 3, trio.EndOfChannel]


# -- any interleaving ------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_any_interleaving_of_emit_and_reads_accounts_for_every_event(
    overflow: Overflow, limit: int
) -> None:
    for seed in range(150):
        rng = random.Random(seed)
        async with open_event_bus() as bus, bus.open_stream(buffer=limit, overflow=overflow) as stream:
            account = Account(exact=overflow is not Overflow.COALESCE)
            published, open_ = 0, True
            while open_ and published < 60:
                for _ in range(rng.choice((0, 1, 1, 2, limit, limit + 1, 3 * limit))):
                    published += 1
                    bus.emit(numbered(published, rng.choice(NODES)))
                for _ in range(rng.choice((0, 1, 1, 2, limit))):
                    try:
                        item = stream.receive_nowait()
                    except trio.WouldBlock:
                        break
                    except StreamOverflowed as error:
                        account.take(error)
                        open_ = False
                        break
                    account.take(item)
                    if overflow is Overflow.CLOSE and isinstance(item, Lagged):
                        open_ = False  # this was the last thing it says
                        break
                assert stream.statistics()["waiting"] <= limit
            account.take_all(stream)
            assert account.received + account.told == published, f"seed {seed}"
            assert (account.received, account.told) == (stream.received, stream.lost)


@every
async def test_any_schedule_of_publishers_emitters_and_readers_accounts_for_every_event(
    overflow: Overflow, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    state = trio_run._r.getstate()
    for seed in range(40):
        trio_run._r.seed(seed)
        await one_run(overflow, random.Random(seed), readers=1)
    trio_run._r.setstate(state)


@every
async def test_several_readers_share_every_event_between_them(
    overflow: Overflow, autojump_clock: trio.testing.MockClock
) -> None:
    for seed in range(40):
        await one_run(overflow, random.Random(seed), readers=3)


async def one_run(overflow: Overflow, rng: random.Random, *, readers: int) -> None:
    """Two tasks that emit, three that publish, and readers who come, are cancelled and come again."""
    items: list[Any] = []
    account = Account(exact=overflow is not Overflow.COALESCE)
    over = trio.Event()

    async def pause() -> None:
        await trio.sleep(rng.choice((0, 0, 0, 0.01, 0.02)))

    async def publish(*, binding: bool) -> None:
        for _ in range(15):
            await pause()
            event = AgentEvent("custom", "s", rng.choice(NODES))
            if binding:
                await bus.publish(event)
            else:
                bus.emit(event)

    async def receive() -> None:
        while True:
            await pause()
            with trio.move_on_after(rng.choice((0, 0.005, 1))):
                try:
                    items.append(await stream.receive())
                except trio.EndOfChannel:
                    return
                except StreamOverflowed as error:
                    items.append(error)
            if over.is_set() and not stream.statistics()["waiting"]:
                return

    async with (
        open_event_bus() as bus,
        bus.open_stream(buffer=rng.choice((1, 2, 5)), overflow=overflow) as stream,
    ):
        async with trio.open_nursery() as reading:
            for _ in range(readers):
                reading.start_soon(receive)
            async with trio.open_nursery() as publishing:
                for binding in (True, True, True, False, False):
                    publishing.start_soon(lambda binding=binding: publish(binding=binding))
            over.set()
        while True:
            try:
                items.append(stream.receive_nowait())
            except StreamOverflowed as error:
                items.append(error)
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        ended = overflow in ENDING and stream.lost
        published = bus.get_stats()["total_events"]
    assert published == 75
    if readers > 1:  # who took first may come back last
        items.sort(key=lambda item: item.seq if isinstance(item, AgentEvent) else published)
        account.exact = False
        account.told = published
    for item in items:
        account.take(numbered(item.seq) if isinstance(item, AgentEvent) else item)
    told = account.told - (published if readers > 1 else 0)
    assert (account.received, told) == (stream.received, stream.lost)
    assert account.received + told <= published
    assert ended or account.received + told == published


# -- who waits for room -----------------------------------------------------------------------------


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
        async with trio.open_nursery() as nursery:
            async with bus.open_stream(buffer=1) as stream:
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
            await nursery.start(watch, bus)
        closed.set()
    assert refused == ["the bus was closed before there was room for the event"] * 2
    assert bus.get_stats()["total_events"] == 1


async def test_a_reader_that_publishes_to_itself_does_not_wait_for_itself() -> None:
    async with open_event_bus() as bus, bus.open_stream(buffer=3) as stream:
        await bus.publish(numbered(1))
        assert plain(await stream.receive()) == 1
        with trio.fail_after(0.5):
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
