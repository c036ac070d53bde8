"""Events out of bytes: lines, fields, bounds, and any cut of the bytes."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from phloem.llm.providers.sse import Events, EventTooLong, ServerEvent


def events_of(*pieces: bytes, limit: int = 1000) -> list[ServerEvent]:
    events = Events(limit)
    return [event for piece in pieces for event in events.feed(piece)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_in_each_of_three_ways(end: bytes) -> None:
    lines = [
        b"event: word",
        b"data: one",
        b"data: two",
        b"",
        b": a comment",
        b"id: 7",
        b"data:three",
        b"",
        b"",
    ]
    expected = [ServerEvent("word", "one\ntwo"), ServerEvent("", "three")]
    assert events_of(end.join(lines)) == expected
    assert events_of(*[bytes([each]) for each in end.join(lines)]) == expected


def test_an_event_without_data_is_none_and_leaves_no_name() -> None:
    assert events_of(b"event: ping\n\ndata: x\n\n") == [ServerEvent("", "x")]


def test_one_space_behind_the_colon_is_not_data() -> None:
    assert [each.data for each in events_of(b"data:  x \n\ndata\n\ndata:\n\n")] == [" x ", "", ""]


def test_an_event_that_does_not_end_is_none() -> None:
    assert events_of(b"data: x\n") == events_of(b"data: x") == []


def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    assert events_of(b"\xef\xbb\xbfdata: x\n\n") == [ServerEvent("", "x")]


def test_a_carriage_return_ends_its_line_at_once() -> None:
    assert events_of(b"data: x\r\n\r") == [ServerEvent("", "x")]
    assert events_of(b"data: x\r\n\r", b"\ndata: y\n\n") == [ServerEvent("", "x"), ServerEvent("", "y")]


def test_a_separator_that_is_no_line_end_stays_in_the_data() -> None:
    data = "a\u2028b\x0bc\x85d"
    assert events_of(f"data: {data}\n\n".encode()) == [ServerEvent("", data)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_an_event_over_the_bound_is_refused_ended_or_not(end: bytes) -> None:
    assert events_of(b"data:" + b"x" * 95 + b"\n\n", limit=100)
    with pytest.raises(EventTooLong, match="more than 100 bytes"):
        events_of(b"data:" + b"x" * 96 + end, limit=100)


def test_the_bound_is_for_all_lines_of_an_event_comments_too() -> None:
    with pytest.raises(EventTooLong):
        events_of(b"data:xxxx\n" * 20, limit=100)
    with pytest.raises(EventTooLong):
        events_of(b":xxxxxxxx\n" * 20, limit=100)
    assert len(events_of(b":xxxxxxxx\n\n" * 20 + b"data:x\n\n", limit=100)) == 1


LINES = st.sampled_from(
    [b"data: a", b"data: \xf0\x9f\x8d\x81", b"event: e", b": c", b"", b"", b"id", b"data:", b"retry: 3"]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=30), st.lists(st.integers(0, 200), max_size=10))
def test_where_the_bytes_are_cut_changes_nothing(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    whole = b"".join(line + end for line, end in lines)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[begin:end] for begin, end in pairwise(places)]
    assert events_of(*pieces) == events_of(whole)
