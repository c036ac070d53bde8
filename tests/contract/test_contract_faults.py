"""Every fault at once, with its path: of documents, and of objects that cannot be sent."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Annotated, Any

import annotated_types as at
import pytest
from lxml import etree

from phloem.config import MAX_TEXT, WireLimits
from phloem.contract import Pattern, contract_of, encode
from phloem.errors import InvalidMessage
from phloem.wire.parsing import Element, Parser

PARSER = Parser(WireLimits())


class Color(enum.Enum):
    RED = "red"


class Floating(tzinfo):
    """A zone whose offset a time alone does not tell."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        return None

    dst = utcoffset

    def tzname(self, dt: datetime | None) -> str | None:
        return None


@dataclass
class Line:
    amount: Decimal
    note: str | None = None


@dataclass
class Order:
    name: Annotated[str, at.MinLen(1)]
    count: Annotated[int, at.Ge(1)]
    lines: list[Line]
    color: Color = Color.RED
    code: Annotated[str, Pattern("[a-z]*")] = ""
    by_name: dict[str, int] = field(default_factory=dict)
    pair: tuple[int, str] = (1, "a")
    labels: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.name == "nobody":
            raise ValueError("nobody orders")


@dataclass
class Node:
    inner: Node | None = None


@dataclass
class Sent:
    value: Any


def faults_of(text: str | Element) -> dict[str, str]:
    element = PARSER.parse(text) if isinstance(text, str) else text
    contract = contract_of(Order)
    with pytest.raises(InvalidMessage) as caught:
        contract.decode(element)
    assert not contract.valid(element) or {fault.code for fault in caught.value.faults} <= {
        "duplicate-element",
        "type",
        "unexpected-element",
    }
    return {fault.path: fault.code for fault in caught.value.faults}


def unsendable(payload: object) -> dict[str, str]:
    with pytest.raises(InvalidMessage) as caught:
        encode(payload)
    return {fault.path: fault.code for fault in caught.value.faults}


def test_all_faults_of_a_document_come_at_once_each_with_its_path() -> None:
    assert faults_of(
        "<Order a='1'><Name/><Count>x</Count><Lines>q<Line><Amount>1e5</Amount></Line>"
        "<Line><Amount>1</Amount><Amount>2</Amount><Note>plain</Note></Line><Zed/></Lines>"
        "<Color>blue</Color><Code>A</Code><ByName><Item><Key>k</Key></Item></ByName>"
        "<Pair><Item-1>1</Item-1></Pair><Labels><Str>a</Str><Str>a</Str></Labels><Who/></Order>"
    ) == {
        "/Order": "attribute",
        "/Order/Name": "facet",
        "/Order/Count": "type",
        "/Order/Lines": "stray-text",
        "/Order/Lines/Zed[3]": "unexpected-element",
        "/Order/Lines/Line[1]/Amount": "type",
        "/Order/Lines/Line[2]/Amount[2]": "duplicate-element",
        "/Order/Lines/Line[2]/Note": "union",
        "/Order/Color": "enum",
        "/Order/Code": "facet",
        "/Order/ByName/Item[1]/Val": "missing-element",
        "/Order/Pair/Item-2": "missing-element",
        "/Order/Labels": "duplicate-element",
        "/Order/Who": "unexpected-element",
    } | {"/Order/Lines": "stray-text"}


def test_the_wrong_order_and_the_wrong_root_are_faults() -> None:
    swapped = faults_of("<Order><Count>1</Count><Name>a</Name><Lines/></Order>")
    assert swapped == {"/Order/Name": "unexpected-element"}
    assert faults_of("<order/>") == {"/order": "unexpected-element"}
    assert faults_of('<Order xmlns="urn:x"/>') == {"/Order": "unexpected-element"}


def test_a_class_that_refuses_its_values_is_a_fault_of_the_message() -> None:
    text = "<Order><Name>nobody</Name><Count>1</Count><Lines/></Order>"
    assert faults_of(text) == {"/Order": "type"}


def test_a_comment_inside_text_is_refused() -> None:
    element = etree.fromstring("<Order><Name>admin<!-- -->istrator</Name><Count>1</Count><Lines/></Order>")
    assert faults_of(element) == {"/Order/Name": "unexpected-element"}


def test_xsi_attributes_that_the_xsd_would_take_are_refused() -> None:
    element = etree.fromstring(
        '<Order xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Order">'
        "<Name>a</Name><Count>1</Count><Lines/></Order>"
    )
    with pytest.raises(InvalidMessage, match="attribute"):
        contract_of(Order).decode(element)


def test_fields_with_defaults_may_be_absent() -> None:
    text = "<Order><Name>a</Name><Count>1</Count><Lines/></Order>"
    assert contract_of(Order).read(PARSER.parse(text)) == Order("a", 1, [])


