"""Text on its way out: to a terminal or a pipe, in a worker thread.

Decides that who says something never waits for who reads it, and that what nobody takes is bounded by
asking: who has much to say awaits ``room``. Writes what ``compose`` gives at the moment it can be written,
so that a slow terminal gets the newest picture and not all between. ``tty`` and ``plain`` own one each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final, final

import trio

__all__ = ["Output"]

MUCH: Final = 256 * 1024  # characters on their way; a screen has some 10,000
LOCK_PATIENCE: Final = 1.0  # seconds the last words wait for a write that is under way


@final
class Output:
    """``run`` in a task of its own. ``compose`` makes of what was said what is written."""

    def __init__(self, descriptor: int, compose: Callable[[str], str]) -> None:
        self._descriptor, self._compose = descriptor, compose
        self._said = list[str]()
        self._size = 0
        self._wake, self._written = trio.Event(), trio.Event()
        self._written.set()
        self._lock = threading.Lock()
        self._limiter = trio.CapacityLimiter(1)
        self._left = b""  # of what is being written; under the lock

    def say(self, text: str = "") -> None:
        """Write it, in the order of the calls; without text only what ``compose`` has new. Never waits."""
        if text:
            self._said.append(text)
            self._size += len(text)
        if self._written.is_set():
            self._written = trio.Event()
        self._wake.set()

    async def room(self) -> None:
        """Until not too much is on its way. Checkpoint. Cancelled means: only the waiting ended."""
        await trio.lowlevel.checkpoint()
        while self._size > MUCH:
            await self._written.wait()

    async def written(self) -> None:
        """Until all that was said is written. Checkpoint. Cancelled means: only the waiting ended."""
        while not self._written.is_set():
            await self._written.wait()
        await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        """Write until cancelled. Raises OSError when nobody takes it any more.

        Cancelled means: what a thread is writing may still be written, the rest is not.
        """
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            with self._lock:  # free: the last thread has come back. Last words find it here in any case
                self._left += self._compose(self._taken()).encode("utf-8", "backslashreplace")
            # A full pipe must not hold up the end.
            await trio.to_thread.run_sync(self._write, abandon_on_cancel=True, limiter=self._limiter)
            if not self._wake.is_set():
                self._written.set()
            elif self._size <= MUCH:
                self._written.set()
                self._written = trio.Event()

    def write_rest(self, last: str = "") -> bool:
        """Write what was said and then ``last``, here and now: at the end, or in a signal handler.

        False if a write is stuck.
        """
        if not self._lock.acquire(timeout=LOCK_PATIENCE):
            return False
        try:
            self._left += (self._compose(self._taken()) + last).encode("utf-8", "backslashreplace")
            self._write_left()
        except OSError:
            return False
        finally:
            self._lock.release()
        return True

    def _taken(self) -> str:
        said, self._said, self._size = self._said, [], 0
        return "".join(said)

    def _write(self) -> None:
        with self._lock:
            self._write_left()

    def _write_left(self) -> None:
        while self._left:
            self._left = self._left[os.write(self._descriptor, self._left) :]
