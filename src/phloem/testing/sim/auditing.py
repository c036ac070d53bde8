"""Which real-world calls a program makes, by line: the clock, entropy, the process's own numbers.

Decides what counts as a real-world call, whose line it is told at, and whether a simulation has replaced it.
What the world of the run has replaced is counted where it was put; what stays real is a function in C, and
seen by the interpreter's profiler. Called by users; changes nothing that outlives the run.
"""

from __future__ import annotations

import _thread
import datetime
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from threading import get_ident
from types import BuiltinFunctionType, FrameType, MappingProxyType
from typing import Any, Final, cast, final

from phloem.errors import NotSimulated

from .running import Main, simulate
from .sites import Site, is_own

__all__ = ["RealCall", "audit"]

EARLY: Final = "bound by name before the run: call it through its module, as {0}()"
NUMBER: Final = "another one in each process: keep it out of what the program decides and tells"
PROCESS: Final = "a real process, and it really ran: have a task of the scenario play it"
REFUSED: Final = "refused within a simulation: have a task of the scenario play it"
SEEDED: Final = "from the seed within a simulation"

_HERE: Final = os.path.dirname(os.path.abspath(__file__))
_STDLIB: Final = os.path.dirname(os.__file__)
_THREAD: Final = "a worker thread's job"

_WATCHED: Final[tuple[tuple[Any, tuple[str, ...]], ...]] = (
    (time, (
        "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
        "process_time_ns", "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns", "sleep",
        "localtime", "gmtime", "ctime", "asctime", "strftime",
    )),
    (os, (
        "urandom", "getrandom", "getpid", "getppid", "times", "fork", "forkpty", "system", "posix_spawn",
        "posix_spawnp",
    )),
    (random, ("_urandom", "seed")),
    (random.Random, ("seed",)),
    (uuid, ("uuid1", "_generate_time_safe")),
    (threading, ("get_ident", "get_native_id")),
    (socket, (
        "gethostname", "getaddrinfo", "getnameinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr",
        "getfqdn", "socketpair",
    )),
    (socket.socket, ("__init__",)),
    (subprocess.Popen, ("__init__",)),
    (BaseProcess, ("start",)),
    (signal, ("signal", "alarm", "setitimer")),
    (threading.Thread, ("start",)),
    (_thread, ("start_new_thread",)),
)  # fmt: skip
_NAMES: Final = MappingProxyType(
    {"random._urandom": "os.urandom", "uuid._generate_time_safe": "uuid.uuid1", "uuid.uuid1": "uuid.uuid1"}
)
_ADVICE: Final = MappingProxyType(
    {
        "datetime.datetime.now": "never simulated: use datetime.fromtimestamp(time.time(), timezone)",
        "datetime.datetime.utcnow": "never simulated: use datetime.fromtimestamp(time.time(), UTC)",
        "os.getpid": NUMBER,
        "os.getppid": NUMBER,
        "os.system": PROCESS,
        "os.posix_spawn": PROCESS,
        "os.posix_spawnp": PROCESS,
        "os.times": "the real clock: use time.process_time() or time.monotonic()",
        "random.seed": "bound by name before the run: call it through its module, or with a number",
        "signal.alarm": "a real signal: have a task of the scenario call what it would call",
        "signal.setitimer": "a real signal: have a task of the scenario call what it would call",
        "socket.gethostname": "another one on each machine: keep it out of what the program tells",
        "threading.get_ident": NUMBER,
        "threading.get_native_id": NUMBER,
    }
)
# Without a time these read the clock, with one they do not; which it was is not to be seen of a call in C.
_CALENDAR: Final[frozenset[str]] = frozenset(
    {"time.localtime", "time.gmtime", "time.ctime", "time.asctime", "time.strftime"}
)
_IDENTITIES: Final[frozenset[str]] = frozenset({"threading.get_ident", "threading.get_native_id"})
_HARMLESS: Final[frozenset[str]] = frozenset({"logging", "tempfile", "threading", "multiprocessing.process"})


