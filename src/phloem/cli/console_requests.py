"""What is typed for a listener -> a message for it.

Decides one thing beside what ``framing.texts`` does: where a payload has other fields besides its text,
a person has no other way to fill them than ``{…}`` and ``<…>``, so a text that begins so is read as
fields or XML there. Where the text is all there is, it stays as it stands. Pure. For ``console_session``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Final, final

from phloem.config import WireLimits
from phloem.errors import InvalidMessage
from phloem.framing.fields import FieldTable
from phloem.framing.lines import Piece
from phloem.framing.requests import Refused, Request, RequestReader, Taker, parse_object
from phloem.framing.texts import TextReader, text_field

__all__ = ["ConsoleTexts"]

_QUOTED: Final = 2_000  # characters of a refused text that come back with it, as many as in a Huh


@final
class ConsoleTexts:
    """Knows what the listeners take. One per sitting; ``table`` is shared with what writes answers."""

    def __init__(
        self, listeners: Iterable[Taker], table: FieldTable, *, sender: str, limits: WireLimits
    ) -> None:
        self._table = table
        self._requests = RequestReader(listeners, table, sender=sender, limits=limits)
        self._texts = TextReader(self._requests, table)
        self._has_more: dict[str, bool] = {}

    def read(self, listener: Taker, text: str) -> Request | Refused:
        """The message that this text is for that listener. Never raises for what it says."""
        if text[:1] not in ("{", "<") or not self._more_than_text(listener):
            return self._texts.read(listener, text)
        try:
            if text[0] == "<":
                return Request(1, xml=self._requests.enveloped(listener.name, text))
            given = parse_object(Piece(1, 1, text.encode("utf-8", "surrogatepass")))
            kind = self._requests.class_of(listener.name, None)
            return Request(1, listener.name, self._table.read(kind, given))
        except InvalidMessage as error:
            return Refused(1, error.faults, text[:_QUOTED])

    def _more_than_text(self, listener: Taker) -> bool:
        """Whether it takes a text, and besides it what a text cannot say."""
        more = self._has_more.get(listener.name)
        if more is None:
            found = text_field(listener)
            more = found is not None and sum(each.init for each in fields(found[0])) > 1
            self._has_more[listener.name] = more
        return more
