"""Context: the bounded, append-only memory of a thread, and of the conversation it belongs to.

Decides what is kept, what is forgotten first and what goes when a thread ends. Never looks
into payloads, clocks or queues. One ``Context`` belongs to one conversation; its caller, the
pump, writes it, and hands readers a ``History``.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, final

from .history import History, Record, utf8_size
from .threads import Thread, ThreadTree

__all__ = ["Context"]

AIR: Final = 16  # a full conversation forgets a sixteenth at once: looking for its oldest takes a sort


@final
class _Slots:
    """What one thread remembers, oldest first."""

    __slots__ = ("forgotten", "promised", "promised_size", "records")

    def __init__(self) -> None:
        self.records: deque[Record] = deque()
        self.forgotten = 0
        self.promised = self.promised_size = 0  # on their way here, where a full thread refuses them


@final
class _Nudges:
    """The nudges that came with kept messages: many share one, and its bytes count once."""

    __slots__ = ("_uses",)

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}

    def add(self, nudge: str) -> int:
        """One more use; the bytes that it adds."""
        uses = self._uses[nudge] = self._uses.get(nudge, 0) + 1
        return utf8_size(nudge) if uses == 1 else 0

    def remove(self, nudge: str) -> int:
        """One use less; the bytes that it frees."""
        self._uses[nudge] -= 1
        if self._uses[nudge]:
            return 0
        del self._uses[nudge]
        return utf8_size(nudge)


@final
class Context:
    """What the threads of one conversation remember.

    ``keep_past``: what ended threads had stays readable for an operator, within the same limits.
    """

    __slots__ = (
        "_count",
        "_forgotten",
        "_most",
        "_most_size",
        "_nudges",
        "_past",
        "_past_forgotten",
        "_past_nudges",
        "_past_size",
        "_per_thread",
        "_promised",
        "_promised_size",
        "_threads",
        "size",
    )

    def __init__(
        self, threads: ThreadTree, per_thread: int, slots: int, size: int, *, keep_past: bool
    ) -> None:
        self._threads = threads
        self._per_thread, self._most, self._most_size = per_thread, slots, size
        self._count = self._forgotten = 0  # of live threads
        self._promised = self._promised_size = 0
        self._past: list[tuple[int, Record]] | None = [] if keep_past else None  # a heap by order
        self._past_size = self._past_forgotten = 0
        self._nudges, self._past_nudges = _Nudges(), _Nudges()
        self.size = 0  # bytes

    def __len__(self) -> int:
        """How many messages are kept of live threads."""
        return self._count

    def append(self, thread: Thread, record: Record) -> None:
        """Keep a message on a thread; what no longer fits is forgotten, oldest first."""
        slots: _Slots | None = thread.slots
        if slots is None:
            slots = thread.slots = _Slots()
        records = slots.records
        record.index = slots.forgotten + len(records)
        records.append(record)
        self._count += 1
        self.size += record.size + (self._nudges.add(record.nudge) if record.nudge else 0)
        if len(records) > self._per_thread:
            self._forget(slots)
        if self._count > self._most or self.size > self._most_size:
            self._make_room(record)

    def keep_past(self, thread: Thread, record: Record) -> None:
        """As ``append``, where the thread is dropped in the same stretch: pushes no live message out."""
        if thread.slots is None:
            thread.slots = _Slots()
        record.index = self.next_index(thread)
        thread.slots.records.append(record)
        self._count += 1
        self.size += record.size + (self._nudges.add(record.nudge) if record.nudge else 0)

    def next_index(self, thread: Thread) -> int:
        """Where on its thread the next message will stand."""
        slots: _Slots | None = thread.slots
        return 0 if slots is None else slots.forgotten + len(slots.records)

    def drop(self, threads: Iterable[Thread]) -> None:
        """Their threads have ended, and what they remembered goes with them."""
        for thread in threads:
            slots: _Slots | None = thread.slots
            if slots is None:
                continue
            for record in slots.records:
                self.size -= record.size + (self._nudges.remove(record.nudge) if record.nudge else 0)
                if self._past is not None:
                    self._remember_past(self._past, record)
            self._count -= len(slots.records)
            self._forgotten -= slots.forgotten
            if self._past is not None:
                self._past_forgotten += slots.forgotten
            thread.slots = None

    def promise(self, thread: Thread, size: int, number: int = 1) -> None:
        """A message of that size is on its way to a thread (-1: it is no more)."""
        if thread.slots is None:
            thread.slots = _Slots()
        thread.slots.promised += number
        thread.slots.promised_size += number * size
        self._promised += number
        self._promised_size += number * size

    def held(self, threads: Iterable[Thread]) -> tuple[int, int]:
        """Messages that these threads remember or are to, and their bytes: what their end would free."""
        count = size = 0
        for thread in threads:
            slots: _Slots | None = thread.slots
            if slots is not None:
                count += len(slots.records) + slots.promised
                size += sum(record.size for record in slots.records) + slots.promised_size
        return count, size

    def full(
        self, thread: Thread | None, size: int, ahead_here: int, ahead: int, ahead_size: int
    ) -> str | None:
        """What is full, in words, if one more message of ``size`` would make something be forgotten.

        ``thread``: where it would go; None for a new one. ``ahead`` messages are to come before it;
        below 0, so many are to go.
        """
        slots: _Slots | None = None if thread is None else thread.slots
        here = 0 if slots is None else len(slots.records) + slots.promised
        if here + ahead_here >= self._per_thread:
            return f"a thread that remembers {here} of {self._per_thread} messages"
        kept = self._count + self._promised
        if kept + ahead >= self._most:
            return f"a conversation that remembers {kept} of {self._most} messages"
        used = self.size + self._promised_size
        if used + ahead_size + size > self._most_size:
            return f"{size} bytes in a conversation that remembers {used} of {self._most_size}"
        return None

    def thread(self, thread: Thread) -> History:
        """What one thread remembers."""
        slots: _Slots | None = thread.slots
        return History(()) if slots is None else History(tuple(slots.records), slots.forgotten)

    def records(self, thread: Thread) -> tuple[int, Sequence[Record]]:
        """(how many are forgotten, what is kept) of one thread, oldest first."""
        slots: _Slots | None = thread.slots
        return (0, ()) if slots is None else (slots.forgotten, tuple(slots.records))

    def conversation(self, *, past: bool = False) -> History:
        """What all live threads remember, in causal order; with ``past``, what ended ones had as well."""
        records = self._ordered()
        if past and self._past:
            records = sorted([*records, *(record for _, record in self._past)], key=_order)
        return History(records, self._forgotten + (self._past_forgotten if past else 0))

    def _ordered(self) -> Sequence[Record]:
        records: list[Record] = []
        for thread in self._threads:
            if thread.slots is not None:
                records += thread.slots.records
        records.sort(key=_order)
        return records

    def _forget(self, slots: _Slots) -> None:
        """The oldest of its thread goes."""
        record = slots.records.popleft()
        slots.forgotten += 1
        self._forgotten += 1
        self._count -= 1
        self.size -= record.size + (self._nudges.remove(record.nudge) if record.nudge else 0)

    def _make_room(self, newest: Record) -> None:
        """The oldest of the conversation go; the newest stays, whatever its size."""
        most, size = self._most - self._most // AIR, self._most_size - self._most_size // AIR
        for record in self._ordered():
            if self._count <= most and self.size <= size:
                break
            if record is not newest:  # which a slow handler may have been given long ago
                thread = self._threads.lookup(record.thread_id)
                assert thread is not None  # dead ones have been dropped
                self._forget(thread.slots)

    def _remember_past(self, past: list[tuple[int, Record]], record: Record) -> None:
        heapq.heappush(past, (record.order, record))
        self._past_size += record.size + self._past_nudges.add(record.nudge)
        while len(past) > 1 and (len(past) > self._most or self._past_size > self._most_size):
            _, gone = heapq.heappop(past)
            self._past_size -= gone.size + self._past_nudges.remove(gone.nudge)
            self._past_forgotten += 1


def _order(record: Record) -> int:
    return record.order
