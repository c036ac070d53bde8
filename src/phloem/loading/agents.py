"""What an agent without handler needs, what only such a one may say, and what a bound of cost rests on.

Decides which listeners phloem's own handler drives: agents that name none. Knows of models no more than
their names; whether a backend takes one is the router's to say. ``checks`` calls it, once per listener.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

from phloem.config import Budgets, ListenerConfig, RunsOn, Wait

from .llm import Models
from .report import Path, Report, quoted

__all__ = ["check_agent", "check_costs", "is_driven"]

_OF_DRIVEN_ONES: Final = (("wait", Wait.EACH), ("stream", False), ("accept_early", False))


def is_driven(listener: ListenerConfig) -> bool:
    """True for an agent without a handler of its own."""
    return listener.is_agent is True and listener.handler is None and listener.handler_path == ""


def check_agent(
    listener: ListenerConfig, path: Path, models: Models, egress: Collection[str], report: Report
) -> None:
    """Report what such an agent lacks, and what others say that only such a one is asked for.

    ``egress``: the names, without case, of listeners whose handlers are given bytes.
    """
    if not report.broken.isdisjoint(((*path, "handler"), (*path, "agent"))):
        return
    if is_driven(listener):
        _check_driven(listener, path, models, egress, report)
        return
    if listener.handler is None and not listener.handler_path:
        return  # reported as without a handler
    for key, default in _OF_DRIVEN_ONES:
        value = getattr(listener, key)
        if value != default and (*path, key) not in report.broken:
            found = f"{key} on a listener with a handler"
            report.add((*path, key), found, "an agent without handler, whose model is called for it")


def _check_driven(
    listener: ListenerConfig, path: Path, models: Models, egress: Collection[str], report: Report
) -> None:
    if models.backends == 0:
        expected = "a handler, or an llm section with a backend"
        report.add(path, "an agent without handler, and no backend for its model", expected)
    elif models.default == "" and listener.model == "":
        expected = "model, or default_model under llm:"
        report.add(path, "an agent without handler and model", expected)
    if listener.runs_on == RunsOn.HOST:
        found = "runs_on: host on an agent without handler"
        report.add((*path, "runs_on"), found, "trio, or a handler that runs on the host")
    if str(listener.name).casefold() in egress:
        found = "an agent without handler as an egress"
        report.add(path, found, "a handler, which is given envelopes as bytes")


def check_costs(
    budgets: object, listeners: list[tuple[int, ListenerConfig]], models: Models, report: Report
) -> None:
    """Report bounds of cost that could not hold: without prices, or with a model that has none."""
    whole = isinstance(budgets, Budgets) and _bounds(budgets, ("budgets", "cost"), models, report)
    default_is_needed = whole
    for index, listener in listeners:
        path: Path = ("listeners", index)
        own = listener.budgets
        bound = isinstance(own, Budgets) and _bounds(own, (*path, "budgets", "cost"), models, report)
        if not (whole or bound) or (*path, "model") in report.broken:
            continue
        if listener.model and not models.has_price(listener.model):
            _tell_price(listener.model, (*path, "model"), report)
        default_is_needed |= bound and not listener.model
    if default_is_needed and models.default and not models.has_price(models.default):
        _tell_price(models.default, ("llm", "default_model"), report)


def _bounds(budgets: Budgets, path: Path, models: Models, report: Report) -> bool:
    """True if it bounds the cost and there are prices to count by."""
    if budgets.cost in (None, math.inf) or path in report.broken or models.prices is None:
        return False
    if not models.prices:
        report.add(path, "cost without prices", "prices: of the models, under llm:")
    return bool(models.prices)


def _tell_price(model: str, path: Path, report: Report) -> None:
    expected = "one in prices: under llm:, which a bound of cost needs"
    report.add(path, f"{quoted(model)} without a price", expected)
