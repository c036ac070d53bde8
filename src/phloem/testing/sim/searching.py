"""What every search shares: a run and its verdict, a failure shrunk and replayed, the count of it all.

Decides what is a failure, when two are the same, and that none is told before it has been had again.
``exploring``, ``sweeping`` and ``exhausting`` decide which runs there are.
"""

from __future__ import annotations

import inspect
import math
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, final

import trio

from phloem.errors import Deadlock, NeverReached, ResourceLeft, ScheduleFailure

from .collecting import quiet_collector
from .coverage import never, unreached_sites
from .reordering import joined_orders
from .report import Report
from .result import Result, leaves
from .running import MAX_STEPS, Check, Main, Settings, checked_main, name_of, run
from .scheduling import Watch
from .seam import check_seam
from .shrinking import TRIES, fewer, shrink_schedule
from .sites import is_own, scrubbed
from .telling import Found, preemptions, text_of
from .tokens import Recipe, decode

__all__ = ["Search", "Signature"]

Signature = tuple[str, ...]
Progress = Callable[[Report], object]
SAME_AGAIN: Final = 2  # replays of what is told: it must be there each time
SHRINK_STEPS: Final = 2_000_000  # in all runs that make one failure smaller: some 20 s
SHUFFLES: Final = 100  # tried to see whether stock Trio could have it
SHUFFLED_STEPS: Final = 100_000  # in all of them: about a second
MOST_FAILURES: Final = 20  # different ones kept of a search that goes on after the first
NEAREST: Final = 2  # lines: a helper that asserts for everybody is one of them, who called it the other
COLLECT_EVERY: Final = 20  # runs: garbage of so many is a few megabytes, and a collection takes a millisecond


