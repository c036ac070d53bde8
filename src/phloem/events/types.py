"""What a bus carries: the types of events, an event, and what a stream says in its place.

Decides an event's fields, what a caller may give for them, and its text in JSON. Stamps nothing
and keeps nothing: that is the bus's. History keeps rows; ``event_of`` makes an event of one when
somebody reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timezone
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, cast, final
from zoneinfo import ZoneInfo

from phloem.errors import InvalidEvent
from phloem.guarding import Raised, attempted, said

from .freezing import EMPTY, FrozenMapping, freeze, sealed, shown, thaw
from .kinds import plain_datetime

__all__ = ["UNPUBLISHED", "AgentEvent", "EventType", "HistoryGap", "Lagged", "Row", "event_of"]

UNPUBLISHED: Final = datetime(
    1, 1, 1, tzinfo=UTC
)  # "the bus will stamp it"; compare with ==, copies are made


@final
class EventType(StrEnum):
    """The types every bus knows. Types are open: an application registers its own by name."""

    EXECUTION_STARTED = "execution_started"
    EXECUTION_COMPLETED = "execution_completed"
    EXECUTION_FAILED = "execution_failed"
    EXECUTION_PAUSED = "execution_paused"
    EXECUTION_RESUMED = "execution_resumed"
    STATE_CHANGED = "state_changed"
    STATE_CONFLICT = "state_conflict"
    GOAL_PROGRESS = "goal_progress"
    GOAL_ACHIEVED = "goal_achieved"
    CONSTRAINT_VIOLATION = "constraint_violation"
    STREAM_STARTED = "stream_started"
    STREAM_STOPPED = "stream_stopped"
    NODE_LOOP_STARTED = "node_loop_started"
    NODE_LOOP_ITERATION = "node_loop_iteration"
    NODE_LOOP_COMPLETED = "node_loop_completed"
    LLM_TEXT_DELTA = "llm_text_delta"
    LLM_REASONING_DELTA = "llm_reasoning_delta"
    TOOL_CALL_STARTED = "tool_call_started"
    TOOL_CALL_COMPLETED = "tool_call_completed"
    CLIENT_OUTPUT_DELTA = "client_output_delta"
    CLIENT_INPUT_REQUESTED = "client_input_requested"
    NODE_INTERNAL_OUTPUT = "node_internal_output"
    NODE_INPUT_BLOCKED = "node_input_blocked"
    NODE_STALLED = "node_stalled"
    CUSTOM = "custom"

    __hash__ = str.__hash__  # Enum's own is Python code, and each event is looked up by its type


@final
@dataclass(frozen=True, init=False)
class AgentEvent:
    """One thing that happened: of which type, on which stream, by which node, in which execution.

    ``data`` is whatever mapping the publisher gives; the one that subscribers see is frozen
    at any depth. ``timestamp`` is aware; left out, the bus stamps it, as it does ``id``, ``seq``
    (per bus, from 1, gapless) and, where it knows, ``cause_id``: the event or message that led
    to this one. Equal by value. Raises InvalidEvent for a field that no event can have.
    """

    # No slots, and an own ``__init__``: filling ``__dict__`` at once takes a third of the time that
    # a frozen dataclass's ten calls of ``object.__setattr__`` take. No class attribute stands for
    # ``timestamp`` and ``id``, which an event of a row makes when they are asked for.

    type: str
    stream_id: str
    node_id: str | None = None
    execution_id: str | None = None
    data: Mapping[str, Any] = EMPTY
    timestamp: datetime = field(default_factory=lambda: UNPUBLISHED)
    correlation_id: str | None = None
    id: str = field(default_factory=str, kw_only=True)
    seq: int = field(default=0, kw_only=True)
    cause_id: str | None = field(default=None, kw_only=True)

    def __init__(
        self,
        type: str,
        stream_id: str,
        node_id: str | None = None,
        execution_id: str | None = None,
        data: Mapping[str, Any] = EMPTY,
        timestamp: datetime = UNPUBLISHED,
        correlation_id: str | None = None,
        *,
        id: str = "",
        seq: int = 0,
        cause_id: str | None = None,
    ) -> None:
        self.__dict__.update(
            {
                "type": type,
                "stream_id": stream_id,
                "node_id": node_id,
                "execution_id": execution_id,
                "data": data,
                "timestamp": timestamp,
                "correlation_id": correlation_id,
                "id": id,
                "seq": seq,
                "cause_id": cause_id,
            }
        )
        self.__post_init__()

    def __post_init__(self) -> None:
        given: Any = self  # whatever the annotations say
        if not (
            isinstance(given.type, str)
            and given.type
            and isinstance(given.stream_id, str)
            and given.stream_id
            and (given.node_id is None or (isinstance(given.node_id, str) and given.node_id))
            and (given.execution_id is None or (isinstance(given.execution_id, str) and given.execution_id))
            and (
                given.correlation_id is None
                or (isinstance(given.correlation_id, str) and given.correlation_id)
            )
            and (given.cause_id is None or (isinstance(given.cause_id, str) and given.cause_id))
        ):
            _check_texts(self.__dict__)  # says which
        if type(given.data) is not FrozenMapping and not isinstance(given.data, Mapping):
            _refuse("data", given.data, "a mapping")
        if given.timestamp is not UNPUBLISHED:
            self.__dict__["timestamp"] = _plain_timestamp(given.timestamp)

    if not TYPE_CHECKING:  # whose readers would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            own = self.__dict__
            if name == "timestamp" and "_at" in own:
                value = own[name] = _from_timestamp(own["_at"], UTC)
            elif name == "id" and "_bus" in own:
                value = own[name] = f"{own['_bus']}-{own['seq']}"
            else:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return value

    def __hash__(self) -> int:
        return hash((self.id, self.seq))  # data given by a publisher may have no hash

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy, which know no way with a MappingProxyType."""
        state = dict(self.__dict__)
        if type(self.data) is MappingProxyType:
            state["data"] = dict(state["data"])
        return state

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON has it: the reference's seven keys, then ``id``, ``seq``, ``cause_id``.

        ``timestamp`` is ISO text, or None while unpublished. Raises InvalidEvent for data that no
        bus would have taken either.
        """
        return {
            "type": thaw(self.type),
            "stream_id": thaw(self.stream_id),
            "node_id": thaw(self.node_id),
            "execution_id": thaw(self.execution_id),
            "data": thaw(freeze(self.data)[0]),
            "timestamp": None if self.timestamp == UNPUBLISHED else thaw(self.timestamp),
            "correlation_id": thaw(self.correlation_id),
            "id": thaw(self.id),
            "seq": self.seq,
            "cause_id": thaw(self.cause_id),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> AgentEvent:
        """The event that ``to_dict`` wrote, its data frozen; the reference's seven keys alone will do.

        ``timestamp`` may end in ``Z``. Raises InvalidEvent for anything else, and says which key,
        what was found there and what was expected.
        """
        values = _read(found)
        text = values["type"]
        _check_texts(values)
        seq = values.setdefault("seq", 0)
        if type(seq) is not int or seq < 0:
            _refuse("seq", seq, "an integer from 0")
        if type(values.setdefault("id", "")) is not str:
            _refuse("id", values["id"], "text")
        values["type"] = _KNOWN.get(text, text)
        values["data"], _ = freeze(values["data"])
        values["timestamp"] = _timestamp_of(values["timestamp"])
        return cls(**values)


@final
@dataclass(frozen=True, slots=True)
class Lagged:
    """In a stream, where events were lost: so many."""

    count: int


@final
@dataclass(frozen=True, slots=True)
class HistoryGap:
    """At a stream's beginning: history no longer holds all events after ``since`` up to ``until``."""

    since: int
    until: int


