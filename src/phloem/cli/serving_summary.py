"""What a person sees at the end of a run that served: who handled what, and what came from where.

Decides the tables and their words. Prints nothing. For ``run``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

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

NARROW: Final = 80  # columns; below, the words of a head are broken
PIPE_WIDTH: Final = 120  # columns: a pipe has no width of its own; a row is seldom longer
_COUNTED: Final = ("messages", "accepted", "rejected", "unsent")  # of a source's statistics


def serve_summary(end: ServeEnd, width: int | None) -> str:
    """The last lines of a run, for so many columns (None: a pipe)."""
    lines = _tables(end, width or PIPE_WIDTH) if width is None or width >= NARROW else _rows(end)
    states = end.tally.states
    told = ", ".join(
        f"{states[each]:,} {each.replace('_', ' ')}" for each in ConversationState if each in states
    )
    total = counted(end.tally.total, "conversation")
    books = [] if end.report is None else [ledger_line(end.report)]
    return "\n".join(["", *lines, f"{total}: {told}" if told else total, *books, ""])


def _tables(end: ServeEnd, width: int) -> list[str]:
    return [*_drawn(_listeners(end), width), "", *_drawn(_sources(end.sources), width)]


def _drawn(table: Table, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, color_system=None).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


def _rows(end: ServeEnd) -> Iterator[str]:
    """The same where a table would break its words: only what is not 0."""
    for key, counts in _shown(end):
        told = ", ".join(f"{counts[each.value]:,} {each.value}" for each in Ending if counts[each.value])
        yield f"{one_line(key)}: {told or 'nothing'}"
    for source in end.sources:
        counts = _brought(source)
        told = ", ".join(f"{counts[name]:,} {name}" for name in _COUNTED[1:] if counts[name])
        messages = counted(counts["messages"], "message")
        yield f"{one_line(source.source.name)}: {messages}{f' ({told})' if told else ''}, {_end(source)}"


def _shown(end: ServeEnd) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each listener that a message came to, and all that are not phloem's own."""
    for key, counts in end.statistics.get("listeners", {}).items():
        if not key.startswith("system.") or any(counts[ending.value] for ending in Ending):
            yield key, counts


def _brought(source: SourceEnd) -> Mapping[str, int]:
    counts: Mapping[str, Any] = {} if source.attached is None else source.attached.statistics()
    return {name: counts.get(name, 0) for name in _COUNTED}


def _listeners(end: ServeEnd) -> Table:
    table = Table("listener", box=SIMPLE_HEAD)
    for ending in Ending:
        table.add_column(ending.value, justify="right")
    for key, counts in _shown(end):
        table.add_row(Text(one_line(key)), *(f"{counts[ending.value]:,}" for ending in Ending))
    return table


def _sources(sources: list[SourceEnd]) -> Table:
    table = Table("source", "from", box=SIMPLE_HEAD)
    for name in _COUNTED:
        table.add_column(name, justify="right")
    table.add_column("end")
    for each in sources:
        row = [f"{count:,}" for count in _brought(each).values()]
        table.add_row(Text(one_line(each.source.name)), Text(one_line(each.where)), *row, Text(_end(each)))
    return table


def _end(source: SourceEnd) -> str:
    if source.wrong:
        return one_line(source.wrong)
    return "read to its end" if source.ended else "stopped"
