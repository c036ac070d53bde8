"""Journals under test: files as a journal writes them, and what is read back of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import trio

from phloem.events import EventBus, Lagged, read_journal
from phloem.events.journal_files import Fsync, JournalFile
from phloem.events.journal_lines import encoded

from .disks import Disk, Item, event

LINE: Final = len(encoded(event(1)))


def opened(path: Path, fsync: Fsync = Fsync.NEVER, max_bytes: int = 1 << 20, keep: int = 5) -> JournalFile:
    file = JournalFile(path, fsync=fsync, max_bytes=max_bytes, keep=keep)
    file.open()
    return file


def written(path: Path, *batches: Sequence[Item], **settings: Any) -> JournalFile:
    """A journal with these batches in it, closed."""
    file = opened(path, **settings)
    for batch in batches:
        file.append(batch)
    file.close()
    return file


def events(*found: int) -> list[Item]:
    return [event(number) for number in found]


def insisted(file: JournalFile, items: Sequence[Item], disk: Disk) -> int:
    """Written as ``journal`` does it: what was not settled is tried again. How often it failed."""
    rest, failures = list(items), 0
    while rest:
        before = file.settled.lines
        try:
            file.append(rest)
        except OSError:
            failures += 1
            assert failures < 10
            disk.room = 1 << 20
            disk.refuses.clear()
        del rest[: file.settled.lines - before]
    return failures


def files_of(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


async def published(bus: EventBus, *found: int) -> None:
    for number in found:
        await bus.publish(event(number))


async def until_it_writes(disk: Disk) -> None:
    """A write stands at the closed gate."""
    disk.entered.clear()
    await trio.to_thread.run_sync(disk.entered.wait, 10)


def lines_of(path: Path) -> list[bytes] | None:
    return path.read_bytes().splitlines(keepends=True) if path.exists() else None


def lost(path: Path) -> int:
    return sum(item.count for item in read_journal(path) if isinstance(item, Lagged))
