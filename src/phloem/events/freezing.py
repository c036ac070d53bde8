"""What an event carries, made unchangeable on the way in and plain JSON on the way out.

Decides how each kind of value is kept, what it counts towards history's bytes, and which data no
event takes. Runs users' code (mappings' methods, ``repr``) only where its errors are survived.
Never knows what an event is: ``types`` and the bus call it.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, Final, NoReturn, cast, final
from uuid import UUID

from phloem.errors import InvalidEvent
from phloem.guarding import Raised, attempted, said

__all__ = ["EMPTY", "FrozenMapping", "freeze", "sealed", "shown", "thaw"]

EACH: Final = 64  # bytes a value takes beside its text: a slot in a table and an object's head, rounded up
DEEPEST: Final = 100  # containers in containers; ``json``, ``repr`` and ``==`` recurse, and must have room
# Values in one event, counted as often as they are reached. Ten lists of ten lists of … that share
# their members are small in memory and endless as JSON; so are mappings that never stop giving keys.
MOST_VALUES: Final = 1_000_000
LONGEST_REPR: Final = 500  # enough to tell what an object was; the whole of it belongs in no event
LONGEST_FOUND: Final = 60  # of what was found, in a line of an error
# Python may be told to refuse texts of integers, at the lowest past 640 digits: 2,126 bits.
WIDEST_INTEGER: Final = 2_126

_COUNTED: Final = EACH * MOST_VALUES  # a flat dict of fewer bytes has fewer values

_new = dict.__new__
_fill = dict.update


@final
class FrozenMapping(dict[str, Any]):
    """A dict that nobody changes, at any depth: making one freezes what it is made of.

    A class of its own, since a ``MappingProxyType`` tells nobody whether its dict has another
    owner, and is neither pickled, nor copied, nor written by ``json``. Equal to a dict of the
    same items; ``copy()`` and ``|`` give ordinary dicts. Raises InvalidEvent as ``freeze`` does.
    """

    # What freezing it again need not find out: bytes by estimate, values, height. Of a flat one the
    # bytes alone, for the rest is plain, and three numbers take longer than one.
    __slots__ = ("_shape",)

    _shape: int | tuple[int, int, int]

    def __new__(cls, *args: Any, **kwargs: Any) -> FrozenMapping:
        frozen, _ = freeze(dict(*args, **kwargs))
        return frozen

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``__new__`` has filled it, and dict's own would fill it a second time."""

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("an event's data cannot be changed; dict(data) or data | {…} gives one that can")

    __setitem__ = __delitem__ = __ior__ = _refuse  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenMapping], tuple[dict[str, Any]]]:
        return FrozenMapping, (dict(self),)

    def __copy__(self) -> FrozenMapping:
        return self

    def __deepcopy__(self, memo: object) -> FrozenMapping:
        return self


def freeze(data: Mapping[Any, Any], where: str = "data") -> tuple[FrozenMapping, int]:
    """The data as a mapping that cannot change, and about how many bytes it holds.

    Lists become tuples, sets frozensets, byte arrays bytes, dataclass instances mappings, exceptions
    their class and text, and what else could change its ``repr``. Raises InvalidEvent, which names
    the place below ``where``, for data that is no mapping, contains itself, changes or raises while
    it is read, is nested deeper than 100, holds more than a million values, or has keys that JSON
    has no text for or one text for two. Never a checkpoint.
    """
    kind = type(data)
    if kind is FrozenMapping:
        frozen = cast("FrozenMapping", data)
        return frozen, _measure(frozen)[0]
    if kind is dict:
        if not data:
            return EMPTY, EACH
        own: FrozenMapping = _new(FrozenMapping)
        _fill(own, data)  # in one go: no other thread changes it halfway
        size = EACH
        for key, value in own.items():
            if type(key) is not str:
                break
            value_kind = type(value)
            if value_kind is str:
                size += len(value)
            elif value_kind is int:
                size += value.bit_length() >> 3
            elif value_kind not in _CONSTANT:
                break
            size += EACH + len(key)
        else:
            if size < _COUNTED:
                own._shape = size
                return own, size
    freezing = _Freezing(where)
    try:
        return freezing.top(data), freezing.size
    except RecursionError:
        freezing.refuse("data for which Python's stack has no room here", "a publish from less deep")


