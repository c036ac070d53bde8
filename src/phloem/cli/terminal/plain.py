"""Lines in and lines out, without a terminal's help: pipes, files, and systems that have no termios.

Decides that nothing is drawn: no prompt, no colours, no line that is not finished. A line is read in a
worker thread. For ``console``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

import trio

from phloem.framing.lines import LineSplitter, Piece, Unreadable
from phloem.messages import Fault, HuhCode

from .face import Kind
from .output import Output

__all__ = ["Plain", "open_plain"]

CHUNK: Final = 64 * 1024  # bytes per thread hop (about 100 µs), and what a pipe holds
_BOM: Final = b"\xef\xbb\xbf"


@final
class Plain:
    """As in ``Face``. Made by ``open_plain``."""

    def __init__(self, incoming: int, output: Output, *, in_turn: bool) -> None:
        self.in_full, self.in_turn = True, in_turn
        self._incoming, self._output = incoming, output
        self._splitter = LineSplitter()
        self._pieces = list[Piece | Unreadable]()
        self._begun = self._ended = False
        self._limiter = trio.CapacityLimiter(1)  # an abandoned read keeps its token: nobody else's

    def show(self, text: str, kind: Kind = Kind.ANSWER, who: str = "") -> None:
        """As in ``Face``."""
        self._output.say(f"{who}: {text}\n" if who else f"{text}\n")

    def tail(self, who: str, text: str) -> None:
        """Nothing: what cannot be taken back is shown when it is finished."""

    def ask(self, prompt: str, *, keep: bool = True) -> None:
        """Nothing: nobody waits for a prompt."""

    def close(self) -> None:
        """Nothing: no line is asked for any more."""

    async def receive(self) -> str | Fault | None:
        """As in ``Face``. Raises OSError. Cancelled means: what is being read is lost."""
        while not self._pieces and not self._ended:
            chunk = await trio.to_thread.run_sync(
                os.read, self._incoming, CHUNK, abandon_on_cancel=True, limiter=self._limiter
            )
            if not self._begun:
                self._begun, chunk = True, chunk.removeprefix(_BOM)
            self._ended = not chunk
            self._pieces += self._splitter.feed(chunk) if chunk else self._splitter.finish()
        await trio.lowlevel.checkpoint()
        return _line(self._pieces.pop(0)) if self._pieces else None

    async def room(self) -> None:
        """As in ``Face``."""
        await self._output.room()


def _line(piece: Piece | Unreadable) -> str | Fault:
    if isinstance(piece, Unreadable):
        return piece.fault
    try:
        return piece.content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        found = f"byte 0x{piece.content[error.start]:02x} at {error.start + 1}"
        return Fault(HuhCode.BAD_CHAR, f"line {piece.line}", found, "UTF-8")


@asynccontextmanager
async def open_plain(incoming: int, output: Output, *, in_turn: bool) -> AsyncIterator[Plain]:
    """Lines of a descriptor, texts to an output. Left normally, all that was said is written.

    Checkpoint. Cancelled means: what is not yet written is not. Raises OSError when nobody takes it.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run, name="write what is said")
        yield Plain(incoming, output, in_turn=in_turn)
        await output.written()
        nursery.cancel_scope.cancel(reason="all is said")
