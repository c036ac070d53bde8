"""An organism in a thread of its own, and how calls of other threads cross into it.

Decides what blocks and what ends a wait: a call is a task in the organism's loop, whose caller waits for
its one answer; a caller that is interrupted, or out of time, has it cancelled there and waits until
that is done. Nobody waits for a thread that cannot answer any more. Knows nothing of what is
called: ``threads`` does, which alone uses it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread, get_ident
from typing import Any, Final, TypeVar, cast, final

import trio

from phloem.errors import CallerError, OrganismClosed, WouldDeadlock
from phloem.guarding import Raised, attempted, guarded, said
from phloem.organism import Organism

__all__ = ["OrganismThread", "refuse_task"]

# Seconds; a wait on Windows hears of Ctrl-C only once it is over. Elsewhere a signal ends it.
WAKE: Final = 0.2 if os.name == "nt" else None
AGAIN: Final = 0.2  # seconds; a thread that broke sets no event

_Value = TypeVar("_Value")
Opens = Callable[[], AbstractAsyncContextManager[_Value]]


@final
class _Sign:
    """An answer that is no value."""


LOST: Final = _Sign()  # the organism was stopped under it
CANCELLED: Final = _Sign()  # its caller was interrupted, or its time was over


def refuse_task(what: str) -> None:
    """Raise CallerError within a Trio task: to block there would stop its whole loop."""
    if trio.lowlevel.in_trio_task():
        raise CallerError(
            f"{what}: found a Trio task, whose loop it would stop while it waits; expected a plain function "
            "(in a task: async with open_organism, or this through trio.to_thread.run_sync)"
        )


@final
class _Call:
    """One function that runs in the organism's loop while a thread waits for what it gives back."""

    def __init__(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], timeout: float | None):
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout: found {timeout!r}, expected seconds, 0 or more, or None")
        self.function, self.args, self.timeout = function, args, timeout
        self.asked = time.monotonic()
        self.context = copy_context()
        self.scope = trio.CancelScope()
        self.begun = self.over = False
        self.came = False  # there is an answer, if only that it has been entered
        self.result: Any = LOST
        self._wake: SimpleQueue[None] = SimpleQueue()

    async def run(self) -> None:
        """The task. It is over with an answer, however it ends."""
        answer: Any = LOST
        if self.timeout is not None:
            left = self.asked + self.timeout - time.monotonic()
            self.scope.deadline = trio.current_time() + left
        try:
            with self.scope:
                answer = await guarded(self.function, *self.args)
        finally:
            self.end(CANCELLED if self.scope.cancelled_caught else answer)

    def enter(self, value: Any) -> None:
        """Answer for the first time; the task goes on."""
        self.result, self.came = value, True
        self._wake.put(None)

    def end(self, answer: Any) -> None:
        """Answer for the last time."""
        if not self.over:
            self.result, self.came, self.over = answer, True, True
            self._wake.put(None)

    def wait(self, *, over: bool = True) -> Any:
        """The last answer, or the first one if there are two. Blocks; again, if it was interrupted."""
        while not (self.over if over else self.came):
            _nap(self._wake)
        return self.result


@final
class _Hold:
    """An async context manager that a task keeps open for a thread. It answers twice: entered, and left."""

    def __init__(self, opens: Opens[Any], timeout: float | None) -> None:
        self._opens, self._leave = opens, trio.Event()
        self.call = _Call(self._keep, (), timeout)

    async def _keep(self) -> None:
        async with self._opens() as value:
            self.call.scope.deadline = float("inf")  # it was for entering
            self.call.enter(value)
            await self._leave.wait()

    def leave(self) -> None:
        """To be called in the loop."""
        self._leave.set()


