"""``phloem check``: all faults of an organism.yaml at once, or what the organism is.

Decides what of a configuration is worth showing. Runs no handler and sends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from .shell import Settings, common_options, pass_settings

if TYPE_CHECKING:
    from phloem.config import Budgets, ListenerConfig, OrganismConfig

__all__ = ["command"]


@click.command("check")
@click.argument("file", type=click.Path())
@common_options
@pass_settings
def command(settings: Settings, file: str) -> int:
    """Check the organism in FILE: its faults, all at once, or its listeners, peers and limits."""
    import rich.box
    from rich.table import Table
    from rich.text import Text

    from phloem.loading import load_config, unbuilt

    from .console import open_console

    settings.start_logging()
    config = load_config(file)
    console = open_console()
    console.print(Text(f"{config.name}: {len(config.listeners)} listeners", style="bold"))
    listeners = Table(
        "listener", "takes", "responds with", "peers", "limits", "description", box=rich.box.SIMPLE_HEAD
    )
    for listener in config.listeners:
        listeners.add_row(*(Text(cell, overflow="fold") for cell in _row(listener)))
    console.print(listeners)
    limits = Table("limit", "value", box=rich.box.SIMPLE_HEAD)
    for name, value in _limits(config):
        limits.add_row(name, value)
    console.print(limits)
    for sentence in unbuilt(config):
        console.print(Text(sentence))
    return 0


def _row(listener: ListenerConfig) -> tuple[str, ...]:
    kind = " (agent)" if listener.is_agent else " (broadcast)" if listener.broadcast else ""
    return (
        listener.name + kind,
        _classes(listener.payload_class),
        _classes(listener.responds_with),
        _peers(listener),
        ", ".join(_own_limits(listener)),
        listener.description,
    )


def _classes(classes: type | Sequence[type] | None) -> str:
    if classes is None:
        return ""
    return ", ".join(each.__name__ for each in ([classes] if isinstance(classes, type) else classes))


def _peers(listener: ListenerConfig) -> str:
    if listener.peers is None:
        return "nobody" if listener.is_agent else "anyone"
    return ", ".join(listener.peers) or "nobody"


def _own_limits(listener: ListenerConfig) -> Iterator[str]:
    if listener.max_concurrent is not None:
        yield f"{listener.max_concurrent} at once"
    if listener.handler_timeout is not None:
        yield f"{_shown(listener.handler_timeout)} s a message"
    if listener.retries:
        yield f"{listener.retries} retries"
    if listener.budgets is not None:
        yield from (f"{value} {name}" for name, value in _budgets(listener.budgets))


def _budgets(budgets: Budgets) -> Iterator[tuple[str, str]]:
    for each in fields(budgets):
        value = getattr(budgets, each.name)
        if value is not None:
            yield each.name, _shown(value)


def _limits(config: OrganismConfig) -> Iterator[tuple[str, str]]:
    from phloem.config import DEFAULT_BUDGETS

    yield "thread scheduling", str(config.thread_scheduling)
    yield "conversations at once", _shown(config.max_in_flight)
    yield "dispatches at once", _shown(config.max_concurrent_pipelines)
    yield "handlers at once", _shown(config.max_concurrent_handlers)
    yield "messages at once per agent", _shown(config.max_concurrent_per_agent)
    yield "attempts", _shown(config.max_attempts)
    yield "handler timeout", f"{_shown(config.handler_timeout)} s"
    yield "shutdown grace", f"{_shown(config.shutdown_grace)} s"
    for name, value in _budgets(config.budgets.over(DEFAULT_BUDGETS)):
        yield f"budget: {name}", value


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "none" if math.isinf(value) else f"{value:g}"
    return f"{value:,}"
