"""One marked test under the simulation: the async function as a plain one, and a failure as text to read.

Decides which of ``explore``, ``sweep``, ``exhaust`` and a replay a test's settings mean, and what
a person reads when one of them finds something. Draws no schedule (``sim`` does) and knows no
hook of pytest's (``pytest_plugin`` does, which calls it once a marked test runs).
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import unittest
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial, wraps
from hashlib import blake2b
from typing import Any, Final, NoReturn, cast, final

import pytest
import trio

from phloem.errors import ConfigurationError, ScheduleFailure, SimulationError

from .faults import plan
from .pytest_marks import RUNS, SimMarkError, SimSettings
from .sim import Report, Result, exhaust, explore, simulate, sweep
from .sim.running import Settings, name_of
from .sim.searching import Search
from .sim.stopping import Stoppable
from .sim.strategies import LENGTH, Strategy, concrete
from .sim.telling import Found, text_of

__all__ = ["SimulatedTest"]

AsyncTest = Callable[..., Awaitable[Any]]

ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
SEEDS: Final = 2**32
MOST_REPORTS: Final = 3  # of a test with many examples: the last ones are what a failure shrank to
# What a test raises to be ended rather than failed; Hypothesis has more, if it is there at all.
_ENDS: Final = (pytest.skip.Exception, pytest.xfail.Exception, pytest.exit.Exception, unittest.SkipTest)
_ENDS_OF_HYPOTHESIS: Final = ("StopTest", "UnsatisfiedAssumption", "Frozen")


@final
class SimulatedTest:
    """One test with its settings. ``reports`` has texts of the last explorations, sweeps or replays.

    ``diverged`` is True after a replay that passed, and did not go as its token says.
    Raises SimMarkError for a strategy or a fault plan that is none.
    """

    def __init__(self, item: pytest.Function, settings: SimSettings) -> None:
        self.reports: deque[str] = deque(maxlen=MOST_REPORTS)
        self.diverged = False
        self._item, self._settings = item, settings
        if settings.strategy is not None:
            try:
                concrete(settings.strategy, 0, LENGTH)
            except ValueError as error:
                raise SimMarkError(str(error)) from None
        faults = settings.faults
        try:
            self._plan = plan(faults) if isinstance(faults, str) else faults  # a text means phloem's points
        except ConfigurationError as error:
            raise SimMarkError(str(error)) from None

    def sync(self, test: AsyncTest) -> Callable[..., None]:
        """A plain function of the same arguments; calls ``test`` anew in each run."""

        @wraps(test)
        def simulated(*args: Any, **kwargs: Any) -> None:
            self._refuse_clocks(kwargs)
            own = self._settings
            self._run(partial(test, *args, **kwargs), own.seed, own.runs or RUNS, own.strategy)

        return simulated

    def sync_example(self, test: AsyncTest) -> Callable[..., None]:
        """As ``sync``, for one example of ``@given``: one run if nobody gave a number.

        The seed follows from the arguments, so other examples meet other schedules, and Hypothesis
        finds the same failure whenever it tries the same example again.
        """

        @wraps(test)
        def simulated(*args: Any, **kwargs: Any) -> None:
            self._refuse_clocks(kwargs)
            own, number = self._settings, _digest(args, kwargs)
            # An exploration of one run would always have the first strategy of the portfolio.
            strategy = own.strategy or (None if own.runs else concrete(Strategy.PORTFOLIO, number, LENGTH))
            self._run(partial(test, *args, **kwargs), (own.seed + number) % SEEDS, own.runs or 1, strategy)

        return simulated

    def command(self, token: str) -> str:
        """What to paste into a shell, in the folder where pytest was started."""
        _, colons, inside = self._item.nodeid.partition("::")
        started = self._item.config.invocation_params.dir
        try:
            file = os.path.relpath(self._item.path, started)
        except ValueError:  # another drive
            file = str(self._item.path)
        return f"pytest {shlex.quote(file + colons + inside)} --sim-replay {shlex.quote(token)}"

    def _run(self, test: Callable[[], Awaitable[Any]], seed: int, runs: int, strategy: str | None) -> None:
        __tracebackhide__ = True
        main = Stoppable(test, _end_in)
        problem: SimulationError | None = None
        try:
            for kind in self._kinds(main, seed, runs, strategy):
                report = kind()
                self.diverged = isinstance(report, Result) and report.diverged
                self.reports.append(str(report))
                if isinstance(report, Report) and not report.passed:
                    problem = SimulationError(f"not all was tried that was to be tried:\n{report}")
                    break
        except SimulationError as error:
            problem = error
        if main.stopped is not None:
            raise main.stopped
        if problem is not None:
            self._fail(problem)

    def _kinds(
        self, main: Stoppable, seed: int, runs: int, strategy: str | None
    ) -> Iterator[Callable[[], Report | Result]]:
        """What is to be done, one after the other."""
        own = self._settings
        common: dict[str, Any] = {"seed": seed, "check": own.check, "command": self.command}
        if own.resources is not None:
            common["resources"] = own.resources
        drawn: dict[str, Any] = {} if strategy is None else {"strategy": strategy}
        swept: dict[str, Any] = {} if own.strategy is None or own.explores else {"strategy": own.strategy}
        faults = self._plan
        if own.replay is not None:
            yield partial(self._replay, main, own.replay)
            return
        if own.explores:
            yield partial(explore, main, runs=runs, faults=faults, **drawn, **common)
        if own.sweep is not None:
            yield partial(
                sweep, main, cancel=own.sweep, timeouts=own.timeouts, faults=faults, **swept, **common
            )
        if own.exhaust is not None:
            yield partial(exhaust, main, preemptions=own.exhaust, **common)

    def _replay(self, main: Stoppable, token: str) -> Result:
        """One run, from a token. Raises ScheduleFailure for what it or its check raised."""
        result = simulate(main, replay=token, faults=self._plan)
        search = Search(
            "replay",
            main,
            Settings(self._plan),
            check=self._settings.check,
            keep_going=False,
            command=None,
            progress=None,
        )
        failure = search.verdict(result)
        if failure is None:
            return result
        search.report.add(result)
        found = Found(
            search.report,
            name_of(main),
            result,
            failure,
            first=result,
            shrunk_in=0,
            replays=not result.diverged,
            fair="",
            plan=self._plan,
            command=self.command,
        )
        raise ScheduleFailure(
            text_of(found),
            seed=result.seed,
            token=result.token,
            schedule=result.schedule,
            failure=failure,
            result=result,
        )

    def _fail(self, problem: SimulationError) -> NoReturn:
        """End the test with the report alone: what it tells of the traceback is the user's own."""
        __tracebackhide__ = True
        if not isinstance(problem, ScheduleFailure):
            pytest.fail(f"{type(problem).__name__}: {problem}", pytrace=False)
        failed = pytest.fail.Exception(str(problem), pytrace=False)
        # Hypothesis tells failures apart by what is behind them, and would else take all for one.
        failed.__context__ = problem.failure
        raise failed

    def _refuse_clocks(self, arguments: dict[str, Any]) -> None:
        __tracebackhide__ = True
        for name, value in arguments.items():
            if isinstance(value, (trio.abc.Clock, trio.abc.Instrument)):
                pytest.fail(
                    f"{self._item.nodeid}: found {type(value).__name__} as {name!r}, expected none: a "
                    "simulation brings its own clock, which is virtual and jumps by itself",
                    pytrace=False,
                )


def _end_in(error: BaseException) -> BaseException | None:
    """The one leaf, if it is a skip or the like."""
    leaves = list(_leaves(error))
    hypothesis = sys.modules.get("hypothesis.errors")
    more = tuple(getattr(hypothesis, name) for name in _ENDS_OF_HYPOTHESIS) if hypothesis else ()
    return leaves[0] if len(leaves) == 1 and isinstance(leaves[0], (*_ENDS, *more)) else None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(each)
    else:
        yield error


def _digest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """A number that follows from the arguments' texts. Their addresses do not count."""
    text = ADDRESS.sub("", repr((args, sorted(kwargs.items(), key=lambda pair: pair[0]))))
    return int.from_bytes(blake2b(text.encode("utf-8", "backslashreplace"), digest_size=4).digest(), "big")
