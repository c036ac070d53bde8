"""What the host hands in and Trio's side reads: async iterables and streams of bytes of the host's own.

Decides which of them are the host's (whatever is not Trio's) and awaits those in its loop. Keeps nothing
of what it reads. Used by ``facing``, for the sources of batches and for attached streams.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, final

import trio

from phloem.messages import Host

__all__ = ["read_from_host"]


def read_from_host(host: Host, source: Any) -> Any:
    """``source`` as Trio's side may read it: itself, if it is Trio's own or has nothing to await."""
    if isinstance(source, trio.abc.AsyncResource) or type(source).__module__.partition(".")[0] == "trio":
        return source
    if any(iscoroutinefunction(getattr(source, name, None)) for name in ("receive", "receive_some", "read")):
        return HostStream(host, source)
    if isinstance(source, AsyncIterable):
        return _items(host, source)  # pyright: ignore[reportUnknownArgumentType]
    return source


async def _items(host: Host, source: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    """Its items, each awaited in the host's loop; a generator is closed there, too."""
    items: AsyncIterator[Any] = aiter(source)
    try:
        while True:
            try:
                item = await host.call(items.__anext__)
            except StopAsyncIteration:
                return
            yield item
    finally:
        if isinstance(items, AsyncGenerator):  # whoever reads one closes it
            await host.call(items.aclose)


@final
class HostStream:
    """A stream of the host's: what is awaited of it is awaited in the host's loop."""

    def __init__(self, host: Host, own: Any) -> None:
        self._host, self._own = host, own

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._own, name)
        return partial(self._host.call, value) if iscoroutinefunction(value) else value

    def __aiter__(self) -> AsyncIterator[Any]:
        return _items(self._host, self._own)
