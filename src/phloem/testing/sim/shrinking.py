"""Makes a failing run smaller: fewer preemptions, fewer faults. Pure: what fails is asked of a function.

Decides which smaller candidate is tried next; a candidate that still fails becomes the new best. A
schedule's zeros go on with the same task, so the fewer numbers are left in it, the fewer preemptions a
person has to read. The last number that is needed is found by halving, then the last before it, and so on:
some log2(steps) runs for each that stays, where plain delta debugging (Zeller and Hildebrandt, IEEE TSE
2002) takes twice as many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, TypeVar, final

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
    shrinking = _Shrinking(schedule, attempt, tries)
    shrinking.backwards()
    shrinking.to_neighbours()
    shrinking.one_by_one()
    return shrinking.best


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


@final
class _Shrinking:
    def __init__(
        self, schedule: Schedule, attempt: Callable[[Schedule], Schedule | None], tries: int
    ) -> None:
        self.best = _trimmed(schedule)
        self._attempt, self._left = attempt, tries
        self._asked = {hash(self.best)}  # hashes: a schedule of a million steps takes megabytes

    def backwards(self) -> None:
        """Keep only what is needed, from the end: what is there shifts nothing before it."""
        border = len(self.best)
        while self._left > 0:
            places = [place for place in _positions(self.best) if place < border]
            if not places or self._without(places):
                return
            low, high = 0, len(places)  # all from low on is too much to leave out, all from high on is not
            while high - low > 1:
                middle = (low + high) // 2
                if self._without(places[middle:]):
                    high = middle
                else:
                    low = middle
            border = places[low]

    def one_by_one(self) -> None:
        """Until none can be left out, nor two neighbours: a preemption and what switches back from it."""
        again = True
        while again and self._left > 0:
            again = False
            for place in reversed(_positions(self.best)):
                again = self._without([place]) or again
            if not again:
                again = any(map(self._without, list(pairwise(_positions(self.best)))))

    def to_neighbours(self) -> None:
        """Switch to the next task in age where any will do."""
        for place in reversed(_positions(self.best)):
            if self.best[place : place + 1] > (1,):
                self._ask((*self.best[:place], 1, *self.best[place + 1 :]))

    def _without(self, places: Sequence[int]) -> bool:
        gone = set(places)
        return self._ask(tuple(0 if place in gone else each for place, each in enumerate(self.best)))

    def _ask(self, candidate: Schedule) -> bool:
        """True if it is smaller and still fails: it is the best then. Nothing is tried twice."""
        candidate = _trimmed(candidate)
        if self._left <= 0 or hash(candidate) in self._asked:
            return False
        self._asked.add(hash(candidate))
        self._left -= 1
        had = self._attempt(candidate)
        if had is None or _weight(had) >= _weight(self.best):
            return False
        self.best = _trimmed(had)
        self._asked.add(hash(self.best))
        return True


def _trimmed(schedule: Sequence[int]) -> Schedule:
    """Without the zeros at the end, which say nothing."""
    places = _positions(schedule)
    return tuple(schedule[: places[-1] + 1]) if places else ()


def _positions(schedule: Sequence[int]) -> list[int]:
    return [index for index, choice in enumerate(schedule) if choice]


def _weight(schedule: Schedule) -> tuple[int, int, int]:
    positions = _positions(schedule)
    return len(positions), positions[-1] if positions else 0, sum(schedule)
