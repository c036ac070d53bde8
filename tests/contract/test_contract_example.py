"""Examples say something: nothing in them is a hole that a model would copy."""

from __future__ import annotations

import enum
import re
import time as clock
from dataclasses import dataclass, field, make_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from keyword import iskeyword
from typing import Annotated, Any, Literal
from uuid import UUID

import annotated_types as at
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from phloem.config import WireLimits
from phloem.contract import Contract, Doc, Pattern, contract_of, xmlify
from phloem.contract.names import pascalize
from phloem.errors import ContractError
from phloem.wire.parsing import Parser
from support.contracts import TYPES, Typed

PARSER = Parser(WireLimits())
HOLES = {
    "", "...", "…", "string", "str", "value", "text", "example", "foo", "bar", "todo", "tbd", "placeholder",
    "<name>", "xxx", "lorem ipsum", "sample", "your name here",
}  # fmt: skip


def checked(contract: Contract) -> Any:
    """The example as an element; it passes the XSD and comes back to the byte."""
    text = contract.example()
    element = PARSER.parse(text)
    assert contract.validate(element) == ()
    assert contract.encode(contract.read(element)) == text
    return element


def shown(hint: Any, name: str = "a", default: Any = ...) -> str:
    """What stands in the only field of a class called Payload."""
    spec: Any = (name, hint) if default is ... else (name, hint, field(default=default))
    element = checked(contract_of(make_dataclass("Payload", [spec])))
    return element.findtext(pascalize(name)) or ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "Ada Lovelace"), ("guest_name", "Ada Lovelace"), ("city", "Lisbon"), ("country", "Portugal"),
        ("message", "The kettle is on."), ("email", "ada@harbour.test"), ("language", "en"),
        ("callback_url", "https://harbour.test/tides"), ("query", "trains from Lisbon to Porto"),
        ("question", "When does the last train to Porto leave?"), ("order_id", "T-1042"),
        ("created_date", "2031-05-17"), ("status", "open"), ("title", "A garden in winter"),
        ("blurb", "the blurb of this payload"), ("firstMoverHTTP", "the first mover http of this payload"),
        ("a", "the a of this payload"), ("class_", "the class of this payload"),
        ("payload", "this payload, in plain words"),
    ],
)  # fmt: skip
def test_a_text_is_what_such_a_field_usually_holds(name: str, value: str) -> None:
    assert shown(str, name) == value


@pytest.mark.parametrize(
    "name", ["name", "text", "value", "string", "example", "message", "foo", "todo", "id", "data", "x"]
)
def test_a_field_never_holds_its_own_name(name: str) -> None:
    for hint in (str, list[str], str | None, dict[str, str], tuple[str, str], set[str]):
        cls = make_dataclass("Payload", [(name, hint)])
        for element in checked(contract_of(cls)).iter():
            assert (element.text or "filled").strip().lower() not in {*HOLES, name}


@pytest.mark.parametrize(
    ("doc", "value"),
    [
        ("the city, in English", "the city, in English"),
        ("Where they live. Not where they work.", "Where they live"),
        ("The\n  city.", "The city"),
        ("The city, e.g. Lisbon", "Lisbon"),
        ("The city (such as 'Rio de Janeiro', or Faro)", "Rio de Janeiro"),
        ('for example "Port of Spain".', "Port of Spain"),
        ("An address, e.g. ..., as you like", "An address"),
        ("a" * 200, "a" * 80),
        ("many words " * 20, ("many words " * 7).strip()),
        # what is no better than a hole, or cannot be written, gives way to the name
        ("string", "Lisbon"),
        ("City", "Lisbon"),
        ("<city>", "Lisbon"),
        ("...", "Lisbon"),
        ("TODO: describe", "Lisbon"),
        ("your city", "Lisbon"),
        ("   ", "Lisbon"),
        ("\ud800", "Lisbon"),
        ("a\x00b", "Lisbon"),
    ],
)
def test_documentation_wins_over_the_name(doc: str, value: str) -> None:
    assert shown(Annotated[str, Doc(doc)], "city") == value


def test_an_item_has_its_own_documentation() -> None:
    hint = Annotated[list[Annotated[str, Doc("a word that a reader looks for")]], Doc("words to find it by")]
    (item,) = checked(contract_of(make_dataclass("Payload", [("a", hint)]))).iter("Str")
    assert item.text == "a word that a reader looks for"


