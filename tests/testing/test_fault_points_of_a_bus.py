"""Where faults are injected into a bus: its subscribers and its threads, and that it bears them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import JournalError
from phloem.events import (
    AgentEvent,
    open_event_bus,
    open_journal,
    open_replay,
    read_journal,
    replay,
)
from phloem.testing import faults as own
from phloem.testing.faults import FaultKind, FaultPlan, FiredFault, InjectedFault, Injector, Point
from support.disks import event, numbers
from support.faulty import Port, hangs, once, raises
from support.journals import lines_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


# -- the subscriber -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["publish", "deliver", "emit"])
async def test_every_call_of_a_subscriber_is_a_visit_under_its_name(how: str) -> None:
    port = Port()
    async with open_event_bus(faults=port) as bus:

        def plain(event: AgentEvent) -> None: ...

        bus.subscribe("custom", plain)
        bus.subscribe("custom", plain, name="mine", concurrent=True)
        bus.scoped(stream_id="s").subscribe("custom", plain, name="scoped")
        for number in range(3):
            told = getattr(bus, how)(event(number))
            if how != "emit":
                await told
    names = [name for point, name in port.visits if point == "bus subscriber"]
    assert len(names) == len(port.visits) == 9
    assert {name.rpartition(".")[2] for name in names} == {"plain", "mine", "scoped"}


@pytest.mark.parametrize(
    "error", [lambda: InjectedFault("injected"), lambda: own.InjectedBaseException("injected")]
)
async def test_what_is_raised_there_is_counted_as_the_subscribers_and_hurts_nobody(
    error: Callable[[], BaseException],
) -> None:
    seen = list[int]()

    async def bad(event: AgentEvent) -> None:
        seen.append(event.data["n"])

    async with open_event_bus(faults=Port({"bus subscriber": once(raises(error))})) as bus:
        id = bus.subscribe("custom", bad, name="bad")
        delivered = await bus.deliver(event(1))
        assert [type(each) for each in delivered.errors.values()] == [type(error())]
        assert not (await bus.deliver(event(2))).errors
        stats = bus.get_stats()["subscription_stats"][id]
        assert (stats["errors"], stats["delivered"]) == (1, 1)
    assert seen == [2]


async def test_a_hang_there_holds_up_no_other_subscription_and_is_named_and_cut(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    handled = trio.Event()

    async def hung(event: AgentEvent) -> None: ...

    async def good(event: AgentEvent) -> None:
        handled.set()

    port = Port({"bus subscriber": once(hangs)})
    async with open_event_bus(10, 1, slow_after=2.0, grace=5.0, faults=port) as bus:
        id = bus.subscribe("custom", hung, name="hung")
        began = trio.current_time()
        await bus.publish(event(1))
        await trio.testing.wait_all_tasks_blocked()
        bus.subscribe("custom", good)
        await bus.publish(event(2))
        await handled.wait()
        assert trio.current_time() - began == 2.0  # when the watchdog frees the one place there is
        assert bus.get_stats()["subscription_stats"][id]["slow"] == 1
        began = trio.current_time()
    assert trio.current_time() - began == 5.0
    assert "the handler of subscription sub-1 (hung) runs for 2.0 s" in caplog.text


async def test_a_hang_there_is_cut_by_the_subscriptions_own_limit(autojump_clock: Any) -> None:
    seen = list[int]()

    async def limited(event: AgentEvent) -> None:
        seen.append(event.data["n"])

    async with open_event_bus(faults=Port({"bus subscriber": once(hangs)})) as bus:
        bus.subscribe("custom", limited, cancel_after=4.0)
        began = trio.current_time()
        delivered = await bus.deliver(event(1))
        assert trio.current_time() - began == 4.0
        assert [type(each) for each in delivered.errors.values()] == [trio.TooSlowError]
        await bus.deliver(event(2))
    assert seen == [2]


# -- the threads of journals and replays ----------------------------------------------------------


async def test_a_journal_and_a_replay_visit_for_each_thread(path: Path) -> None:
    port = Port()
    async with open_event_bus(faults=port) as bus, open_journal(bus, path, linger=0) as journal:
        await bus.publish(event(1))
        await journal.flush()
    assert len(port.visits) >= 3  # opened, written, closed
    assert set(port.visits) == {("thread", "journal")}
    port.visits.clear()
    async with open_event_bus(faults=port) as bus:
        assert await replay(path, bus) == 1
    assert port.visits == [("thread", "replay")] * len(port.visits) != []
    port.visits.clear()
    async with open_replay(path, faults=port) as items:
        assert numbers([item async for item in items]) == [1]
    assert set(port.visits) == {("thread", "replay")}


@pytest.mark.parametrize("seed", range(20))
async def test_a_disk_that_refuses_now_and_then_loses_nothing(
    seed: int, path: Path, autojump_clock: Any
) -> None:
    point = Point((FaultKind.RAISE, FaultKind.SLOW), 1.0, 0.5, 2.0, raises=own.InjectedOSError)
    port, refused = Injector(FaultPlan({"thread": point}), seed), ""
    try:
        async with open_event_bus(faults=port) as bus, open_journal(bus, path, linger=0) as journal:
            for number in range(10):
                await bus.publish(event(number))
                await trio.sleep(0.01)
            await journal.flush()
    except (own.InjectedOSError, JournalError) as error:
        refused = str(error)
    if "may not be on the disk" in refused:  # it was the closing that failed
        assert port.fired[-1].kind is FaultKind.RAISE
    elif refused:  # it could not be opened in the first place
        assert port.fired == [FiredFault("thread", "journal", 1, FaultKind.RAISE)]
        assert lines_of(path) is None
        return
    assert numbers(read_journal(path)) == list(range(10))


async def test_a_replay_goes_on_where_its_thread_failed(path: Path) -> None:
    async with open_event_bus() as bus, open_journal(bus, path):
        for number in range(3):
            await bus.publish(event(number))
    port = Port({"thread": once(raises(lambda: own.InjectedOSError(errno.EIO, "injected")))})
    async with open_replay(path, faults=port) as items:
        with pytest.raises(own.InjectedOSError):
            await anext(items)
        assert numbers([item async for item in items]) == [0, 1, 2]
