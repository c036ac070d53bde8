"""Reads a batch as a stream: chunks from a file descriptor, cut into messages.

Decides how bytes come in (64 KiB at a time, in a worker thread) and by their first
character whether they are NDJSON or XML. Never holds more than one chunk and one message.
``batch`` asks it for the next pieces; nobody else does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, Protocol, final

import trio

from phloem.framing.documents import DocumentSplitter
from phloem.framing.lines import LineSplitter, Piece, Unreadable

__all__ = ["Source", "StreamSource"]

CHUNK: Final = 64 * 1024  # bytes per thread hop (about 100 µs), and what a pipe holds
_BOM: Final = b"\xef\xbb\xbf"


class Source(Protocol):
    """Where a batch comes from."""

    @property
    def is_xml(self) -> bool:
        """Whether its pieces are XML documents; known once there is a piece."""
        ...

    @property
    def consumed(self) -> int:
        """Bytes read so far."""
        ...

    async def receive(self) -> Sequence[Piece | Unreadable] | None:
        """The next pieces in input order, perhaps none yet; None at the end. Raises OSError."""
        ...


@final
class StreamSource:
    """A file or a pipe. Does not close it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._splitter: LineSplitter | DocumentSplitter | None = None
        self._head = b""  # white space and BOM before the first character that tells the format
        self._ended = False
        self._limiter = trio.CapacityLimiter(1)  # an abandoned read keeps its token: nobody else's
        self.consumed = 0

    @property
    def is_xml(self) -> bool:
        return isinstance(self._splitter, DocumentSplitter)

    async def receive(self) -> Sequence[Piece | Unreadable] | None:
        """As in ``Source``. Checkpoint. Cancelled means: the chunk being read is lost."""
        if self._ended:
            await trio.lowlevel.checkpoint()
            return None
        # A read of a terminal or an idle pipe cannot be interrupted; os.read holds no lock that
        # would keep the interpreter from ending.
        chunk = await trio.to_thread.run_sync(
            os.read, self._descriptor, CHUNK, abandon_on_cancel=True, limiter=self._limiter
        )
        self.consumed += len(chunk)
        self._ended = not chunk
        if self._splitter is None:
            chunk = self._head + chunk
            if not self._ended and len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._head = chunk
                return ()
            chunk = chunk.removeprefix(_BOM)
            first = chunk.lstrip()[:1]
            if not first:  # only white space so far: its lines count all the same
                self._head = chunk
                return None if self._ended else ()
            self._splitter = DocumentSplitter() if first == b"<" else LineSplitter()
        if not self._ended:
            return list(self._splitter.feed(chunk))
        return [*(self._splitter.feed(chunk) if chunk else ()), *self._splitter.finish()]
