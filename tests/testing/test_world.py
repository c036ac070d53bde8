"""Claims of testing/sim/world.py: time, chance and threads come from the seed; what is real is refused."""

from __future__ import annotations

import contextvars
import os
import random
import secrets
import tempfile
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import sniffio
import trio
from trio.to_thread import run_sync as bound_early

from phloem.errors import NotSimulated, ResourceLeft
from phloem.testing.sim import simulate
from phloem.testing.sim.context import EPOCH

# -- time -------------------------------------------------------------------------------------------


def value_of(main: Callable[[], Awaitable[Any]], **more: Any) -> Any:
    return simulate(main, **more).unwrap()


def test_every_clock_is_the_virtual_one() -> None:
    async def main() -> list[float]:
        await trio.sleep(100)
        return [
            time.monotonic(), time.perf_counter(), time.monotonic_ns() / 1e9, time.perf_counter_ns() / 1e9,
            time.time() - EPOCH, time.time_ns() / 1e9 - EPOCH, trio.current_time(),
        ]  # fmt: skip

    assert value_of(main) == pytest.approx([100.0] * 7)


def test_a_task_that_sleeps_for_real_stops_the_whole_virtual_world() -> None:
    async def main() -> tuple[float, bool]:
        with trio.move_on_after(5) as scope:
            time.sleep(7)  # noqa: ASYNC251 - the very thing that is tested
            await trio.lowlevel.checkpoint()
        return trio.current_time(), scope.cancelled_caught

    started = time.monotonic()
    assert value_of(main) == (7.0, True)
    assert time.monotonic() - started < 2


def test_a_sleep_of_negative_length_is_refused_as_ever() -> None:
    async def main() -> None:
        time.sleep(-1)  # noqa: ASYNC251 - the very thing that is tested

    assert isinstance(simulate(main).failure, ValueError)


# -- chance -----------------------------------------------------------------------------------------


async def draws() -> list[object]:
    generator = random.Random()
    seeded = random.Random(5)
    found: list[object] = [
        random.random(), generator.random(), seeded.random(), os.urandom(5), uuid.uuid4(), uuid.uuid1(),
        secrets.token_hex(8), random.SystemRandom().random(), secrets.choice(range(1000)),
        Path(tempfile.mktemp()).name,
    ]  # fmt: skip
    random.seed()
    found.append(random.random())
    random.seed(3)
    found.append(random.random())
    return found


def test_chance_comes_from_the_seed() -> None:
    assert value_of(draws, seed=1) == value_of(draws, seed=1)
    one, other = value_of(draws, seed=1), value_of(draws, seed=2)
    same = [index for index, (a, b) in enumerate(zip(one, other, strict=True)) if a == b]
    assert same == [2, 11]  # the two that the program has seeded itself


def test_chance_outside_goes_on_as_if_there_had_been_no_run() -> None:
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    found = [random.random()]
    simulate(draws)
    found += [random.random(), random.random()]
    assert found == expected


def test_no_bytes_of_chance_are_no_bytes() -> None:
    async def main() -> tuple[bytes, int]:
        return os.urandom(0), len(os.urandom(1_000))

    assert value_of(main) == (b"", 1000)


# -- threads ------------------------------------------------------------------------------------------


def test_a_job_runs_inline_in_one_step_after_a_seeded_while() -> None:
    async def main() -> tuple[bool, float]:
        here = threading.get_ident()
        there = await trio.to_thread.run_sync(threading.get_ident)
        return here == there, trio.current_time()

    inline, took = value_of(main, seed=4)
    assert inline
    assert 0 < took <= 0.1
    assert value_of(main, seed=4)[1] == took
    assert len({value_of(main, seed=seed)[1] for seed in range(20)}) == 20


@pytest.mark.parametrize("road", ["trio", "early", "anyio"])
def test_each_road_to_a_thread_is_simulated(road: str) -> None:
    roads: dict[str, Any] = {
        "trio": trio.to_thread.run_sync,
        "early": bound_early,
        "anyio": anyio.to_thread.run_sync,
    }

    async def main() -> object:
        return await roads[road](threading.get_ident)

    assert value_of(main) == threading.get_ident()


