"""A text for one listener means one thing, or is refused with what was expected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, NewType

import pytest

from phloem.config import ListenerConfig, OrganismConfig, WireLimits
from phloem.contract import Doc, xmlify
from phloem.errors import InvalidMessage
from phloem.framing.fields import FieldTable
from phloem.framing.lines import Piece
from phloem.framing.requests import Refused, Request, RequestReader
from phloem.framing.texts import TextReader, decoded, text_field
from phloem.loading import resolve, running_listeners
from phloem.messages import HuhCode
from phloem.pump.routing import Listener

Name = NewType("Name", str)


@xmlify
@dataclass
class Question:
    text: Annotated[str, Doc("What is asked.")]
    urgent: bool = False
    tags: list[str] = field(default_factory=list)


@xmlify
@dataclass
class Named:
    name: Name


@xmlify
@dataclass
class Order:
    item: str
    count: int


@xmlify
@dataclass
class Pair:
    left: str
    right: str = ""


@xmlify
@dataclass
class Number:
    value: int


@xmlify
@dataclass
class Checked:
    text: str

    def __post_init__(self) -> None:
        if not self.text.islower():
            raise ValueError("shouting")


async def drop(payload: Any, metadata: Any) -> None: ...


def listeners(**takes: Any) -> dict[str, Listener]:
    configs = [ListenerConfig(name, kinds, drop, "Drops.") for name, kinds in takes.items()]
    return {each.name: each for each in running_listeners(resolve(OrganismConfig("o", configs)))}


TAKERS = listeners(
    question=Question,
    named=Named,
    order=Order,
    pair=Pair,
    number=Number,
    checked=Checked,
    two=(Order, Number),
)


def read(name: str, text: str) -> Request | Refused:
    table = FieldTable()
    requests = RequestReader(TAKERS.values(), table, sender="console", limits=WireLimits())
    return TextReader(requests, table).read(TAKERS[name], text, 7)


def fault(name: str, text: str) -> tuple[str, str, str, str]:
    refused = read(name, text)
    assert isinstance(refused, Refused)
    assert (refused.id, refused.original) == (7, text)
    each = refused.faults[0]
    return each.code, each.path, each.found, each.expected


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("question", (Question, "text")),
        ("named", (Named, "name")),
        ("checked", (Checked, "text")),
        ("order", None),
        ("pair", None),
        ("number", None),
        ("two", None),
    ],
)
def test_text_alone_does_where_it_is_the_only_thing_that_is_needed(name: str, found: Any) -> None:
    assert text_field(TAKERS[name]) == found


@pytest.mark.parametrize(
    "text", ["hello", "  as it stands ", '{"text": "no json"}', "<b>no markup</b>", "", "a\nb"]
)
def test_text_for_an_only_str_field_is_never_anything_else(text: str) -> None:
    assert read("question", text) == Request(7, "question", Question(text))


def test_fields_and_xml_are_for_all_others() -> None:
    assert read("order", '{"item": "tea", "count": 2}') == Request(7, "order", Order("tea", 2))
    assert read("order", ' Order {"item": "tea",\n "count": 2}') == Request(7, "order", Order("tea", 2))
    request = read("order", " <Order><Item>tea</Item><Count>2</Count></Order>\n")
    assert isinstance(request, Request)
    assert request.payload is None
    assert b"<to>order</to>" in request.xml
    assert b"<Item>tea</Item>" in request.xml


def test_of_several_payloads_fields_say_which() -> None:
    assert read("two", 'number {"value": 5}') == Request(7, "two", Number(5))
    assert fault("two", '{"value": 5}') == (
        HuhCode.MISSING_ELEMENT,
        "type",
        "nothing",
        "one of Order, Number",
    )
    assert fault("two", 'Pair {"left": "x"}')[:2] == (HuhCode.ROUTING, "type")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "order",
            "two teas",
            (HuhCode.TYPE, "text", '"two teas"', "{…} with the fields of Order, or <Order> as XML"),
        ),
        ("two", "x", (HuhCode.TYPE, "text", '"x"', "Order {…} or Number {…}, or <Order> or <Number> as XML")),
    ],
)
def test_plain_text_for_others_is_refused_with_what_they_take(
    name: str, text: str, expected: tuple[str, str, str, str]
) -> None:
    assert fault(name, text) == expected


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ('{"item": "tea"}', HuhCode.MISSING_ELEMENT, "payload.count"),
        ('{"item": "tea", "count": "2"}', HuhCode.TYPE, "payload.count"),
        ('{"item": "tea", "item": "x", "count": 2}', HuhCode.DUPLICATE_ELEMENT, "line 1"),
        ('{"item": ', "not-json", "line 1, column 10"),
        ("{} {}", "not-json", "line 1, column 4"),
        ("<Order><Item>tea</Order>", HuhCode.MISSING_END_TAG, "xml, line 1, column 17"),
        ("<Pair/>", HuhCode.ROUTING, "/Pair"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, code: str, path: str) -> None:
    assert fault("order", text)[:2] == (code, path)


def test_what_a_payload_refuses_is_a_fault() -> None:
    assert fault("checked", "SHOUT")[0] == HuhCode.FACET


def test_bytes_that_are_no_utf_8_say_where() -> None:
    assert decoded(Piece(1, 3, "käse".encode())) == "käse"
    with pytest.raises(InvalidMessage) as raised:
        decoded(Piece(1, 3, b"ok \xff"))
    (each,) = raised.value.faults
    assert (each.code, each.path, each.found) == (HuhCode.BAD_CHAR, "line 3", "byte 0xff at 4")
