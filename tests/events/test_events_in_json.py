"""An event as JSON: what ``to_dict`` writes, what ``from_dict`` takes and how it refuses the rest."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.errors import InvalidEvent
from phloem.events.freezing import FrozenMapping, freeze, shown
from phloem.events.types import UNPUBLISHED, AgentEvent, EventType
from support.data import Raises, Text

AT = datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)
EVENT = AgentEvent("custom", "s", "n", "e", freeze({"a": [1]})[0], AT, "c", id="b-7", seq=7, cause_id="m-1")
WRITTEN: dict[str, Any] = {
    "type": "custom",
    "stream_id": "s",
    "node_id": "n",
    "execution_id": "e",
    "data": {"a": [1]},
    "timestamp": "2026-01-02T03:04:05.250000+00:00",
    "correlation_id": "c",
    "id": "b-7",
    "seq": 7,
    "cause_id": "m-1",
}
SEVEN = [*WRITTEN][:7]


def unreadable(found: Any) -> str:
    with pytest.raises(InvalidEvent) as caught:
        AgentEvent.from_dict(found)
    return str(caught.value)


def test_an_event_is_written_with_the_references_keys_first() -> None:
    assert list(EVENT.to_dict().items()) == list(WRITTEN.items())
    assert EVENT.to_dict()["data"] is not EVENT.data


def test_what_is_written_is_plain() -> None:
    event = AgentEvent(
        EventType.CUSTOM, Text("s"), Text("n"), data={"a": {1}, "b": ValueError("x"), "c": float("nan")}
    )
    found = event.to_dict()
    assert [type(found[key]) for key in ("type", "stream_id", "node_id")] == [str, str, str]
    assert found["data"] == {"a": [1], "b": "ValueError: x", "c": "nan"}
    json.dumps(found, allow_nan=False)


def test_an_unpublished_event_has_no_timestamp_in_json() -> None:
    event = AgentEvent("custom", "s")
    assert event.to_dict()["timestamp"] is None
    assert AgentEvent.from_dict(event.to_dict()) == event
    assert pickle.loads(pickle.dumps(event)).to_dict() == event.to_dict()


def test_an_event_is_read_as_it_was_written() -> None:
    again = AgentEvent.from_dict(json.loads(json.dumps(EVENT.to_dict())))
    assert again == EVENT
    assert type(again.data) is FrozenMapping
    assert again.type is EventType.CUSTOM
    assert AgentEvent.from_dict(WRITTEN | {"type": "own.type"}).type == "own.type"


def test_the_references_seven_keys_will_do() -> None:
    found = AgentEvent.from_dict({key: WRITTEN[key] for key in reversed(SEVEN)})
    assert found == dataclasses.replace(EVENT, id="", seq=0, cause_id=None)


STAMPS = [
    ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ("2026-01-02T03:04:05.250Z", AT),
    ("2026-01-02T03:04:05.250000Z", AT),
    ("2026-01-02T05:04:05.250000+02:00", AT),
    ("1900-01-01T00:00:00+00:53:28", datetime(1900, 1, 1, tzinfo=timezone(timedelta(seconds=3208)))),
]


@pytest.mark.parametrize(("text", "expected"), STAMPS)
def test_timestamps_with_an_offset_or_z_are_read(text: str, expected: datetime) -> None:
    assert AgentEvent.from_dict(WRITTEN | {"timestamp": text}).timestamp == expected


BAD: list[tuple[str, Any]] = [
    ("type", None),
    ("type", ""),
    ("type", ["custom"]),
    ("stream_id", 5),
    ("node_id", ""),
    ("execution_id", {}),
    ("correlation_id", 7),
    ("cause_id", ""),
    ("data", None),
    ("data", [["a", 1]]),
    ("id", None),
    ("id", 5),
    ("seq", -1),
    ("seq", True),
    ("seq", 1.0),
    ("seq", "1"),
    *(
        ("timestamp", text)
        for text in ("", "now", 5, 1.5, AT, "2026-01-02", "2026-01-02T03:04:05", "20260102T030405Z")
    ),
    *(
        ("timestamp", text)
        for text in ("2026-01-02T03:04:05z", "2026-01-02T03:04:05.1Z", "2026-W01-1T03:04:05Z")
    ),
    *(
        ("timestamp", text)
        for text in ("2026-02-30T03:04:05Z", "2026-01-02T24:04:05Z", "2026-01-02T03:04:05+24:00")
    ),
    *(
        ("timestamp", text)
        for text in ("2026-01-02 03:04:05Z", "２026-01-02T03:04:05Z", "2026-01-02T03:04:05Z\n")
    ),
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=shown)
def test_what_no_event_writes_is_refused_by_key(key: str, value: object) -> None:
    assert unreadable(WRITTEN | {key: value}).startswith(f"{key}: found {shown(value)}, expected ")


@pytest.mark.parametrize("key", list(WRITTEN))
def test_a_missing_key_is_named(key: str) -> None:
    found = {name: value for name, value in WRITTEN.items() if name != key}
    assert unreadable(found).startswith(f"an event: found no {key}, expected type, stream_id, ")


def test_six_of_the_seven_and_another_are_refused() -> None:
    found = {key: WRITTEN[key] for key in (*SEVEN[:6], "seq")}
    assert unreadable(found).startswith("an event: found no correlation_id, expected type, ")


@pytest.mark.parametrize("key", ["Type", 5, None, b"type", Text("type"), "x" * 1_000], ids=shown)
def test_an_unknown_key_is_named(key: Any) -> None:
    found = unreadable({**WRITTEN, key: 1} if key != "type" else {key: 1})
    assert found.startswith(f"an event: found the key {shown(key)}, expected type, stream_id, ")


class Broken(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise SystemExit("no items")

    def __iter__(self) -> Iterator[str]:
        return iter(WRITTEN)

    def __len__(self) -> int:
        return 10


@pytest.mark.parametrize("found", [None, 5, "{}", [WRITTEN], EVENT, Raises(OSError())], ids=shown)
def test_what_is_no_mapping_is_refused(found: object) -> None:
    assert unreadable(found) == f"an event: found {shown(found)}, expected a mapping"


def test_a_mapping_that_raises_is_refused() -> None:
    assert unreadable(Broken()).startswith("an event: found a mapping that raised SystemExit: no items")


def test_data_that_no_event_takes_is_refused_by_place() -> None:
    assert unreadable(WRITTEN | {"data": {"a": [{b"k": 1}]}}).startswith(
        "data.a[0]: found the key b'k', expected"
    )


texts = st.text(st.characters(), min_size=1)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
offsets = st.integers(-80_000, 80_000).map(lambda seconds: timezone(timedelta(seconds=seconds)))
events = st.builds(
    lambda data, **fields: AgentEvent(data=freeze(data)[0], **fields),
    type=texts | st.sampled_from(EventType),
    stream_id=texts,
    node_id=st.none() | texts,
    execution_id=st.none() | texts,
    data=st.dictionaries(st.text(), json_values, max_size=3),
    timestamp=st.just(UNPUBLISHED) | st.datetimes(timezones=offsets | st.just(UTC)),
    correlation_id=st.none() | texts,
    id=st.text(),
    seq=st.integers(0, 2**70),
    cause_id=st.none() | texts,
)


@given(events)
@settings(max_examples=200, deadline=None)
def test_any_event_comes_back_equal_from_json_and_pickle(event: AgentEvent) -> None:
    assert AgentEvent.from_dict(json.loads(json.dumps(event.to_dict(), allow_nan=False))) == event
    assert pickle.loads(pickle.dumps(event)) == copy.deepcopy(event) == event
