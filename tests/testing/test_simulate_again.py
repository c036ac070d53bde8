"""Claims of testing/sim/running.py: the same run again, fairness under every strategy, and no growth."""

from __future__ import annotations

import gc
import random
import time
import uuid
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from phloem.errors import Deadlock, InvalidToken
from phloem.testing.sim import current_run, exhaust, explore, simulate, sweep
from phloem.testing.sim.strategies import chooser_for
from support.untouched import nothing_changed, run_of, value


@pytest.fixture(autouse=True)
def _everything_is_put_back() -> Iterator[None]:
    with nothing_changed():
        yield


# -- the same again ---------------------------------------------------------------------------------


async def chatter() -> list[tuple[int, float]]:
    """Chance, time, threads and ids decide what it does."""
    log: list[tuple[int, float]] = []

    async def talks(number: int) -> None:
        for _ in range(3):
            await trio.sleep(random.random())
            await trio.to_thread.run_sync(time.sleep, random.random())
            log.append((number, time.time()))
        run = current_run()
        assert run is not None
        run.note(f"{number} is done, {uuid.uuid4()}")

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(talks, number)
    return log


async def three_tasks() -> list[str]:
    ran: list[str] = []

    async def walks(name: str) -> None:
        ran.append(name)
        for _ in range(3):
            await trio.sleep(1)
            ran.append(name)

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(walks, name, name=name)
    return ran


@pytest.mark.parametrize("strategy", ["calm", "shuffle", "walk", "pct2@9"])
def test_the_order_that_is_told_is_the_order_in_which_they_ran(strategy: str) -> None:
    orders = set[str]()
    for seed in range(5):
        result = run_of(three_tasks, seed=seed, strategy=strategy)
        spawned = [event.text for event in result.trace if event.kind == "spawn"]
        names = {int(text.rpartition("#")[2]): text.partition("#")[0] for text in spawned}
        told = [names[number] for number in result.order if number in names]
        assert result.unwrap() == told
        orders.add("".join(told))
    assert strategy == "calm" or len(orders) > 1


def test_a_trace_tells_who_begins_and_ends_and_where_the_clock_jumps() -> None:
    trace = run_of(three_tasks, strategy="calm").trace
    kinds = [event.kind for event in trace]
    assert (kinds.count("spawn"), kinds.count("exit")) == (3, 3)
    assert [event.text for event in trace if event.kind == "clock"] == ["1", "2", "3"]


STRATEGIES = ["calm", "shuffle", "walk", "pct", "pct2@30", "pct5@100"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_seed_is_one_run_twenty_times(strategy: str) -> None:
    results = [run_of(chatter, seed=11, strategy=strategy) for _ in range(20)]
    assert len({each.digest for each in results}) == 1
    assert len({str(each.value) for each in results}) == 1
    assert len({str(each.trace) for each in results}) == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_token_is_that_run_twenty_times(strategy: str) -> None:
    first = run_of(chatter, seed=5, strategy=strategy)
    for _ in range(20):
        again = run_of(chatter, replay=first.token)
        assert (again.digest, again.diverged, again.token) == (first.digest, False, first.token)
        assert again.value == first.value


def test_other_seeds_are_other_runs() -> None:
    assert len({simulate(chatter, seed=seed).digest for seed in range(20)}) == 20


def test_a_token_of_another_program_diverges() -> None:
    assert simulate(value, replay=simulate(chatter).token).diverged


def test_a_deadlocks_digest_does_not_depend_on_the_working_directory(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = simulate(trio.sleep_forever)

    async def main() -> None:
        await trio.sleep_forever()

    first = simulate(main)
    monkeypatch.chdir(tmp_path)
    assert simulate(main).digest == first.digest


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_at_all_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="max_steps"):
        simulate(value, max_steps=steps)


def test_a_strategy_that_is_none_is_refused_and_so_is_a_token() -> None:
    with pytest.raises(ValueError, match="fair"):
        simulate(value, strategy="fair")
    with pytest.raises(InvalidToken):
        simulate(value, replay="sim1-none")


# -- fairness ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("spinners", [1, 3])
def test_a_loop_that_spins_until_another_has_run_ends(strategy: str, seed: int, spinners: int) -> None:
    async def main() -> None:
        done: list[int] = []

        async def spins() -> None:
            while not done:  # noqa: ASYNC110
                await trio.lowlevel.checkpoint()

        async def works() -> None:
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            done.append(1)

        async with trio.open_nursery() as nursery:
            for _ in range(spinners):
                nursery.start_soon(spins)
            nursery.start_soon(works)

    assert run_of(main, strategy=strategy, seed=seed, max_steps=20_000).failure is None


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_that_hand_each_other_the_turn_do_not_starve_a_third(strategy: str, seed: int) -> None:
    async def main() -> None:
        done: list[int] = []
        ping, pong = trio.open_memory_channel[int](0), trio.open_memory_channel[int](0)

        async def plays(send: trio.MemorySendChannel[int], receive: trio.MemoryReceiveChannel[int]) -> None:
            while not done:
                await send.send(1)
                await receive.receive()

        async def works(scope: trio.CancelScope) -> None:
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            done.append(1)
            scope.cancel()

        async def echoes(send: trio.MemorySendChannel[int], receive: trio.MemoryReceiveChannel[int]) -> None:
            while True:
                await send.send(await receive.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(plays, ping[0], pong[1])
            nursery.start_soon(echoes, pong[0], ping[1])
            nursery.start_soon(works, nursery.cancel_scope)

    assert run_of(main, strategy=strategy, seed=seed, max_steps=50_000).failure is None


def test_a_chooser_is_made_for_each_strategy() -> None:
    for name in STRATEGIES[:3]:
        assert chooser_for(name, 1).choose("abc", 0) in range(3)


# -- memory -----------------------------------------------------------------------------------------


def test_a_thousand_runs_leave_nothing_of_theirs_behind() -> None:
    kept: list[weakref.ref[Any]] = []

    class Payload:
        pass

    async def main() -> None:
        payload = Payload()
        kept.append(weakref.ref(payload))
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(holds, payload)

    async def holds(payload: Payload) -> None:
        await trio.sleep(1)

    report = explore(main, runs=1_000)
    assert report.passed
    gc.collect()
    assert len(kept) == 1_000
    assert sum(each() is not None for each in kept) <= 1


def test_what_the_cleanup_of_a_run_that_was_given_up_raises_is_noted() -> None:
    async def main() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("the door is jammed")

    failure = run_of(main).failure
    assert isinstance(failure, Deadlock)
    (note,) = failure.__notes__
    assert note == "in its cleanup: raised ValueError: the door is jammed"


@pytest.mark.parametrize("search", [simulate, explore, sweep, exhaust])
def test_a_coroutine_instead_of_a_function_is_refused(search: Any) -> None:
    async def main() -> None:
        await trio.sleep(1)

    with pytest.raises(TypeError, match=r"main: found a coroutine, .*main\(\), expected the function itself"):
        search(main())
    with pytest.raises(TypeError, match="main: found NoneType, expected an async function"):
        search(None)
