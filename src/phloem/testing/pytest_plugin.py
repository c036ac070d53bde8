"""The pytest plugin: ``@pytest.mark.sim`` and its options, ``open_simulated_organism``, peace among plugins.

Decides which tests are simulated, and that nobody else runs those. Until one is, it loads neither
Trio nor the simulation and changes nothing, but for one repair: a test of anyio's that pytest-trio's
``trio_mode`` took for its own goes back to anyio, and so runs on the backend of its parameter.
pytest calls it, by its entry point; nobody imports it.
"""

from __future__ import annotations

import inspect
import unittest
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from .pytest_marks import MARK, RUNS_VARIABLE, SimMarkError, marked, settings_of, whole_number

if TYPE_CHECKING:
    from phloem.organism import Organism

    from .pytest_items import SimulatedTest

SIMULATED: Final = pytest.StashKey[Any]()  # a SimulatedTest
TEST: Final = pytest.StashKey[Any]()  # the test itself, before other plugins have wrapped it
DIVERGED: Final = "phloem_sim_diverged"  # a property of a report, so that it comes from other processes
EXAMPLE: Final = pytest.StashKey[Any]()  # likewise what Hypothesis calls for each example


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line's say."""
    group = parser.getgroup("phloem", "simulation (phloem)")
    group.addoption(
        "--sim-runs",
        dest="phloem_sim_runs",
        type=whole_number(1),
        metavar="N",
        help=f"schedules for each exploration, over what its mark says and {RUNS_VARIABLE}",
    )
    group.addoption(
        "--sim-seed",
        dest="phloem_sim_seed",
        type=whole_number(0),
        metavar="N",
        help="the first seed of each simulated test",
    )
    group.addoption(
        "--sim-replay",
        dest="phloem_sim_replay",
        metavar="TOKEN",
        help="run the selected simulated tests once, exactly as the failure did that printed this token",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The mark's words, for ``--markers`` and ``--strict-markers``."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(runs=100, strategy=…, sweep=None | 'every-step' | 'every-site', timeouts=False, "
        "exhaust=None | preemptions, seed=0, faults=…, check=…, resources=…): run the async test under "
        "the simulation of phloem.testing, once for each schedule; a sweep or an exhaust alone unless runs "
        "is given too",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give back what ``trio_mode`` has taken. Last, so that it has taken by now."""
    simulated = False
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if marked(item):
            simulated = True
            _drop_automatic_trio(item)
            handle = getattr(item.obj, "hypothesis", None)
            if handle is not None:
                item.stash[EXAMPLE] = handle.inner_test
        elif item.get_closest_marker("anyio") is not None or "anyio_backend" in item.fixturenames:
            _drop_automatic_trio(item)
    if config.getoption("phloem_sim_replay") is not None and not simulated:
        raise pytest.UsageError(
            "--sim-replay: found no simulated test among those selected, expected its own"
        )


@pytest.hookimpl(tryfirst=True)  # before fixtures; no wrapper, since those of others must have begun
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse what cannot be simulated, with one text that says why."""
    __tracebackhide__ = True
    if not marked(item) or not _is_simulated(item):
        return
    assert isinstance(item, pytest.Function)
    _refuse_async_fixtures(item)
    from .pytest_items import SimulatedTest  # loads Trio

    try:
        item.stash[SIMULATED] = SimulatedTest(item, settings_of(item))
        return
    except SimMarkError as error:
        why = str(error)
    _refuse(item, why)  # out here, or pytest would say it twice: once for the error it comes from


@pytest.hookimpl(specname="pytest_runtest_setup", wrapper=True)
def pytest_note_the_test(item: pytest.Item) -> Generator[None, Any, Any]:
    """Keep the test as it is once its instance is there, and before others have wrapped it."""
    result = yield
    if SIMULATED in item.stash and isinstance(item, pytest.Function):
        item.stash[TEST] = item.obj
    return result


@pytest.hookimpl(wrapper=True)  # before every plugin that would run an async test itself, in any order
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Have pytest call a plain function in place of the async one."""
    __tracebackhide__ = True
    test: SimulatedTest | None = pyfuncitem.stash.get(SIMULATED, None)
    if test is None:
        return (yield)
    _skip_other_backends(pyfuncitem)
    try:
        with _in_its_place(pyfuncitem, test):
            return (yield)
    except pytest.fail.Exception as failed:
        if failed.pytrace:
            raise
        _fail_again(failed)
    finally:
        for report in test.reports:
            pyfuncitem.add_report_section("call", "simulation", report)
        if test.diverged:
            pyfuncitem.user_properties.append((DIVERGED, True))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A replay of another program proves nothing, so whoever sees it pass is told."""
    for report in terminalreporter.getreports("passed"):
        if report.when == "call" and (DIVERGED, True) in map(tuple, report.user_properties):
            terminalreporter.write_line(
                f"{report.nodeid}: passed, and did not go as its token says: the code or the mark is not "
                "what it was, or the token is another test's"
            )


@pytest.fixture
def open_simulated_organism() -> Callable[..., AbstractAsyncContextManager[Organism]]:
    """``async with open_simulated_organism(config, handlers={…}) as organism:``, within a simulated test.

    The production organism with the run's clock, ids, chance and faults, and with scripted
    handlers: ``phloem.testing.organisms.open_simulated_organism``.
    """
    from .organisms import open_simulated_organism as opened  # loads Trio and the organism

    return opened


@contextmanager
def _in_its_place(item: pytest.Function, simulated: SimulatedTest) -> Iterator[None]:
    """The plain function where pytest or Hypothesis looks for the test; afterwards the test itself again."""
    test = item.stash[TEST]
    handle = getattr(test, "hypothesis", None)
    wrapped = item.obj
    if handle is None:
        item.obj = simulated.sync(test)
    else:
        item.obj = test
        handle.inner_test = simulated.sync_example(_example_of(item))
    try:
        yield
    finally:
        item.obj = wrapped
        if handle is not None:
            handle.inner_test = _example_of(item)


def _example_of(item: pytest.Function) -> Any:
    return item.stash.get(EXAMPLE, item.obj.hypothesis.inner_test)


def _drop_automatic_trio(item: pytest.Function) -> None:
    """Take pytest-trio's mark away if nobody wrote it: ``trio_mode`` puts it on every async test."""
    callspec: Any = getattr(item, "callspec", None)
    written: list[pytest.Mark] = [
        *getattr(item.obj, "pytestmark", []),
        *(callspec.marks if callspec is not None else []),
    ]
    item.own_markers[:] = [
        mark
        for mark in item.own_markers
        if mark.name != "trio" or "run" not in mark.kwargs or any(mark is other for other in written)
    ]


def _is_simulated(item: pytest.Item) -> bool:
    """False for a plain test in a marked class or module; one that is marked itself is refused."""
    found = _why_not_async(item)
    if found is not None and any(mark.name == MARK for mark in item.own_markers):
        _refuse(item, f"found {found}, expected an async test function: async def {item.name.split('[')[0]}")
    return found is None


def _why_not_async(item: pytest.Item) -> str | None:
    if not isinstance(item, pytest.Function):
        return f"a {type(item).__name__}"
    if item.cls is not None and issubclass(item.cls, unittest.TestCase):
        return "a method of a unittest.TestCase, which runs itself"
    handle = getattr(item.obj, "hypothesis", None)
    test = item.obj if handle is None else _example_of(item)
    if inspect.isasyncgenfunction(test):
        return "an async generator"
    return None if inspect.iscoroutinefunction(test) else "a plain function"


def _refuse_async_fixtures(item: pytest.Function) -> None:
    """Each run is a Trio run of its own, in which a fixture set up once has no place."""
    for name, definitions in item._fixtureinfo.name2fixturedefs.items():
        function: Any = definitions[-1].func
        if (
            inspect.iscoroutinefunction(function)
            or inspect.isasyncgenfunction(function)
            or getattr(function, "_force_trio_fixture", False)  # pytest-trio's mark on plain ones
        ):
            _refuse(
                item,
                f"found the async fixture {name!r}, expected plain ones: each schedule is a Trio run of its "
                f"own. Open {name!r} inside of the test (async with), or make the fixture a plain function",
            )


def _skip_other_backends(item: pytest.Function) -> None:
    """anyio's parameter says on what a test is to run, and a simulation is Trio."""
    __tracebackhide__ = True
    backend: Any = item.funcargs.get("anyio_backend", "trio")
    name = backend if isinstance(backend, str) else backend[0]
    if name != "trio":
        pytest.skip(
            f"a simulation runs on Trio, not on {name}: the case of anyio_backend 'trio' is simulated"
        )


def _fail_again(failed: BaseException) -> NoReturn:
    """With what Hypothesis noted on it, which pytest leaves out where there is no traceback."""
    notes: list[str] = getattr(failed, "__notes__", [])
    raise pytest.fail.Exception("\n".join((str(failed), *notes)), pytrace=False) from None


def _refuse(item: pytest.Item, why: str) -> NoReturn:
    __tracebackhide__ = True
    pytest.fail(f"{item.nodeid} cannot be simulated: {why}", pytrace=False)
