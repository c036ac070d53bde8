"""One run of a program under a seed: the seam, the world, the scheduler, and what came of it.

Decides the order in which a run is built up and taken down, and what its failure is. ``simulate`` is the
door for users; explorations and sweeps use ``run`` beneath it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import NoneType
from typing import Any, Final, final

import trio
import trio.testing

from phloem.errors import InvalidToken, ResourceLeft, SimulationError

from .burying import bury
from .collecting import quiet_collector
from .context import Run, enter_run
from .injecting import FaultKind, FaultPlan, FiredFault, Injector
from .leftovers import Generators, Made
from .result import Result, Trace, TraceEvent, digest_of, ending, leaves
from .scheduling import Ended, Scheduler, Watch
from .seam import check_seam, scheduled_by
from .sites import scrubbed
from .strategies import LENGTH, Replay, chooser_for, concrete
from .tokens import Recipe, decode
from .world import Threads, world_of

__all__ = [
    "MAX_STEPS",
    "Check",
    "Main",
    "Settings",
    "checked_main",
    "name_of",
    "recipe_of",
    "run",
    "simulate",
]

Main = Callable[[], Awaitable[Any]]
Check = Callable[[Result], object]
MAX_STEPS: Final = 250_000  # seconds where each is looked at; some hundred messages take a few thousand


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is done with besides its recipe."""

    plan: FaultPlan | None = None
    max_steps: int = MAX_STEPS
    look_around: bool = False  # at those who wait within a deadline, too
    look_from: float = math.inf  # the step from which on to look closely: slower, and the same digest

    def __post_init__(self) -> None:
        kind: type[Any] = type(self.plan)  # a text, for one: marks and the command line take that
        if kind not in (FaultPlan, NoneType):
            raise TypeError(
                f"faults: found {kind.__name__}, expected a FaultPlan: FaultPlan.parse(text), or "
                "phloem.testing.faults.plan(text) for an organism"
            )
        if self.max_steps < 1:
            raise ValueError(f"max_steps: found {self.max_steps}, expected 1 or more")


def simulate(
    main: Main,
    *,
    seed: int = 0,
    strategy: str = "walk",
    replay: str | None = None,
    faults: FaultPlan | None = None,
    max_steps: int = MAX_STEPS,
    resources: bool = False,
) -> Result:
    """Run ``main``, an async function without arguments, once; the same seed gives the same run.

    Never raises for what ``main`` did: that is ``failure`` in the result. With ``replay`` the run of a
    token is done again (all but ``faults`` and ``max_steps`` comes from it); ``Result.diverged`` says that
    it was not the same. ``faults`` are fired at the program's fault points; ``resources`` makes a failure
    of what is left behind. A deadlock, or more steps than ``max_steps``, is a failure too.

    Raises TypeError for what is no function, ValueError for a strategy that is none, InvalidToken,
    SimulationUnsupported, and NotSimulated inside of a Trio run; a real Ctrl-C goes on. Not async: it
    runs Trio itself.
    """
    recipe = decode(replay) if replay is not None else recipe_of(seed, strategy, resources=resources)
    settings = Settings(faults, max_steps, look_from=0)
    checked_main(main)
    check_seam()
    with quiet_collector(many=False):
        return run(main, recipe, settings)


def recipe_of(
    seed: int, strategy: str, number: int = 0, length: int = LENGTH, *, resources: bool = False
) -> Recipe:
    """The recipe of a seeded run. Raises ValueError for a strategy that is none."""
    return Recipe(seed, concrete(strategy, number, length), resources=resources)


def run(
    main: Main,
    recipe: Recipe,
    settings: Settings,
    watch: Watch | None = None,
    follow: Sequence[int] | None = None,
) -> Result:
    """One run. The collector should be quiet (``quiet_collector``), or it may run user code at any step.

    ``watch`` sees each choice; ``follow`` has who is to run at each step, as far as it can.
    """
    return _Runner(main, recipe, settings, watch, follow).run()


