"""One table: Python's plain types <-> JSON, without losing a digit. Pure.

Decides which JSON value stands for which str, number, date, UUID, enum member… Never
guesses: "5" is no int, 5.0 is no int, and a number that a float cannot hold is refused.
``fields`` builds everything else on it.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, final
from uuid import UUID

from phloem.messages import Fault, HuhCode

__all__ = [
    "SCALARS",
    "Digits",
    "Form",
    "as_list",
    "as_object",
    "complain",
    "enum_form",
    "literal_form",
    "shown",
]

_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE: Final = MappingProxyType({"NaN": math.nan, "INF": math.inf, "-INF": -math.inf})  # as xs:double


@final
class Digits(str):
    """A JSON number with a point or an exponent, as it was written: what it becomes its field decides."""

    __slots__ = ()


Read = Callable[[object, str, list[Fault]], Any]  # (value, path, faults): adds to faults what is wrong


@final
@dataclass(frozen=True, slots=True)
class Form:
    """How one type is read from JSON and written to it, and which objects are of it."""

    name: str
    read: Read
    write: Callable[[Any], Any]
    owns: Callable[[object], bool]


def shown(value: object) -> str:
    """The JSON value for a complaint: at most 60 characters of it."""
    if isinstance(value, Digits):
        text = str(value)
    elif isinstance(value, dict):
        text = "an object"
    elif isinstance(value, list):
        text = "a list"
    elif isinstance(value, int) and value.bit_length() > 200:
        text = "a number of more than 60 digits"
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def complain(
    faults: list[Fault], path: str, value: object, expected: str, code: HuhCode = HuhCode.TYPE
) -> None:
    """One fault more. Never raises: all of a message's faults are told at once."""
    faults.append(Fault(code, path, shown(value), expected))


def as_object(value: Any) -> dict[str, Any] | None:
    """A JSON object, or None."""
    return value if issubclass(type(value), dict) else None


def as_list(value: Any) -> list[Any] | None:
    """A JSON list, or None."""
    return value if issubclass(type(value), list) else None  # isinstance would forget what is inside


def _is(kind: type) -> Callable[[object], bool]:
    return lambda value: type(value) is kind


def _same(value: Any) -> Any:
    return value


def _plain(kind: type, expected: str) -> Form:
    def read(value: object, path: str, faults: list[Fault]) -> object:
        if type(value) is not kind:
            complain(faults, path, value, expected)
        return value

    return Form(kind.__name__, read, _same, _is(kind))


def _read_float(value: object, path: str, faults: list[Fault]) -> float | None:
    if type(value) is str and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if type(value) is int or isinstance(value, Digits):
        try:
            number = float(value)
        except OverflowError:  # only an int raises it; a text becomes infinite
            number = math.inf
        if math.isfinite(number):
            return number
        complain(faults, path, value, "a number that a double holds", HuhCode.FACET)
    else:
        complain(faults, path, value, 'a number, "NaN", "INF" or "-INF"')
    return None


def _write_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "INF" if value > 0 else "-INF"


def _read_decimal(value: object, path: str, faults: list[Fault]) -> Decimal | None:
    if type(value) is int:
        return Decimal(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        try:
            return Decimal(value)
        except InvalidOperation:  # an exponent beyond what Decimal holds
            complain(faults, path, value, "a number that Decimal holds", HuhCode.FACET)
    else:
        complain(faults, path, value, "a number, or its digits as a string")
    return None


def _from_text(kind: type, parse: Callable[[str], Any], write: Callable[[Any], str], expected: str) -> Form:
    def read(value: object, path: str, faults: list[Fault]) -> object:
        if type(value) is str:
            try:
                return parse(value)
            except ValueError:
                pass  # told below, in the words of the field
        complain(faults, path, value, expected)
        return None

    return Form(kind.__name__, read, write, _is(kind))


def _parse_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _parse_datetime(text: str) -> datetime:
    if len(text) < 11:  # fromisoformat would take a date, and make up midnight
        raise ValueError("no time")
    return datetime.fromisoformat(text)


SCALARS: Final[MappingProxyType[Any, Form]] = MappingProxyType(
    {
        str: _plain(str, "a string"),
        int: _plain(int, "a whole number"),
        bool: _plain(bool, "true or false"),
        type(None): _plain(type(None), "null"),
        float: Form("float", _read_float, _write_float, _is(float)),
        Decimal: Form("Decimal", _read_decimal, str, _is(Decimal)),
        bytes: _from_text(
            bytes, _parse_bytes, lambda value: base64.b64encode(value).decode("ascii"), "base64 in a string"
        ),
        date: _from_text(date, date.fromisoformat, date.isoformat, 'a date like "2024-03-31"'),
        datetime: _from_text(
            datetime, _parse_datetime, datetime.isoformat, 'a date and time like "2024-03-31T12:00:00+00:00"'
        ),
        time: _from_text(time, time.fromisoformat, time.isoformat, 'a time like "12:30:00"'),
        UUID: _from_text(UUID, UUID, str, "a UUID in a string"),
    }
)


def enum_form(kind: type[Enum]) -> Form:
    """Members by value where JSON has such a value, else by name; either is read."""
    by_json: dict[tuple[type, object], Enum] = {}
    names: dict[Enum, object] = {}
    for member in kind:
        value = member.value
        if type(value) in (str, int, bool):
            by_json[type(value), value] = member
            names[member] = value
        else:
            names[member] = member.name
    for name, member in kind.__members__.items():
        by_json.setdefault((str, name), member)
    choices = ", ".join(shown(value) for value in list(names.values())[:12])
    expected = f"one of {choices}" + (", …" if len(names) > 12 else "")

    def read(value: object, path: str, faults: list[Fault]) -> Enum | None:
        if type(value) in (str, int, bool) and (member := by_json.get((type(value), value))) is not None:
            return member
        complain(faults, path, value, expected, HuhCode.ENUM)
        return None

    return Form(kind.__name__, read, names.__getitem__, lambda value: isinstance(value, kind))


def literal_form(choices: list[tuple[object, object]]) -> Form:
    """A Literal: (the choice, its JSON) pairs. 1, "1" and true are different choices."""
    to_choice = {(type(written), written): choice for choice, written in choices}
    to_json = {(type(choice), choice): written for choice, written in choices}
    expected = "one of " + ", ".join(shown(written) for _, written in choices[:12])

    def read(value: Any, path: str, faults: list[Fault]) -> object:
        plain = as_object(value) is None and as_list(value) is None  # the others cannot be looked up
        if plain and (type(value), value) in to_choice:
            return to_choice[type(value), value]
        complain(faults, path, value, expected, HuhCode.ENUM)
        return None

    def write(value: object) -> object:
        return to_json[type(value), value]

    return Form("Literal", read, write, lambda value: (type(value), value) in to_json)
