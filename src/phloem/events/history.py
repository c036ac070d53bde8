"""The last events of one bus, as rows: what is kept, what gives way, and what is missing.

Decides which row goes when the history is full. Each type has a shelf of its own, oldest
row first. Over the count the type with the most rows loses its oldest, over the bytes the
one with the most bytes: a flood of deltas eats its own tail and leaves lifecycle events
alone, yet one type alone may fill everything. Makes no events of rows, reads no clock,
wakes nobody. Called by the bus, and by streams that replay.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from .routes import Filters
    from .types import Row

__all__ = ["History"]

FEWEST: Final = 2  # rows of a type that may lose one to a row of its own: it keeps the new one


@final
class _Shelf:
    """The rows of one type, their bytes, and the greatest seq that went or never came."""

    __slots__ = ("bytes", "evicted", "gone", "refused", "rows")

    def __init__(self) -> None:
        self.rows: deque[Row] = deque()
        self.bytes = 0
        self.evicted = 0  # the seq of the last row that gave way
        self.gone = 0  # rows that gave way or were not kept
        self.refused = 0  # the seq of the last row that was too large: may be beyond ``evicted``


@final
class History:
    """At most ``max_rows`` rows of together at most ``max_bytes`` bytes, by type.

    A row that is larger than ``max_bytes`` is not kept and moves nobody; ``max_rows=0`` keeps
    none. Of equal types the one that has just grown gives way, else the one with the oldest
    row. The row that was just appended never goes. Not for several threads.
    """

    # The scans over the types happen only when a type that is not the largest grows. It can do
    # so until it is level with the largest, so in a steady state nothing is scanned, whatever the
    # rates are. ``_longest`` and ``_heaviest`` are what makes that cheap to see: no type has more
    # rows, or bytes. They may be too high (a type shrinks unseen); a scan then lowers them.

    __slots__ = (
        "_count",
        "_heaviest",
        "_largest_row",
        "_longest",
        "_max_bytes",
        "_max_rows",
        "_shelves",
        "bytes",
    )

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self.bytes = 0  # of all rows held
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._largest_row = max_bytes if max_rows else -1
        self._shelves: dict[str, _Shelf] = {}
        self._count = 0
        self._longest = FEWEST
        self._heaviest = 0

    def __len__(self) -> int:
        """Rows held."""
        return self._count

    @property
    def evicted(self) -> int:
        """Rows that gave way or were not kept: appended = held + evicted."""
        return sum(shelf.gone for shelf in self._shelves.values())

    def counts(self) -> dict[str, int]:
        """How many rows were appended, by type, in the order in which the types came."""
        return {str(type): len(shelf.rows) + shelf.gone for type, shelf in self._shelves.items()}

    def append(self, row: Row) -> None:
        """Keep the row; its seq is greater than any before. Constant time, evictions paid in advance."""
        shelf = self._shelves.get(row[1])
        if shelf is None:
            shelf = self._shelves[row[1]] = _Shelf()
        gained = row[10]
        if gained > self._largest_row:
            shelf.refused = row[0]
            shelf.gone += 1
            return
        rows = shelf.rows
        rows.append(row)
        length = len(rows)
        if self._count < self._max_rows:
            self._count += 1
            if length > self._longest:
                self._longest = length
        elif length >= self._longest:
            old = rows.popleft()
            shelf.evicted = old[0]
            shelf.gone += 1
            gained -= old[10]
        else:
            self._count += 1
            self._shorten(shelf)
        if gained:
            weight = shelf.bytes = shelf.bytes + gained
            total = self.bytes = self.bytes + gained
            if total > self._max_bytes:
                self._lighten(shelf)
            elif weight > self._heaviest:
                self._heaviest = weight

    def newest(self, filters: Filters, limit: int) -> list[Row]:
        """At most ``limit`` matching rows, the most recent first. Reads no further than it must."""
        shelves = [reversed(shelf.rows) for shelf in self._admitted(filters)]
        rows = shelves[0] if len(shelves) == 1 else heapq.merge(*shelves, reverse=True)  # seqs never tie
        return list(islice(_passing(rows, filters), min(max(limit, 0), self._count)))

    def since(self, filters: Filters, seq: int) -> tuple[list[Row], int]:
        """The matching rows with a greater seq, oldest first, and up to which seq some may be missing.

        The second is 0 if none is missing, else greater than ``seq``. What is gone is known by
        type only: with other filters it means that a matching row may have been among them.
        """
        found: list[Row] = []
        missing = 0
        for shelf in self._admitted(filters):
            found.extend(_passing(_after(shelf.rows, seq), filters))
            missing = max(missing, shelf.evicted, shelf.refused)
        found.sort()  # by seq; shelves are runs already
        return found, missing if missing > seq else 0

    def _admitted(self, filters: Filters) -> list[_Shelf]:
        if filters.types is None:
            return list(self._shelves.values())
        return [shelf for name in filters.types if (shelf := self._shelves.get(name)) is not None]

    def _shorten(self, grown: _Shelf) -> None:
        """One row too many, and the shelf that has grown is not known to be the longest."""
        length = len(grown.rows)
        most, second, loser = 0 if length < FEWEST else length, 0, grown
        for shelf in self._shelves.values():
            if shelf is grown:
                continue
            length = len(shelf.rows)
            if length > most or (length == most and _is_older(shelf, loser, grown)):
                second, most, loser = most, length, shelf
            elif length > second:
                second = length
        self._longest = max(FEWEST, most - 1, second)
        self._evict(loser)

    def _lighten(self, grown: _Shelf) -> None:
        """Too many bytes: the heaviest loses rows until they fit."""
        while self.bytes > self._max_bytes:
            alone = len(grown.rows) < FEWEST
            if grown.bytes >= self._heaviest and not alone:
                self._evict(grown)
                continue
            most, loser = 0 if alone else grown.bytes, grown
            for shelf in self._shelves.values():
                if shelf is grown:
                    continue
                if shelf.bytes > most or (shelf.bytes == most and _is_older(shelf, loser, grown)):
                    most, loser = shelf.bytes, shelf
            self._evict(loser)
            self._heaviest = max(shelf.bytes for shelf in self._shelves.values())
        self._heaviest = max(self._heaviest, grown.bytes)

    def _evict(self, shelf: _Shelf) -> None:
        old = shelf.rows.popleft()
        shelf.evicted = old[0]
        shelf.bytes -= old[10]
        self.bytes -= old[10]
        self._count -= 1
        shelf.gone += 1


def _is_older(shelf: _Shelf, loser: _Shelf, grown: _Shelf) -> bool:
    """Of two that are equal, does it give way rather than the one found so far?"""
    return loser is not grown and shelf.rows[0][0] < loser.rows[0][0]


def _after(rows: deque[Row], seq: int) -> list[Row]:
    """The rows with a greater seq, oldest first, found from the newest end."""
    found: list[Row] = []
    for row in reversed(rows):
        if row[0] <= seq:
            break
        found.append(row)
    found.reverse()
    return found


def _passing(rows: Iterable[Row], filters: Filters) -> Iterator[Row]:
    """Those that pass the filters, their types being right already."""
    stream, node, execution = filters.stream_id, filters.node_id, filters.execution_id
    if stream is node is execution is None:
        return iter(rows)
    return (
        row
        for row in rows
        if (execution is None or row[4] == execution)
        and (node is None or row[3] == node)
        and (stream is None or row[2] == stream)
    )