@pytest.mark.parametrize(
    ("default", "value"),
    [
        ("Porto", "Porto"), ("default", "default"), ("-", "-"), ("", "Lisbon"), ("  ", "Lisbon"),
        ("string", "Lisbon"), ("city", "Lisbon"), ("<city>", "Lisbon"), ("...", "Lisbon"),
        ("{city}", "Lisbon"), ("your-city", "Lisbon"), ("a\nb", "Lisbon"),
        ("long " * 50, "Lisbon"), ("\ud800", "Lisbon"),
    ],
)  # fmt: skip
def test_a_default_is_shown_unless_it_says_nothing(default: str, value: str) -> None:
    assert shown(str, "city", default) == value
    element = checked(contract_of(make_dataclass("Payload", [("city", str | None, field(default=default))])))
    assert element.findtext("City/Str") == value


def test_other_defaults_are_shown_where_they_fit() -> None:
    assert shown(int, "a", 7) == "7"
    assert shown(bool, "a", False) == "false"
    assert shown(bytes, "a", b"\x00") == "AA=="
    assert shown(bytes, "a", b"") == "dGhlIGEgb2YgdGhpcyBwYXlsb2Fk"
    assert shown(Annotated[int, at.Ge(9)], "a", 7) == "9"
    assert shown(Literal["x", "y"], "a", "y") == "y"


def test_of_an_enum_the_first_member_that_says_something_is_shown() -> None:
    class Kind(enum.Enum):
        NONE = ""
        ANY = "..."
        TEA = "tea"
        MILK = "milk"

    assert shown(Kind) == "tea"
    assert shown(Literal["string", "a\nb"]) in ("string", "a\nb")  # there is nothing else to show


@pytest.mark.parametrize("least", [0, 1, 2, 5, 17, 23, 24, 40, 300])
@pytest.mark.parametrize("more", [0, 1, 3, 20, None])
@pytest.mark.parametrize("name", ["name", "text", "description", "blurb", "string"])
def test_lengths_hold_and_words_stay_whole_where_they_can(least: int, more: int | None, name: str) -> None:
    most = None if more is None else least + more
    value = shown(Annotated[str, at.Len(least, most)], name)
    assert least <= len(value) <= (most if most is not None else 1_000)
    assert value.lower() not in HOLES - ({""} if most == 0 else set())


@pytest.mark.parametrize(
    ("pattern", "name", "value"),
    [
        ("[A-Z]{3}", "currency", "EUR"),
        ("[a-z]+@[a-z.]+", "email", "ada@harbour.test"),
        ("[a-z]{2}", "language", "en"),
        (r"\d{4}-\d{2}-\d{2}", "day", "2031-05-17"),
        ("[0-9]{3}", "name", "777"),
    ],
)
def test_against_a_pattern_what_is_usual_is_tried_first(pattern: str, name: str, value: str) -> None:
    assert shown(Annotated[str, Pattern(pattern)], name) == value


def test_a_pattern_that_is_slow_to_refuse_does_not_hang_the_start() -> None:
    began = clock.process_time()
    shown(
        Annotated[str, Pattern("([a-z]+ ?)*!"), Doc("a long sentence that it would try for ever " * 9)],
        "query",
    )
    assert clock.process_time() - began < 10


@pytest.mark.parametrize(
    "hint",
    [
        set[str], set[int], set[float], set[Decimal], set[bytes], set[date], set[datetime], set[time],
        set[UUID], frozenset[Annotated[str, at.MaxLen(1)]], set[Annotated[str, at.MaxLen(3)]],
        set[Annotated[bytes, at.MaxLen(1)]],
        set[Annotated[str, Pattern("[a-z]+")]], set[Annotated[date, at.Ge(date.max.replace(month=1))]],
        set[Annotated[date, at.Le(date.min.replace(month=12))]], dict[str, int],
        dict[Annotated[str, at.Len(9, 9)], str],
        dict[date, str], set[Annotated[str, Doc("a name, e.g. Bo")]],
    ],
    ids=str,
)  # fmt: skip
def test_a_set_or_table_has_as_many_different_items_as_it_must(hint: Any) -> None:
    (wrapper,) = checked(contract_of(make_dataclass("Payload", [("city", Annotated[hint, at.MinLen(20)])])))
    assert len(wrapper) == 20


