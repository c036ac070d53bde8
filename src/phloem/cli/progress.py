"""What a person sees of a batch: a bar on a terminal, and the summary at its end.

Decides the words. Never draws where stderr is no terminal, and never touches stdout. For ``run``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from phloem.messages import ConversationState

from .batch import Batch, BatchEnd, ledger_line, tell_at_once
from .shell import counted
from .standard import STDERR

__all__ = ["drawn_progress", "summary", "tell_over_bar", "wanted"]

_EVERY: Final = 0.1  # seconds between two drawings: smooth enough, and no load
_ABANDONED: Final = 10  # abandoned messages named one by one
_DIFFERENT: Final = 50  # messages that came to something else than expected; all are counted


class drawn_progress:  # noqa: N801 - called like the function it stands for
    """Draws the bar beside a batch: ``drawn_progress(size)`` is the batch's ``watch``."""

    def __init__(self, size: int | None) -> None:
        self._size = size

    async def __call__(self, batch: Batch) -> None:
        """Until cancelled."""
        columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
            # One more than there is: a bar that has reached its end shows a clock that stands still.
            task = bar.add_task("reading", total=None if self._size is None else self._size + 1)
            while True:
                states, ended = batch.so_far()
                bar.update(task, completed=ended, description=_counts(states) or "reading", refresh=True)
                await trio.sleep(_EVERY)


def wanted(outgoing: int) -> bool:
    """Whether anybody would see a bar, and no results on the same terminal would break it."""
    return os.isatty(STDERR) and not os.isatty(outgoing) and not Console(stderr=True).is_dumb_terminal


def tell_over_bar(text: str) -> None:
    """A line in the bar's place, with a cursor: the process may end before the bar does. Never waits."""
    tell_at_once(f"\r\x1b[2K\x1b[?25h{text}")


def summary(end: BatchEnd, seconds: float) -> Iterator[str]:
    """The lines that tell how a batch ended."""
    told = counted(end.tally.total, "message")
    if counts := _counts(end.tally.states):
        told += f": {counts}"
    if end.tally.refused:
        told += f"; {counted(end.tally.refused, 'huh')} within them"
    if end.tally.dead_letters:
        told += f"; {counted(end.tally.dead_letters, 'dead letter')}"
    yield f"{told}; {seconds:.1f} s"
    if end.report is not None:
        yield ledger_line(end.report)
        abandoned = end.report.abandoned_messages
        for row in abandoned[:_ABANDONED]:
            yield f"  abandoned while {row.state}: {row.payload} to {row.listener} ({row.id})"
        if len(abandoned) > _ABANDONED:
            yield f"  and {len(abandoned) - _ABANDONED:,} more"
        for name, count in sorted(Counter(end.report.abandoned_threads).items()):
            yield f"  still at work: {counted(count, 'thread')} of {name}"
    if not end.all_read:
        yield f"the input after message {end.taken:,} was not taken"
    if end.expected:
        yield from end.unexpected[:_DIFFERENT]
        if len(end.unexpected) > _DIFFERENT:
            yield f"and {len(end.unexpected) - _DIFFERENT:,} more"
        met = end.expected - len(end.unexpected)
        yield f"{met:,} of {counted(end.expected, 'message')} as expected, {len(end.unexpected):,} not"


def _counts(states: Mapping[ConversationState, int]) -> str:
    return ", ".join(
        f"{states[each]:,} {each.replace('_', ' ')}" for each in ConversationState if each in states
    )
