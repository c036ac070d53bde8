"""One simulated run that is held alive between plain calls: for state machines, and to look around in.

Decides when the run goes on and when its clock moves: only within a call, and then until what was
asked for is done. Between two calls nothing of it runs, and the world outside is the real one. The run
is Trio's guest; its host is this thread, with a queue of ticks. Who runs next is decided as in any
other simulated run. Called from plain functions, never from within Trio.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar, final

import outcome
import trio
import trio.testing

from phloem.errors import Deadlock, NotSimulated, ResourceLeft, SimulationError

from .burying import bury
from .collecting import quiet_collector
from .context import Run, enter_run
from .injecting import FaultPlan, Injector
from .jobs import Held, Job
from .leftovers import Generators, Made
from .result import digest_of
from .running import MAX_STEPS, recipe_of
from .scheduling import Ended, Scheduler
from .seam import check_seam, scheduled_by
from .strategies import chooser_for, stream
from .world import Threads, world_of

__all__ = ["HeldRun"]

T = TypeVar("T")
Task = trio.lowlevel.Task
ENDS: Final = "the held run ends"


@final
class HeldRun:
    """A Trio run between ``with HeldRun(seed=7) as run:`` and the end of the block.

    The same seed and the same calls give the same run. The clock stands still but in ``advance``, and
    where a call waits for nothing else than time. What an async function raises is raised by the call
    that runs it; what one of ``start`` raises, by the next call.

    At the end of the block the contexts entered are left, in reverse; what still runs is cancelled;
    and ResourceLeft says what remains: a task that does not end, an abandoned generator, and with
    ``resources`` whatever ``sweep`` looks for. A block left by an error is cancelled at once, and what
    remains becomes a note of the error.

    One at a time in a thread, which can begin no other Trio run meanwhile. Raises ValueError for a
    strategy that is none, NotSimulated within a Trio run, SimulationUnsupported.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        strategy: str = "walk",
        faults: FaultPlan | None = None,
        resources: bool = True,
        max_steps: int = MAX_STEPS,
    ) -> None:
        recipe = recipe_of(seed, strategy)
        self._seed, self._resources = seed, resources
        self._scheduler = Scheduler(
            chooser_for(recipe.strategy, seed),
            batches=recipe.batches,
            cuts=(),
            max_steps=max_steps,
            look_from=math.inf,  # nowhere: no trace is told
            stop_when_idle=False,  # an idle run waits for its next call
        )
        self._usual_pick = self._scheduler.pick()
        injector = None if faults is None else Injector(faults, seed, told=self._told_fault)
        self._context = Run(seed, injector, self._scheduler.note)
        self._clock = trio.testing.MockClock()  # it never jumps by itself
        self._threads = Threads(seed, self._clock)
        self._made, self._generators, self._watching = Made(), Generators(), ExitStack()
        self._ticks: deque[Callable[[], object]] = deque()
        self._ask: trio.MemorySendChannel[Job]
        self._asked: trio.MemoryReceiveChannel[Job]
        self._scope = trio.CancelScope()
        self._held: list[Held] = []
        self._failed: deque[BaseException] = deque()
        self._left: list[str] = []
        self._drives = 0
        self._idle = self._by_force = False
        self._watcher: Task | None = None
        self._end: outcome.Outcome[Any] | None = None

    # -- what a test calls ------------------------------------------------------------------------

    def do(self, function: Callable[..., Awaitable[T]], *args: Any, name: str | None = None) -> T:
        """Run ``await function(*args)`` until it returns, and give back what it did.

        Others run meanwhile; where all wait, the clock jumps to the next timer. Raises what the
        function raises, and Deadlock (and leaves it waiting) where there is no timer.
        """
        job = self._begin(function, args, name)
        try:
            self._until(lambda: job.result is not None)
        except Deadlock:
            job.failed = self._failed  # it may still come to an end, and nobody waits for it any more
            raise
        assert job.result is not None  # or _until has raised
        result: T = job.result.unwrap()
        return result

    def start(self, function: Callable[..., Awaitable[Any]], *args: Any, name: str | None = None) -> None:
        """Let ``await function(*args)`` run from the next call on, beside whatever that does."""
        self._begin(function, args, name).failed = self._failed

    def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """What ``async with context as …`` gives; a task of its own holds it until it is left. As ``do``."""
        held = Held(context)
        job = held.job = self._begin(held.hold, (), f"holder of {type(context).__name__}")
        self._until(lambda: held.entered or job.result is not None)
        if job.result is not None:
            job.result.unwrap()
        self._held.append(held)
        value: T = held.value
        return value

    def leave(self, value: object) -> None:
        """Leave the context that gave ``value``. As ``do``. Raises LookupError if none is held that did."""
        held = next((each for each in reversed(self._held) if each.value is value), None)
        if held is None:
            raise LookupError("leave: found no context held that gave this value, expected one from enter")
        self._held.remove(held)
        held.left.set()
        job = held.job
        self._until(lambda: job.result is not None)
        assert job.result is not None  # or _until has raised
        job.result.unwrap()

    def settle(self) -> None:
        """Run until every task waits. The clock stands still."""
        self._check()
        self._drive(lambda: False)
        self._raise_failed()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass, and everything happen at its time."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"advance: found {seconds} seconds, expected a finite number from 0")
        end = self.time + seconds
        self.settle()
        while (left := self._to_next_timer()) <= end - self.time:
            self._clock.jump(left)
            self.settle()
        self._clock.jump(max(end - self.time, 0.0))
        self.settle()

    @property
    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self._clock.current_time()

    @property
    def steps(self) -> int:
        """Task steps so far."""
        return self._scheduler.steps

    @property
    def digest(self) -> str:
        """Of all that has happened so far; equal for equal runs, in every process."""
        scheduler = self._scheduler
        return digest_of(scheduler.order, scheduler.names, scheduler.log, None, None)

    # -- beginning and end ------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if trio.lowlevel.in_trio_run():
            raise NotSimulated(
                "found HeldRun within a Trio run, or beside one that an event loop of this thread carries "
                "(an embedded organism, for one); expected a plain function around it"
            )
        check_seam()
        self._ask, self._asked = trio.open_memory_channel[Job](math.inf)  # as many as there are calls
        trio.lowlevel.start_guest_run(
            self._program,
            run_sync_soon_threadsafe=self._ticks.append,
            done_callback=self._ended,
            clock=self._clock,
            instruments=[self._scheduler],
        )
        if self._resources:
            self._watching.enter_context(self._made.watching())
        self._drive(lambda: False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            while error is None and self._held and not self._over:
                self.leave(self._held[-1].value)
        finally:
            with self._watching:
                self._finish()
        if error is None:
            self._raise_failed()
            if self._left:
                raise ResourceLeft(self._left)
        elif self._left:
            error.add_note(str(ResourceLeft(self._left)))

    def _finish(self) -> None:
        """Cancel what is left and run to the end; by force if it does not come."""
        self._scope.cancel(reason=ENDS)
        while not self._drive(lambda: False):
            if not self._jump():
                self._left += [f"a task that does not end: {each.strip()}" for each in self._waiting()]
                self._by_force = True

    @property
    def _over(self) -> bool:
        return self._end is not None

    def _ended(self, end: outcome.Outcome[Any]) -> None:
        """Trio calls this, once."""
        self._end = end
        error = getattr(end, "error", None)
        if isinstance(error, trio.TrioInternalError) and isinstance(error.__cause__, Ended):
            failed = list(self._failed)
            bury(self._scheduler)
            self._failed = deque(failed)  # what was raised just now says nothing of the program
        elif error is not None:
            self._failed.append(error)
        if self._scheduler.failure is not None:
            self._failed.append(self._scheduler.failure)

    # -- in the run -------------------------------------------------------------------------------

    async def _program(self) -> None:
        enter_run(self._context)
        self._generators.watch()
        scheduler = self._scheduler
        scheduler.scope = self._scope
        scheduler.begin(trio.lowlevel.current_task(), "held run")
        try:
            async with trio.open_nursery() as outside:
                outside.start_soon(self._watch, name="watcher of a held run")
                with self._scope:
                    async with trio.open_nursery() as jobs, self._asked:
                        async for first in self._asked:
                            for job in (first, *self._others_asked()):  # at once, so that any may be first
                                jobs.start_soon(job.run, name=job.name)
                scheduler.finish()
                self._left += self._leftovers()
                outside.cancel_scope.cancel(reason=ENDS)
        finally:
            scheduler.leave_world()  # Trio's own way out must find things real

    def _others_asked(self) -> Iterator[Job]:
        while self._asked.statistics().current_buffer_used:
            yield self._asked.receive_nowait()

    async def _watch(self) -> None:
        """Note each time that all others wait. As it waits for that itself, no tick waits for the world."""
        self._watcher = trio.lowlevel.current_task()
        while True:
            await trio.testing.wait_all_tasks_blocked()
            self._idle = True

    def _leftovers(self) -> list[str]:
        left = list(self._generators.left())
        if self._resources:
            if (threads := self._context.left_at_work(self._threads.outstanding)) > 0:
                left.append(f"{threads} thread(s) at work")
            left += self._made.left(self._context.abandoning)
        return left

    def _told_fault(self, fault: object) -> None:
        self._scheduler.note("fault", str(fault))

    # -- from tick to tick --------------------------------------------------------------------------

    def _begin(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], name: str | None) -> Job:
        self._check()
        job = Job(function, args, name or str(getattr(function, "__qualname__", type(function).__name__)))
        self._ask.send_nowait(job)
        return job

    def _until(self, done: Callable[[], bool]) -> None:
        """Run until ``done``; where all wait, jump to the next timer. Raises Deadlock if there is none."""
        self._drive(done)
        while not done():
            self._raise_failed()
            if not self._jump():
                raise Deadlock(self._waiting())
            self._drive(done)
        self._raise_failed()

    def _drive(self, done: Callable[[], bool]) -> bool:
        """Tick until ``done``, or every task waits, or the run is over; True if it is."""
        self._drives += 1
        seed = stream(self._seed, f"drive {self._drives}").getrandbits(
            64
        )  # or all drives had the same chance
        self._idle, rested = False, self._scheduler.steps
        with quiet_collector(), scheduled_by(self._pick), ExitStack() as world:
            if not self._by_force:
                world.enter_context(world_of(seed, self._clock, self._threads))
            self._scheduler.leave_world = world.close
            while not self._over and not done():
                if not self._ticks:
                    raise SimulationError("found a held run that waits for the world outside; expected none")
                self._ticks.popleft()()
                if self._idle and not self._over:
                    alone = self._scheduler.steps == rested + 1
                    if alone and not trio.lowlevel.current_statistics().tasks_runnable:
                        break
                    # Others were woken with the watcher: they, too, waited for all to wait.
                    self._idle, rested = False, self._scheduler.steps
        return self._over

    def _pick(self, batch: list[Task], runq: deque[Task]) -> None:
        if self._by_force:
            raise Ended
        self._usual_pick(batch, runq)

    def _jump(self) -> bool:
        left = self._to_next_timer()
        if left == math.inf:
            return False
        self._clock.jump(left)
        return True

    def _to_next_timer(self) -> float:
        if self._over:
            return math.inf
        return max(trio.lowlevel.current_statistics().seconds_to_next_deadline, 0.0)

    def _waiting(self) -> list[str]:
        scheduler = self._scheduler
        main = trio.lowlevel.current_root_task()
        own = {self._watcher, *(task for task in scheduler.live if task.parent_nursery is None), main}
        return [
            scheduler.describe(task)
            for task in scheduler.program_tasks()
            if task not in own and task.name != "held run"
        ]

    def _check(self) -> None:
        if self._over:
            self._raise_failed()
            raise NotSimulated("found a held run that has ended, expected a call within its block")

    def _raise_failed(self) -> None:
        if self._failed:
            raise self._failed.popleft()
