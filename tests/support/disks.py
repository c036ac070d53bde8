"""A disk that fills up, refuses or takes its time, put between a journal and the real one."""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from phloem.events.types import AgentEvent, HistoryGap, Lagged

Item = AgentEvent | Lagged | HistoryGap


def event(number: int, text: str = "", **fields: Any) -> AgentEvent:
    """One of many, told apart by a number."""
    return AgentEvent("custom", "s", data={"n": number, "text": text}, **fields)


def numbers(items: Any) -> list[int]:
    """Which of them these are."""
    return [item.data["n"] for item in items if isinstance(item, AgentEvent)]


async def until(true: Callable[[], bool], pause: float = 0.001) -> None:
    """Until a thread has come so far; at most ten thousand looks, ``pause`` seconds apart."""
    for _ in range(10_000):
        if true():
            return
        await trio.sleep(pause)
    raise AssertionError("it never came so far")


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Disk:
    """Stands in for ``os`` in ``journal_files``; everything it does not say is the real one's."""

    def __init__(self) -> None:
        self.room = math.inf  # bytes that still go on it; the write that takes the last ones is cut short
        self.refuses: set[str] = set()  # calls that fail
        self.before: Callable[[str], None] = lambda call: None
        self.calls: list[str] = []
        self.synced: list[Path] = []
        self._names: dict[int, Path] = {}
        self.entered = threading.Event()  # a write has come to the gate
        self.gate = threading.Event()  # and waits for this
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.before(name)
        if name in self.refuses:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def open(self, path: Any, *flags: int) -> int:
        self._call("open")
        fd = os.open(path, *flags)
        self._names[fd] = Path(path)
        return fd

    def write(self, fd: int, text: bytes | memoryview) -> int:
        self.entered.set()
        self.gate.wait(10)
        self._call("write")
        if text and self.room <= 0:
            raise no_space()
        written = os.write(fd, text[: int(min(self.room, len(text)))])
        self.room -= written
        return written

    def fsync(self, fd: int) -> None:
        self._call("fsync")
        self.synced.append(self._names[fd])  # and no more: a real one takes its time

    def ftruncate(self, fd: int, size: int) -> None:
        self._call("ftruncate")
        self.room += os.fstat(fd).st_size - size
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        os.close(fd)
        self._call("close")
