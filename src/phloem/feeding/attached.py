"""Streams of bytes that feed an organism: each is read by a task of its own, under a name of its own.

Decides when a stream is read (the next bytes once all messages of the last are accepted, so that it is
read no faster than seats are had) and what its end means: of itself, by an error, closed, or by the
organism's shutdown, before whose drain the task has left. A stream that breaks ends its source, never
the organism. What a message is, ``framing`` decides. ``Organism.attach`` calls it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, final

import trio

from phloem.config import WireLimits
from phloem.errors import MessageRejected, OrganismClosed
from phloem.framing.framed import Framed
from phloem.framing.lines import Piece, Unreadable
from phloem.framing.requests import Refused
from phloem.guarding import Raised, attempted, guarded, said
from phloem.messages import Fault, folded
from phloem.pump.dispatch import callers_context
from phloem.pump.door import Door
from phloem.pump.pump import Pump
from phloem.pump.sources import Source

from .streams import ByteReader, reader_of

__all__ = ["Attached", "attach"]

CLEANUP: Final = 2.0  # seconds for an async generator's own cleanup; a file's takes none


@final
class Attached:
    """A stream that is being read; from ``organism.attach``. May be held after its end."""

    def __init__(
        self, door: Door, pump: Pump, sender: str, reader: ByteReader, framed: Framed, *, priority: bool
    ):
        self._door, self._pump = door, pump
        self._source = Source(door, pump, sender, priority=priority, feed=self)
        self._reader, self._framed = reader, framed
        self._scope = trio.CancelScope()
        self._done = trio.Event()
        self._bytes = self._messages = self._unread = self._unsent = 0
        self._error: BaseException | None = None

    @property
    def name(self) -> str:
        """Who its messages are from."""
        return self._source.name

    @property
    def closed(self) -> bool:
        """Nothing of it is accepted any more."""
        return self._source.closed

    @property
    def error(self) -> BaseException | None:
        """What the stream raised, or sending what came of it, if that ended it."""
        return self._error

    def statistics(self) -> dict[str, Any]:
        """As a source's; and bytes (read), messages (found in them), ended, error (a text, or None).

        Of ``messages``, accepted or not, ``rejected`` were refused: they could not be read, or the
        organism said ``huh``; ``unsent`` are not accepted yet, or, once it has ended, never will be.
        """
        source = self._source.statistics()
        error = self._error
        return {
            **source,
            "rejected": source["rejected"] + self._unread,
            "bytes": self._bytes,
            "messages": self._messages,
            "unsent": self._unsent,
            "ended": self._done.is_set(),
            "error": None if error is None else f"{type(error).__name__}: {said(error)}".removesuffix(": "),
        }

    async def wait_done(self) -> None:
        """Until it is not read any more, for whatever reason; what it sent may still be in flight.

        Checkpoint. Cancelled means: only the waiting ended. Inside a dispatch of this organism
        WouldDeadlock.
        """
        self._door.refuse_inside("wait_done")
        await self._done.wait()

    def close(self) -> None:
        """Read and accept nothing more; what was accepted goes on. Idempotent, never a checkpoint."""
        self._source.close()
        self._scope.cancel(reason="the attached stream was closed")

    # -- the task ------------------------------------------------------------------------------

    def start(self) -> None:
        """Read from here on, in the pump's nursery. Raises OrganismClosed, and SenderRefused."""
        spawn = self._pump.carriers.spawn
        if spawn is None:
            raise OrganismClosed("the organism takes no more sources")
        self._source.open()
        self._pump.sources.reading(self.name)
        callers_context().run(spawn, self._run, name=f"phloem source {self.name}")

    async def _run(self) -> None:
        try:
            with self._scope:
                try:
                    await self._read()
                finally:
                    with trio.move_on_after(CLEANUP, shield=True):
                        await guarded(self._reader.aclose)
        finally:
            self._source.close()
            self._done.set()
            self._pump.sources.left(self.name)

    async def _read(self) -> None:
        while True:
            chunk = await guarded(self._reader.receive)
            if isinstance(chunk, Raised):
                self._broke(chunk.error)
                return
            self._bytes += len(chunk)
            pieces = self._framed.feed(chunk) if chunk else self._framed.finish()
            self._messages += len(pieces)
            self._unsent = len(pieces)
            for piece in pieces:
                if not await self._send(piece):
                    return
            if not chunk:
                return

    def _broke(self, error: BaseException) -> None:
        self._error = error
        self._pump.observer.broke(self.name, error)

    async def _send(self, piece: Piece | Unreadable) -> bool:
        """One message, until it is accepted or refused; False if nothing is accepted any more."""
        request = attempted(self._framed.read, piece)  # it makes payloads, whose class may raise anything
        if isinstance(request, Raised):
            self._broke(request.error)
            return False
        if isinstance(request, Refused):
            self._unread += 1
            self._unsent -= 1
            self._pump.observer.unread(self.name, _placed(folded(request.faults), piece.line))
            await trio.lowlevel.checkpoint()  # a chunk may be full of such
            return True
        try:
            if request.payload is None:
                await self._source.inject(request.xml)
            else:
                await self._source.send(request.payload, request.to)
        except MessageRejected:
            pass  # counted by the source, and told by the pump
        except OrganismClosed:
            return False
        except Exception as error:  # noqa: BLE001 - told: no thread for a long document, say, ends no organism
            self._broke(error)
            return False
        self._unsent -= 1
        return True


def attach(
    door: Door,
    pump: Pump,
    stream: Any,
    *,
    sender: str,
    framing: str,
    to: str | None,
    priority: bool,
    limits: WireLimits,
) -> Attached:
    """As ``Organism.attach``. Never a checkpoint.

    Raises ConfigurationError for a stream, a framing or a ``to`` that is none, SenderRefused and
    OrganismClosed.
    """
    framed = Framed(framing, pump.core.listeners.values(), sender=sender, to=to, limits=limits)
    attached = Attached(door, pump, sender, reader_of(stream), framed, priority=priority)
    attached.start()
    return attached


def _placed(fault: Fault, line: int) -> Fault:
    """The same, and on which line of the stream."""
    return fault if fault.path.startswith("line ") else replace(fault, path=f"line {line}, {fault.path}")