def test_ten_thousand_faults_are_found_in_linear_time() -> None:
    wrong = "<Line><Amount>x</Amount></Line>" * 4_000
    faults = faults_of(f"<Order><Name>a</Name><Count>1</Count><Lines>{wrong}</Lines></Order>")
    assert len(faults) == 4_000


def test_what_cannot_be_sent_is_refused_with_every_path() -> None:
    wrong: Any = Order("", True, [Line("1"), 5], "red", "A", {1: "x"}, (1,), {2})  # type: ignore[arg-type, list-item, dict-item]
    assert unsendable(wrong) == {
        "/Order/Name": "facet",
        "/Order/Count": "type",
        "/Order/Lines/Line[1]/Amount": "type",
        "/Order/Lines/Line[2]": "type",
        "/Order/Color": "type",
        "/Order/Code": "facet",
        "/Order/ByName/Item[1]/Key": "type",
        "/Order/ByName/Item[1]/Val": "type",
        "/Order/Pair": "type",
        "/Order/Labels/Str": "type",
    }


@pytest.mark.parametrize(
    ("text", "point"), [("a\x00", "U+0000 at character 2"), ("\ud800", "U+D8"), ("\ufffe", "U+FFFE")]
)
def test_characters_xml_cannot_carry_are_refused_with_their_code_point(text: str, point: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        encode(Order(text, 1, []))
    (fault,) = caught.value.faults
    assert (fault.code, fault.path) == ("bad-char", "/Order/Name")
    assert fault.found.startswith(point)


def test_texts_and_numbers_beyond_the_limits_are_refused() -> None:
    assert unsendable(Order("a" * (MAX_TEXT + 1), 1, [])) == {"/Order/Name": "too-large"}
    assert unsendable(Order("a", 10**5_000, [])) == {"/Order/Count": "too-large"}
    assert unsendable(Order("a", 1, [Line(Decimal("1E+999999"))])) == {
        "/Order/Lines/Line[1]/Amount": "too-large"
    }
    assert unsendable(Order("a", 1, [Line(Decimal("NaN"))])) == {"/Order/Lines/Line[1]/Amount": "type"}
    digits = "9" * 5_000
    text = f"<Order><Name>a</Name><Count>{digits}</Count><Lines/></Order>"
    with pytest.raises(InvalidMessage) as caught:
        contract_of(Order).decode(PARSER.parse(text))
    assert caught.value.faults[0].code == "too-large"


def test_a_payload_deeper_than_the_wire_takes_or_that_contains_itself_is_refused() -> None:
    deep = Node()
    for _ in range(150):
        deep = Node(deep)
    assert unsendable(deep) == {"/Node": "too-large"}
    loop = Node()
    loop.inner = loop
    assert unsendable(loop) == {"/Node": "too-large"}


def test_offsets_xml_schema_does_not_know_are_refused() -> None:
    @dataclass
    class At:
        when: datetime
        clock: time

    second = timezone(timedelta(seconds=90))
    far = timezone(timedelta(hours=15))
    assert unsendable(At(datetime(2020, 1, 1, tzinfo=second), time(1, tzinfo=far))) == {
        "/At/When": "type",
        "/At/Clock": "type",
    }
    assert unsendable(At(datetime(2020, 1, 1), time(1, tzinfo=Floating()))) == {"/At/Clock": "type"}


def test_a_subclass_of_a_nested_class_is_refused_since_it_would_not_come_back() -> None:
    @dataclass
    class Long(Line):
        extra: int = 0

    assert unsendable(Order("a", 1, [Long(Decimal(1))])) == {"/Order/Lines/Line[1]": "type"}


def test_error_texts_quote_at_most_sixty_characters() -> None:
    with pytest.raises(InvalidMessage) as caught:
        contract_of(Order).decode(
            PARSER.parse(f"<Order><Name>a</Name><Count>{'x' * 5_000}</Count><Lines/></Order>")
        )
    assert len(str(caught.value)) < 200


def test_what_the_xsd_alone_refuses_has_a_path_and_a_code() -> None:
    element = PARSER.parse("<Order><Name>a</Name><Count>0</Count><Lines><X/></Lines></Order>")
    faults = contract_of(Order).validate(element)
    assert {fault.path: fault.code for fault in faults} == {
        "/Order/Count": "facet",
        "/Order/Lines/X": "unexpected-element",
    }


def test_the_one_number_that_libxml2_takes_and_xml_schema_does_not_is_refused() -> None:
    @dataclass
    class Measured:
        value: float

    element = PARSER.parse("<Measured><Value>1e</Value></Measured>")
    assert contract_of(Measured).valid(element)
    with pytest.raises(InvalidMessage, match="a number"):
        contract_of(Measured).read(element)
