"""The files of a journal: lines are appended to one, which moves aside when it is full.

Decides what is on disk when a write fails (whole lines only), when bytes are forced to the
disk, and which file goes when there are too many. Plain calls that block: ``journal`` makes
them in a thread. Knows no bus and no Trio.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, final

from phloem.errors import JournalError
from phloem.guarding import Raised, attempted, said

from .journal_lines import TORN, Item, encoded, is_whole
from .types import AgentEvent, Lagged

if sys.platform != "win32":
    import fcntl

__all__ = ["MAX_KEEP", "Fsync", "JournalFile", "numbered"]

LOG: Final = logging.getLogger("phloem.events")
CHUNK_BYTES: Final = 16 * 1024  # 16 KiB: some 60 lines; after 2 ms of encoding others have the GIL
MAX_KEEP: Final = 100  # files moved aside: a reader holds them all open at once
OWNER_ONLY: Final = 0o600  # events hold what people and models said
FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)


class Fsync(StrEnum):
    """When a journal asks the system to have its bytes on the disk itself, to survive a loss of power.

    ``never``: the system does it in its own time. ``batch``: after each batch. ``close``: when a
    file is left, and on ``flush``. A crash of the program alone loses nothing written, in any case.
    """

    NEVER = "never"
    BATCH = "batch"
    CLOSE = "close"


def numbered(path: Path, number: int) -> Path:
    """The ``number``-th file moved aside, 1 the newest of them; 0 is the journal itself."""
    return path if number == 0 else path.with_name(f"{path.name}.{number}")


@final
class _Tally:
    """What lines hold: how many they are, events, and events they say were lost."""

    __slots__ = ("events", "lagged", "lines")

    def __init__(self) -> None:
        self.lines = self.events = self.lagged = 0

    def count(self, item: Item) -> None:
        self.lines += 1
        if isinstance(item, AgentEvent):
            self.events += 1
        elif isinstance(item, Lagged):
            self.lagged += item.count

    def take(self, other: _Tally) -> None:
        """Move what the other has over to this one."""
        self.lines += other.lines
        self.events += other.events
        self.lagged += other.lagged
        other.clear()

    def clear(self) -> None:
        self.lines = self.events = self.lagged = 0


@final
class JournalFile:
    """A journal on disk. One thread at a time; where a method raises OSError it may be called again.

    ``settled`` counts the lines that are on disk for good (under ``batch``: forced there). After
    an error the lines behind them are cut away, so whoever calls writes those again.
    """

    def __init__(self, path: Path, *, fsync: Fsync, max_bytes: int, keep: int) -> None:
        self.path = path.absolute()  # the program may go to another folder meanwhile
        self.settled = _Tally()
        self._written = _Tally()  # in the file, and not settled
        self._fsync, self._max_bytes, self._keep = fsync, max_bytes, keep
        self._fd: int | None = None
        self._good = 0  # bytes of the file that are settled
        self._size = 0  # bytes of the file that are whole lines
        self._ragged = False  # there may be something behind them
        self._dirty = False  # something has been written that was not forced to the disk
        self._moved = False  # a name has changed that was not forced to the disk

    def open(self) -> None:
        """Open or make the file. JournalError if it cannot be written, or another journal writes it."""
        try:
            self._open()
        except (OSError, ValueError) as error:  # ValueError: a path that no system takes
            found = getattr(error, "strerror", None) or error
            raise JournalError(f"{self.path}: found {found}, expected a file that can be written") from error

    def append(self, items: Sequence[Item]) -> None:
        """Write a line for each, over as many files as it takes; one that no line can hold as lost."""
        try:
            self._mend()
            lines: list[bytes] = []
            size = 0
            counted = _Tally()
            for item in items:
                line, item = self._line(item)
                if self._size + size and self._size + size + len(line) > self._max_bytes:
                    self._write(lines, counted)
                    self._move_aside()
                    size = 0
                elif size + len(line) > CHUNK_BYTES:
                    self._write(lines, counted)
                    size = 0
                lines.append(line)
                size += len(line)
                counted.count(item)
            self._write(lines, counted)
            if self._fsync is Fsync.BATCH:
                self._force()
            self._settle()
        except OSError:
            self._ragged = True
            self._written.clear()
            try:
                self._mend()
            except OSError:  # the disk is what is ill; the next call tries it first
                pass
            raise

    def sync(self) -> None:
        """Force everything to the disk, unless the policy is ``never``."""
        if self._fsync is not Fsync.NEVER:
            self._force()

    def close(self) -> None:
        """Force and close. Closed even if that fails, and again only closed."""
        fd = self._fd
        try:
            if fd is not None:
                self.sync()
        finally:
            self._fd = None
            if fd is not None:
                os.close(fd)

    # -- lines ---------------------------------------------------------------------------------

    def _line(self, item: Item) -> tuple[bytes, Item]:
        line = attempted(encoded, item)  # data may hold members of somebody's Enum
        if not isinstance(line, Raised):
            return line, item
        what = f"an event of type {item.type!r}" if isinstance(item, AgentEvent) else repr(item)
        LOG.error("journal %s: %s has no JSON and counts as lost: %s", self.path, what, said(line.error))
        lost = Lagged(1)
        return encoded(lost), lost

    def _write(self, lines: list[bytes], counted: _Tally) -> None:
        """All of the lines, or an error with some of them written."""
        if lines:
            assert self._fd is not None, "mended before"
            text = b"".join(lines)
            self._dirty = True
            _write_all(self._fd, text)
            self._size += len(text)
            self._written.take(counted)
            lines.clear()
            if self._fsync is not Fsync.BATCH:
                self._settle()

    def _settle(self) -> None:
        self.settled.take(self._written)
        self._good = self._size

    def _mend(self) -> None:
        """After an error: have a file open, and nothing in it behind the last good line."""
        if self._fd is None:
            self._open()
        elif self._ragged:
            os.ftruncate(self._fd, self._good)
            self._size = self._good
        self._ragged = False

    # -- files ---------------------------------------------------------------------------------

    def _open(self) -> None:
        _refuse_what_is_no_file(self.path)
        self._moved = self._moved or not self.path.exists()
        fd = os.open(self.path, FLAGS, OWNER_ONLY)
        try:
            self._lock(fd)
            self._size = os.fstat(fd).st_size
            self._end_last_line(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._good = fd, self._size

    def _lock(self, fd: int) -> None:
        """Two journals on one file would cut away each other's lines. Held until the file is closed."""
        if sys.platform != "win32":
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OSError(error.errno, "a file that another journal writes") from error
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):  # it knows no locks
                    raise

    def _end_last_line(self, fd: int) -> None:
        """A crash may have torn it: what follows must begin on a line of its own."""
        last = b""
        at = self._size
        while at and b"\n" not in last:
            begin = max(at - CHUNK_BYTES, 0)
            os.lseek(fd, begin, os.SEEK_SET)
            last = os.read(fd, at - begin) + last
            at = begin
        _, _, last = last.rpartition(b"\n")
        if last:
            end = b"\n" if is_whole(last) else TORN
            if end is TORN:
                LOG.warning("journal %s: its last line is torn and ends there", self.path)
            _write_all(fd, end)
            self._size += len(end)
            self._dirty = True

    def _move_aside(self) -> None:
        """Begin a new file. Stopped halfway by an error or a crash it is taken up where it was.

        At most one number is then missing, which the next move fills.
        """
        if self._fd is not None:
            self.sync()
            self._settle()
            fd, self._fd = self._fd, None  # closed first: some systems rename no open file
            os.close(fd)
        beyond = self._keep + 1
        while numbered(self.path, beyond).exists():  # fewer are to be kept than once were
            numbered(self.path, beyond).unlink()
            beyond += 1
        if self._keep == 0:
            self.path.unlink()
        else:
            free = 1
            while free < self._keep and numbered(self.path, free).exists():
                free += 1
            for number in range(free, 0, -1):
                numbered(self.path, number - 1).replace(numbered(self.path, number))
        self._open()

    def _force(self) -> None:
        if self._dirty and self._fd is not None:
            os.fsync(self._fd)
            self._dirty = False
        if self._moved:
            if os.name == "posix":  # elsewhere a folder is nothing one opens
                _force_folder(self.path.parent)
            self._moved = False


def _refuse_what_is_no_file(path: Path) -> None:
    """A folder, a device, a pipe: a journal is cut, moved and read again."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a folder" if stat.S_ISDIR(mode) else "something that is no file")


def _write_all(fd: int, text: bytes) -> None:
    """A nearly full disk takes a part, and says what is wrong when asked for the rest."""
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _force_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # a file system that has no need
            raise
    finally:
        os.close(fd)
