"""Fewer switches by moving whole stretches: the second half of making a schedule small. Pure.

Decides which other orders are worth a try. A schedule's numbers are relative to the task that ran last, so
setting one to 0 exchanges the parts that tasks play in all that follows, and a search over numbers alone ends
where no single one can go. Here a stretch of steps of one task is joined with the next stretch of the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

__all__ = ["joined_orders"]

Stretch = tuple[int, int]  # a task, and how many steps it ran in a row


def joined_orders(order: Sequence[int]) -> Iterator[list[int]]:
    """Orders of the same steps with two stretches of one task joined, the last ones first.

    Each pair gives two: the later stretch moved back to the earlier, and the earlier forward to the later.
    """
    stretches = [(task, len(list(steps))) for task, steps in groupby(order)]
    for at in range(len(stretches) - 2, -1, -1):
        task = stretches[at][0]
        later = next((i for i in range(at + 1, len(stretches)) if stretches[i][0] == task), None)
        if later is None:
            continue
        between, after = stretches[at + 1 : later], stretches[later + 1 :]
        yield _steps([*stretches[: at + 1], stretches[later], *between, *after])
        yield _steps([*stretches[:at], *between, stretches[at], *stretches[later:]])


def _steps(stretches: Sequence[Stretch]) -> list[int]:
    return [task for task, count in stretches for _ in range(count)]
