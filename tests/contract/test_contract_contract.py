"""What one contract offers: shapes, examples, methods on the class, one schema per thread."""

from __future__ import annotations

import enum
import threading
import traceback
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import annotated_types as at
import pytest
from lxml import etree

from phloem.config import WireLimits
from phloem.contract import Doc, Pattern, contract_of, encode, example, parse_element, to_element, xmlify, xsd
from phloem.errors import ContractError, InvalidMessage
from phloem.wire.parsing import Parser
from phloem.wire.repair import Shape

PARSER = Parser(WireLimits())


class Mood(enum.Enum):
    CALM = 1
    LOUD = 2


@xmlify
@dataclass
class Inner:
    text: str


@xmlify
@dataclass
class Whole:
    """A bit of everything."""

    city: Annotated[str, Doc("the city, in English")]
    days: Annotated[int, at.Interval(ge=3, le=14)]
    code: Annotated[str, Pattern("[A-Z]{3}-[0-9]+"), at.MinLen(8)]
    mood: Mood
    size: Literal["small", "large"]
    inner: Inner
    many: list[Inner]
    table: dict[str, Inner]
    pair: tuple[int, Inner]
    maybe: Inner | None
    rest: set[Annotated[int, at.Ge(10)]]
    retries: int = 3
    again: list[Whole] = field(default_factory=list)


def test_an_example_speaks_of_its_fields() -> None:
    text = example(Whole)
    for part in (
        "<City>the city, in English</City>", "<Days>3</Days>", "<Mood>CALM</Mood>", "<Size>small</Size>",
        "<Maybe><Inner>", "<Retries>3</Retries>", "<Int>10</Int>", "<Again></Again>",
    ):  # fmt: skip
        assert part in text
    whole = parse_element(Whole, PARSER.parse(text))
    assert encode(whole) == text


def test_a_class_that_always_needs_itself_has_no_example() -> None:
    @xmlify
    @dataclass
    class Endless:
        inside: Endless

    with pytest.raises(ContractError, match="inside itself"):
        example(Endless)


def test_the_shape_tells_names_and_leaves_all_the_way_down() -> None:
    shape: Shape = contract_of(Whole).shape

    def at_path(*tags: str) -> Shape:
        found: Shape | None = shape
        for tag in tags:
            assert found is not None
            found = found.child(tag)
        assert found is not None
        return found

    assert (shape.tag, shape.leaf, shape.fixed, shape.order[:2]) == ("Whole", False, True, ("City", "Days"))
    assert at_path("City").leaf
    assert at_path("City").order == ()
    assert at_path("Inner", "Text").leaf
    assert (at_path("Many").order, at_path("Many").fixed) == (("Inner",), False)
    assert at_path("Table", "Item").order == ("Key", "Val")
    assert at_path("Table", "Item", "Val", "Text").leaf
    assert at_path("Pair", "Item-2", "Text").leaf
    assert at_path("Maybe").order == ("Inner", "NoneType")
    assert not at_path("Maybe", "NoneType").leaf
    assert at_path("Again", "Whole", "Again", "Whole", "City").leaf
    assert shape.child("city") is None


def test_the_class_gets_xsd_and_xml_value_as_the_references_have() -> None:
    cls: Any = Inner
    assert etree.tostring(cls.xsd(), encoding="unicode").strip() == xsd(Inner).strip()
    assert etree.tostring(cls("a").xml_value("Named")) == b"<Named><Text>a</Text></Named>"


def test_to_element_and_parse_element_are_inverse() -> None:
    assert parse_element(Inner, to_element(Inner("<&>\r\n"))) == Inner("<&>\r\n")


def test_encoding_something_of_another_class_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="Inner"):
        contract_of(Inner).encode(Mood.CALM)


def test_a_contract_validates_in_many_threads_each_with_its_own_schema() -> None:
    contract = contract_of(Inner)
    element = PARSER.parse("<Inner><Text>a</Text></Inner>")
    assert contract.valid(element)
    schemas: list[Any] = [contract._schema()]
    right: list[bool] = []

    def judge() -> None:
        own = etree.fromstring("<Inner><Text>a</Text></Inner>")
        right.append(contract.valid(own) and not contract.valid(etree.fromstring("<Inner/>")))
        schemas.append(contract._schema())

    threads = [threading.Thread(target=judge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 4
    assert len({id(schema) for schema in schemas}) == 5


def test_a_traceback_through_generated_code_shows_its_lines() -> None:
    class Rude:
        """No element."""

    rude: Any = Rude()
    with pytest.raises(AttributeError) as caught:
        contract_of(Inner)._decode(rude)
    assert "it.keys()" in "".join(traceback.format_exception(caught.value))


def test_fields_tell_what_a_prompt_needs() -> None:
    fields = {each.name: each for each in contract_of(Whole).fields}
    city, days, mood = fields["city"], fields["days"], fields["mood"]
    assert (city.tag, city.doc, city.required, city.type_words) == (
        "City",
        "the city, in English",
        True,
        "text",
    )
    assert days.constraints == ("at least 3", "at most 14")
    assert mood.type_words == "one of 'CALM', 'LOUD'"
    assert not fields["retries"].required
    assert contract_of(Whole).doc == "A bit of everything."
