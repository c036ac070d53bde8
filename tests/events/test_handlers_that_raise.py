"""Handlers that raise: isolated, logged, counted, whatever it is; what goes on all the same."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from phloem.events import AgentEvent, open_event_bus
from support.buses import event, noting, stats_of


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def __call__(self, event: AgentEvent) -> None:
        raise self.error


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        SystemExit(3),
        GeneratorExit(),
        BaseException("bare"),
        ExceptionGroup("several", [ValueError(), KeyError()]),
        Unprintable(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_subscriber_that_raises_is_isolated_logged_and_counted(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:
        bad = bus.subscribe("custom", Raises(error), name="the bad one")
        bus.subscribe("custom", noting(seen))
        for n in range(3):
            bus.emit(event(n))
        await wait_all_tasks_blocked()
        assert stats_of(bus, bad)["errors"] == 3
    assert seen == [0, 1, 2]
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) == 3
    assert "the bad one" in records[0].getMessage()
    assert records[0].exc_info is not None
    assert records[0].exc_info[1] is error


async def test_asyncios_cancelled_error_is_a_handlers_own(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    async with open_event_bus() as bus:
        bad = bus.subscribe("custom", Raises(asyncio.CancelledError()))
        bus.emit(event())
        await wait_all_tasks_blocked()
        assert stats_of(bus, bad)["errors"] == 1


async def test_a_stray_cancelled_is_a_handlers_own(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    async def stray(event: AgentEvent) -> None:
        kept: BaseException | None = None
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep(1)
            except trio.Cancelled as error:
                kept = error
        assert kept is not None
        raise kept

    async with open_event_bus() as bus:
        bad = bus.subscribe("custom", stray)
        bus.subscribe("custom", noting(seen))
        bus.emit(event(0))
        bus.emit(event(1))
        await wait_all_tasks_blocked()
        assert stats_of(bus, bad)["errors"] == 2
    assert seen == [0, 1]


def test_a_keyboard_interrupt_goes_on() -> None:
    async def main() -> None:
        async with open_event_bus() as bus:
            bus.subscribe("custom", Raises(KeyboardInterrupt()))
            bus.emit(event())
            await trio.sleep(1)

    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        trio.run(main, strict_exception_groups=True)
