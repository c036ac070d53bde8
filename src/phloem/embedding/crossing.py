"""From the host's side to Trio's and back: one call, or a block that one Trio task holds.

Decides what comes of a call when its host is cancelled: what its Trio task came to, as if that were the
caller. Cancelled there, it is cancelled here; a value or an error that it came to all the same is not
lost, and the cancel comes at the host's next await. Knows nothing of organisms. Called by ``facing``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, cast, final

import outcome
import trio

from phloem.guarding import holds_cancelled

from .guests import Guest
from .loops import Bell, Interrupt, is_cancel, outwait, redeliver

__all__ = ["Block", "cross"]

HOST_CANCELLED: Final = "the host's task was cancelled"


async def cross(guest: Guest, function: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
    """``await function(*args, **named)`` on Trio's side, in the caller's context. Checkpoint of the host's.

    Cancelled means: cancelled on Trio's side too, where it has ended. Raises what it raises; of a group with
    one leaf that leaf, from the group. Within a task of Trio's it is a plain call.
    """
    if trio.lowlevel.in_trio_task():
        return await function(*args, **named)
    crossing = Crossing(guest, lambda: function(*args, **named))
    crossing.start(getattr(function, "__qualname__", "call"))
    cancelled = await outwait(crossing.ended, crossing.cancel)
    try:
        return crossing.result(cancelled)
    finally:
        del cancelled, crossing


@final
class Crossing:
    """One Trio task and what it came to, for a waiting host."""

    __slots__ = ("_function", "_guest", "_scope", "_unwanted", "_when_ended", "ended", "outcome")

    def __init__(
        self,
        guest: Guest,
        function: Callable[[], Awaitable[Any]],
        when_ended: Callable[[], object] | None = None,
    ) -> None:
        self._guest, self._function, self._when_ended = guest, function, when_ended
        self._scope = trio.CancelScope()
        self._unwanted = False  # its scope would ask a clock, which may be gone
        self.ended = Bell(guest.check())
        self.outcome: outcome.Outcome[Any] | None = None  # None at the end: cancelled

    def start(self, name: str) -> None:
        """In a copy of the caller's context."""
        guest = self._guest
        guest.crossings[self] = self._end
        guest.holders += 1  # or it would be cancelled where on Trio it comes to an end of its own
        try:
            guest.spawn(self._run, name=f"phloem host's {name}")
        except RuntimeError:  # the run's last nursery is closed already
            self.outcome = outcome.Error(guest.why_over())
            self._end()

    def cancel(self) -> None:
        """On Trio's side, because the host was. Never a checkpoint."""
        self._unwanted = True
        self._scope.cancel(reason=HOST_CANCELLED)

    async def _run(self) -> None:
        try:
            with self._scope:
                self.outcome = outcome.Value(await self._function())
        except BaseException as error:  # noqa: BLE001, ASYNC103 - the host's
            going_on = self._keep(error)
            if going_on is not None:
                raise going_on from None  # noqa: ASYNC104
        finally:
            if self.outcome is not None or self._unwanted:
                self._end()
            # Else the whole run ends, and only its end knows why.

    def _keep(self, error: BaseException) -> BaseException | None:
        """Of what it raised, what is the host's becomes the outcome; a scope of Trio's waits for the rest."""
        going_on, own = _split(error)
        if own is not None:
            self.outcome = outcome.Error(own)
        elif not self._unwanted and self._guest.ending:
            self.outcome = outcome.Error(self._guest.why_over())
        return going_on

    def _end(self) -> None:
        """Also called where the run has ended without it."""
        if self not in self._guest.crossings:
            return
        if self._guest.over.rung and self.outcome is None and not self._unwanted:
            self.outcome = outcome.Error(self._guest.why_over())
        self.ended.ring()  # first: Ctrl-C may come between these lines, and then it is told once more
        if self._when_ended is not None:
            self._when_ended()
        del self._guest.crossings[self]
        self._guest.let_go()

    def is_own(self, error: BaseException | None, *, cut: bool) -> bool:
        """True if it came to nothing but what the host's body brought in: its error, or its cancel."""
        if self.outcome is None:
            return cut
        return error is not None and isinstance(self.outcome, outcome.Error) and self.outcome.error is error

    def result(self, cancelled: BaseException | None) -> Any:
        """What it came to; ``cancelled`` is the cancel that hit the host as it waited. Once."""
        came, self.outcome = self.outcome, None
        if came is None:
            assert cancelled is not None  # nobody else cancels it
            raise cancelled
        if cancelled is not None:
            redeliver(cancelled)
        try:
            if isinstance(came, outcome.Error):
                raise_at_edge(came.error)
            return came.unwrap()
        finally:
            del came, cancelled  # here and below: an error leads to these frames, which must not lead back


