"""Holds that a simulation has put back all that it changes in the process while it runs."""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio
import trio._core._run as trio_run
import trio._core._thread_cache as trio_thread_cache
import trio._threads as trio_threads

from phloem.testing.sim import Result, simulate

PATCHED: tuple[tuple[Any, str], ...] = (
    (time, "time"), (time, "time_ns"), (time, "monotonic"), (time, "perf_counter"), (time, "sleep"),
    (time, "localtime"), (os, "urandom"), (os, "fork"), (os, "system"), (random, "_urandom"),
    (random, "seed"), (random.Random, "seed"), (uuid, "uuid1"), (socket.socket, "__init__"),
    (socket, "getaddrinfo"), (socket, "socketpair"), (subprocess.Popen, "__init__"), (signal, "signal"),
    (signal, "set_wakeup_fd"),
    (threading.Thread, "start"), (trio_run, "_r"), (trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING"),
    (trio_thread_cache, "THREAD_CACHE"), (trio_threads, "_send_message_to_trio"),
    (trio.CapacityLimiter, "__init__"), (trio.MemorySendChannel, "__init__"),
    (trio.MemorySendChannel, "close"),
)  # fmt: skip


def state_of_the_process() -> list[object]:
    return [
        *(holder.__dict__[name] for holder, name in PATCHED),
        random.getstate(),
        gc.isenabled(),
        gc.get_freeze_count(),
        signal.getsignal(signal.SIGINT),
        sys.get_asyncgen_hooks(),
        sys.unraisablehook,
        "runner" in trio_run.GLOBAL_RUN_CONTEXT.__dict__,
        "task" in trio_run.GLOBAL_RUN_CONTEXT.__dict__,
    ]


@contextmanager
def nothing_changed() -> Iterator[None]:
    before = state_of_the_process()
    try:
        yield
    finally:
        assert state_of_the_process() == before


def run_of(main: Callable[[], Awaitable[Any]], **more: Any) -> Result:
    with nothing_changed():
        return simulate(main, **more)


async def value() -> int:
    await trio.sleep(5)
    return 3