@final
class OrganismThread:
    """One organism, in a thread of its own. Any number of threads may call, from anywhere but a Trio task."""

    def __init__(self, opens: Opens[Organism], name: str) -> None:
        self._opens, self._name = opens, name
        # A daemon: Python would else wait at its exit for a block that nobody leaves any more.
        self._thread = Thread(target=self._run, name=f"phloem {name}", daemon=True)
        self._process = os.getpid()
        self._scope, self._leave = trio.CancelScope(), trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._spawn: Callable[..., None] | None = None  # starts a call's task; None: no calls any more
        self._pending: dict[_Call, None] = {}  # what callers wait for; each step of it is atomic
        self._holds: dict[_Hold, None] = {}
        self._cut = False
        self._organism: Organism | None = None
        self._wake: SimpleQueue[None] = SimpleQueue()
        self.failure: BaseException | None = None
        self.ended = False

    # -- the callers' side ----------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[Organism]:
        """The organism, until the block is left: normally it drains, by whatever else it is cut.

        Raises what the organism could not be opened for, or has died of.
        """
        try:
            self._thread.start()
            while self._organism is None and not self.ended:
                _nap(self._wake)
            if self._organism is not None:
                yield self._organism
                self._stop(self._leave.set)
        except BaseException as error:
            self._cut = True  # for a loop that has not begun yet
            self._stop(partial(self._scope.cancel, reason="its block was left by an error"))
            if self.failure is not None and isinstance(error, Exception):
                raise self.failure  # noqa: B904, ASYNC104 - it has a cause of its own; the error is its context
            raise
        if self.failure is not None:
            raise self.failure

    def _stop(self, how: Callable[[], object]) -> None:
        if self._reachable:
            self._soon(how)
            while not self.ended:
                _nap(self._wake)
            self._thread.join()

    def call(self, function: Callable[..., Awaitable[Any]], *args: Any, timeout: float | None = None) -> Any:
        """The result of ``await function(*args)`` in the organism's loop, in the caller's context. Blocks.

        Interrupted (by Ctrl-C, for one) means: it was cancelled there, and has ended. Raises
        TimeoutError after ``timeout`` seconds, having cancelled it likewise, OrganismClosed,
        WouldDeadlock in the organism's own thread, CallerError in a Trio task.
        """
        call = _Call(function, args, timeout)
        with self._pended(call):
            return self._result(call, self._wait(call, partial(self._begin, call)))

    def read(self, function: Callable[[], _Value]) -> _Value:
        """What a plain function gives back between two steps of the organism. Blocks for a moment."""
        if self.ended or get_ident() == self._thread.ident:
            return function()

        async def reading() -> _Value:
            await trio.lowlevel.checkpoint()
            return function()

        return cast("_Value", self.call(reading))

    @contextmanager
    def holding(self, opens: Opens[_Value], timeout: float | None) -> Iterator[_Value]:
        """What an async context manager gives, as a plain one. ``timeout`` is for entering it."""
        hold = _Hold(opens, timeout)
        call = hold.call
        with self._pended(call):
            try:  # from before it is entered until after it is left: Ctrl-C may come at any moment
                yield self._result(call, self._wait(call, partial(self._begin, call, hold), over=False))
                left = self._wait(call, hold.leave) if self._reachable else LOST
            except BaseException:
                self._interrupt(call)
                raise
            if left is not LOST:  # else the organism has left it before
                self._result(call, left)

    def await_end_of(self, done: Event) -> None:
        """Wait for what the thread does as it ends. Blocks; not if it has ended, or cannot be waited for."""
        while self._reachable and not self.ended and not done.is_set():
            done.wait(AGAIN)

    @contextmanager
    def _pended(self, call: _Call) -> Iterator[None]:
        """Whatever becomes of the thread meanwhile, the call is told."""
        self._pending[call] = None
        try:
            yield
        finally:
            if not call.over and self._reachable:  # a second Ctrl-C has hit what the first was to do
                self._soon(partial(self._cancel, call))
            del self._pending[call]

    def _wait(self, call: _Call, first: Callable[[], object], *, over: bool = True) -> Any:
        """Have ``first`` done in the loop, and wait for what comes of it. The call is pending already."""
        self._refuse()
        try:
            if self.ended and not call.over:  # it came too late to be told by the thread
                return LOST
            self._soon(first)
            return call.wait(over=over)
        except BaseException:
            self._interrupt(call)
            raise

    def _interrupt(self, call: _Call) -> None:
        """Have it cancelled, and wait until it is."""
        if self._reachable and not self.ended:
            self._soon(partial(self._cancel, call))
            call.wait()

    def _result(self, call: _Call, answer: Any) -> Any:
        if answer is LOST:
            raise self._closed()
        if answer is CANCELLED:
            raise TimeoutError(f"organism {self._name!r} has not answered within {call.timeout:g} s")
        if isinstance(answer, Raised):
            raise _alone(answer.error)
        return answer

    def _closed(self) -> OrganismClosed:
        if self.failure is None:
            return OrganismClosed(f"organism {self._name!r} has stopped, or its block has been left")
        text = f"{type(self.failure).__name__}: {said(self.failure)}"
        error = OrganismClosed(f"organism {self._name!r} has died of {text}")
        error.__cause__ = self.failure
        return error

    def _refuse(self) -> None:
        if os.getpid() != self._process:
            raise OrganismClosed(
                f"found organism {self._name!r} in a fork of the process that opened it, without its thread; "
                "expected it to be opened after the fork"
            )
        if get_ident() == self._thread.ident:
            raise WouldDeadlock(
                f"found a call from the thread of organism {self._name!r} itself (an async handler's, for "
                "one), which would wait for itself; forward with HandlerResponse(payload, to=…)"
            )
        refuse_task(f"organism {self._name!r}")

    @property
    def _reachable(self) -> bool:
        """False where nobody would answer: no thread, another process, Python's end, the thread itself."""
        here = os.getpid() == self._process and not sys.is_finalizing()
        return here and self._thread.ident not in (None, get_ident())

    def _soon(self, function: Callable[[], object]) -> None:
        """Have it done in the loop, if there still is one. Never blocks."""
        if self._token is not None:
            with suppress(trio.RunFinishedError):  # then all that wait are told so as the thread ends
                self._token.run_sync_soon(function)

    # -- the organism's side --------------------------------------------------------------------

    def _run(self) -> None:
        """The thread."""
        try:
            ran = attempted(trio.run, self._main)
            if isinstance(ran, Raised):
                self.failure = _alone(ran.error)
        except KeyboardInterrupt as error:  # a handler's own: a real one comes to the main thread
            self.failure = error
        finally:
            self.ended = True
            for call in self._pending.copy():
                call.end(LOST)
            self._wake.put(None)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            if self._cut:
                self._scope.cancel(reason="its block was left before it began")
            async with trio.open_nursery() as calls:
                try:
                    async with self._opens() as self._organism:
                        self._spawn = calls.start_soon  # calls may start tasks, and do no more with it
                        self._wake.put(None)
                        await self._leave.wait()
                finally:
                    self._spawn = None
                    for hold in self._holds:
                        hold.leave()

    def _begin(self, call: _Call, hold: _Hold | None = None) -> None:
        if call.over:
            return
        if self._spawn is None:
            call.end(LOST)
            return
        call.begun = True
        call.context.run(partial(self._spawn, self._carry, call, hold, name=f"phloem call {self._name}"))

    async def _carry(self, call: _Call, hold: _Hold | None) -> None:
        if hold is not None:
            self._holds[hold] = None
        try:
            await call.run()
        finally:
            if hold is not None:
                del self._holds[hold]

    def _cancel(self, call: _Call) -> None:
        call.scope.cancel(reason="its caller was interrupted")
        if not call.begun:
            call.end(CANCELLED)


def _nap(queue: SimpleQueue[None]) -> None:
    """Until somebody wakes us, or a little earlier. Blocks; Ctrl-C is heard."""
    with suppress(Empty):
        queue.get(timeout=WAKE)


def _alone(error: BaseException) -> BaseException:
    """The one error in a group, with the group as its cause if it has none; or the group."""
    leaf = error
    while isinstance(leaf, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", leaf).exceptions
        if len(members) != 1:
            return error
        (leaf,) = members
    if leaf is not error and leaf.__cause__ is None:
        leaf.__cause__ = error
    return leaf
