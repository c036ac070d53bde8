"""What crosses from the host's side: values, errors, cancels of both kinds, and the death of an organism."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import trio

from phloem import CallerError, Organism
from phloem.embedding.crossing import cross
from support.crossings import Work, guest_here, this_task, turns
from support.embedded import Place, in_loops, opened, until
from support.listeners import BACK, Ask, Reply

WHO: ContextVar[str] = ContextVar("who", default="nobody")


# -- values, errors, context ------------------------------------------------------------------------


@in_loops
async def test_a_call_crosses_with_its_arguments_and_its_context() -> None:
    async def told(first: int, *, second: int) -> tuple[int, int, str, str]:
        await trio.lowlevel.checkpoint()
        return first, second, WHO.get(), trio.lowlevel.current_task().name

    async with guest_here() as guest:
        WHO.set("me")
        values = await cross(guest, told, 1, second=2)
    assert values[:3] == (1, 2, "me")
    assert values[3].startswith("phloem host's ")


@in_loops
async def test_a_group_with_one_leaf_arrives_as_the_leaf_and_any_other_as_it_is() -> None:
    leaf = ValueError("x")

    async def alone() -> None:
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [leaf])])

    async def two() -> None:
        raise ExceptionGroup("outer", [leaf, KeyError("y")])

    async with guest_here() as guest:
        with pytest.raises(ValueError, match="x") as raised:
            await cross(guest, alone)
        assert raised.value is leaf
        assert isinstance(leaf.__cause__, ExceptionGroup)
        assert leaf.__cause__.message == "outer"
        with pytest.raises(ExceptionGroup, match="outer") as group:  # noqa: ASYNC401
            await cross(guest, two)
        assert len(group.value.exceptions) == 2


@in_loops
async def test_an_error_leads_to_nothing_that_outlives_it() -> None:
    class Mine(Exception):
        pass

    async def fail() -> None:
        raise Mine

    async def cycle() -> weakref.ref[Mine]:
        try:
            await cross(guest, fail)
        except Mine as error:
            return weakref.ref(error)
        raise AssertionError

    async with guest_here() as guest:
        gc.collect()
        gc.disable()
        try:
            seen = await cycle()
            await turns(3)
            assert seen() is None, "a cycle keeps it until the collector comes"
        finally:
            gc.enable()


@in_loops
async def test_within_a_task_of_trios_it_is_a_plain_call() -> None:
    async def inner() -> int:
        return id(trio.lowlevel.current_task())

    async def outer() -> bool:
        here: int = await cross(guest, inner)
        return here == id(trio.lowlevel.current_task())

    async with guest_here() as guest:
        assert await cross(guest, outer)


# -- cancels ------------------------------------------------------------------------------------------


@in_loops
async def test_a_cancelled_host_waits_for_the_cleanup_on_trios_side() -> None:
    work = Work()
    async with guest_here() as guest:
        task = asyncio.create_task(cross(guest, work))
        await until(lambda: work.began)
        task.cancel("enough")
        await asyncio.sleep(0)
        assert not task.done()
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        assert (work.cleaned, task.cancelled()) == (1, True)


@in_loops
async def test_further_cancels_cut_no_cleanup_short_and_are_all_counted() -> None:
    work = Work(cleanup=20)
    counted: list[tuple[int, int]] = []

    async def waits() -> None:
        try:
            await cross(guest, work)
        finally:
            counted.append((this_task().cancelling(), work.cleaned))

    async with guest_here() as guest:
        task = asyncio.create_task(waits())
        await until(lambda: work.began)
        for _ in range(4):
            task.cancel()
            await asyncio.sleep(0.001)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert counted == [(4, 1)]
    assert work.cancels == 1


@in_loops
async def test_a_cancel_before_the_first_step_crosses_too() -> None:
    work = Work()
    async with guest_here() as guest:
        for wait in range(4):
            task = asyncio.create_task(cross(guest, work))
            await turns(wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert work.began == work.cleaned


@in_loops
async def test_asyncios_timeout_is_one_and_takes_its_cancel_back() -> None:
    work = Work()
    async with guest_here() as guest:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.002):
                    await cross(guest, work)
            assert this_task().cancelling() == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cross(guest, work), 0.002)
        await turns(5)
    assert work.cleaned == 4


@in_loops
async def test_a_cancel_of_the_timeouts_own_task_is_no_timeout() -> None:
    work = Work(cleanup=20)

    async def waits() -> None:
        async with asyncio.timeout(0.002):
            await cross(guest, work)

    async with guest_here() as guest:
        task = asyncio.create_task(waits())
        await until(lambda: work.cancels)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@in_loops
async def test_a_task_group_of_asyncio_ends_as_ever() -> None:
    work = Work()

    async def fail() -> None:
        await until(lambda: work.began == 3)
        raise LookupError

    async with guest_here() as guest:
        with pytest.raises(ExceptionGroup) as group:  # noqa: PT012, ASYNC401
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(cross(guest, work))
                tasks.create_task(cross(guest, work))
                tasks.create_task(fail())
                await cross(guest, work)
        assert [type(error) for error in group.value.exceptions] == [LookupError]
        assert (work.cleaned, this_task().cancelling()) == (3, 0)
        await turns(5)


@in_loops
async def test_a_scope_of_anyios_does_not_spin_while_the_cleanup_lasts() -> None:
    work, loop = Work(cleanup=20), asyncio.get_running_loop()
    own, calls = loop.call_soon, list[str]()

    def call_soon(callback: Callable[..., Any], *args: Any, **more: Any) -> Any:
        calls.append(getattr(callback, "__name__", ""))
        return own(callback, *args, **more)

    async with guest_here() as guest, anyio.create_task_group() as tasks:
        tasks.start_soon(cross, guest, work)
        await until(lambda: work.began)
        vars(loop)["call_soon"] = call_soon
        try:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await until(lambda: work.cleaned)
        finally:
            del vars(loop)["call_soon"]
    assert calls.count("_deliver_cancellation") < 10, "it would be one for each turn of the loop"


@in_loops
async def test_scopes_of_anyio_and_cancels_of_asyncio_mix() -> None:
    work = Work()
    async with guest_here() as guest:
        with anyio.move_on_after(0.002) as scope:
            async with asyncio.timeout(10):
                await cross(guest, work)
        assert (scope.cancelled_caught, this_task().cancelling()) == (True, 0)
        with anyio.CancelScope() as outer, pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await cross(guest, work)
        assert not outer.cancelled_caught
        with anyio.CancelScope() as scope:
            scope.cancel()
            await cross(guest, work)
        assert (scope.cancelled_caught, this_task().cancelling()) == (True, 0)
        await turns(5)


@in_loops
async def test_shielded_by_anyio_it_goes_on() -> None:
    place = Place()
    async with opened(place.listener(Ask)) as organism:
        with anyio.CancelScope() as outer:
            outer.cancel()
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as tasks:

                    async def go() -> None:
                        await until(lambda: place.entered)
                        place.go = True

                    tasks.start_soon(go)
                    assert await organism.ask(Ask("x"), to="place") == Reply("x")


@in_loops
async def test_a_call_that_is_thrown_away_is_cancelled_on_trios_side() -> None:
    work = Work()
    async with guest_here() as guest:
        call = cross(guest, work)
        call.send(None)  # its first step, and nobody goes on with it
        await until(lambda: work.began)
        call.close()
        await until(lambda: work.cleaned)
        assert len(guest.crossings) == 0


# -- other loops and threads -------------------------------------------------------------------------


@in_loops
async def test_another_thread_is_refused() -> None:
    refused: list[BaseException] = []

    async def elsewhere(organism: Organism) -> None:
        await organism.ask(Ask("x"), to="back")

    def other(organism: Organism) -> None:
        try:
            asyncio.run(elsewhere(organism))
        except CallerError as error:
            refused.append(error)

    async with opened(BACK) as organism:
        thread = threading.Thread(target=other, args=(organism,))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert await organism.ask(Ask("x"), to="back") == Reply("x")
    assert "another event loop" in str(refused[0])
