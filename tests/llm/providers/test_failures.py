"""Which error says what went wrong: statuses, Retry-After, a provider's words, and nothing secret."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from phloem.errors import AuthenticationError, BackendError, ProviderError, RateLimitError
from phloem.llm.providers.failures import LONGEST_SAID, Failures, retry_after, words

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tuesday, 14-Nov-23 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tue Nov 14 22:13:50 2023"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 -0000"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 23:13:50 +0100"}, 30.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9999"}, None),
        ({"retry-after": "5, 6"}, None),
        ({"retry-after": "Tue, 99 Foo 99999 99:99:99 GMT"}, None),
        ({"retry-after": "9" * 400}, None),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(given_: dict[str, str], expected: float | None) -> None:
    assert retry_after(given_, NOW) == expected


@given(st.text(max_size=60))
def test_no_retry_after_is_too_odd(text: str) -> None:
    found = retry_after({"retry-after": text}, NOW)
    assert found is None or 0 <= found < 1e15


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "no such model", "type": "x"}}, "no such model"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, "busy"),
        ({"error": "model 'x' not found"}, "model 'x' not found"),
        ({"code": "a", "error": "b"}, "b"),
        ({"object": "error", "message": "too long"}, "too long"),
        ({"detail": [{"message": "field required"}]}, "field required"),
        ([{"error": {"message": "in a list"}}], "in a list"),
        ({"error": {}, "detail": "there"}, "there"),
        ({"other": 1}, '{"other": 1}'),
        (17, "17"),
    ],
)
def test_the_message_is_found_in_what_a_provider_sends(body: Any, said: str) -> None:
    assert words(json.dumps(body).encode()) == said


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"\xff\xfe", b"[" * 5000, b'{"error":'])
def test_what_is_no_json_is_told_as_it_is(body: bytes) -> None:
    assert words(body) == body.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (429, RateLimitError),
        (400, ProviderError),
        (402, ProviderError),
        (404, ProviderError),
        (500, ProviderError),
        (529, ProviderError),
        (302, ProviderError),
        (199, ProviderError),
    ],
)
def test_each_status_has_its_error(status: int, error: type[BackendError]) -> None:
    found = Failures("tree").refused(status, "words", "oak", 4.0)
    assert type(found) is error
    assert (found.backend, found.model) == ("tree", "oak")
    assert str(status) in str(found)
    if isinstance(found, RateLimitError):
        assert found.retry_after == 4.0
    if isinstance(found, ProviderError):
        assert found.status_code == status


def test_a_text_is_one_short_printable_line() -> None:
    found = Failures("tree").clean("a\n\tb\x00\x1b[31m\u202e" + "x" * 2000)
    assert found.startswith("a b [31m x")
    assert len(found) == LONGEST_SAID
    assert found.isprintable()


def test_nothing_hidden_is_said_even_where_the_text_is_cut() -> None:
    hidden = "sk-0123456789"
    failures = Failures("tree", [hidden, hidden + "-longer", ""])
    for pad in range(LONGEST_SAID - 40, LONGEST_SAID + 20):
        text = failures.clean("x" * pad + hidden + "-longer " + hidden)
        assert "sk-" not in text
        assert "longer" not in text
