"""Claims of testing/sim/running.py: where a run may be, what else runs, and what generators it leaves."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from phloem.errors import NotSimulated, ResourceLeft
from phloem.testing.sim import Result, explore, simulate
from support.untouched import nothing_changed, run_of, value


@pytest.fixture(autouse=True)
def _everything_is_put_back() -> Iterator[None]:
    with nothing_changed():
        yield


# -- where a run may be, and what else runs ------------------------------------------------------------


def test_a_run_within_a_run_is_refused_and_the_outer_one_goes_on() -> None:
    async def main() -> str:
        with pytest.raises(NotSimulated, match="within a Trio run"):
            simulate(value)
        with pytest.raises(NotSimulated, match="within a Trio run"):
            explore(value)
        await trio.sleep(1)
        return "on"

    result = run_of(main)
    assert result.unwrap() == "on"
    assert result.digest == run_of(main).digest


async def test_a_run_within_trio_is_refused() -> None:
    with pytest.raises(NotSimulated, match="within a Trio run"):
        simulate(value)
    await trio.lowlevel.checkpoint()


def test_a_run_in_a_thread_of_its_own_works() -> None:
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(simulate(value)))
    thread.start()
    thread.join(10)
    assert results[0].value == 3
    assert results[0].digest == simulate(value).digest


def test_of_two_threads_at_once_one_is_refused_and_both_are_whole() -> None:
    inside, outside = threading.Event(), threading.Event()
    told: list[object] = []

    def other() -> None:
        inside.wait(10)
        try:
            simulate(value)
        except NotSimulated as error:
            told.append(str(error))
        finally:
            outside.set()

    async def main() -> str:
        inside.set()
        outside.wait(10)
        await trio.sleep(1)
        return "whole"

    thread = threading.Thread(target=other)
    thread.start()
    assert run_of(main).unwrap() == "whole"
    thread.join(10)
    assert len(told) == 1
    assert "one at a time" in str(told[0])


def test_another_threads_trio_meanwhile_finds_all_that_is_real() -> None:
    inside, outside = threading.Event(), threading.Event()
    found = SimpleNamespace(elapsed=0.0, thread=0, here=0, errors=[], wall=0.0, urandom=b"")
    early_time, early_clock = time.time, time.perf_counter

    async def foreign() -> None:
        found.here = threading.get_ident()
        found.thread = await trio.to_thread.run_sync(threading.get_ident)
        started = early_clock()
        await trio.sleep(0.01)
        time.sleep(0.01)  # noqa: ASYNC251 - the real one, in a thread of its own
        found.elapsed = early_clock() - started
        found.wall = time.time() - early_time()
        plain = threading.Thread(target=lambda: None)
        plain.start()
        plain.join()
        for each in socket.socketpair():
            each.close()
        found.urandom = os.urandom(8)

    def other() -> None:
        inside.wait(10)
        try:
            trio.run(foreign)
        except BaseException as error:
            found.errors.append(error)
        finally:
            outside.set()

    async def main() -> list[Any]:
        seen: list[Any] = []
        inside.set()
        while not outside.is_set():  # noqa: ASYNC110
            await trio.lowlevel.checkpoint()
        seen.append(trio.current_time())
        seen.append(os.urandom(8))
        return seen

    thread = threading.Thread(target=other)
    thread.start()
    result = simulate(main)
    thread.join(10)
    assert found.errors == []
    assert found.thread != found.here
    assert found.elapsed >= 0.02
    assert abs(found.wall) < 60
    assert result.unwrap()[0] == 0.0  # and nothing of it moved the simulated clock, or drew of its chance
    inside.set()
    outside.set()
    assert simulate(main).unwrap()[1] == result.unwrap()[1] != found.urandom


# -- async generators -------------------------------------------------------------------------------


async def numbers() -> AsyncGenerator[int, None]:
    for number in range(9):
        yield number
        await trio.lowlevel.checkpoint()


def test_a_generator_dropped_before_its_end_is_a_failure_that_names_it() -> None:
    async def main() -> None:
        async for number in numbers():
            if number == 3:
                break

    failure = run_of(main).failure
    assert isinstance(failure, ResourceLeft)
    assert "numbers" in str(failure)
    assert "test_simulate_beside.py" in str(failure)
    assert len(failure.left) == 1


def test_a_generator_held_in_a_circle_is_a_failure() -> None:
    class Node:
        pass

    async def main() -> None:
        node = Node()
        node.me, node.numbers = node, numbers()  # type: ignore[attr-defined]
        await anext(node.numbers)  # type: ignore[attr-defined]

    assert isinstance(run_of(main).failure, ResourceLeft)
    gc.collect()


def test_a_generator_held_by_a_global_is_a_failure() -> None:
    held: list[AsyncIterator[int]] = []

    async def main() -> None:
        held.append(numbers())
        await anext(held[0])

    assert isinstance(run_of(main).failure, ResourceLeft)
    held.clear()


def test_a_generator_that_was_ended_closed_or_never_begun_is_none() -> None:
    async def main() -> int:
        total = 0
        async for number in numbers():
            total += number
        begun = numbers()
        await anext(begun)
        await begun.aclose()
        del begun
        never = numbers()
        del never
        return total

    assert run_of(main).unwrap() == 36


def test_what_was_left_is_a_note_where_the_program_failed_as_well() -> None:
    async def main() -> None:
        begun = numbers()
        await anext(begun)
        raise ValueError("first")

    failure = run_of(main).failure
    assert isinstance(failure, ValueError)
    assert any("numbers" in note for note in failure.__notes__)
