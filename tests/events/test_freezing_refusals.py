"""Which data no event takes, and how it is told so; nothing a mapping does is a crash of another kind."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import sys
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from phloem.errors import InvalidEvent
from phloem.events.freezing import freeze, shown, thaw
from support.data import Colour, Holder, Level, Point, Raises, Text, frozen, in_json, refusal

# --- what no event takes ------------------------------------------------------------------------


class Broken(Mapping[Any, Any]):
    """A mapping whose methods raise."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, key: object) -> Any:
        raise self.error

    def __iter__(self) -> Iterator[Any]:
        yield "a"

    def __len__(self) -> int:
        return 1


class Endless(Broken):
    def __init__(self) -> None:
        super().__init__(RuntimeError())

    def items(self) -> Any:
        return zip(itertools.count(), itertools.count(), strict=True)


class Deeper(Broken):
    def __init__(self) -> None:
        super().__init__(RuntimeError())

    def __getitem__(self, key: object) -> Any:
        return Deeper()


@pytest.mark.parametrize(
    "found", [None, 5, "text", [], [("a", 1)], Point(1, []), Raises(OSError())], ids=shown
)
def test_data_that_is_no_mapping_is_refused(found: object) -> None:
    assert refusal(found) == f"data: found {shown(found)}, expected a mapping"


@dataclasses.dataclass(frozen=True)
class Member:
    data: Any

    def __hash__(self) -> int:
        return 1


def test_the_place_of_a_fault_is_named() -> None:
    circle: list[Any] = []
    circle.append(circle)
    found = refusal({"a": [0, {"b c": {"d": circle}}]})
    assert found == "data.a[1]['b c'].d[0]: found a list that contains itself, expected data that ends"
    with pytest.raises(
        InvalidEvent, match=r"^event\.set\{…\}\.data: found the key \(1, 2\), expected text, "
    ):
        freeze({"x": [1], "set": {Member({(1, 2): 3})}}, "event")


def test_the_place_after_what_was_fine_is_right() -> None:
    found = refusal({"a": [[1], {"b": (2,)}, {Member([3])}], "c": {7: {b"": 1}}})
    assert found.startswith("data.c[7]: found the key b'', expected text, a number")


@pytest.mark.parametrize("key", [b"x", (), Point, Colour.PAIR, 1j, Decimal(1), date(2026, 1, 1)], ids=shown)
def test_a_key_that_json_has_no_text_for_is_refused(key: Any) -> None:
    assert refusal({key: 1}).startswith(f"data: found the key {shown(key)}, expected text")
    assert refusal({"a": {key: 1}}).startswith("data.a: found the key")


COLLIDING: list[dict[Any, Any]] = [
    {1: "a", "1": "b"},
    {None: 1, "null": 2},
    {True: 1, "true": 2},
    {1.5: 1, "1.5": 2},
    {Colour.RED: 1, "red": 2},
    {float("nan"): 1, "nan": 2},
    {float("nan"): 1, float("nan"): 2},
    {2**9_000: 1, hex(2**9_000): 2},
]


@pytest.mark.parametrize("data", COLLIDING, ids=shown)
def test_two_keys_of_one_text_are_refused(data: dict[Any, Any]) -> None:
    first, second = data
    refused = refusal({"at": {"k": 0, **data}})
    assert refused.startswith("data.at: found the keys ")
    assert refused.endswith(", expected keys that JSON tells apart")
    assert in_json({first: 1}) == in_json({second: 1})


def test_keys_stay_what_they_are_until_json() -> None:
    data: dict[Any, Any] = {1: "a", None: "b", True + 1: "c", 2.5: "d", Level.HIGH: "e", Text("t"): "f"}
    kept = frozen(data)
    assert kept == {1: "a", None: "b", 2: "c", 2.5: "d", 3: "e", "t": "f"}
    assert [type(key) for key in kept] == [int, type(None), int, float, Level, str]
    assert in_json(data) == {"1": "a", "null": "b", "2": "c", "2.5": "d", "3": "e", "t": "f"}
    assert in_json({True: 1, Colour.RED: 2}) == {"true": 1, "red": 2}
    assert in_json({float("inf"): 1, float("nan"): 2}) == {"inf": 1, "nan": 2}


