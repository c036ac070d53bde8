"""Who wants an event: filters, and a table that finds their owners without asking each.

Decides what a filter may be and which sinks an event goes to, in order of addition. A sink
lies under its types and under the very fields it filters on, so an event is looked up once
for each combination of fields in use and compared with nobody: a thousand subscriptions of
which one matches cost what one does. Never calls a sink, holds no event, knows no clock.
Called by the bus for each event, and wherever a user names types and filters.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar, cast, final

from phloem.errors import InvalidEvent

__all__ = ["QUERY", "SUBSCRIBE", "Filters", "Routes", "filters"]

T = TypeVar("T")
Fields = tuple[str | None, str | None, str | None]  # stream, node, execution
Names = tuple[str, str, str, str]  # of the arguments, for the error's text

SUBSCRIBE: Final[Names] = ("event_types", "filter_stream", "filter_node", "filter_execution")
QUERY: Final[Names] = ("event_type", "stream_id", "node_id", "execution_id")
MOST_FOUND: Final = 60  # characters of a user's value in an error: it stays one line


@final
@dataclass(frozen=True, slots=True)
class Filters:
    """What somebody wants to see. None means any; empty ``types`` means nothing."""

    types: frozenset[str] | None = None
    stream_id: str | None = None
    node_id: str | None = None
    execution_id: str | None = None

    def match(self, type: str, stream_id: str, node_id: str | None, execution_id: str | None) -> bool:
        """Does an event with these fields pass?"""
        return (
            (self.types is None or type in self.types)
            and (self.execution_id is None or self.execution_id == execution_id)
            and (self.node_id is None or self.node_id == node_id)
            and (self.stream_id is None or self.stream_id == stream_id)
        )


def filters(
    event_types: object,
    filter_stream: object,
    filter_node: object,
    filter_execution: object,
    known: Mapping[str, str],
    names: Names = SUBSCRIBE,
) -> Filters:
    """Filters of what a user gave: ``event_types`` is None (any), a type, or an iterable of types.

    ``known`` maps each type's name to the text that rows carry. Raises InvalidEvent for no
    types, an unknown one, an empty text, or what is no text; ``names`` are the arguments' names.
    """
    fields = (filter_stream, filter_node, filter_execution)
    stream, node, execution = (_text(name, field) for name, field in zip(names[1:], fields, strict=True))
    return Filters(_types(names[0], event_types, known), stream, node, execution)


def _types(where: str, given: object, known: Mapping[str, str]) -> frozenset[str] | None:
    if given is None:
        return None
    if isinstance(given, str):
        return frozenset((_type(where, given, known),))
    kind = _kind(given)
    expected = "None (any), an event type, or an iterable of them"
    if isinstance(given, (bytes, bytearray)) or not isinstance(given, Iterable):
        raise _refused(where, _found(given), expected)
    found = frozenset(_type(where, each, known) for each in cast("Iterable[object]", given))
    if not found:
        raise _refused(where, f"an empty {kind}", f"{expected}; at least one")
    return found


def _type(where: str, given: object, known: Mapping[str, str]) -> str:
    if not isinstance(given, str):
        raise _refused(where, _found(given), "an event type: a text")
    name = str.__str__(given)  # of an enum's member, its value
    canonical = known.get(name)
    if canonical is None:
        near = difflib.get_close_matches(name[:MOST_FOUND], known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise _refused(
            where,
            f"the unknown type {_found(given)}",
            f"one of EventType, or a name registered with bus.register_type(name){hint}",
        )
    return canonical


def _text(where: str, given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not given:
        raise _refused(where, _found(given), "None (any) or a text that is not empty")
    return str.__str__(given)


def _found(value: object) -> str:
    """A user's value, without asking it: its ``__repr__`` may be anything."""
    if isinstance(value, str):
        return repr(str.__str__(value)[:MOST_FOUND])
    return f"a value of type {_kind(value)}"


def _kind(value: object) -> str:
    return type(value).__name__


def _refused(where: str, found: str, expected: str) -> InvalidEvent:
    found = found if len(found) <= MOST_FOUND else found[: MOST_FOUND - 1] + "…"
    return InvalidEvent(f"{where}: found {found}, expected {expected}")


@final
class _Bucket(Generic[T]):
    """Sinks with the same filters, in order of addition, under their numbers."""

    __slots__ = ("first", "last", "sinks", "taken")

    def __init__(self) -> None:
        self.sinks: dict[int, T] = {}
        self.taken: tuple[T, ...] = ()  # the sinks as handed out; empty: to be taken anew
        self.first = self.last = 0  # the numbers of the first and last taken

    def snapshot(self) -> tuple[T, ...]:
        """The sinks now. Made on demand: adding a thousand copies nothing a thousand times."""
        sinks = self.sinks
        self.first, self.last = next(iter(sinks)), next(reversed(sinks))
        taken = self.taken = tuple(sinks.values())
        return taken


_Found = _Bucket[T] | list[_Bucket[T]] | None  # nothing, one, or several


def _together(found: _Bucket[T] | list[_Bucket[T]], bucket: _Bucket[T]) -> list[_Bucket[T]]:
    return [*found, bucket] if isinstance(found, list) else [found, bucket]