def test_what_a_job_raises_comes_to_who_awaits_it() -> None:
    class Own(BaseException):
        pass

    def raises(kind: type[BaseException]) -> None:
        raise kind("job")

    async def main() -> list[str]:
        told = []
        for kind in (ValueError, SystemExit, Own, trio.BrokenResourceError):
            try:
                await trio.to_thread.run_sync(raises, kind)
            except BaseException as error:  # noqa: ASYNC103 - nobody cancels here
                told.append(type(error).__name__)
        return told

    assert value_of(main) == ["ValueError", "SystemExit", "Own", "BrokenResourceError"]


def test_a_job_sees_the_context_of_who_awaits_it_and_changes_only_a_copy() -> None:
    variable = contextvars.ContextVar("variable", default="none")

    def job() -> str:
        seen = variable.get()
        variable.set("changed")
        return seen

    async def main() -> tuple[str, str]:
        variable.set("task")
        return await trio.to_thread.run_sync(job), variable.get()

    assert value_of(main) == ("task", "task")


def test_a_job_that_sleeps_takes_as_long_and_stops_nobody() -> None:
    async def main() -> list[float]:
        seen: list[float] = []

        async def ticks() -> None:
            for _ in range(3):
                await trio.sleep(1)
                seen.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ticks)
            await trio.to_thread.run_sync(time.sleep, 10)
            seen.append(round(trio.current_time()))
        return seen

    assert value_of(main) == [1.0, 2.0, 3.0, 10]


def test_limiters_hold_as_ever() -> None:
    async def main() -> int:
        limiter, most = trio.CapacityLimiter(2), [0]

        async def works() -> None:
            await trio.to_thread.run_sync(time.sleep, 1, limiter=limiter)

        async def looks() -> None:
            while True:
                most[0] = max(most[0], int(limiter.borrowed_tokens))
                await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(looks)
            async with trio.open_nursery() as inner:
                for _ in range(6):
                    inner.start_soon(works)
            nursery.cancel_scope.cancel()
        assert limiter.borrowed_tokens == 0
        assert trio.current_time() >= 3
        return most[0]

    assert value_of(main) == 2


def test_a_job_queued_for_a_token_is_cancelled_at_once_and_never_runs() -> None:
    ran: list[int] = []

    async def main() -> float:
        limiter = trio.CapacityLimiter(1)
        async with trio.open_nursery() as nursery:

            async def first() -> None:
                await trio.to_thread.run_sync(time.sleep, 10, limiter=limiter)

            nursery.start_soon(first)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(1):
                await trio.to_thread.run_sync(ran.append, 1, limiter=limiter)
            cancelled = trio.current_time()
        assert limiter.borrowed_tokens == 0
        return cancelled

    for seed in range(10):
        assert value_of(main, seed=seed) == 1.0
    assert ran == []


def test_a_cancel_waits_for_a_job_that_runs_and_its_result_counts() -> None:
    def slowly() -> str:
        time.sleep(5)
        return "result"

    async def main() -> tuple[float, object, bool]:
        found: object = None
        with trio.move_on_after(1) as scope:
            found = await trio.to_thread.run_sync(slowly)
        return round(trio.current_time()), found, scope.cancelled_caught

    assert value_of(main) == (5, "result", False)


def test_an_abandoned_job_is_left_at_once_and_runs_on_with_its_token() -> None:
    ran: list[float] = []

    async def main() -> tuple[float, int, int]:
        limiter = trio.CapacityLimiter(1)

        def job() -> None:
            time.sleep(5)
            ran.append(1)

        with trio.move_on_after(1):
            await trio.to_thread.run_sync(job, abandon_on_cancel=True, limiter=limiter)
        at, borrowed = trio.current_time(), int(limiter.borrowed_tokens)
        await trio.sleep(9)
        return at, borrowed, int(limiter.borrowed_tokens)

    assert value_of(main) == (1.0, 1, 0)
    assert ran == [1]


