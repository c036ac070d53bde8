"""Planted: a service that is started with ``start_soon`` and used as though it were there.

It needs two steps to be there and its user comes after twenty, so it must be starved through all of
them: fair batches never do that, fair coin tosses almost never.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from .pausing import pause


class Directory:
    """Where services say that they are there."""

    def __init__(self) -> None:
        self.services: dict[str, Callable[[int], int]] = {}

    async def serve_doubling(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await pause(1)  # reads its settings
        self.services["doubling"] = lambda number: 2 * number
        task_status.started()

    async def use_doubling(self, number: int) -> int:
        await pause(20)  # loads what it works on
        doubled = self.services["doubling"](number)
        await pause(40)  # files it
        return doubled


async def main() -> None:
    directory = Directory()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(directory.serve_doubling, name="doubling")  # planted: soon is not yet
        assert await directory.use_doubling(4) == 8


async def main_fixed() -> None:
    directory = Directory()
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.serve_doubling, name="doubling")
        assert await directory.use_doubling(4) == 8
