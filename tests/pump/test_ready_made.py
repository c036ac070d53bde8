"""Each ready-made step says at once which arguments it cannot have, and holds no state of its own."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest

from phloem.errors import ConfigurationError
from phloem.pump import ready_made
from phloem.pump.ready_made import (
    branch,
    name_of,
    pace,
    sample,
    tap,
)

FUNCTION = "a function of one argument"
CODE = "1 to 64 of a-z, 0-9 and -, a letter first"
FRACTION = "a number above 0, at most 1"
SECONDS = "seconds, above 0 and finite"
WHOLE = "a whole number, 1 or more"
made: Any = ready_made  # as who has no type checker calls them


def see(item: Any) -> None: ...


@pytest.mark.parametrize(
    ("make", "where", "found", "expected"),
    [
        (lambda: made.tap(3), "tap: fn", "3", FUNCTION),
        (lambda: made.drop_if("app.hooks.log"), "drop_if: fn", "'app.hooks.log'", FUNCTION),
        (lambda: made.transform(None), "transform: fn", "None", FUNCTION),
        (lambda: made.expand([]), "expand: fn", "[]", FUNCTION),
        (lambda: made.sample(0.5, None), "sample: fn", "None", FUNCTION),
        (lambda: made.reject_if(None, "no"), "reject_if: fn", "None", FUNCTION),
        (lambda: made.reject_if(see, "No"), "reject_if: code", "'No'", CODE),
        (lambda: made.reject_if(see, ""), "reject_if: code", "''", CODE),
        (lambda: made.reject_if(see, "9a"), "reject_if: code", "'9a'", CODE),
        (lambda: made.reject_if(see, "a" * 65), "reject_if: code", None, CODE),
        (lambda: made.reject_if(see, None), "reject_if: code", "None", CODE),
        (lambda: made.sample(0, see), "sample: fraction", "0", FRACTION),
        (lambda: made.sample(1.01, see), "sample: fraction", "1.01", FRACTION),
        (lambda: made.sample(math.nan, see), "sample: fraction", "nan", FRACTION),
        (lambda: made.sample(True, see), "sample: fraction", "True", FRACTION),
        (lambda: made.sample("half", see), "sample: fraction", "'half'", FRACTION),
        (lambda: made.branch(see, to=""), "branch: to", "''", "a listener's name"),
        (lambda: made.branch(see, to=None), "branch: to", "None", "a listener's name"),
        (lambda: made.branch(see, to="x" * 129), "branch: to", None, "a listener's name"),
        (lambda: made.limit(0), "limit", "0", WHOLE),
        (lambda: made.limit(True), "limit", "True", WHOLE),
        (lambda: made.limit(1.0), "limit", "1.0", WHOLE),
        (lambda: made.pace(0), "pace", "0", SECONDS),
        (lambda: made.pace(-0.1), "pace", "-0.1", SECONDS),
        (lambda: made.pace(math.inf), "pace", "inf", SECONDS),
        (lambda: made.pace(math.nan), "pace", "nan", SECONDS),
        (lambda: made.pace("1"), "pace", "'1'", SECONDS),
        (lambda: made.deadline(0), "deadline", "0", SECONDS),
        (lambda: made.deadline(None), "deadline", "None", SECONDS),
        (lambda: made.rate(0, 1), "rate: per_second", "0", "messages a second, above 0 and finite"),
        (lambda: made.rate(1, 0), "rate: burst", "0", WHOLE),
        (lambda: made.rate(1, 2.5), "rate: burst", "2.5", WHOLE),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    make: Callable[[], object], where: str, found: str | None, expected: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make()
    (fault,) = refused.value.faults
    assert (fault.where, fault.expected) == (where, expected)
    assert found is None or fault.found == found
    assert len(fault.found) < 100


def test_steps_of_the_same_arguments_are_equal_and_cannot_be_changed() -> None:
    assert tap(see) == tap(see)
    assert sample(1, see) == sample(1.0, see)
    assert pace(1) != pace(2)
    with pytest.raises(AttributeError):
        pace(1).interval = 2  # type: ignore[misc] # on purpose


def test_a_step_is_called_after_its_function_however_that_was_made() -> None:
    class Audit:
        def __call__(self, item: Any) -> None: ...

        def log(self, item: Any) -> None: ...

    assert name_of(tap(see)) == "tap(see)"
    assert name_of(tap(functools.partial(see))) == "tap(see)"
    assert name_of(tap(Audit())) == "tap(Audit)"
    assert name_of(tap(Audit().log)).endswith("Audit.log)")
    assert name_of(branch(see, to="x")) == "branch(see, to='x')"
