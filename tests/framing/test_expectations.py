"""Claims of framing/expectations.py: what ``expect`` may say, and what differs from it."""

from __future__ import annotations

from typing import Any

import pytest

from phloem.errors import InvalidMessage
from phloem.framing.expectations import Expectation, differences, read_expectation
from phloem.framing.scalars import Digits
from phloem.messages import Cause, ConversationState, Outcome

DONE = Outcome("c", ConversationState.COMPLETED)
FAILED = Outcome("c", ConversationState.FAILED, Cause("handler", "a raised ValueError"))


def told(given: dict[str, Any], outcome: Outcome, came: list[Any], ms: float | None = 1.0) -> list[str]:
    return [str(each) for each in differences(read_expectation(given, virtual=True), outcome, came, ms)]


def test_without_a_state_completion_is_expected() -> None:
    assert read_expectation({}, virtual=False) == Expectation(ConversationState.COMPLETED)
    assert told({}, DONE, []) == []
    assert told({}, FAILED, []) == ["state: expected completed, came failed (a raised ValueError)"]
    assert told({"state": "failed"}, FAILED, []) == []


def test_fields_that_are_not_named_are_free_and_those_that_are_must_be_there() -> None:
    came = [{"text": "HI", "inner": {"a": 1, "b": [1, 2.5]}, "on": True}]
    assert told({"payloads": [{}]}, DONE, came) == []
    assert told({"payloads": [{"text": "HI", "inner": {"b": [1, Digits("2.50")]}}]}, DONE, came) == []
    assert told({"payloads": [{"text": "HO", "more": None, "inner": {"b": [1]}}]}, DONE, came) == [
        'payloads[0].text: expected "HO", came "HI"',
        "payloads[0].more: expected null, came nothing",
        "payloads[0].inner.b: expected [1], came [1, 2.5]",
    ]


@pytest.mark.parametrize(("wanted", "came"), [(True, 1), (1, True), (0, False), ("1", 1), (None, 0)])
def test_values_of_other_kinds_differ(wanted: Any, came: Any) -> None:
    (one,) = told({"payloads": [{"x": wanted}]}, DONE, [{"x": came}])
    assert one.startswith("payloads[0].x: expected ")


def test_each_answer_counts() -> None:
    assert told({"payloads": []}, DONE, [{"a": 1}]) == ['payloads: expected 0 of them, came 1: [{"a": 1}]']
    assert told({"payloads": [{}, {}]}, DONE, []) == ["payloads: expected 2 of them, came none"]


def test_time_is_compared_where_it_is_virtual_and_refused_where_it_is_not() -> None:
    assert told({"within_ms": 5}, DONE, [], 5.0) == []
    assert told({"within_ms": 5}, DONE, [], 7200000.0) == ["within_ms: expected at most 5, came 7,200,000.0"]
    assert told({"within_ms": Digits("0.5")}, DONE, [], None) == [
        "within_ms: expected at most 0.5, came no time at all: it was not accepted"
    ]
    with pytest.raises(
        InvalidMessage, match=r"expect\.within_ms: found 5, expected it with --virtual or --seed"
    ):
        read_expectation({"within_ms": 5}, virtual=False)


def test_every_fault_of_an_expectation_is_told() -> None:
    given = {"state": "done", "foo": 1, "payloads": [1], "within_ms": -1}
    with pytest.raises(InvalidMessage) as caught:
        read_expectation(given, virtual=True)
    paths = [fault.path for fault in caught.value.faults]
    assert paths == ["expect.foo", "expect.state", "expect.payloads", "expect.within_ms"]


@pytest.mark.parametrize("given", [1, "completed", [], True])
def test_what_is_no_object_expects_nothing(given: object) -> None:
    with pytest.raises(InvalidMessage, match=r"expect: found .*, expected an object with state, payloads"):
        read_expectation(given, virtual=True)