@final
class _Runner:
    def __init__(
        self,
        main: Main,
        recipe: Recipe,
        settings: Settings,
        watch: Watch | None,
        follow: Sequence[int] | None,
    ) -> None:
        self._main, self._recipe, self._settings = main, recipe, settings
        chooser = (
            chooser_for(recipe.strategy, recipe.seed) if recipe.schedule is None else Replay(recipe.schedule)
        )
        self._scheduler = Scheduler(
            chooser,
            batches=recipe.batches,
            cuts=recipe.cuts,
            max_steps=settings.max_steps,
            look_from=settings.look_from,
            watch=watch,
            look_around=settings.look_around,
        )
        if follow is not None:
            self._scheduler.follow(follow)
        self._clock = trio.testing.MockClock(autojump_threshold=0)
        self._threads = Threads(recipe.seed, self._clock)
        self._made, self._generators = Made(), Generators()
        self._injector = self._make_injector()
        self._context = Run(recipe.seed, self._injector, self._scheduler.note)
        self._value: Any = None
        self._failure: BaseException | None = None
        self._left: list[str] = []
        self._crashed = False

    def _make_injector(self) -> Injector | None:
        recipe, plan = self._recipe, self._settings.plan
        if plan is None:
            if recipe.faults:
                found = "; ".join(f"{kind} at {point} {name!r}" for point, name, _, kind in recipe.faults)
                raise InvalidToken(
                    f"token: found faults ({found}) and no plan, expected the faults= it was made with"
                )
            return None
        only = None
        if recipe.faults is not None:
            only = [
                FiredFault(point, name, visit, FaultKind(kind)) for point, name, visit, kind in recipe.faults
            ]
        return Injector(plan, recipe.seed, only, told=lambda fault: self._scheduler.note("fault", str(fault)))

    def run(self) -> Result:
        scheduler = self._scheduler
        with scheduled_by(scheduler.pick()):
            try:
                trio.run(self._program, clock=self._clock, instruments=[scheduler])
            except trio.TrioInternalError as error:
                self._crashed = True
                if not isinstance(error.__cause__, Ended):
                    self._failure = error
            finally:
                scheduler.leave_world()
        if self._crashed:
            bury(scheduler)
        return self._result()

    async def _program(self) -> None:
        scheduler = self._scheduler
        task = trio.lowlevel.current_task()
        enter_run(self._context)
        self._generators.watch()
        with ExitStack() as world:
            world.enter_context(world_of(self._recipe.seed, self._clock, self._threads))
            if self._recipe.resources:
                world.enter_context(self._made.watching())
            scheduler.leave_world = world.close
            try:
                with trio.CancelScope() as scope:
                    scheduler.scope = scope
                    scheduler.begin(task, name_of(self._main))
                    self._value = await self._main()
            except BaseException as error:  # noqa: ASYNC103 - whatever it is, it is the program's failure
                if self._crashed or any(isinstance(each, KeyboardInterrupt) for each in leaves(error)):
                    raise  # what ends a coroutine that nobody runs any more; the user's own Ctrl-C
                self._failure = error
            scheduler.finish()
            self._left = list(self._leftovers())

    def _leftovers(self) -> Iterator[str]:
        yield from self._generators.left()
        if self._recipe.resources:
            scheduler = self._scheduler
            for task in scheduler.program_tasks():
                if not task.name.startswith("simulated thread"):
                    yield f"the task {scheduler.describe(task).strip()}"
            if (threads := self._context.left_at_work(self._threads.outstanding)) > 0:
                yield f"{threads} thread(s) at work"
            yield from self._made.left(self._context.abandoning)

    def _result(self) -> Result:
        scheduler, recipe, injector = self._scheduler, self._recipe, self._injector
        failure: BaseException | None = scheduler.failure
        if failure is not None and self._failure is not None:
            failure.add_note(f"in its cleanup: {ending(None, self._failure)}")
        elif failure is None:
            failure = self._failure
        if failure is None and self._left:
            failure = ResourceLeft(self._left)
        elif failure is not None and self._left and not isinstance(failure, SimulationError):
            failure.add_note(str(ResourceLeft(self._left)))
        fired = () if injector is None else tuple(injector.fired)
        digest = digest_of(scheduler.order, scheduler.names, scheduler.log, self._value, failure)
        seeded = recipe.schedule is None
        kept = replace(
            recipe,
            schedule=None if seeded else _trimmed(scheduler.choices),
            faults=None
            if injector is None
            else tuple((each.point, each.name, each.visit, str(each.kind)) for each in fired),
            digest=digest,
        )
        return Result(
            seed=recipe.seed,
            strategy=recipe.strategy,
            value=self._value if failure is None else None,
            failure=failure,
            digest=digest,
            trace=self._trace(failure),
            schedule=_trimmed(scheduler.choices),
            recipe=kept,
            virtual_seconds=self._clock.current_time(),
            steps=scheduler.steps,
            cut=recipe.cuts[0] if recipe.cuts else None,
            cuts=recipe.cuts,
            faults=fired,
            sometimes=dict(self._context.reached),
            found=tuple(self._context.found),
            diverged=bool(recipe.digest) and not digest.startswith(recipe.digest),
            stood=scheduler.looker.stood,
            cut_stacks=scheduler.cut_stacks,
            order=scheduler.order,
            choices=len(scheduler.choices),
        )

    def _trace(self, failure: BaseException | None) -> Trace:
        scheduler = self._scheduler
        end = ending(self._value, failure).split("\n", 1)[0]
        return Trace(partial(_events, scheduler.log, scheduler.looker.switches, scheduler.steps, end))


def _events(
    log: Sequence[tuple[int, str, str]], switches: Sequence[tuple[int, str]], steps: int, end: str
) -> list[TraceEvent]:
    """Log and switches in the order of their steps; what happened before a switch stands first."""
    rows = [(step, 0, TraceEvent(step, kind, _line(text))) for step, kind, text in log]
    rows += [(step, 1, TraceEvent(step, "switch", text)) for step, text in switches]
    rows.sort(key=lambda row: row[:2])
    return [*(row[2] for row in rows), TraceEvent(steps, "end", _line(end))]


def checked_main(main: Any) -> None:
    """Raises TypeError for what is no async function, such as one that was called already."""
    if inspect.iscoroutine(main):
        main.close()
        name = main.__qualname__
        raise TypeError(f"main: found a coroutine, {name}(), expected the function itself: {name}")
    if not callable(main):
        raise TypeError(f"main: found {type(main).__name__}, expected an async function without arguments")


def name_of(main: Main) -> str:
    """``module.qualname`` of a program, as Trio names a task."""
    function: Any = main
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"{getattr(function, '__module__', '?')}.{name}"


def _line(text: str) -> str:
    return scrubbed(" ".join(text.split()))


def _trimmed(choices: list[int]) -> tuple[int, ...]:
    end = len(choices)
    while end and not choices[end - 1]:
        end -= 1
    return tuple(choices[:end])