def test_what_cannot_be_different_enough_has_no_example() -> None:
    with pytest.raises(ContractError, match="no value of Bool found"):
        shown(Annotated[set[bool], at.MinLen(3)])
    assert shown(Annotated[set[Annotated[str, Pattern("a")]], at.MinLen(1)]) == ""


@pytest.mark.parametrize(
    "hint",
    [
        Annotated[float, at.Gt(1e300)], Annotated[float, at.Interval(gt=0, lt=1e-320)],
        Annotated[float, at.Lt(-1e300)],
        Annotated[Decimal, at.Gt(Decimal("1E+40"))], Annotated[int, at.Interval(ge=10**50, lt=10**50 + 1)],
        Annotated[date, at.Interval(ge=date.max, le=date.max)], Annotated[date, at.Le(date.min)],
        Annotated[Decimal, at.Interval(gt=0, lt=Decimal("0.01"))],
    ],
    ids=str,
)  # fmt: skip
def test_narrow_and_far_bounds_are_met(hint: Any) -> None:
    assert shown(hint)


def test_a_number_is_what_such_a_field_usually_holds_if_it_may() -> None:
    assert (shown(int, "birth_year"), shown(float, "price"), shown(int, "price")) == ("2031", "19.99", "1")
    assert shown(Annotated[int, at.Le(1999)], "year") == "1"


def test_classes_within_classes_end_before_they_fill_the_memory() -> None:
    inner: Any = make_dataclass("C0", [("a", int)])
    for number in range(1, 40):
        inner = make_dataclass(f"C{number}", [("a", inner), ("b", inner)])
    with pytest.raises(ContractError, match="more elements than one message may have"):
        contract_of(inner).example()
    with pytest.raises(ContractError, match="more items"):
        shown(Annotated[list[int], at.MinLen(10**9)])


def test_a_class_that_may_contain_itself_ends_at_once() -> None:
    @xmlify
    @dataclass
    class Person:
        name: str
        parent: Person | None
        children: list[Person]

    assert Contract.example(contract_of(Person)) == (
        "<Person><Name>Ada Lovelace</Name><Parent><NoneType></NoneType></Parent>"
        "<Children></Children></Person>"
    )


NAMES = st.one_of(
    st.sampled_from(
        ["name", "text", "value", "string", "todo", "example", "message", "x", "class_", "your_name"]
    ),
    st.from_regex(r"[a-z]{1,8}(_[a-z0-9]{1,5}){0,2}", fullmatch=True).filter(
        lambda name: not iskeyword(name)
    ),
)
DOCS = st.one_of(
    st.sampled_from([*sorted(HOLES), "<your city>", "e.g. ...", "such as 'string'", "{x}", "[text]"]),
    st.text(max_size=40),
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(NAMES, TYPES, st.none() | DOCS), max_size=4, unique_by=lambda each: pascalize(each[0]))
)
def test_no_text_of_any_example_is_a_hole(spec: list[tuple[str, Typed, str | None]]) -> None:
    hints = [
        (name, typed.hint if doc is None else Annotated[typed.hint, Doc(doc)]) for name, typed, doc in spec
    ]
    contract = contract_of(make_dataclass("Payload", hints))
    root = checked(contract)
    assert contract.example() == contract_of(make_dataclass("Payload", hints)).example()
    for element in root.iter("Str"):
        assert not hole(element.text, "Str")
    for (name, typed, _), element in zip(spec, root, strict=True):
        if typed.hint is str:
            assert not hole(element.text, name)


def hole(text: str | None, name: str) -> bool:
    said = (text or "").strip().lower()
    return said in {*HOLES, name.lower(), pascalize(name).lower()} or bool(re.search(r"\.\.\.|<.*>", said))


def test_the_elements_of_an_example_are_those_of_its_xsd() -> None:
    root = checked(contract_of(make_dataclass("Payload", [("pairs", dict[str, tuple[int, str]])])))
    assert etree.tostring(root).decode() == (
        "<Payload><Pairs><Item><Key>first</Key><Val><Item-1>1</Item-1>"
        "<Item-2>the pairs of this payload</Item-2></Val></Item></Pairs></Payload>"
    )
