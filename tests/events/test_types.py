"""An event: what a caller may give for its fields, its text in JSON, its copies and its equals."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from phloem.errors import InvalidEvent
from phloem.events.freezing import EMPTY, FrozenMapping, freeze, shown
from phloem.events.types import UNPUBLISHED, AgentEvent, EventType, HistoryGap, Lagged, Row, event_of
from support.data import Raises

AT = datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)
ROW: Row = (7, EventType.CUSTOM, "s", "n", "e", freeze({"a": [1]})[0], AT.timestamp(), "c", "m-1", "b-7", 99)
EVENT = AgentEvent("custom", "s", "n", "e", freeze({"a": [1]})[0], AT, "c", id="b-7", seq=7, cause_id="m-1")


def refused(**changes: Any) -> str:
    given: dict[str, Any] = {"type": "custom", "stream_id": "s", **changes}
    with pytest.raises(InvalidEvent) as caught:
        AgentEvent(**given)
    return str(caught.value)


class Zone(tzinfo):
    """Whose offset is whatever it is given."""

    def __init__(self, offset: object) -> None:
        self.offset = offset

    def utcoffset(self, at: datetime | None, /) -> Any:
        if isinstance(self.offset, BaseException):
            raise self.offset
        return self.offset

    def dst(self, at: datetime | None, /) -> None:
        return None

    def tzname(self, at: datetime | None, /) -> str:
        return "zone"


# --- types and fields ---------------------------------------------------------------------------


def test_there_are_25_types_each_worth_its_name_in_lower_case() -> None:
    assert len(EventType) == 25
    assert all(member.value == member.name.lower() == str(member) for member in EventType)


def test_an_event_needs_a_type_and_a_stream_only() -> None:
    event = AgentEvent("own.type", "s")
    assert [getattr(event, field.name) for field in dataclasses.fields(event)] == [
        *("own.type", "s", None, None, EMPTY, UNPUBLISHED, None, "", 0, None)
    ]


def test_the_fields_and_the_signature_are_one_list() -> None:
    names = [field.name for field in dataclasses.fields(AgentEvent)]
    assert names == [*inspect.signature(AgentEvent).parameters] == [*EVENT.to_dict()]
    keywords = [field.name for field in dataclasses.fields(AgentEvent) if field.kw_only]
    assert keywords == ["id", "seq", "cause_id"]
    for name, parameter in inspect.signature(AgentEvent).parameters.items():
        assert (parameter.kind is parameter.KEYWORD_ONLY) == (name in keywords)
    with pytest.raises(TypeError):
        AgentEvent("custom", "s", None, None, {}, AT, None, "id")  # type: ignore[call-arg]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(AgentEvent)])
def test_no_field_can_be_set_or_deleted(field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(EVENT, field, "x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(EVENT, field)


@pytest.mark.parametrize("found", ["", 5, b"x", None, ["x"], Raises(OSError())], ids=shown)
@pytest.mark.parametrize("field", ["type", "stream_id"])
def test_a_type_and_a_stream_are_text(field: str, found: object) -> None:
    assert refused(**{field: found}) == f"{field}: found {shown(found)}, expected text that is not empty"


@pytest.mark.parametrize("found", ["", 5, False, Raises(OSError())], ids=shown)
@pytest.mark.parametrize("field", ["node_id", "execution_id", "correlation_id", "cause_id"])
def test_what_may_be_left_out_is_none_or_text(field: str, found: object) -> None:
    expected = f"{field}: found {shown(found)}, expected None or text that is not empty"
    assert refused(**{field: found}) == expected


@pytest.mark.parametrize("found", [None, [("a", 1)], "text", {1}], ids=shown)
def test_data_is_a_mapping(found: object) -> None:
    assert refused(data=found) == f"data: found {shown(found)}, expected a mapping"


@pytest.mark.parametrize("found", [None, 5.0, "2026-01-02T03:04:05+00:00", AT.date()], ids=shown)
def test_a_timestamp_is_a_datetime(found: object) -> None:
    assert refused(timestamp=found) == f"timestamp: found {shown(found)}, expected an aware datetime"


@pytest.mark.parametrize(
    "zone",
    [None, Zone(None), Zone(OSError()), Zone(SystemExit()), Zone("two")],
    ids=["none", "unknown", "error", "exit", "no delta"],
)
def test_a_timestamp_is_aware(zone: tzinfo | None) -> None:
    assert "expected an aware datetime: with" in refused(timestamp=AT.replace(tzinfo=zone))


def test_what_was_found_is_cut() -> None:
    assert len(refused(data="x" * 10**6)) < 100
    assert len(refused(node_id=[*range(10_000)])) < 130


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=-3.5))])
def test_any_aware_timestamp_is_kept(zone: tzinfo) -> None:
    at = AT.astimezone(zone)
    assert AgentEvent("custom", "s", timestamp=at).timestamp is at


def test_a_zone_or_a_datetime_of_somebodys_own_does_no_harm_later() -> None:
    class Moment(datetime):
        def isoformat(self, *args: Any, **kwargs: Any) -> str:
            raise RuntimeError

        __eq__ = __hash__ = utcoffset = isoformat  # type: ignore[assignment]

    zone = Zone(timedelta(hours=1))
    moments = [AT.replace(tzinfo=zone), Moment(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=zone)]
    events = [AgentEvent("custom", "s", timestamp=moment) for moment in moments]
    zone.offset = OSError()
    assert {event.to_dict()["timestamp"] for event in events} == {"2026-01-02T03:04:05.250000+01:00"}
    assert events[0] == events[1] == pickle.loads(pickle.dumps(events[1]))


# --- equality, copies ---------------------------------------------------------------------------


def test_events_are_equal_by_value_and_hash_whatever_their_data() -> None:
    one, two = (AgentEvent("custom", "s", data={"list": []}, id="i", seq=1) for _ in range(2))
    assert one == two
    assert len({one, two, dataclasses.replace(one, seq=2)}) == 2
    assert one != dataclasses.replace(one, data={"list": [1]})
    assert one == dataclasses.replace(one, type=EventType.CUSTOM)


@pytest.mark.parametrize(
    "data",
    [freeze({"a": [{"b": {1}}]})[0], {"a": [1]}, MappingProxyType({"a": [1]})],
    ids=lambda d: type(d).__name__,
)
def test_an_event_is_pickled_copied_and_replaced(data: Mapping[str, Any]) -> None:
    event = dataclasses.replace(EVENT, data=data, timestamp=UNPUBLISHED)
    for again in (
        *(pickle.loads(pickle.dumps(event, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        copy.copy(event),
        copy.deepcopy(event),
        dataclasses.replace(event),
    ):
        assert again == event
        assert again.timestamp == UNPUBLISHED
        assert type(again) is AgentEvent
        assert type(again.data) is FrozenMapping or type(data) is not FrozenMapping


def test_a_deep_copy_of_an_event_that_is_not_frozen_shares_nothing() -> None:
    event = AgentEvent("custom", "s", data=MappingProxyType({"a": [1]}))
    again = copy.deepcopy(event)
    event.data["a"].append(2)
    assert again.data == {"a": [1]}


def test_replacing_a_field_checks_it() -> None:
    with pytest.raises(InvalidEvent, match=r"^stream_id: found '', expected"):
        dataclasses.replace(EVENT, stream_id="")


def test_as_dict_of_dataclasses_works() -> None:
    assert dataclasses.asdict(EVENT)["data"] == {"a": (1,)}


# --- rows ---------------------------------------------------------------------------------------


def test_a_row_becomes_the_event_it_was() -> None:
    assert event_of(ROW) == EVENT
    assert repr(event_of(ROW)).replace(repr(EventType.CUSTOM), "'custom'") == repr(EVENT)
    assert event_of(ROW).data is ROW[5]


def test_a_rows_own_timestamp_is_kept() -> None:
    at = AT.astimezone(ZoneInfo("Europe/Berlin"))
    assert event_of((*ROW[:6], at, *ROW[7:])).timestamp is at


def test_an_event_of_a_flat_dict_cannot_change_the_row() -> None:
    row = (*ROW[:5], {"a": 1}, *ROW[6:])
    event = event_of(row)
    with pytest.raises(TypeError):
        event.data["a"] = 2  # type: ignore[index]
    assert freeze(event.data) == (event.data, 99)
    assert event == event_of(row)


# --- what a stream says -------------------------------------------------------------------------


def test_what_stands_for_lost_events_is_a_value() -> None:
    assert Lagged(3) == Lagged(3) != Lagged(4)
    assert HistoryGap(1, 5) == HistoryGap(since=1, until=5)
    assert len({Lagged(3), Lagged(3), HistoryGap(1, 5)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Lagged(3).count = 4  # type: ignore[misc]
