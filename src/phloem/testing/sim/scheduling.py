"""One run's scheduler: picks who runs, writes down who ran, cuts where it is told, and sees a deadlock.

Decides when a run is over that would never end: nothing can run and no timer is armed, or too many steps.
It then cancels the program, and if that does not end it either, ends the run by force. Sits in the seam,
so it is called once a tick and must be quick. Used by ``running`` and ``holding``.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Final, cast, final

import trio

from phloem.errors import Deadlock, Livelock, SimulationError

from .looking import Looker
from .seam import Pick, innermost_deadline, take_shields
from .sites import Stack, stack_of, waits_for
from .strategies import STREAK, Chooser
from .tokens import Cut

__all__ = ["Ended", "Scheduler", "Watch"]

Task = trio.lowlevel.Task
Watch = Callable[[int, int, bool], object]  # a choice, of how many, and whether another would be a preemption
EMPTY: Final = 8  # ticks without a task, after which no clock has jumped: two are usual before a timer fires
LAST_STEPS: Final = 10_000  # to clean up after a deadlock or a livelock; more is a cleanup that hangs as well


class Ended(BaseException):
    """Raised into Trio's loop to end a run by force."""


@final
class Scheduler(trio.abc.Instrument):
    """``pick()`` is the seam's; it is an instrument as well, for tasks that begin and end."""

    def __init__(
        self,
        chooser: Chooser,
        *,
        batches: bool,
        cuts: Sequence[Cut],
        max_steps: int,
        look_from: float,
        stop_when_idle: bool = True,
        watch: Watch | None = None,
        look_around: bool = False,
    ) -> None:
        self._choose, self._batches = chooser.choose, batches
        self._look_from, self.looker = (
            look_from,
            Looker(look_from, self.short_name, self._numbers if look_around else None),
        )
        self._max, self._stop_when_idle, self._watch = max_steps, stop_when_idle, watch
        self._cuts = deque(sorted((cut for cut in cuts if cut.step > 0), key=lambda cut: cut.step))
        self._next_cut = self._cuts[0].step if self._cuts else math.inf
        self._begins_cut = any(cut.step == 0 for cut in cuts)
        self._close = watch is not None or look_from < math.inf  # choices are looked at
        self._rare = (
            True  # this tick is no usual one: before the program, after an idle one, of a whole batch
        )
        self._next_event = 0.0
        self._ordinals: dict[Task, int] = {}
        self._last: Task | None = None
        self._preempts = False  # the choice of this tick
        self._empty = 0
        self._now = 0.0
        self.scope: trio.CancelScope | None = None  # around the program; set when it begins
        self.leave_world: Callable[[], object] = list  # called before an end by force
        self.live: dict[Task, None] = {}
        self.started = False
        self.over = False  # what runs now is Trio's own ending, and what the program has left to it
        self.steps_after = 0
        self.choices: list[int] = []
        self.order = array("I")  # who ran, by the order in which tasks began
        self.log: list[tuple[int, str, str]] = []  # step, kind, text
        self.cut_stacks: list[Stack] = []
        self.failure: SimulationError | None = None
        self._given_up = 0
        self.names: list[str] = []
        self._stock: frozenset[Task] = frozenset()  # Trio's own tasks
        self._main: Task | None = None

    def begin(self, task: Task, name: str) -> None:
        """The program begins, in ``task``, whose step this is."""
        task.name = self.names[self._ordinals[task]] = name
        self.started = True
        self._main, self._stock = task, frozenset(self.live) - {task}
        self._now = trio.lowlevel.current_clock().current_time()
        if self.steps == 0 and self._begins_cut:
            self.log.append((0, "cut", str(Cut(0))))
            if self.scope is not None:
                self.scope.cancel(reason=str(Cut(0)))
        self.looker.begin()
        self._last = task
        self.order.append(self._ordinals[task])
        self._set_next_event()

    def follow(self, order: Sequence[int]) -> None:
        """Run, as far as it can be, who ran at each step of another run; where not, as a calm run does."""

        def choose(batch: Sequence[Hashable], base: int) -> int:
            wanted = order[self.steps] if self.steps < len(order) else -1
            ordinals = self._ordinals
            return next((i for i, task in enumerate(batch) if ordinals[cast("Task", task)] == wanted), base)

        self._choose = choose

    def finish(self) -> None:
        """The program is over; what runs now is Trio's own ending."""
        self.started, self._rare, self.over = False, True, True

    @property
    def steps(self) -> int:
        """Of any task, from the first of the program."""
        return len(self.order)

    # -- tasks ----------------------------------------------------------------------------------

    def task_spawned(self, task: Task) -> None:
        """Trio calls this."""
        self._ordinals[task] = len(self._ordinals)
        self.names.append(task.name)
        self.live[task] = None
        if self.started:
            self.log.append((self.steps, "spawn", self.name_of(task)))

    def task_exited(self, task: Task) -> None:
        """Trio calls this."""
        self.live.pop(task, None)
        if self.started:
            self.log.append((self.steps, "exit", self.name_of(task)))

    def name_of(self, task: Task) -> str:
        """A task's name and its number in this run: names need not be unique."""
        return f"{task.name}#{self._ordinals.get(task, '?')}"

    def short_name(self, task: Task) -> str:
        """``name_of`` without where the function stands."""
        return f"{task.name.rpartition('.')[2]}#{self._ordinals.get(task, '?')}"

    def note(self, kind: str, text: str) -> None:
        """A line in the trace."""
        self.log.append((self.steps, kind, text))

    # -- ticks ----------------------------------------------------------------------------------

    def pick(self) -> Pick:
        """The hook: it leaves in the batch what runs in this tick, in reverse, and gives the rest back.

        A function with its own variables, since it is called at every step: as a method it made a run a
        fifth slower.
        """
        order, choices, ordinals, choose = self.order, self.choices, self._ordinals, self._choose
        add_step, add_choice = order.append, choices.append
        streak = 1

        def pick(batch: list[Task], runq: deque[Task]) -> None:
            nonlocal streak
            if (self._rare or not batch) and not self._is_usual(batch):
                return
            last = self._last
            if (count := len(batch)) == 1:
                task = batch[0]
            else:
                if last in batch:
                    base = batch.index(last)
                    if streak >= STREAK:
                        base = (base + 1) % count
                else:
                    base = self._next_in_turn(batch)
                index = choose(batch, base)
                add_choice((index - base) % count)
                if self._close:
                    self._look_at_choice(batch, base, index)
                task = batch.pop(index)
                runq.extend(batch)
                batch[:] = (task,)
            if (step := len(order)) >= self._next_event:
                self._before_step(step, task)
            if task is last:
                streak += 1
            else:
                streak = 1
                self._last = task
            add_step(ordinals[task])

        return pick

    def _is_usual(self, batch: list[Task]) -> bool:
        """What is to do in a tick that is no usual one; False if that is all."""
        if not batch:
            self._idle()
            return False
        if self._empty:
            self._empty = 0
            self._look_at_clock()
        if not self.started:
            if self.over:
                self._after_the_program(len(batch))
            return False
        self._rare = self._batches
        if self._batches:
            self._order(batch)
        return not self._batches

    def _next_in_turn(self, batch: list[Task]) -> int:
        """The index of the first task that is younger than the one that ran last, or of the oldest."""
        if self._last is None:
            return 0
        after, ordinals = self._ordinals[self._last], self._ordinals
        return next((index for index, task in enumerate(batch) if ordinals[task] > after), 0)

    def _look_at_choice(self, batch: list[Task], base: int, index: int) -> None:
        # Going on for ever is no choice either: where fairness gives the turn away, taking it back costs one.
        could_go_on = self._last in batch
        self._preempts = could_go_on and batch[index] is not self._last
        if self._watch is not None:
            self._watch((index - base) % len(batch), len(batch), could_go_on)

    def _order(self, batch: list[Task]) -> None:
        """All of a tick, one after the other."""
        rest, ordered = list(batch), list[Task]()
        while len(rest) > 1:
            index = self._choose(rest, 0)
            self.choices.append(index)
            ordered.append(rest.pop(index))
        ordered += rest
        for task in ordered:
            if self.steps >= self._next_event:
                self._before_step(self.steps, task)
            self._last = task
            self.order.append(self._ordinals[task])
        batch[:] = ordered[::-1]

    def _before_step(self, step: int, task: Task) -> None:
        """What happens at few steps, as a cut and the last one; or from one on at each, as a close look."""
        if step >= self._next_cut:
            self._cut(task)
        if step >= self._look_from:
            last = self._last
            how = None if last not in self.live else "was preempted" if self._preempts else "waits"
            self.looker.look(step, task, last, how)
            self._preempts = False
        if step >= self._max:
            self._too_long()
        self._set_next_event()

    def _set_next_event(self) -> None:
        self._next_event = min(self._next_cut, self._look_from, self._max)

    def _look_at_clock(self) -> None:
        now = trio.lowlevel.current_clock().current_time()
        if now != self._now:
            self._now = now
            if self.started:
                self.log.append((self.steps, "clock", f"{now:.9g}"))

    # -- what a sweep does ------------------------------------------------------------------------

    def _cut(self, task: Task) -> None:
        while self._cuts and self.steps >= self._cuts[0].step:
            cut = self._cuts.popleft()
            scope = self.scope
            if cut.kind == "timeout":
                of = task if cut.task is None else self._numbered(cut.task)
                scope = None if of is None else innermost_deadline(of)
            if scope is not None:
                self.log.append((self.steps, "cut", str(cut)))
                self.cut_stacks.append(stack_of(task))
                if cut.kind == "timeout":
                    scope.deadline = min(scope.deadline, trio.current_time())  # some ask whether it has come
                scope.cancel(reason=str(cut))
        self._next_cut = self._cuts[0].step if self._cuts else math.inf

    def _numbers(self) -> dict[Task, int]:
        return {task: self._ordinals[task] for task in self.program_tasks()}

    def _numbered(self, number: int) -> Task | None:
        return next((task for task in self.live if self._ordinals[task] == number), None)

    # -- ends -------------------------------------------------------------------------------------

    def _idle(self) -> None:
        self._empty += 1
        self._rare = True
        if self._empty <= EMPTY or not self._stop_when_idle or not (self.started or self.over):
            return
        if trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf:
            self._empty = 0
            tasks = self.program_tasks() if self.started else [task for task in self.live if stack_of(task)]
            blocked = [self.describe(task) for task in tasks]
            self._give_up(Deadlock(blocked))

    def _after_the_program(self, count: int) -> None:
        self.steps_after += count
        if self.steps_after % LAST_STEPS < count:
            text = f"found a system task, or an async generator, that goes on {self.steps_after} steps after"
            self._give_up(Livelock(f"livelock: {text} the program's end, expected an end to it"))

    def let_go(self) -> None:
        """Keep no task: the run is gone."""
        self.live.clear()
        self._ordinals.clear()
        self._stock, self._main, self._last, self.scope = frozenset(), None, None, None

    def program_tasks(self) -> list[Task]:
        """The live tasks that are the program's; once it is over, those it has left behind."""
        gone = None if self.started else self._main
        return [task for task in self.live if task not in self._stock and task is not gone]

    def describe(self, task: Task) -> str:
        """A paragraph: a task, what it waits for, and its stack, outermost first."""
        lines = [f"  {self.name_of(task)} waits for {waits_for(task)}"]
        lines += [f"    {site.place} in {site.function}" for site in stack_of(task)]
        return "\n".join(lines)

    def _too_long(self) -> None:
        recent = self.order[-1_000:]
        busiest = sorted({(-recent.count(each), each) for each in set(recent)})[:5]
        told = ", ".join(f"{self.names[each]}#{each} ({-count})" for count, each in busiest)
        now = trio.lowlevel.current_clock().current_time()
        text = (
            f"livelock: found no end after {self.steps} steps ({now:g} virtual seconds), expected one within "
            f"{self._max} (max_steps); of the last {len(recent)}: {told}"
        )
        self._give_up(Livelock(text))

    def _give_up(self, failure: SimulationError) -> None:
        """Cancel the program; then without its shields; then end the run by force."""
        self._given_up += 1
        self._max = self.steps + LAST_STEPS
        if self._given_up == 1:
            self.failure = failure
            self.log.append((self.steps, "cut", str(failure).split("\n", 1)[0]))
            if self.scope is not None:
                self.scope.cancel(reason="the simulation gives up")
        elif self._given_up == 2:
            for task in self.live:
                take_shields(task)
        else:
            self.leave_world()  # Trio's own way out must find things real
            raise Ended
