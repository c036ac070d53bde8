"""Makes a failing run smaller: fewer preemptions, fewer faults. Pure: what fails is asked of a function.

Decides which smaller candidate is tried next; a candidate that still fails becomes the new best. A
schedule's zeros go on with the same task, so the fewer numbers are left in it, the fewer preemptions a
person has to read. Delta debugging (Zeller and Hildebrandt, IEEE TSE 2002), on positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

__all__ = ["TRIES", "fewer", "shrink_schedule"]

TRIES: Final = 300  # runs at most: some seconds; what is left by then is small enough to read

Schedule = tuple[int, ...]
Part = TypeVar("Part")


def shrink_schedule(
    schedule: Schedule, attempt: Callable[[Schedule], Schedule | None], tries: int = TRIES
) -> Schedule:
    """The smallest schedule found that still fails.

    ``attempt`` runs one, and gives back the schedule that the run really had if it failed in the same way,
    else None.
    """
    best, left = schedule, [tries]

    def ask(candidate: Schedule) -> bool:
        nonlocal best
        if candidate == best or left[0] <= 0:
            return False
        left[0] -= 1
        had = attempt(candidate)
        if had is None or _weight(had) >= _weight(best):
            return False
        best = had
        return True

    ask(())
    _cut_short(lambda: best, ask)
    while left[0] > 0:
        before = best
        _zero(lambda: best, ask)
        if best == before:
            break
    for index, choice in enumerate(best):
        if choice > 1:
            ask((*best[:index], 1, *best[index + 1 :]))
    return best


def fewer(
    parts: Sequence[Part], fails: Callable[[Sequence[Part]], bool], tries: int = TRIES
) -> tuple[Part, ...]:
    """A smallest part of ``parts`` that still fails, by leaving out chunks of halving size."""
    best, size = tuple(parts), len(parts)
    while size and tries > 0:
        at = 0
        while at < len(best) and tries > 0:
            candidate = best[:at] + best[at + size :]
            tries -= 1
            if fails(candidate):
                best = candidate
            else:
                at += size
        size //= 2
    return best


def _cut_short(best: Callable[[], Schedule], ask: Callable[[Schedule], bool]) -> None:
    """What comes after the failure is decided cannot matter: the shortest beginning that fails."""
    low, high = 0, len(best())
    while high - low > 1:
        middle = (low + high) // 2
        if ask(best()[:middle]):
            high = min(middle, len(best()))
        else:
            low = middle


def _zero(best: Callable[[], Schedule], ask: Callable[[Schedule], bool]) -> None:
    """Set chunks of choices to 0, from the end: what is there shifts nothing before it."""
    size = max(len(_positions(best())) // 2, 1)
    while True:
        end = len(_positions(best()))
        while end > 0:
            positions = _positions(best())
            chunk = set(positions[max(end - size, 0) : end])
            if not chunk:
                break
            ask(tuple(0 if index in chunk else choice for index, choice in enumerate(best())))
            end = min(end, len(_positions(best())) + size) - size
        if size == 1:
            return
        size //= 2


def _positions(schedule: Schedule) -> list[int]:
    return [index for index, choice in enumerate(schedule) if choice]


def _weight(schedule: Schedule) -> tuple[int, int, int]:
    positions = _positions(schedule)
    return len(positions), positions[-1] if positions else 0, sum(schedule)