@final
@dataclass(frozen=True, slots=True)
class RealCall:
    """One line of the program and what it asks of the real world there.

    ``where`` is ``file:line``, ``function`` the module and function it is in, ``count`` how often the run
    made the call. ``simulated`` says that the run's world had replaced it; what is not makes two runs
    of one seed differ.
    """

    call: str
    where: str
    function: str
    count: int
    simulated: bool
    advice: str

    def __str__(self) -> str:
        how = "simulated" if self.simulated else "REAL"
        return f"{self.where} in {self.function}: {self.call} × {self.count}, {how}: {self.advice}"


def audit(main: Main, *, seed: int = 0) -> tuple[RealCall, ...]:
    """Run ``main``, an async function without arguments, once, and list its real-world calls by line.

    Those that stay real come first: they are what makes a program differ from run to run. A call that
    a library of Python makes for the program (``uuid.uuid4``, ``secrets.token_hex``) is told by the
    library's name at the program's line. Seen is what the run did, not what the code could do. Not
    seen are ``id()``, ``hash()`` and the order of a set, which ``check_determinism`` finds by their
    effect; files and the environment, which are real; and what C calls by itself (``sorted(key=…)``, a
    C function given to a thread as it is).

    Raises what ``main`` raised, with the calls so far as a note, unless it was refused something real, which
    is in the list; NotSimulated within a Trio run, or where a profiler is at work in this thread.
    Not async: it runs Trio itself.
    """
    if sys.getprofile() is not None:
        raise NotSimulated("found a profiler at work in this thread, expected none: audit takes its place")
    audited = _Audit()

    async def watched() -> Any:
        audited.begin()
        return await main()

    try:
        failure = simulate(watched, seed=seed).failure
    finally:
        sys.setprofile(None)
    calls = audited.calls()
    if failure is not None and not _refused(failure):
        failure.add_note("\n".join(("its real-world calls until then:", *map(str, calls))))
        raise failure
    return calls


