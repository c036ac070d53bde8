"""Plain handlers that stay in their threads for as long as a test wants.

It opens nothing and asserts nothing but that nobody waited for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from phloem.config import ListenerConfig, OrganismConfig
from phloem.messages import HandlerMetadata, HandlerResponse

from .listeners import Ask, Reply

LONGEST = 10  # seconds; only a failing test waits for as long


@dataclass
class Held:
    """A plain handler that stays in its thread until it is let go, once for each call."""

    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    released: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    gone: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    calls: list[str] = field(default_factory=list[str])
    raises: BaseException | None = None

    def __call__(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        self.calls.append(payload.text)
        self.entered.release()
        try:
            assert self.released.acquire(timeout=LONGEST)
            if self.raises is not None:
                raise self.raises
            return HandlerResponse.respond(Reply(payload.text))
        finally:
            self.gone.release()

    async def wait_entered(self) -> None:
        assert await trio.to_thread.run_sync(self.entered.acquire, True, LONGEST)

    async def let_go(self) -> None:
        """Let one call go on, and wait until its thread is over."""
        self.released.release()
        assert await trio.to_thread.run_sync(self.gone.acquire, True, LONGEST)


def config_of(*listeners: ListenerConfig, **limits: Any) -> OrganismConfig:
    return OrganismConfig("calls", listeners, **limits)


def one(handler: Any, **settings: Any) -> OrganismConfig:
    return config_of(ListenerConfig("one", Ask, handler, responds_with=Reply, **settings))


async def until(what: Callable[[], object]) -> None:
    with trio.fail_after(LONGEST):
        while not what():  # noqa: ASYNC110 - a thread that is over sets no event here
            await trio.sleep(0.001)
