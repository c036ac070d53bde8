"""What a run looks at if it looks closely: where each task stands at its step, and at each switch.

Decides what is written down of a step: the await stack of the task whose step it is, whether a deadline is
around it, and who went on where when another stopped. It costs several times what a step costs, so most
runs of a search do without, or look from one step on only. Used by ``scheduling``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, final

import trio

from .seam import innermost_deadline
from .sites import Places, Site, Stack

__all__ = ["Looker", "Stood"]


class Stood(NamedTuple):
    """Where the task of one step stood, and whether a scope with a deadline was around it.

    ``waiting``: others that waited then, within a deadline of their own, each with its place; empty unless
    the run looks around.
    """

    step: int
    stack: Stack
    deadline: bool
    waiting: tuple[tuple[int, Site], ...] = ()


@final
class Looker:
    """Looks from step ``since`` on (``math.inf`` is never), and around at ``others``, if any."""

    def __init__(
        self,
        since: float,
        name_of: Callable[[trio.lowlevel.Task], str],
        others: Callable[[], Mapping[trio.lowlevel.Task, int]] | None = None,
    ) -> None:
        self.since, self._others = since, others
        self.stood: list[Stood] = []
        self.switches: list[tuple[int, str]] = []
        self._name_of, self._places = name_of, Places()

    def begin(self) -> None:
        """The program's first step, which stands nowhere yet."""
        if self.since <= 0:
            self.stood.append(Stood(0, (), deadline=False))

    def look(
        self,
        step: int,
        task: trio.lowlevel.Task,
        last: trio.lowlevel.Task | None,
        how: str | None,
    ) -> None:
        """A step of ``task``. ``last`` ran before it, and waits or was preempted (``how``), or is gone."""
        stack = self._places.stack_of(task)
        own = innermost_deadline(task)
        around = () if self._others is None else tuple(self._waiting(task, own, self._others()))
        self.stood.append(Stood(step, stack, own is not None, around))
        if task is last:
            return
        told = f"{self._name_of(task)} goes on" + (f" at {stack[-1]}" if stack else "")
        if last is not None:
            before = self._name_of(last)
            if how is None:
                told += f"; {before} has ended"
            else:
                stopped = self._places.stack_of(last)
                told += f"; {before} {how}" + (f" at {stopped[-1]}" if stopped else "")
        self.switches.append((step, told))

    def _waiting(
        self,
        task: trio.lowlevel.Task,
        own: trio.CancelScope | None,
        others: Mapping[trio.lowlevel.Task, int],
    ) -> Iterator[tuple[int, Site]]:
        for other, number in others.items():
            if other is not task and (scope := innermost_deadline(other)) is not None and scope is not own:
                stack = self._places.stack_of(other)
                if stack:
                    yield number, stack[-1]
