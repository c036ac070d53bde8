"""``phloem check``: all faults of an organism.yaml at once, or what the organism is.

Decides what of a configuration is worth showing. Runs no handler and sends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import click

from .shell import Settings, common_options, counted, pass_settings

if TYPE_CHECKING:
    from rich.console import Console

    from phloem.config import Budgets, EventLimits, ListenerConfig, MemoryLimits, OrganismConfig
    from phloem.llm.settings import LLMSettings

__all__ = ["command"]

_COLUMNS: Final = ("listener", "takes", "responds with", "peers", "limits", "description")
_WHERE_FULL: Final[Mapping[str, str]] = {
    "forget_oldest": "the oldest is forgotten",
    "refuse": "the message is refused",
}
_USAGES: Final[Mapping[str, str]] = {"cards": "cards", "xsd": "cards and XSD"}
_LEFT_FOR_WORDS: Final = 20  # columns of the table's last: a sentence reads badly in fewer


@click.command("check", short_help="Tell the faults of an organism, or what it is.")
@click.argument("file", type=click.Path())
@common_options
@pass_settings
def command(settings: Settings, file: str) -> int:
    """Check the organism in FILE: its faults, all at once, or its listeners, peers and limits.

    \b
    Imports the modules that the file names; runs no handler and calls no model.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from phloem.loading import load_config, unbuilt

    from .rich_console import open_console

    settings.start_logging()
    config = load_config(file, keys=True)
    models = _models(config)
    _check_running(config)
    if settings.quiet:
        return 0
    console = open_console()
    console.print(Text(f"{config.name}: {counted(len(config.listeners), 'listener')}", style="bold"))
    names = _known(config)
    egress = {name.casefold() for name in config.egress}
    _print_listeners(console, [_row(each, names, egress, models.default_model) for each in config.listeners])
    for head, rows in (
        ("pipeline", _edits(config)),
        ("source", _sources(config)),
        ("backend", _backends(models)),
    ):
        if rows:
            extra = Table(head, "", box=SIMPLE_HEAD)
            for row in rows:
                extra.add_row(*map(Text, row))
            console.print(extra)
    limits = Table("limit", "value", box=SIMPLE_HEAD)
    for name, value in _limits(config):
        limits.add_row(name, value)
    console.print(limits)
    for sentence in unbuilt(config):
        console.print(Text(sentence))
    return 0


def _models(config: OrganismConfig) -> LLMSettings:
    """How models are called. Raises ConfigurationError for what only backends and their scripts find."""
    import os

    from phloem.errors import ConfigurationError, ConfigurationFault
    from phloem.llm.script_reading import read_script
    from phloem.llm.settings import read_settings

    models = read_settings(config.llm_config, os.environ)
    faults: list[ConfigurationFault] = []
    for each in models.backends:
        if each.kind == "scripted":
            read_script(each.options["script"], f"llm, backend {each.name}, script", faults)
    if faults:
        raise ConfigurationError(faults)
    return models


def _check_running(config: OrganismConfig) -> None:
    """Raise ConfigurationError for all that is found only as an organism opens, or ``run`` its sources."""
    import os
    from dataclasses import replace

    from phloem.errors import ConfigurationError, ConfigurationFault
    from phloem.framing.framed import Framed
    from phloem.llm.facade import takes
    from phloem.loading import Driver, running_listeners
    from phloem.primitives import BOOT_LISTENER, DRIVEN_HEAR, SERVICE_LISTENERS
    from phloem.pump.burying import check_branches
    from phloem.pump.pipeline import Pipeline
    from phloem.pump.routing import Routes

    driver = Driver(hears=DRIVEN_HEAR, takes=takes(config.llm_config, os.environ))
    listeners = running_listeners(config, (BOOT_LISTENER,), SERVICE_LISTENERS, driver=driver)
    faults: list[ConfigurationFault] = []
    try:
        check_branches(Pipeline.of(config.pipeline).placed, listeners, Routes(listeners))
    except ConfigurationError as error:
        faults += error.faults
    for source in config.sources:
        try:
            Framed(source.framing, listeners, sender=source.name, to=source.to or None, limits=config.wire)
        except ConfigurationError as error:
            where = f"source {source.name}, "
            faults += (replace(each, where=where + each.where) for each in error.faults)
    if faults:
        raise ConfigurationError(faults)


