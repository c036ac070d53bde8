"""Claims of llm/outage.py: which failure is worth another attempt, and how long a backend is left alone."""

from __future__ import annotations

import math

import pytest

from phloem.errors import (
    AuthenticationError,
    BackendError,
    NoBackend,
    ProviderError,
    RateLimitError,
    TruncatedError,
)
from phloem.llm.outage import Outage, worth_another
from support.llm_fakes import Dice


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529, 599])
def test_a_status_that_passes_is_worth_another_attempt(status: int) -> None:
    assert worth_another(ProviderError("x", status_code=status))


@pytest.mark.parametrize("status", [302, 400, 402, 404, 413, 418, 422, 451, 499])
def test_any_other_status_is_final(status: int) -> None:
    assert not worth_another(ProviderError("x", status_code=status))


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (BackendError("x"), True),
        (RateLimitError("x"), True),
        (TruncatedError("x", partial=""), True),
        (AuthenticationError("x"), False),
        (NoBackend("x"), False),
        (ValueError("x"), False),
    ],
)
def test_an_error_says_by_its_class(error: Exception, again: bool) -> None:
    assert worth_another(error) is again


def test_the_delay_is_any_part_of_what_doubles_up_to_its_bound() -> None:
    outage = Outage(1.0, 10.0, Dice(0.5, 0.25, 0.0, 0.999, 1.0))
    ends = []
    for _ in range(5):
        outage.failed(BackendError("x"), outage.begin(), 100.0)
        ends.append(outage.until)
        outage.until = -math.inf
    assert ends == [100.5, 100.5, 100.0, 100 + 0.999 * 8, 110.0]


def test_a_success_begins_the_row_anew() -> None:
    outage = Outage(1.0, 60.0, Dice(1.0))
    for expected in (1.0, 2.0):
        outage.failed(BackendError("x"), outage.begin(), 0.0)
        assert outage.until == expected
    outage.succeeded()
    outage.failed(BackendError("x"), outage.begin(), 10.0)
    assert outage.until == 11.0


def test_failures_side_by_side_are_one_in_the_row() -> None:
    outage = Outage(1.0, 1e9, Dice(1.0))
    began = [outage.begin() for _ in range(20)]
    for number in began:
        outage.failed(BackendError("x"), number, 0.0)
    assert outage.until == 1.0
    outage.failed(BackendError("x"), outage.begin(), 0.0)
    assert outage.until == 2.0


def test_a_wait_that_was_asked_for_is_kept_to_the_second_and_rolls_no_dice() -> None:
    dice = Dice(1.0)
    outage = Outage(1.0, 60.0, dice)
    outage.failed(RateLimitError("x", retry_after=7.0), outage.begin(), 100.0)
    assert (outage.until, dice.rolled) == (107.0, 0)
    outage.failed(RateLimitError("x", retry_after=3_600.0), outage.begin(), 100.0)
    assert outage.until == 3_700.0


def test_nothing_shortens_an_outage() -> None:
    outage = Outage(1.0, 60.0, Dice(1.0))
    outage.failed(RateLimitError("x", retry_after=30.0), outage.begin(), 0.0)
    outage.failed(RateLimitError("x", retry_after=5.0), outage.begin(), 1.0)
    outage.failed(BackendError("x"), outage.begin(), 1.0)
    outage.succeeded()
    assert outage.until == 30.0


@pytest.mark.parametrize("asked", [None, math.nan])
def test_a_rate_limit_that_names_no_time_is_backed_off_from(asked: float | None) -> None:
    outage = Outage(2.0, 60.0, Dice(0.5))
    outage.failed(RateLimitError("x", retry_after=asked), outage.begin(), 0.0)
    assert outage.until == 1.0


def test_a_thousand_failures_overflow_nothing() -> None:
    outage = Outage(1.0, 60.0, Dice(1.0))
    for _ in range(2_000):
        outage.failed(BackendError("x"), outage.begin(), 0.0)
    assert outage.until == 60.0
