"""What an event carries, made unchangeable on the way in and plain JSON on the way out.

Decides what becomes of each container, how many bytes history counts for it, and which data no
event takes. Runs users' code (mappings' methods, ``repr``) only where its errors are survived.
Never knows what an event is: ``types`` and the bus call it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import islice
from typing import Any, Final, NoReturn, cast, final

from phloem.errors import InvalidEvent
from phloem.guarding import Raised, attempted, said

from .kinds import CONSTANT, KEYS, PLAINER, SIZED, cut, name_of, represented, shown, written

__all__ = ["EMPTY", "FrozenMapping", "freeze", "sealed", "shown", "thaw"]

EACH: Final = 64  # bytes a value takes beside its text: a slot in a table and an object's head, rounded up
DEEPEST: Final = 100  # containers in containers; ``json``, ``repr`` and ``==`` recurse, and must have room
# Values in one event, counted as often as they are reached. Ten lists of ten lists of … that share
# their members are small in memory and endless as JSON; so are mappings that never stop giving keys.
MOST_VALUES: Final = 1_000_000
LONGEST_REPR: Final = 500  # enough to tell what an object was; the whole of it belongs in no event

_COUNTED: Final = EACH * MOST_VALUES  # a flat dict of fewer bytes has fewer values
_ENOUGH: Final = MOST_VALUES + 1  # members of a container, to see that they are too many
_IN_A_SET: Final = object()  # a step into a set: its members have no places

_kind_of = cast("Callable[[object], type[Any]]", type)  # what a type checker sees of it is too little
_new = cast("Callable[[type[FrozenMapping]], FrozenMapping]", dict.__new__)
_fill = cast("Callable[[dict[Any, Any], object], None]", cast("Any", dict).update)


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

    def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("an event's data cannot be changed; dict(data) or data | {…} gives one that can")

    _refused: Any = _refuse
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refused
    del _refused

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenMapping], tuple[dict[str, Any]]]:
        return FrozenMapping, (dict(self),)

    def __deepcopy__(self, memo: object = None) -> FrozenMapping:
        return self

    __copy__ = __deepcopy__


def freeze(data: Mapping[Any, Any], where: str = "data") -> tuple[FrozenMapping, int]:
    """The data as a mapping that cannot change, and about how many bytes it holds.

    Lists become tuples, sets frozensets, byte arrays bytes, dataclass instances mappings, exceptions
    their class and text, and what else could change its ``repr``. Raises InvalidEvent, which names
    the place below ``where``, for data that is no mapping, contains itself, changes or raises while
    it is read, is nested deeper than 100, holds more than a million values, or has keys that JSON
    has no text for or one text for two. Never a checkpoint.
    """
    kind = _kind_of(data)
    if kind is FrozenMapping:
        frozen = cast("FrozenMapping", data)
        return frozen, _measure(frozen)[0]
    if kind is dict:
        if not data:
            return EMPTY, EACH
        own = _new(FrozenMapping)
        _fill(own, data)  # in one go: no other thread changes it halfway
        size = EACH
        for key, value in own.items():
            if type(key) is not str:
                break
            value_kind = _kind_of(value)
            if value_kind is str:
                size += len(value)
            elif value_kind is int:
                size += value.bit_length() >> 3
            elif value_kind not in CONSTANT:
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
        raise freezing.fault("data for which Python's stack has no room left", "less deep calls") from None


def sealed(data: dict[str, Any], size: int) -> FrozenMapping:
    """A copy of a flat dict of plain scalars, ``size`` bytes by estimate: both at its maker's word."""
    own = _new(FrozenMapping)
    _fill(own, data)
    own._shape = size
    return own


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
        self.trail: list[Any] = []  # keys and indices from the top to where we are
        self.open: set[int] = set()  # ids of the containers around us
        self.size = self.values = self.height = 0

    def fault(self, found: str, expected: str) -> InvalidEvent:
        place = "".join(map(_step, self.trail))
        return InvalidEvent(f"{self.where}{place}: found {found}, expected {expected}")

    def fault_of_keys(self, found: str, expected: str) -> InvalidEvent:
        self.trail.pop()  # it is the mapping's
        return self.fault(found, expected)

    def unreadable(self, why: Raised) -> InvalidEvent:
        what = cut(f"{name_of(type(why.error))}: {said(why.error)}")
        return self.fault(f"what raised {what}", "data that can be read")

    def top(self, data: Any) -> FrozenMapping:
        if not issubclass(type(data), Mapping):
            raise self.fault(shown(data), "a mapping")
        self.size += EACH
        return self.mapping(data, self.items(data))

    def value(self, value: Any) -> Any:
        kind = _kind_of(value)
        self.count(1, 0)
        if kind is str or kind is bytes:
            self.size += len(value)
        elif kind is int:
            self.size += value.bit_length() >> 3
        elif kind not in CONSTANT:
            return self.container(value, kind)
        return value

    def count(self, values: int, text: int) -> None:
        self.values += values
        self.size += EACH * values + text
        if self.values > MOST_VALUES:
            raise self.fault("more", f"at most {MOST_VALUES:,} values in an event")

    def container(self, value: Any, kind: type[Any]) -> Any:
        if kind is dict:
            return self.mapping(value, self.items(value))
        if kind is list or kind is tuple:
            return self.sequence(value, self.members(value))
        if kind is FrozenMapping:
            return self.known(value)
        if issubclass(kind, (set, frozenset)):
            return self.set(value, self.members(value))
        return self.other(value, kind)

    def other(self, value: Any, kind: type[Any]) -> Any:
        """What is neither a plain scalar nor a plain container, by the first rule that it fits."""
        if issubclass(kind, Enum):
            return value
        if kind in SIZED:
            self.size += SIZED[kind](value)
            return value
        for base, plain in PLAINER:
            if issubclass(kind, base):
                found = self.read(plain, value)
                return self.text(found) if base in (str, bytes, bytearray, memoryview) else found
        if issubclass(kind, BaseException):
            return self.text(": ".join(filter(None, (name_of(kind), said(value)))))
        if issubclass(kind, Mapping):
            return self.mapping(value, self.items(value))
        if issubclass(kind, (list, tuple)):
            return self.sequence(value, self.members(value))
        fields = attempted(lambda: [field.name for field in dataclasses.fields(kind)])
        if not isinstance(fields, Raised):
            return self.mapping(value, self.read(lambda: [(name, getattr(value, name)) for name in fields]))
        return self.text(cut(represented(value), LONGEST_REPR))

    def text(self, text: Any) -> Any:
        self.size += len(text)
        return text

    def known(self, frozen: FrozenMapping) -> FrozenMapping:
        """One that is frozen already: only its measure is taken."""
        size, values, height = _measure(frozen)
        self.count(values, size - EACH * (1 + values))  # its own place is counted
        self.height = max(self.height, height)
        if len(self.open) + height > DEEPEST:
            raise self.fault(f"a mapping {height} deep", f"containers at most {DEEPEST} deep in all")
        return frozen

    def mapping(self, owner: object, items: list[tuple[Any, Any]]) -> FrozenMapping:
        size, values, around = self.size - EACH, self.values, self.enter(owner, len(items))
        own = _new(FrozenMapping)
        kept: list[tuple[Any, Any]] = []
        odd = False
        for key, value in items:
            if type(key) is str:
                self.size += len(key)
            else:
                odd, key = True, self.key(key)
            self.trail[-1] = key
            kept.append((key, self.value(value)))
        self.read(_fill, own, kept)  # runs the hashes of somebody's Enum
        if odd or len(own) < len(kept):
            self.tell_apart(kept)
        own._shape = (self.size - size, self.values - values, self.leave(owner, around))
        return own

    def sequence(self, owner: object, members: list[Any]) -> tuple[Any, ...]:
        around = self.enter(owner, len(members))
        kept: list[Any] = []
        if self.uniform(members):
            self.leave(owner, around)
            return tuple(members)
        for index, member in enumerate(members):
            self.trail[-1] = index
            kept.append(self.value(member))
        self.leave(owner, around)
        return tuple(kept)

    def uniform(self, members: list[Any]) -> bool:
        """True if all are texts, integers or scalars of one size: counted so without a look at each."""
        kinds = set(map(_kind_of, members))
        if kinds == {str}:
            text = sum(map(len, members))
        elif kinds == {int}:
            text = sum(map(int.bit_length, members)) >> 3
        elif kinds <= CONSTANT:
            text = 0
        else:
            return False
        self.count(len(members), text)
        return True

    def set(self, owner: object, members: list[Any]) -> frozenset[Any]:
        around = self.enter(owner, len(members))
        self.trail[-1] = _IN_A_SET
        kept = [self.value(member) for member in members]
        found = cast("frozenset[Any]", self.read(frozenset, kept))
        self.leave(owner, around)
        return found

    def enter(self, owner: object, members: int) -> int:
        """A step into a container; gives the height of what its neighbours hold."""
        if members > MOST_VALUES:
            self.count(members, 0)  # refuses it, before the first million have been looked at
        if id(owner) in self.open:
            raise self.fault(f"a {name_of(type(owner))} that contains itself", "data that ends")
        if len(self.open) >= DEEPEST:
            found = f"a {name_of(type(owner))} in {DEEPEST} others"
            raise self.fault(found, f"containers at most {DEEPEST} deep in all")
        self.open.add(id(owner))
        self.trail.append(None)
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
        kind = _kind_of(key)
        text = attempted(lambda: key._value_) if issubclass(kind, Enum) else key
        if not issubclass(type(text), KEYS):
            expected = "text, a number, a boolean, None or an Enum's member with such a value for a key"
            raise self.fault_of_keys(f"the key {shown(key)}", expected)
        self.size += len(text) if issubclass(type(text), str) else EACH
        if kind in KEYS or kind is bool or issubclass(kind, Enum):
            return key
        return next(plain(key) for base, plain in PLAINER if issubclass(kind, base))

    def tell_apart(self, pairs: list[tuple[Any, Any]]) -> None:
        texts: dict[str, Any] = {}
        for key, _ in pairs:
            text = _key_text(key)
            if text in texts:
                found = f"the keys {cut(shown(texts[text]), 30)} and {cut(shown(key), 30)}"
                raise self.fault_of_keys(found, "keys that JSON tells apart")
            texts[text] = key

    def items(self, mapping: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
        if _kind_of(mapping) is dict:
            return list(cast("dict[Any, Any]", mapping).copy().items())  # copied in one go
        return cast(
            "list[tuple[Any, Any]]", self.read(lambda: [(k, v) for k, v in islice(mapping.items(), _ENOUGH)])
        )

    def members(self, container: Iterable[Any]) -> list[Any]:
        if _kind_of(container) in (list, tuple):
            return list(container)
        return cast("list[Any]", self.read(lambda: list(islice(container, _ENOUGH))))

    def read(self, function: Callable[..., Any], *args: object) -> Any:
        """What somebody's object gives, by its own methods."""
        found = attempted(function, *args)
        if isinstance(found, Raised):
            raise self.unreadable(found)
        return found


def _step(step: object) -> str:
    if step is _IN_A_SET:
        return "{…}"
    return f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{shown(step)}]"


def _measure(frozen: FrozenMapping) -> tuple[int, int, int]:
    shape = frozen._shape
    return (shape, len(frozen), 1) if isinstance(shape, int) else shape


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
    if (scalar := written(value)) is not None:
        return scalar
    return _thawed(freeze({"value": value}, "thawed")[0]["value"], in_member=in_member)


def _thawed_member(member: Enum, *, in_member: bool) -> Any:
    """A member's value. Members in it that are no scalars stay names: they may lead back here."""
    frozen = attempted(lambda: freeze({"value": member._value_})[0]["value"])
    scalar = not isinstance(frozen, (FrozenMapping, tuple, frozenset, Enum))
    if isinstance(frozen, Raised) or (in_member and not scalar):
        return represented(member)
    return _thawed(frozen, in_member=True)


EMPTY: Final = sealed({}, EACH)
