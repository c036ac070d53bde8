"""Everything that encodes comes back equal, over random classes of the whole type table."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, make_dataclass
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from phloem.config import WireLimits
from phloem.contract import Contract, contract_of
from phloem.contract.reading import read_element
from phloem.contract.writing import write_text
from phloem.errors import InvalidMessage
from phloem.wire.parsing import Element, Parser, canonical
from support.contracts import SCALARS, TYPES, Typed, records

PARSER = Parser(WireLimits())


@st.composite
def payloads(draw: st.DrawFn) -> Any:
    return draw(draw(records(TYPES, name="Payload")).values)


def same(left: Any, right: Any) -> bool:
    """Equal, of the same type, and nan is nan."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if is_dataclass(left):
        return all(same(getattr(left, each.name), getattr(right, each.name)) for each in fields(left))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    return bool(left == right)


def record_of(contract: Contract) -> Any:
    return contract._record


def text_of(element: Element) -> str:
    return etree.tostring(element, method="c14n", exclusive=True).decode()


@settings(deadline=None, max_examples=150)
@given(payloads())
def test_whatever_encodes_passes_parser_xsd_and_decoder_and_comes_back_equal(payload: Any) -> None:
    contract = contract_of(type(payload))
    text = contract.encode(payload)
    element = PARSER.parse(text)
    assert contract.validate(element) == ()
    assert same(contract.decode(element), payload)
    assert same(contract.read(PARSER.parse_own(text)), payload)


@settings(deadline=None, max_examples=100)
@given(payloads())
def test_the_text_already_is_the_exclusive_canonical_form(payload: Any) -> None:
    text = contract_of(type(payload)).encode(payload)
    assert text_of(PARSER.parse(text)) == text == canonical(PARSER.parse_own(text))


@settings(deadline=None, max_examples=100)
@given(payloads())
def test_generated_code_does_what_the_slow_codec_does(payload: Any) -> None:
    contract = contract_of(type(payload))
    text = write_text(record_of(contract), payload)
    assert contract.encode(payload) == text
    element = PARSER.parse(text)
    assert same(read_element(record_of(contract), element), contract.decode(element))


@settings(deadline=None, max_examples=150)
@given(payloads())
def test_white_space_between_elements_changes_nothing_where_the_xsd_takes_it(payload: Any) -> None:
    contract = contract_of(type(payload))
    element = PARSER.parse(contract.encode(payload))
    etree.indent(element)
    assert contract.valid(element)
    assert same(contract.decode(element), payload)


@settings(deadline=None, max_examples=150)
@given(records(TYPES, name="Payload"))
def test_every_class_has_an_example_that_passes_its_xsd_and_decodes(typed: Typed) -> None:
    contract = contract_of(typed.hint)
    text = contract.example()
    assert text == contract.example()
    assert contract.encode(contract.read(PARSER.parse(text))) == text
    assert "..." not in text
    assert ">string<" not in text


def refused_with(contract: Contract, root: Element) -> set[str]:
    """The codes the decoder refuses it with; none if it does not."""
    try:
        contract.decode(root)
    except InvalidMessage as error:
        return {fault.code for fault in error.faults}
    return set()


NEAR = [
    "", " ", "x", "1", "-1", " 7\n", "1.", ".5", "1e5", "1E+5", "1e400", "1e", "INF", "INF ",
    "-INF", "+INF", "NaN", "nan", "1.5.", "-.", "+", "+5", "-0", "007", "1_0", "1 0", "0x10",
    "\u0661", "\xa05", "9" * 30, "true", "TRUE", "0", "AA==", "AB==", "A A==", " AAAA", "AAA",
    "LOW", "red & hot", "a", "<", "abc", "8.999999999999999999999", "9", "2030-01-01", "2030-02-29",
    "0000-01-01", "2030-01-01 ", "2030-01-01Z", "12030-01-01", "2030-01-01T00:00:00Z",
    "2030-01-01T24:00:00", "2030-01-01T00:00:00.1234567", "0000-01-01T00:00:00",
    "2030-01-01T12:00:00+13:60", "0001-01-01T00:00:00+14:00", "24:00:00", "12:00", "12:60:00",
    "12:00:00+14:01", "12:00:00-14:00", "12:00:00+13:60", "6F1B5C2E-0d4a-4b7e-9c35-8a2f41d6e000",
    "{6f1b5c2e-0d4a-4b7e-9c35-8a2f41d6e000}",
]  # fmt: skip


