"""Claims of testing/sim/auditing.py: each real-world call is told at the program's line, real ones first."""

from __future__ import annotations

import datetime
import email.utils
import inspect
import logging
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from os import urandom as early_urandom
from random import seed as early_seed
from time import localtime as early_localtime
from time import time as early_time
from typing import Any, Final

import pytest
import trio

from phloem.errors import NotSimulated
from phloem.testing import audit
from phloem.testing.sim import RealCall, simulate

HERE: Final = "tests/testing/test_auditing.py"


def line_of(function: Callable[..., object], offset: int = 0) -> int:
    return inspect.getsourcelines(function)[1] + offset


def calls_of(function: Callable[[], object]) -> tuple[RealCall, ...]:
    async def main() -> None:
        function()

    return audit(main)


def only(function: Callable[[], object]) -> RealCall:
    (call,) = calls_of(function)
    return call


def test_the_four_of_the_clock_and_of_chance_are_told_by_line() -> None:
    async def main() -> None:
        os.urandom(4)
        for _ in range(3):
            time.time()
        datetime.datetime.now()
        uuid.uuid4()

    first = line_of(main, 1)
    name = f"{__name__}.{main.__qualname__}"
    told = [(call.call, call.where, call.function, call.count, call.simulated) for call in audit(main)]
    assert told == [
        ("datetime.datetime.now", f"{HERE}:{first + 3}", name, 1, False),
        ("os.urandom", f"{HERE}:{first}", name, 1, True),
        ("time.time", f"{HERE}:{first + 2}", name, 3, True),
        ("uuid.uuid4", f"{HERE}:{first + 4}", name, 1, True),
    ]


def test_a_name_bound_before_is_real_and_told_apart_from_its_neighbour_on_the_line() -> None:
    def both() -> None:
        _ = early_time(), time.time(), time.time()

    real, simulated = calls_of(both)
    assert (real.call, real.simulated, real.count) == ("time.time", False, 1)
    assert (simulated.call, simulated.simulated, simulated.count) == ("time.time", True, 2)
    assert "bound by name" in real.advice
    assert "time.time()" in real.advice


class _Stamp(datetime.datetime):
    """A time of the program's own making."""


@dataclass
class _Thing:
    at: float = field(default_factory=time.time)  # bound when the class is made


def utcnow() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # by Python 3.12; programs call it all the same
        return datetime.datetime.utcnow()


REAL: dict[str, tuple[str, Callable[[], object]]] = {
    "now": ("datetime.datetime.now", lambda: datetime.datetime.now(datetime.UTC)),
    "utcnow": ("datetime.datetime.utcnow", lambda: utcnow()),
    "now of a subclass": ("datetime.datetime.now", lambda: _Stamp.now()),
    "urandom bound early": ("os.urandom", lambda: early_urandom(1)),
    "localtime bound early": ("time.localtime", lambda: early_localtime()),
    "a default factory": ("time.time", _Thing),
    "getpid": ("os.getpid", lambda: os.getpid()),
    "a thread's number": ("threading.get_ident", lambda: threading.get_ident()),
    "times": ("os.times", lambda: os.times()),
    "the host's name": ("socket.gethostname", lambda: socket.gethostname()),
    "seed bound early": ("random.Random.seed", lambda: early_seed()),
    "a library's now": ("email.utils.localtime", lambda: email.utils.localtime()),
    "a real process": ("os.system", lambda: os.system("true")),
}
SIMULATED: dict[str, tuple[str, Callable[[], object]]] = {
    "today": ("datetime.date.today", lambda: date.today()),
    "today of a datetime": ("datetime.date.today", lambda: datetime.datetime.today()),
    "strftime": ("time.strftime", lambda: time.strftime("%Y")),
    "monotonic": ("time.monotonic", lambda: time.monotonic()),
    "perf_counter": ("time.perf_counter", lambda: time.perf_counter()),
    "process_time": ("time.process_time", lambda: time.process_time()),
    "sleep": ("time.sleep", lambda: time.sleep(1)),
    "token": ("secrets.token_hex", lambda: secrets.token_hex()),
    "system random": ("random.SystemRandom.random", lambda: random.SystemRandom().random()),
    "uuid1": ("uuid.uuid1", lambda: uuid.uuid1()),
    "random": ("random.random", lambda: random.random()),
    "randint": ("random.Random.randint", lambda: random.randint(1, 6)),
    "a generator": ("random.Random", lambda: random.Random()),
    "seed": ("random.seed", lambda: random.seed()),
}


@pytest.mark.parametrize("name", REAL)
def test_what_stays_real_is_told_as_real(name: str) -> None:
    wanted, function = REAL[name]
    call = only(function)
    assert (call.call, call.simulated, call.count) == (wanted, False, 1)
    assert call.advice


@pytest.mark.parametrize("name", SIMULATED)
def test_what_the_world_has_replaced_is_told_as_simulated(name: str) -> None:
    wanted, function = SIMULATED[name]
    call = only(function)
    assert (call.call, call.simulated, call.count) == (wanted, True, 1)


@pytest.mark.parametrize("name", SIMULATED)
def test_what_is_told_as_simulated_is_equal_in_two_runs(name: str) -> None:
    async def main() -> object:
        value = SIMULATED[name][1]()
        return value.random() if isinstance(value, random.Random) else value

    assert simulate(main).digest == simulate(main).digest


