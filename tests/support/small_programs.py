"""Programs of a few lines for the tests of searches: a sound one, and two that fail under some schedules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from phloem.errors import ScheduleFailure
from phloem.testing.sim import (
    explore,
)


async def fine() -> int:
    await trio.sleep(1)
    return 7


async def loses_an_update() -> None:
    """Read, wait, write: two at once count one."""
    count = [0]

    async def adds() -> None:
        seen = count[0]
        await trio.lowlevel.checkpoint()
        count[0] = seen + 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(adds)
        nursery.start_soon(adds)
    assert count[0] == 2


async def deadlocks_sometimes() -> None:
    a, b = trio.Lock(), trio.Lock()

    async def takes(first: trio.Lock, second: trio.Lock) -> None:
        for _ in range(6):
            await trio.lowlevel.checkpoint()
        async with first, second:
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(takes, a, b)
        nursery.start_soon(takes, b, a)


def failure_of(main: Callable[[], Awaitable[Any]], **more: Any) -> ScheduleFailure:
    with pytest.raises(ScheduleFailure) as caught:
        explore(main, **more)
    return caught.value
