"""One table: Python type, XSD type, text.

Decides how each scalar is written and read, exactly: what is written is read back equal,
what XML Schema reads otherwise is not read at all. Where libxml2 is laxer than XML Schema
(base64 with foreign characters, ``1e``, blanks at one end of a date) this table is not.
Numbers take white space around them; text never changes. Knows no fields, classes or paths.
Called by ``plans`` and what works on them.

Two choices: a Decimal is written in fixed notation, since xs:decimal has no exponent
(``Decimal("1E+2")`` comes back as ``Decimal("100")``, which is equal); a datetime keeps its
UTC offset, not the name of its zone.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, Final, final
from uuid import UUID

from phloem.config import MAX_TEXT
from phloem.messages import HuhCode
from phloem.wire.parsing import first_bad_char, quoted

__all__ = ["BLANK", "DOUBLE", "SCALARS", "Refusal", "Scalar", "non_finite", "wrong_type"]

BLANK: Final = " \t\n\r"  # XML's white space; str.strip() alone would take more
_MOST_DIGITS: Final = 4_300  # of a Decimal in fixed notation; what Python allows an int, too
_FARTHEST: Final = timedelta(hours=14)  # UTC offset, by XML Schema
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
DOUBLE: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DATE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK: Final = r"([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+\-][0-9]{2}:[0-5][0-9])?"
_HEX: Final = "[0-9a-fA-F]"
_UUID: Final = f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
_DATES: Final = re.compile(_DATE)
_TIMES: Final = re.compile(_CLOCK)
_DATETIMES: Final = re.compile(f"{_DATE}T{_CLOCK}")
_UUIDS: Final = re.compile(_UUID)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_SPECIALS: Final = {"NaN": float("nan"), "INF": float("inf"), "-INF": float("-inf")}


@final
class Refusal(Exception):
    """A value that cannot be written, or a text that cannot be read; whoever asked adds the path."""

    def __init__(self, code: str, found: str, expected: str) -> None:
        super().__init__(found, expected)
        self.code, self.found, self.expected = code, found, expected


@final
@dataclass(frozen=True, slots=True)
class Scalar:
    """One row. ``write`` and ``read`` raise ``Refusal``; ``pattern`` narrows XSD's range to Python's."""

    python: type
    tag: str
    xsd: str
    words: str
    write: Callable[[Any], str]
    read: Callable[[str], Any]
    pattern: str | None = None


def wrong_type(value: object, expected: str) -> Refusal:
    kind = "None" if value is None else f"{type(value).__name__} {quoted(repr(value))}"
    return Refusal(HuhCode.TYPE, kind, expected)


def _unreadable(text: str, expected: str) -> Refusal:
    return Refusal(HuhCode.TYPE, quoted(text), expected)


def _write_str(value: object) -> str:
    if not isinstance(value, str):
        raise wrong_type(value, "text")
    if len(value) > MAX_TEXT:
        raise Refusal(HuhCode.TOO_LARGE, f"{len(value)} characters", f"at most {MAX_TEXT} in one text")
    bad = first_bad_char(value)
    if bad is not None:
        raise Refusal(
            HuhCode.BAD_CHAR,
            f"U+{ord(value[bad]):04X} at character {bad + 1}",
            "only characters XML can carry",
        )
    return str.__str__(value)


def _write_int(value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(value, "an integer")
    try:
        return int.__repr__(value)
    except ValueError:  # Python's own limit on int <-> text
        raise Refusal(HuhCode.TOO_LARGE, f"an integer of {value.bit_length()} bits", "fewer digits") from None


def _read_int(text: str) -> int:
    bare = text.strip(BLANK)
    if not _INTEGER.fullmatch(bare):
        raise _unreadable(text, "an integer")
    try:
        return int(bare)
    except ValueError:
        raise Refusal(HuhCode.TOO_LARGE, f"an integer of {len(bare)} digits", "fewer digits") from None


def non_finite(value: float) -> str:
    """XML Schema's words for what repr() calls nan, inf and -inf."""
    return "NaN" if isnan(value) else "INF" if value > 0 else "-INF"


def _write_float(value: object) -> str:
    if type(value) is int:  # PEP 484: an int is a float, as long as none of it is lost
        try:
            exact = float(value) == value
        except OverflowError:
            exact = False
        if not exact:
            raise wrong_type(value, "a float, or an int that one holds exactly")
        return repr(float(value))
    if not isinstance(value, float):
        raise wrong_type(value, "a float")
    return float.__repr__(value) if isfinite(value) else non_finite(value)


def _read_float(text: str) -> float:
    bare = text.strip(BLANK)
    if DOUBLE.fullmatch(bare):
        return float(bare)
    if text in _SPECIALS:  # libxml2 takes no blank behind these
        return _SPECIALS[text]
    raise _unreadable(text, "a number (or NaN, INF, -INF)")


def _write_bool(value: object) -> str:
    if type(value) is not bool:
        raise wrong_type(value, "a bool")
    return "true" if value else "false"


