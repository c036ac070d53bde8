"""A journal: what a bus publishes, written to disk in batches from a thread.

Decides how much is taken at once, what happens while the disk refuses (it is kept and tried
again; the stream's buffer bounds it), and that what was published before the block is left is
written. Never holds up the loop and never raises into the bus. Called by applications; lines
and files are ``journal_lines``' and ``journal_files``', reading is ``replaying``'s.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import trio

from phloem.errors import InvalidEvent, JournalError
from phloem.guarding import holds_cancelled
from phloem.messages import Faults

from .freezing import shown
from .journal_files import LOG, MAX_KEEP, Fsync, JournalFile
from .journal_lines import Item
from .settings import count, seconds
from .streams import EventStream, Overflow
from .types import AgentEvent

if TYPE_CHECKING:
    from .bus import EventBus

__all__ = ["Fsync", "Journal", "open_journal"]

MAX_BYTES: Final = 64 * 1024 * 1024  # 64 MiB a file, some 200,000 events: what an editor still opens
KEEP: Final = 5  # files moved aside; with the journal itself less than 400 MiB
BUFFER: Final = 8_192  # events; a disk that pauses for 25 ms holds up nobody, at the bus's full rate
BATCH: Final = 1_024  # events taken at once: 25 ms of a thread, so that a flush waits no longer for it
LINGER: Final = 0.01  # seconds; at most a hundred writes a second, and no burst fills the buffer meanwhile
RETRY_PAUSE: Final = 0.5  # seconds; who frees a full disk takes longer
LEAVE_TRIES: Final = 4  # when the block is left; for longer than two seconds nobody waits
GOES_ON: Final = (Overflow.BLOCK, Overflow.DROP_OLDEST, Overflow.COALESCE, Overflow.LATEST)


@final
class _Flush:
    """Somebody who waits until what had been published when he asked is on disk."""

    __slots__ = ("done", "upto")

    def __init__(self, upto: int) -> None:
        self.upto = upto  # events that the stream has given out by then
        self.done = trio.Event()


@final
class Journal:
    """What ``open_journal`` hands out. ``written + lagged`` is what was published, once all is flushed."""

    def __init__(self, file: JournalFile, stream: EventStream, linger: float, faults: Faults | None) -> None:
        self._file, self._stream, self._linger, self._faults = file, stream, linger, faults
        self._limiter = trio.CapacityLimiter(1)  # one thread: lines keep their order
        self._pending: list[Item] = []  # taken from the stream, not on disk
        self._flushes: list[_Flush] = []
        self._nap: trio.CancelScope | None = None  # while there is nothing to write, or not enough
        self._ended = False  # the stream gives no more
        self._over = True  # no file is open
        self.trouble: str | None = None  # what the disk says that refuses; that has been logged

    @property
    def path(self) -> Path:
        """The file that is written to now. Those moved aside have a number behind this name."""
        return self._file.path

    @property
    def written(self) -> int:
        """Events on disk, over all files since the journal was opened."""
        return self._file.settled.events

    @property
    def lagged(self) -> int:
        """Events that were lost before they could be written, as the lines in their place say."""
        return self._file.settled.lagged

    async def flush(self) -> None:
        """Until what was published before this call is on disk; forced there unless ``fsync`` is never.

        Checkpoint. As long as the disk refuses it waits: take a ``trio.move_on_after``. Cancelled
        means: it is written all the same, only the waiting ended. Raises JournalError once the
        block has been left with something unwritten.
        """
        if self._over:
            await trio.lowlevel.checkpoint()
        else:
            flush = _Flush(self._stream.received + self._stream.waiting)
            self._flushes.append(flush)
            if self._nap is not None:
                self._nap.cancel(reason="a flush was asked for")
            try:
                await flush.done.wait()
            finally:
                if not flush.done.is_set():
                    self._flushes.remove(flush)
        if self._over:
            self._tell(None)

    # -- the task --------------------------------------------------------------------------------

    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        """Open the file and write what the stream gives; after the block its rest is pending.

        An error of the body arrives as it was raised.
        """
        await self._aside(self._file.open)
        self._over = False
        failed: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._work, name=f"phloem journal {self.path.name}")
                try:
                    yield
                except BaseException as error:  # noqa: ASYNC103 - kept, and raised below, unless a scope waits for it
                    if holds_cancelled(error):
                        raise
                    failed = error
                nursery.cancel_scope.cancel(reason="the journal is left")
        finally:
            self._take(math.inf)  # the stream ends now, and its publishers go on
        if failed is not None:
            raise failed

    async def _work(self) -> None:
        """Write until the bus has closed; then close the file. ``open_journal`` starts it, once."""
        while not self._ended or self._pending:
            if not self._pending and not self._flushes:
                await self._gather()
            empty = self._take(BATCH)
            served = [flush for flush in self._flushes if empty or self._stream.received >= flush.upto]
            if self._ended:
                served = []  # once the file is closed, which forces all of it
            if self._pending or served:
                await self._insist(self._job(force=bool(served)))
            self._serve(served)
        await self._close(None)

    async def _gather(self) -> None:
        """Until there is something, and a moment longer: more may come, and one write does for all."""
        with trio.CancelScope() as self._nap:
            try:
                self._pending.append(await self._stream.receive())
            except trio.EndOfChannel:
                self._ended = True
            else:
                await trio.sleep(self._linger)
        self._nap = None

    def _take(self, most: float) -> bool:
        """What is there, up to ``most`` unwritten ones; True if there was no more."""
        try:
            while len(self._pending) < most:
                self._pending.append(self._stream.receive_nowait())
        except trio.WouldBlock:
            return True
        except trio.EndOfChannel:
            self._ended = True
            return True
        return False

    def _job(self, *, force: bool) -> Callable[[], None]:
        def write() -> None:
            self._file.append(self._pending)
            if force:
                self._file.sync()

        return write

    async def _insist(self, job: Callable[[], None]) -> None:
        """Until the disk takes it. Cancelled means: what it did not take is still pending."""
        while (error := await self._attempt(job)) is not None:
            if self.trouble is None:
                LOG.error("journal %s: events wait for a disk that refuses them: %s", self.path, error)
            self.trouble = str(error)
            await trio.sleep(RETRY_PAUSE)
        if self.trouble is not None:
            LOG.warning("journal %s: the disk takes events again", self.path)
            self.trouble = None

    async def _attempt(self, job: Callable[[], None]) -> OSError | None:
        """Once, in a thread; it cannot be cancelled in between. What is on disk is no longer pending."""
        before = self._file.settled.lines
        try:
            await self._aside(job)
        except OSError as error:
            return error
        finally:
            del self._pending[: self._file.settled.lines - before]
        return None

    async def _aside(self, job: Callable[[], None]) -> None:
        """In a thread. Checkpoint. Cancelled means: not begun."""
        run = partial(trio.to_thread.run_sync, job, limiter=self._limiter)
        await (run() if self._faults is None else self._faults.visit("thread", "journal", run))

    def _serve(self, served: Iterable[_Flush]) -> None:
        for flush in served:
            flush.done.set()
        self._flushes = [flush for flush in self._flushes if not flush.done.is_set()]

    # -- the end ---------------------------------------------------------------------------------

    async def _leave(self) -> None:
        """Write what is pending and close the file, in so many tries."""
        if self._over:
            return
        error: OSError | None = None
        for _ in range(LEAVE_TRIES):
            if error is not None:
                await trio.sleep(RETRY_PAUSE)
            error = await self._attempt(self._job(force=False))
            if error is None:
                break
        await self._close(error)

    async def _close(self, error: OSError | None) -> None:
        """No more is written, for this reason if something is left."""
        unforced = await self._attempt(self._file.close)
        self.trouble = None
        if self._pending:
            lost = sum(isinstance(item, AgentEvent) for item in self._pending)
            self.trouble = f"{lost} events were not written: {error}"
        elif unforced is not None:
            self.trouble = f"what was written may not be on the disk: {unforced}"
        self._over = True
        self._serve(self._flushes)

    def _tell(self, on_its_way: BaseException | None) -> None:
        """What could not be written: raised, or added to the error that is on its way already."""
        if self.trouble is not None:
            trouble = f"journal {self.path}: {self.trouble}"
            if on_its_way is None:
                raise JournalError(trouble)
            LOG.error("%s", trouble)
            on_its_way.add_note(trouble)


@asynccontextmanager
async def open_journal(
    bus: EventBus,
    path: str | os.PathLike[str],
    event_types: Iterable[str] | str | None = None,
    filter_stream: str | None = None,
    filter_node: str | None = None,
    filter_execution: str | None = None,
    *,
    fsync: str = Fsync.NEVER,
    max_bytes: int = MAX_BYTES,
    keep: int = KEEP,
    buffer: int = BUFFER,
    overflow: str = Overflow.BLOCK,
    linger: float = LINGER,
) -> AsyncIterator[Journal]:
    """Write what is published from here on to ``path``, a line of JSON for each event.

    Goes on where an older journal ends. A file that would grow past ``max_bytes`` moves aside to
    ``path.1``, that to ``path.2``; ``keep`` of them are kept. ``buffer`` events wait for the disk,
    and ``overflow`` says what one more does: publishers wait (``block``), or events are lost and
    a line says how many. ``linger`` seconds are waited for more to write at once. The file is its
    owner's alone to read, and one journal's at a time to write.

    A disk that refuses is logged and tried again. However the block is left, what was published
    before is written, in a few tries; a disk that hangs holds up leaving. JournalError if that
    fails, and if nothing can be written to ``path`` in the first place. An error of the body arrives
    as it was raised. Raises InvalidEvent for settings and filters that are none, EventBusClosed.
    Checkpoint.
    """
    file = JournalFile(
        Path(path),
        fsync=_one_of("fsync", fsync, Fsync),
        max_bytes=count("max_bytes", max_bytes),
        keep=_keep(keep),
    )
    policy = _one_of("overflow", overflow, GOES_ON)
    linger = seconds("linger", linger)
    journal: Journal | None = None
    on_its_way: BaseException | None = None
    try:
        async with bus.open_stream(
            event_types, filter_stream, filter_node, filter_execution, buffer=buffer, overflow=policy
        ) as stream:
            journal = Journal(file, stream, linger, bus.faults)
            async with journal._at_work():
                yield journal
    except BaseException as error:
        on_its_way = error
        raise
    finally:
        if journal is not None:
            # Bounded by tries: a thread cannot be cancelled, and a clock that jumps ahead while one is
            # at work would end the others before they begin.
            with trio.CancelScope(shield=True):
                await journal._leave()
            journal._tell(on_its_way)
        on_its_way = None  # its traceback leads to this frame


def _one_of(where: str, found: str, known: Iterable[str]) -> Any:
    for each in known:
        if found == each:
            return each
    raise InvalidEvent(f"{where}: found {shown(found)}, expected {', '.join(known)}")


def _keep(found: int) -> int:
    if count("keep", found, 0) > MAX_KEEP:
        raise InvalidEvent(f"keep: found {found}, expected at most {MAX_KEEP} files")
    return found
