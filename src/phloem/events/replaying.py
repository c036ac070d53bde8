"""A journal read back: line by line, or event by event in the time it took.

Decides which files belong to a journal, which lines are passed over (those a crash tore) and
which are errors, and how long a replay pauses. Writes nothing. Called by applications.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import stat
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast, final

import trio

from phloem.errors import InvalidEvent, JournalError
from phloem.messages import Faults

from .freezing import shown
from .journal_files import MAX_KEEP, numbered
from .journal_lines import TORN, Item, is_whole, line_of, quoted
from .types import UNPUBLISHED, AgentEvent

if TYPE_CHECKING:
    from .bus import EventBus

__all__ = ["Replay", "open_replay", "read_journal", "replay"]

_Line = tuple[Item, int]  # and its bytes

LOG: Final = logging.getLogger("phloem.events")
AHEAD: Final = 256  # lines read in one go: 4 ms of a thread, which costs as much as five of them
AHEAD_BYTES: Final = 1024 * 1024  # 1 MiB, or one line if that is longer


def read_journal(path: str | os.PathLike[str]) -> Generator[Item, None, None]:
    """What a journal holds, oldest first, over all its files; as it is when the first is asked for.

    Reads as it goes: memory is that of the longest line. A line that a crash has torn is logged
    and passed over. May be read while a journal is being written. Blocks on the disk; in Trio use
    ``replay`` or ``open_replay``. Raises JournalError if there is no journal, if it cannot be read,
    and for a line that is no event.
    """
    with closing(_lines(path)) as lines:
        for item, _ in lines:
            yield item


async def replay(path: str | os.PathLike[str], bus: EventBus, *, speed: float = 1.0) -> int:
    """Publish a journal's events into a bus, paced as ``open_replay`` does; how many they were.

    They keep their fields, ids and timestamps; ``seq`` is the bus's own. Types that it does not
    know are registered. What the journal says was lost cannot be published and is passed over.
    Checkpoint; backpressure is the bus's. Cancelled means: what has been published stays
    published, no event is published in part. Raises JournalError and InvalidEvent as ``open_replay``
    does, and what ``bus.publish`` raises.
    """
    published = 0
    async with open_replay(path, speed=speed, faults=bus.faults) as items:
        async for item in items:
            if isinstance(item, AgentEvent):
                bus.register_type(item.type)
                await bus.publish(dataclasses.replace(item, seq=0))  # with one it would get a new id
                published += 1
    return published


@asynccontextmanager
async def open_replay(
    path: str | os.PathLike[str], *, speed: float = 1.0, faults: Faults | None = None
) -> AsyncIterator[Replay]:
    """A journal's items as an async iterator, spaced on Trio's clock as their timestamps are.

    ``speed`` 2 takes half the time, ``math.inf`` none. An event that is older than one before it
    comes without a pause. ``faults`` let its thread fail on purpose. Checkpoint. Raises InvalidEvent
    for a speed that is none; the iterator raises JournalError as ``read_journal`` does.
    """
    given = cast("object", speed)
    if not isinstance(given, int | float) or isinstance(given, bool) or not given > 0:
        raise InvalidEvent(f"speed: found {shown(speed)}, expected a number above 0, or math.inf")
    await trio.lowlevel.checkpoint()
    with closing(_lines(path)) as lines:  # files that were only read: closing them waits for no disk
        yield Replay(lines, speed, faults)


@final
class Replay:
    """What ``open_replay`` hands out. One task at a time."""

    def __init__(self, lines: Iterator[_Line], speed: float, faults: Faults | None) -> None:
        self._lines, self._speed, self._faults = lines, speed, faults
        self._limiter = trio.CapacityLimiter(1)
        self._ahead: deque[Item | JournalError] = deque()
        self._ended = False
        self._busy = False
        self._first: datetime | None = None  # the first timestamp, and when that event came
        self._begun = 0.0

    def __aiter__(self) -> Replay:
        return self

    async def __anext__(self) -> Item:
        """The next item, in its time. Checkpoint. Cancelled means: the next call gives the same."""
        if self._busy:
            raise trio.BusyResourceError("another task is waiting for the next item of this replay")
        self._busy = True
        try:
            if not self._ahead and not self._ended:
                run = partial(trio.to_thread.run_sync, self._read, limiter=self._limiter)
                read = run() if self._faults is None else self._faults.visit("thread", "replay", run)
                self._ahead.extend(await read)
            if not self._ahead:
                self._ended = True
                await trio.lowlevel.checkpoint()
                raise StopAsyncIteration
            await self._pause(self._ahead[0])
            item = self._ahead.popleft()
        finally:
            self._busy = False
        if isinstance(item, JournalError):
            self._ended = True
            raise item
        return item

    def _read(self) -> list[Item | JournalError]:
        """The next lines. An error comes in its place, after what is good before it."""
        read: list[Item | JournalError] = []
        size = 0
        try:
            for item, length in islice(self._lines, AHEAD):
                read.append(item)
                size += length
                if size >= AHEAD_BYTES:
                    break
        except JournalError as error:
            read.append(error)
        return read

    async def _pause(self, item: Item | JournalError) -> None:
        at = item.timestamp if isinstance(item, AgentEvent) else UNPUBLISHED
        if at == UNPUBLISHED or self._speed == math.inf:
            await trio.lowlevel.checkpoint()
            return
        if self._first is None:
            self._first, self._begun = at, trio.current_time()
        await trio.sleep_until(self._begun + (at - self._first).total_seconds() / self._speed)


@final
@dataclass(frozen=True, slots=True)
class _File:
    """One file of a journal, open, and how long it was when it was opened."""

    path: Path
    handle: BinaryIO
    size: int

    def lines(self) -> Iterator[_Line]:
        """Its items. No further than it went: a replay into the bus that is written here comes to its end."""
        left, number = self.size, 0
        while left > 0:
            number += 1
            where = f"{self.path}:{number}"
            try:
                text = self.handle.readline()
            except OSError as error:
                raise JournalError(f"{where}: found {error.strerror}, expected a file to read") from error
            if not text:
                break  # somebody has cut the file meanwhile
            left -= len(text)
            if text.endswith(TORN) or not (text.endswith(b"\n") or is_whole(text)):
                LOG.warning("%s: passed over a line that is torn: %s", where, quoted(text))
                continue
            try:
                item = line_of(text)
            except ValueError as error:
                raise JournalError(f"{where}: {error}") from error
            yield item, len(text)


def _lines(path: str | os.PathLike[str]) -> Generator[_Line, None, None]:
    with ExitStack() as stack:
        for file in reversed(_opened(Path(path).absolute(), stack)):
            yield from file.lines()


def _opened(path: Path, stack: ExitStack) -> list[_File]:
    """The journal and the files moved aside, newest first.

    In this order a move meanwhile hides nothing: it brings an open file back under a new name,
    where it is known again. One number may be missing: a crash came between two renamings.
    """
    files: list[_File] = []
    known: set[tuple[int, int]] = set()
    missing = 0
    for number in range(MAX_KEEP + 2):
        name = numbered(path, number)
        try:
            mode = name.stat().st_mode
            if not stat.S_ISREG(mode):
                found = "a folder" if stat.S_ISDIR(mode) else "something that is no file"
                raise JournalError(f"{name}: found {found}, expected a journal")
            handle = stack.enter_context(name.open("rb"))
        except FileNotFoundError:
            missing += 1
            if number and missing > 1:
                break
            continue
        except (OSError, ValueError) as error:
            found = getattr(error, "strerror", None) or str(error)
            raise JournalError(f"{name}: found {found}, expected a journal") from error
        status = os.fstat(handle.fileno())
        if (status.st_dev, status.st_ino) not in known:
            known.add((status.st_dev, status.st_ino))
            files.append(_File(name, handle, status.st_size))
    if not files:
        raise JournalError(f"{path}: found no file, expected a journal")
    return files
