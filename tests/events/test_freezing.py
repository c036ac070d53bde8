"""What data becomes on its way into an event and out to JSON; that nobody changes it or is hurt by it."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import sys
from collections import OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from phloem.events.freezing import EMPTY, FrozenMapping, freeze, sealed, shown
from support.data import Colour, Holder, Level, Number, Point, Raises, Text, frozen, in_json

# --- unchangeable -------------------------------------------------------------------------------


def test_what_the_publisher_does_later_changes_nothing_at_any_depth() -> None:
    inner = {"list": [1, {"deep": bytearray(b"x")}], "set": {1}}
    data = {"inner": inner, "text": "t"}
    before, _ = freeze(data)
    inner["list"][1]["deep"][0] = 0  # type: ignore[index]
    inner["list"].append(2)  # type: ignore[attr-defined]
    inner["set"].add(2)  # type: ignore[attr-defined]
    data["text"] = "u"
    assert before == {"inner": {"list": (1, {"deep": b"x"}), "set": frozenset({1})}, "text": "t"}


CHANGES: list[Callable[[Any], object]] = [
    lambda data: data.__setitem__("a", 1),
    lambda data: data.__delitem__("a"),
    lambda data: data.update(a=1),
    lambda data: data.clear(),
    lambda data: data.pop("a"),
    lambda data: data.popitem(),
    lambda data: data.setdefault("b", 1),
    lambda data: data.__ior__({"b": 1}),
    lambda data: setattr(data, "b", 1),
    lambda data: setattr(data, "__class__", dict),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("reach", [lambda data: data, lambda data: data["deep"][0]], ids=["top", "deep"])
def test_a_subscriber_cannot_change_it(change: Callable[[Any], object], reach: Callable[[Any], Any]) -> None:
    data, _ = freeze({"a": 0, "deep": [{"a": 0}]})
    with pytest.raises((TypeError, AttributeError)):
        change(reach(data))
    assert data == {"a": 0, "deep": ({"a": 0},)}


def test_initialising_it_again_changes_nothing() -> None:
    data, _ = freeze({"a": 1})
    data.__init__({"b": 2}, c=3)
    assert data == {"a": 1}


def test_a_mapping_proxy_over_a_dict_of_somebody_is_copied() -> None:
    mine = {"a": [1]}
    data, _ = freeze(MappingProxyType(mine))
    mine["a"].append(2)
    mine["b"] = []
    assert data == {"a": (1,)}


def test_freezing_what_is_frozen_copies_nothing() -> None:
    data, size = freeze({"a": {"b": [1]}})
    assert freeze(data) == (data, size)
    assert freeze(data)[0] is data
    again, bigger = freeze({"cause": data})
    assert again["cause"] is data
    assert size < bigger


def test_making_one_by_hand_freezes_what_it_is_made_of() -> None:
    inner: list[int] = []
    data = FrozenMapping({"a": inner}, b=inner)
    inner.append(1)
    assert data == {"a": (), "b": ()}
    assert freeze(data)[0] is data


def test_it_is_a_mapping_like_any_other_otherwise() -> None:
    data, _ = freeze({"a": 1, "b": {"c": (2,)}})
    assert isinstance(data, Mapping)
    assert data == {"a": 1, "b": {"c": (2,)}}
    assert (data | {"a": 2})["a"] == 2
    assert type(data | {}) is type(data.copy()) is dict
    assert hash(data) == hash(freeze({"b": {"c": [2]}, "a": 1})[0])
    assert json.loads(json.dumps(data)) == {"a": 1, "b": {"c": [2]}}
    assert repr(data) == "{'a': 1, 'b': {'c': (2,)}}"


def test_it_is_pickled_and_copied() -> None:
    data, size = freeze({"a": {"b": [1, {2}]}, "c": Colour.RED, "d": b"x"})
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(data, protocol))
        assert (again, type(again), type(again["a"])) == (data, FrozenMapping, FrozenMapping)
        assert freeze(again)[1] == size
    assert copy.deepcopy(data) is copy.copy(data) is data
    assert dataclasses.asdict(Holder(data)) == {"data": data}


def test_nothing_is_one_mapping_that_all_share() -> None:
    assert freeze({})[0] is EMPTY == {}


def test_a_sealed_mapping_is_a_copy_that_freezes_to_itself() -> None:
    mine = {"a": 1}
    data = sealed(mine, 123)
    mine["a"] = 2
    assert (data, freeze(data)) == ({"a": 1}, (data, 123))
    assert freeze({"deep": [data]})[0]["deep"][0] is data


# --- what becomes of each kind ------------------------------------------------------------------

UNCHANGED = [
    "text",
    "\ud800",
    7,
    2**70,
    1.5,
    True,
    None,
    b"bytes",
    datetime(2026, 1, 2, tzinfo=UTC),
    date(2026, 1, 2),
    time(1, 2),
    timedelta(seconds=1.5),
    Decimal("1.10"),
    UUID(int=5),
    PurePosixPath("/a/b"),
    Colour.RED,
    Level.HIGH,
    range(3),
    1 + 2j,
]


@pytest.mark.parametrize("value", UNCHANGED, ids=repr)
def test_an_immutable_scalar_is_kept_as_it_is(value: object) -> None:
    assert frozen(value) is value
    assert frozen([value]) == (value,)


Pair = namedtuple("Pair", ["left", "right"])  # pyright: ignore[reportUntypedNamedTuple]


class Row(NamedTuple):
    cells: list[int]


BECOMES = [
    ([1, [2]], (1, (2,))),
    (Pair(1, [2]), (1, (2,))),
    (Row([1]), ((1,),)),
    ({1, 2}, frozenset({1, 2})),
    (bytearray(b"x"), b"x"),
    (memoryview(b"abcd")[::2], b"ac"),
    (OrderedDict(a=[1]), {"a": (1,)}),
    (defaultdict(list, a=[1]), {"a": (1,)}),
    (UserDict(a=[1]), {"a": (1,)}),
    (Point(1, ["t"]), {"x": 1, "tags": ("t",)}),
    (ValueError("why"), "ValueError: why"),
    (ValueError(), "ValueError"),
    (deque([1]), "deque([1])"),
    (Fraction(1, 2), "Fraction(1, 2)"),
    (Point, "<class 'test_freezing.Point'>"),
    (Text("plain"), "plain"),
    (Number(5), 5),
]


@pytest.mark.parametrize(("value", "expected"), BECOMES, ids=lambda value: type(value).__name__)
def test_what_can_change_becomes_what_cannot(value: object, expected: object) -> None:
    found = frozen(value)
    if isinstance(value, type):
        expected = repr(value)
    assert (found, type(found)) == (expected, FrozenMapping if type(expected) is dict else type(expected))


def test_subclasses_of_scalars_become_plain_without_their_own_methods() -> None:
    class Day(date):
        def isoformat(self) -> str:
            raise RuntimeError

        __repr__ = __str__ = isoformat

    class Moment(datetime):
        def isoformat(self, *args: Any, **kwargs: Any) -> str:
            raise RuntimeError

        __repr__ = __str__ = isoformat

    class Money(Decimal):
        def __str__(self, *args: Any) -> str:
            raise RuntimeError

    class Raw(bytes):
        def __bytes__(self) -> bytes:
            raise RuntimeError

    class Real(float):
        __repr__ = Number.__repr__

    moment = Moment(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC, fold=1)
    values = [Day(2026, 1, 2), moment, Money("1.0"), Raw(b"x"), Real(1.5), Text("t"), Number(3)]
    kinds = [date, datetime, Decimal, bytes, float, str, int]
    assert [type(each) for each in frozen(values)] == kinds
    assert frozen(moment).fold == 1
    assert in_json(values) == ["2026-01-02", "2026-01-02T03:04:05.000006+00:00", "1.0", "eA==", 1.5, "t", 3]


def test_a_long_repr_is_cut() -> None:
    text = frozen(deque(range(10_000)))
    assert (len(text), text[-1]) == (500, "…")


class Says:
    def __repr__(self) -> str:
        return Text("said")


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), GeneratorExit(), RecursionError()], ids=repr)
def test_a_repr_that_raises_hurts_nobody(error: BaseException) -> None:
    assert frozen(Raises(error)) == f"<Raises: its repr raised {type(error).__name__}>"
    assert shown(Raises(error)) == f"<Raises: its repr raised {type(error).__name__}>"


def test_a_repr_of_a_class_of_its_own_becomes_plain() -> None:
    assert type(frozen(Says())) is str


def test_an_exception_whose_text_raises_is_survived() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise SystemExit

    assert frozen(Mute()) == "Mute: (its text raised SystemExit)"


def test_a_class_without_a_name_is_survived() -> None:
    class Nameless(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise RuntimeError

    class Thing(metaclass=Nameless):
        def __repr__(self) -> str:
            raise RuntimeError

    assert frozen(Thing()) == "<object: its repr raised RuntimeError>"


# --- bytes --------------------------------------------------------------------------------------


def real_size(value: Any, seen: set[int]) -> int:
    if id(value) in seen:
        return 0
    seen.add(id(value))
    size = sys.getsizeof(value)
    if isinstance(value, Mapping):
        return size + sum(real_size(k, seen) + real_size(v, seen) for k, v in value.items())
    if isinstance(value, (tuple, frozenset)):
        return size + sum(real_size(each, seen) for each in value)
    return size


@pytest.mark.parametrize(
    "data",
    [
        {"text": "x" * 10_000},
        {"raw": b"x" * 10_000},
        {"n": 2**80_000},
        {"list": [float(each) for each in range(1_000)]},
        {"list": [f"text {each}" for each in range(1_000)]},
        {"list": [2**900 + each for each in range(1_000)]},
        {"rows": [{f"key {row}": {"n": 10**9 + row}} for row in range(500)]},
        {f"key {each}": 10**9 + each for each in range(1_000)},
        {"d": Decimal(10) ** 20_000, "e": Decimal("1" * 20_000)},
        {"mixed": [1, "x" * 999, None, 2.5, [b"y" * 999]]},
    ],
    ids=shown,
)
def test_the_estimate_is_near_what_is_held(data: dict[str, Any]) -> None:
    kept, size = freeze(data)
    assert 0.4 < size / real_size(kept, set()) < 2.5


def test_the_estimate_is_the_same_by_every_way() -> None:
    flat = {"a": 1, "b": "text", "c": None}
    assert freeze(flat)[1] == freeze(OrderedDict(flat))[1] == freeze(MappingProxyType(flat))[1]
    assert freeze({"x": flat})[1] == freeze({"x": freeze(flat)[0]})[1] == freeze({"x": UserDict(flat)})[1]
    assert freeze({"x": ["a", "bc"]})[1] == freeze({"x": iter_list(["a", "bc"])})[1]
    assert freeze({})[1] == freeze(UserDict())[1] > 0


class iter_list(list[Any]):  # noqa: N801  reads as the function it is used as
    """Not exactly a list."""
