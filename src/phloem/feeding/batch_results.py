"""The results of one batch, and what is read of its source for them.

Decides who is read next and when (never more than a window ahead of the slowest result that nobody
has read), in which order results come out, and what becomes of them if the source fails. What a
message is worth, and when it is accepted, is the pump's to say. ``batches`` opens it.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, final

import trio

from phloem.errors import ContractError, MessageRejected, OrganismClosed
from phloem.guarding import uninterrupted
from phloem.messages import Cause, ConversationState, Outcome, Receipt
from phloem.pump.conversation import Turn
from phloem.pump.door import Door
from phloem.pump.examining import Examine
from phloem.pump.pump import Pump

__all__ = ["CLEANUP", "NOT_SENT", "BatchMessage", "BatchResult", "BatchResults", "Messages", "Unread"]

CLEANUP: Final = 2.0  # seconds a leaving that is cancelled waits for handlers it has cut; most take none
NOT_SENT: Final = Cause("not-sent", "the organism was closed before this message was accepted")
LEFT: Final = Cause("killed", "its batch was left before its end")

Messages = Iterable[Any] | AsyncIterable[Any]  # payloads, documents (bytes or str), BatchMessages


@final
@dataclass(frozen=True, slots=True)
class BatchMessage:
    """One message of a batch: a payload for ``to`` (None: for whoever takes it).

    ``payload`` may be a document (bytes or str), which says itself where it goes, or an ``Outcome``:
    that of a row which never became a message, and which then has its result in its place.
    ``id`` is whatever you like; it comes back in the result.
    """

    payload: Any
    to: str | None = None
    id: Any = None


@final
@dataclass(frozen=True, slots=True)
class BatchResult:
    """How one message of a batch ended.

    ``number`` counts the source's messages from 1; ``id`` is the message's own, or its number.
    ``seconds`` from its acceptance to its end, on the organism's clock; it and ``receipt`` are None
    for what was not accepted: it is ``rejected``, or ``cancelled`` with the cause ``not-sent``.
    """

    number: int
    id: Any
    outcome: Outcome
    seconds: float | None = None
    receipt: Receipt | None = None


@final
@dataclass(frozen=True, slots=True)
class Unread:
    """A message taken from the source whose result nobody has read; ``outcome`` None: it has not ended."""

    number: int
    id: Any
    receipt: Receipt | None
    outcome: Outcome | None
    seconds: float | None


@final
class _Entry:
    """A message in the window. It is among its turn's waiters, and so hears of its end as it happens."""

    __slots__ = ("batch", "id", "message", "number", "outcome", "seconds", "turn", "void")

    def __init__(self, batch: BatchResults, number: int, message: BatchMessage) -> None:
        self.batch, self.number, self.message = batch, number, message
        self.id: Any = number if message.id is None else message.id
        self.turn: Turn | None = None
        self.outcome: Outcome | None = None
        self.seconds: float | None = None
        self.void = False  # it was no message: the iteration raises instead of giving its result

    @property
    def over(self) -> bool:
        """It holds up none that come after it."""
        return self.void or self.outcome is not None

    @property
    def receipt(self) -> Receipt | None:
        return None if self.turn is None else self.turn.receipt

    def send_nowait(self, outcome: Outcome) -> None:
        """The turn has ended; in the pump's sync stretch."""
        self.batch._ended(self, outcome)


