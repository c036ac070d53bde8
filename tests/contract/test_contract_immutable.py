"""Which instances may be shared: those that nobody can change."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from phloem.contract import contract_of, xmlify
from support.contracts import TYPES, Typed, records


class Mutable(enum.Enum):
    LISTS = [1]  # noqa: RUF012 -- on purpose: a member is what it is, whatever its value holds


@dataclass(frozen=True)
class Point:
    x: int
    y: int


@dataclass
class Thawed:
    x: int


@dataclass(frozen=True)
class Tree:
    name: str
    parts: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class HiddenInside:
    again: HiddenInside | None
    bad: Thawed


@dataclass(frozen=True)
class Outer:
    """Meets HiddenInside while it looks at itself."""

    first: Outer | None
    inner: HiddenInside


def frozen(hint: Any) -> bool:
    return contract_of(make_dataclass("Payload", [("a", hint)], frozen=True)).immutable


@pytest.mark.parametrize(
    "hint",
    [
        str, int, float, bool, bytes, Decimal, date, datetime, time, UUID, Mutable, Literal["a", 1], None,
        Point, Tree, int | None, Point | str, tuple[int, Point], tuple[Point, ...], frozenset[str],
        tuple[tuple[str, ...] | None, ...],
    ],
    ids=str,
)  # fmt: skip
def test_a_frozen_class_of_what_nobody_can_change_is_immutable(hint: Any) -> None:
    assert frozen(hint)
    assert not contract_of(make_dataclass("Payload", [("a", hint)])).immutable


@pytest.mark.parametrize(
    "hint",
    [
        list[int], set[int], dict[str, int], Thawed, Outer, HiddenInside, int | list[int], Thawed | None,
        tuple[int, list[int]], tuple[set[int], ...], tuple[Thawed, ...],
    ],
    ids=str,
)  # fmt: skip
def test_one_thing_that_can_change_makes_all_mutable(hint: Any) -> None:
    assert not frozen(hint)


def test_a_field_that_is_not_carried_could_hold_anything() -> None:
    @dataclass(frozen=True)
    class Cached:
        name: str
        cache: list[int] = field(init=False, default_factory=list)

    @xmlify
    @dataclass(frozen=True)
    class Around:
        cached: Cached

    @dataclass(frozen=True)
    class Child(Cached):
        more: int = 0

    assert not any(contract_of(cls).immutable for cls in (Cached, Around, Child))


def test_what_belongs_to_the_class_does_not_count() -> None:
    @dataclass(frozen=True)
    class Counted:
        name: str
        made: ClassVar[list[int]] = []

    assert contract_of(Counted).immutable


def test_a_class_without_fields_is_immutable_only_if_it_is_frozen() -> None:
    assert contract_of(make_dataclass("Nothing", [], frozen=True)).immutable
    assert not contract_of(make_dataclass("Nothing", [])).immutable


def test_a_class_that_brings_its_own_xsd_is_never_known_to_be_immutable() -> None:
    @dataclass(frozen=True)
    class Own:
        n: int

        @classmethod
        def xsd(cls) -> str:
            return (
                '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="Own">'
                '<xs:complexType><xs:sequence><xs:element name="N" type="xs:integer"/></xs:sequence>'
                "</xs:complexType></xs:element></xs:schema>"
            )

        def xml_value(self, name: str) -> Any:
            root = etree.Element(name)
            etree.SubElement(root, "N").text = str(self.n)
            return root

    assert contract_of(Own).encode(Own(1)) == "<Own><N>1</N></Own>"
    assert not contract_of(Own).immutable


def changeable(value: Any) -> bool:
    """Found out the hard way: on an instance."""
    if is_dataclass(value):
        held = [changeable(getattr(value, each.name)) for each in fields(value)]
        return not getattr(value, "__dataclass_params__").frozen or any(held)  # noqa: B009 -- of no type
    if isinstance(value, tuple):
        return any(map(changeable, value))
    return isinstance(value, list | set | dict)


@settings(deadline=None, max_examples=150)
@given(st.data(), records(TYPES, name="Payload"))
def test_no_instance_of_an_immutable_class_holds_what_can_change(data: st.DataObject, typed: Typed) -> None:
    if contract_of(typed.hint).immutable:
        assert not changeable(data.draw(typed.values))
