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
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from multiprocessing.process import BaseProcess
from threading import get_ident
from typing import Any, Final, NoReturn, cast, final

import outcome
import trio
import trio.testing
from sniffio import thread_local as async_library

from phloem.errors import NotSimulated

from .context import EPOCH
from .seam import Deliver, jobs_started_by
from .strategies import stream

__all__ = ["Threads", "world_of"]

NANO: Final = 1_000_000_000
WALL_CLOCKS: Final = frozenset(getattr(time, name, None) for name in ("CLOCK_REALTIME", "CLOCK_TAI"))
SHORTEST, DECADES = 1e-5, 4  # of a thread's job, in virtual seconds: 10 µs, and up to 10 ** 4 times as long

_LOOK_UPS: Final = (
    "getaddrinfo", "getnameinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getfqdn",
)  # fmt: skip
_PROCESSES: Final = ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system")


@final
class Threads:
    """Worker threads, simulated: a job waits for a seeded while, then runs in one step."""

    def __init__(self, seed: int, clock: trio.testing.MockClock) -> None:
        self._seed, self._clock = seed, clock
        self._slept: float | None = None  # by the job that runs now
        self.outstanding = 0

    @cached_property
    def _draw(self) -> Callable[[], float]:
        return stream(self._seed, "threads").random

    def start(self, job: Callable[[], Any], deliver: Deliver) -> None:
        """In place of a thread. Its result is delivered as a thread's is."""
        self.outstanding += 1
        seconds = SHORTEST * 10 ** (self._draw() * DECADES)
        trio.lowlevel.spawn_system_task(self._work, job, deliver, seconds, name="simulated thread")

    async def _work(self, job: Callable[[], Any], deliver: Deliver, seconds: float) -> None:
        await trio.sleep(seconds)
        self._slept, library = 0.0, async_library.name
        async_library.name = None  # a thread is in none
        try:
            result = outcome.capture(job)
        finally:
            slept, self._slept = self._slept, None
            async_library.name = library
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
def world_of(seed: int, mock: trio.testing.MockClock, threads: Threads) -> Iterator[None]:
    """The simulated world, from here to the end of the block. Within a Trio run."""
    chance = stream(seed, "random")
    bits = stream(seed, "urandom").getrandbits
    now = mock.current_time
    clock_gettime: Any = getattr(time, "clock_gettime", None)

    def wall() -> float:
        return EPOCH + now()

    def clock(clk_id: int, /) -> float:
        clock_gettime(clk_id)  # refuses what is no clock
        return wall() if clk_id in WALL_CLOCKS else now()

    def clock_ns(clk_id: int, /) -> int:
        return int(clock(clk_id) * NANO)

    def urandom(size: int, /) -> bytes:
        return bits(8 * size).to_bytes(size, "big") if size else b""

    def getrandom(size: int, flags: int = 0) -> bytes:
        return urandom(size)

    def seeded(generator: random.Random, a: Any = None, version: int = 2) -> None:
        _seed(generator, chance.getrandbits(64) if a is None else a, version)

    def reseed(a: Any = None, version: int = 2) -> None:
        seeded(_shared(), a, version)

    def node_uuid(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
        return uuid.UUID(int=bits(128), version=1)

    sockets = _Refused("a real socket", "trio.testing.memory_stream_pair")
    names = _Refused("a look-up of a host's name", "an address the scenario knows")
    processes = _Refused("a subprocess", "a task that plays it")
    signals = _Refused("a signal handler", "a call of what the handler would call")
    real_threads = _Refused("a real thread", "trio.to_thread.run_sync")
    changes: list[tuple[Any, str, Any]] = [
        (time, "time", wall),
        (time, "time_ns", lambda: int(wall() * NANO)),
        (time, "monotonic", now),
        (time, "monotonic_ns", lambda: int(now() * NANO)),
        (time, "perf_counter", now),
        (time, "perf_counter_ns", lambda: int(now() * NANO)),
        (time, "process_time", now),  # as much of it as of any other: a step takes none
        (time, "process_time_ns", lambda: int(now() * NANO)),
        (time, "thread_time", now),
        (time, "thread_time_ns", lambda: int(now() * NANO)),
        (time, "clock_gettime", clock),
        (time, "clock_gettime_ns", clock_ns),
        (time, "localtime", _else_now(time.localtime, wall)),
        (time, "gmtime", _else_now(time.gmtime, wall)),
        (time, "ctime", _else_now(time.ctime, wall)),
        (time, "asctime", _else_then(time.asctime, 0, wall)),
        (time, "strftime", _else_then(time.strftime, 1, wall)),
        (time, "sleep", threads.sleep),
        (os, "urandom", urandom),
        (os, "getrandom", getrandom),
        (random, "_urandom", urandom),
        (random, "seed", reseed),  # a method bound long ago, to the class as it was
        (random.Random, "seed", seeded),
        (uuid, "uuid1", node_uuid),
        (tempfile, "_name_sequence", None),  # the generator of names, kept from before; a new one is seeded
        (socket.socket, "__init__", sockets),
        (socket, "socketpair", sockets),
        *((socket, name, names) for name in _LOOK_UPS),
        (subprocess.Popen, "__init__", processes),
        (BaseProcess, "start", processes),
        *((os, name, processes) for name in _PROCESSES),
        *((signal, name, signals) for name in ("signal", "alarm", "setitimer", "set_wakeup_fd")),
        (threading.Thread, "start", real_threads),
        (_thread, "start_new_thread", real_threads),
    ]  # fmt: skip
    with suppress(FileNotFoundError):
        tempfile.gettempdir()  # found once a process, by drawing names: not by the first run of many
    state, thread = random.getstate(), get_ident()
    changes = [each for each in changes if each[1] in each[0].__dict__]  # no platform has them all
    before = [(holder, name, holder.__dict__[name]) for holder, name, _ in changes]
    _seed(_shared(), chance.getrandbits(64))
    for (holder, name, ours), (_, _, stock) in zip(changes, before, strict=True):
        setattr(holder, name, _only_in(thread, ours, stock) if callable(ours) else ours)
    try:
        with jobs_started_by(threads.start):
            yield
    finally:
        for holder, name, value in before:
            setattr(holder, name, value)
        random.setstate(state)


_seed: Final = random.Random.seed


def _shared() -> random.Random:
    """The generator behind ``random.random()`` and its like."""
    return cast("random.Random", cast("Any", random.random).__self__)


def _else_now(stock: Callable[[float], Any], wall: Callable[[], float]) -> Callable[..., Any]:
    """``stock``, which takes seconds and reads the real clock if it is given none."""

    def told(secs: float | None = None, /) -> Any:
        return stock(wall() if secs is None else secs)

    return told


def _else_then(stock: Callable[..., str], place: int, wall: Callable[[], float]) -> Callable[..., str]:
    """``stock``, which takes a calendar's time at this place, likewise."""
    localtime = time.localtime

    def told(*args: Any) -> str:
        return stock(*args) if len(args) > place else stock(*args, localtime(wall()))

    return told


def _only_in(thread: int, ours: Callable[..., Any], stock: Callable[..., Any]) -> Callable[..., Any]:
    def seeded(*args: Any, **kwargs: Any) -> Any:
        return (ours if get_ident() == thread else stock)(*args, **kwargs)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        # The program, that is: Trio's loop, when it breaks, ends with signals and sockets that are real.
        ours_here = get_ident() == thread and trio.lowlevel.in_trio_task()
        return (ours if ours_here else stock)(*args, **kwargs)

    return refuse if isinstance(ours, _Refused) else seeded


@final
class _Refused:
    def __init__(self, found: str, expected: str) -> None:
        self._text = f"found {found} within a simulation; expected {expected}"

    def __call__(self, *_: object, **__: object) -> NoReturn:
        raise NotSimulated(self._text)
