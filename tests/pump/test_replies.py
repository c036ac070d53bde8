"""Claims of pump/replies.py."""

from __future__ import annotations

from typing import Any

import pytest

from phloem.messages import HandlerResponse
from phloem.pump.replies import BadReturn, read_return


def test_none_sends_nothing() -> None:
    assert read_return(None) == []


def test_one_response_is_a_list_of_one() -> None:
    response = HandlerResponse(1, to="x")
    assert read_return(response) == [response]


def test_bytes_are_read_later_and_by_the_parser() -> None:
    assert read_return(b"<A/>") == b"<A/>"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("<A/>", "str"),
        ({"to": "x"}, "dict"),
        ((HandlerResponse(1),), "tuple"),
        ([HandlerResponse(1), None], r"\[1\]"),
        (HandlerResponse(None), "without a payload"),
        (HandlerResponse(1, to=3), "int"),  # type: ignore[arg-type] # what is tested
        ([HandlerResponse(1), HandlerResponse.respond(2)], "forwards and responds"),
    ],
)
def test_anything_else_is_refused_with_what_it_was(returned: Any, words: str) -> None:
    with pytest.raises(BadReturn, match=words):
        read_return(returned)


def test_what_a_handler_returned_is_quoted_only_in_part() -> None:
    with pytest.raises(BadReturn) as caught:
        read_return("x" * 10_000)
    assert len(str(caught.value)) < 250