def _merged(found: list[_Bucket[T]]) -> tuple[T, ...]:
    """The sinks of several buckets, in order of addition."""
    parts = [bucket.taken or bucket.snapshot() for bucket in found]
    if len(found) == 2:  # the usual several: somebody watches everything, and somebody this type
        one, two = found
        if one.last < two.first:
            return parts[0] + parts[1]
        if two.last < one.first:
            return parts[1] + parts[0]
    numbered = [each for bucket in found for each in bucket.sinks.items()]
    numbered.sort(key=itemgetter(0))
    return tuple([sink for _, sink in numbered])


@final
class _Table(Generic[T]):
    """The sinks of one type: those without filters, and the rest by the fields they filter on."""

    __slots__ = ("indexes", "plain")

    def __init__(self) -> None:
        self.plain: _Bucket[T] = _Bucket()
        self.indexes: dict[tuple[int, ...], tuple[Callable[[Any], Any], dict[Any, _Bucket[T]]]] = {}

    def put(self, number: int, fields: Fields, sink: T) -> None:
        """Lay the sink under its fields."""
        shape = tuple(position for position, value in enumerate(fields) if value is not None)
        bucket = self.plain
        if shape:
            if shape not in self.indexes:
                self.indexes[shape] = (cast("Callable[[Any], Any]", itemgetter(*shape)), {})
            pick, buckets = self.indexes[shape]
            bucket = buckets.setdefault(pick(fields), _Bucket())
        bucket.sinks[number] = sink
        bucket.taken = ()

    def take(self, number: int, fields: Fields) -> None:
        """Undo ``put``, to the last empty dict."""
        shape = tuple(position for position, value in enumerate(fields) if value is not None)
        bucket = self.plain
        if shape:
            pick, buckets = self.indexes[shape]
            bucket = buckets[pick(fields)]
            if len(bucket.sinks) == 1:
                del buckets[pick(fields)]
            if not buckets:
                del self.indexes[shape]
        del bucket.sinks[number]
        bucket.taken = ()

    def find(self, fields: Fields, found: _Found[T]) -> _Found[T]:
        """``found`` and each bucket that takes such an event. A list only of several: one is the rule."""
        if self.plain.sinks:
            found = self.plain if found is None else _together(found, self.plain)
        for pick, buckets in self.indexes.values():
            bucket = buckets.get(pick(fields))
            if bucket is not None:
                found = bucket if found is None else _together(found, bucket)
        return found


@final
class Routes(Generic[T]):
    """Sinks by their filters."""

    __slots__ = ("_added", "_numbers", "tables")

    def __init__(self) -> None:
        self.tables: dict[str | None, _Table[T]] = {}  # under None: of any type
        self._numbers: dict[tuple[int, Filters], tuple[int, T]] = {}  # by the sink's identity
        self._added = 0

    def __len__(self) -> int:
        """Sinks that were added and not removed, once for each of their filters."""
        return len(self._numbers)

    def add(self, filters: Filters, sink: T) -> None:
        """Have the sink found from now on, after all that are there. ValueError if it is there already."""
        key = (id(sink), filters)
        if key in self._numbers:
            raise ValueError(f"found {type(sink).__name__} under its filters already, expected it once")
        number = self._added = self._added + 1
        self._numbers[key] = (number, sink)
        fields = (filters.stream_id, filters.node_id, filters.execution_id)
        for name in _places(filters):
            table = self.tables.get(name)
            if table is None:
                table = self.tables[name] = _Table()
            table.put(number, fields, sink)

    def remove(self, filters: Filters, sink: T) -> bool:
        """Have it found no more; nothing of it stays. False if it was not there."""
        number, _ = self._numbers.pop((id(sink), filters), (0, None))
        if not number:
            return False
        fields = (filters.stream_id, filters.node_id, filters.execution_id)
        for name in _places(filters):
            table = self.tables[name]
            table.take(number, fields)
            if not table.indexes and not table.plain.sinks:
                del self.tables[name]
        return True

    def matching(
        self, type: str, stream_id: str, node_id: str | None, execution_id: str | None
    ) -> Sequence[T]:
        """The sinks that want such an event, in order of addition; stays as it is, whoever comes or goes."""
        typed, other = self.tables.get(type), self.tables.get(None)
        if typed is None:
            typed, other = other, None
            if typed is None:
                return ()
        if not typed.indexes:
            if other is None:
                return typed.plain.taken or typed.plain.snapshot()
            if not other.indexes:
                return _merged([typed.plain, other.plain])
        fields = (stream_id, node_id, execution_id)
        if other is None and len(typed.indexes) == 1 and not typed.plain.sinks:  # the rule among filters
            ((pick, buckets),) = typed.indexes.values()
            bucket = buckets.get(pick(fields))
            return () if bucket is None else bucket.taken or bucket.snapshot()
        found = typed.find(fields, None)
        if other is not None:
            found = other.find(fields, found)
        if found is None:
            return ()
        if isinstance(found, list):
            return _merged(found)
        return found.taken or found.snapshot()


def _places(filters: Filters) -> Iterable[str | None]:
    return (None,) if filters.types is None else filters.types
