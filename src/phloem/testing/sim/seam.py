"""The seam: every private name of Trio that a simulation stands on, and a check that each means the same.

Decides nothing about schedules: it hands each batch of runnable tasks to whoever has installed
a ``Pick``, and worker threads' jobs to whoever has installed a ``Start``. No other file of phloem
knows these names. Trio has offered the first two to test tools since 0.12 (Hypothesis and
pytest-trio use them), but promises none.

The scheduler calls ``_r.shuffle(batch)`` once a tick, with the runnable tasks sorted by age, and then
runs the batch from its end. A pick may reorder it, and hand tasks back to the run queue: they are
in the next tick's batch.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, Final, cast, final

import outcome
import trio
import trio.testing

from phloem.errors import NotSimulated, SimulationUnsupported

try:
    import trio._core._run as _run
    import trio._core._thread_cache as _cache
    import trio._threads as _threads
except ImportError as error:
    raise SimulationUnsupported(
        f"found Trio {trio.__version__}, without its module {error.name}; expected one of the versions that "
        "phloem allows (please report it)"
    ) from error

__all__ = [
    "Pick",
    "Start",
    "check_seam",
    "forget",
    "innermost_deadline",
    "jobs_started_by",
    "scheduled_by",
    "take_shields",
]

Task = trio.lowlevel.Task
Pick = Callable[[list[Task], "deque[Task]"], None]  # the batch, to be changed in place; the run queue
Deliver = Callable[[outcome.Outcome[Any]], object]
Start = Callable[[Callable[[], Any], Deliver], None]  # what a thread is to do, and who is told the result

NEEDED: Final = (
    (_run, ("_ALLOW_DETERMINISTIC_SCHEDULING", "_r", "GLOBAL_RUN_CONTEXT")),
    (_cache, ("THREAD_CACHE",)),
    (_threads, ("_send_message_to_trio", "RunSync", "PARENT_TASK_DATA")),
)


@final
class _Hook(random.Random):
    """Stands in for Trio's random generator; the runs of other threads find it as they know it."""

    def __init__(self, pick: Pick) -> None:
        super().__init__()
        self._pick, self._thread = pick, get_ident()
        self._runq: deque[Task] | None = None

    def shuffle(self, x: Any) -> None:
        """The tick's batch. What the pick raises ends the run as an internal error."""
        if get_ident() != self._thread:
            super().shuffle(x)
        elif self._runq is not None:
            self._pick(x, self._runq)
        else:
            self._runq = cast("deque[Task]", cast("Any", _run.GLOBAL_RUN_CONTEXT).runner.runq)
            self._pick(x, self._runq)