@final
class BatchResults:
    """An async iterator of one ``BatchResult`` for each message; from ``organism.open_batch``, in its block.

    One task reads it. A result keeps its place in the window until the next one is asked for.
    """

    def __init__(self, door: Door, pump: Pump, sender: str, window: int, *, ordered: bool) -> None:
        self._door, self._core, self._intake = door, pump.core, pump.intake
        self._sender, self._ordered = sender, ordered
        self._origin = pump.origin(sender)  # a line of its own: others wait for one of its messages, not all
        self._places = trio.Semaphore(window)
        self._put, self._results = trio.open_memory_channel[_Entry](window)
        self._entries: dict[int, _Entry] = {}  # the window, by number
        self._in_flight = 0  # waiting for a seat, or accepted and not ended
        self._next = 1  # the number whose result comes next, if ordered
        self._held: _Entry | None = None  # the result that was read last
        self._failures: list[tuple[int, Exception]] = []
        self._reading = trio.CancelScope()
        self._busy = self._all_taken = self._left = False
        self.taken = 0  # messages of the source that have or had a place
        self.exhausted = False  # the source has no more

    # -- reading results -----------------------------------------------------------------------

    def __aiter__(self) -> BatchResults:
        return self

    async def __anext__(self) -> BatchResult:
        """As ``receive``, until all have been read."""
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def receive(self) -> BatchResult:
        """The next result. Checkpoint. Cancelled means: none was taken.

        After the last one raises what the source raised, if it did, ContractError for what is no
        message, or what else kept one from being sent; then trio.EndOfChannel, and
        trio.ClosedResourceError outside of the block.
        """
        self._ask_for_the_next()
        self._busy = True
        entry: _Entry | None = None
        try:
            entry = await self._results.receive()
        except trio.EndOfChannel:
            pass  # why no more come is said below, where it has no other error for its context
        finally:
            self._busy = False
        return self._read_result(entry)

    def receive_nowait(self) -> BatchResult:
        """As ``receive``, but raises trio.WouldBlock if there is nothing yet. Never a checkpoint."""
        self._ask_for_the_next()
        entry: _Entry | None = None
        try:
            entry = self._results.receive_nowait()
        except trio.EndOfChannel:
            pass
        return self._read_result(entry)

    def _ask_for_the_next(self) -> None:
        """The result that was read last gives its place to another message."""
        if self._busy:
            raise trio.BusyResourceError("another task is reading this batch")
        if self._held is not None:
            self._vacate(self._held)
            self._held = None

    def _read_result(self, entry: _Entry | None) -> BatchResult:
        if entry is None:
            if not self._failures:
                raise trio.EndOfChannel
            failure = min(self._failures, key=itemgetter(0))[1]  # of several, the first message's
            self._failures = []
            raise failure
        self._held = entry
        assert entry.outcome is not None  # only what has ended is put
        return BatchResult(entry.number, entry.id, entry.outcome, entry.seconds, entry.receipt)

    @property
    def pending(self) -> int:
        """Messages that were taken from the source, and whose results have not been read."""
        return len(self._entries) - (self._held is not None)

    @property
    def unread(self) -> tuple[Unread, ...]:
        """What is in the window, in the order of the source; a snapshot, safe in a signal handler.

        The result that was read last is one of them.
        """
        return tuple(
            Unread(entry.number, entry.id, entry.receipt, entry.outcome, entry.seconds)
            for entry in list(self._entries.values())
            if not entry.void
        )

    def _vacate(self, entry: _Entry) -> None:
        del self._entries[entry.number]
        self._places.release()

    # -- reading messages ----------------------------------------------------------------------

    async def _read(self, source: Messages, entering: trio.Nursery) -> None:
        """All of the source, each message in a task of its own until it is accepted."""
        try:
            try:
                with self._reading:
                    await self._read_each(source, entering)
            finally:
                # What is not finished here the garbage collector would have to close, and it cannot await.
                if inspect.isasyncgen(source):
                    with trio.move_on_after(CLEANUP, shield=True):
                        await source.aclose()
        except Exception as error:
            if self._left:  # nobody reads any more whom it could be raised to
                raise
            self._failures.append((self.taken + 1, error))
        self._all_taken = True
        self._look_for_the_end()

    async def _read_each(self, source: Messages, entering: trio.Nursery) -> None:
        every = source if isinstance(source, AsyncIterable) else _Asynchronous(source)
        following = aiter(every)
        while True:
            await self._places.acquire()
            try:
                message = await anext(following)
            except StopAsyncIteration:
                self.exhausted = True
                return
            self._take(message, entering)

    def _take(self, message: Any, entering: trio.Nursery) -> None:
        self.taken += 1
        self._in_flight += 1
        wrapped = message if isinstance(message, BatchMessage) else BatchMessage(message)
        entry = self._entries[self.taken] = _Entry(self, self.taken, wrapped)
        if isinstance(wrapped.payload, Outcome):
            self._ended(entry, wrapped.payload)
        else:
            entering.start_soon(self._enter, entry, name=f"batch message {entry.number}")

    async def _enter(self, entry: _Entry) -> None:
        """Into the books, and no further: its turn tells the entry of its end."""
        try:
            turn = await self._door.enter(self._examine(entry.message), self._sender, None, None)
        except MessageRejected as error:
            self._ended(
                entry, error.outcome or Outcome("", ConversationState.REJECTED, rejections=(error.huh,))
            )
        except OrganismClosed:
            self._ended(entry, Outcome("", ConversationState.CANCELLED, NOT_SENT))
        except Exception as error:
            if self._left and not isinstance(error, ContractError):  # as in _read
                raise
            self._failures.append((entry.number, error))
            entry.void = True
            self._reading.cancel(reason="the source gave what is no message")
            self._ended(entry, None)
        else:
            entry.turn = turn
            if turn.outcome is not None:
                self._ended(entry, turn.outcome)
            else:
                turn.waiters.append(entry)

    def _examine(self, message: BatchMessage) -> Examine:
        payload, to = message.payload, message.to
        if not isinstance(payload, bytes | str):
            return self._door.payload(payload, to, self._origin)
        if to is not None:
            raise ContractError(f"found a document beside to={to!r}; its envelope says where it goes")
        return self._door.document(payload, self._sender, self._origin)

    # -- ends ----------------------------------------------------------------------------------

    @uninterrupted
    def _ended(self, entry: _Entry, outcome: Outcome | None) -> None:
        """Its outcome is known, and what is next in order can be read. None: it has no result."""
        entry.outcome = outcome
        if entry.turn is not None:
            entry.seconds = self._core.clock.monotonic() - entry.turn.conversation.started
        self._in_flight -= 1
        if self._left:
            return
        if not self._ordered:
            self._put_result(entry)
        else:
            while (first := self._entries.get(self._next)) is not None and first.over:
                self._next += 1
                self._put_result(first)
        self._look_for_the_end()

    def _put_result(self, entry: _Entry) -> None:
        if entry.void:
            self._vacate(entry)
        else:
            self._put.send_nowait(entry)  # as many fit as have places

    def _look_for_the_end(self) -> None:
        if self._all_taken and not self._in_flight:
            self._put.close()

    def _leave(self) -> None:
        """Nobody reads any more: what is in flight is cut."""
        self._left = True
        self._intake.close_source(self._origin)  # so nothing is accepted from here on
        self._put.close()
        self._results.close()
        for entry in self._entries.values():
            if entry.turn is not None:
                self._core.cut(entry.turn, ConversationState.CANCELLED, LEFT)

    async def _gone(self) -> None:
        """Until every handler of what was cut has left. Checkpoint."""
        for entry in list(self._entries.values()):
            if entry.turn is not None:
                await self._door.outcome(entry.turn)


@final
class _Asynchronous:
    """An iterable as an async iterator. No checkpoint: its reader has one for each place."""

    def __init__(self, source: Iterable[Any]) -> None:
        self._each = iter(source)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        for message in self._each:
            return message
        raise StopAsyncIteration
