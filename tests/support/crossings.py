"""What tests of the bridge need below the front door: a guest to hold, turns of the loop, work to cut.

For use within a loop of asyncio's or uvloop's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sniffio
import trio

from phloem.embedding.guests import Guest, join_guest


@asynccontextmanager
async def guest_here() -> AsyncIterator[Guest]:
    guest = await join_guest()
    try:
        yield guest
    finally:
        await guest.leave()  # noqa: ASYNC102


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Work:
    """Something on Trio's side that hangs, and whose cleanup takes a while."""

    def __init__(self, cleanup: int = 5, result: Any = None) -> None:
        self.began = self.cleaned = self.cancels = 0
        self.cleanup, self.result = cleanup, result

    async def __call__(self) -> Any:
        assert sniffio.current_async_library() == "trio"
        self.began += 1
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancels += 1
            with trio.CancelScope(shield=True):
                for _ in range(self.cleanup):
                    await trio.sleep(0.001)
            self.cleaned += 1
            if self.result is None:
                raise
        return self.result
