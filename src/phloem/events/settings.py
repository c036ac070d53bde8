"""What a bus and a subscription may be set to, and the errors that say so.

Decides ranges and kinds only. Pure; called where users hand in settings.
"""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any, Final, cast

import trio

from phloem.config import MAX_NAME
from phloem.errors import InvalidEvent
from phloem.messages import Faults

from .freezing import shown
from .mailbox import Call, EventHandler
from .streams import Overflow
from .types import AgentEvent

__all__ = [
    "checked_handler",
    "checked_key",
    "count",
    "overflow_of",
    "seconds",
    "type_name",
    "unknown_type",
]


MAX_SECONDS: Final = 10**12  # of an integer, which may be more than a float holds; 30,000 years


def count(where: str, found: object, least: int = 1) -> int:
    """A whole number, ``least`` or more. Raises InvalidEvent."""
    if not isinstance(found, int) or isinstance(found, bool) or found < least:
        raise InvalidEvent(f"{where}: found {shown(found)}, expected a whole number, {least} or more")
    return found


def seconds(where: str, found: object, *, above: bool = False) -> float:
    """Seconds, 0 or more (or more than 0); ``math.inf`` will do. Raises InvalidEvent."""
    if (
        not isinstance(found, int | float)
        or isinstance(found, bool)
        or (isinstance(found, float) and math.isnan(found))
        or found < 0
        or (above and found == 0)
    ):
        least = "more than 0" if above else "0 or more"
        raise InvalidEvent(f"{where}: found {shown(found)}, expected seconds, {least}")
    return found if isinstance(found, float) else float(min(found, MAX_SECONDS))


def type_name(found: object) -> str:
    """The name of an event type. Raises InvalidEvent."""
    if not isinstance(found, str) or not 1 <= len(found) <= MAX_NAME or found.split() != [str(found)]:
        raise InvalidEvent(
            f"type: found {shown(found)}, expected 1 to {MAX_NAME} characters without white space"
        )
    return found


def unknown_type(found: str) -> InvalidEvent:
    """The error for an event of a type that its bus does not know."""
    return InvalidEvent(
        f"type: found {shown(found)}, expected a type of this bus; bus.register_type(name) adds one"
    )


def overflow_of(found: object) -> Overflow:
    """The policy of that name. Raises InvalidEvent."""
    try:
        return Overflow(cast("str", found))
    except ValueError:
        raise InvalidEvent(f"overflow: found {shown(found)}, expected one of {', '.join(Overflow)}") from None


def checked_key(key: object, concurrent: bool) -> None:
    """Raises InvalidEvent for a key that cannot be called, or one beside ``concurrent``."""
    if key is None:
        return
    if not callable(key):
        raise InvalidEvent(f"key: found {shown(key)}, expected a function of one event")
    if concurrent:
        raise InvalidEvent("concurrent: found it beside a key, expected one of the two")


def checked_handler(handler: object, cancel_after: float | None, name: str, faults: Faults | None) -> Call:
    """A coroutine function that calls ``handler``, within so many seconds if that was asked for.

    A plain function will do as well: what it returns is awaited if it can be. ``faults`` are its own
    as far as anybody sees: chosen here, once, so that without them no event looks for any. Raises
    InvalidEvent for what cannot be called.
    """
    if not callable(handler):
        raise InvalidEvent(f"handler: found {shown(handler)}, expected an async function of one event")
    call = cast("Call", handler) if _is_async(handler) else _awaited(cast("EventHandler", handler))
    if faults is not None:
        call = functools.partial(faults.visit, "bus subscriber", name, call)
    return call if cancel_after is None else _limited(call, seconds("cancel_after", cancel_after, above=True))


def _is_async(handler: Any) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    called = getattr(handler, "__call__", None)  # noqa: B004 - an object may be called as a coroutine
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(called)


def _awaited(handler: EventHandler) -> Call:
    async def call(event: AgentEvent) -> None:  # noqa: ASYNC910 - as the handler is
        result = handler(event)
        if inspect.isawaitable(result):
            await result

    return call


def _limited(handler: Call, limit: float) -> Call:
    async def call(event: AgentEvent) -> None:
        with trio.fail_after(limit):
            await handler(event)

    return call