def nested(depth: int, wrap: Callable[[Any], Any] = lambda inner: [inner]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS: list[Callable[[Any], Any]] = [
    lambda inner: [inner],
    lambda inner: (inner,),
    lambda inner: {"k": inner},
    lambda inner: frozenset({inner}),
    lambda inner: Holder(inner),
    lambda inner: UserDict(k=inner),
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_hundred_containers_are_taken_and_one_more_is_not(wrap: Callable[[Any], Any]) -> None:
    data, _ = freeze({"a": nested(99, wrap)})
    json.dumps(thaw(data))
    assert "expected containers at most 100 deep" in refusal({"a": nested(100, wrap)})
    assert "expected containers at most 100 deep" in refusal({"a": nested(5_000, wrap)})


def test_depth_is_counted_through_what_was_frozen_before() -> None:
    data: Any = freeze({"a": 1})[0]
    for _ in range(99):
        data, _ = freeze({"cause": data})
    json.dumps(thaw(data))
    assert refusal({"cause": data}).startswith("data.cause: found a mapping 100 deep, expected containers")
    with pytest.raises(InvalidEvent, match="deep"):
        freeze({"a": [[]], "b": [{"c": data}]})
    beside, _ = freeze({"a": nested(98), "b": [freeze({"c": []})[0]]})
    freeze({"a": beside})  # depths do not add up sideways
    assert refusal({"a": [beside]}).startswith("data.a[0]: found a mapping 99 deep")


def test_neighbours_may_share_what_is_no_circle() -> None:
    shared = [1]
    assert frozen([shared, {"k": shared}, shared]) == ((1,), {"k": (1,)}, (1,))


def test_circles_of_every_kind_are_refused() -> None:
    mapping: dict[str, Any] = {}
    mapping["me"] = {"again": [mapping]}
    assert refusal(mapping).startswith("data.me.again[0]: found a dict that contains itself")
    point = Point(1, [])
    point.x = point  # type: ignore[assignment]
    assert refusal({"p": point}).startswith("data.p.x: found a Point that contains itself")
    user = UserDict[str, Any]()
    user["me"] = user
    assert refusal(user).startswith("data.me: found a UserDict that contains itself")


def test_data_that_never_ends_is_refused() -> None:
    shared: Any = [1] * 10
    for _ in range(12):
        shared = [shared] * 10
    assert refusal({"a": shared}).endswith("expected at most 1,000,000 values in an event")
    assert refusal({"a": Endless()}).startswith("data.a: found more")
    assert "deep" in refusal(Deeper())
    laughs, _ = freeze({"a": 1})
    for _ in range(18):
        laughs, _ = freeze({"a": laughs, "b": laughs})
    assert refusal({"a": laughs, "b": laughs}).endswith(
        "found more, expected at most 1,000,000 values in an event"
    )
    assert refusal(dict.fromkeys(map(str, range(1_000_001)))).startswith("data: found more")


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(), GeneratorExit(), RecursionError()], ids=repr
)
def test_a_mapping_whose_methods_raise_is_refused(error: BaseException) -> None:
    assert refusal(Broken(error)).startswith(f"data: found what raised {type(error).__name__}: ")
    assert refusal({"a": Broken(error)}).startswith(f"data.a: found what raised {type(error).__name__}: ")


@pytest.mark.parametrize("reach", [lambda e: Raises(e), lambda e: Broken(e)], ids=["repr", "mapping"])
def test_keyboard_interrupt_goes_on(reach: Callable[[BaseException], object]) -> None:
    with pytest.raises(KeyboardInterrupt):
        freeze({"a": reach(KeyboardInterrupt())})


def test_a_mapping_that_changes_while_it_is_read_is_refused() -> None:
    class Growing(UserDict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            self.data[f"{key}+"] = 1
            return 1

    assert refusal(Growing(a=1)).startswith("data: found what raised RuntimeError: dictionary changed size")


def test_a_dict_that_changes_through_a_repr_is_read_as_it_was() -> None:
    class Meddles:
        def __repr__(self) -> str:
            data["more"] = 1
            data.pop("after", None)
            members.clear()
            return "meddled"

    members: list[Any] = [Meddles(), 2]
    data: dict[str, Any] = {"a": members, "after": 1}
    assert freeze(data)[0] == {"a": ("meddled", 2), "after": 1}


def test_items_that_are_no_pairs_are_refused() -> None:
    class Odd(UserDict[str, Any]):
        def items(self) -> Any:
            return [1]

    class Twice(UserDict[str, Any]):
        def items(self) -> Any:
            return [("a", 1), ("a", 2)]

    assert refusal({"a": Odd()}).startswith("data.a: found what raised TypeError")
    assert refusal({"a": Twice()}).startswith("data.a: found the keys 'a' and 'a'")


def test_fields_and_members_that_cannot_be_read_are_refused() -> None:
    point = Point(1, [])
    del point.x
    released = memoryview(b"x")
    released.release()
    assert refusal({"a": point}).startswith("data.a: found what raised AttributeError")
    assert refusal({"a": released}).startswith("data.a: found what raised ValueError")


def test_a_member_of_an_enum_whose_hash_raises_is_refused_as_a_key() -> None:
    class Odd(enum.Enum):
        A = "a"
        broken = False

        def __hash__(self) -> int:
            if raising:
                raise RuntimeError("no hash")
            return 1

    raising: list[int] = []
    data = {"x": {Odd.A: 1}}
    raising.append(1)
    assert refusal(data).startswith("data.x.") is False
    assert "found what raised RuntimeError: no hash" in refusal(data)


def test_a_stack_that_is_nearly_full_is_no_crash_of_another_kind() -> None:
    def down(levels: int) -> str:
        return refusal({"a": nested(90)}) if levels == 0 else down(levels - 1)

    here = len(__import__("inspect").stack())
    assert "Python's stack" in down(sys.getrecursionlimit() - here - 60)
