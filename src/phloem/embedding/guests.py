"""The Trio guest of an event loop: one for each loop, however many organisms it carries.

Decides when a guest starts (with the first organism) and ends (after the last, or when the loop's
tasks are cancelled, or by hand when the loop is closed): a guest that outlived its loop would leave
silence, and a thread in which no Trio run could start any more. Knows nothing of organisms or of what
crosses. Called by ``embedding`` only, in the loop's thread.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextvars import Context
from functools import partial
from queue import SimpleQueue
from threading import get_ident
from typing import Any, Final, final
from weakref import WeakKeyDictionary

import outcome
import trio

from phloem.errors import CallerError, ForeignGuest, HostGone, InternalError, OrganismClosed

from .loops import (
    Bell,
    Loop,
    before_close,
    load_shield,
    outwait,
    redeliver,
    running_loop,
    signals_left_alone,
    start_task,
)

__all__ = ["Guest", "guest_around", "join_guest"]

ENDS: Final = "the last organism of this event loop has ended"
LOOP_ENDS: Final = "the tasks of the event loop were cancelled"
_log: Final = logging.getLogger("phloem")

# The one state of a module in phloem. A loop's organisms share a guest, for a thread can carry only one
# Trio run, and nothing but the loop itself is known to all who open one.
_guests: Final[WeakKeyDictionary[Loop, Guest]] = WeakKeyDictionary()


async def join_guest() -> Guest:
    """The running loop's guest, held until ``leave`` or ``let_go``. Checkpoint of the host's, if it starts.

    Raises ForeignGuest for a thread with a Trio run that is not ours, CallerError where no loop runs.
    """
    loop = running_loop()
    if loop is None:
        raise CallerError(
            "found no event loop and no Trio run around open_organism; expected asyncio, uvloop or Trio "
            "(in a plain program: open_organism_in_thread)"
        )
    while (guest := _guests.get(loop)) is not None and guest.ending:
        await guest.gone.wait()
    if guest is None:
        _refuse_foreign()
        load_shield()
        guest = Guest(loop)
    guest.holders += 1
    guest.organisms += 1
    try:
        await guest.ready.wait()
        if guest.over.rung:
            raise guest.why_over()
    except GeneratorExit:  # thrown away: nobody can wait here
        guest.abandon()
        raise
    except BaseException:
        await guest.leave()  # noqa: ASYNC102
        raise
    return guest


def guest_around() -> Guest | None:
    """The one that the calling task of Trio's runs in; None if its run is no guest of ours."""
    loop = running_loop()
    return None if loop is None else _guests.get(loop)


