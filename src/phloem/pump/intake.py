"""Where strangers come in: they wait for a seat, and for a thread if their document is long.

Decides who may enter and when. One seat per live conversation, and none while too many threads
live; a long document is parsed aside in a worker thread, and holds a pipeline slot while it is.
Wherever they wait the sources take turns, and urgent ones go first. Replies never wait here. Books
nothing: a message is accepted by the sync stretch that follows the last await in here. The
organism's front door and the pump call it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count as counting
from typing import Final, NoReturn, final

import trio

from phloem.config import WireLimits
from phloem.errors import OrganismClosed, WouldDeadlock
from phloem.memory.threads import Census
from phloem.messages import Faults
from phloem.wire.parsing import Element
from phloem.wire.repair import Mend

from .fair_line import FairGate, FairLine
from .origin import Origin
from .slots import Slots
from .steps import Steps

__all__ = ["Intake", "Waits", "closed"]

Waits = Callable[[str, int], None]  # what is waited for (seat, threads), and how many wait for it now

BREATH: Final = 50e-6  # seconds of sleep that hand the GIL to a parse thread…
BREATHE_EVERY: Final = 1e-3  # …this often while one is at work; a loop that never idles starves it
NO_SEAT: Final = (
    "no seat is free (or too many threads live), and a handler that waits may hold up who could make room; "
    "forward instead"
)


async def closed(origin: Origin | None = None) -> NoReturn:
    """Raise OrganismClosed; or ``Cancelled`` where that is why it closed: nobody is left to be told then."""
    await trio.lowlevel.checkpoint_if_cancelled()
    if origin is not None and origin.closed:
        raise OrganismClosed(f"the source {origin.name!r} has been closed and takes no more messages")
    raise OrganismClosed("the organism takes no more messages")


@final
class Intake:
    """The door. Open until ``close``."""

    def __init__(
        self,
        steps: Steps,
        slots: Slots,
        freed: Callable[[], None],
        census: Census,
        *,
        seats: int,
        limits: WireLimits,
        faults: Faults | None = None,
        count: Iterator[int] | None = None,
    ) -> None:
        count = counting(1) if count is None else count  # of turns
        self._steps, self._slots, self._faults = steps, slots, faults
        self._long, self._most = limits.thread_parse_bytes, limits.max_bytes
        self.free_seats = seats  # seats nobody holds; while there are some nobody waits for one
        self.entering = 0  # who has a seat, and is not in the books yet
        self._seats = FairLine[None](count)
        self._aside = FairLine[object](count)  # documents that wait for a slot
        self._freed, self._census = freed, census
        self._gate = FairGate(count)  # whoever has a seat and waits for threads to end
        self._urgent_gate = FairGate(count)  # the same for urgent sources: whoever stands here goes before
        self._thinned = trio.Event()
        self._at_the_gate = 0
        self.users_gates: Sequence[FairGate] = ()  # of users' steps that strangers wait at
        self.parsing = 0  # long documents that hold a slot
        self._readers = 0  # documents that wait for one
        self._quiet = trio.Event()
        self._shut = trio.Event()
        self._breathed = 0.0
        self.closed = False

    @property
    def waiting(self) -> int:
        """Strangers who wait for a seat, or with one for threads to end; nobody once it is closed."""
        if self.closed:  # whoever stands at the gate has been called, and may be long in coming
            return 0
        return len(self._seats) + self._at_the_gate

    def waiting_of(self, origin: Origin) -> int:
        """How many of that source wait: for a seat, for threads to end, or in line for what takes one by one.

        That is a thread to be read in, or a user's step.
        """
        here = origin.at_the_gate + self._seats.waiting(origin) + self._aside.waiting(origin)
        return here + sum(gate.waiting(origin) for gate in self.users_gates)

    def refuses(self, origin: Origin | None) -> bool:
        """True once nothing of that source is taken in any more."""
        return self.closed or (origin is not None and origin.closed)

    @property
    def crowded(self) -> bool:
        """True while as many threads live as may."""
        return self._census.full and not self.closed

    @property
    def wanting(self) -> bool:
        """True if a long document waits for a slot that a carrier might give up."""
        return self._readers > 0 and self.parsing < self._slots.threads.total_tokens

    async def take_seat(
        self, *, may_wait: bool, tell: Waits | None = None, origin: Origin | None = None
    ) -> None:
        """Hold a seat. Checkpoint. Cancelled means: no seat was taken.

        ``tell`` is called when it begins to wait. Raises OrganismClosed, and WouldDeadlock if there
        is none and ``may_wait`` is false.
        """
        try:
            if may_wait:
                await self._sit(tell, origin)
                await self._room_or_give_back(tell, origin)
                if self.refuses(origin):  # the seat was handed over, and then the door was closed
                    self.give_back()
                    raise trio.ClosedResourceError
                return
            await trio.lowlevel.checkpoint()
            if self.refuses(origin):
                raise trio.ClosedResourceError
            if self.crowded or not self.free_seats:
                raise WouldDeadlock(NO_SEAT)
            self.free_seats -= 1
            self._seats.took(origin)
        except trio.ClosedResourceError:
            await closed(origin)

    async def _sit(self, tell: Waits | None, origin: Origin | None) -> None:
        """A free seat, or one that is handed over in turn."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.refuses(origin):
            raise trio.ClosedResourceError
        if self.free_seats:
            self.free_seats -= 1
            self._seats.took(origin)
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            if tell is not None:
                tell("seat", self.waiting + 1)
            await self._seats.wait(origin)

    def give_back(self) -> None:
        """Give a seat back, to whoever is next."""
        if not self.closed and not self._seats.serve(None):
            self.free_seats += 1

    def close(self) -> None:
        """Take nobody in any more; who waits for a seat or a thread is told so."""
        if not self.closed:
            self.closed = True
            for line in (self._seats, self._aside):
                line.close()
            for gate in (self._gate, self._urgent_gate, *self.users_gates):
                gate.close()
            self._thinned.set()
            self._shut.set()

    async def shut(self) -> None:
        """Until it is closed. Checkpoint."""
        await self._shut.wait()

    def close_source(self, origin: Origin) -> None:
        """Take nothing of that source in any more; who waits is told so, and the others go on."""
        origin.closed = True
        for line in (self._seats, self._aside):
            line.forget(origin)
        for gate in (self._gate, self._urgent_gate, *self.users_gates):
            gate.forget(origin)
        self._thinned.set()

    async def read(
        self, data: bytes | str, *, may_wait: bool, origin: Origin | None = None
    ) -> tuple[Element, tuple[Mend, ...]]:
        """The document as a tree, mended where it may be. A checkpoint only if it is long.

        One that is too long is refused at once, and a handler (which may not wait: it holds a slot
        that others wait for) has it read at once if no thread is free.
        Raises InvalidMessage, and OrganismClosed if the door closes before its turn has come.
        """
        size = len(data) if isinstance(data, bytes) or data.isascii() else 4 * len(data)
        if size < self._long or len(data) > self._most or not (may_wait or self._room()):
            return self._steps.read_bytes(data)
        token = await self._take_slot(may_wait=may_wait, origin=origin)
        if token is None:
            return self._steps.read_bytes(data)
        try:
            job = partial(self._steps.read_bytes, data)
            aside = partial(trio.to_thread.run_sync, job, limiter=self._slots.threads)
            return await (aside() if self._faults is None else self._faults.visit("thread", "parse", aside))
        finally:
            self.parsing -= 1
            if not self.parsing:
                self._quiet.set()
            self._slots.pipelines.release_on_behalf_of(token)
            self._freed()

    async def room(self, *, may_wait: bool, tell: Waits | None = None, origin: Origin | None = None) -> None:
        """Until fewer threads live than may; the sources in turn. A checkpoint only if it waits.

        For whoever has a seat, which stays his; the door or his source may have closed meanwhile.
        ``tell`` is called when he begins to wait. Raises WouldDeadlock if he may not.
        """
        if not may_wait and self.crowded:
            raise WouldDeadlock(NO_SEAT)
        urgent = origin is not None and origin.urgent
        gate = self._urgent_gate if urgent else self._gate
        if self.refuses(origin) or not may_wait or not (gate.held or self._held_up(urgent)):
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        if tell is not None:
            tell("threads", self.waiting + 1)
        self._at_the_gate += 1
        if origin is not None:
            origin.at_the_gate += 1
        self._census.thinned = self._look_again
        try:
            await gate.enter(origin)
            try:
                while self._held_up(urgent) and not self.refuses(origin):
                    if self._thinned.is_set():
                        self._thinned = trio.Event()
                    await self._thinned.wait()
            finally:
                gate.leave()
                self._look_again()  # for who stands in the other gate
        except trio.ClosedResourceError:
            return  # the door or its source was closed while it stood in line
        finally:
            self._at_the_gate -= 1
            if origin is not None:
                origin.at_the_gate -= 1
            if not self._at_the_gate:
                self._census.thinned = None

    def _held_up(self, urgent: bool) -> bool:
        """Whether there is no room for one more, or somebody urgent stands before him."""
        return self._census.full or (not urgent and self._urgent_gate.held)

    def _look_again(self) -> None:
        self._thinned.set()

    async def _room_or_give_back(self, tell: Waits | None, origin: Origin | None) -> None:
        found = False
        try:
            await self.room(may_wait=True, tell=tell, origin=origin)
            found = True
        finally:
            if not found:
                self.give_back()

    async def quiet(self) -> None:
        """Until no document is in a thread. Checkpoint."""
        while self.parsing:
            self._quiet = trio.Event()
            await self._quiet.wait()
        await trio.lowlevel.checkpoint()

    def serve(self) -> bool:
        """Hand a free slot to the document that waits longest for one; True if there was one to serve."""
        if self.parsing:
            self.breathe()
        if not self._readers or not self._room() or not self._aside:
            return False
        return self._aside.serve(self._occupy())

    async def _take_slot(self, *, may_wait: bool, origin: Origin | None) -> object | None:
        """A slot; None if it may not be waited for, and has gone to another. Checkpoint."""
        await trio.lowlevel.checkpoint()
        if self.refuses(origin):
            await closed(origin)
        if self._room() and not self._readers:
            self._aside.took(origin)
            return self._occupy()
        if not may_wait:
            return None
        self._readers += 1
        try:
            return await self._aside.wait(origin)
        except trio.ClosedResourceError:
            await closed(origin)
        finally:
            self._readers -= 1

    def _room(self) -> bool:
        slots = self._slots
        return self.parsing < slots.threads.total_tokens and slots.pipelines.available_tokens > 0

    def _occupy(self) -> object:
        token = object()
        self._slots.pipelines.acquire_on_behalf_of_nowait(token)
        self.parsing += 1
        return token

    def breathe(self) -> None:
        """Let a parse thread have the GIL for a moment, now and then."""
        now = time.perf_counter()
        if now - self._breathed > BREATHE_EVERY:
            time.sleep(BREATH)
            self._breathed = time.perf_counter()
