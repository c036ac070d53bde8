"""Planted: a job is counted as done before its follow-ups are counted as begun.

In between nothing is in flight, and ``wait_idle`` may return. It looks again after three steps, two
more than the gap has, so in fair batches it never believes the gap.
"""

from __future__ import annotations

import trio

from .pausing import pause


class Engine:
    """Does jobs, and the jobs that follow from them."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[int](8)  # more than the scenario ever holds
        self.in_flight = 0
        self.idle = trio.Event()
        self.done: list[int] = []

    def submit(self, job: int) -> None:
        if not self.in_flight:
            self.idle = trio.Event()
        self.in_flight += 1
        self.send.send_nowait(job)

    def finish(self, job: int) -> None:
        self.done.append(job)
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.set()

    async def run(self) -> None:
        async for job in self.receive:
            await pause(6)  # works
            await self.settle(job, [job - 1] if job else [])

    async def settle(self, job: int, follow_ups: list[int]) -> None:
        self.finish(job)
        await pause(1)  # planted: tells the journal, with nothing in flight
        for follow_up in follow_ups:
            self.submit(follow_up)

    async def wait_idle(self) -> None:
        while True:
            await self.idle.wait()
            await pause(3)
            if not self.in_flight:
                return


class CarefulEngine(Engine):
    """What follows is counted before what it follows from is not."""

    async def settle(self, job: int, follow_ups: list[int]) -> None:
        for follow_up in follow_ups:
            self.submit(follow_up)
        self.finish(job)
        await pause(1)


async def scenario(engine: Engine) -> None:
    with engine.send, engine.receive:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run, name="worker")
            engine.submit(3)
            await engine.wait_idle()
            assert engine.done == [3, 2, 1, 0], f"idle after {engine.done}"
            engine.send.close()


async def main() -> None:
    await scenario(Engine())


async def main_fixed() -> None:
    await scenario(CarefulEngine())
