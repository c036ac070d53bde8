"""Received and lost are what was published, exactly, however publishing and reading interleave.

The reader is told of a loss where it happened, so the events and the counts it has read so far
always say which event comes next. ``Account`` holds every reading here to that. Only ``coalesce``
may tell of a loss early: what it replaces may lie behind events that still wait.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio._core._run as trio_run
import trio.testing

from phloem.errors import StreamOverflowed
from phloem.events.opening import open_event_bus
from phloem.events.streams import EventStream, Overflow
from phloem.events.types import AgentEvent, Lagged
from support.streaming import Account, numbered
from support.sweeping import scheduling

NODES = ("a", "b", "c")
ENDING = (Overflow.ERROR, Overflow.CLOSE)

every = pytest.mark.parametrize("overflow", list(Overflow))


def read_items(stream: EventStream) -> list[Any]:
    """All that can be read now, as it comes."""
    found: list[Any] = []
    while True:
        try:
            found.append(stream.receive_nowait())
        except StreamOverflowed as error:
            found.append(error)
        except (trio.WouldBlock, trio.EndOfChannel):
            return found


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
                    bus.emit(numbered(published, node_id=rng.choice(NODES)))
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
            for item in read_items(stream):
                account.take(item)
            assert account.received + account.told == published, f"seed {seed}"
            assert (account.received, account.told) == (stream.received, stream.lost)


@every
async def test_any_schedule_of_publishers_emitters_and_readers_accounts_for_every_event(
    overflow: Overflow, autojump_clock: trio.testing.MockClock
) -> None:
    with scheduling(shuffled=True):
        for seed in range(40):
            trio_run._r.seed(seed)
            await one_run(overflow, random.Random(seed), readers=1)


@every
async def test_several_readers_share_every_event_between_them(
    overflow: Overflow, autojump_clock: trio.testing.MockClock
) -> None:
    for seed in range(40):
        await one_run(overflow, random.Random(seed), readers=3)


async def one_run(overflow: Overflow, rng: random.Random, *, readers: int) -> None:
    """Two tasks that emit, three that publish, and readers who come, are cancelled and come again."""
    items: list[Any] = []
    over = trio.Event()

    async def pause() -> None:
        await trio.sleep(rng.choice((0, 0, 0, 0.01, 0.02)))

    async def publish() -> None:
        for _ in range(15):
            await pause()
            await bus.publish(numbered(0, node_id=rng.choice(NODES)))

    async def emit() -> None:
        for _ in range(15):
            await pause()
            bus.emit(numbered(0, node_id=rng.choice(NODES)))

    async def receive() -> None:
        while not over.is_set() or stream.statistics()["waiting"]:
            await pause()
            with trio.move_on_after(rng.choice((0, 0.005, 1))):
                try:
                    items.append(await stream.receive())
                except trio.EndOfChannel:
                    return
                except StreamOverflowed as error:
                    items.append(error)

    async with (
        open_event_bus() as bus,
        bus.open_stream(buffer=rng.choice((1, 2, 5)), overflow=overflow) as stream,
        trio.open_nursery() as reading,
    ):
        for _ in range(readers):
            reading.start_soon(receive)
        async with trio.open_nursery() as publishing:
            for task in (publish, publish, publish, emit, emit):
                publishing.start_soon(task)
        over.set()
    items.extend(read_items(stream))

    account = Account(exact=overflow is not Overflow.COALESCE and readers == 1)
    if readers == 1:
        for item in items:
            account.take(numbered(item.seq) if isinstance(item, AgentEvent) else item)
        assert (account.received, account.told) == (stream.received, stream.lost)
    else:  # who took first may come back last
        events = [item.seq for item in items if isinstance(item, AgentEvent)]
        told = sum(getattr(item, "count", 0) + getattr(item, "lost", 0) for item in items)
        assert len(set(events)) == len(events)
        assert (len(events), told) == (stream.received, stream.lost)
    accounted = stream.received + stream.lost
    assert accounted == 75 or (overflow in ENDING and stream.lost and accounted < 75)
