"""A stream in one framing becomes messages, however its chunks fall."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.config import OrganismConfig, WireLimits
from phloem.errors import ConfigurationError
from phloem.framing.framed import Framed, Framing
from phloem.framing.requests import Refused, Request
from phloem.loading import resolve, running_listeners
from support.listeners import BACK, Ask, Note, drop, listener

TAKERS = running_listeners(
    resolve(OrganismConfig("o", [BACK, listener("both", (Ask, Note), drop), listener("notes", Note, drop)]))
)
DOCUMENT = b"<Ask><Text>x</Text></Ask>"


def framed(framing: str, to: str | None = None, **limits: Any) -> Framed:
    return Framed(framing, TAKERS, sender="feed", to=to, limits=WireLimits(**limits))


def read(stream: Framed, data: bytes, size: int = 1_000) -> list[Request | Refused]:
    pieces = [
        piece for at in range(0, len(data), size) for piece in stream.feed(data[at : at + size])
    ] + stream.finish()
    return [stream.read(piece) for piece in pieces]


@given(st.integers(1, 40), st.booleans())
def test_each_framing_reads_the_same_whatever_its_chunks_are(size: int, bom: bool) -> None:
    start = b"\xef\xbb\xbf" if bom else b""
    assert read(framed("xml"), start + DOCUMENT + b"\n" + DOCUMENT, size) == [
        Request(1, xml=DOCUMENT),
        Request(2, xml=DOCUMENT),
    ]
    line = b'{"to": "back", "payload": {"text": "x"}}'
    assert read(framed("ndjson"), start + line + b"\n\n" + line, size) == [
        Request(1, "back", Ask("x")),
        Request(3, "back", Ask("x")),
    ]
    assert read(framed("lines", "back"), start + b"a\r\n\n  \n \tb \ncaf\xc3\xa9", size) == [
        Request(1, "back", Ask("a")),
        Request(4, "back", Ask(" \tb ")),
        Request(5, "back", Ask("café")),
    ]


def test_a_stream_of_part_of_a_byte_order_mark_is_no_message_and_told() -> None:
    (refused,) = read(framed("lines", "back"), b"\xef\xbb")
    assert isinstance(refused, Refused)
    assert refused.faults[0].found == "byte 0xef at 1"


def test_what_cannot_be_read_is_refused_in_its_place() -> None:
    results = read(framed("ndjson"), b'nope\n{"to": "back", "payload": {"text": "x"}}\n')
    assert [type(each) for each in results] == [Refused, Request]
    results = read(framed("xml"), b"junk <message>" + DOCUMENT)
    assert isinstance(results[0], Refused)
    results = read(framed("lines", "back", max_bytes=10), b"x" * 21 + b"\nok\n")
    assert [type(each) for each in results] == [Refused, Request]
    results = read(framed("lines", "back"), b"\xff\nok\n")
    assert [type(each) for each in results] == [Refused, Request]


def test_in_ndjson_to_is_for_whoever_names_nobody() -> None:
    results = read(
        framed("ndjson", "notes"),
        b'{"payload": {"text": "x"}}\n{"to": "back", "payload": {"text": "x"}}\n'
        b'{"xml": "<Ask><Text>x</Text></Ask>"}\n',
    )
    assert results == [Request(1, "notes", Note("x")), Request(2, "back", Ask("x")), Request(3, xml=DOCUMENT)]


@pytest.mark.parametrize(
    ("framing", "to", "found"),
    [
        ("csv", None, "framing: found 'csv', expected one of 'xml', 'ndjson', 'lines'"),
        ("xml", "back", "to: found 'back', expected none with the framing \"xml\""),
        ("lines", None, 'to: found none, expected a listener, which takes the lines of the framing "lines"'),
        ("lines", "nobody", "to: found 'nobody', expected a listener: back, both, notes"),
        ("ndjson", "nobody", "to: found 'nobody', expected a listener: back, both, notes"),
        ("lines", "both", "to: found 'both', which takes Ask and Note, expected a listener with one payload"),
    ],
)
def test_a_framing_or_a_listener_that_does_not_fit_is_refused_at_once(
    framing: str, to: str | None, found: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        framed(framing, to)
    assert str(raised.value).startswith(found)


def test_framings_are_named_as_in_a_file() -> None:
    assert list(Framing) == ["xml", "ndjson", "lines"]
    assert [type(framed(each, "back" if each == "lines" else None)) for each in Framing] == [Framed] * 3
