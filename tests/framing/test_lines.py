"""A stream is cut into lines however its chunks fall, and no line is held beyond the limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phloem.framing.lines import LineSplitter, Piece, Unreadable
from phloem.messages import HuhCode


def split(data: bytes, size: int = 1, *, limit: int = 1000) -> list[Piece | Unreadable]:
    splitter = LineSplitter(limit)
    found = [
        each for start in range(0, len(data), size) for each in splitter.feed(data[start : start + size])
    ]
    return [*found, *splitter.finish()]


def test_a_line_keeps_its_number_past_blank_ones() -> None:
    assert split(b"a\n\n \t\r\nb") == [Piece(1, 1, b"a"), Piece(4, 4, b"b")]


def test_crlf_ends_a_line_and_a_bare_cr_does_not() -> None:
    assert split(b"a\r\nb\rc\n") == [Piece(1, 1, b"a"), Piece(2, 2, b"b\rc")]


def test_no_input_has_no_lines() -> None:
    assert split(b"") == []
    assert split(b"\n\n") == []


def test_a_line_over_the_limit_is_refused_and_the_next_is_read() -> None:
    [refused, after] = split(b"x" * 11 + b"\nyy\n", 4, limit=10)
    assert isinstance(refused, Unreadable)
    assert (refused.number, refused.fault.code, refused.fault.path) == (1, HuhCode.TOO_LARGE, "line 1")
    assert refused.fault.found == "a line of 11 bytes"
    assert after == Piece(2, 2, b"yy")


def test_a_line_of_exactly_the_limit_is_read() -> None:
    assert split(b"x" * 10 + b"\n", 3, limit=10) == [Piece(1, 1, b"x" * 10)]


def test_a_line_without_an_end_holds_no_memory_beyond_the_limit() -> None:
    splitter = LineSplitter(10)
    for _ in range(1000):
        assert list(splitter.feed(b"x" * 7)) == []
        assert sum(map(len, splitter._parts)) <= 10
    [refused] = splitter.finish()
    assert isinstance(refused, Unreadable)
    assert refused.fault.found == "a line of 7,000 bytes"


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line)), st.integers(1, 9))
def test_chunks_do_not_matter(lines: list[bytes], size: int) -> None:
    data = b"\n".join(lines)
    expected = [Piece(n, n, text) for n, line in enumerate(lines, 1) if (text := line.strip(b" \t\r"))]
    assert split(data, size) == expected
    assert split(data, len(data) or 1) == expected


def test_white_space_around_a_line_is_no_content_unless_it_is_wanted_exactly() -> None:
    data = b"  a \r\n \t\n\tb\r\r\n"
    exact = LineSplitter(exact=True)
    assert split(data) == [Piece(1, 1, b"a"), Piece(3, 3, b"b")]
    assert [*exact.feed(data), *exact.finish()] == [Piece(1, 1, b"  a "), Piece(3, 3, b"\tb\r")]