@final
class Search:
    """One search. Use it within ``open()``."""

    def __init__(
        self,
        kind: str,
        main: Main,
        settings: Settings,
        *,
        check: Check | None,
        keep_going: bool,
        command: Callable[[str], str] | None,
        progress: Progress | None,
        expected: tuple[type[BaseException], ...] = (),
    ) -> None:
        checked_main(main)
        self.report = Report(kind)
        self._main, self._settings, self._check = main, settings, check
        self._keep_going, self._command, self._progress = keep_going, command, progress
        self._known: set[Signature] = set()
        self._collect: Callable[[], object] = list
        self._expected = expected
        self._tried = self._spent = 0  # runs to make failures smaller, and the steps of those for this one
        self._seed = 0  # of the first run
        self.full = False  # as many failures as are kept

    @contextmanager
    def open(self) -> Iterator[None]:
        """From the first run to the last. Raises SimulationUnsupported."""
        check_seam()
        started = time.monotonic()
        try:
            with quiet_collector() as self._collect:
                yield
        finally:
            self.report.seconds = time.monotonic() - started

    # -- runs -----------------------------------------------------------------------------------

    def try_(
        self,
        recipe: Recipe,
        *,
        look_from: float = math.inf,
        look_around: bool = False,
        watch: Watch | None = None,
    ) -> Result:
        """One run, counted; a failure is raised, or kept where the search goes on."""
        settings = replace(self._settings, look_from=look_from, look_around=look_around)
        result = run(self._main, recipe, settings, watch)
        if not self.report.runs:
            self._seed = recipe.seed
        self.report.add(result)
        failure = self.verdict(result)
        if self.report.runs % COLLECT_EVERY == 0:
            self._collect()
        if failure is not None:
            self._found(result, failure)
        if self._progress is not None:
            self._progress(self.report)
        return result

    def verdict(self, result: Result) -> BaseException | None:
        """What is wrong with a run: its failure, or what the check says."""
        failure = result.failure
        if failure is not None and not (result.cut is not None and self._is_expected(result, failure)):
            return failure
        if self._check is None:
            return None
        try:
            told = self._check(result)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: ASYNC103, BLE001 - a verdict, also that of a test tool
            return error  # noqa: ASYNC104 - no Trio runs here
        if inspect.iscoroutine(told):
            told.close()
            raise TypeError(f"check: found an async function ({told.__qualname__}), expected a plain one")
        return None

    def _is_expected(self, result: Result, failure: BaseException) -> bool:
        """What a cut causes by itself: the error of a deadline that was made to fire, Trio's or anyio's."""
        timeouts = any(cut.kind == "timeout" for cut in result.cuts)
        kinds = (*self._expected, trio.TooSlowError, TimeoutError) if timeouts else self._expected
        return bool(kinds) and all(isinstance(each, kinds) for each in leaves(failure))

    def finish(self, *, finished: bool, sometimes: bool = True) -> Report:
        """The report, after the last run. Raises ScheduleFailure for states that were never reached."""
        report = self.report
        report.finished = finished and not self.full
        if sometimes and report.never and report.runs:
            failure = NeverReached(report.never, report.runs)
            text = f"{report.kind} of {name_of(self._main)}: {failure}"
            found = ScheduleFailure(
                text, seed=self._seed, token="", schedule=(), failure=failure, result=report
            )
            if not self._keep_going:
                raise found
            report.failures += (found,)
        return report

    def places(self) -> tuple[str, ...]:
        """Lines of what the runs that were looked at never reached."""
        found = never("waited", unreached_sites(self.report.sites))
        if found and self.report.looked_at < self.report.runs:
            found.insert(0, f"places were looked at in {self.report.looked_at} of {self.report.runs} runs")
        return tuple(found)

    # -- failures ---------------------------------------------------------------------------------

    def _found(self, result: Result, failure: BaseException) -> None:
        signature = signature_of(failure)
        if signature in self._known:
            return
        self._known.add(signature)
        told = self._tell(result, failure, signature)
        if not self._keep_going:
            raise told from failure
        self.report.failures += (told,)
        self.full = len(self.report.failures) >= MOST_FAILURES

    def _again(
        self,
        recipe: Recipe,
        signature: Signature,
        *,
        look_from: float = math.inf,
        follow: Sequence[int] | None = None,
    ) -> tuple[Result, BaseException] | None:
        """The run, if it fails in the same way. None too where there would be no end to the trying."""
        if self._spent > SHRINK_STEPS and look_from:
            return None
        result = run(self._main, recipe, replace(self._settings, look_from=look_from), None, follow)
        failure = self.verdict(result)
        self._tried += 1
        self._spent += result.steps
        if failure is None or signature_of(failure) != signature:
            return None
        return result, failure

    def _tell(self, result: Result, failure: BaseException, signature: Signature) -> ScheduleFailure:
        """Shrink it, have it again, and write it down."""
        exact = replace(decode(result.token), digest="")
        before, self._spent = self._tried, 0
        recipe = self._one_a_tick(exact, result, signature)
        # None: the program does not do twice what it is told to, and nothing can be made of it
        recipe = exact if recipe is None else self._shrunk(recipe, signature)
        shrunk_in = self._tried - before
        had = [self._again(recipe, signature, look_from=0) for _ in range(SAME_AGAIN)]
        good = [each for each in had if each is not None]
        same = len(good) == SAME_AGAIN and len({each[0].digest for each in good}) == 1
        shown, why = good[-1] if good else (result, failure)
        most = self._settings.max_steps
        found = Found(
            self.report,
            name_of(self._main),
            shown,
            why,
            first=result,
            shrunk_in=shrunk_in,
            replays=same,
            fair=self._fair(result, signature),
            plan=self._settings.plan,
            max_steps=None if most == MAX_STEPS else most,
            command=self._command,
        )
        return ScheduleFailure(
            text_of(found),
            seed=result.seed,
            token=shown.token,
            schedule=shown.schedule,
            failure=why,
            result=shown,
        )

    def _one_a_tick(self, exact: Recipe, result: Result, signature: Signature) -> Recipe | None:
        """The failure by a written schedule that runs one task a tick, so that 0 means no preemption.

        If it was found with whole batches and cannot be had so, by a schedule of those.
        """
        written = replace(exact, schedule=result.schedule)
        if exact.batches:
            one = replace(exact, strategy="walk", schedule=())
            found = self._again(one, signature, follow=result.order)
            if found is not None:
                written = replace(one, schedule=found[0].schedule)
        return None if self._again(written, signature) is None else written

    def _shrunk(self, recipe: Recipe, signature: Signature) -> Recipe:
        """Fewer faults, fewer preemptions, and then perhaps fewer faults still."""
        recipe = self._fewer_faults(recipe, signature)

        def attempt(schedule: tuple[int, ...]) -> tuple[int, ...] | None:
            found = self._again(replace(recipe, schedule=schedule), signature)
            return None if found is None else found[0].schedule

        smaller = shrink_schedule(recipe.schedule or (), attempt)
        smaller = self._joined(replace(recipe, schedule=smaller), signature)
        return self._fewer_faults(replace(recipe, schedule=smaller), signature)

    def _joined(self, recipe: Recipe, signature: Signature) -> tuple[int, ...]:
        """Fewer preemptions by other orders of the same steps; for one task a tick."""
        schedule, last = recipe.schedule or (), self._tried + TRIES
        found = None if recipe.batches else self._again(recipe, signature)
        while found is not None:
            best, found = found[0], None
            for order in joined_orders(best.order):
                if self._tried >= last:
                    break
                other = self._again(replace(recipe, schedule=()), signature, follow=order)
                if other is not None and preemptions(other[0].schedule) < preemptions(schedule):
                    schedule, found = other[0].schedule, other
                    break
        return schedule

    def _fewer_faults(self, recipe: Recipe, signature: Signature) -> Recipe:
        if not recipe.faults:
            return recipe

        def fails(faults: Sequence[tuple[str, str, int, str]]) -> bool:
            return self._again(replace(recipe, faults=tuple(faults)), signature) is not None

        return replace(recipe, faults=fewer(recipe.faults, fails))

    def _fair(self, result: Result, signature: Signature) -> str:
        """Whether Trio's own scheduler, which runs in each tick all that can run, could come to it."""
        if result.cuts:
            return ""  # its steps are counted in one schedule
        if decode(result.token).batches:
            return "yes, it was found so"
        recipe = replace(decode(result.token), schedule=None, strategy="shuffle", digest="")
        steps = number = 0
        for number in range(SHUFFLES):
            if (found := self._again(replace(recipe, seed=result.seed + number), signature)) is not None:
                return f"yes, with strategy shuffle and seed {found[0].seed}"
            steps += result.steps
            if steps > SHUFFLED_STEPS:
                break
        return f"not in {number + 1} shuffles; it happens where awaits take real time"