def test_an_abandoned_job_still_at_work_is_told_where_that_is_asked_for() -> None:
    async def main() -> None:
        with trio.move_on_after(1):
            await trio.to_thread.run_sync(time.sleep, 5, abandon_on_cancel=True)

    assert simulate(main).failure is None
    failure = simulate(main, resources=True).failure
    assert isinstance(failure, ResourceLeft)
    assert any("thread" in each for each in failure.left)


def test_a_job_may_call_back_and_may_see_that_it_is_cancelled() -> None:
    async def main() -> list[object]:
        told: list[object] = []
        event = trio.Event()

        def job() -> None:
            trio.from_thread.run_sync(event.set)
            told.append(trio.from_thread.run_sync(trio.current_time) == 0)
            trio.from_thread.check_cancelled()
            anyio_told = trio.from_thread.run_sync(lambda: "plain")
            told.append(anyio_told)

        await trio.to_thread.run_sync(job)
        told.append(event.is_set())
        with trio.CancelScope() as scope:

            def cancels_itself() -> None:
                trio.from_thread.run_sync(scope.cancel)
                trio.from_thread.check_cancelled()
                told.append("not reached")

            await trio.to_thread.run_sync(cancels_itself)
        told.append(scope.cancelled_caught)
        return told

    assert value_of(main) == [False, "plain", True, True]


def test_a_job_that_wants_a_task_run_is_refused_in_words() -> None:
    async def main() -> None:
        await trio.to_thread.run_sync(trio.from_thread.run, trio.sleep, 1)

    failure = simulate(main).failure
    assert isinstance(failure, NotSimulated)
    assert "from_thread.run_sync" in str(failure)


def test_anyios_roads_back_from_a_thread_are_as_trios() -> None:
    async def main() -> tuple[object, str]:
        found = await anyio.to_thread.run_sync(anyio.from_thread.run_sync, lambda: "sync")
        try:
            await anyio.to_thread.run_sync(anyio.from_thread.run, anyio.sleep, 1)
        except NotSimulated as error:
            return found, type(error).__name__
        return found, "none"

    assert value_of(main) == ("sync", "NotSimulated")


def test_files_and_paths_work_and_take_virtual_time(tmp_path: Path) -> None:
    async def main() -> tuple[str, list[str], bool]:
        here = trio.Path(tmp_path)
        async with await trio.open_file(here / "a", "w") as file:
            await file.write("text")
            await file.flush()
        async with await anyio.open_file(tmp_path / "b", "w") as other:
            await other.write("more")
        names = sorted([each.name for each in await here.iterdir()])
        return await (here / "a").read_text(), names, trio.current_time() > 0

    assert value_of(main) == ("text", ["a", "b"], True)


def test_an_idle_real_worker_of_before_is_not_used() -> None:
    async def real() -> int:
        return await trio.to_thread.run_sync(threading.get_ident)

    assert trio.run(real) != threading.get_ident()  # it stays in Trio's cache for some seconds
    assert value_of(real) == threading.get_ident()


def test_a_job_started_at_the_low_level_is_simulated_too() -> None:
    async def main() -> list[object]:
        told: list[object] = []
        done = trio.Event()

        def deliver(result: Any) -> None:
            told.append(result.unwrap())
            trio.lowlevel.current_trio_token().run_sync_soon(done.set)

        trio.lowlevel.start_thread_soon(threading.get_ident, deliver)
        await done.wait()
        return told

    assert value_of(main) == [threading.get_ident()]


def test_code_in_a_job_is_in_no_async_library() -> None:
    async def main() -> str:
        return await trio.to_thread.run_sync(sniffio.current_async_library)

    failure = simulate(main).failure
    assert isinstance(failure, sniffio.AsyncLibraryNotFoundError)
