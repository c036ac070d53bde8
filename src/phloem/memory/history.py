"""A history as its readers get it: slots whose payloads are the reader's own.

Decides how a kept message is handed out. It is kept as the text that was delivered, and read
again for whoever asks, so that nobody can change history; only what is immutable is shared.
Never looks into payloads or clocks. ``context`` fills it; handlers and operators read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final, overload

from phloem.messages import SYSTEM, iso_time

__all__ = ["BufferSlot", "Forgotten", "History", "Record", "SlotMetadata", "utf8_size"]


@final
@dataclass(frozen=True, slots=True)
class SlotMetadata:
    """What is known of one message in a history. ``timestamp``: when its handler began (an answer at
    the root: when it was sent), ISO 8601, UTC.

    ``slot_index`` counts the thread's messages from 0 and is never used again; what the handler was
    told beside its payload is here as it was then.
    """

    thread_id: str
    from_id: str
    to_id: str
    slot_index: int
    timestamp: str
    payload_type: str
    own_name: str | None = None
    is_self_call: bool = False
    usage_instructions: str = ""
    todo_nudge: str = ""
    message_id: str = ""


@final
@dataclass(frozen=True, slots=True)
class BufferSlot:
    """One message of a history. Its payload is the reader's own, or immutable."""

    payload: Any
    metadata: SlotMetadata


@final
@dataclass(frozen=True, slots=True)
class Forgotten:
    """Stands for the oldest messages of a history, which are gone; from ``system``."""

    count: int


@final
class Record:
    """A message as it is kept. ``order``: its place among all of its conversation.

    ``said`` is what an agent sent when it had been given this one; of agents the text is kept as well.

    ``read`` makes a payload of ``source`` (its contract) and ``text``; without it ``source`` is the
    payload itself, which is immutable.
    """

    __slots__ = (
        "began",
        "from_id",
        "index",
        "message_id",
        "nudge",
        "order",
        "own_name",
        "read",
        "said",
        "size",
        "source",
        "text",
        "thread_id",
        "to_id",
        "type",
        "usage",
    )

    def __init__(
        self,
        order: int,
        message_id: str,
        thread_id: str,
        from_id: str,
        to_id: str,
        type: str,
        text: str,
        read: Callable[[Any, str], Any] | None,
        source: Any,
        began: float,
        own_name: str | None,
        usage: str,
        nudge: str,
        said: str = "",
    ) -> None:
        self.message_id, self.thread_id, self.from_id, self.to_id = message_id, thread_id, from_id, to_id
        self.type, self.read, self.source = type, read, source
        self.text = "" if read is None and own_name is None else text  # nobody reads it again
        self.began, self.own_name, self.usage, self.nudge = began, own_name, usage, nudge
        self.order, self.said = order, said
        self.size = (len(text) if text.isascii() else utf8_size(text)) + (utf8_size(said) if said else 0)
        self.index = 0  # set where it is appended

    @property
    def slot(self) -> BufferSlot:
        return BufferSlot(
            self.source if self.read is None else self.read(self.source, self.text),
            SlotMetadata(
                self.thread_id,
                self.from_id,
                self.to_id,
                self.index,
                iso_time(self.began),
                self.type,
                self.own_name,
                self.from_id == self.to_id,
                self.usage,
                self.nudge,
                self.message_id,
            ),
        )


def utf8_size(text: str) -> int:
    """Bytes."""
    return len(text) if text.isascii() else len(text.encode())


@final
class History(Sequence[BufferSlot]):
    """Slots in causal order, as they were when it was asked for; safe to hold.

    Each access to a slot makes it anew: what a reader does to a payload stays with the reader.
    If messages have been forgotten, the first slot holds ``Forgotten`` and says how many.
    """

    __slots__ = ("_at", "_forgotten", "_records")

    def __init__(self, records: Sequence[Record], forgotten: int = 0, at: int = 0) -> None:
        self._records, self._forgotten = records, forgotten
        self._at = at if forgotten else -1  # where the marker stands: first, unless a slice turned it round

    def __len__(self) -> int:
        return len(self._records) + (self._forgotten > 0)

    @overload
    def __getitem__(self, index: int) -> BufferSlot: ...
    @overload
    def __getitem__(self, index: slice) -> History: ...
    def __getitem__(self, index: int | slice) -> BufferSlot | History:
        if isinstance(index, slice):
            places = range(len(self))[index]
            records = [self._record_at(place) for place in places if place != self._at]
            if self._at in places:
                return History(records, self._forgotten, places.index(self._at))
            return History(records)
        place = range(len(self))[index]
        return self._marker() if place == self._at else self._record_at(place).slot

    def __iter__(self) -> Iterator[BufferSlot]:
        return (self[place] for place in range(len(self)))

    def __repr__(self) -> str:
        return f"<History of {len(self)} slots>"

    def get_slice(self, start: int, stop: int | None = None) -> History:
        """As ``history[start:stop]``."""
        return self[start:stop]

    def get_by_type(self, name: str | type) -> History:
        """The messages whose payload's class is called so, without case; or is that class."""
        wanted = _folded(name)
        return History([record for record in self._records if record.type.casefold() == wanted])

    def get_from(self, name: str) -> History:
        """The messages that came from that name, without case."""
        wanted = _folded(name)
        return History([record for record in self._records if record.from_id.casefold() == wanted])

    def joined(self, records: Sequence[Record]) -> History:
        """With these at their places: messages that are being handled, and so not kept yet."""
        if not records:
            return self
        merged = sorted([*self._records, *records], key=lambda record: record.order)
        return History(merged, self._forgotten)

    def _record_at(self, place: int) -> Record:
        return self._records[place - (0 <= self._at < place)]

    def _marker(self) -> BufferSlot:
        first = self._records[0] if self._records else None
        metadata = SlotMetadata(
            first.thread_id if first else "",
            SYSTEM,
            first.to_id if first else "",
            self._forgotten - 1,
            iso_time(first.began if first else 0.0),
            Forgotten.__name__,
        )
        return BufferSlot(Forgotten(self._forgotten), metadata)


def _folded(name: object) -> str:
    return (name.__name__ if isinstance(name, type) else str(name)).casefold()
