"""Writes result lines, in input order or as they come, never more than a window ahead.

Decides who may start (a message needs a place in the window, which it gives back once its
line is on its way) and in which order lines go out. Lines are written in a worker thread,
many per hop, so that a slow reader of ours slows the batch and never the loop. Never
builds a line and never buffers beyond the window. ``batch`` owns it; the second signal may
call ``write_rest`` from the signal handler.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import trio

from .requests import MessageId

__all__ = ["Place", "ResultWriter"]

LINGER: Final = 0.02  # seconds a ready line may wait for company: a hop for each cost a third of a batch
LOCK_PATIENCE: Final = 1.0  # seconds the second signal waits for a write that is under way


@final
@dataclass(slots=True, eq=False)
class Place:
    """One message's place in the window, from reading until its line is written."""

    number: int
    id: MessageId
    at_line: int = 0  # where in the input the message begins
    size: int = 0  # bytes of the input that it is
    line: bytes | None = None
    dead_letters: bytes = b""
    conversation: str = ""
    accepted: bool = False
    written: bool = False  # set in the worker thread, under the lock


@final
class ResultWriter:
    """``open_place`` before a message, ``fill`` after it; ``run`` in a task of its own."""

    def __init__(self, out: int, dead_letters: int | None, *, window: int, ordered: bool) -> None:
        self._out = out
        self._dead_letters = dead_letters
        self._ordered = ordered
        self._window = trio.Semaphore(window)
        self._places: dict[int, Place] = {}  # by number, so in input order
        self._ready: list[Place] = []  # filled, for --unordered
        self._next = 1
        self._opened = 0
        self._enough = max(1, window // 8)  # lines worth a hop at once
        self._unfilled = 0  # places whose message has not ended
        self._waiting = 0  # lines filled and not taken to be written
        self._wake = trio.Event()  # a line can go out
        self._press = trio.Event()  # and should, without further company
        self._closing = False
        self._lock = threading.Lock()
        self._limiter = trio.CapacityLimiter(1)

    @property
    def opened(self) -> int:
        """Messages that have had a place."""
        return self._opened

    async def open_place(self, name: MessageId, at_line: int = 0) -> Place:
        """A place, as soon as the window has one. Checkpoint. Cancelled means: no place taken."""
        await self._window.acquire()
        self._opened += 1
        self._unfilled += 1
        place = self._places[self._opened] = Place(self._opened, name, at_line)
        return place

    def fill(self, place: Place, line: bytes, dead_letters: bytes = b"") -> None:
        """The message has ended. Never a checkpoint."""
        place.dead_letters, place.line = dead_letters, line
        self._unfilled -= 1
        self._waiting += 1
        if not self._ordered:
            self._ready.append(place)
            self._wake.set()
        elif place.number == self._next:
            self._wake.set()
        if self._pressing():
            self._press.set()

    def close(self) -> None:
        """No more messages: ``run`` returns once every filled line is written."""
        self._closing = True
        self._wake.set()
        self._press.set()

    async def run(self) -> None:
        """Write until closed. Raises OSError, ``filename`` its descriptor, when a file takes no more."""
        while True:
            await self._wake.wait()
            self._wake, self._press = trio.Event(), trio.Event()
            if not self._pressing():
                with trio.move_on_after(LINGER):
                    await self._press.wait()
            if batch := self._take_ready():
                self._waiting -= len(batch)
                await trio.to_thread.run_sync(self._write, batch, limiter=self._limiter)
                for place in batch:
                    del self._places[place.number]
                    self._window.release()
            if self._ready or self._takeable():
                self._wake.set()
            elif self._closing:
                return

    def write_rest(self, line_for: Callable[[Place], bytes]) -> bool:
        """Write every line not yet written, in input order; unfinished ones as ``line_for`` says.

        For the end of everything, from a signal handler. False if a write is stuck.
        """
        if not self._lock.acquire(timeout=LOCK_PATIENCE):
            return False
        try:
            for place in [*self._places.values()]:
                if not place.written:
                    self._write_all(self._out, place.line or line_for(place))
                    if self._dead_letters is not None and place.dead_letters:
                        self._write_all(self._dead_letters, place.dead_letters)
        finally:
            self._lock.release()
        return True

    def _pressing(self) -> bool:
        return self._closing or self._unfilled == 0 or self._waiting >= self._enough

    def _takeable(self) -> bool:
        return (
            self._ordered and (place := self._places.get(self._next)) is not None and place.line is not None
        )

    def _take_ready(self) -> list[Place]:
        if not self._ordered:
            taken, self._ready = self._ready, []
            return taken
        batch: list[Place] = []
        while (place := self._places.get(self._next)) is not None and place.line is not None:
            batch.append(place)
            self._next += 1
        return batch

    def _write(self, batch: Sequence[Place]) -> None:
        with self._lock:
            if self._dead_letters is not None and (letters := b"".join(each.dead_letters for each in batch)):
                self._write_all(self._dead_letters, letters)
            self._write_all(self._out, b"".join(each.line or b"" for each in batch))
            for place in batch:
                place.written = True

    @staticmethod
    def _write_all(descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            error.filename = descriptor  # the caller knows what it calls it
            raise
