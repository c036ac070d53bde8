"""An organism in a thread of its own, and threads that ask it.

It asserts nothing but that nobody waited for ever. The tests of the sync door use it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from phloem.config import ListenerConfig, OrganismConfig
from phloem.messages import HandlerMetadata, HandlerResponse

from .held import LONGEST
from .listeners import Ask, Reply, answer, hang, listener

whose: Final[ContextVar[str]] = ContextVar("whose", default="nobody's")


async def tell_whose(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Reply(whose.get()))


def config_of(*more: ListenerConfig, **limits: Any) -> OrganismConfig:
    listeners = (
        listener("back", Ask, answer, responds_with=Reply),
        listener("hang", Ask, hang),
        listener("whose", Ask, tell_whose, responds_with=Reply),
    )
    limits.setdefault("shutdown_grace", 5.0)
    return OrganismConfig("aside", (*listeners, *more), **limits)


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"phloem {name}"]


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST
    while not what():
        assert time.monotonic() < end
        time.sleep(0.001)


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Started; the list has its result, or what it raised, once it has ended."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(function())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended
