"""How a bus is opened, and how it comes to rest.

Decides the order of an end: what is pending is delivered for a while, then handlers are cut.
Owner of the nursery in which every handler runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from phloem.config import (
    EVENT_GRACE,
    EVENT_SLOW_AFTER,
    MAILBOX,
    MAX_CONCURRENT_EVENT_HANDLERS,
    MAX_HISTORY,
    MAX_HISTORY_BYTES,
)
from phloem.guarding import holds_cancelled, uninterrupted
from phloem.messages import Clock, Faults

from .bus import EventBus
from .history import History
from .pool import Pool
from .room import Room
from .settings import count, seconds

__all__ = ["open_event_bus"]


@asynccontextmanager
@uninterrupted  # neither the block's body nor a handler is called from here
async def open_event_bus(
    max_history: int = MAX_HISTORY,
    max_concurrent_handlers: int = MAX_CONCURRENT_EVENT_HANDLERS,
    *,
    max_history_bytes: int = MAX_HISTORY_BYTES,
    buffer: int = MAILBOX,
    slow_after: float = EVENT_SLOW_AFTER,
    grace: float = EVENT_GRACE,
    types: Iterable[str] = (),
    clock: Clock | None = None,
    id: str | None = None,
    faults: Faults | None = None,
) -> AsyncIterator[EventBus]:
    """An open event bus. Checkpoint.

    Left normally, what is pending is delivered for ``grace`` seconds, then handlers are cancelled;
    left by an error or cancelled they are at once. History, statistics and streams' buffers can be
    read after that. ``clock`` is read for timestamps; waiting is on Trio's own. ``faults`` let
    subscribers and threads fail on purpose. Raises InvalidEvent for settings that are none.
    """
    grace = seconds("grace", grace)
    room = Room()
    pool = Pool(
        count("max_concurrent_handlers", max_concurrent_handlers),
        seconds("slow_after", slow_after, above=True),
        room.freed,
        room.look_again,
    )
    room.pool = pool
    history = History(count("max_history", max_history, 0), count("max_history_bytes", max_history_bytes, 0))
    bus = EventBus.__new__(EventBus)._set_up(
        os.urandom(8).hex() if id is None else id,
        history,
        room,
        pool,
        count("buffer", buffer),
        time.time if clock is None else clock.wall,
    )
    bus.faults = faults
    for name in types:
        bus.register_type(name)
    failed: BaseException | None = None
    async with trio.open_nursery() as nursery:
        pool.spawn = nursery.start_soon
        nursery.start_soon(pool.watchdog.watch, name="phloem events watch")
        try:
            yield bus
        except BaseException as error:  # noqa: ASYNC103 - kept, and raised below, unless a scope waits for it
            bus._close()
            if holds_cancelled(error):
                raise
            failed = error
        else:
            try:
                with trio.move_on_after(grace):
                    await pool.quiet()
            finally:
                bus._close()
        nursery.cancel_scope.shield = True  # cancelled from outside, leaving it would lose the body's error
        nursery.cancel_scope.cancel(reason="the event bus is left")
    if failed is not None:
        raise failed