def sealed(data: dict[str, Any], size: int) -> FrozenMapping:
    """A copy of a flat dict of plain scalars, ``size`` bytes by estimate: both at its maker's word."""
    own: FrozenMapping = _new(FrozenMapping)
    _fill(own, data)
    own._shape = size
    return own


def shown(value: object) -> str:
    """What was found, in one line of at most 60 characters. Survives what its ``repr`` does."""
    if type(value) is str:
        value = value[:LONGEST_FOUND]
    text = _represented(value)
    return text if len(text) <= LONGEST_FOUND else text[: LONGEST_FOUND - 1] + "…"


def thaw(value: object) -> Any:
    """What ``freeze`` made, as dict, list, str, int, float, bool and None with text for keys: new, JSON-safe.

    Bytes become base64, times and dates ISO text, durations seconds, members of an Enum their
    values, NaN and the infinities ``"nan"``, ``"inf"``, ``"-inf"``, sets lists in the order of their
    members' JSON, integers of more than 640 digits hexadecimal text. What is not frozen yet is frozen
    first, and raises InvalidEvent as ``freeze`` does.
    """
    return _thawed(value, in_member=False)


@final
class _Freezing:
    """One event's data on its way: where we are in it, and what it comes to so far."""

    __slots__ = ("height", "open", "size", "trail", "values", "where")

    def __init__(self, where: str) -> None:
        self.where = where
        self.trail: list[str] = []  # steps from the top to where we are
        self.open: set[int] = set()  # ids of the containers around us
        self.size = self.values = self.height = 0

    def refuse(self, found: str, expected: str) -> NoReturn:
        raise InvalidEvent(f"{self.where}{''.join(self.trail)}: found {found}, expected {expected}")

    def top(self, data: object) -> FrozenMapping:
        if not issubclass(type(data), Mapping):
            self.refuse(shown(data), "a mapping")
        self.size += EACH
        return self.mapping(data, self.pairs(data))

    def value(self, value: Any) -> Any:
        kind: type[Any] = type(value)
        self.size += EACH
        self.values += 1
        if self.values > MOST_VALUES:
            self.refuse("more", f"at most {MOST_VALUES:,} values in an event")
        if kind is str or kind is bytes:
            self.size += len(value)
        elif kind is int:
            self.size += value.bit_length() >> 3
        elif kind in _CONTAINERS:
            return self.container(value)
        elif kind not in _CONSTANT:
            return self.other(value, kind)
        return value

    def container(self, value: Any) -> Any:
        if type(value) is FrozenMapping:
            return self.known(value)
        if isinstance(value, dict):
            return self.mapping(value, self.pairs(cast("dict[Any, Any]", value)))
        if isinstance(value, (list, tuple)):
            return self.sequence(value, self.listed(cast("Iterable[Any]", value)))
        return self.set(value, self.listed(value))

    def other(self, value: Any, kind: type[Any]) -> Any:
        """What is neither a plain scalar nor a plain container, by the first rule that it fits."""
        if issubclass(kind, Enum):
            return value
        if kind in _SIZED:
            self.size += cast("int", _SIZED[kind](value))
            return value
        for base, plain in _PLAINER:
            if issubclass(kind, base):
                found = attempted(plain, value)
                if isinstance(found, Raised):
                    self.raised(found)
                return self.text(found) if type(found) is str or type(found) is bytes else found
        if issubclass(kind, BaseException):
            return self.text(": ".join(filter(None, (_name(kind), said(value)))))
        if issubclass(kind, (list, tuple, set, frozenset)):
            return self.container(value)
        if issubclass(kind, Mapping):
            return self.mapping(value, self.pairs(value))
        fields = attempted(lambda: [field.name for field in dataclasses.fields(kind)])
        if not isinstance(fields, Raised):
            return self.mapping(value, self.read(lambda: [(name, getattr(value, name)) for name in fields]))
        text = _represented(value)
        return self.text(text if len(text) <= LONGEST_REPR else text[: LONGEST_REPR - 1] + "…")

    def text(self, text: str | bytes) -> str | bytes:
        self.size += len(text)
        return text

    def known(self, frozen: FrozenMapping) -> FrozenMapping:
        """One that is frozen already: only its measure is taken."""
        size, values, height = _measure(frozen)
        self.size += size - EACH  # its own place is counted
        self.values += values
        self.height = max(self.height, height)
        if len(self.open) + height > DEEPEST:
            self.refuse("a mapping with more in it", f"containers at most {DEEPEST} deep")
        if self.values > MOST_VALUES:
            self.refuse("more", f"at most {MOST_VALUES:,} values in an event")
        return frozen

    def mapping(self, owner: object, pairs: list[tuple[Any, Any]]) -> FrozenMapping:
        size, values = self.size - EACH, self.values
        around = self.enter(owner)
        kept: list[tuple[Any, Any]] = []
        plain = True
        for key, value in pairs:
            if type(key) is not str:
                plain = False
                key = self.key(key)
            self.size += len(key) if type(key) is str else EACH
            self.trail[-1] = f".{key}" if type(key) is str and key.isidentifier() else f"[{shown(key)}]"
            kept.append((key, self.value(value)))
        own: FrozenMapping = _new(FrozenMapping)
        if isinstance(failed := attempted(_fill, own, kept), Raised):
            self.raised(failed)  # by the hash of a member of somebody's Enum
        if not plain or len(own) < len(kept):
            self.distinct(kept)
        own._shape = (self.size - size, self.values - values, self.leave(owner, around))
        return own

    def sequence(self, owner: object, members: list[Any]) -> tuple[Any, ...]:
        around = self.enter(owner)
        kept: list[Any] = []
        for index, member in enumerate(members):
            self.trail[-1] = f"[{index}]"
            kept.append(self.value(member))
        self.leave(owner, around)
        return tuple(kept)

    def set(self, owner: object, members: list[Any]) -> frozenset[Any]:
        around = self.enter(owner)
        self.trail[-1] = "{…}"  # a set has no places
        kept = attempted(frozenset, [self.value(member) for member in members])
        if isinstance(kept, Raised):
            self.raised(kept)
        self.leave(owner, around)
        return cast("frozenset[Any]", kept)

    def enter(self, owner: object) -> int:
        """A step into a container; gives the height of what its neighbours hold."""
        if id(owner) in self.open:
            self.refuse(f"a {_name(type(owner))} that contains itself", "data that ends")
        if len(self.open) >= DEEPEST:
            self.refuse(f"a {_name(type(owner))} in {DEEPEST} others", f"containers at most {DEEPEST} deep")
        self.open.add(id(owner))
        self.trail.append("")
        around, self.height = self.height, 0
        return around

    def leave(self, owner: object, around: int) -> int:
        """A step out; gives the container's own height."""
        self.open.discard(id(owner))
        self.trail.pop()
        height = self.height + 1
        self.height = max(around, height)
        return height

    def key(self, key: Any) -> Any:
        """The key, plain. It stays what it is; only JSON makes text of it."""
        kind: type[Any] = type(key)
        if issubclass(kind, Enum):
            inner = attempted(lambda: key._value_)
            if issubclass(type(inner), _KEYS):
                return key
        elif kind in _KEYS:
            return key
        elif issubclass(kind, str):
            return str.__str__(key)
        elif issubclass(kind, int):
            return int.__int__(key)
        elif issubclass(kind, float):
            return float.__float__(key)
        self.trail.pop()
        self.refuse(f"the key {shown(key)}", "text, a number, a boolean, None or an Enum's member for a key")

    def distinct(self, pairs: list[tuple[Any, Any]]) -> None:
        texts: dict[str, Any] = {}
        for key, _ in pairs:
            text = _key_text(key)
            if text in texts:
                self.trail.pop()
                self.refuse(f"the keys {shown(texts[text])} and {shown(key)}", "keys that JSON tells apart")
            texts[text] = key

    def pairs(self, mapping: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
        if type(mapping) is dict:
            return list(mapping.copy().items())
        return cast("list[tuple[Any, Any]]", self.read(lambda: [(k, v) for k, v in _some(mapping.items())]))

    def listed(self, members: Iterable[Any]) -> list[Any]:
        return cast("list[Any]", self.read(lambda: list(_some(members))))

    def read(self, function: Callable[[], list[Any]]) -> list[Any]:
        """What a user's object holds, by its own methods."""
        found = attempted(function)
        if isinstance(found, Raised):
            self.raised(found)
        return cast("list[Any]", found)

    def raised(self, found: Raised) -> NoReturn:
        what = f"{_name(type(found.error))}: {said(found.error)}"
        self.refuse(f"what raised {what[:LONGEST_FOUND]}", "data that can be read")


def _measure(frozen: FrozenMapping) -> tuple[int, int, int]:
    shape = frozen._shape
    return (shape, len(frozen), 1) if isinstance(shape, int) else shape


def _some(members: Iterable[Any]) -> Iterable[Any]:
    return itertools.islice(members, MOST_VALUES + 1)


def _name(kind: type[Any]) -> str:
    name = attempted(lambda: str.__str__(kind.__name__))  # a metaclass may have its own idea of it
    return "object" if isinstance(name, Raised) else cast("str", name)


def _represented(value: object) -> str:
    text = attempted(lambda: str.__str__(repr(value)))
    if isinstance(text, Raised):
        return f"<{_name(type(value))}: its repr raised {_name(type(text.error))}>"
    return cast("str", text)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _key_text(key: object) -> str:
    """A key as JSON has it."""
    plain = thaw(key)
    return plain if isinstance(plain, str) else _json(plain)


def _thawed(value: object, *, in_member: bool) -> Any:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is FrozenMapping:
        items = cast("FrozenMapping", value).items()
        return {_key_text(key): _thawed(each, in_member=in_member) for key, each in items}
    if kind is tuple:
        return [_thawed(each, in_member=in_member) for each in cast("tuple[Any, ...]", value)]
    if kind is frozenset:
        members = [_thawed(each, in_member=in_member) for each in cast("frozenset[Any]", value)]
        return sorted(members, key=_json)
    if issubclass(kind, Enum):
        return _thawed_member(cast("Enum", value), in_member=in_member)
    written = _WRITTEN.get(kind)
    if written is None:
        return _thawed(freeze({"value": value}, "thawed")[0]["value"], in_member=in_member)
    text = attempted(written, value)
    return _represented(value) if isinstance(text, Raised) else text


def _thawed_member(member: Enum, *, in_member: bool) -> Any:
    """A member's value. Members in it that are no scalars stay names: they may lead back here."""
    frozen = attempted(lambda: freeze({"value": member._value_})[0]["value"])
    kind = type(frozen)
    if kind is Raised or (in_member and (kind in _CONTAINERS or issubclass(kind, Enum))):
        return _represented(member)
    return _thawed(frozen, in_member=True)


def _plain_datetime(value: datetime) -> datetime:
    return datetime.combine(datetime.date(value), datetime.timetz(value))


def _characters(path: object) -> int:
    return len(str(path))


def _written_integer(value: int) -> int | str:
    return value if value.bit_length() <= WIDEST_INTEGER else hex(value)


def _written_float(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _written_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


_PATHS: Final = (PosixPath, WindowsPath, PurePosixPath, PureWindowsPath)
_CONTAINERS: Final = frozenset({FrozenMapping, dict, list, tuple, set, frozenset})
# Kept as they are, and of one size.
_CONSTANT: Final = frozenset({type(None), bool, float, complex, datetime, date, time, timedelta, UUID, range})
_SIZED: Final[Mapping[type[Any], Callable[[Any], int]]] = {
    Decimal: Decimal.__sizeof__,
    **dict.fromkeys(_PATHS, _characters),
}
# Of their subclasses only the value is kept: by the base's own methods, which no subclass overrides.
_PLAINER: Final[tuple[tuple[type[Any], Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (bytearray, lambda value: bytes(memoryview(value))),
    (memoryview, memoryview.tobytes),
    (datetime, _plain_datetime),
    (date, lambda value: date.fromordinal(date.toordinal(value))),
    (timedelta, timedelta.__pos__),
    (Decimal, Decimal),
)
_KEYS: Final = (str, int, float, type(None))  # bool is an int
_WRITTEN: Final[Mapping[type[Any], Callable[[Any], Any]]] = {
    int: _written_integer,
    float: _written_float,
    bytes: _written_bytes,
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    **dict.fromkeys((complex, Decimal, UUID, *_PATHS), str),
    range: repr,  # as a list it could be of any length
}
EMPTY: Final = sealed({}, EACH)
