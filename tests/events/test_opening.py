"""How a bus is opened and left: by its end, by an error, by being cancelled."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from phloem.errors import EventBusClosed, InvalidEvent
from phloem.events import AgentEvent, EventBus, open_event_bus
from support.buses import event, noting


@pytest.mark.parametrize("settings", [{}, {"max_history": 10}, {"nonsense": 1}])
def test_a_bus_is_opened_not_made(settings: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="open_event_bus"):
        EventBus(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_history": -1}, "max_history: found -1"),
        ({"max_history": 1.5}, r"max_history: found 1\.5"),
        ({"max_history_bytes": "4 MiB"}, "max_history_bytes: found '4 MiB'"),
        ({"max_concurrent_handlers": 0}, "max_concurrent_handlers: found 0"),
        ({"buffer": 0}, "buffer: found 0"),
        ({"slow_after": 0}, "slow_after: found 0"),
        ({"grace": -0.1}, r"grace: found -0\.1"),
        ({"grace": float("nan")}, "grace: found nan"),
        ({"types": [""]}, "type: found ''"),
    ],
)
async def test_settings_that_are_none_are_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidEvent, match=words):
        async with open_event_bus(**settings):
            raise AssertionError("never entered")


async def test_leaving_delivers_what_is_pending() -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:
        bus.subscribe("custom", noting(seen))
        for n in range(1_000):
            bus.emit(event(n))
    assert seen == list(range(1_000))


async def test_what_handlers_publish_while_the_bus_is_left_is_delivered_as_well() -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:

        async def again(e: AgentEvent) -> None:
            seen.append(e.data["n"])
            if e.data["n"] < 20:
                await bus.publish(event(e.data["n"] + 1))

        bus.subscribe("custom", again)
        bus.emit(event(0))
    assert seen == list(range(21))


async def test_after_the_grace_handlers_are_cancelled_and_the_rest_is_counted(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []

    async def hangs(event: AgentEvent) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("cut")

    async with open_event_bus(grace=3) as bus:
        id = bus.subscribe("custom", hangs)
        for n in range(5):
            bus.emit(event(n))
        left = trio.current_time()
    assert trio.current_time() - left == 3
    assert ended == ["cut"]
    assert bus._boxes[id].discarded == 5
    assert any("4 events were not delivered" in record.getMessage() for record in caplog.records)


async def test_a_handler_that_publishes_for_ever_is_cut_when_the_grace_is_over() -> None:
    async with open_event_bus(grace=0.05) as bus:

        async def again(_: AgentEvent) -> None:
            await bus.publish(event())

        bus.subscribe("custom", again)
        bus.emit(event())


class Own(Exception):
    pass


async def test_an_error_of_the_body_arrives_as_it_was_raised_and_nothing_more_is_delivered() -> None:
    seen: list[int] = []
    kept: list[EventBus] = []

    async def fail() -> None:
        async with open_event_bus(grace=100) as bus:
            kept.append(bus)
            bus.subscribe("custom", noting(seen))
            bus.emit(event())
            raise Own

    with pytest.raises(Own):
        await fail()
    assert seen == []
    with pytest.raises(EventBusClosed):
        kept[0].emit(event())


async def test_an_error_of_the_body_is_not_lost_to_a_cancellation_from_outside() -> None:
    async def fail() -> None:
        with trio.CancelScope() as outer:
            async with open_event_bus():
                outer.cancel()
                raise Own

    with pytest.raises(Own):
        await fail()


@pytest.mark.parametrize("shielded", [False, True])
async def test_a_cancelled_bus_is_left_at_once_and_starts_nobody_more(shielded: bool) -> None:
    entered: list[int] = []

    async def handler(event: AgentEvent) -> None:
        entered.append(event.data["n"])
        await trio.sleep_forever()

    before = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as outer:
        async with open_event_bus(grace=100, max_concurrent_handlers=2) as bus:
            for _ in range(5):
                bus.subscribe("custom", handler)
            bus.emit(event())
            await wait_all_tasks_blocked()
            outer.cancel()
            with trio.CancelScope(shield=shielded):
                for _ in range(20):
                    await trio.lowlevel.checkpoint()
                bus.emit(event(1))
    assert outer.cancelled_caught or shielded
    assert entered == [0, 0]
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_history_and_statistics_can_be_read_after_the_end() -> None:
    async with open_event_bus() as bus:
        bus.emit(event(5))
    assert [e.data["n"] for e in bus.get_history()] == [5]
    assert bus.latest("custom") == bus.get_history()[0]
    assert bus.get_stats()["total_events"] == 1


async def test_leaving_twice_as_deep_keeps_two_buses_apart() -> None:
    seen: list[int] = []
    async with open_event_bus() as outer:
        outer.subscribe("custom", noting(seen))
        async with open_event_bus() as inner:
            inner.emit(event(1))
        outer.emit(event(2))
    assert seen == [2]


async def test_opening_is_a_checkpoint_and_a_cancelled_opening_leaves_nothing() -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_event_bus():
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert trio.lowlevel.current_statistics().tasks_living == before


def test_it_works_in_an_anyio_program_on_trio() -> None:
    seen: list[int] = []

    async def main() -> None:
        async with open_event_bus() as bus:
            bus.subscribe("custom", noting(seen))
            async with anyio.create_task_group() as group:
                for n in range(3):
                    group.start_soon(bus.publish, event(n))
            with anyio.move_on_after(0.01):
                await bus.wait_for("goal_achieved")

    anyio.run(main, backend="trio")
    assert sorted(seen) == [0, 1, 2]


def test_the_bus_is_a_library_of_its_own() -> None:
    """Importing it loads nothing of the pump, and no XML."""
    code = (
        "import sys, phloem.events\n"
        "loaded = [m for m in sys.modules if m.startswith(('phloem.pump', 'phloem.contract', 'lxml', 'yaml',"
        " 'phloem.wire', 'phloem.organism', 'asyncio.events'))]\n"
        "print(loaded)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
