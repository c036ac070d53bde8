"""The world of a run: time, chance and threads are seeded, and what is real is refused by name.

Decides what a program finds when it looks at the clock, draws a random number or starts a thread while
it is simulated. Changes the standard library's modules for the length of one run and puts them back; a
name that a module has bound before (``from time import time``) stays real: ``auditing`` finds those.
Used by ``running`` and ``holding``.
"""

from __future__ import annotations

import _thread
import os
import random
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, cast, final

import outcome
import trio
import trio.testing

from phloem.errors import NotSimulated

from .context import EPOCH
from .seam import Deliver, jobs_started_by
from .strategies import stream

__all__ = ["Threads", "world_of"]

NANO: Final = 1_000_000_000
SHORTEST, DECADES = 1e-5, 4  # of a thread's job, in virtual seconds: 10 µs, and up to 10 ** 4 times as long


@final
class Threads:
    """Worker threads, simulated: a job waits for a seeded while, then runs in one step."""

    def __init__(self, seed: int, clock: trio.testing.MockClock) -> None:
        self._draw = stream(seed, "threads").random
        self._clock = clock
        self._slept: float | None = None  # by the job that runs now
        self.outstanding = 0

    def start(self, job: Callable[[], Any], deliver: Deliver) -> None:
        """In place of a thread. Its result is delivered as a thread's is."""
        self.outstanding += 1
        seconds = SHORTEST * 10 ** (self._draw() * DECADES)
        trio.lowlevel.spawn_system_task(self._work, job, deliver, seconds, name="simulated thread")

    async def _work(self, job: Callable[[], Any], deliver: Deliver, seconds: float) -> None:
        await trio.sleep(seconds)
        self._slept = 0.0
        try:
            result = outcome.capture(job)
        finally:
            slept, self._slept = self._slept, None
        if slept:
            await trio.sleep(slept)
        self.outstanding -= 1
        deliver(result)

    def sleep(self, seconds: float) -> None:
        """``time.sleep``: makes a job take longer; in a task it stops the whole world for as long."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        if self._slept is not None:
            self._slept += seconds
        else:
            self._clock.jump(seconds)


@contextmanager
def world_of(seed: int, clock: trio.testing.MockClock, threads: Threads) -> Iterator[None]:
    """The simulated world, from here to the end of the block. Within a Trio run."""
    chance = stream(seed, "random")
    bits = stream(seed, "urandom").getrandbits
    now = clock.current_time

    def wall() -> float:
        return EPOCH + now()

    def urandom(size: int, /) -> bytes:
        return bits(8 * size).to_bytes(size, "big") if size else b""

    def seeded(generator: random.Random, a: Any = None, version: int = 2) -> None:
        _seed(generator, chance.getrandbits(64) if a is None else a, version)

    def node_uuid(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
        return uuid.UUID(int=bits(128), version=1)

    changes: list[tuple[Any, str, Any]] = [
        (time, "time", wall),
        (time, "time_ns", lambda: int(wall() * NANO)),
        (time, "monotonic", now),
        (time, "monotonic_ns", lambda: int(now() * NANO)),
        (time, "perf_counter", now),
        (time, "perf_counter_ns", lambda: int(now() * NANO)),
        (time, "sleep", threads.sleep),
        (os, "urandom", urandom),
        (random, "_urandom", urandom),
        (random.Random, "seed", seeded),
        (uuid, "uuid1", node_uuid),
        (socket.socket, "__init__", _refusing("a real socket", "trio.testing.memory_stream_pair")),
        (socket, "getaddrinfo", _refusing("a look-up of a host's name", "an address the scenario knows")),
        (subprocess.Popen, "__init__", _refusing("a subprocess", "a task that plays it")),
        (os, "fork", _refusing("os.fork", "a task")),
        (signal, "signal", _refusing("a signal handler", "a call of what the handler would call")),
        (threading.Thread, "start", _refusing("a real thread", "trio.to_thread.run_sync")),
        (_thread, "start_new_thread", _refusing("a real thread", "trio.to_thread.run_sync")),
    ]  # fmt: skip
    state = random.getstate()
    before = [(holder, name, holder.__dict__[name]) for holder, name, _ in changes if name in holder.__dict__]
    missing = [(holder, name) for holder, name, _ in changes if name not in holder.__dict__]
    _seed(_shared(), chance.getrandbits(64))
    for holder, name, value in changes:
        setattr(holder, name, value)
    try:
        with jobs_started_by(threads.start):
            yield
    finally:
        for holder, name, value in before:
            setattr(holder, name, value)
        for holder, name in missing:
            delattr(holder, name)
        random.setstate(state)


_seed: Final = random.Random.seed


def _shared() -> random.Random:
    """The generator behind ``random.random()`` and its like."""
    return cast("random.Random", cast("Any", random.random).__self__)


def _refusing(found: str, expected: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise NotSimulated(f"found {found} within a simulation; expected {expected}")

    return refuse