def _read_bool(text: str) -> bool:
    known = _BOOLEANS.get(text.strip(BLANK))
    if known is None:
        raise _unreadable(text, "true or false")
    return known


def _write_decimal(value: object) -> str:
    if not isinstance(value, Decimal):
        raise wrong_type(value, "a Decimal")
    if not value.is_finite():
        raise Refusal(HuhCode.TYPE, str(value), "a finite Decimal")
    exponent = int(value.as_tuple().exponent)
    if len(value.as_tuple().digits) + abs(exponent) > _MOST_DIGITS:
        raise Refusal(
            HuhCode.TOO_LARGE, quoted(str(value)), f"at most {_MOST_DIGITS} digits in fixed notation"
        )
    return format(value, "f")


def _read_decimal(text: str) -> Decimal:
    bare = text.strip(BLANK)
    if not _DECIMAL.fullmatch(bare):
        raise _unreadable(text, "a decimal number without exponent")
    return Decimal(bare)


def _write_bytes(value: object) -> str:
    if type(value) is not bytes:
        raise wrong_type(value, "bytes")
    text = b64encode(value).decode("ascii")
    if len(text) > MAX_TEXT:
        raise Refusal(HuhCode.TOO_LARGE, f"{len(value)} bytes", f"at most {MAX_TEXT * 3 // 4}")
    return text


def _read_bytes(text: str) -> bytes:
    packed = "".join(text.split()) if text.isascii() else text
    try:
        value = binascii.a2b_base64(packed, strict_mode=True) if packed else b""
    except (binascii.Error, ValueError):
        raise _unreadable(text, "base64") from None
    if b64encode(value).decode("ascii") != packed:  # bits left over behind the last byte
        raise _unreadable(text, "base64 in its canonical form")
    return value


def _fixed_offset(zone: tzinfo | None, offset: timedelta | None) -> None:
    if zone is not None and offset is None:
        raise Refusal(HuhCode.TYPE, f"the zone {quoted(str(zone))}", "a fixed UTC offset")
    if offset is not None and (offset.seconds % 60 or offset.microseconds or abs(offset) > _FARTHEST):
        raise Refusal(HuhCode.TYPE, f"the UTC offset {offset}", "whole minutes within 14 hours")


def _write_date(value: object) -> str:
    if type(value) is not date:
        raise wrong_type(value, "a date")
    return value.isoformat()


def _write_datetime(value: object) -> str:
    if type(value) is not datetime:
        raise wrong_type(value, "a datetime")
    _fixed_offset(value.tzinfo, value.utcoffset())
    return value.isoformat()


def _write_time(value: object) -> str:
    if type(value) is not time:
        raise wrong_type(value, "a time")
    _fixed_offset(value.tzinfo, value.utcoffset())
    return value.isoformat()


def _write_uuid(value: object) -> str:
    if not isinstance(value, UUID):
        raise wrong_type(value, "a UUID")
    return UUID.__str__(value)


def _by_pattern(form: re.Pattern[str], make: Callable[[str], Any], expected: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if form.fullmatch(text):
            try:
                value = make(text)
                if expected[-1] == "]":  # has an offset
                    _fixed_offset(value.tzinfo, value.utcoffset())
            except ValueError:
                raise _unreadable(text, expected) from None
            return value
        raise _unreadable(text, expected)

    return read


_A_DATE: Final = "a date such as 2031-05-17"
_A_TIME: Final = "a time such as 09:30:00 [+02:00]"
_A_DATETIME: Final = "a date and time such as 2031-05-17T09:30:00 [+02:00]"
_A_UUID: Final = "a UUID of 36 characters"

SCALARS: Final = {
    scalar.python: scalar
    for scalar in (
        Scalar(str, "Str", "string", "text", _write_str, str),
        Scalar(int, "Int", "integer", "an integer", _write_int, _read_int),
        Scalar(float, "Float", "double", "a number", _write_float, _read_float),
        Scalar(bool, "Bool", "boolean", "true or false", _write_bool, _read_bool),
        Scalar(Decimal, "Decimal", "decimal", "a decimal number", _write_decimal, _read_decimal),
        Scalar(bytes, "Bytes", "base64Binary", "base64", _write_bytes, _read_bytes),
        Scalar(
            date,
            "Date",
            "date",
            _A_DATE,
            _write_date,
            _by_pattern(_DATES, date.fromisoformat, _A_DATE),
            _DATE,
        ),
        Scalar(
            datetime,
            "Datetime",
            "dateTime",
            _A_DATETIME,
            _write_datetime,
            _by_pattern(_DATETIMES, datetime.fromisoformat, _A_DATETIME),
            f"{_DATE}T{_CLOCK}",
        ),
        Scalar(
            time,
            "Time",
            "time",
            _A_TIME,
            _write_time,
            _by_pattern(_TIMES, time.fromisoformat, _A_TIME),
            _CLOCK,
        ),
        Scalar(UUID, "UUID", "string", _A_UUID, _write_uuid, _by_pattern(_UUIDS, UUID, _A_UUID), _UUID),
    )
}
