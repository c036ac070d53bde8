"""What a held run is given to do: a function to run, a context to hold. Each is one task, and keeps its end.

Decides where an error goes: to whoever asked for the job, save a cancellation, which only the end of the
run brings. Used by ``holding``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, final

import outcome
import trio

from .result import leaves

__all__ = ["Held", "Job"]


@final
class Job:
    """One function to run, and what came of it."""

    def __init__(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], name: str) -> None:
        self._function, self._args, self.name = function, args, name
        self.result: outcome.Outcome[Any] | None = None
        self.failed: deque[BaseException] | None = None  # where an error goes that nobody waits for

    async def run(self) -> None:
        """What is cancelled goes on as it is: only the end of the run does that."""
        try:
            self.result = outcome.Value(await self._function(*self._args))
        except BaseException as error:  # noqa: ASYNC103 - its caller raises it, in another place
            if any(isinstance(each, trio.Cancelled) for each in leaves(error)):
                raise
            self.result = outcome.Error(error)
            if self.failed is not None:
                self.failed.append(error)


@final
class Held:
    """A context that is entered and left by the same task."""

    def __init__(self, context: AbstractAsyncContextManager[Any]) -> None:
        self._context = context
        self.job: Job
        self.value: Any = None
        self.entered = False
        self.left = trio.Event()

    async def hold(self) -> None:
        """Enter, wait to be told, leave."""
        async with self._context as self.value:
            self.entered = True
            await self.left.wait()
