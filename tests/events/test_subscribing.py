"""Subscriptions: who hears what, in which order, how often, and until when."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from phloem.errors import EventBusClosed, InvalidEvent
from phloem.events import AgentEvent, EventType, Subscription, open_event_bus
from support.buses import event, noting, stats_of


async def test_a_subscriber_sees_its_types_and_nothing_else() -> None:
    seen: list[str] = []
    async with open_event_bus() as bus:
        bus.subscribe([EventType.CUSTOM, "state_changed"], lambda e: seen.append(e.type))
        for kind in ("custom", "goal_progress", "state_changed", "custom"):
            bus.emit(event(type=kind))
        await wait_all_tasks_blocked()
    assert seen == ["custom", "state_changed", "custom"]


async def test_no_types_means_all_of_them() -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:
        bus.subscribe(None, noting(seen))
        for n, kind in enumerate(EventType):
            bus.emit(event(n, type=kind))
        await wait_all_tasks_blocked()
    assert seen == list(range(25))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"filter_stream": "a"}, [0, 1]),
        ({"filter_node": "n"}, [1, 2]),
        ({"filter_execution": "e"}, [2, 3]),
        ({"filter_stream": "b", "filter_node": "n", "filter_execution": "e"}, [2]),
        ({"filter_stream": "c"}, []),
    ],
)
async def test_filters_are_all_of_them_to_match(filters: dict[str, Any], expected: list[int]) -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:
        bus.subscribe(EventType.CUSTOM, noting(seen), **filters)
        bus.emit(event(0, stream="a"))
        bus.emit(event(1, stream="a", node_id="n"))
        bus.emit(event(2, stream="b", node_id="n", execution_id="e"))
        bus.emit(event(3, stream="b", execution_id="e"))
        await wait_all_tasks_blocked()
    assert seen == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"event_types": "no_such_type"}, "no_such_type"),
        ({"event_types": []}, "event_types"),
        ({"event_types": 7}, "event_types"),
        ({"filter_stream": ""}, "filter_stream"),
        ({"filter_node": ""}, "filter_node"),
        ({"filter_execution": ""}, "filter_execution"),
        ({"filter_execution": 3}, "filter_execution"),
        ({"handler": None}, "handler: found None"),
        ({"handler": "print"}, "handler: found 'print'"),
        ({"key": "n"}, "key: found 'n'"),
        ({"key": len, "concurrent": True}, "concurrent"),
        ({"buffer": 0}, "buffer: found 0"),
        ({"buffer": True}, "buffer: found True"),
        ({"cancel_after": 0}, "cancel_after: found 0"),
        ({"cancel_after": float("nan")}, "cancel_after: found nan"),
    ],
)
async def test_what_cannot_be_subscribed_is_refused_by_name(arguments: dict[str, Any], words: str) -> None:
    async with open_event_bus() as bus:
        given: dict[str, Any] = {"event_types": "custom", "handler": noting([]), **arguments}
        with pytest.raises(InvalidEvent, match=words):
            bus.subscribe(**given)
        assert bus.subscriptions == ()


async def test_the_subscription_is_kept_as_it_was_made() -> None:
    handler = noting([])
    async with open_event_bus() as bus:
        id = bus.subscribe(["custom"], handler, filter_node="n")
        assert bus.subscriptions == (Subscription(id, frozenset({"custom"}), handler, None, "n", None),)


async def test_one_subscriber_sees_events_in_publish_order_one_at_a_time(autojump_clock: MockClock) -> None:
    seen: list[int] = []
    at_work = 0

    async def slow(event: AgentEvent) -> None:
        nonlocal at_work
        at_work += 1
        assert at_work == 1
        await trio.sleep(1 / (event.data["n"] + 1))  # the later, the quicker
        seen.append(event.data["n"])
        at_work -= 1

    async with open_event_bus(grace=1_000) as bus:
        bus.subscribe("custom", slow)
        for n in range(200):
            bus.emit(event(n))
    assert seen == list(range(200))


async def test_with_a_key_order_is_kept_for_each_key_and_keys_run_side_by_side(
    autojump_clock: MockClock,
) -> None:
    seen: list[tuple[str, int]] = []
    at_work: set[str] = set()
    most = 0

    async def handler(event: AgentEvent) -> None:
        nonlocal most
        assert event.stream_id not in at_work
        at_work.add(event.stream_id)
        most = max(most, len(at_work))
        await trio.sleep(1)
        at_work.remove(event.stream_id)
        seen.append((event.stream_id, event.data["n"]))

    async with open_event_bus(grace=100, slow_after=50) as bus:
        bus.subscribe("custom", handler, key=lambda e: e.stream_id)
        for n in range(12):
            bus.emit(event(n, stream="abc"[n % 3]))
        started = trio.current_time()
    assert trio.current_time() - started == 4
    assert most == 3
    for name in "abc":
        numbers = [n for stream, n in seen if stream == name]
        assert numbers == sorted(numbers)
        assert len(numbers) == 4


async def test_many_keys_leave_nothing_behind() -> None:
    async with open_event_bus(buffer=10_000) as bus:
        id = bus.subscribe("custom", noting([]), key=lambda e: e.data["n"])
        for n in range(5_000):
            bus.emit(event(n))
        await wait_all_tasks_blocked()
        assert stats_of(bus, id)["delivered"] == 5_000
        assert bus._boxes[id].busy == {}


@pytest.mark.parametrize("key", [lambda e: 1 / 0, lambda e: [], lambda e: _Unequal()])
async def test_a_key_that_raises_costs_its_own_event_only(key: Any, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:
        bad = bus.subscribe("custom", noting([]), key=lambda e: key(e) if e.data["n"] == 1 else "fine")
        bus.subscribe("custom", noting(seen))
        for n in range(3):
            bus.emit(event(n))
        await wait_all_tasks_blocked()
        assert stats_of(bus, bad)["delivered"] + stats_of(bus, bad)["errors"] == 3
        assert seen == [0, 1, 2]


class _Unequal:
    def __eq__(self, other: object) -> bool:
        raise SystemExit

    def __hash__(self) -> int:
        return hash("fine")


async def test_concurrent_handlers_run_side_by_side(autojump_clock: MockClock) -> None:
    done: list[int] = []

    async def handler(event: AgentEvent) -> None:
        await trio.sleep(10 - event.data["n"])
        done.append(event.data["n"])

    async with open_event_bus(grace=100, slow_after=50) as bus:
        bus.subscribe("custom", handler, concurrent=True)
        for n in range(10):
            bus.emit(event(n))
        started = trio.current_time()
    assert trio.current_time() - started == 10
    assert done == list(reversed(range(10)))


async def test_once_means_once_also_in_a_burst() -> None:
    seen: list[int] = []
    ways: list[dict[str, Any]] = [{}, {"concurrent": True}, {"key": lambda e: e.seq}]
    for how in ways:
        async with open_event_bus() as bus:
            bus.subscribe("custom", noting(seen), once=True, **how)
            for n in range(5):
                bus.emit(event(n))
            assert len(bus.subscriptions) == 1  # until it has handled what it took
            await wait_all_tasks_blocked()
            assert not bus.subscriptions
            assert len(bus._commits.routes) == 0
    assert seen == [0, 0, 0]


async def test_after_unsubscribe_the_handler_is_not_entered_again() -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:
        id = bus.subscribe("custom", noting(seen))
        bus.emit(event(0))
        await wait_all_tasks_blocked()
        for n in range(1, 5):
            bus.emit(event(n))
        assert bus.unsubscribe(id) is True
        bus.emit(event(5))
        await wait_all_tasks_blocked()
        assert bus.unsubscribe(id) is False
        assert bus.unsubscribe("sub-999") is False
    assert seen == [0]


async def test_a_handler_may_unsubscribe_itself_in_the_middle_of_a_burst() -> None:
    seen: list[int] = []
    ids: list[str] = []
    async with open_event_bus() as bus:

        async def handler(event: AgentEvent) -> None:
            seen.append(event.data["n"])
            if event.data["n"] == 2:
                bus.unsubscribe(*ids)

        ids.append(bus.subscribe("custom", handler))
        for n in range(10):
            bus.emit(event(n))
        await wait_all_tasks_blocked()
    assert seen == [0, 1, 2]


async def test_a_retired_subscription_handles_what_waits_and_then_goes() -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:
        id = bus.subscribe("custom", noting(seen))
        bus.emit(event(0))
        assert bus.retire(id) is True
        bus.emit(event(1))
        await wait_all_tasks_blocked()
        assert seen == [0]
        assert not bus.subscriptions
        assert bus.retire(id) is False
        idle = bus.subscribe("custom", noting(seen))
        assert bus.retire(idle)
        assert not bus.subscriptions


async def test_subscriptions_made_while_an_event_is_published_see_the_next_one() -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:

        async def handler(event: AgentEvent) -> None:
            if event.data["n"] == 0:
                bus.subscribe("custom", noting(seen))

        bus.subscribe("custom", handler)
        bus.emit(event(0))
        await wait_all_tasks_blocked()
        bus.emit(event(1))
        await wait_all_tasks_blocked()
    assert seen == [1]


class Object:
    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    async def __call__(self, event: AgentEvent) -> None:
        self.seen.append(("object", event.data["n"]))


async def test_handlers_may_be_plain_functions_partials_and_objects() -> None:
    seen: list[Any] = []

    async def two(word: str, event: AgentEvent) -> None:
        seen.append((word, event.data["n"]))

    async with open_event_bus() as bus:
        bus.subscribe("custom", lambda e: seen.append(e.data["n"]))
        bus.subscribe("custom", functools.partial(two, "partial"))
        bus.subscribe("custom", lambda e: two("returned", e))
        bus.subscribe("custom", Object(seen))
        bus.emit(event(4))
        await wait_all_tasks_blocked()
    assert sorted(map(str, seen)) == ["('object', 4)", "('partial', 4)", "('returned', 4)", "4"]


async def test_a_handler_runs_in_the_context_of_who_subscribed() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nobody")
    seen: list[str] = []
    async with open_event_bus() as bus:
        for name in ("ada", "bo"):
            variable.set(name)
            bus.subscribe("custom", lambda e: seen.append(variable.get()))
        variable.set("publisher")
        for _ in range(3):
            bus.emit(event())
            await wait_all_tasks_blocked()
    assert sorted(seen) == ["ada"] * 3 + ["bo"] * 3


async def test_cancel_after_cuts_a_handler_that_takes_longer_and_counts_it(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    async def handler(event: AgentEvent) -> None:
        await trio.sleep(event.data["n"])
        seen.append(event.data["n"])

    async with open_event_bus(grace=100) as bus:
        id = bus.subscribe("custom", handler, cancel_after=2)
        for n in (1, 5, 0):
            bus.emit(event(n))
        await trio.sleep(4)
        assert stats_of(bus, id)["errors"] == 1
    assert seen == [1, 0]
    assert any("TooSlowError" in (record.exc_text or "") for record in caplog.records)


async def test_a_closed_bus_takes_no_subscription() -> None:
    async with open_event_bus() as bus:
        pass
    with pytest.raises(EventBusClosed):
        bus.subscribe("custom", noting([]))
    assert bus.unsubscribe("sub-1") is False
