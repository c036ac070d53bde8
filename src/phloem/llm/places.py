"""The places at a backend: how many calls run there at once, and who would wait for one in vain.

Decides that nobody waits for himself. A task that holds a stream open holds its place, and if it asks again
meanwhile it may come to wait for that very place, or two such tasks for each other's; no time-out would end
that. Looks at every backend of a router together. Called by ``gateway``; the order in line is Trio's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import final

import trio
from trio.lowlevel import Task, current_task

__all__ = ["Crowd", "Places"]


@final
class Crowd:
    """The tasks that hold places at the backends of one router, and those that wait, each at one of them."""

    def __init__(self) -> None:
        self.holding: Counter[Task] = Counter()
        self.waiting: dict[Task, Places] = {}

    def stuck(self, task: Task, at: Places) -> bool:
        """Whether ``task``, were it to wait there, would wait only for tasks that wait as it does."""
        if task not in self.holding:
            return False  # nobody waits for it, so it closes no circle; and there is none, for nobody did
        waiting = {**self.waiting, task: at}
        while task in waiting:
            # Where a place is free, or held by a task that goes on, somebody's wait ends; and then his calls.
            moving = [each for each, where in waiting.items() if where.moves(waiting)]
            if not moving:
                return True
            for each in moving:
                del waiting[each]
        return False


@final
class Places:
    """The places at one backend."""

    def __init__(self, most: int, crowd: Crowd) -> None:
        self._most, self._crowd = most, crowd
        self._limiter = trio.CapacityLimiter(most)
        self._holders: list[Task] = []

    @property
    def stuck(self) -> bool:
        """Whether the task that asks would wait here in vain. Never a checkpoint."""
        return not self._limiter.available_tokens and self._crowd.stuck(current_task(), self)

    def moves(self, waiting: dict[Task, Places]) -> bool:
        """Whether a place here is free, or is held by a task that is not among these."""
        # One that was handed to a task that has not run since counts as free: that task goes on.
        return len(self._holders) < self._most or any(each not in waiting for each in self._holders)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[bool]:
        """Wait for a place, and hold it; False if the task would wait in vain, and none is held.

        Checkpoint unless False. Cancelled means: none is held.
        """
        if self.stuck:
            yield False
            return
        # Trio would not give one task two places, which a stream and a call beside it need.
        place, task = object(), current_task()
        self._crowd.waiting[task] = self
        try:
            await self._limiter.acquire_on_behalf_of(place)
        finally:
            del self._crowd.waiting[task]
        self._holders.append(task)
        self._crowd.holding[task] += 1
        try:
            yield True
        finally:
            self._holders.remove(task)
            self._crowd.holding -= Counter((task,))  # none left: not in it
            self._limiter.release_on_behalf_of(place)
