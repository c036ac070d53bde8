"""Names on the wire are pyhumps' pascalize, letter for letter."""

from __future__ import annotations

from typing import Any

import humps
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.contract.names import is_xml_name, pascalize

IDENTIFIERS = st.one_of(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True),
    st.text("abAB_19", min_size=1, max_size=8),
    st.text(min_size=1, max_size=8).filter(str.isidentifier),
)


@settings(max_examples=1_000, deadline=None)
@given(IDENTIFIERS)
def test_pascalize_is_pyhumps_pascalize(name: str) -> None:
    theirs: Any = humps
    assert pascalize(name) == theirs.pascalize(name)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("name", "Name"),
        ("user_name", "UserName"),
        ("a_b", "A_B"),
        ("x1_y2", "X1_Y2"),
        ("url2", "Url2"),
        ("HTTPUrl", "HTTPUrl"),
        ("class_", "Class_"),
        ("_x", "_X"),
        ("original_sender", "OriginalSender"),
    ],
)
def test_the_names_of_the_reference_stay(name: str, tag: str) -> None:
    assert pascalize(name) == tag


@pytest.mark.parametrize(
    ("name", "fits"), [("Name", True), ("É", True), ("a b", False), ("a:b", False), ("", False)]
)
def test_a_name_with_a_colon_or_a_blank_is_no_element_name(name: str, fits: bool) -> None:
    assert is_xml_name(name) is fits
