"""Ctrl-C at any moment: the bus ends, with the interrupt, and without an error of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import trio
import trio.testing

from phloem.events import AgentEvent, open_event_bus
from support.buses import event

FOLDER = "/phloem/events/"
EVERY = 23  # lines of the bus between two interrupts that are tried: some hundred runs


class AtLine:
    """Raises KeyboardInterrupt at the ``at``-th line that runs in the bus, where Trio's own handler would."""

    def __init__(self, at: int | None) -> None:
        self.at, self.lines, self.raised = at, 0, False

    def __call__(self, frame: FrameType, what: str, _: Any) -> Callable[..., Any] | None:
        if FOLDER not in frame.f_code.co_filename.replace("\\", "/"):
            return None
        return self.line

    def line(self, frame: FrameType, what: str, _: Any) -> Callable[..., Any]:
        if what == "line":
            self.lines += 1
            if self.at is not None and self.lines >= self.at and not self.raised and not _protected(frame):
                self.raised = True
                self.where = (frame.f_code.co_filename, frame.f_lineno)
                raise KeyboardInterrupt
        return self.line


def _protected(frame: FrameType) -> bool:
    from trio._core import _ki

    return bool(_ki.ki_protection_enabled(frame))


async def busy() -> None:
    """Publishers that wait, handlers that publish, a stream, one who waits for an event."""
    async with open_event_bus(max_concurrent_handlers=2, buffer=1, grace=0.5) as bus:

        async def again(received: AgentEvent) -> None:
            if received.data["n"] < 2:
                await bus.publish(event(received.data["n"] + 1, stream="b"))

        async def wait(received: AgentEvent) -> None:
            await bus.wait_for("custom", timeout=0.1)

        bus.subscribe("custom", again, "a")
        bus.subscribe("custom", again, "b", key=lambda e: e.data["n"])
        bus.subscribe("custom", wait, "b", concurrent=True)
        async with trio.open_nursery() as nursery, bus.open_stream(overflow="latest", buffer=2) as stream:
            for _ in range(2):
                nursery.start_soon(bus.publish, event(stream="a"))
            nursery.start_soon(bus.deliver, event(stream="b"))
            await stream.receive()


def run(at: int | None) -> tuple[AtLine, BaseException | None]:
    tracer = AtLine(at)
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        trio.run(
            busy,
            clock=trio.testing.MockClock(autojump_threshold=0),
            strict_exception_groups=True,
        )
    except BaseException as error:
        return tracer, error
    finally:
        sys.settrace(before)
    return tracer, None


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # coroutines that the interrupt kept from being awaited
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_anywhere_in_the_bus_ends_it_and_breaks_nothing() -> None:
    undisturbed, error = run(None)
    assert error is None
    for at in range(1, undisturbed.lines, EVERY):
        tracer, error = run(at)
        if not tracer.raised:
            assert error is None
            continue
        assert error is not None, f"line {at}: the interrupt was lost"
        assert {type(leaf) for leaf in leaves(error)} == {KeyboardInterrupt}, f"line {at}: {error!r}"