def leaf(hint: Any, text: str) -> tuple[Contract, Element]:
    """A class with one field of this type, and a document with this text in it."""
    root = etree.Element("Payload")
    etree.SubElement(root, "A").text = text or None
    return contract_of(make_dataclass("Payload", [("a", hint)])), root


@pytest.mark.parametrize("typed", SCALARS, ids=lambda typed: str(typed.hint))
def test_the_decoder_takes_no_scalar_that_the_xsd_refuses(typed: Typed) -> None:
    for text in NEAR:
        contract, root = leaf(typed.hint, text)
        if not contract.valid(root):
            assert refused_with(contract, root), text


# What libxml2 takes and XML Schema does not: the decoder refuses it, so nobody gets to see it.
LOOSE = {bytes: "(?s).*[^A-Za-z0-9+/= ].*", float: "1e", date: "2030-01-01 "}


@pytest.mark.parametrize("hint", [typed.hint for typed in SCALARS], ids=str)
def test_the_decoder_refuses_no_scalar_that_xml_schema_takes(hint: Any) -> None:
    for text in NEAR:
        contract, root = leaf(hint, text)
        base = hint.__origin__ if hasattr(hint, "__metadata__") else hint
        if contract.valid(root) and not re.fullmatch(LOOSE.get(base, ""), text):
            assert not refused_with(contract, root), text


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Contract, Element]:
    """A valid document with one or two things changed, as senders do."""
    payload = draw(payloads())
    contract = contract_of(type(payload))
    root = PARSER.parse(contract.encode(payload))
    for _ in range(draw(st.integers(1, 2))):
        target = draw(st.sampled_from(list(root.iter())))
        parent = target.getparent()
        match draw(st.integers(0, 8)):
            case 0 if parent is not None:
                parent.remove(target)
            case 1 if parent is not None:
                target.addnext(copy.deepcopy(target))
            case 2 if (after := target.getnext()) is not None:
                after.addnext(target)
            case 3:
                target.set("a", "b")
            case 4:
                target.tag = draw(st.sampled_from(["Int", "Str", "NoneType", "Item", "Key", "{urn:x}Str"]))
            case 5:
                etree.SubElement(target, draw(st.sampled_from(["Int", "Str", "NoneType", "Item", "X"])))
            case 6:
                target.tail = draw(st.sampled_from(NEAR)) if parent is not None else None
            case _:
                target.text = draw(st.sampled_from(NEAR))
    return contract, etree.fromstring(etree.tostring(root))  # an empty text node exists in memory only


def known_differences(root: Element) -> Iterator[str]:
    """Where the decoder alone refuses: duplicates in a set or dict, and what libxml2 is too lax about."""
    for element in root.iter():
        if any(re.fullmatch(loose, element.text or "") for loose in LOOSE.values()):
            yield "a text that libxml2 takes for base64, a number or a date"
        children = [text_of(child) for child in element]
        keys = [text_of(key) for item in element if item.tag == "Item" for key in item if key.tag == "Key"]
        if len(set(children)) < len(children) or len(set(keys)) < len(keys):
            yield "duplicates"
        values = [(child.text or "").strip() for child in element] + [key.partition(">")[2] for key in keys]
        if len(values) > 1:
            yield "values that may be equal though written differently"


@settings(deadline=None, max_examples=300)
@given(mutated())
def test_xsd_and_decoder_agree_on_near_misses(case: tuple[Contract, Element]) -> None:
    contract, root = case
    codes = refused_with(contract, root)
    if contract.valid(root):
        assert codes <= {"duplicate-element", "type"}
        assert not codes or list(known_differences(root))
    else:
        assert codes, contract.validate(root)
