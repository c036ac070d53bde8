"""Reads files that block, in threads, so that a read can be abandoned.

Decides how bytes of a path or of an open binary file come in: 64 KiB at a time, what is there and no
more, past Python's buffer where there is a descriptor. A read that is abandoned may go on for ever in
its thread; it holds no lock of Python's there, and what it reads is lost. ``streams`` calls it.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, cast, final

import trio

__all__ = ["CHUNK", "FileReader", "as_bytes", "blocking_file", "blocking_path"]

CHUNK: Final = 64 * 1024  # bytes per thread hop (about 100 µs), and what a pipe holds


class _Blocking(Protocol):
    """What a thread reads from."""

    def read(self) -> bytes:
        """The next bytes, b"" at the end. Blocks."""
        ...

    def close(self) -> None:
        """Let go of it; perhaps once a read that still blocks has come back."""
        ...


@final
class FileReader:
    """The bytes of something that blocks."""

    def __init__(self, file: _Blocking) -> None:
        self._file = file
        self._limiter = trio.CapacityLimiter(1)  # an abandoned read keeps its token: nobody else's

    async def receive(self) -> bytes:
        """The next bytes, b"" at the end. Checkpoint. Cancelled means: what is being read is lost."""
        return await trio.to_thread.run_sync(self._file.read, abandon_on_cancel=True, limiter=self._limiter)

    async def aclose(self) -> None:
        """Close what was opened here. Checkpoint."""
        self._file.close()
        await trio.lowlevel.checkpoint()


@final
class _Path:
    """A file that is opened, read and closed here. The descriptor is closed while no read has it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._lock = threading.Lock()  # around the fields below, never around a read
        self._descriptor: int | None = None
        self._busy = self._closed = False

    def read(self) -> bytes:
        with self._lock:
            if self._closed:
                return b""
            self._busy = True
        try:
            if self._descriptor is None:
                # Opening may block as well: a named pipe waits for whoever writes.
                self._descriptor = os.open(self._path, os.O_RDONLY)
            return os.read(self._descriptor, CHUNK)
        finally:
            with self._lock:
                self._busy = False
                if self._closed:
                    self._let_go()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if not self._busy:
                self._let_go()

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


@final
class _Descriptor:
    """An open file of the system's. Read past Python's buffer, whose lock an abandoned read would keep."""

    def __init__(self, file: io.FileIO | io.BufferedReader | io.BufferedRandom) -> None:
        self._file = file
        self._begun = False

    def read(self) -> bytes:
        descriptor = self._file.fileno()
        if not self._begun:
            self._begun = True
            if self._file.seekable():  # where its reader is, not where its buffer has come to
                os.lseek(descriptor, self._file.tell(), os.SEEK_SET)
        return os.read(descriptor, CHUNK)

    def close(self) -> None:
        """It is its owner's."""


@final
class _Object:
    """Any other binary file: in memory, decompressing, a member of an archive."""

    def __init__(self, read: Callable[[int], Any]) -> None:
        self._read = read

    def read(self) -> bytes:
        return as_bytes(self._read(CHUNK))

    def close(self) -> None:
        """It is its owner's."""


def as_bytes(chunk: Any) -> bytes:
    """What somebody else's stream gave. Raises TypeError."""
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise TypeError(f"it gave {type(chunk).__name__}, expected bytes")
    return bytes(cast("bytes", chunk))


def blocking_path(path: str | os.PathLike[str]) -> FileReader:
    """The bytes of the file of that name, from its beginning."""
    return FileReader(_Path(path))


def blocking_file(file: Any) -> FileReader | None:
    """The rest of an open binary file; None if it is none."""
    if isinstance(file, io.TextIOBase):
        return None
    raw: Any = file
    if type(file) in (io.BufferedReader, io.BufferedRandom):
        raw = file.raw
    if isinstance(raw, io.FileIO):
        return FileReader(_Descriptor(file))
    for name in ("read1", "read"):  # read would wait until all of a chunk is there
        read = getattr(file, name, None)
        if callable(read):
            return FileReader(_Object(read))
    return None
