"""What an event looks like in a journal, and what is no line of one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.events.journal_lines import TORN, encoded, is_whole, line_of
from phloem.events.types import AgentEvent, HistoryGap, Lagged

AT = datetime(2031, 5, 17, 9, 30, tzinfo=UTC)
PLAIN: AgentEvent = AgentEvent("custom", "s", data={"a": {"b": [1, "}"]}}, timestamp=AT, id="x-1", seq=1)

texts = st.text(st.characters(exclude_categories=()), min_size=1)  # surrogates too: they come out of models
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(texts, inner),
    max_leaves=10,
)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-3))])
events = st.builds(
    AgentEvent,
    type=st.sampled_from(["custom", "node_stalled", "my.own"]),
    stream_id=texts,
    node_id=st.none() | texts,
    execution_id=st.none() | texts,
    data=st.dictionaries(texts, values),
    timestamp=st.datetimes(timezones=zones),
    correlation_id=st.none() | texts,
    id=texts,
    seq=st.integers(0, 2**53),
    cause_id=st.none() | texts,
)
counts = st.integers(0, 2**53)
items: st.SearchStrategy[Any] = (
    events | st.builds(Lagged, counts.filter(bool)) | st.builds(HistoryGap, counts, counts)
)


@given(items)
def test_what_is_put_down_is_read_back(item: Any) -> None:
    line = encoded(item)
    found = line_of(line)
    if isinstance(item, AgentEvent):
        assert isinstance(found, AgentEvent)
        assert found.to_dict() == item.to_dict()  # lists are tuples once they are frozen
    else:
        assert found == item
    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert TORN[:1] not in line


def test_an_event_keeps_its_keys_in_their_order_without_blanks() -> None:
    line = encoded(PLAIN)
    assert list(json.loads(line)) == list(PLAIN.to_dict())
    assert b" " not in line


def test_losses_are_said_in_a_line_of_their_own() -> None:
    assert encoded(Lagged(3)) == b'{"lagged":3}\n'
    assert encoded(HistoryGap(4, 9)) == b'{"gap":[4,9]}\n'


def test_no_beginning_of_a_line_is_taken_for_a_whole_one() -> None:
    line = encoded(PLAIN).rstrip(b"\n")
    assert [end for end in range(len(line) + 1) if is_whole(line[:end])] == [len(line)]


def test_an_event_may_have_a_type_called_lagged() -> None:
    told = AgentEvent("lagged", "gap", data={"lagged": 1, "gap": (1, 2)}, timestamp=AT)
    assert line_of(encoded(told)) == told


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"garbage\n",
        b"[1]\n",
        b"null\n",
        b"3\n",
        b'"text"\n',
        b"{}\n",
        b'{"type":"custom"}\n',
        b'{"type":"custom","stream_id":""}\n',
        b'{"lagged":0}\n',
        b'{"lagged":-1}\n',
        b'{"lagged":true}\n',
        b'{"lagged":1.5}\n',
        b'{"lagged":1,"more":2}\n',
        b'{"gap":[1]}\n',
        b'{"gap":[1,-2]}\n',
        b'{"gap":"12"}\n',
        b'{"lagged":1} {"lagged":2}\n',
        b'\xff\xfe{"lagged":1}\n',
        b"[" * 100_000 + b"\n",
        b'{"lagged":' + b"9" * 10_000 + b"}\n",
        encoded(PLAIN).replace(b"2031-05-17", b"yesterday"),
        encoded(PLAIN).replace(b'"seq":1', b'"seq":-1'),
        encoded(PLAIN).replace(b'"seq":1', b'"seq":1,"extra":2'),
    ],
    ids=lambda line: ascii(line[:30]),
)
def test_what_is_no_line_says_what_was_found_and_expected(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"found '.{0,90}', expected ") as caught:
        line_of(line)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
