"""Streams as tests read them: events by their number, everything at once, and an account of all of it."""

from __future__ import annotations

from typing import Any

import trio

from phloem.errors import StreamOverflowed
from phloem.events.bus import EventBus
from phloem.events.streams import EventStream
from phloem.events.types import AgentEvent, HistoryGap, Lagged


def numbered(n: int, type: str = "custom", stream: str = "s", **fields: Any) -> AgentEvent:
    """An event whose data says ``n``."""
    return AgentEvent(type, stream, data={"n": n}, **fields)


def emitted(bus: EventBus, *numbers: int) -> None:
    """These have been emitted."""
    for n in numbers:
        bus.emit(numbered(n))


def plain(item: AgentEvent | Lagged | HistoryGap) -> Any:
    """An event's number; anything else as it is."""
    return item.data["n"] if isinstance(item, AgentEvent) else item


def read(stream: EventStream) -> list[Any]:
    """All that can be read now, errors that it raised included; trio.EndOfChannel last if that is the end."""
    found: list[Any] = []
    while True:
        try:
            found.append(plain(stream.receive_nowait()))
        except trio.WouldBlock:
            return found
        except trio.EndOfChannel:
            return [*found, trio.EndOfChannel]
        except StreamOverflowed as error:
            found.append(error)


class Account:
    """What has been read of events numbered from 1, held at each point to what a reader may be told there.

    Exact: at each event, all older ones have been read or told as lost, and no newer one.
    """

    def __init__(self, *, exact: bool = True) -> None:
        self.received = self.told = self.last = 0
        self.exact = exact

    def take(self, item: AgentEvent | Lagged | HistoryGap | StreamOverflowed) -> None:
        if isinstance(item, (Lagged, StreamOverflowed)):
            count = item.count if isinstance(item, Lagged) else item.lost
            assert count > 0
            self.told += count
            return
        n = plain(item)
        assert n > self.last, "in publish order, and none twice"
        older = self.received + self.told
        assert older == n - 1 if self.exact else older >= n - 1, "each older one was read or told as lost"
        self.last = n
        self.received += 1
