"""``phloem trace``: the file of a simulated run for people, and two of them compared.

Decides what is printed first and the exit code. ``trace_lines`` reads, ``trace_tree`` and ``trace_diff``
say. Runs nothing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from .exit_codes import ExitCode
from .shell import Settings, common_options, counted, pass_settings

if TYPE_CHECKING:
    from .trace_lines import TraceFile

__all__ = ["command"]

OUTCOME: Final = 120  # characters of how a run ended, above what is asked for; the file has more


@click.group("trace", short_help="Show the trace of a simulated run, or compare two.")
@common_options
def command() -> None:
    """Show a trace that phloem sim --out has written, or where two of them part."""


@command.command("show", short_help="A run's messages as a tree.")
@click.argument("file", type=click.Path())
@click.option("--conversation", metavar="C", help="Only this one: its id, or how no other begins.")
@common_options
@pass_settings
def show(settings: Settings, file: str, conversation: str | None) -> int:
    """Show the messages of the run in FILE as a tree, with virtual times.

    \b
    Below each message stands what it led to: the listener, the payload's tag, the
    seconds from entering its handler to its end, and how it ended.
    """
    from .trace_lines import read_trace
    from .trace_tree import tree_lines, wanted_conversations

    settings.start_logging()
    trace = read_trace(file)
    wanted = wanted_conversations(trace, conversation)
    _print(_headline(trace))
    for line in tree_lines(trace, wanted):
        _print(line)
    return ExitCode.COMPLETED


@command.command("diff", short_help="Where two runs part.")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@common_options
@pass_settings
def diff(settings: Settings, a: str, b: str) -> int:
    """Tell the first difference of the runs in A and B.

    \b
    Their events are compared, then their conversations and messages; not their seeds
    and tokens. The exit code is 1 if they differ, 0 if not.
    """
    from .trace_diff import difference
    from .trace_lines import read_trace

    settings.start_logging()
    first, second = read_trace(a), read_trace(b)
    lines = difference(first, second)
    if not lines:
        told = f"{counted(len(first.events), 'event')}, {counted(len(first.messages), 'message')}"
        _print(f"the same: {told}")
        return ExitCode.COMPLETED
    for trace in (first, second):
        _print(_headline(trace))
    for line in lines:
        _print(line)
    return ExitCode.FAILED


def _headline(trace: TraceFile) -> str:
    header = trace.header
    outcome: str = header["outcome"]
    outcome = outcome if len(outcome) <= OUTCOME else f"{outcome[: OUTCOME - 1]}…"
    return (
        f"{trace.path}: {header['organism']}, seed {header['seed']} ({header['strategy']}): "
        f"{counted(len(trace.conversations), 'conversation')}, {counted(len(trace.messages), 'message')}, "
        f"{counted(header['steps'], 'step')}, {header['seconds']:.9g} virtual seconds: {outcome}"
    )


def _print(text: str) -> None:
    """A line on stdout. What its encoding lacks is written with what every one has."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for drawn, plain in (("├─ ", "+- "), ("└─ ", "`- "), ("│  ", "|  "), ("–", "-"), ("…", "...")):
            text = text.replace(drawn, plain)
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    click.echo(text)