@final
class Block:
    """An async context manager of Trio's side, for the host: one Trio task holds it for the whole block.

    If what it holds ends before the block does, the host's body is cancelled, and the block raises why.
    """

    def __init__(
        self,
        guest: Guest,
        manager: AbstractAsyncContextManager[Any],
        facing: Callable[[Any], Any],
    ) -> None:
        self._guest, self._manager, self._facing = guest, manager, facing
        self._direct = False
        self._entered: Bell
        self._crossing: Crossing
        self._interrupt: Interrupt | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self._left = trio.Event()

    async def __aenter__(self) -> Any:
        if trio.lowlevel.in_trio_task():
            self._direct = True
            return await self._manager.__aenter__()
        self._entered = Bell(self._guest.check())
        crossing = self._crossing = Crossing(self._guest, self._hold, self._held)
        crossing.start(f"block of {type(self._manager).__name__}")
        cancelled = await outwait(self._entered, crossing.cancel, crossing.ended)
        try:
            if crossing.ended.rung:
                crossing.result(cancelled)
                raise AssertionError("a block ended before it was left, and for no reason")
            if cancelled is not None:
                raise cancelled
        finally:
            del cancelled
        self._interrupt = Interrupt()
        return self._facing(self._value)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._direct:
            return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102
        crossing, interrupt = self._crossing, self._interrupt
        assert interrupt is not None  # __aenter__ has set it
        self._interrupt = None
        cut = is_cancel(error)
        if crossing.ended.rung:
            others = interrupt.take_back()
            if isinstance(error, GeneratorExit):
                return False
            try:
                crossing.result(cast("Any", error) if others and cut else None)
            finally:
                del error
            return False
        if isinstance(error, GeneratorExit):  # thrown away: nothing can be waited for here
            crossing.cancel()
            return False
        if cut:
            crossing.cancel()
        else:
            self._error = error
            self._left.set()
        cancelled = await outwait(crossing.ended, crossing.cancel)  # noqa: ASYNC102
        await self._guest.see_out()  # noqa: ASYNC102
        try:
            if crossing.is_own(error, cut=cut):
                if cancelled is not None:
                    redeliver(cancelled)
                return False  # it goes on as it came, not as Trio's side raised it
            crossing.result(cancelled)
            return error is not None and not cut  # the manager swallowed it
        finally:
            if error is not None:
                error.__traceback__ = traceback  # without the way through Trio's side
            del cancelled, error, traceback

    async def _hold(self) -> None:
        async with self._manager as self._value:
            self._entered.ring()
            await self._left.wait()
            if self._error is not None:
                raise self._error

    def _held(self) -> None:
        """It has ended, in whatever way."""
        self._entered.ring()
        if self._interrupt is not None:
            self._interrupt.send()


def raise_at_edge(error: BaseException) -> None:
    """Raise ``error``; of a group with one leaf that leaf, from the group if from nothing else."""
    leaf = error
    try:
        while isinstance(leaf, BaseExceptionGroup):
            members = cast("BaseExceptionGroup[BaseException]", leaf).exceptions
            if len(members) != 1:
                raise error
            (leaf,) = members
        if leaf is error or leaf.__cause__ is not None:
            raise leaf  # what it was raised from says more than a group that says it was one
        raise leaf from error
    finally:
        del error, leaf


def _split(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """(what some scope of Trio's waits for, the rest)."""
    if not holds_cancelled(error):
        return None, error  # itself, where a split would make another group
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(trio.Cancelled)
    return error, None
