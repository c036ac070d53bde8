"""The kinds of scalars an event's data may hold: how each is kept, measured and written in JSON.

Decides which values are kept as they are, what becomes of their subclasses, and what text stands
for an object that is no data. Survives whatever an object's ``repr`` does. Knows no container:
``freezing`` goes through those and calls it, ``types`` for timestamps.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, Final, cast
from uuid import UUID

from phloem.guarding import Raised, attempted

__all__ = [
    "CONSTANT",
    "KEYS",
    "PLAINER",
    "SIZED",
    "cut",
    "name_of",
    "plain_datetime",
    "represented",
    "shown",
    "written",
]

LONGEST_FOUND: Final = 60  # of what was found, in a line of an error
# Python may be told to refuse texts of integers, at the lowest past 640 digits: 2,126 bits.
WIDEST_INTEGER: Final = 2_126


def cut(text: str, longest: int = LONGEST_FOUND) -> str:
    """The text, or so much of it that it has ``longest`` characters with the ellipsis."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def shown(value: object) -> str:
    """What was found, in one line of at most 60 characters. Survives what its ``repr`` does."""
    return cut(represented(value[:LONGEST_FOUND] if type(value) is str else value))


def represented(value: object) -> str:
    """Its ``repr``, or a word on what that raised."""
    text = attempted(lambda: str.__str__(repr(value)))
    if isinstance(text, Raised):
        return f"<{name_of(type(value))}: its repr raised {name_of(type(text.error))}>"
    return cast("str", text)


def name_of(kind: type[Any]) -> str:
    """A class's name. A metaclass may have its own idea of one."""
    name = attempted(lambda: str.__str__(kind.__name__))
    return "object" if isinstance(name, Raised) else cast("str", name)


def written(value: object) -> Any:
    """A scalar that was kept, as JSON has it; None for what is no such scalar (and for None)."""
    write = _WRITTEN.get(type(value))
    if write is None:
        return None
    text = attempted(write, value)  # a datetime's zone may be anybody's
    return represented(value) if isinstance(text, Raised) else text


def plain_datetime(value: datetime) -> datetime:
    """The datetime of a subclass's instance, by datetime's own methods."""
    return datetime.combine(datetime.date(value), datetime.timetz(value))


def _characters(path: object) -> int:
    return len(str(path))


def _integer(value: int) -> int | str:
    return value if value.bit_length() <= WIDEST_INTEGER else hex(value)


def _float(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


_PATHS: Final = (PosixPath, WindowsPath, PurePosixPath, PureWindowsPath)
# Kept as they are, and all of about one size.
CONSTANT: Final = frozenset({type(None), bool, float, complex, datetime, date, time, timedelta, UUID, range})
# Kept as they are, with so many bytes beside what every value takes.
SIZED: Final[Mapping[type[Any], Callable[[Any], int]]] = {
    Decimal: Decimal.__sizeof__,
    **dict.fromkeys(_PATHS, _characters),
}
# Of their subclasses only the value is kept: by the base's own methods, which no subclass overrides.
PLAINER: Final[tuple[tuple[type[Any], Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (bytearray, lambda value: bytes(memoryview(value))),
    (memoryview, memoryview.tobytes),
    (datetime, plain_datetime),
    (date, lambda value: date.fromordinal(date.toordinal(value))),
    (timedelta, timedelta.__pos__),
    (Decimal, Decimal),
)
KEYS: Final = (str, int, float, type(None))  # what JSON has a text for as a key; bool is an int
_WRITTEN: Final[Mapping[type[Any], Callable[[Any], Any]]] = {
    str: str.__str__,
    bool: bool,
    int: _integer,
    float: _float,
    bytes: _base64,
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    **dict.fromkeys((complex, Decimal, UUID, *_PATHS), str),
    range: repr,  # as a list it could be of any length
}
