"""What a person or a plain program writes to one listener -> a message for it. Pure.

Decides what a text means: for a listener whose only payload has one str field, it is that field, as
it stands; for any other it is ``{…}`` with the payload's fields (``Order {…}`` where there are several
payloads) or ``<…>``, the payload itself. Never guesses. For the console, and for attached streams of
lines.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, NewType, final, get_type_hints

from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode

from .fields import FieldTable
from .lines import Piece
from .requests import Refused, Request, RequestReader, Taker, parse_object
from .scalars import shown

__all__ = ["TextReader", "decoded", "text_field"]

_FIELDS: Final = re.compile(r"\s*(?:([^\W\d][\w.]*)\s*)?(\{.*)", re.DOTALL)
_NAMED: Final = 20  # classes named in one fault
_QUOTED: Final = 2_000  # characters of a refused text that come back with it, as many as in a Huh


def text_field(listener: Taker) -> tuple[type, str] | None:
    """The payload class and its only str field, if that is all it needs; None if text alone will not do."""
    if len(listener.contracts) != 1:
        return None
    kind = listener.contracts[0].payload_class
    if not is_dataclass(kind):
        return None
    try:
        hints = get_type_hints(kind)
    except (NameError, TypeError):  # an annotation that does not resolve from outside
        return None
    texts: list[str] = []
    for each in fields(kind):
        if each.init and _is_text(hints[each.name]):
            texts.append(each.name)
        elif each.init and each.default is MISSING and each.default_factory is MISSING:
            return None
    return (kind, texts[0]) if len(texts) == 1 else None


def decoded(piece: Piece) -> str:
    """Its text. Raises InvalidMessage if it is not UTF-8."""
    try:
        return piece.content.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{piece.content[error.start]:02x} at {error.start + 1}"
        raise InvalidMessage([Fault(HuhCode.BAD_CHAR, f"line {piece.line}", found, "UTF-8")]) from error


@final
class TextReader:
    """Reads texts for any of the listeners that ``requests`` knows."""

    def __init__(self, requests: RequestReader, table: FieldTable) -> None:
        self._requests, self._table = requests, table
        self._texts: dict[str, tuple[type, str] | None] = {}  # by listeners' names; hints are dear to read

    def read(self, listener: Taker, text: str, number: int = 1) -> Request | Refused:
        """The message that this text is for that listener. Never raises for what it says."""
        try:
            return self._read(listener, text, number)
        except InvalidMessage as error:
            return Refused(number, error.faults, text[:_QUOTED])

    def _read(self, listener: Taker, text: str, number: int) -> Request:
        name = listener.name
        if name not in self._texts:
            self._texts[name] = text_field(listener)
        if (found := self._texts[name]) is not None:
            kind, field = found
            return Request(number, name, self._table.read(kind, {field: text}))
        if text.lstrip().startswith("<"):
            return Request(number, xml=self._requests.enveloped(name, text.strip()))
        match = _FIELDS.fullmatch(text)
        if match is None:
            raise InvalidMessage([Fault(HuhCode.TYPE, "text", shown(text), _expected(listener))])
        kind = self._requests.class_of(name, match[1])
        given = parse_object(Piece(number, 1, match[2].encode("utf-8", "surrogatepass")))
        return Request(number, name, self._table.read(kind, given))


def _expected(listener: Taker) -> str:
    contracts = listener.contracts[:_NAMED]
    if len(contracts) == 1:
        given = f"{{…}} with the fields of {contracts[0].payload_class.__name__}"
    else:
        given = " or ".join(f"{contract.payload_class.__name__} {{…}}" for contract in contracts)
    return f"{given}, or {' or '.join(f'<{contract.tag}>' for contract in contracts)} as XML"


def _is_text(hint: Any) -> bool:
    while isinstance(hint, NewType):
        hint = hint.__supertype__
    return hint is str
