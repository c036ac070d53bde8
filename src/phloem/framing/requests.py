"""One piece of input -> one message for the organism, or what is wrong with it. Pure.

Decides what a line of NDJSON may say: ``id``, ``to``, ``type`` and one of ``payload``
(fields) and ``xml`` (one bare payload). phloem's services may be addressed, but only who
names them means them; what hears from phloem alone is nobody here. Builds envelopes, never
pastes them; whether a payload is any good is the organism's to say. For
batches and attached streams.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Final, Protocol, cast, final

from phloem.config import WireLimits
from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode
from phloem.wire.envelope import is_envelope, write_envelope
from phloem.wire.parsing import Parser, canonical

from .fields import FieldTable
from .lines import Piece
from .scalars import Digits, shown

__all__ = [
    "NOT_JSON",
    "MessageId",
    "Refused",
    "Request",
    "RequestReader",
    "Taker",
    "parse_object",
    "within",
]

NOT_JSON: Final = "not-json"  # the one code of ours beside the standard ones
_KEYS: Final = ("id", "to", "type", "payload", "xml")
_NAMED: Final = 20  # listeners or classes named in one fault
_LONGEST_ID: Final = 256  # characters; ids come back in every result line
MessageId = str | int


class _Contract(Protocol):
    @property
    def payload_class(self) -> type: ...
    @property
    def tag(self) -> str: ...


class Taker(Protocol):
    """What is looked at of a listener."""

    @property
    def name(self) -> str: ...
    @property
    def contracts(self) -> tuple[_Contract, ...]: ...
    @property
    def service(self) -> bool: ...
    @property
    def private(self) -> bool: ...


@final
@dataclass(frozen=True, slots=True)
class Request:
    """A message to be: a typed payload for ``to``, or (``payload`` None) a whole envelope in ``xml``."""

    id: MessageId
    to: str | None = None
    payload: Any = None
    xml: bytes = b""
    expect: object = None  # what its line expects, as it stands there


@final
@dataclass(frozen=True, slots=True)
class Refused:
    """A line that never became a message, and every reason."""

    id: MessageId
    faults: tuple[Fault, ...]
    original: str
    expect: object = None


class _Repeated(ValueError):
    """A key stands twice in one object."""


@final
class RequestReader:
    """Knows what the listeners take. One per run. ``to``: whom fields are for that name nobody.

    ``expects``: a line may say what it expects.
    """

    def __init__(
        self,
        listeners: Iterable[Taker],
        table: FieldTable,
        *,
        sender: str,
        limits: WireLimits,
        to: str | None = None,
        expects: bool = False,
    ) -> None:
        self._table, self._to = table, to
        self._keys = (*_KEYS, "expect") if expects else _KEYS
        self._sender = sender
        self._parser = Parser(limits)
        self._takes: dict[str, dict[str, type]] = {}  # names and tags without case, as routing compares them
        self._names: dict[str, str] = {}  # as they are written, by the same
        self._services: set[str] = set()
        for listener in listeners:
            if listener.private:
                continue
            name = listener.name.casefold()
            self._names.setdefault(name, listener.name)
            if listener.service:
                self._services.add(name)
            classes = self._takes.setdefault(name, {})
            for contract in listener.contracts:
                classes.setdefault(contract.tag.casefold(), contract.payload_class)

    def read_envelope(self, piece: Piece) -> Request:
        """An XML document as it is: the organism judges it."""
        return Request(piece.number, xml=piece.content)

    def read_line(self, piece: Piece) -> Request | Refused:
        """One line of NDJSON. Never raises for what the line says."""
        name: MessageId = piece.number
        try:
            line = parse_object(piece)
        except InvalidMessage as error:
            return Refused(name, error.faults, _original(piece))
        try:
            faults = [_unknown_key(key, self._keys) for key in line if key not in self._keys]
            given = line.get("id")
            if (type(given) is str and len(given) <= _LONGEST_ID) or type(given) is int:
                name = given
            elif given is not None:
                faults.append(
                    Fault(
                        HuhCode.TYPE,
                        "id",
                        shown(given),
                        f"a whole number, or at most {_LONGEST_ID} characters",
                    )
                )
            faults += [
                Fault(HuhCode.TYPE, key, shown(line[key]), "a string")
                for key in ("to", "type", "xml")
                if key in line and line[key] is not None and type(line[key]) is not str
            ]
            if faults:
                raise InvalidMessage(faults)
            request = self._request(name, line)
            return replace(request, expect=line["expect"]) if "expect" in line else request
        except InvalidMessage as error:
            return Refused(name, error.faults, _original(piece), line.get("expect"))

    def _request(self, name: MessageId, line: Mapping[str, Any]) -> Request:
        to, xml = line.get("to"), line.get("xml")
        if ("payload" in line) == (xml is not None):
            found = "both" if xml is not None else "neither"
            raise InvalidMessage([Fault(HuhCode.NO_PAYLOAD, "payload", found, '"payload" or "xml"')])
        if xml is not None:
            if to is None:
                return Request(name, xml=xml.encode())  # an envelope says itself where it goes
            return Request(name, xml=self.enveloped(to, xml))
        to = self._to if to is None else to
        kind = self.class_of(to, line.get("type"))
        return Request(name, to, self._table.read(kind, line["payload"]))

    def enveloped(self, to: str, xml: str) -> bytes:
        """An envelope for ``to`` around one bare payload that it takes. Raises InvalidMessage."""
        classes = self._classes(to)
        try:
            root = self._parser.parse(xml)
        except InvalidMessage as error:
            raise InvalidMessage(
                [replace(each, path=within("xml", each.path)) for each in error.faults]
            ) from error
        tag = str(root.tag)
        if is_envelope(root) or tag.startswith("{"):
            found = "an envelope" if is_envelope(root) else f"the tag {shown(tag)}"
            raise InvalidMessage(
                [Fault(HuhCode.ENVELOPE, "xml", found, 'a bare payload in no namespace beside "to"')]
            )
        if tag.casefold() not in classes:
            raise InvalidMessage([Fault(HuhCode.ROUTING, f"/{tag[:60]}", shown(tag), _one_of(classes))])
        return write_envelope(sender=self._sender, to=to, thread=None, payloads=[canonical(root)])

    def class_of(self, to: str | None, kind: str | None) -> type:
        """Which payload class the fields are of: the listener's only one, or the named one.

        Raises InvalidMessage.
        """
        classes = self._classes(to)
        if kind is None and len(classes) == 1:
            return next(iter(classes.values()))
        if kind is not None:
            tag = kind.rpartition(".")[2].casefold()
            found = classes.get(tag)
            if found is None and to is None:
                found = self._of(lambda name: name in self._services).get(tag)
            if found is not None:
                return found
        told = "nothing" if kind is None else shown(kind)
        code = HuhCode.MISSING_ELEMENT if kind is None else HuhCode.ROUTING
        raise InvalidMessage([Fault(code, "type", told, _one_of(classes))])

    def _classes(self, to: str | None) -> dict[str, type]:
        """What the listener takes, by tag; without one what any takes that is no service."""
        if to is None:
            return self._of(lambda name: name not in self._services)
        if (classes := self._takes.get(to.casefold())) is not None:
            return classes
        own = [told for name, told in self._names.items() if name not in self._services]
        more = ", …" if len(own) > _NAMED else ""
        expected = f"a listener: {', '.join(own[:_NAMED])}{more}"
        for near in get_close_matches(to.casefold(), self._names, n=1):
            expected += f"; did you mean {shown(self._names[near])}?"
        raise InvalidMessage([Fault(HuhCode.ROUTING, "to", shown(to), expected)])

    def _of(self, wanted: Callable[[str], bool]) -> dict[str, type]:
        """What the wanted ones of the listeners take, by tag."""
        return {
            tag: kind
            for name, classes in self._takes.items()
            if wanted(name)
            for tag, kind in classes.items()
        }


def within(what: str, path: str) -> str:
    """The path of a fault: lines and columns are counted from where ``what`` begins, not in the batch."""
    return f"{what}, {path}" if path.startswith("line ") else path


def _one_of(classes: Mapping[str, type]) -> str:
    return "one of " + ", ".join(each.__name__ for each in list(classes.values())[:_NAMED])


def parse_object(piece: Piece) -> dict[str, Any]:
    """One JSON object, its numbers as they were written. Raises InvalidMessage."""
    where = f"line {piece.line}"
    try:
        text = piece.content.decode("utf-8")
        line: Any = json.loads(
            text, parse_float=Digits, parse_constant=_no_constant, object_pairs_hook=_without_repeats
        )
    except UnicodeDecodeError as error:
        found = f"byte 0x{piece.content[error.start]:02x} at {error.start + 1}"
        raise InvalidMessage([Fault(HuhCode.BAD_CHAR, where, found, "UTF-8")]) from error
    except json.JSONDecodeError as error:
        found = (
            shown(error.doc[error.pos : error.pos + 40])
            if error.pos < len(error.doc)
            else "the end of the line"
        )
        where = f"{where}, column {error.colno}"
        raise InvalidMessage([Fault(NOT_JSON, where, found, f"JSON ({error.msg})")]) from error
    except _Repeated as error:
        raise InvalidMessage(
            [Fault(HuhCode.DUPLICATE_ELEMENT, where, str(error), "each key once")]
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 4,300 digits, NaN, lists a thousand deep
        raise InvalidMessage([Fault(NOT_JSON, where, str(error)[:60], "JSON that can be held")]) from error
    if not isinstance(line, dict):
        raise InvalidMessage([Fault(NOT_JSON, where, shown(line), "an object")])
    return cast("dict[str, Any]", line)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Repeated(f"{shown(next(key for key in keys if keys.count(key) > 1))} twice")
    return result


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON")


def _unknown_key(key: str, known: Iterable[str]) -> Fault:
    return Fault(HuhCode.UNEXPECTED_ELEMENT, key[:60], f"a key {shown(key)}", ", ".join(known))


def _original(piece: Piece) -> str:
    return piece.content[:8_000].decode("utf-8", "replace")[:2_000]  # a Huh quotes so much
