"""The cases on the aiostream pump. Each returns one plain number; `phloem_cases` mirrors it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from .measuring import Hops, Stopwatch, resident_bytes
from .obvious_pump import ObviousPump, Target
from .payloads import Ball


@asynccontextmanager
async def running(*targets: Target) -> AsyncIterator[ObviousPump]:
    pump = ObviousPump(list(targets))
    task = asyncio.create_task(pump.run())
    try:
        yield pump
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def players(done: Callable[[], None], seen: Callable[[int], None] = lambda left: None) -> list[Target]:
    async def ping(ball: Ball, sender: str) -> list[tuple[str, Any]]:
        seen(ball.left)
        if ball.left <= 1:
            done()
            return []
        return [("pong", Ball(ball.left - 1))]

    async def pong(ball: Ball, sender: str) -> list[tuple[str, Any]]:
        if ball.left <= 1:
            done()
            return []
        return [(sender, Ball(ball.left - 1))]

    return [Target("ping", Ball, ping, limit=1_000), Target("pong", Ball, pong, limit=1_000)]


async def _hops(conversations: int, hops: int) -> Hops:
    finished = asyncio.Event()
    ended = 0
    memory: list[int] = []

    def done() -> None:
        nonlocal ended
        ended += 1
        if ended == conversations:
            finished.set()

    def seen(left: int) -> None:
        if left in (hops * 4 // 5, hops * 4 // 5 - 1) and not memory:
            memory.append(resident_bytes())

    async with running(*players(done, seen)) as pump:
        watch = Stopwatch()
        for _ in range(conversations):
            await pump.inject("outside", "ping", Ball(hops))
        await finished.wait()
        return watch.hops(conversations * hops, resident_bytes() - memory[0])


def hops(conversations: int, hops: int) -> Hops:
    """So many conversations at once, of so many hops each."""
    return asyncio.run(_hops(conversations, hops))


async def _broadcast(listeners: int, seconds: float) -> float:
    finished = asyncio.Event()
    heard = 0

    async def hear(ball: Ball, sender: str) -> list[tuple[str, Any]]:
        nonlocal heard
        await asyncio.sleep(seconds)
        heard += 1
        if heard == listeners:
            finished.set()
        return []

    async with running(*[Target("crowd", Ball, hear) for _ in range(listeners)]) as pump:
        started = time.perf_counter()
        await pump.inject("outside", "crowd", Ball(1))
        await finished.wait()
        return time.perf_counter() - started


def broadcast(listeners: int, seconds: float) -> float:
    """Seconds until all listeners have heard."""
    return asyncio.run(_broadcast(listeners, seconds))


async def _delay(messages: int, seconds: float) -> float:
    heard = asyncio.Event()

    async def slow(ball: Ball, sender: str) -> list[tuple[str, Any]]:
        await asyncio.sleep(seconds)
        return []

    async def idle(ball: Ball, sender: str) -> list[tuple[str, Any]]:
        heard.set()
        return []

    async with running(Target("slow", Ball, slow), Target("idle", Ball, idle)) as pump:
        for _ in range(messages):
            await pump.inject("outside", "slow", Ball(1))
        await asyncio.sleep(seconds / 5)
        started = time.perf_counter()
        await pump.inject("outside", "idle", Ball(1))
        await heard.wait()
        return time.perf_counter() - started


def delay(messages: int, seconds: float) -> float:
    """Seconds an idle listener waits behind slow messages for another."""
    return asyncio.run(_delay(messages, seconds))


async def _limit(messages: int, seconds: float, limit: int) -> float:
    finished = asyncio.Event()
    ended = 0

    async def work(ball: Ball, sender: str) -> list[tuple[str, Any]]:
        nonlocal ended
        await asyncio.sleep(seconds)
        ended += 1
        if ended == messages:
            finished.set()
        return []

    async with running(Target("worker", Ball, work, limit=limit)) as pump:
        started = time.perf_counter()
        for _ in range(messages):
            await pump.inject("outside", "worker", Ball(1))
        await finished.wait()
        return time.perf_counter() - started


def limit(messages: int, seconds: float, limit: int) -> float:
    """Seconds until all are done, so many at once."""
    return asyncio.run(_limit(messages, seconds, limit))
