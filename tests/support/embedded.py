"""Tests that run on Trio, on asyncio and on uvloop alike, and prove on which they ran.

A test marked ``everywhere`` is an async function that uses anyio only; it becomes a plain test for
each backend, so that no plugin runs it on another. Afterwards the thread is free, and no task is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import anyio
import pytest
import sniffio
import trio
import uvloop

from phloem import Organism, OrganismConfig, open_organism
from phloem.config import ListenerConfig
from phloem.messages import HandlerMetadata, HandlerResponse

from .auditing import assert_nothing_is_left
from .listeners import BACK, Reply, listener

T = TypeVar("T")
AsyncTest = Callable[[], Awaitable[None]]
LOOPS: Final = ("asyncio", "uvloop")
BACKENDS: Final = ("trio", *LOOPS)
LONG: Final = 20  # seconds that nothing here may take; a test that hangs is to fail by itself


def run(backend: str, main: Callable[[], Awaitable[T]]) -> T:
    """``main`` on one backend. Raises AssertionError if it ran elsewhere, or left something running."""

    async def proven() -> T:
        assert sniffio.current_async_library() == ("trio" if backend == "trio" else "asyncio")
        if backend != "trio":
            assert (type(asyncio.get_running_loop()).__module__ == "uvloop") is (backend == "uvloop")
        with anyio.fail_after(LONG):
            result = await main()
        if backend != "trio":
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert not trio.lowlevel.in_trio_run()
        return result

    uvloop = {"use_uvloop": True} if backend == "uvloop" else {}
    name = "trio" if backend == "trio" else "asyncio"
    try:
        return anyio.run(proven, backend=name, backend_options=uvloop)
    finally:
        assert not trio.lowlevel.in_trio_run(), "the thread can carry no other Trio run"


def _on(backends: tuple[str, ...]) -> Callable[[AsyncTest], Callable[[str], None]]:
    def plain(test: AsyncTest) -> Callable[[str], None]:
        def test_on(backend: str) -> None:
            run(backend, test)

        test_on.__name__, test_on.__qualname__, test_on.__doc__ = (
            test.__name__,
            test.__qualname__,
            test.__doc__,
        )
        test_on.__module__ = test.__module__
        return pytest.mark.parametrize("backend", backends)(test_on)

    return plain


everywhere: Final = _on(BACKENDS)
in_loops: Final = _on(LOOPS)
each_loop: Final = pytest.mark.parametrize("backend", LOOPS)  # for plain tests that make their own
CONFIG: Final = OrganismConfig("embedded", (BACK,))


def new_loop(backend: str) -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop() if backend == "uvloop" else asyncio.new_event_loop()


async def leave_open(kept: list[Any], *listeners: ListenerConfig) -> None:
    """Open an organism and do not leave it: it and its block are in ``kept``."""
    block = open_organism(OrganismConfig("left open", listeners or (BACK,)))
    kept += [await block.__aenter__(), block]


@asynccontextmanager
async def opened(*listeners: ListenerConfig, **settings: Any) -> AsyncIterator[Organism]:
    """An organism by the public door, whose books must close once the test is done with it."""
    async with open_organism(OrganismConfig("embedded", listeners, **settings)) as organism:
        yield organism
    assert_nothing_is_left(organism)


async def until(condition: Callable[[], object]) -> None:
    """Let others run until it is true."""
    while not condition():  # noqa: ASYNC110 - on whichever side it comes true
        await anyio.sleep(0.0005)


class Place:
    """A handler that says when it is entered and left, and hangs meanwhile; leaving takes it some turns."""

    def __init__(self, turns: int = 0) -> None:
        self.entered = self.left = 0
        self.turns = turns
        self.go = False

    async def __call__(self, payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        self.entered += 1
        try:
            while not self.go:  # noqa: ASYNC110 - which is set on the host's side
                await trio.sleep(0.001)
            return HandlerResponse.respond(Reply(payload.text))
        finally:
            with trio.CancelScope(shield=True):
                for _ in range(self.turns):
                    await trio.sleep(0.001)
            self.left += 1

    def listener(self, takes: Any, name: str = "place", **more: Any) -> ListenerConfig:
        return listener(name, takes, self, **more)
