"""Claims of testing/sim/seam.py: what of Trio is stood upon is checked, used by one thread, and put back."""

from __future__ import annotations

import importlib
import sys
import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import outcome
import pytest
import trio
import trio._core._run as trio_run
import trio._core._thread_cache as trio_thread_cache
import trio._threads as trio_threads

from phloem.errors import NotSimulated, SimulationUnsupported
from phloem.testing.sim import explore, seam, simulate, sweep
from phloem.testing.sim.seam import (
    NEEDED,
    check_seam,
    innermost_deadline,
    jobs_started_by,
    scheduled_by,
    take_shields,
)


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


def private_state() -> tuple[object, ...]:
    return tuple(getattr(module, name) for module, names in NEEDED for name in names if name != "RunSync")


# -- the self-check -----------------------------------------------------------------------------


def test_this_trio_is_supported_and_the_check_leaves_nothing_behind() -> None:
    before = private_state()
    check_seam()
    check_seam()
    assert private_state() == before


def test_a_trio_whose_batches_nobody_had_sorted_has_them_unsorted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", False)  # test tools set it, too
    check_seam()
    assert vars(trio_run)["_ALLOW_DETERMINISTIC_SCHEDULING"] is False


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NEEDED for name in names])
def test_a_trio_where_a_name_has_moved_is_refused_by_that_name(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    monkeypatch.delattr(module, name)
    with pytest.raises(SimulationUnsupported) as caught:
        check_seam()
    assert f"{module.__name__}.{name}" in str(caught.value)
    assert trio.__version__ in str(caught.value)


def test_a_trio_that_does_not_obey_the_shuffle_is_refused_and_told_in_which_order_it_ran(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Deaf(seam._Hook):  # type: ignore[misc]
        def shuffle(self, x: Any) -> None:
            """Leaves a batch as it is."""

    monkeypatch.setattr(seam, "_Hook", Deaf)
    before = trio_run._r
    with pytest.raises(SimulationUnsupported, match=r"six tasks in the order .* where .* was chosen"):
        check_seam()
    assert trio_run._r is before


def test_a_trio_that_asks_another_generator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = seam._set

    def elsewhere(module: Any, name: str, value: object) -> None:
        if name != "_r":
            stock(module, name, value)

    monkeypatch.setattr(seam, "_set", elsewhere)
    with pytest.raises(SimulationUnsupported, match="six tasks"):
        check_seam()


def test_a_trio_that_starts_its_threads_by_another_road_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = seam._set

    def elsewhere(module: Any, name: str, value: object) -> None:
        if module is trio_run:
            stock(module, name, value)

    monkeypatch.setattr(seam, "_set", elsewhere)
    with pytest.raises(SimulationUnsupported, match="thread of its own"):
        check_seam()


def test_a_run_queue_that_has_moved_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = SimpleNamespace(_ALLOW_DETERMINISTIC_SCHEDULING=False, _r=None, GLOBAL_RUN_CONTEXT=object())
    monkeypatch.setattr(seam, "_run", moved)
    with pytest.raises(SimulationUnsupported, match="a run's queue"):
        check_seam()


def test_scopes_that_have_moved_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(task: object) -> None:
        raise AttributeError("_cancel_status")

    monkeypatch.setattr(seam, "innermost_deadline", gone)
    with pytest.raises(SimulationUnsupported, match="a task's cancel scopes"):
        check_seam()


async def test_within_a_trio_run_the_check_and_every_search_are_refused() -> None:
    for search in (check_seam, lambda: simulate(nothing), lambda: explore(nothing), lambda: sweep(nothing)):
        with pytest.raises(NotSimulated, match="within a Trio run"):
            search()


@pytest.mark.parametrize("search", [simulate, explore, sweep], ids=["simulate", "explore", "sweep"])
def test_whoever_simulates_is_refused_on_such_a_trio(
    monkeypatch: pytest.MonkeyPatch, search: Callable[..., object]
) -> None:
    monkeypatch.delattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING")
    with pytest.raises(SimulationUnsupported, match="_ALLOW_DETERMINISTIC_SCHEDULING"):
        search(nothing)


def test_a_trio_without_one_of_the_modules_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio._threads", None)
    monkeypatch.delattr(trio, "_threads")
    try:
        with pytest.raises(SimulationUnsupported, match=r"trio\._threads"):
            importlib.reload(seam)
    finally:
        monkeypatch.undo()
        importlib.reload(seam)


# -- one at a time, and only in its own thread ------------------------------------------------------


def test_a_schedule_within_a_schedule_is_refused_and_the_outer_one_stays() -> None:
    def pick(batch: list[trio.lowlevel.Task], runq: deque[trio.lowlevel.Task]) -> None:
        """As it comes."""

    with scheduled_by(pick):
        outer = trio_run._r
        with pytest.raises(NotSimulated, match="one at a time"), scheduled_by(pick):
            pass
        assert trio_run._r is outer


def test_another_threads_trio_run_is_not_scheduled_by_us() -> None:
    seen: list[int] = []
    ours = threading.get_ident()
    ran: list[int] = []

    def pick(batch: list[trio.lowlevel.Task], runq: deque[trio.lowlevel.Task]) -> None:
        seen.append(threading.get_ident())

    async def step(number: int) -> None:
        await trio.lowlevel.checkpoint()
        ran.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(step, number)

    with scheduled_by(pick):
        other = threading.Thread(target=trio.run, args=(main,))
        other.start()
        other.join(10)
        trio.run(nothing)
    assert sorted(ran) == list(range(50))
    assert set(seen) == {ours}


def test_the_jobs_of_another_thread_stay_in_real_threads() -> None:
    where: list[int] = []

    def start(job: Callable[[], Any], deliver: Callable[[outcome.Outcome[Any]], object]) -> None:
        raise AssertionError("another thread's job came here")

    async def main() -> None:
        where.append(threading.get_ident())
        where.append(await trio.to_thread.run_sync(threading.get_ident))
        where.append(await trio.to_thread.run_sync(trio.from_thread.run_sync, threading.get_ident))

    with jobs_started_by(start):
        other = threading.Thread(target=trio.run, args=(main,))
        other.start()
        other.join(10)
    assert where[0] == where[2] != where[1]


def test_what_another_thread_asks_of_its_own_run_goes_there_also_while_a_job_is_at_work() -> None:
    where: list[int] = []

    async def main() -> None:
        where.append(threading.get_ident())
        where.append(await trio.to_thread.run_sync(trio.from_thread.run_sync, threading.get_ident))

    def start(job: Callable[[], Any], deliver: Callable[[outcome.Outcome[Any]], object]) -> None:
        deliver(outcome.capture(job))

    def job() -> None:
        other = threading.Thread(target=trio.run, args=(main,))
        other.start()
        other.join(10)

    with jobs_started_by(start):
        trio.lowlevel.start_thread_soon(job, outcome.Outcome.unwrap)
    assert where[0] == where[1]


def test_a_job_is_taken_by_whichever_name_it_is_started() -> None:
    early = trio.lowlevel.start_thread_soon
    told: list[int] = []

    def start(job: Callable[[], Any], deliver: Callable[[outcome.Outcome[Any]], object]) -> None:
        deliver(outcome.capture(job))

    def deliver(result: outcome.Outcome[int]) -> None:
        told.append(result.unwrap())

    with jobs_started_by(start):
        early(threading.get_ident, deliver)
        trio.lowlevel.start_thread_soon(threading.get_ident, deliver)
        trio_thread_cache.start_thread_soon(threading.get_ident, deliver)
        vars(trio_threads)["start_thread_soon"](threading.get_ident, deliver)
    assert told == [threading.get_ident()] * 4


async def test_from_thread_outside_of_a_job_is_refused_as_trio_does() -> None:
    def start(job: Callable[[], Any], deliver: Callable[[outcome.Outcome[Any]], object]) -> None:
        raise AssertionError

    with jobs_started_by(start):
        with pytest.raises(RuntimeError, match="wasn't created by Trio"):
            trio.from_thread.run_sync(len, "")
        with pytest.raises(RuntimeError, match="call it from a thread"):
            trio.from_thread.run_sync(len, "", trio_token=trio.lowlevel.current_trio_token())


# -- scopes -----------------------------------------------------------------------------------------


async def test_the_innermost_deadline_is_that_of_the_nearest_scope_not_cancelled_yet() -> None:
    task = trio.lowlevel.current_task()
    assert innermost_deadline(task) is None
    with trio.move_on_after(50) as outer, trio.CancelScope():  # noqa: ASYNC100 - to be found
        assert innermost_deadline(task) is outer
        with trio.move_on_after(60) as inner:  # noqa: ASYNC100
            assert innermost_deadline(task) is inner
            inner.cancel()
            assert innermost_deadline(task) is outer


async def test_a_child_stands_within_the_deadline_of_its_nursery() -> None:
    found: list[object] = []

    async def child() -> None:
        found.append(innermost_deadline(trio.lowlevel.current_task()))

    with trio.move_on_after(50) as outer:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(9):  # noqa: ASYNC100 - the child is not in it
                nursery.start_soon(child)
    assert found == [outer]


async def test_shields_taken_let_an_outer_cancel_through() -> None:
    task = trio.lowlevel.current_task()
    with trio.CancelScope() as outer:
        outer.cancel()
        with trio.CancelScope(shield=True), trio.CancelScope(), trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
            take_shields(task)
            await trio.lowlevel.checkpoint()
            raise AssertionError("a shield was left")
    assert outer.cancelled_caught
