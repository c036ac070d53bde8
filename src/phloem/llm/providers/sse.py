"""Bytes of an event stream in, events out.

Decides where a line ends and where an event does, by the rules of HTML's server-sent events, and how
long one may be. Knows neither HTTP nor what stands in an event; never waits. For ``streaming``.

Not httpx2's own reader: that one wants the exact content type, which some compatible servers do not
send, and is an async generator, which a stream that may be left at any point would have to wrap.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

__all__ = ["EventTooLong", "Events", "ServerEvent"]

MAX_EVENT_BYTES: Final = 1024 * 1024  # 1 MiB: some servers send a tool's arguments in one event, most a word
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


@final
class EventTooLong(Exception):  # becomes a BackendError where the backend's name is known
    """One event has more than ``limit`` bytes, or would have, had it ended."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"an event of more than {limit} bytes in its stream")


@final
@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its name (mostly empty, or what ``data`` says again) and its lines of data."""

    name: str
    data: str


@final
class Events:
    """The reader of one stream. What is left without an empty line behind it is no event."""

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._line = bytearray()  # as much of it as has come
        self._searched = 0  # no line ends before there
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0  # bytes of the lines of the event that is being read
        self._after_return = False  # the last byte was \r: a \n next belongs to it
        self._first = True  # a byte order mark may stand before the first line

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that end within these bytes, in their order. Raises EventTooLong. Never a checkpoint."""
        if self._after_return and data:
            data = data.removeprefix(b"\n")
            self._after_return = False
        self._line += data
        events: list[ServerEvent] = []
        begin = 0
        while found := _LINE_END.search(self._line, max(begin, self._searched)):
            event = self._took(bytes(self._line[begin : found.start()]))
            if event is not None:
                events.append(event)
            begin = found.end()
            self._after_return = begin == len(self._line) and found.group() == b"\r"
        del self._line[:begin]
        self._searched = len(self._line)
        if self._size + len(self._line) > self._limit:
            raise EventTooLong(self._limit)
        return events

    def _took(self, line: bytes) -> ServerEvent | None:
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        if not line:
            return self._ended()
        self._size += len(line)
        if self._size > self._limit:
            raise EventTooLong(self._limit)
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None  # a comment (it begins with the colon), id, retry: nothing we would keep

    def _ended(self) -> ServerEvent | None:
        event = None
        if self._data:
            event = ServerEvent(self._name, b"\n".join(self._data).decode("utf-8", "replace"))
        self._name, self._data, self._size = "", [], 0
        return event
