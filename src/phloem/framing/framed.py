"""One stream in one framing: chunks of bytes -> pieces -> messages to be. Pure.

Decides what the three framings are made of: XML envelopes one after the other, lines of NDJSON as in
a batch, lines of plain text for one listener. Reads nothing. Attached streams call it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, final

from phloem.config import WireLimits
from phloem.errors import ConfigurationError, ConfigurationFault, InvalidMessage

from .documents import DocumentSplitter
from .fields import FieldTable
from .lines import LineSplitter, Piece, Unreadable
from .requests import Refused, Request, RequestReader, Taker
from .texts import TextReader, decoded, text_field

__all__ = ["Framed", "Framing"]

_BOM: Final = b"\xef\xbb\xbf"


class Framing(StrEnum):
    """How a stream of bytes is cut into messages."""

    XML = "xml"
    NDJSON = "ndjson"
    LINES = "lines"


@final
class Framed:
    """``feed`` chunks as they come, ``finish`` once; ``read`` the pieces they give.

    Raises ConfigurationError for a framing that there is not, and for a ``to`` that does not fit it.
    """

    def __init__(
        self,
        framing: str,
        listeners: Iterable[Taker],
        *,
        sender: str,
        to: str | None,
        limits: WireLimits,
    ) -> None:
        listeners = list(listeners)
        self._framing = _framing(framing)
        self._to = _target(self._framing, to, listeners)
        table = FieldTable()
        self._requests = RequestReader(listeners, table, sender=sender, limits=limits, to=to)
        self._texts = TextReader(self._requests, table)
        most = 2 * limits.max_bytes  # the wire's limit, and as much again for JSON's escapes
        self._splitter = (
            DocumentSplitter(most)
            if self._framing is Framing.XML
            else LineSplitter(most, exact=self._framing is Framing.LINES)
        )
        self._head: bytes | None = b""  # bytes that may be the beginning of a BOM; None once it is past

    def feed(self, chunk: bytes) -> list[Piece | Unreadable]:
        """The pieces that this chunk completes."""
        if self._head is not None:
            chunk = self._head + chunk
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._head = chunk
                return []
            self._head, chunk = None, chunk.removeprefix(_BOM)
        return list(self._splitter.feed(chunk))

    def finish(self) -> list[Piece | Unreadable]:
        """What is left when the stream has ended."""
        head, self._head = self._head, None
        return [*(self._splitter.feed(head) if head else ()), *self._splitter.finish()]

    def read(self, piece: Piece | Unreadable) -> Request | Refused:
        """The message that a piece is. Never raises for what it says."""
        if isinstance(piece, Unreadable):
            return Refused(piece.number, (piece.fault,), "")
        if self._framing is Framing.XML:
            return self._requests.read_envelope(piece)
        if self._to is None:
            return self._requests.read_line(piece)
        try:
            return self._texts.read(self._to, decoded(piece), piece.number)
        except InvalidMessage as error:
            return Refused(piece.number, error.faults, "")


def _framing(framing: str) -> Framing:
    try:
        return Framing(framing)
    except ValueError:
        names = ", ".join(map(repr, map(str, Framing)))
        raise ConfigurationError([ConfigurationFault("framing", repr(framing), f"one of {names}")]) from None


def _target(framing: Framing, to: str | None, listeners: list[Taker]) -> Taker | None:
    """The listener that lines of text are for; None in other framings. Raises ConfigurationError."""
    fault = None
    names: dict[str, Taker] = {}
    for each in listeners:
        if not each.private:
            names.setdefault(each.name.casefold(), each)
    found = None if to is None else names.get(to.casefold())
    if to is not None and framing is Framing.XML:
        fault = (repr(to), 'none with the framing "xml": each envelope says itself where it goes')
    elif to is not None and found is None:
        fault = (
            repr(to),
            f"a listener: {', '.join(each.name for each in names.values() if not each.service)}",
        )
    elif framing is Framing.LINES and found is None:
        fault = ("none", 'a listener, which takes the lines of the framing "lines"')
    elif framing is Framing.LINES and found is not None and text_field(found) is None:
        names_of = " and ".join(contract.payload_class.__name__ for contract in found.contracts)
        fault = (
            f"{found.name!r}, which takes {names_of}",
            "a listener with one payload class, whose only str field takes a line and whose other fields "
            "have defaults",
        )
    if fault is not None:
        raise ConfigurationError([ConfigurationFault("to", *fault)])
    return found if framing is Framing.LINES else None
