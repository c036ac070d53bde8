"""Budgets of models, and what a listener says of its calls: each key's type and range."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from phloem.config import Budgets, ListenerConfig, OnShort, OrganismConfig
from phloem.errors import ConfigurationError
from phloem.loading import resolve
from support.listeners import Ping, drop

if TYPE_CHECKING:
    from .conftest import Folder


def refused(config: OrganismConfig) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        resolve(config)
    return [(fault.where, fault.found) for fault in caught.value.faults]


def test_every_bound_of_a_file_is_kept(folder: Folder) -> None:
    budgets = folder.load("budgets: {tokens: 1_000, cost: none, repeats: .inf, on_short: shrink}\n").budgets
    assert budgets == Budgets(tokens=1000, cost=math.inf, repeats=math.inf, on_short=OnShort.SHRINK)
    assert folder.load("budgets: {tokens: None}\n").budgets == Budgets(tokens=math.inf)


@pytest.mark.parametrize(
    ("line", "found", "expected"),
    [
        ("{tokens: ^0}", "0 as tokens", "a whole number, at least 1, or none for no bound"),
        ("{tokens: ^1.5}", "the number 1.5 as tokens", "a whole number"),
        ("{tokens: ^'none'}", "the text 'none' as tokens", "or none for no bound"),
        ("{cost: ^0}", "0.0 as cost", "money, more than 0, or none for no bound"),
        ("{cost: ^1e999}", "the text '1e999' as cost", "money"),
        ("{repeats: ^-1}", "-1 as repeats", "a whole number, at least 1"),
        ("{on_short: ^shrnk}", "the text 'shrnk' as on_short", "did you mean 'shrink'?"),
    ],
)
def test_a_bound_that_does_not_fit_is_told_where_it_stands(
    folder: Folder, line: str, found: str, expected: str
) -> None:
    before, _, after = f"budgets: {line}\n".partition("^")
    where, said, wanted = folder.one(before + after)
    assert (where, said) == (f"organism.yaml:1:{len(before) + 1}", found)
    assert expected in wanted


@pytest.mark.parametrize(
    ("budgets", "found"),
    [
        (Budgets(tokens=math.inf, cost=math.inf, repeats=math.inf), None),
        (Budgets(tokens=1, repeats=1, on_short="shrink"), None),
        (Budgets(tokens=0.5), "0.5 as tokens"),
        (Budgets(tokens=math.nan), "nan as tokens"),
        (Budgets(cost=0), "0 as cost"),
        (Budgets(cost=math.nan), "nan as cost"),
        (Budgets(cost=-1.0), "-1.0 as cost"),
        (Budgets(repeats=0), "0 as repeats"),
        (Budgets(on_short="wait"), "the text 'wait' as on_short"),
    ],
)
def test_bounds_from_python_are_checked_alike(budgets: Budgets, found: str | None) -> None:
    config = OrganismConfig(budgets=budgets)
    if found is None:
        assert resolve(config) == config
    else:
        assert refused(config) == [("organism", found)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"budgets": Budgets(tokens=0)}, "0 as tokens"),
        ({"budgets": Budgets(repeats=3)}, "repeats in a listener's budgets"),
        ({"budgets": Budgets(on_short="refuse")}, "on_short in a listener's budgets"),
        ({"model": None}, "None as model"),
        ({"temperature": 2.5}, "2.5 as temperature"),
        ({"temperature": True}, "True as temperature"),
        ({"temperature": math.nan}, "nan as temperature"),
        ({"max_tokens": 0}, "0 as max_tokens"),
        ({"max_history_tokens": 1.5}, "1.5 as max_history_tokens"),
        ({"max_attempts": 0}, "0 as max_attempts"),
        ({"idempotent": 1}, "1 as idempotent"),
    ],
)
def test_what_a_listener_says_of_its_calls_is_checked_alike(change: dict[str, Any], found: str) -> None:
    config = OrganismConfig(listeners=[replace(ListenerConfig("ping", Ping, drop), **change)])
    assert refused(config) == [("listener 'ping'", found)]
