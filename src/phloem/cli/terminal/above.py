"""What is printed while a prompt stands on the terminal, put above it.

Decides that a print or a log record of whatever thread is shown as whole lines, harmless but for its
colours. Never waits. ``tty`` puts it in the place of stdout and stderr.
"""

from __future__ import annotations

import codecs
import io
import threading
from collections.abc import Callable
from typing import Any, final

import trio

from .harmless import harmless

__all__ = ["Above"]


@final
class Above(io.TextIOBase):
    """A text stream whose lines ``say`` gets, in the loop it was made in."""

    def __init__(self, say: Callable[[str], None], *, colours: bool) -> None:
        self._say, self._colours = say, colours
        self._token = trio.lowlevel.current_trio_token()
        self._lock = threading.Lock()
        self._lines = list[str]()
        self._begun = ""
        self.buffer = AboveBytes(self)  # an egress handler, say, writes bytes to stdout

    @property
    def encoding(self) -> str:  # type: ignore[override] # typeshed has an attribute
        return "utf-8"

    def isatty(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Never waits; from any thread."""
        with self._lock:
            *whole, self._begun = (self._begun + text).split("\n")
            self._lines += whole
        if whole:
            try:
                self._token.run_sync_soon(self.pass_on, idempotent=True)
            except trio.RunFinishedError:
                pass  # said after the end: by a thread that was left behind
        return len(text)

    def pass_on(self) -> None:
        """Say what is whole; in the loop's thread."""
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            self._say(harmless(line, colours=self._colours))

    def end(self) -> None:
        """Say what is left, whole or not; in the loop's thread."""
        with self._lock:
            if self._begun:
                self._lines.append(self._begun)
            self._begun = ""
        self.pass_on()


@final
class AboveBytes(io.RawIOBase):
    """The ``buffer`` of an ``Above``: UTF-8 in pieces of any size; what is none is shown as U+FFFD."""

    def __init__(self, above: Above) -> None:
        self._above = above
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """``data`` is anything like bytes. Never waits; from any thread."""
        given = bytes(data)
        with self._lock:
            self._above.write(self._decoder.decode(given))
        return len(given)
