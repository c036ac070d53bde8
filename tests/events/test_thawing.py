"""What frozen data becomes in JSON: always JSON, always plain, always the same."""

from __future__ import annotations

import enum
import json
import pickle
import sys
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.errors import InvalidEvent
from phloem.events.freezing import freeze, thaw
from support.data import Colour, Level, Point, Text, in_json


class Zone(tzinfo):
    """Whose offset can be had once."""

    def __init__(self) -> None:
        self.asked = 0

    def utcoffset(self, at: datetime | None, /) -> timedelta:
        self.asked += 1
        if self.asked > 1:
            raise OSError("no zones today")
        return timedelta(0)

    def dst(self, at: datetime | None, /) -> None:
        return None

    def tzname(self, at: datetime | None, /) -> str:
        return "zone"


# --- JSON ---------------------------------------------------------------------------------------


def test_each_kind_has_its_text_in_json() -> None:
    values = {
        "nan": float("nan"),
        "inf": [float("inf"), -float("inf")],
        "bytes": b"\x00\xff",
        "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
        "day": date(2026, 1, 2),
        "time": time(1, 2),
        "took": timedelta(days=1, seconds=1.5),
        "decimal": Decimal("1.10"),
        "uuid": UUID(int=5),
        "path": PurePosixPath("/a/b"),
        "colour": [Colour.RED, Colour.PAIR, Level.HIGH],
        "big": 2**64,
        "range": range(10**18),
        "complex": 1 + 2j,
        "set": {3, 1, 2},
    }
    assert thaw(freeze(values)[0]) == {
        "nan": "nan",
        "inf": ["inf", "-inf"],
        "bytes": "AP8=",
        "at": "2026-01-02T03:04:05+02:00",
        "day": "2026-01-02",
        "time": "01:02:00",
        "took": 86401.5,
        "decimal": "1.10",
        "uuid": "00000000-0000-0000-0000-000000000005",
        "path": "/a/b",
        "colour": ["red", [1, ["x"]], 3],
        "big": 2**64,
        "range": "range(0, 1000000000000000000)",
        "complex": "(1+2j)",
        "set": [1, 2, 3],
    }


def test_what_is_thawed_is_plain_and_new() -> None:
    data, _ = freeze({"a": [{"b": Level.HIGH}], "c": Text("t")})
    plain = thaw(data)
    assert type(plain) is type(plain["a"][0]) is dict
    assert (type(plain["a"]), type(plain["a"][0]["b"]), type(plain["c"])) == (list, int, str)
    plain["a"].append(1)
    assert thaw(data) == {"a": [{"b": 3}], "c": "t"}


def test_what_is_not_frozen_is_frozen_first() -> None:
    assert thaw([{"a": {1}}, ValueError("x"), bytearray(b"x")]) == [{"a": [1]}, "ValueError: x", "eA=="]


def test_a_set_has_one_order() -> None:
    members = [Colour.RED, "b", 1, (1, 2), None, b"x", "a"]
    backwards = set(members[::-1])  # noqa: C415  where hashes collide, the order differs
    assert (
        in_json(set(members))
        == in_json(backwards)
        == sorted(["red", "b", 1, [1, 2], None, "eA==", "a"], key=json.dumps)
    )


def test_integers_are_numbers_until_python_may_refuse_their_text() -> None:
    assert in_json(10**639) == 10**639
    assert in_json(-(10**700)) == hex(-(10**700))
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert in_json([2**2_126 - 1, {2**2_126: 2**2_126}]) == [2**2_126 - 1, {hex(2**2_126): hex(2**2_126)}]
    finally:
        sys.set_int_max_str_digits(before)


def test_a_datetime_whose_zone_raises_is_survived() -> None:
    at = datetime(2026, 1, 2, tzinfo=Zone())
    at.utcoffset()
    assert "raised" in in_json(at) or "datetime" in in_json(at)


def test_members_of_an_enum_that_hold_each_other_end() -> None:
    class Knot(enum.Enum):
        A = "a"
        B = "b"

    Knot.A._value_ = [Knot.A, Knot.B, Knot.A]  # type: ignore[assignment]
    Knot.B._value_ = {"k": Knot.A}  # type: ignore[assignment]
    found = in_json([Knot.A, Knot.B])
    assert found[1] == {"k": repr(Knot.A)}
    assert len(found[0]) == 3


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary()
    | st.decimals(allow_nan=False) | st.just(Decimal("nan"))
    | st.datetimes() | st.dates() | st.times() | st.timedeltas() | st.uuids()
    | st.complex_numbers() | st.sampled_from([*Colour, *Level, range(3), PurePosixPath("/p")])
)  # fmt: skip
keys = (
    st.text()
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.sampled_from([Colour.RED, Level.HIGH])
)
hashable = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
values = st.recursive(
    scalars
    | st.sets(hashable, max_size=4)
    | st.builds(bytearray, st.binary())
    | st.builds(ValueError, st.text()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.builds(Point, inner, st.just([]))
        | st.builds(lambda each: freeze({"frozen": each}, "inner")[0] if takes(each) else None, inner)
    ),
    max_leaves=12,
)


def takes(value: object) -> bool:
    """True for all but mappings with two keys of one text, which is what refuses anything made here."""
    try:
        freeze({"value": value})
    except InvalidEvent as refused:
        if "found the keys" not in str(refused):
            raise
        return False
    return True


@given(st.dictionaries(keys, values, max_size=4))
@settings(max_examples=300, deadline=None)
def test_whatever_is_taken_becomes_json_hashes_and_freezes_to_itself(data: dict[Any, Any]) -> None:
    if not takes(data):
        return
    kept, size = freeze(data)
    assert size >= 64
    text = json.dumps(thaw(kept), allow_nan=False)
    assert len(json.loads(text)) == len(data)
    assert json.dumps(thaw(pickle.loads(pickle.dumps(kept))), allow_nan=False) == text
    assert freeze(kept) == (kept, size)
    hash(kept)