# An event as history holds it: seq, type, stream, node, execution, data, the wall clock's seconds or
# the publisher's own timestamp, correlation, cause, id, bytes by estimate. Data is frozen, or of a
# publisher that never touches it again: a flat dict, or a tuple of keys and values in turn (which
# the garbage collector need not look at twice).
Row: TypeAlias = tuple[
    int,
    str,
    str,
    str | None,
    str | None,
    Mapping[str, Any] | tuple[Any, ...],
    float | datetime,
    str | None,
    str | None,
    str,
    int,
]


def event_of(row: Row, bus: str = "") -> AgentEvent:
    """The event of a row, unchecked: the bus checked what it took. ``bus`` begins the id if there is none."""
    seq, kind, stream, node, execution, data, at, correlation, cause, id, size = row
    event: AgentEvent = _new(AgentEvent)
    _fill(
        event,
        {
            "type": _KNOWN.get(kind, kind),
            "stream_id": stream,
            "node_id": node,
            "execution_id": execution,
            "data": data if type(data) is FrozenMapping else sealed(_flat(data), size),
            "timestamp" if isinstance(at, datetime) else "_at": at,
            "correlation_id": correlation,
            "id" if id else "_bus": id or bus,
            "seq": seq,
            "cause_id": cause,
        },
    )
    return event


