"""One guest for each event loop: when it starts and ends, and that no end leaves the thread occupied."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from phloem import (
    CallerError,
    ConfigurationError,
    ForeignGuest,
    HostGone,
    NotSimulated,
    Organism,
    OrganismConfig,
    open_organism,
)
from phloem.embedding import guests
from phloem.testing import HeldRun, simulate
from support.embedded import CONFIG, Place, each_loop, in_loops, leave_open, new_loop, opened, until
from support.listeners import BACK, Ask, Reply

# -- one guest, from the first organism to the last --------------------------------------------------


@in_loops
async def test_the_organisms_of_a_loop_share_one_guest_which_ends_after_the_last() -> None:
    stack, other = AsyncExitStack(), AsyncExitStack()
    before = asyncio.all_tasks()
    await stack.enter_async_context(opened(BACK))
    (first,) = guests._guests.values()
    second = await other.enter_async_context(opened(BACK))
    assert list(guests._guests.values()) == [first]
    assert {task.get_name() for task in asyncio.all_tasks() - before} == {"phloem keeper"}
    await stack.aclose()
    assert list(guests._guests.values()) == [first], "the second one still lives"
    assert await second.ask(Ask("x"), to="back") == Reply("x")
    await other.aclose()
    assert list(guests._guests.values()) == []
    assert asyncio.all_tasks() == before


@in_loops
async def test_organisms_opened_and_left_at_once_get_in_nobodys_way() -> None:
    async def live(number: int) -> None:
        for turn in range(5):
            if (number + turn) % 3 == 0:
                await asyncio.sleep(0.001 * turn)
            async with opened(BACK) as organism:
                assert await organism.ask(Ask("x"), to="back") == Reply("x")

    async with asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(live(number))


@in_loops
async def test_a_configuration_that_is_none_leaves_no_guest() -> None:
    with pytest.raises(ConfigurationError):
        async with open_organism(OrganismConfig("two of one name", (BACK, BACK))):
            pytest.fail("it cannot be opened")
    assert not trio.lowlevel.in_trio_run()


@in_loops
async def test_opening_may_be_cancelled_at_any_moment() -> None:
    for turns in range(40):
        task = asyncio.create_task(live_long())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not trio.lowlevel.in_trio_run()


async def live_long() -> None:
    async with open_organism(CONFIG):
        await asyncio.sleep(1_000)


@in_loops
async def test_leaving_may_be_cancelled_at_any_moment() -> None:
    async def live() -> None:
        async with open_organism(CONFIG):
            inside.set()

    for turns in range(40):
        inside = asyncio.Event()
        task = asyncio.create_task(live())
        await inside.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert not trio.lowlevel.in_trio_run()


# -- the keeper ---------------------------------------------------------------------------------------


@each_loop
def test_a_main_that_returns_has_every_guest_stopped(backend: str) -> None:
    place = Place(turns=3)
    ends: list[BaseException] = []

    async def live() -> None:
        try:
            async with open_organism(OrganismConfig("x", (place.listener(Ask),))) as organism:
                await organism.ask(Ask("x"), to="place")
        except BaseException as error:
            ends.append(error)
            raise

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(live())
        await until(lambda: place.entered)
        return task

    with asyncio.Runner(loop_factory=lambda: new_loop(backend)) as runner:
        task = runner.run(main())
    assert (place.entered, place.left, task.cancelled()) == (1, 1, True)
    assert [type(end) for end in ends] == [asyncio.CancelledError]


@in_loops
async def test_a_cancelled_keeper_stops_the_guest_and_the_bodies_are_told() -> None:
    place = Place(turns=3)
    told: list[BaseException] = []

    async def live() -> None:
        try:
            async with open_organism(OrganismConfig("x", (place.listener(Ask),))) as organism:
                await organism.send(Ask("x"), to="place")
                await asyncio.sleep(1_000)
        except HostGone as gone:
            told.append(gone)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(live())
        await until(lambda: place.entered == 2)
        (keeper,) = (task for task in asyncio.all_tasks() if task.get_name() == "phloem keeper")
        keeper.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
            keeper.cancel()  # it waits all the same until the guest has ended
        await asyncio.wait([keeper])
        assert place.left == 2
        assert not trio.lowlevel.in_trio_run()
    assert len(told) == 2
    assert "were ended" in str(told[0])


@each_loop
def test_a_body_that_is_thrown_away_takes_its_organism_along(backend: str) -> None:
    async def main() -> None:
        body = live_long()
        body.send(None)  # a first step, and nobody goes on with it
        (guest,) = guests._guests.values()
        await guest.ready.wait()
        body.close()
        await guest.gone.wait()
        assert not trio.lowlevel.in_trio_run()

    with asyncio.Runner(loop_factory=lambda: new_loop(backend)) as runner:
        runner.run(main())


# -- other Trio runs ------------------------------------------------------------------------------------


async def refused() -> None:
    with pytest.raises(ForeignGuest, match="a thread carries one Trio run"):
        async with open_organism(CONFIG):
            pytest.fail("a thread carries one Trio run")


def test_a_foreign_guest_is_refused_by_name() -> None:
    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        stop = trio.CancelScope()

        async def foreign() -> None:
            with stop:
                await trio.sleep_forever()

        trio.lowlevel.start_guest_run(
            foreign,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda _: done.set(),
            host_uses_signal_set_wakeup_fd=True,
        )
        await refused()
        with pytest.raises(NotSimulated, match="within a Trio run"):
            simulate(live_long)
        stop.cancel()
        await done.wait()
        async with opened(BACK) as organism:
            assert await organism.ask(Ask("x"), to="back") == Reply("x")

    asyncio.run(main())


def test_another_loops_guest_is_refused_while_that_loop_is_open() -> None:
    loop = asyncio.new_event_loop()
    kept: list[Any] = []
    loop.run_until_complete(leave_open(kept))
    asyncio.run(refused())

    async def elsewhere() -> None:
        with pytest.raises(CallerError, match="another event loop"):
            await kept[0].ask(Ask("x"), to="back")

    asyncio.run(elsewhere())
    assert loop.run_until_complete(kept[0].ask(Ask("x"), to="back")) == Reply("x")
    loop.run_until_complete(kept[1].__aexit__(None, None, None))
    loop.close()


def test_two_threads_have_a_guest_each() -> None:
    async def main() -> None:
        async with opened(BACK) as organism:
            barrier.wait(5)
            for _ in range(20):
                assert await organism.ask(Ask("x"), to="back") == Reply("x")

    barrier = threading.Barrier(2)
    failed: list[BaseException] = []

    def other() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    asyncio.run(main())
    thread.join()
    assert failed == []


def test_a_held_simulation_is_refused_by_name_and_goes_on() -> None:
    with HeldRun() as run:
        asyncio.run(refused())
        organism = run.enter(open_organism(CONFIG))
        assert type(organism) is Organism, "in a simulation it is the organism itself"
        assert run.do(organism.ask, Ask("x"), "back") == Reply("x")


def test_a_loop_within_a_trio_task_is_refused_by_name() -> None:
    async def main() -> None:
        asyncio.run(refused())
        async with open_organism(CONFIG) as organism:
            assert type(organism) is Organism

    trio.run(main)


@in_loops
async def test_a_simulation_beside_an_organism_is_refused_by_name() -> None:
    async with opened(BACK) as organism:
        with pytest.raises(NotSimulated, match="embedded organism"):
            simulate(live_long)
        with pytest.raises(NotSimulated, match="embedded organism"):
            HeldRun().__enter__()
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


def test_without_any_loop_the_error_says_what_is_missing() -> None:
    coroutine = open_organism(CONFIG).__aenter__()
    with pytest.raises(CallerError, match="found no event loop"):
        coroutine.send(None)
