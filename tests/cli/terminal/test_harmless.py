"""What others wrote is only shown: no sequence, no direction, no line end of theirs reaches a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.cli.terminal.harmless import clipped, harmless, one_line, width_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é, 漢, 👩‍💻", "plain, é, 漢, 👩‍💻"),
        ("\x1b[31mred", "␛[31mred"),
        ("\x9b31mred", "\\u009b31mred"),
        ("over\rwritten", "over␍written"),
        ("windows\r\nline", "windows\nline"),
        ("bell\x07 back\x08 nul\x00 del\x7f", "bell␇ back␈ nul␀ del␡"),
        ("a\tb", "a    b"),
        ("\u202eevil\u202c \u2066x\u2069", "\\u202eevil\\u202c \\u2066x\\u2069"),
        ("line\u2028end", "line\\u2028end"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_sign_stands_for_what_is_no_plain_character(text: str, shown: str) -> None:
    assert harmless(text) == shown


@given(st.text())
def test_nothing_is_left_that_a_terminal_would_do_something_at(text: str) -> None:
    for shown in (harmless(text), one_line(text), harmless(one_line(text))):
        assert all(
            each == "\n" or unicodedata.category(each) not in ("Cc", "Cs", "Zl", "Zp") for each in shown
        )
        assert not any(
            unicodedata.bidirectional(each) in ("LRE", "RLE", "LRO", "RLO", "LRI", "RLI") for each in shown
        )
    assert "\n" not in one_line(text)


@given(st.text())
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert harmless(harmless(text)) == harmless(text)


def test_colours_pass_where_they_may_and_nothing_else_does() -> None:
    text = "\x1b[1;31mred\x1b[0m \x1b[2J \x1b]0;title\x07"
    assert harmless(text, colours=True) == "\x1b[1;31mred\x1b[0m ␛[2J ␛]0;title␇"


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("漢字", 4, "漢字"),
        ("漢字x", 4, "漢…"),
        ("漢字", 3, "漢…"),
        ("abc", 0, ""),
        ("", 0, ""),
    ],
)
def test_a_text_is_clipped_to_columns_not_characters(text: str, most: int, shown: str) -> None:
    assert clipped(text, most) == shown
    assert width_of(shown) <= most
