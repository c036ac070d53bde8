"""What a person sees at the end of a run that served: who handled what, and what came from where.

Decides the tables and their words. Prints nothing. For ``run``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phloem.messages import ConversationState, Ending

from .batch import ledger_line
from .serving import ServeEnd, SourceEnd
from .shell import counted
from .terminal.harmless import one_line

__all__ = ["serve_summary"]

PIPE_WIDTH: Final = 120  # columns: a pipe has no width of its own; a row is seldom longer
_COUNTED: Final = ("messages", "accepted", "rejected", "unsent")  # of a source's statistics


def serve_summary(end: ServeEnd, width: int | None) -> str:
    """The last lines of a run, for so many columns (None: a pipe)."""
    out = io.StringIO()
    console = Console(file=out, width=width or PIPE_WIDTH, highlight=False, color_system=None)
    console.print(_listeners(cast("Mapping[str, Mapping[str, Any]]", end.statistics.get("listeners", {}))))
    console.print(_sources(end.sources))
    states = end.tally.states
    told = ", ".join(f"{states[each]:,} {_plain(each)}" for each in ConversationState if each in states)
    total = counted(end.tally.total, "conversation")
    for line in (f"{total}: {told}" if told else total, *_books(end)):
        console.print(Text(line), soft_wrap=True)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join(["", *filter(None, lines), ""])  # each table has empty lines around it


def _listeners(listeners: Mapping[str, Mapping[str, Any]]) -> Table:
    """Each that a message came to, and all that are not phloem's own."""
    table = Table("listener", box=SIMPLE_HEAD)
    for ending in Ending:
        table.add_column(ending.value, justify="right")
    for key, counts in listeners.items():
        if not key.startswith("system.") or any(counts[ending.value] for ending in Ending):
            table.add_row(Text(one_line(key)), *(f"{counts[ending.value]:,}" for ending in Ending))
    return table


def _sources(sources: list[SourceEnd]) -> Table:
    table = Table("source", "from", box=SIMPLE_HEAD)
    for name in _COUNTED:
        table.add_column(name, justify="right")
    table.add_column("end")
    for each in sources:
        counts: Mapping[str, Any] = {} if each.attached is None else each.attached.statistics()
        row = [f"{counts.get(name, 0):,}" for name in _COUNTED]
        table.add_row(Text(one_line(each.source.name)), Text(one_line(each.where)), *row, Text(_end(each)))
    return table


def _end(source: SourceEnd) -> str:
    if source.wrong:
        return one_line(source.wrong)
    return "read to its end" if source.ended else "stopped"


def _books(end: ServeEnd) -> Iterator[str]:
    if end.report is not None:
        yield ledger_line(end.report)


def _plain(state: ConversationState) -> str:
    return state.value.replace("_", " ")
