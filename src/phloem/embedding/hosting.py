"""The host, for handlers that need its loop: a task of the host's that a Trio task waits for.

Decides that neither side leaves the other behind: a cancelled handler waits until its host's task has ended.
Given to the organism as its ``Host``; called by handlers that are declared to run there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Any, final

import outcome
import trio

from .guests import Guest
from .loops import HostTask, is_cancel

__all__ = ["EmbeddingHost"]


@final
class EmbeddingHost:
    """The event loop around one guest; a ``Host`` of phloem's."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    async def call(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Await ``function(*args)`` in the host's loop, in the caller's context.

        Checkpoint. Cancelled means: it was cancelled there, and has ended; what it came to all the
        same is returned. Raises what it raises, and HostGone if the loop is closed meanwhile.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._guest.by_hand:  # a loop that is being closed runs nothing any more
            raise self._guest.why_over()
        call = _HostCall(self._guest, partial(function, *args))
        return await call.result()


@final
class _HostCall:
    """One task of the host's, and the task of Trio's that waits for it."""

    __slots__ = ("_cancel", "_guest", "_task", "_waits")

    def __init__(self, guest: Guest, function: Callable[[], Awaitable[Any]]) -> None:
        self._guest = guest
        self._task = HostTask(function, self._ended)
        self._waits: trio.lowlevel.Task | None = None
        self._cancel: Callable[[], Any] | None = None

    async def result(self) -> Any:
        self._waits = trio.lowlevel.current_task()
        self._guest.host_calls[self] = self._gone
        self._task.start(self._guest.loop, copy_context())
        return await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._cancel = raise_cancel
        self._task.cancel()
        return trio.lowlevel.Abort.FAILED  # it ends when the host's task has

    def _ended(self) -> None:
        task = self._task
        if self._cancel is not None and is_cancel(task.error):
            self._tell(outcome.capture(self._cancel))
        elif task.error is not None:
            self._tell(outcome.Error(task.error))
        else:
            self._tell(outcome.Value(task.value))

    def _gone(self) -> None:
        """The loop will not run any more, and so the host's task will not end."""
        if self._cancel is not None:
            self._tell(outcome.capture(self._cancel))
        else:
            self._tell(outcome.Error(self._guest.why_over()))

    def _tell(self, came: outcome.Outcome[Any]) -> None:
        if self._guest.host_calls.pop(self, None) is not None and self._waits is not None:
            trio.lowlevel.reschedule(self._waits, came)
