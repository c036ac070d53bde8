"""Writes result lines in a worker thread, many per hop, so that a slow reader of ours never holds the loop.

Decides what of the lines has been written: the second signal may call ``write_rest`` from the
signal handler, and no line may come twice or be lost then. Never builds a line, never waits for
one and never decides their order. ``batch`` owns it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

import trio

__all__ = ["ResultWriter"]

LOCK_PATIENCE: Final = 1.0  # seconds the second signal waits for a write that is under way


@final
@dataclass(slots=True, eq=False)
class _Line:
    """A result on its way out."""

    result: bytes
    dead_letters: bytes
    written: bool = False  # set in the worker thread, under the lock


@final
class ResultWriter:
    """``put`` lines, ``write`` what was put."""

    def __init__(self, out: int, dead_letters: int | None) -> None:
        self._out = out
        self._dead_letters = dead_letters
        self._held: dict[object, _Line] = {}  # by whose they are, as they were put
        self._lock = threading.Lock()
        self._limiter = trio.CapacityLimiter(1)

    @property
    def held(self) -> int:
        """Lines that were put and not yet taken off ``write``'s hands."""
        return len(self._held)

    def holds(self, key: object) -> bool:
        """True from ``put`` until ``write`` returns. Safe in a signal handler."""
        return key in self._held

    def put(self, key: object, result: bytes, dead_letters: bytes = b"") -> None:
        """A line for the next ``write``, and ``key`` to know it by. Never a checkpoint."""
        self._held[key] = _Line(result, dead_letters)

    async def write(self) -> None:
        """All that was put, in one hop. Checkpoint. Cancelled means: what has begun is written all the same.

        Raises OSError, ``filename`` its descriptor, when a file takes no more.
        """
        taken = dict(self._held)
        await trio.to_thread.run_sync(self._write, list(taken.values()), limiter=self._limiter)
        for key in taken:
            del self._held[key]

    def write_rest(self, lines: Iterable[bytes]) -> bool:
        """Write what is held, each line once, and then ``lines``.

        For the end of everything, from a signal handler. False if a write is stuck.
        """
        if not self._lock.acquire(timeout=LOCK_PATIENCE):
            return False
        try:
            for line in list(self._held.values()):
                if not line.written:
                    self._write_all(self._out, line.result)
                    if self._dead_letters is not None and line.dead_letters:
                        self._write_all(self._dead_letters, line.dead_letters)
            for rest in lines:
                self._write_all(self._out, rest)
        finally:
            self._lock.release()
        return True

    def _write(self, lines: Sequence[_Line]) -> None:
        with self._lock:
            if self._dead_letters is not None and (letters := b"".join(each.dead_letters for each in lines)):
                self._write_all(self._dead_letters, letters)
            self._write_all(self._out, b"".join(each.result for each in lines))
            for line in lines:
                line.written = True

    @staticmethod
    def _write_all(descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            error.filename = descriptor  # the caller knows what it calls it
            raise