def _refused(failure: BaseException) -> bool:
    if isinstance(failure, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", failure)
        return group.split(NotSimulated)[1] is None
    return isinstance(failure, NotSimulated)


@final
class _Row:
    __slots__ = ("advice", "count", "simulated")

    def __init__(self) -> None:
        self.count, self.simulated, self.advice = 0, True, ""


@final
class _Audit:
    """The counts of one run. Made outside of the simulated world, begun within."""

    def __init__(self) -> None:
        self._stock = {
            (holder, name): holder.__dict__[name]
            for holder, names in _WATCHED
            for name in names
            if holder.__dict__.get(name) is not None
        }
        self._real = {
            function: _called(holder, name)
            for (holder, name), function in self._stock.items()
            if isinstance(function, BuiltinFunctionType)
        }
        self._words = {function.__name__ for function in self._real} | {"now", "utcnow", "today", "seed"}
        self._shared = cast("Any", random.random).__self__
        # by call, line, function, and whether the call itself was replaced: two may stand on one line
        self._rows: dict[tuple[str, Site | str, str, bool], _Row] = {}
        self._open: dict[FrameType, str] = {}  # calls of libraries that go on, and are counted
        self._thread = get_ident()  # others are not simulated
        self._today: str | None = None  # date.today goes on, in C, and has not asked for the time yet

    def begin(self) -> None:
        """From here on. What is put over the world's own functions goes when the world goes."""
        for (holder, name), stock in self._stock.items():
            replaced = holder.__dict__[name]
            if replaced is not stock:
                setattr(holder, name, self._counted(_called(holder, name), replaced))
        sys.setprofile(self._profile)

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        refuses = getattr(function, "__name__", "") == "refuse"  # as the world calls what refuses
        advice = REFUSED if refuses else SEEDED

        def counted(*args: Any, **kwargs: Any) -> Any:
            if get_ident() == self._thread and _reads(name, args, kwargs):
                told, self._today = self._today or name, None
                self._count(told, sys._getframe(1), simulated=not refuses, advice=advice)
            return function(*args, **kwargs)

        return counted

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        """The interpreter calls this for each call and return of this thread."""
        if event == "return":
            self._open.pop(frame, None)
            return
        word = getattr(arg, "__name__", "") if event != "call" else ""
        if word not in self._words and word not in ("random", "getrandbits"):
            return
        if event == "c_call":
            self._called(frame, arg, word)
        elif word == "today" and self._today is not None:  # it is over, and has not asked for the time
            name, self._today = self._today, None
            self._count(name, frame, simulated=False, advice="never simulated")

    def _called(self, frame: FrameType, function: Any, word: str) -> None:
        owner = getattr(function, "__self__", None)
        if isinstance(owner, type) and issubclass(owner, datetime.date):
            if word == "today":
                self._today = "datetime.date.today"
            elif word in ("now", "utcnow"):
                name = f"datetime.datetime.{word}"
                self._count(name, frame, simulated=False, advice=_ADVICE[name])
        elif isinstance(owner, random.Random):
            if owner is self._shared and word in ("random", "getrandbits"):
                self._count(f"random.{word}", frame, simulated=True, advice=SEEDED)
            elif word == "seed" and frame.f_locals.get("a", 0) is None:
                self._count("random.seed", frame, simulated=False, advice=_ADVICE["random.seed"])
        elif function in self._real:
            name = self._real[function]
            advice = _ADVICE.get(name) or EARLY.format(name)
            if name in _CALENDAR:
                advice += ", if it is called without a time"
            self._count(name, frame, simulated=False, advice=advice)

    def _count(self, name: str, frame: FrameType, *, simulated: bool, advice: str) -> None:
        blamed = _blamed(frame, through=advice == REFUSED)
        if blamed is None:
            return
        site, function, outer = blamed
        told = name
        if outer is not None:
            library = outer.f_globals.get("__name__", "?")
            if name in _CALENDAR or name in _IDENTITIES or (library in _HARMLESS and name == "os.getpid"):
                return
            if not simulated and advice != REFUSED:
                advice = f"{name} stays real: {advice}"
            told = f"{library}.{outer.f_code.co_qualname.removesuffix('.__init__').removesuffix('.__new__')}"
        row = self._rows.setdefault((told, site, function, outer is None and simulated), _Row())
        if outer is None or self._open.get(outer) != told:
            row.count += 1
            if outer is not None:
                self._open[outer] = told
        if not row.advice or (row.simulated and not simulated):
            row.simulated, row.advice = simulated, advice

    def calls(self) -> tuple[RealCall, ...]:
        """What was counted: first what is real, then by line."""
        ordered = sorted(
            self._rows.items(),
            key=lambda each: (each[1].simulated, _order(each[0][1]), each[0][0], each[0][2]),
        )
        return tuple(
            RealCall(call, _place(site), function, row.count, row.simulated, row.advice)
            for (call, site, function, _), row in ordered
        )


def _called(holder: Any, name: str) -> str:
    """``time.time``, ``socket.socket``, ``threading.Thread.start``."""
    module = holder.__name__ if not isinstance(holder, type) else f"{holder.__module__}.{holder.__name__}"
    whole = f"{module}.{name}".removesuffix(".__init__")
    return _NAMES.get(whole, whole)


def _reads(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """True if these arguments make the call read the clock, or the machine's entropy."""
    match name:
        case "random.seed":
            return (args[0] if args else kwargs.get("a")) is None
        case "random.Random.seed":
            return (args[1] if len(args) > 1 else kwargs.get("a")) is None
        case "time.strftime":
            return len(args) < 2
        case _ if name in _CALENDAR:
            return not args or args[0] is None
        case _:
            return True


def _blamed(frame: FrameType | None, *, through: bool) -> tuple[Site | str, str, FrameType | None] | None:
    """Whose line a call is: the program's own, its function, and the library's frame that it called.

    None for a call that Trio or the engine made for itself; ``through`` looks through Trio as well.
    """
    outer: FrameType | None = None
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        if is_own(file):
            function = f"{frame.f_globals.get('__name__', '?')}.{code.co_qualname}"
            return Site(file, frame.f_lineno, code.co_qualname), function, outer
        if file.startswith(_HERE):
            return None
        if not file.startswith("<"):  # a class's made __init__, the import system
            library = not file.startswith(_STDLIB) or "site-packages" in file
            if library and not through:
                job = os.path.basename(file) == "_threads.py" and outer is not None
                return (_THREAD, "?", outer) if job else None
            outer = frame
        frame = frame.f_back
    return None


def _place(site: Site | str) -> str:
    return site if isinstance(site, str) else site.place


def _order(site: Site | str) -> tuple[str, int]:
    return (site, 0) if isinstance(site, str) else (site.file, site.line)
