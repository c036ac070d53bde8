"""What can be read as bytes, and how: streams of Trio and anyio, async iterables, files, paths.

Decides by what an object has which of them it is. Closes nothing that its owner can: only a file that
it opened itself, and an async generator, whose end nobody else can see to. Attached streams call it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, Protocol, final

import anyio
import trio
from anyio.abc import ByteReceiveStream

from phloem.errors import ConfigurationError, ConfigurationFault

from .files import CHUNK, FileReader, as_bytes, blocking_file, blocking_path

__all__ = ["ByteReader", "reader_of"]

STREAMS: Final = (
    "a byte stream of Trio or anyio (a process's stdout is one), an async iterable of bytes, a binary file "
    "or a path"
)


class ByteReader(Protocol):
    """A stream that is read by one task."""

    async def receive(self) -> bytes:
        """The next bytes, b"" at the end. Raises whatever the stream does. Cancelled means: it goes on."""
        ...

    async def aclose(self) -> None:
        """Close what is closed here. Raises whatever a generator's own cleanup does. Checkpoint."""
        ...


def reader_of(stream: Any) -> ByteReader:
    """How to read it. Raises ConfigurationError for what is no stream of bytes. Never a checkpoint."""
    wrapped = getattr(stream, "wrapped", None)
    if wrapped is not None and hasattr(stream, "aclose"):
        stream = wrapped  # trio.open_file and anyio.open_file: their own reads cannot be abandoned
    if isinstance(stream, str | os.PathLike):
        return blocking_path(stream)  # pyright: ignore[reportUnknownArgumentType]
    if callable(getattr(stream, "receive_some", None)):
        return _TrioStream(stream)
    if isinstance(stream, ByteReceiveStream):
        return _AnyioStream(stream)
    if hasattr(stream, "__aiter__"):
        return _Items(stream)
    file: FileReader | None = blocking_file(stream)
    if file is None:
        found = type(stream).__name__
        found += ", which is open as text" if hasattr(stream, "encoding") else ""
        raise ConfigurationError([ConfigurationFault("stream", found, STREAMS)])
    return file


@final
class _TrioStream:
    """A ``trio.abc.ReceiveStream``."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        return as_bytes(await self._stream.receive_some(CHUNK))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@final
class _AnyioStream:
    """An ``anyio.abc.ByteReceiveStream``."""

    def __init__(self, stream: ByteReceiveStream) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        try:
            return await self._stream.receive(CHUNK)
        except anyio.EndOfStream:
            return b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@final
class _Items:
    """Whatever ``async for`` gives bytes of."""

    def __init__(self, iterable: Any) -> None:
        self._iterable = iterable
        self._items: AsyncIterator[Any] | None = None

    async def receive(self) -> bytes:
        if self._items is None:
            self._items = aiter(self._iterable)
        while True:
            await trio.lowlevel.checkpoint()  # it may never do so itself
            try:
                chunk = as_bytes(await anext(self._items))
            except StopAsyncIteration:
                return b""
            if chunk:  # an empty one is not the end
                return chunk

    async def aclose(self) -> None:
        generator = self._iterable if self._items is None else self._items
        if isinstance(generator, AsyncGenerator):
            await generator.aclose()
        await trio.lowlevel.checkpoint()
