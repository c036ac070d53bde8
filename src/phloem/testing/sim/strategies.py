"""Who runs next: the strategies. Pure; they see tasks as opaque things, in the order of their age.

Decides nothing but an index. Each is asked once for every tick in which more than one task can run, with
``base``, the index that stands for "go on with the same task" (or, where that one waits, the next in
turn). All chance comes from the seed. Called by ``scheduling``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Hashable, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Final, Protocol, final

__all__ = ["STREAK", "Chooser", "Replay", "Strategy", "chooser_for", "concrete", "stream"]

STREAK: Final = 64  # steps in a row; a task that spins until another has run would else do so for ever
TURNS: Final = 1_024  # steps in which a group may hand the turn round among itself: no start-up takes as many
DEPTHS: Final = (2, 3, 4, 5)  # bugs of more than five ordering constraints were not met in practice
_TOLD: Final = re.compile(r"pct([1-9][0-9]?)?(?:@([0-9]{1,9}))?")  # beyond these, nobody measures or waits
LENGTH: Final = 250  # steps, where nobody has measured the program yet


class Strategy(StrEnum):
    """How the schedules of a simulation are drawn.

    ``calm`` goes on with one task until it waits; ``shuffle`` runs all that can run in each tick, in any
    order, as Trio does; ``walk`` runs one task a tick, any of those that can; ``pct`` gives tasks random
    priorities and changes a few at random steps (Burckhardt et al., ASPLOS 2010), its depth drawn from 2
    to 5; ``portfolio`` is a fifth of ``shuffle`` and two fifths each of ``walk`` and ``pct``.
    """

    CALM = "calm"
    SHUFFLE = "shuffle"
    WALK = "walk"
    PCT = "pct"
    PORTFOLIO = "portfolio"


class Chooser(Protocol):
    """One run's strategy."""

    def choose(self, batch: Sequence[Hashable], base: int) -> int:
        """An index into ``batch``, which has two tasks or more, oldest first."""
        ...


_PORTFOLIO: Final = ("shuffle", "walk", "pct2", "walk", "pct3", "shuffle", "walk", "pct4", "walk", "pct5")


def concrete(name: str, number: int, length: int) -> str:
    """The strategy of run ``number``, with all that it needs: ``pct3@258`` expects 258 steps.

    Raises ValueError for a name that is none.
    """
    name = str(name)
    if name == Strategy.PORTFOLIO:
        name = _PORTFOLIO[number % len(_PORTFOLIO)]
    if name in (Strategy.CALM, Strategy.SHUFFLE, Strategy.WALK):
        return name
    told = _TOLD.fullmatch(name)
    if told is not None:
        depth, steps = told.groups()
        depth = depth or DEPTHS[number % len(DEPTHS)]
        return f"pct{int(depth)}@{int(steps) if steps else max(length, 1)}"
    names = ", ".join(Strategy)
    raise ValueError(f"strategy: found {name!r}, expected one of {names}, or a depth as in pct3 or pct3@500")


def stream(seed: int, purpose: str) -> random.Random:
    """Chance for one purpose: another's use of it shifts nothing here."""
    key = blake2b(f"{purpose}\0{seed}".encode(), digest_size=16).digest()
    return random.Random(int.from_bytes(key, "big"))


def chooser_for(name: str, seed: int) -> Chooser:
    """The chooser of a concrete strategy."""
    chance = stream(seed, "schedule")
    if name == Strategy.CALM:
        return Replay(())
    if name in (Strategy.WALK, Strategy.SHUFFLE):
        return _Walk(chance)
    depth, _, steps = name.removeprefix("pct").partition("@")
    return _Pct(chance, int(depth), int(steps))


@final
class _Walk:
    """Any of those that can run. In a batch that runs whole, the same is a shuffle."""

    def __init__(self, chance: random.Random) -> None:
        self._draw = chance.random

    def choose(self, batch: Sequence[Hashable], base: int) -> int:
        return int(self._draw() * len(batch))


@final
class _Pct:
    """Strict random priorities, of which ``depth - 1`` change at random steps.

    The bound of the paper (1 in n * k ** (depth - 1) for n tasks and k steps) needs that nothing else
    lowers a priority. Here fairness does too: after ``STREAK`` steps in a row, and every ``TURNS`` steps.
    """

    def __init__(self, chance: random.Random, depth: int, steps: int) -> None:
        # Which change goes below which is drawn as well, as the paper has it: were a later one always below
        # an earlier one, tasks that wait for each other in turn would need more changes than there are.
        drawn = ((int(chance.random() * steps), -float(rank)) for rank in range(depth - 1))
        self._changes = sorted(drawn, reverse=True)
        self._priorities = _Priorities(chance.random)
        self._lowest = -float(depth)
        self._step = 0
        self._last: Hashable = None
        self._streak = 0

    def choose(self, batch: Sequence[Hashable], base: int) -> int:
        best = max(batch, key=self._priorities.__getitem__)
        self._step += 1
        if self._changes and self._step > self._changes[-1][0]:
            best = self._change(best, self._changes.pop()[1], batch)
        self._streak = self._streak + 1 if best is self._last else 1
        if self._streak > STREAK or self._step % TURNS == 0:
            self._lowest -= 1.0
            best = self._change(best, self._lowest, batch)
            self._streak = 1
        self._last = best
        return batch.index(best)

    def _change(self, task: Hashable, priority: float, batch: Sequence[Hashable]) -> Hashable:
        self._priorities[task] = priority
        return max(batch, key=self._priorities.__getitem__)


@final
class _Priorities(dict[Hashable, float]):
    """Of each task that was ever asked for; drawn when it first is."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self._draw = draw

    def __missing__(self, task: Hashable) -> float:
        drawn = self[task] = 1.0 + self._draw()
        return drawn


@final
class Replay:
    """A schedule as it was written down, and after its end the same task for as long as it can."""

    def __init__(self, schedule: Sequence[int]) -> None:
        self._schedule, self._at = schedule, 0

    def choose(self, batch: Sequence[Hashable], base: int) -> int:
        at, self._at = self._at, self._at + 1
        if at >= len(self._schedule):
            return base
        return (base + self._schedule[at]) % len(batch)
