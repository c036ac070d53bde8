"""Planted: a queue whose reader looks, awaits, and only then makes the event that a writer sets.

A writer who comes in between wakes nobody, and the reader waits for ever. Writers need longer for
an item than the reader for that gap, so in fair batches the reader always waits in time.
"""

from __future__ import annotations

import trio

from .pausing import pause


class Queue:
    """One reader, any number of writers."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.wake = trio.Event()

    def put(self, item: int) -> None:
        self.items.append(item)
        self.wake.set()

    async def get(self) -> int:
        while not self.items:
            await pause(1)  # counts an idle turn; planted: what is put now sets the old event
            self.wake = trio.Event()
            await self.wake.wait()
        return self.items.pop(0)


class CarefulQueue(Queue):
    """Looks and makes the event in one step."""

    async def get(self) -> int:
        while not self.items:
            self.wake = trio.Event()
            await self.wake.wait()
            await pause(1)
        return self.items.pop(0)


async def write(queue: Queue) -> None:
    for item in range(3):
        await pause(4)  # makes the item
        queue.put(item)


async def scenario(queue: Queue) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, queue, name="writer")
        got = [await queue.get() for _ in range(3)]
    assert got == [0, 1, 2]


async def main() -> None:
    await scenario(Queue())


async def main_fixed() -> None:
    await scenario(CarefulQueue())