@final
class Guest:
    """One Trio run in one event loop's thread."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self._thread = loop, get_ident()
        self.holders = 0  # organisms, and what crosses
        self.organisms = 0
        self.ending = False
        self.ready, self.over, self.gone = Bell(loop), Bell(loop), Bell(loop)
        self.spawn: Callable[..., None]
        self.crossings: dict[object, Callable[[], None]] = {}  # what the host waits for, and how to say: over
        self.host_calls: dict[object, Callable[[], None]] = {}  # what Trio waits for, and how to say: no loop
        self._scope = trio.CancelScope()
        self._next: Callable[[], object] | None = None  # Trio's next tick: it never asks for two
        self._arrived: SimpleQueue[None] = SimpleQueue()  # a tick from a thread, for who runs them by hand
        self.by_hand = False
        self._interrupted = False
        self._why = LOOP_ENDS
        self._told_closed = False
        self._failure: BaseException | None = None
        self._context = Context()  # of no caller: the organisms of one loop need not know each other
        begin = partial(
            trio.lowlevel.start_guest_run,
            self._main,
            run_sync_soon_threadsafe=self._soon_from_anywhere,
            run_sync_soon_not_threadsafe=self._soon,
            done_callback=self._done,
            host_uses_signal_set_wakeup_fd=True,  # set again by Trio, it would be taken from the host
        )
        hosts = sys.get_asyncgen_hooks()
        with signals_left_alone():
            self._context.run(begin)
        self._hooks = sys.get_asyncgen_hooks()  # Trio's; in force during its ticks only, see _do
        sys.set_asyncgen_hooks(*hosts)
        self._leave_close = before_close(loop, self._closing)
        _guests[loop] = self
        self._kept = True
        self._keeper = start_task(loop, self._keep, self._keeper_gone, name="phloem keeper")

    async def _main(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                self.spawn = nursery.start_soon
                self.ready.ring()
                await trio.sleep_forever()

    # -- ticks --------------------------------------------------------------------------------------

    def _soon(self, tick: Callable[[], object]) -> None:
        self._next = tick
        self._nudge()

    def _ask_again(self, tick: Callable[[], object]) -> None:
        """For a tick that was cut short, if no other was asked for by then: else there would never be one."""
        if self._next is None:
            self._next = tick
        self._nudge()

    def _nudge(self) -> None:
        """Give the next tick its turn: Ctrl-C may have taken it. One turn too many does nothing."""
        if self._next is not None and not self.by_hand and not self.loop.is_closed():
            self.loop.call_soon(self._tick, context=self._context)

    def _soon_from_anywhere(self, tick: Callable[[], object]) -> None:
        self._next = tick
        if self.by_hand:
            self._arrived.put(None)
        else:
            try:
                self.loop.call_soon_threadsafe(self._tick, context=self._context)
            except RuntimeError:  # closed, and not by way of its ``close``; in Trio's thread nobody hears it
                self._told_closed = True
                _log.error("%s", self._closed_text())

    def _tick(self) -> None:
        """The next one, with Trio's hooks for async generators in the place of the host's.

        Trio sets its own once and leaves them, but the loop sets its own again whenever it is run again (a
        notebook's is, for each cell): it would then close generators of Trio's, in tasks of the loop's.
        """
        tick = self._next
        if tick is None:
            return
        self._next = None
        try:
            hosts = sys.get_asyncgen_hooks()
            try:
                sys.set_asyncgen_hooks(*self._hooks)
                tick()
            finally:
                sys.set_asyncgen_hooks(*hosts)
        except BaseException:  # Ctrl-C beside Trio's scheduler; of one within it Trio ends the run
            if not self.over.rung:
                self._ask_again(tick)
            raise

    # -- the end --------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """One holder fewer; the guest ends after the last. Never a checkpoint."""
        self.holders -= 1
        if not self.holders and not self.ending:
            self._why = ENDS
            self._end()

    def abandon(self) -> None:
        """One organism fewer, where nobody can wait."""
        self.organisms -= 1
        self.let_go()

    async def leave(self) -> None:
        """One organism fewer; if nothing else holds the guest, wait for its end."""
        self.abandon()
        await self.see_out()

    async def see_out(self) -> None:
        """Wait for the end of a guest that nobody holds. A cancel meanwhile comes afterwards."""
        if not self.holders:
            cancelled = await outwait(self.gone, lambda: None)
            if cancelled is not None:
                redeliver(cancelled)

    def _end(self) -> None:
        if not self.ending:
            self.ending = True
            self._scope.cancel(reason=self._why)
            self._nudge()

    async def _keep(self) -> None:
        cancelled = await outwait(self.over, self._end)
        if cancelled is not None:
            raise cancelled

    def _keeper_gone(self) -> None:
        """Cancelled before its first step it has waited for nothing, and the run's end is still to come."""
        self._kept = False
        self._end()
        if self.over.rung:
            self.gone.ring()

    def _done(self, end: outcome.Outcome[Any]) -> None:
        """Trio calls this, once, within its last tick."""
        self._failure = getattr(end, "error", None)
        self.ending = True
        self._leave_close()
        if _guests.get(self.loop) is self:
            del _guests[self.loop]
        self.ready.ring()
        self.over.ring()
        for told in list(self.crossings.values()):
            told()
        if not self._kept:
            self.gone.ring()

    def why_over(self) -> BaseException:
        """What whoever waited for something of this run is to be told."""
        failure = self._failure
        if failure is None and self._why == ENDS:
            return OrganismClosed("the organism has ended, and what ran it in this event loop")
        if failure is None:
            return HostGone(f"the organisms of this event loop were ended: {self._why}")
        cause = failure.__cause__ if isinstance(failure, trio.TrioInternalError) else failure
        if isinstance(cause, KeyboardInterrupt):
            if not self._interrupted:  # once: one press of Ctrl-C, however many wait
                self._interrupted = True
                return KeyboardInterrupt()
            return HostGone("the organisms of this event loop were ended: Ctrl-C has hit their scheduler")
        error = InternalError(f"the Trio run of this event loop broke: {failure}")
        error.__cause__ = failure
        return error

    # -- a loop that is closed around it ------------------------------------------------------------

    def _closing(self, close: Callable[[], None]) -> None:
        """In place of the loop's own ``close``: end first, by hand, since nobody else will; then say so.

        From another thread nothing can be ended. The run is kept, never collected: it would take
        the Trio run of whichever thread collects it for its own.
        """
        said = self._closed_text() if self.organisms else None  # else it was about to end
        if said is not None:
            self._why = said
        try:
            if get_ident() == self._thread:
                self.finish_by_hand()
        finally:
            close()
        if said is not None:
            raise HostGone(said)

    def finish_by_hand(self) -> None:
        """Run what is left of the guest to its end, in its thread, without the loop."""
        self.by_hand = True
        self._end()
        for told in list(self.host_calls.values()):
            told()
        while not self.over.rung:
            if self._next is None:
                self._arrived.get()
            self._tick()

    def check(self) -> Loop:
        """The loop, if the calling code runs in it and the guest lives. Raises HostGone, CallerError."""
        if self.over.rung:
            raise self.why_over()
        if running_loop() is not self.loop:
            raise CallerError(
                "found an organism of another event loop; expected it to be used in the loop (and thread) "
                "that it was opened in"
            )
        return self.loop

    def check_thread(self) -> None:
        """For what does not wait and acts at once. Raises CallerError in a thread that is not the loop's."""
        if get_ident() != self._thread:
            raise CallerError(
                "found a call from a thread that is not that of the organism's event loop; expected "
                "loop.call_soon_threadsafe, asyncio.run_coroutine_threadsafe or anyio.from_thread"
            )

    def rescue(self) -> None:
        """End it for a loop that was closed without our notice."""
        self._why = self._closed_text()
        if not self._told_closed:
            _log.error("%s", self._why)
        self.finish_by_hand()

    @property
    def stranded(self) -> bool:
        """True if it is this thread's, and its loop was closed without our notice."""
        return self.loop.is_closed() and get_ident() == self._thread and not self.over.rung

    def _closed_text(self) -> str:
        return (
            f"found an event loop that was closed while {self.organisms} organism(s) were open in it; "
            "expected their blocks to be left first, as asyncio.run sees to. Their work was cancelled"
        )


def _refuse_foreign() -> None:
    if not trio.lowlevel.in_trio_run():
        return
    for guest in list(_guests.values()):
        if guest.stranded:
            guest.rescue()
    if trio.lowlevel.in_trio_run():
        raise ForeignGuest(
            "found a Trio run in this thread that is not phloem's own (another guest, a held simulation, a "
            "task that runs this event loop) or one of another event loop that is not closed; expected none, "
            "since a thread carries one Trio run"
        )
