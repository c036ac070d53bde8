"""A trace's messages as trees: a conversation, what its sender sent, and what each message led to.

Decides the words and the drawing. Pure: reads rows, gives lines. Whatever a file says, it ends: a message
whose parent is not there, or is itself, stands at the root. ``trace show`` prints it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

from .shell import counted
from .trace_lines import Row, TraceFile

__all__ = ["tree_lines", "wanted_conversations"]

NAMED: Final = 10  # conversations named where an id is not one of them
_TAG: Final = re.compile(r"<[^\s/>]+")


def wanted_conversations(trace: TraceFile, asked: str | None) -> list[Row]:
    """All of them, or the one whose id begins so. Raises UsageError for none and for several."""
    rows = [row for _, row in trace.conversations]
    known = {row["conversation"] for row in rows}
    # One that a cut-off file has lost the row of is told by its messages.
    strays = dict.fromkeys(
        row["conversation"] for _, row in trace.messages if row["conversation"] not in known
    )
    rows += [
        {"at": None, "conversation": id, "from": "?", "ended": None, "state": None, "why": None}
        for id in strays
    ]
    if asked is None:
        return rows
    exact = [row for row in rows if row["conversation"] == asked]
    found = exact or [row for row in rows if row["conversation"].startswith(asked)]
    if len(found) == 1:
        return found
    told = [row["conversation"] for row in found or rows]
    some = ", ".join(told[:NAMED]) + (f" and {len(told) - NAMED} more" if len(told) > NAMED else "")
    what = f"{len(found)} conversations" if found else "no conversation"
    raise click.BadParameter(
        f"found {what} of {trace.path} whose id begins with {asked!r}, expected one of {some or 'none'}",
        click.get_current_context(silent=True),
        param_hint="--conversation",
    )


def tree_lines(trace: TraceFile, conversations: Sequence[Row]) -> Iterator[str]:
    """The lines of these conversations, in their order."""
    children: dict[str, dict[str | None, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for _, row in (*trace.messages, *trace.refusals):
        children[row["conversation"]][row["parent"]].append(row)
    for conversation in conversations:
        yield _conversation(conversation)
        yield from _branches(children[conversation["conversation"]])


def _branches(children: Mapping[str | None, list[Row]]) -> Iterator[str]:
    """Depth first, without recursion: a chain may be as long as its budget."""
    reached = set[str]()
    messages = [row for rows in children.values() for row in rows if "message" in row]
    there = {row["message"] for row in messages}
    roots = [row for parent, rows in children.items() if parent not in there for row in rows]
    for first in (roots, messages):
        fresh = [row for row in first if row.get("message") not in reached]
        left = [(row, "", index == len(fresh) - 1) for index, row in enumerate(fresh)][::-1]
        while left:
            row, before, last = left.pop()
            id = row.get("message")
            if id in reached:
                continue
            yield f"{before}{'└─ ' if last else '├─ '}{_refusal(row) if id is None else _message(row)}"
            if id is None:
                continue
            reached.add(id)
            below, inner = children.get(id, []), before + ("   " if last else "│  ")
            left += [(child, inner, index == len(below) - 1) for index, child in enumerate(below)][::-1]


def _conversation(row: Row) -> str:
    state = row["state"] or "not ended"
    why = f" ({row['why']})" if row["why"] else ""
    span = _span(row["at"], row["ended"])
    return f"conversation {row['conversation']} from {row['from']}  {span}  {state}{why}"


def _message(row: Row) -> str:
    tag = _TAG.match(row["payload"])
    told = [
        row["listener"],
        f"{tag.group()}>" if tag else "(no payload)",
        _span(row["started"], row["ended"]),
    ]
    ending = row["ending"] or "not ended"
    if row["started"] is None:
        ending += ", never entered"
    if row["attempts"] > 1:
        ending += f" after {counted(row['attempts'], 'attempt')}"
    if row["why"]:
        ending += f" ({row['why']})"
    return "  ".join([*told, ending])


def _refusal(row: Row) -> str:
    return f"(refused {row['refused']} at {row['path'] or '/'})  {_span(row['at'], row['at'])}"


def _span(start: float | None, end: float | None) -> str:
    """Virtual seconds; one number where they are the same."""
    if start is None and end is None:
        return "-"
    if start == end or start is None or end is None:
        return f"{_seconds(start if end is None else end)}{'…' if end is None else ''} s"
    return f"{_seconds(start)}–{_seconds(end)} s"


def _seconds(value: float | None) -> str:
    return f"{0.0 if value is None else value:.9g}"