def test_a_log_needs_no_excuse_for_the_number_of_its_process() -> None:
    logger = logging.Logger("kept")  # noqa: LOG001 - of nobody's hierarchy
    logger.addHandler(logging.NullHandler())
    call = only(lambda: logger.warning("x"))
    assert (call.call, call.simulated) == ("logging.Logger.warning", True)


@pytest.mark.parametrize(
    "function",
    [
        lambda: random.Random(3).random(),
        lambda: random.seed(3),
        lambda: early_seed(3),
        lambda: time.localtime(3),
        lambda: time.strftime("%Y", time.gmtime(0)),
        lambda: datetime.datetime.fromtimestamp(0, datetime.UTC),
        lambda: uuid.UUID(int=3),
        lambda: id(object()),
        lambda: trio.current_time(),
        lambda: sorted({"a", "b"}),
    ],
)
def test_what_asks_nothing_of_the_world_is_not_told(function: Callable[[], object]) -> None:
    assert calls_of(function) == ()


def test_a_library_that_mixes_both_is_told_once_as_real_and_why() -> None:
    call = only(lambda: email.utils.make_msgid(domain="example.org"))
    assert (call.call, call.simulated, call.count) == ("email.utils.make_msgid", False, 1)
    assert call.advice.startswith("os.getpid stays real")


def test_a_call_is_told_in_the_task_and_the_function_that_makes_it() -> None:
    def deep() -> None:
        uuid.uuid4()

    async def task() -> None:
        await trio.sleep(1)
        deep()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(task)

    (call,) = audit(main)
    assert call.where == f"{HERE}:{line_of(deep, 1)}"
    assert call.function == f"{__name__}.{deep.__qualname__}"
    assert call.count == 2


def test_a_call_in_a_worker_threads_job_is_told() -> None:
    async def main() -> None:
        await trio.to_thread.run_sync(lambda: early_time())
        await trio.to_thread.run_sync(email.utils.localtime)

    mine, library = sorted(audit(main), key=lambda call: call.call, reverse=True)
    assert (mine.call, mine.where, mine.simulated) == ("time.time", f"{HERE}:{line_of(main, 1)}", False)
    assert (library.call, library.where, library.simulated) == (
        "email.utils.localtime",
        "a worker thread's job",
        False,
    )


@pytest.mark.parametrize(
    ("wanted", "function"),
    [
        ("socket.socket", lambda: socket.socket()),
        ("subprocess.run", lambda: subprocess.run(["true"], check=False)),
        ("threading.Thread.start", lambda: threading.Thread(target=print).start()),
    ],
)
def test_what_is_refused_is_told_and_ends_no_audit(wanted: str, function: Callable[[], object]) -> None:
    call = only(function)
    assert (call.call, call.simulated) == (wanted, False)
    assert "refused" in call.advice


def test_what_trio_is_refused_is_told_at_the_programs_line() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.open_tcp_stream("127.0.0.1", 9)

    (call,) = audit(main)
    assert call.where == f"{HERE}:{line_of(main, 3)}"
    assert call.call.endswith(".open_tcp_stream")


def test_a_program_that_fails_of_itself_is_no_complete_list_and_raises() -> None:
    async def main() -> None:
        datetime.datetime.now()
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as caught:
        audit(main)
    (note,) = caught.value.__notes__
    assert "datetime.datetime.now" in note
    assert f"{HERE}:{line_of(main, 1)}" in note


def test_nothing_of_an_audit_outlives_it() -> None:
    names: list[tuple[Any, str]] = [
        (time, "time"), (os, "urandom"), (random, "_urandom"), (random.Random, "seed"), (uuid, "uuid1"),
        (socket.socket, "__init__"), (threading.Thread, "start"),
    ]  # fmt: skip
    before = [holder.__dict__[name] for holder, name in names]

    async def stuck() -> None:
        time.time()
        with trio.CancelScope(shield=True):
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep_forever()

    with pytest.raises(Exception, match="deadlock"):
        audit(stuck)
    calls_of(time.time)
    assert all(holder.__dict__[name] is was for (holder, name), was in zip(names, before, strict=True))
    assert sys.getprofile() is None


def test_another_thread_is_real_and_not_told() -> None:
    done, ran = threading.Event(), threading.Event()

    def busy() -> None:
        while not done.is_set():
            time.time()
            ran.set()

    async def main() -> None:
        ran.clear()
        assert ran.wait(5)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        assert audit(main) == ()
    finally:
        done.set()
        thread.join()


def test_a_profiler_at_work_is_not_pushed_aside() -> None:
    def profiler(*_: object) -> None:
        pass

    sys.setprofile(profiler)
    try:
        with pytest.raises(NotSimulated, match="profiler"):
            calls_of(time.time)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)


async def test_an_audit_within_a_run_is_refused() -> None:
    async def main() -> None:
        pass

    with pytest.raises(NotSimulated):
        audit(main)
    assert sys.getprofile() is None


def test_a_line_can_be_read() -> None:
    call = RealCall("time.time", "app.py:12", "app.main", 3, simulated=False, advice="do not")
    assert str(call) == "app.py:12 in app.main: time.time × 3, REAL: do not"