def signature_of(failure: BaseException) -> Signature:
    """What makes two failures one: the kinds of error, the lines that raised them and the callers' lines."""
    return tuple(sorted({_signature(each) for leaf in leaves(failure) for each in _behind(leaf)}))


def _behind(error: BaseException) -> Iterator[BaseException]:
    """What an internal error of Trio's was caused by: a system task that failed, as a rule."""
    behind = error.__cause__ if isinstance(error, trio.TrioInternalError) else None
    return leaves(error if behind is None else behind)


def _signature(error: BaseException) -> str:
    own = deque[str](maxlen=NEAREST)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_own(frame.f_code.co_filename):
            own.append(f"{frame.f_code.co_filename}:{line}")
    place = " > ".join(own)
    if isinstance(error, Deadlock):  # where they stand who wait
        place = "; ".join(sorted({each.rsplit("\n", 1)[-1].strip() for each in error.tasks}))
    if isinstance(error, ResourceLeft):  # the kind of thing, not how many or which
        words = sorted({scrubbed("".join(c for c in each if not c.isdecimal()))[:60] for each in error.left})
        place = "; ".join(words)
    # An error may say itself what makes it the same as another, where one line raises many kinds.
    return f"{type(error).__name__} {place} {getattr(error, 'sameness', '')}".rstrip()
