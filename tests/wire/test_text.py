"""Which characters XML carries, and how input is quoted in errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from phloem.wire.text import (
    escaped,
    first_bad_char,
    is_xml_text,
    line_column,
    path_of,
    printable,
    quoted,
    shown,
)

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))


def is_char_of_the_recommendation(code: int) -> bool:
    return (
        code in (9, 10, 13)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or 0x10000 <= code <= 0x10FFFF
    )


def test_exactly_the_chars_of_xml_1_0_are_xml_text() -> None:
    wrong = [c for c in range(0x110000) if is_xml_text(chr(c)) is not is_char_of_the_recommendation(c)]
    assert wrong == []


@given(ANY_TEXT)
def test_the_first_bad_char_is_the_first(text: str) -> None:
    bad = [i for i, one in enumerate(text) if not is_char_of_the_recommendation(ord(one))]
    assert first_bad_char(text) == (bad[0] if bad else None)
    assert is_xml_text(text) is (not bad)


@given(st.one_of(ANY_TEXT, st.binary()), st.integers(0, 30))
def test_anything_can_be_made_legal_xml_text_of_at_most_so_many_characters(
    data: str | bytes, most: int
) -> None:
    shown = printable(data, most)
    assert is_xml_text(shown)
    assert len(shown) <= most


@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"])), st.integers(0, 30)
)
def test_legal_text_is_printed_as_it_is(text: str, most: int) -> None:
    assert printable(text, most) == text[:most]
    assert printable(text.encode(), most) == text[:most]


def test_bad_characters_are_printed_as_their_numbers() -> None:
    assert printable("a\0b\ufffe", 99) == "a\\x00b\\ufffe"
    assert printable(b"a\xff<", 99) == "a\\xff<"


@given(ANY_TEXT)
def test_quotes_are_legal_text_and_show_at_most_sixty_characters(text: str) -> None:
    assert is_xml_text(quoted(text))
    assert quoted(text) == repr(text) or quoted(text) == f"{repr(text[:60])[:-1]}…{repr(text[:60])[-1]}"


def test_quotes_make_control_characters_visible_and_say_when_they_are_cut() -> None:
    assert quoted("a\n\x1b[2J") == r"'a\n\x1b[2J'"
    assert quoted("x" * 61) == f"'{'x' * 60}…'"


@pytest.mark.parametrize(
    ("value", "said"),
    [("a\x1b", r"'a\x1b'"), (0, "0"), (True, "True"), (None, "None"), ([1, "a"], "[1, 'a']"), (b"<", "b'<'")],
)
def test_what_a_program_gave_is_shown_as_python_writes_it_quoted_once(value: object, said: str) -> None:
    assert shown(value) == said


def test_a_long_or_wild_repr_is_shown_on_one_line_cut() -> None:
    class Wild:
        def __repr__(self) -> str:
            return "a\n\x1b[2J  b" + "x" * 100

    assert is_xml_text(shown(Wild()))
    assert shown(Wild()).startswith("a \\x1b[2J b")
    assert len(shown(Wild())) == 61
    assert shown("x" * 100) == quoted("x" * 100)


@given(st.text(alphabet=st.sampled_from("a<>&\r\n\"']é")))
def test_escaped_text_is_what_canonical_form_writes(text: str) -> None:
    element = etree.Element("T")
    element.text = text
    assert f"<T>{escaped(text)}</T>" == etree.tostring(element, method="c14n", exclusive=True).decode()


@pytest.mark.parametrize(
    ("at", "where"),
    [(0, "line 1, column 1"), (2, "line 1, column 3"), (3, "line 2, column 1"), (5, "line 3, column 1")],
)
def test_places_are_counted_from_one(at: int, where: str) -> None:
    assert line_column("ab\nc\nd", at) == where


def test_a_very_long_path_keeps_its_end() -> None:
    assert path_of(["Note", "Text"]) == "/Note/Text"
    assert path_of(["x" * 500, "End"]).endswith("/End")
    assert len(path_of(["x" * 500, "End"])) < 100
