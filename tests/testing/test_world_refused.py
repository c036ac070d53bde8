"""Claims of testing/sim/world.py: what is real is refused by name, within a task and within a job."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio

from phloem.errors import Deadlock, NotSimulated
from phloem.testing.sim import explore, simulate


def value_of(main: Callable[[], Awaitable[Any]], **more: Any) -> Any:
    return simulate(main, **more).unwrap()


# -- refused ------------------------------------------------------------------------------------------


async def opens_a_signal_receiver() -> None:
    with trio.open_signal_receiver(signal.SIGUSR1):
        await trio.lowlevel.checkpoint()


# Called within a run, by their names at that time.
REFUSED: dict[str, Callable[[], Any]] = {
    "socket": socket.socket,
    "socketpair": lambda: socket.socketpair(),
    "trio socket": trio.socket.socket,
    "stream": lambda: trio.open_tcp_stream("127.0.0.1", 9),  # noqa: ASYNC105 - awaited there
    "listeners": lambda: trio.open_tcp_listeners(0),  # noqa: ASYNC105
    "unix": lambda: trio.open_unix_socket("/tmp/none"),  # noqa: ASYNC105
    "anyio stream": lambda: anyio.connect_tcp("127.0.0.1", 9),
    "look-up": lambda: socket.gethostbyname("localhost"),
    "thread": lambda: threading.Thread(target=print).start(),
    "timer": lambda: threading.Timer(1, print).start(),
    "signal": lambda: signal.signal(signal.SIGUSR1, signal.SIG_DFL),
    "alarm": lambda: signal.alarm(1),
    "itimer": lambda: signal.setitimer(signal.ITIMER_REAL, 1),
    "receiver": opens_a_signal_receiver,
    "popen": lambda: subprocess.Popen(["true"]),
    "os.popen": lambda: os.popen("true"),
    "system": lambda: os.system("true"),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "fork": lambda: os.fork(),
    "forkpty": lambda: os.forkpty(),
    "process": lambda: multiprocessing.get_context("spawn").Process(target=print).start(),
    "forked process": lambda: multiprocessing.get_context("fork").Process(target=print).start(),
    "run_process": lambda: trio.run_process(["true"]),  # noqa: ASYNC105
    "anyio run_process": lambda: anyio.run_process(["true"]),
}


ASYNC = {"stream", "listeners", "unix", "anyio stream", "receiver", "run_process", "anyio run_process"}


@pytest.mark.parametrize(
    ("name", "inside"),
    [*((name, "task") for name in REFUSED), *((name, "job") for name in REFUSED if name not in ASYNC)],
)
def test_what_is_real_is_refused_by_name_and_nothing_is_left_open(name: str, inside: str) -> None:
    async def main() -> None:
        if inside == "job":
            await trio.to_thread.run_sync(REFUSED[name])
        elif name in ASYNC:
            await REFUSED[name]()
        else:
            REFUSED[name]()

    failure: BaseException | None = simulate(main).failure
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    while failure is not None and not isinstance(failure, NotSimulated):
        failure = failure.__cause__ or failure.__context__
    assert isinstance(failure, RuntimeError)
    assert "within a simulation; expected" in str(failure)


def test_a_program_that_goes_on_after_a_refusal_goes_on() -> None:
    async def main() -> str:
        with pytest.raises(NotSimulated, match="real socket"):
            socket.socket()
        await trio.sleep(1)
        return "on"

    assert value_of(main) == "on"


def test_memory_streams_are_the_way() -> None:
    async def main() -> bytes:
        left, right = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_all, b"hello")
            return bytes(await right.receive_some(5))  # noqa: ASYNC121

    assert value_of(main) == b"hello"


def test_a_job_that_can_never_be_done_is_a_deadlock_and_no_hang() -> None:
    async def main() -> None:
        limiter = trio.CapacityLimiter(1)
        await limiter.acquire()
        await trio.to_thread.run_sync(print, limiter=limiter)

    failure = simulate(main).failure
    assert isinstance(failure, Deadlock)
    assert "borrowed tokens 1" in failure.tasks[0]


def test_a_race_with_a_job_is_found_by_an_exploration() -> None:
    async def main() -> None:
        order: list[str] = []

        async def in_a_thread(name: str) -> None:
            await trio.to_thread.run_sync(order.append, name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_a_thread, "a")
            nursery.start_soon(in_a_thread, "b")
        assert order == ["a", "b"]

    report = explore(main, runs=50, keep_going=True)
    assert len(report.failures) == 1