def _print_listeners(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """A table, or where it does not fit a paragraph for each."""
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    told = [index for index in range(len(_COLUMNS)) if not index or any(row[index] for row in rows)]
    table, needed = Table(box=SIMPLE_HEAD), 0
    for index in told:
        wraps = _COLUMNS[index] == "description"
        width = max(cell_len(cell) for cell in (_COLUMNS[index], *(row[index] for row in rows)))
        needed += 3 + (min(width, _LEFT_FOR_WORDS) if wraps else width)
        table.add_column(_COLUMNS[index], no_wrap=not wraps)
    for row in rows:
        table.add_row(*(Text(row[index]) for index in told))
    if needed <= console.width:
        console.print(table)
        return
    for row in rows:
        console.print(Text(f"\n{row[0]}"))
        for index in told[1:]:
            label = "" if _COLUMNS[index] == "description" else f"{_COLUMNS[index]}: "
            if row[index]:
                console.print(Padding(Text(f"{label}{row[index]}"), (0, 0, 0, 2), expand=False))


def _known(config: OrganismConfig) -> frozenset[str]:
    """Whom a peer may mean, without case: the organism's listeners, and phloem's services."""
    from phloem.messages import SERVICES

    return frozenset(name.casefold() for name in (*(each.name for each in config.listeners), *SERVICES))


def _row(
    listener: ListenerConfig, known: Collection[str], egress: Collection[str], default_model: str
) -> tuple[str, ...]:
    from phloem.pump.calling import is_async, wants_host

    driven, handler = listener.handler is None, listener.handler
    told = (
        ("agent", listener.is_agent and not driven),
        ("agent without handler", driven),
        ("waits for all answers", listener.wait == "all"),
        ("streams", listener.stream or listener.accept_early),
        ("accepts early", listener.accept_early),
        ("idempotent", listener.idempotent),
        ("broadcast", listener.broadcast),
        ("service", listener.service),
        ("egress", listener.name.casefold() in egress),
        ("client facing", listener.client_facing),
        ("in a thread", not driven and not is_async(handler)),
        ("on the host", not driven and wants_host(handler, listener.runs_on)),
    )
    kinds = [kind for kind, is_one in told if is_one]
    if model := listener.model or (default_model if listener.is_agent else ""):
        kinds.append(f"model: {model}")
    if listener.usage is not None:
        kinds.append(f"usage: {listener.usage}")
    return (
        f"{listener.name} ({', '.join(kinds)})" if kinds else listener.name,
        _classes(listener.payload_class),
        _classes(listener.responds_with),
        _peers(listener, known),
        ", ".join(_own_limits(listener)),
        listener.description,
    )


def _edits(config: OrganismConfig) -> list[tuple[str, str]]:
    """(where, what) of each edit, as the file has them."""
    rows: list[tuple[str, str]] = []
    for step in config.pipeline:
        values = {
            key: step.paths.get(key) or (value if isinstance(value, str) else _shown(value))
            for key, value in step.arguments.items()
        }
        told = [f"{key}: {value}" if len(values) > 1 else value for key, value in values.items()]
        name = f" as {step.name}" if step.name else ""
        rows.append((f"{step.edit} {step.at}", f"{step.kind} {', '.join(told)}{name}".strip()))
    return rows


def _sources(config: OrganismConfig) -> list[tuple[str, str]]:
    """(name, what it reads and for whom) of each source."""
    rows: list[tuple[str, str]] = []
    for source in config.sources:
        read = " ".join(source.command) or ("stdin" if source.path == "-" else source.path)
        to = f", for {source.to}" if source.to else ""
        rows.append((source.name, f"{source.framing} of {read}{to}{', first' if source.priority else ''}"))
    return rows


def _backends(models: LLMSettings) -> list[tuple[str, str]]:
    """(name, what it is) of each, never what is in its key or its headers; then how one is chosen."""
    rows: list[tuple[str, str]] = []
    for each in models.backends:
        provider = each.kind if isinstance(each.provider, str) else _maker(each.provider)
        models_told = f", for {', '.join(each.supported_models)}" if each.supported_models else ""
        rows.append((each.name, f"{provider}, priority {each.priority}{models_told}"))
    rows += [(name, f"left out: {variable} is not set") for name, variable in models.left_out.items()]
    if rows:
        default = f", default model {models.default_model}" if models.default_model else ""
        rows.append(("", f"strategy {models.strategy}{default}"))
    return rows


def _maker(provider: Any) -> str:
    """The name of a factory, or of the class of a backend that is there already."""
    name = getattr(provider, "__qualname__", None)
    return name if isinstance(name, str) else type(provider).__qualname__


def _classes(classes: type | Sequence[type] | None) -> str:
    if classes is None:
        return ""
    return ", ".join(each.__name__ for each in ([classes] if isinstance(classes, type) else classes))


def _peers(listener: ListenerConfig, known: Collection[str]) -> str:
    if listener.peers is None:
        return "nobody" if listener.is_agent else "anyone"
    told = (peer if peer.casefold() in known else f"{peer} (not registered)" for peer in listener.peers)
    return ", ".join(told) or "nobody"


def _own_limits(listener: ListenerConfig) -> Iterator[str]:
    if listener.max_concurrent is not None:
        yield f"{listener.max_concurrent} at once"
    if listener.handler_timeout is not None:
        yield f"{_shown(listener.handler_timeout)} s a message"
    if listener.retries:
        yield counted(listener.retries, "retry", "retries")
    if listener.max_attempts is not None:
        yield counted(listener.max_attempts, "attempt")
    for name in ("temperature", "max_tokens", "max_history_tokens"):
        if (value := getattr(listener, name)) is not None:
            yield f"{name}: {_shown(value)}"
    if listener.budgets is not None:
        for name, value in _budgets(listener.budgets):
            if value == "none":
                yield f"{name}: none"
            else:
                yield f"{value} {name.removesuffix('s') if value == '1' else name}"


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
    yield "plain handlers at once", _shown(config.max_sync_handlers)
    yield "messages at once per agent", _shown(config.max_concurrent_per_agent)
    yield "attempts", _shown(config.max_attempts)
    yield "handler timeout", f"{_shown(config.handler_timeout)} s"
    yield "shutdown grace", f"{_shown(config.shutdown_grace)} s"
    for name, value in _budgets(config.budgets.over(DEFAULT_BUDGETS)):
        yield f"budget: {name}", value
    yield from _memory(config.memory)
    yield from _events(config.events)
    yield "agents are told of peers by", _USAGES[config.usage]


def _memory(memory: MemoryLimits) -> Iterator[tuple[str, str]]:
    yield "messages kept per thread", _shown(memory.max_slots_per_thread)
    yield "messages kept per conversation", _shown(memory.max_slots_per_conversation)
    yield "bytes kept per conversation", _shown(memory.max_bytes_per_conversation)
    yield "where that is full", _WHERE_FULL[memory.on_full]
    yield "threads at once", _shown(memory.max_threads)
    yield "open todos per conversation", _shown(memory.max_todos)
    yield "finished conversations kept", _shown(memory.keep_finished)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return "none" if math.isinf(value) else f"{value:g}"
    return f"{value:,}"


def _events(events: EventLimits) -> Iterator[tuple[str, str]]:
    yield "events kept", _shown(events.max_history)
    yield "bytes of events kept", _shown(events.max_history_bytes)
    yield "event handlers at once", _shown(events.max_concurrent_handlers)
    yield "events waiting per subscriber", _shown(events.buffer)
    yield "event handler is slow after", f"{events.slow_after:g} s"
    yield "grace for events at the end", f"{events.grace:g} s"