def _flat(data: Mapping[str, Any] | tuple[Any, ...]) -> dict[str, Any]:
    """What was recorded in a hurry: a dict, or keys and values in turn."""
    if isinstance(data, tuple):
        return dict(zip(data[::2], data[1::2], strict=True))
    return dict(data)


_new = object.__new__
_fill = cast("Callable[[AgentEvent, dict[str, Any]], None]", vars(AgentEvent)["__dict__"].__set__)
_from_timestamp = datetime.fromtimestamp
_KNOWN: Final[Mapping[str, EventType]] = {member.value: member for member in EventType}
_TEXTS: Final = ("type", "stream_id")
_TEXTS_OR_NONE: Final = ("node_id", "execution_id", "correlation_id", "cause_id")
_REFERENCE_KEYS: Final = (
    "type", "stream_id", "node_id", "execution_id", "data", "timestamp", "correlation_id",
)  # fmt: skip
_KEYS: Final = (*_REFERENCE_KEYS, "id", "seq", "cause_id")
# ISO 8601 as ``isoformat`` and JavaScript write it; ``fromisoformat`` would take weeks and commas too.
_TIMESTAMP: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?(Z|[+-]\d\d:\d\d(:\d\d(\.\d{6})?)?)", re.ASCII
)
_EXPECTED_TIMESTAMP: Final = "None or ISO text with an offset, such as 2026-01-31T12:00:00+00:00"


def _refuse(name: str, found: object, expected: str) -> NoReturn:
    raise InvalidEvent(f"{name}: found {shown(found)}, expected {expected}")


def _check_texts(values: Mapping[str, Any]) -> None:
    for name in _TEXTS:
        value = values[name]
        if not (isinstance(value, str) and value):
            _refuse(name, value, "text that is not empty")
    for name in _TEXTS_OR_NONE:
        value = values.get(name)
        if value is not None and not (isinstance(value, str) and value):
            _refuse(name, value, "None or text that is not empty")


def _plain_timestamp(found: Any) -> datetime:
    """The same moment; a class or a zone that is somebody's own raises and changes nothing later on."""
    if not isinstance(found, datetime):
        _refuse("timestamp", found, "an aware datetime")
    if type(found) is datetime and found.tzinfo is UTC:
        return found
    offset = attempted(datetime.utcoffset, found)
    if offset is None or isinstance(offset, Raised):
        _refuse("timestamp", found, "an aware datetime: with a tzinfo that gives an offset")
    zone = found.tzinfo if type(found.tzinfo) in (timezone, ZoneInfo) else timezone(offset)
    if type(found) is datetime and zone is found.tzinfo:
        return found
    return plain_datetime(found).replace(tzinfo=zone)


def _timestamp_of(found: object) -> datetime:
    if found is None:
        return UNPUBLISHED
    if not (isinstance(found, str) and _TIMESTAMP.fullmatch(found)):
        _refuse("timestamp", found, _EXPECTED_TIMESTAMP)
    try:
        return datetime.fromisoformat(found)
    except ValueError:  # no such day, or hour
        _refuse("timestamp", found, _EXPECTED_TIMESTAMP)


def _read(found: Any) -> dict[str, Any]:
    """Its items, if they have the right keys: the reference's seven, or all of ``to_dict``'s."""
    if not issubclass(type(found), Mapping):
        raise InvalidEvent(f"an event: found {shown(found)}, expected a mapping")
    values = attempted(lambda: dict[Any, Any](found.items()))
    if isinstance(values, Raised):
        what = f"{type(values.error).__name__}: {said(values.error)}"
        raise InvalidEvent(
            f"an event: found a mapping that raised {what[:60]}, expected one that can be read"
        )
    expected = _REFERENCE_KEYS if len(values) == len(_REFERENCE_KEYS) else _KEYS
    for key in values:
        if type(key) is not str or key not in _KEYS:
            raise InvalidEvent(f"an event: found the key {shown(key)}, expected {', '.join(_KEYS)}")
    for key in expected:
        if key not in values:
            raise InvalidEvent(f"an event: found no {key}, expected {', '.join(expected)}")
    return cast("dict[str, Any]", values)
