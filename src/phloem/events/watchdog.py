"""The watchdog: names handlers that run too long, and has them counted no more.

Decides when that is. Cuts nobody. Its task is ``opening``'s; the pool wakes it when there is
somebody to watch, so an idle bus has no timer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from logging import WARNING
from typing import Any, Final, final

import trio

from .mailbox import complain
from .tasks import Worker

__all__ = ["Watchdog"]

TICKS: Final = 4  # looks in the time after which a handler is slow: at most a quarter too late


@final
class Watchdog:
    """Watches ``busy`` workers; ``lose`` is told of each that is slow, once a run."""

    def __init__(self, slow_after: float, busy: Collection[Worker], lose: Callable[[Worker], None]) -> None:
        self._slow_after, self._busy, self._lose = slow_after, busy, lose
        self._asleep: trio.lowlevel.Task | None = None  # while there is nobody to watch

    def wake(self) -> None:
        """There is somebody."""
        if self._asleep is not None:
            task, self._asleep = self._asleep, None
            trio.lowlevel.reschedule(task)

    async def watch(self) -> None:
        """Watch, until it is cancelled. Reads a clock at each tick only, and none for an event."""
        while True:
            watched = [worker for worker in self._busy if not worker.slow]
            if not watched:
                self._asleep = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._woken)
                continue
            await trio.sleep(self._slow_after / TICKS)
            now = trio.current_time()
            for worker in watched:
                if worker not in self._busy or worker.slow:
                    continue
                if worker.runs != worker.seen:
                    worker.seen, worker.since = worker.runs, now
                elif now - worker.since >= self._slow_after:
                    self._name(worker, now - worker.since)

    def _name(self, worker: Worker, seconds: float) -> None:
        box = worker.box
        worker.slow = True
        box.slow += 1
        complain(WARNING, "the handler of subscription %s (%s) runs for %.1f s", box.id, box.name, seconds)
        self._lose(worker)

    def _woken(self, _: Any) -> trio.lowlevel.Abort:
        self._asleep = None
        return trio.lowlevel.Abort.SUCCEEDED
