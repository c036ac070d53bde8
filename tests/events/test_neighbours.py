"""What one subscriber cannot do to another: hold its place, pass a publisher for ever, keep it alive."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from phloem.errors import EventBusClosed, EventDropped
from phloem.events import AgentEvent, EventBus, open_event_bus
from support.buses import event, noting, stats_of


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("concurrent", [False, True])
async def test_slow_handlers_of_full_mailboxes_do_not_keep_their_places(
    concurrent: bool, raises: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """None of them is slow enough to be named; each would go on for 500 s."""
    heard: list[float] = []

    async def slow(event: AgentEvent) -> None:
        await trio.sleep(0.5)
        if raises:
            raise ValueError("slow and wrong")

    async with open_event_bus(max_concurrent_handlers=10, grace=0) as bus:
        for _ in range(1 if concurrent else 10):
            bus.subscribe("custom", slow, concurrent=concurrent)
        for n in range(1_000):
            bus.emit(event(n))
        await trio.sleep(0.1)
        bus.subscribe("state_changed", lambda e: heard.append(trio.current_time()))
        asked = trio.current_time()
        bus.emit(event(type="state_changed"))
        await trio.sleep(5)
    assert heard[0] - asked <= 0.5


async def test_who_publishes_to_two_mailboxes_is_not_passed_for_ever(autojump_clock: MockClock) -> None:
    """Each has room now and then, and others who wait for it; never have both."""

    async def slow(event: AgentEvent) -> None:
        await trio.sleep(0.1)

    async with open_event_bus(grace=0) as bus, trio.open_nursery() as nursery:
        ids = [bus.subscribe([kind, "state_changed"], slow, buffer=1) for kind in ("custom", "goal_progress")]
        for kind in ("custom", "goal_progress"):
            for _ in range(3):
                nursery.start_soon(flood_type, bus, kind)
            await trio.sleep(0.05)
        with trio.fail_after(20):
            for n in range(3):
                await bus.publish(event(n, type="state_changed"))
        for id in ids:
            assert stats_of(bus, id)["lagged"] == 0
            assert stats_of(bus, id)["queue_depth"] <= 2
        nursery.cancel_scope.cancel(reason="seen")


async def flood_type(bus: EventBus, kind: str) -> None:
    while True:
        await bus.publish(event(type=kind))


async def test_ended_subscriptions_are_not_kept_alive_by_a_live_one(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Workers go from mailbox to mailbox, are slow there and end."""

    class Handler:
        async def __call__(self, event: AgentEvent) -> None:
            await trio.sleep(2)

    kept: list[weakref.ref[Handler]] = []
    async with open_event_bus(max_concurrent_handlers=2, grace=0) as bus:
        bus.subscribe("custom", noting([]), "now and then")
        for _ in range(30):
            bus.emit(event(stream="now and then"))
            await wait_all_tasks_blocked()
            handler = Handler()
            kept.append(weakref.ref(handler))
            id = bus.subscribe("custom", handler, "short-lived")
            bus.emit(event(stream="short-lived"))
            await trio.sleep(5)
            bus.unsubscribe(id)
            del handler
        gc.collect()
        assert sum(ref() is not None for ref in kept) <= 2  # as many as idle workers may remember
    gc.collect()


async def test_what_a_failed_handler_had_is_let_go(autojump_clock: MockClock) -> None:
    """While the next one hangs, and once a deliver has told of it; without the garbage collector."""

    class Large:
        pass

    kept: list[weakref.ref[Large]] = []

    async def handler(event: AgentEvent) -> None:
        if event.data["n"]:
            await trio.sleep_forever()
        large = Large()
        kept.append(weakref.ref(large))
        raise ValueError(large.__class__.__name__)

    logging.disable()  # what pytest captures keeps it alive
    gc.collect()
    gc.disable()
    try:
        async with open_event_bus(grace=0) as bus:
            bus.subscribe("custom", handler)
            delivered = await bus.deliver(event(0))
            assert len(delivered.errors) == 1
            del delivered
            assert kept[0]() is None
            bus.emit(event(0))
            bus.emit(event(1))
            await wait_all_tasks_blocked()
            assert kept[1]() is None
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


class Raising(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise ValueError("a filter's own")


async def test_a_logger_that_raises_hurts_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    async def bad(event: AgentEvent) -> None:
        raise KeyError("own")

    raising = Raising()
    logging.getLogger("phloem.events").addFilter(raising)
    try:
        async with open_event_bus() as bus:
            id = bus.subscribe("custom", bad)
            bus.subscribe("custom", noting(seen))
            bus.emit(event(1))
            await wait_all_tasks_blocked()
            assert stats_of(bus, id)["errors"] == 1
    finally:
        logging.getLogger("phloem.events").removeFilter(raising)
    assert seen == [1]
    assert "a filter's own" in capsys.readouterr().err


async def test_a_log_that_goes_back_into_the_bus_does_not_stop_its_closing() -> None:
    told: list[type] = []

    class Bridge(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            bus.emit(event(type="state_changed"))

    async def hang(event: AgentEvent) -> None:
        await trio.sleep_forever()

    async def publish(bus: EventBus) -> None:
        try:
            await bus.publish(event(9))
        except EventBusClosed as error:
            told.append(type(error))

    bridge = Bridge()
    logging.getLogger("phloem.events").addHandler(bridge)
    try:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery, open_event_bus(grace=0) as bus:
                bus.subscribe("custom", hang, buffer=1)
                for n in range(2):
                    bus.emit(event(n))
                    await wait_all_tasks_blocked()
                nursery.start_soon(publish, bus)  # noqa: ASYNC111 - to outlive the bus is its part
                await wait_all_tasks_blocked()
    finally:
        logging.getLogger("phloem.events").removeHandler(bridge)
    assert told == [EventBusClosed]


async def test_a_deliver_waits_for_handlers_that_the_closing_bus_cuts(autojump_clock: MockClock) -> None:
    done: list[str] = []
    results: list[Any] = []

    async def tidy(event: AgentEvent) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            done.append("tidied")

    async def deliver(bus: EventBus) -> None:
        results.append(await bus.deliver(event()))
        done.append("told")

    async with trio.open_nursery() as nursery, open_event_bus(grace=1) as bus:
        id = bus.subscribe("custom", tidy)
        nursery.start_soon(deliver, bus)  # noqa: ASYNC111 - to outlive the bus is its part
        await wait_all_tasks_blocked()
    assert done == ["tidied", "told"]
    assert isinstance(results[0].errors[id], EventDropped)
    assert results[0].unawaited == ()
