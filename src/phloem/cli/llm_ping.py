"""``phloem llm ping``: each backend of an organism is asked once, and a table says which have answered.

Decides what is printed and the exit code. Sends no message to the organism, and never shows a key: it has
none. ``pinging`` asks; nothing heavy is loaded before the command runs.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from .exit_codes import ExitCode
from .shell import Seconds, Settings, common_options, pass_settings, tell
from .standard import data_stdout

if TYPE_CHECKING:
    from .pinging import Pinged

__all__ = ["ping"]

_COLUMNS: Final = ("backend", "provider", "model", "reachable", "ms", "error")


@click.command("ping", short_help="Ask each backend once, and tell which answer.")
@click.argument("file", type=click.Path())
@click.option("--backend", metavar="NAME", help="Only this one.")
@click.option("--model", metavar="M", help="The model to ask for  [default: default_model of FILE]")
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="Wait for an answer at most so long  [default: the backend's timeout]",
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each backend instead of a table.")
@common_options
@pass_settings
def ping(
    settings: Settings,
    file: str,
    backend: str | None,
    model: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Ask each backend in the llm section of FILE for a few tokens, all at once.

    \b
    Each is asked for --model if it takes it, else for FILE's default_model if it
    takes that, else for the first of its supported_models that is a whole name.
    The calls are real ones, and cost what a few tokens cost.

    The exit code is 1 if one of them does not answer, 2 if it is not known what to ask it for.
    """
    settings.start_logging()
    with data_stdout() if as_json else nullcontext() as outgoing:
        rows = _run(file, backend, model, timeout)
        if outgoing is not None:
            _write_lines(outgoing, rows)
    if outgoing is None and not settings.quiet:
        _print_table(rows)
    elif settings.quiet:
        for row in rows:
            if row.code is not ExitCode.COMPLETED:
                tell(f"phloem: {row.backend}: {row.error}")
    return max((row.code for row in rows), default=ExitCode.COMPLETED)


def _run(file: str, backend: str | None, model: str | None, timeout: float | None) -> list[Pinged]:
    """Raises ConfigurationError, UsageError, and OSError where FILE cannot be read."""
    import trio

    from phloem.llm.settings import read_settings
    from phloem.loading import importable, load_config

    from .pinging import ping_all, planned

    config = load_config(file)
    if not config.llm_config:
        raise click.UsageError(f"FILE {file}: found no llm section, expected one with backends")
    with importable(os.path.dirname(os.path.abspath(file))):
        read = read_settings(config.llm_config, os.environ)
        rows = planned(read, backend, model)
        trio.run(ping_all, read, rows, math.inf if timeout is None else timeout)
    return rows


def _print_table(rows: Sequence[Pinged]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from .rich_console import open_console

    table = Table(box=SIMPLE_HEAD)
    for name in _COLUMNS:
        table.add_column(
            name, justify="right" if name == "ms" else "left", overflow="fold", no_wrap=name != "error"
        )
    for row in rows:
        reachable = {True: "yes", False: "no", None: ""}[row.reachable]
        ms = "" if row.ms is None else f"{row.ms:,.0f}"
        told = (row.backend, row.provider, row.model, reachable, ms, row.error)
        table.add_row(*map(Text, told))
    open_console().print(table)


def _write_lines(descriptor: int, rows: Sequence[Pinged]) -> None:
    try:
        with open(descriptor, "wb", closefd=False) as out:
            for row in rows:
                known = asdict(row)
                line = {name: None if known[name] == "" else known[name] for name in _COLUMNS}
                out.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
    except OSError as error:
        error.filename = "stdout"
        raise
