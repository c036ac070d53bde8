"""JSON fields become payloads and payloads become JSON fields, and nothing is lost on the way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NewType, Optional, Union
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.errors import InvalidMessage
from phloem.framing.fields import FieldTable
from phloem.framing.scalars import Digits

UserId = NewType("UserId", int)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Odd(Enum):
    HALF = Decimal("0.5")
    PAIR = (1, 2)


@dataclass
class Inner:
    name: str
    size: int = 1


@dataclass(frozen=True, slots=True)
class Other:
    name: str


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


@dataclass
class Everything:
    text: str
    count: int
    ratio: float
    flag: bool
    price: Decimal
    blob: bytes
    day: date
    moment: datetime
    hour: time
    key: UUID
    colour: Colour
    level: Level
    odd: Odd
    choice: Literal["a", 1, True, None]
    maybe: int | None
    old_maybe: Optional[str]  # noqa: UP045 - both spellings are read
    either: int | str | Decimal
    shape: Union[Inner, Other]  # noqa: UP007
    names: list[str]
    pairs: tuple[int, str]
    many: tuple[Decimal, ...]
    tags: frozenset[str]
    frozen: set[Level]
    table: dict[str, Inner]
    by_number: dict[int, list[date]]
    by_either: dict[int | str, bool]
    rows: Sequence[Mapping[str, float]]
    user: UserId
    noted: Annotated[int, "at least one"]
    inner: Inner
    tree: Tree


TEXT = st.text(max_size=5)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
INNER = st.builds(Inner, TEXT, st.integers())
OTHER = st.builds(Other, TEXT)
TREES = st.recursive(
    st.builds(Tree, st.integers()),
    lambda inner: st.builds(Tree, st.integers(), st.lists(inner, max_size=2)),
    max_leaves=4,
)
ALL = st.builds(
    Everything,
    text=TEXT,
    count=st.integers(),
    ratio=st.floats(allow_nan=False),
    flag=st.booleans(),
    price=DECIMALS,
    blob=st.binary(),
    day=st.dates(),
    moment=st.datetimes(timezones=st.sampled_from([None, UTC])),
    hour=st.times(),
    key=st.uuids(),
    colour=st.sampled_from(Colour),
    level=st.sampled_from(Level),
    odd=st.sampled_from(Odd),
    choice=st.sampled_from(["a", 1, True, None]),
    maybe=st.none() | st.integers(),
    old_maybe=st.none() | TEXT,
    either=st.integers() | TEXT | DECIMALS | st.sampled_from(["5", "1e5", "NaN"]),
    shape=INNER | OTHER,
    names=st.lists(TEXT),
    pairs=st.tuples(st.integers(), TEXT),
    many=st.lists(DECIMALS).map(tuple),
    tags=st.frozensets(TEXT),
    frozen=st.sets(st.sampled_from(Level)),
    table=st.dictionaries(TEXT | st.just("$type"), INNER, max_size=2),
    by_number=st.dictionaries(st.integers(), st.lists(st.dates(), max_size=2), max_size=2),
    by_either=st.dictionaries(st.integers() | st.text("0123456789", max_size=2), st.booleans(), max_size=3),
    rows=st.lists(st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=2), max_size=2),
    user=st.integers(),
    noted=st.integers(),
    inner=INNER,
    tree=TREES,
)


def parsed(text: str) -> Any:
    return json.loads(text, parse_float=Digits)


def kinds(value: object) -> object:
    """The value with its types spelt out: 1, True and Decimal(1) are equal, and not the same."""
    if isinstance(value, (list, tuple)):
        return [kinds(each) for each in value]
    if isinstance(value, dict):
        return {(type(key), key): kinds(each) for key, each in value.items()}
    return type(value), value


@given(ALL)
def test_what_is_written_reads_back_as_the_same_object(payload: Everything) -> None:
    table = FieldTable()
    text = json.dumps(table.write(payload), allow_nan=False)
    again = table.read(Everything, parsed(text))
    assert again == payload
    assert kinds(vars(again)) == kinds(vars(payload))
    assert json.dumps(table.write(again)) == text


@dataclass
class One:
    value: Any


def one(kind: Any) -> type:
    """A class with one field of that type."""
    return dataclass(type("One", (), {"__annotations__": {"value": kind}, "__module__": __name__}))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Decimal, "0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        (Decimal, "1e400", Decimal("1e400")),
        (Decimal, '"007.50"', Decimal("7.50")),
        (Decimal, "12345678901234567890123", Decimal(12345678901234567890123)),
        (int, "123456789012345678901234567890", 123456789012345678901234567890),
        (float, "3", 3.0),
        (float, '"-INF"', -math.inf),
        (bytes, '"AP8="', b"\x00\xff"),
        (datetime, '"2024-03-31T12:00:00Z"', datetime(2024, 3, 31, 12, tzinfo=UTC)),
        (Colour, '"red"', Colour.RED),
        (Colour, '"RED"', Colour.RED),
        (Level, "2", Level.HIGH),
        (Odd, '"PAIR"', Odd.PAIR),
        (str, '"0x1F"', "0x1F"),
        (int | str, '{"$type": "str", "$value": "5"}', "5"),
        (dict[int, str], '{"5": "a"}', {5: "a"}),
        (dict[int, str], '[[5, "a"]]', {5: "a"}),
        (list[Inner] | None, '[{"name": "a"}]', [Inner("a")]),
        (Inner | None, "null", None),
    ],
)
def test_json_is_read_as_the_field_s_type(kind: Any, text: str, value: object) -> None:
    payload = FieldTable().read(one(kind), parsed(f'{{"value": {text}}}'))
    assert kinds(payload.value) == kinds(value)


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        (int | str, "5", "5"),
        (float | int, 5, {"$type": "int", "$value": 5}),
        (str | Decimal, Decimal(5), {"$type": "Decimal", "$value": "5"}),
        (Inner | Other, Other("a"), {"$type": "Other", "$value": {"name": "a"}}),
        (Inner | None, Inner("a"), {"name": "a", "size": 1}),
        (dict[int | str, int], {5: 1, "6": 2}, [[5, 1], ["6", 2]]),
        (dict[int, int], {5: 1}, {"5": 1}),
    ],
)
def test_a_value_says_its_type_only_where_json_would_lose_it(
    kind: Any, value: object, written: object
) -> None:
    table, cls = FieldTable(), one(kind)
    assert table.write(cls(value)) == {"value": written}
    assert kinds(table.read(cls, {"value": written}).value) == kinds(value)


def test_nan_is_written_and_read_as_xml_says_it() -> None:
    table, kind = FieldTable(), one(float)
    assert table.write(kind(math.nan)) == {"value": "NaN"}
    assert math.isnan(table.read(kind, {"value": "NaN"}).value)


@pytest.mark.parametrize(
    ("kind", "text", "code", "path", "found"),
    [
        (int, '"5"', "type", "payload.value", '"5"'),
        (int, "5.0", "type", "payload.value", "5.0"),
        (int, "true", "type", "payload.value", "true"),
        (bool, "1", "type", "payload.value", "1"),
        (str, "5", "type", "payload.value", "5"),
        (str, "1.5", "type", "payload.value", "1.5"),
        (str, "null", "type", "payload.value", "null"),
        (float, "1e400", "facet", "payload.value", "1e400"),
        (float, "1" + "0" * 400, "facet", "payload.value", "a number of more than 60 digits"),
        (float, "true", "type", "payload.value", "true"),
        (float, '"nan"', "type", "payload.value", '"nan"'),
        (Decimal, '"NaN"', "type", "payload.value", '"NaN"'),
        (Decimal, '" 1"', "type", "payload.value", '" 1"'),
        (bytes, '"A"', "type", "payload.value", '"A"'),
        (bytes, '"AP8=\\n"', "type", "payload.value", '"AP8=\\n"'),
        (datetime, '"2024-03-31"', "type", "payload.value", '"2024-03-31"'),
        (date, '"31.3.2024"', "type", "payload.value", '"31.3.2024"'),
        (Colour, '"green"', "enum", "payload.value", '"green"'),
        (Literal[1, "a"], "true", "enum", "payload.value", "true"),
        (Literal["a"], "[]", "enum", "payload.value", "a list"),
        (list[int], '[1, "b", 3, null]', "type", "payload.value[1]", '"b"'),
        (list[int], "{}", "type", "payload.value", "an object"),
        (tuple[int, str], "[1]", "type", "payload.value", "a list of 1"),
        (dict[str, int], '{"a": "b"}', "type", "payload.value.a", '"b"'),
        (dict[int, int], '{"a": 1}', "type", "payload.value.a", '"a"'),
        (dict[int, int], '{"1": 1, "01": 2, "1 ": 3}', "type", "payload.value.01", '"01"'),
        (dict[int, int], "[[1, 1], [1, 2]]", "duplicate-element", "payload.value.1", "the same key again"),
        (int | Inner, '"a"', "union", "payload.value", '"a"'),
        (Inner, '"a"', "type", "payload.value", '"a"'),
        (Inner, '{"name": "a", "sise": 2}', "unexpected-element", "payload.value.sise", 'a field "sise"'),
        (Inner, "{}", "missing-element", "payload.value.name", "nothing"),
        (complex, "1", "type", "payload", "fields for complex"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(
    kind: Any, text: str, code: str, path: str, found: str
) -> None:
    with pytest.raises(InvalidMessage) as raised:
        FieldTable().read(one(kind), parsed(f'{{"value": {text}}}'))
    fault = raised.value.faults[0]
    assert (str(fault.code), fault.path, fault.found) == (code, path, found)
    assert fault.expected


def test_all_faults_come_at_once() -> None:
    with pytest.raises(InvalidMessage) as raised:
        FieldTable().read(Tree, parsed('{"value": "a", "children": [{"value": 1}, {"valeu": 1.5}], "x": 1}'))
    assert [fault.path for fault in raised.value.faults] == [
        "payload.value",
        "payload.children[1].valeu",
        "payload.children[1].value",
        "payload.x",
    ]


@dataclass
class Picky:
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise RuntimeError("never below zero")


def test_what_the_class_itself_refuses_is_a_fault() -> None:
    with pytest.raises(InvalidMessage) as raised:
        FieldTable().read(Picky, {"value": -1})
    assert raised.value.faults[0].found == "RuntimeError: never below zero"


class Foreign:
    """No dataclass."""


def test_a_class_without_fields_is_written_as_none_and_not_read() -> None:
    assert FieldTable().write(Foreign()) is None
    with pytest.raises(InvalidMessage, match="no dataclass"):
        FieldTable().read(Foreign, {})


def test_a_set_is_written_in_the_same_order_whatever_its_hashes() -> None:
    kind = one(set[str])
    assert FieldTable().write(kind({"c", "a", "b"})) == {"value": ["a", "b", "c"]}
