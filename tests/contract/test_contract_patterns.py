"""A pattern means the same to Python and to libxml2, or is refused."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Annotated

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from phloem.contract import Pattern, contract_of
from phloem.contract.patterns import BadPattern, sample, translate
from phloem.errors import InvalidMessage

ATOMS = st.sampled_from(
    ["a", "b", "-", "é", ".", r"\d", r"\w", r"\s", r"\D", r"\.", r"\$", r"\n", "[a-c]", "[^a]", r"[\w.-]",
     "[b-]", r"[\]\\]", "%"]
)  # fmt: skip
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?"])).map(lambda pair: f"({pair[0]}){pair[1]}"),
        st.tuples(ATOMS, st.sampled_from(["{2}", "{1,}", "{0,2}"])).map("".join),
    ),
    max_leaves=5,
)


def schema_takes(xsd: str, text: str) -> bool:
    name = "{http://www.w3.org/2001/XMLSchema}"
    root = etree.Element(f"{name}schema")
    element = etree.SubElement(root, f"{name}element", name="t")
    simple = etree.SubElement(element, f"{name}simpleType")
    restriction = etree.SubElement(simple, f"{name}restriction", base="xs:string", nsmap={"xs": name[1:-1]})
    etree.SubElement(restriction, f"{name}pattern", value=xsd)
    document = etree.Element("t")
    document.text = text
    return etree.XMLSchema(root).validate(document)


POSITIVE = st.sampled_from(
    ["a", "b", "-", "é", r"\d", r"\w", r"\s", r"\.", r"\$", r"\n", "[a-c]", "[b-]", "%"]
)
SURE = st.recursive(  # no repeated groups, nothing negated, and alternatives that begin differently
    st.tuples(POSITIVE, st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,}", "{0,2}"])).map("".join),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(x{pair[0]}|y{pair[1]})"),
    ),
    max_leaves=5,
)
TEXTS = st.text("ab-. \n\ré7_$]\\Z\u0661xy", max_size=5)


@settings(deadline=None, max_examples=400)
@given(SURE, TEXTS)
@example(r"\w", "é")
@example(".", "\r")
@example("[^a]", "a")
@example(r"\D", "7")
def test_python_and_libxml2_take_the_same_texts(pattern: str, text: str) -> None:
    regex, xsd = translate(pattern)
    assert bool(regex.fullmatch(text)) == schema_takes(xsd, text)


@pytest.mark.parametrize(("pattern", "text"), [("(a)*|b", "ba"), ("(.{2}|.{2})", "777"), ("(a(.)*)*", "7")])
def test_where_libxml2_takes_too_much_decoding_refuses_all_the_same(pattern: str, text: str) -> None:
    told = make_dataclass("Told", [("text", Annotated[str, Pattern(pattern)])])
    contract = contract_of(told)
    element = etree.fromstring(f"<Told><Text>{text}</Text></Told>")
    assert contract.valid(element)
    with pytest.raises(InvalidMessage):
        contract.read(element)


@settings(deadline=None, max_examples=200)
@given(PATTERNS)
def test_a_sample_matches_its_pattern(pattern: str) -> None:
    assert translate(pattern)[0].fullmatch(sample(pattern, 1))


@pytest.mark.parametrize(
    "pattern",
    ["(?:a)", "a*?", "a++", r"\bx", "(?=a)", r"\1", "a$b|c", "a^", "[a", "(a", "a)", "*a", "a{,3}", "a{1001}",
     "[a-\\d]", "(a*){2}", "[]a]", "[[a]", r"\p{L}", r"\Aa", "a|*", "\\", "a{x}", "[z-a]", "]"],
)  # fmt: skip
def test_what_is_not_common_to_both_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        translate(pattern)


@pytest.mark.parametrize(
    ("pattern", "fits", "not_"), [("^ab$", "ab", "xaby"), (r"a\$", "a$", "a"), ("^a|b$", "b", "xb")]
)
def test_a_pattern_means_the_full_text(pattern: str, fits: str, not_: str) -> None:
    regex, xsd = translate(pattern)
    assert regex.fullmatch(fits)
    assert not regex.fullmatch(not_)
    assert schema_takes(xsd, fits)
    assert not schema_takes(xsd, not_)


@pytest.mark.parametrize("pattern", ["\ud800", "a\x00b", "[\ufffe]", "a|\x1b"])
def test_a_character_that_no_text_can_have_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(BadPattern, match="a character that XML cannot carry"):
        translate(pattern)
