"""Random payload classes of the whole type table, and what fits them."""

from __future__ import annotations

import enum
from dataclasses import fields, make_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union
from uuid import UUID

import annotated_types
from hypothesis import strategies as st

from phloem.contract import Pattern


class Color(enum.Enum):
    RED = "red & hot"
    BLUE = " blue"
    AZURE = " blue"  # noqa: PIE796 -- an alias


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Typed(NamedTuple):
    """An annotation, and what fits it."""

    hint: Any
    values: st.SearchStrategy[Any]


XML_TEXT = st.text(
    st.one_of(
        st.sampled_from("\t\n\r <>&'\"]=\x85\u2028\ufffd\U0001f600\xa0"),
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
    ),
    max_size=20,
)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
ZONES = st.one_of(st.none(), OFFSETS)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40)

SCALARS = [
    Typed(str, XML_TEXT),
    Typed(int, st.integers()),
    Typed(float, st.floats()),
    Typed(bool, st.booleans()),
    Typed(Decimal, DECIMALS),
    Typed(bytes, st.binary(max_size=20)),
    Typed(date, st.dates()),
    Typed(datetime, st.datetimes(timezones=ZONES)),
    Typed(time, st.times(timezones=ZONES)),
    Typed(UUID, st.uuids()),
    Typed(Color, st.sampled_from(Color)),
    Typed(Level, st.sampled_from(Level)),
    Typed(Literal["a", " b ", "<"], st.sampled_from(["a", " b ", "<"])),
    Typed(Literal["x", 7, True], st.sampled_from(["x", 7, True])),
    Typed(Annotated[int, annotated_types.Ge(-5), annotated_types.Lt(9)], st.integers(-5, 8)),
    Typed(Annotated[float, annotated_types.Interval(gt=0, le=1)], st.floats(0, 1, exclude_min=True)),
    Typed(Annotated[str, annotated_types.Len(1, 3)], st.text("ab\n&", min_size=1, max_size=3)),
    Typed(Annotated[str, Pattern(r"^[a-c.\]-]+\d?$")], st.from_regex(r"[a-c.\]\-]+[0-9]?", fullmatch=True)),
    Typed(Annotated[bytes, annotated_types.MaxLen(3)], st.binary(max_size=3)),
]
NOT_NAN = {float: st.floats(allow_nan=False)}  # nan is not equal to itself: no key, no item of a set


def scalars(*, hashable: bool = False) -> st.SearchStrategy[Typed]:
    chosen = st.sampled_from(SCALARS)
    return (
        chosen.map(lambda typed: Typed(typed.hint, NOT_NAN.get(typed.hint, typed.values)))
        if hashable
        else chosen
    )


def _list(inner: Typed) -> Typed:
    return Typed(list[inner.hint], st.lists(inner.values, max_size=3))  # type: ignore[name-defined]


def _many(inner: Typed) -> Typed:
    return Typed(tuple[inner.hint, ...], st.lists(inner.values, max_size=3).map(tuple))  # type: ignore[name-defined]


def _row(inner: tuple[Typed, ...]) -> Typed:
    return Typed(tuple[tuple(typed.hint for typed in inner)], st.tuples(*(typed.values for typed in inner)))  # type: ignore[misc]


def _dict(pair: tuple[Typed, Typed]) -> Typed:
    key, value = pair
    return Typed(dict[key.hint, value.hint], st.dictionaries(key.values, value.values, max_size=3))  # type: ignore[name-defined]


def _set(inner: Typed) -> Typed:
    return Typed(set[inner.hint], st.sets(inner.values, max_size=3))  # type: ignore[name-defined]


def _frozenset(inner: Typed) -> Typed:
    return Typed(frozenset[inner.hint], st.frozensets(inner.values, max_size=3))  # type: ignore[name-defined]


def _optional(inner: Typed) -> Typed:
    return Typed(Optional[inner.hint], st.one_of(st.none(), inner.values))  # noqa: UP045


UNION = Typed(
    Union[int, str, bool, list[int], dict[str, bool], tuple[int, str], Color, None],  # noqa: UP007
    st.one_of(
        st.none(),
        st.integers(),
        XML_TEXT,
        st.booleans(),
        st.lists(st.integers(), max_size=2),
        st.dictionaries(XML_TEXT, st.booleans(), max_size=2),
        st.tuples(st.integers(), XML_TEXT),
        st.sampled_from(Color),
    ),
)


@st.composite
def records(draw: st.DrawFn, inner: st.SearchStrategy[Typed], name: str = "Inner") -> Typed:
    """A dataclass of up to four fields, some with defaults, in every way dataclasses come."""
    typed = draw(st.lists(inner, max_size=4))
    names = draw(
        st.lists(
            st.from_regex(r"[a-z]{1,3}(_[a-z0-9]{1,3}){0,2}_?", fullmatch=True).filter(str.isidentifier),
            min_size=len(typed),
            max_size=len(typed),
            unique_by=lambda name: name.replace("_", "").lower(),
        )
    )
    cls = make_dataclass(
        name,
        [(f"f_{name}", each.hint) for name, each in zip(names, typed, strict=True)],
        frozen=draw(st.booleans()),
        slots=draw(st.booleans()),
        kw_only=draw(st.booleans()),
    )
    return Typed(cls, st.tuples(*(each.values for each in typed)).map(lambda values: _made(cls, values)))


def _made(cls: Any, values: tuple[Any, ...]) -> Any:
    return cls(**{each.name: value for each, value in zip(fields(cls), values, strict=True)})


def nested(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    return st.one_of(
        inner.map(_list),
        inner.map(_many),
        st.lists(inner, max_size=3).map(tuple).map(_row),
        st.tuples(scalars(hashable=True), inner).map(_dict),
        scalars(hashable=True).map(_set),
        scalars(hashable=True).map(_frozenset),
        inner.map(_optional),
        st.just(UNION),
        records(inner),
    )


TYPES = st.recursive(scalars(), nested, max_leaves=6)
