"""A result, or an error, that comes together with a cancel: neither is lost, and none comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from phloem.embedding.crossing import cross
from support.crossings import Work, guest_here, this_task, turns
from support.embedded import in_loops, until

# -- a result and a cancel at once -------------------------------------------------------------------


@in_loops
async def test_a_result_that_comes_with_the_cancel_is_not_lost_and_the_cancel_comes_next() -> None:
    reached: list[Any] = []

    async def waits(work: Callable[[], Awaitable[Any]]) -> None:
        reached.append(await cross(guest, work))
        reached.append(this_task().cancelling())
        await asyncio.sleep(0)
        await asyncio.sleep(10)
        reached.append("never")

    async def at_once() -> str:
        task.cancel("both")
        return "a value"

    async with guest_here() as guest:
        task = asyncio.create_task(waits(at_once))
        with pytest.raises(asyncio.CancelledError, match="both"):
            await task
        assert reached == ["a value", 1]
        reached.clear()
        work = Work(result="all the same")  # it was cancelled, and came to something
        task = asyncio.create_task(waits(work))
        await until(lambda: work.began)
        task.cancel("later")
        with pytest.raises(asyncio.CancelledError, match="later"):
            await task
        assert reached == ["all the same", 1]


@in_loops
async def test_an_error_of_a_cleanup_goes_before_the_cancel() -> None:
    async def fails() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise LookupError("in the cleanup")

    async def waits() -> None:
        with pytest.raises(LookupError, match="in the cleanup"):
            await cross(guest, fails)
        after.append(True)
        await asyncio.sleep(10)

    after: list[bool] = []
    async with guest_here() as guest:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert after == [True]


@in_loops
async def test_a_cancel_that_was_taken_back_does_not_come_again() -> None:
    async def at_once() -> int:
        this.cancel()
        return 7

    async with guest_here() as guest:
        this = this_task()
        assert await cross(guest, at_once) == 7
        assert this.uncancel() == 0  # as a timeout does whose block is over
        await turns(5)
        await asyncio.sleep(0.002)
