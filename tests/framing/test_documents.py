"""A stream of XML is cut into envelopes in three framings, and a bad one costs itself only."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.framing.documents import DocumentSplitter
from phloem.framing.lines import Piece, Unreadable


def split(data: bytes, size: int = 0, *, limit: int = 100_000) -> list[Piece | Unreadable]:
    splitter, size = DocumentSplitter(limit), size or len(data) or 1
    found = [
        each for start in range(0, len(data), size) for each in splitter.feed(data[start : start + size])
    ]
    return [*found, *splitter.finish()]


def told(data: bytes, size: int = 0, *, limit: int = 100_000) -> list[object]:
    """Documents as they are, what is unreadable as its code."""
    found = split(data, size, limit=limit)
    return [each.content if isinstance(each, Piece) else str(each.fault.code) for each in found]


A, B, C = b"<message><A/></message>", b"<message><B>b</B></message>", b"<message/>"


@pytest.mark.parametrize(
    "data",
    [
        A + B + C,
        b" \n" + A + b"\n" + B + b"\n\t" + C + b"\n",
        b'<?xml version="1.0"?>\n<!-- three --><messages>'
        + A
        + b"<?p <message>?>"
        + B
        + b"<!-- <x> -->"
        + C
        + b"</messages>",
        b'<?xml version="1.0" encoding="UTF-8"?>' + A + b'<?xml version="1.0"?>' + B + C,
        b"<messages/>" + A + b"<messages >" + B + b"</messages ><messages>" + C + b"</messages>",
    ],
)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 7])
def test_every_framing_gives_the_same_documents(data: bytes, size: int) -> None:
    assert told(data, size) == [A, B, C]


@pytest.mark.parametrize(
    "document",
    [
        b"<message a=\"</message>\" b='<message>'><A/></message>",
        b"<message><![CDATA[</message><message>]]></message>",
        b"<message><!-- </message> --></message>",
        b"<message><?a </message>?></message>",
        b"<message><message/><message><A/></message></message>",  # nested: refused as a whole, by the parser
        b"<message><T>if a < b & c</T></message>",
        b"<message><A></B></A></message>",
        b"<message><A></message>",
        b"<Greeting><Name/></Greeting>",
        b"<e:message xmlns:e='u'><A/></e:message>",
    ],
)
def test_a_document_ends_where_its_root_does(document: bytes) -> None:
    for size in (0, 1, 5):
        assert told(document + b"\n" + C, size) == [document, C]


@pytest.mark.parametrize(
    ("wrapper", "message", "expected"),
    [
        (b'<messages xmlns="u">', b"<message><A/></message>", b'<message xmlns="u"><A/></message>'),
        (b"<messages xmlns='u' a='1' >", b"<message/>", b"<message xmlns='u'/>"),
        (b'<m:messages xmlns:m="u">', b"<m:message/>", b'<m:message xmlns:m="u"/>'),
        (b'<messages xmlns="u">', b'<message xmlns="v"/>', b'<message xmlns="v"/>'),
        (b'<messages xmlns="u" xmlns:p="q">', b'<message xmlns="v"/>', b'<message xmlns:p="q" xmlns="v"/>'),
    ],
)
def test_a_wrapper_s_namespaces_reach_its_messages(wrapper: bytes, message: bytes, expected: bytes) -> None:
    end = b"</" + wrapper[1:].split()[0] + b">"
    assert told(wrapper + message + end + C) == [expected, C]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"junk " + A + b" more junk " + B, ["stray-text", A, "stray-text", B]),
        (b"<message><A>" + A + B, ["truncated", A, B]),
        (A + b"<message><A>" + B + b"<message><A><B>" + C, [A, "truncated", B, "truncated", C]),
        (b"<messages><message><A>" + A + b"</messages>" + C, ["truncated", A, C]),
        (b"<message><A></A" + A + B, ["truncated", A, B]),
        (b"<message><A" + A + B, ["truncated", A, B]),
        (b"<messages>" + A, [A, "truncated"]),
        (b"</messages>" + A, ["stray-text", A]),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + A, ["dtd-refused", A]),
        (b"<![CDATA[x]]>" + A, ["stray-text", A]),
        (A + b"<message><!-- ", [A, "truncated"]),
        (A + b"<mess", [A, "stray-text"]),
        (A + b"&#1; < >", [A, "stray-text"]),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 4])
def test_what_is_no_document_costs_one_result_and_the_next_is_taken_up(
    data: bytes, expected: list[object], size: int
) -> None:
    assert told(data, size) == expected


LONG = [b"<message><A>%d%s</A></message>" % (number, b"x" * 900) for number in range(4)]


def test_what_a_truncated_document_swallowed_is_read_again() -> None:
    cut = b"<message><A>" + b"y" * 900
    data = LONG[0] + cut + LONG[1] + cut + LONG[2] + LONG[3]
    for size in (0, 100, 4096):
        assert told(data, size) == [LONG[0], "truncated", LONG[1], "truncated", LONG[2], LONG[3]]
        assert told(data, size, limit=3000) in (
            [LONG[0], "too-large", LONG[1], "truncated", LONG[2], LONG[3]],
            [LONG[0], "truncated", LONG[1], "truncated", LONG[2], LONG[3]],  # the end came before the limit
        )


def test_a_document_in_another_encoding_is_refused_and_says_so() -> None:
    [refused, read] = split(b'<?xml version="1.0" encoding="latin1"?><message/>\n<?xml version="1.0"?>' + A)
    assert isinstance(refused, Unreadable)
    assert (refused.fault.code, refused.fault.found) == ("bad-char", "encoding 'latin1'")
    assert isinstance(read, Piece)


def test_each_result_says_at_which_line_it_begins() -> None:
    found = split(b"\n\n" + A + b"\n junk\n<message>\n<A>\n</A></message>" + C)
    assert [each.line for each in found] == [3, 4, 5, 7]
    assert [each.number for each in found] == [1, 2, 3, 4]


def test_a_document_over_the_limit_is_refused_and_the_next_is_taken_up() -> None:
    data = b"<message>" + b"x" * 300 + b"</message>" + A + B
    assert told(data, 10, limit=100) == ["too-large", A, B]


def test_no_more_is_held_than_the_limit_and_a_chunk() -> None:
    splitter = DocumentSplitter(1000)
    refused = 0
    for _ in range(1000):
        refused += len(list(splitter.feed(b"<message><A>x" + b"y" * 87)))
        assert len(splitter._buffer) <= 1100
    assert refused > 0


@pytest.mark.parametrize(
    "piece",
    [b'<message a="', b"<message>", b"<message><!-- ", b"<", b"<message a='\"", b"</message>", b"<![CDATA["],
)
def test_hostile_input_costs_no_squares(piece: bytes) -> None:
    def seconds(size: int) -> float:
        data, splitter, began = piece * (size // len(piece)), DocumentSplitter(200_000), time.perf_counter()
        for start in range(0, len(data), 65536):
            list(splitter.feed(data[start : start + 65536]))
        list(splitter.finish())
        return time.perf_counter() - began

    small = min(seconds(200_000) for _ in range(3))
    assert seconds(1_600_000) < 8 * 6 * max(small, 0.005)  # squares would be 64 times


@pytest.mark.parametrize(
    "beginning",
    [b'<message a="', b"<message><A b='", b"<message></", b"<!-- ", b"<message><!-- ", b"<message><![CDATA["],
)
def test_what_comes_in_many_chunks_is_looked_at_once(beginning: bytes) -> None:
    def seconds(size: int) -> float:
        splitter, began = DocumentSplitter(2_000_000), time.perf_counter()
        list(splitter.feed(beginning))
        for _ in range(size // 20):
            list(splitter.feed(b"xxxxxxxxx xxxxxxxxx "))
        return time.perf_counter() - began

    small = min(seconds(50_000) for _ in range(3))
    assert seconds(400_000) < 8 * 4 * max(small, 0.005)  # squares would be 64 times


def test_end_tags_of_nothing_in_a_deep_document_cost_no_squares() -> None:
    def seconds(size: int) -> float:
        data, began = b"<message>" + b"<A>" * size + b"</B>" * size, time.perf_counter()
        list(DocumentSplitter(2_000_000).feed(data))
        return time.perf_counter() - began

    small = min(seconds(2_000) for _ in range(3))
    assert seconds(16_000) < 8 * 4 * max(small, 0.005)  # squares would be 64 times


@given(st.binary(max_size=200), st.integers(1, 20))
def test_nothing_can_make_it_fail(data: bytes, size: int) -> None:
    split(data, size, limit=50)


PARTS = [
    A,
    B,
    C,
    b" ",
    b"junk",
    b"<message>",
    b"</messages>",
    b"<messages>",
    b"<!-- x -->",
    b'"',
    b"]]>",
    b"<A",
    b"-->",
]


@given(st.lists(st.sampled_from(PARTS), max_size=12), st.integers(1, 20))
def test_chunks_do_not_matter_within_the_limit(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)
    assert split(data, size) == split(data)
