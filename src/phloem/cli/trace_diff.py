"""Where two traces part: the first event that is not the same, else the first conversation or message.

Decides that headers do not count: two seeds may do the same. Pure. ``trace diff`` prints it, and the
check that a seed does the same twice says with it where it did not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

from .trace_lines import TraceFile, event_line, row_line

__all__ = ["difference", "first_difference"]

CONTEXT: Final = 3  # lines before and after: who went on just before says most


def difference(first: TraceFile, second: TraceFile) -> list[str]:
    """Lines that tell of the first difference; none if there is no difference."""
    ones = [(number, event_line(row)) for number, row in first.events]
    others = [(number, event_line(row)) for number, row in second.events]
    what = "event"
    if [text for _, text in ones] == [text for _, text in others]:
        ones, others = _rest(first), _rest(second)
        what = "line beside the events"
    index = first_difference([text for _, text in ones], [text for _, text in others])
    if index is None:
        return []
    at = [
        f"{trace.path}:{rows[index][0]}" if index < len(rows) else f"the end of {trace.path}"
        for trace, rows in ((first, ones), (second, others))
    ]
    return [f"first difference: {what} {index + 1}, {at[0]} and {at[1]}", *_shown(ones, others, index)]


def first_difference(ones: Sequence[str], others: Sequence[str]) -> int | None:
    """The index of the first text that differs, or where one of the two ends; None if they are equal."""
    for index, (one, other) in enumerate(zip_longest(ones, others)):
        if one != other:
            return index
    return None


def _rest(trace: TraceFile) -> list[tuple[int, str]]:
    rows = (*trace.conversations, *trace.messages, *trace.refusals)
    return [(number, row_line(row).rstrip("\n")) for number, row in rows]


def _shown(ones: Sequence[tuple[int, str]], others: Sequence[tuple[int, str]], index: int) -> Iterator[str]:
    for _, text in ones[max(0, index - CONTEXT) : index]:
        yield f"    {text}"
    for sign, rows in (("-", ones), ("+", others)):
        for _, text in rows[index : index + CONTEXT]:
            yield f"  {sign} {text}"
        if index >= len(rows):
            yield f"  {sign} (it ends here)"