@contextmanager
def scheduled_by(pick: Pick) -> Iterator[None]:
    """Let ``pick`` decide what the next run of this thread does at each tick. For one run."""
    if isinstance(_run._r, _Hook):
        raise NotSimulated(
            "found a simulation within a simulation (or one in another thread); expected one at a time"
        )
    before = _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING
    _set(_run, "_r", _Hook(pick))
    _set(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    try:
        yield
    finally:
        _set(_run, "_r", before[0])
        _set(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", before[1])


@final
class _Cache:
    """Stands in for Trio's cache of worker threads, which every name of ``start_thread_soon`` asks."""

    def __init__(self, start: Start) -> None:
        self._start, self._thread, self._stock = start, get_ident(), cast("Any", _cache.THREAD_CACHE)
        self._send = cast("Any", _threads._send_message_to_trio)
        self.working = False

    def start_thread_soon(self, fn: Callable[[], Any], deliver: Deliver, name: str | None = None) -> None:
        """As Trio's own, which it is for the jobs of other threads."""
        if get_ident() != self._thread:
            self._stock.start_thread_soon(fn, deliver, name)
            return

        def job() -> Any:
            self.working = True
            try:
                return fn()
            finally:
                self.working = False

        self._start(job, deliver)

    def send_message(self, token: trio.lowlevel.TrioToken | None, message: Any) -> Any:
        """What ``from_thread`` asks of Trio: done at once for a job of ours, and by Trio for all others."""
        stranger = get_ident() != self._thread or not self.working
        if stranger or (token is None and not hasattr(_threads.PARENT_TASK_DATA, "token")):
            return self._send(token, message)
        if isinstance(message, _threads.RunSync):
            return cast("Any", message).unprotected_fn()
        raise NotSimulated(
            "found trio.from_thread.run in a simulated thread, which runs inline and cannot wait; "
            "expected trio.from_thread.run_sync, or the work done by the task that awaits the thread"
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)


@contextmanager
def jobs_started_by(start: Start) -> Iterator[None]:
    """Give the jobs of worker threads to ``start``, whichever name of ``to_thread.run_sync`` is used.

    Limiters, cancellation and results stay Trio's own. A job may call ``from_thread.run_sync``, which is
    then a plain call; ``from_thread.run`` cannot be had without a thread, and says so.
    """
    before = _cache.THREAD_CACHE, _threads._send_message_to_trio
    ours = _Cache(start)
    _set(_cache, "THREAD_CACHE", ours)
    _set(_threads, "_send_message_to_trio", ours.send_message)
    try:
        yield
    finally:
        _set(_cache, "THREAD_CACHE", before[0])
        _set(_threads, "_send_message_to_trio", before[1])


def innermost_deadline(task: Task) -> trio.CancelScope | None:
    """The innermost scope around ``task`` that has a deadline and is not cancelled yet."""
    status: Any = task._cancel_status
    while status is not None:
        scope: trio.CancelScope = status._scope
        if scope.deadline != math.inf and not scope.cancel_called:
            return scope
        status = status._parent
    return None


def take_shields(task: Task) -> None:
    """Let a cancel from outside reach ``task``, whatever shields it."""
    status: Any = task._cancel_status
    while status is not None:
        if status._scope.shield:
            status._scope.shield = False
        status = status._parent


def forget(task: Task) -> None:
    """The run is gone and this task with it: its nurseries must not complain of the children it had."""
    for nursery in task.child_nurseries:
        nursery._children.clear()


def check_seam() -> None:
    """Have six tasks run in one chosen order, and a job run inline. Raises SimulationUnsupported.

    Takes about a millisecond; whoever is about to simulate calls it once. Raises NotSimulated within a run.
    """
    missing = [
        f"{module.__name__}.{name}" for module, names in NEEDED for name in names if not hasattr(module, name)
    ]
    if missing:
        raise _unsupported(f"without {', '.join(missing)}")
    if trio.lowlevel.in_trio_run():
        raise NotSimulated(
            "found a simulation within a Trio run, or beside one that an event loop of this thread carries "
            "(an embedded organism, for one); expected it outside, since it runs Trio itself"
        )
    missing = trio.run(_missing)
    if missing:
        raise _unsupported(f"without {', '.join(missing)}")
    wanted, ran = [3, 0, 5, 1, 4, 2], list[int]()
    inline: list[bool] = []

    async def step(number: int) -> None:
        await trio.lowlevel.checkpoint()
        ran.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(step, number, name=str(number))
        here = get_ident()
        inline.append(await trio.to_thread.run_sync(get_ident) == here)
        inline.append(await trio.to_thread.run_sync(trio.from_thread.run_sync, get_ident) == here)

    def pick(batch: list[Task], runq: deque[Task]) -> None:
        """One task a tick: the one whose turn it is, if it can run; whoever is oldest otherwise."""
        names = [task.name for task in batch]
        left = wanted[len(ran) :]
        index = names.index(str(left[0])) if left and set(names) == set(map(str, left)) else 0
        if batch:
            chosen = batch.pop(index)
            runq.extend(batch)
            batch[:] = [chosen]

    def start(job: Callable[[], Any], deliver: Deliver) -> None:
        deliver(outcome.capture(job))

    with scheduled_by(pick), jobs_started_by(start):
        try:
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        except (trio.TrioInternalError, AttributeError, RuntimeError) as error:
            raise _unsupported(
                f"whose scheduler fails under the hook: {error.__cause__ or error!r}"
            ) from error
    if ran != wanted:
        raise _unsupported(f"which ran six tasks in the order {ran} where {wanted} was chosen")
    if inline != [True, True]:
        raise _unsupported("which ran a worker's job in a thread of its own")


async def _missing() -> list[str]:
    """What cannot be had of a run, of its tasks, scopes and nurseries."""
    task = trio.lowlevel.current_task()
    found = list[str]()
    if not isinstance(getattr(getattr(_run.GLOBAL_RUN_CONTEXT, "runner", None), "runq", None), deque):
        found.append("a run's queue")
    async with trio.open_nursery() as nursery:
        if not hasattr(getattr(nursery, "_children", None), "clear"):
            found.append("a nursery's children")
    with trio.CancelScope(deadline=trio.current_time() + 9) as scope:
        try:
            near = innermost_deadline(task)
        except AttributeError:
            near = None
        if near is not scope:
            found.append("a task's cancel scopes")
        await trio.lowlevel.checkpoint()
    return found


def _unsupported(found: str) -> SimulationUnsupported:
    return SimulationUnsupported(
        f"found Trio {trio.__version__}, {found}; expected one of the versions that phloem allows "
        "(the scheduler's private names have moved: please report it)"
    )


def _set(module: Any, name: str, value: object) -> None:
    setattr(module, name, value)
