"""The sources that are open: one of a name, closed before anything else when the organism stops.

Decides whether a name is free, and when no task reads for any of them any more. Sends nothing and
reads nothing: ``sources`` does the one, attached streams the other. The pump owns the one there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, final

from phloem.errors import OrganismClosed, SenderRefused
from phloem.wire.parsing import quoted

__all__ = ["Feed", "OpenSources"]


class Feed(Protocol):
    """What is open under a name: a source, or a stream that is attached."""

    @property
    def name(self) -> str:
        """Who its messages are from."""
        ...

    @property
    def closed(self) -> bool:
        """Nothing of it is accepted any more."""
        ...

    def statistics(self) -> dict[str, Any]:
        """Counts for an operator."""
        ...

    def close(self) -> None:
        """Accept nothing of it any more; what was accepted goes on. Idempotent, never a checkpoint."""
        ...


@final
class OpenSources:
    """Those of one pump."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._names: dict[str, str] = {}  # names without case -> as they are: senders are compared so
        self.feeds: Mapping[str, Feed] = MappingProxyType(self._feeds)
        self._readers: dict[str, int] = {}  # names -> tasks that read for them
        self._read_out: Callable[[], None] | None = None
        self.closing = False

    def add(self, feed: Feed) -> None:
        """Open it. Raises OrganismClosed once they close, SenderRefused if its name is taken."""
        if self.closing:
            raise OrganismClosed("the organism takes no more sources")
        if (taken := self._names.get(feed.name.casefold())) is not None:
            raise SenderRefused(
                f"source: found {quoted(feed.name)} while {quoted(taken)} is open, expected another name"
            )
        self._names[feed.name.casefold()] = feed.name
        self._feeds[feed.name] = feed

    def remove(self, feed: Feed) -> None:
        """It is closed: its name is free."""
        if self._feeds.get(feed.name) is feed:
            del self._feeds[feed.name], self._names[feed.name.casefold()]

    @property
    def readers(self) -> tuple[str, ...]:
        """The sources that a task reads for, also those that are closed and whose task has not left yet."""
        return tuple(self._readers)

    def reading(self, name: str) -> None:
        """A task begins to read for that source."""
        self._readers[name] = self._readers.get(name, 0) + 1

    def left(self, name: str) -> None:
        """It has ended."""
        self._readers[name] -= 1
        if not self._readers[name]:
            del self._readers[name]
        if not self._readers and self._read_out is not None:
            self._read_out()

    def close(self, then: Callable[[], None]) -> None:
        """Close them all; ``then`` is called once no task reads any more, perhaps at once."""
        self.closing = True
        for feed in list(self._feeds.values()):
            feed.close()
        self._read_out = then
        if not self._readers:
            then()
