"""What the host hands in and Trio's side reads: async iterables and streams of bytes of the host's own.

Decides which of them are the host's (whatever is not Trio's) and awaits those in its loop. Keeps nothing
of what it reads. Used by ``facing``, for the sources of batches and for attached streams.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import Any, Final, final

import anyio
import trio
from anyio.abc import ByteReceiveStream

from phloem.messages import Host

__all__ = ["HostStream", "read_from_host"]

CLEANUP: Final = 2.0  # seconds that a generator of the host's may take to close, as a batch gives it


def read_from_host(host: Host, source: Any) -> Any:
    """``source`` as Trio's side may read it: itself, if it is Trio's own or is read in a thread."""
    if isinstance(source, trio.abc.AsyncResource) or hasattr(source, "wrapped"):  # an async file, for one
        return source
    if isinstance(source, ByteReceiveStream):
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
        if isinstance(items, AsyncGenerator):  # whoever reads one closes it, also when cancelled
            with trio.move_on_after(CLEANUP, shield=True):
                await host.call(items.aclose)


@final
class HostStream:
    """A byte stream of the host's, with the one method that a stream of Trio's is read by."""

    def __init__(self, host: Host, own: ByteReceiveStream) -> None:
        self._host, self._own = host, own

    async def receive_some(self, max_bytes: int) -> bytes:
        """The next bytes, b"" at the end. Checkpoint. Cancelled means: it was cancelled in the host."""
        try:
            return bytes(await self._host.call(self._own.receive, max_bytes))
        except anyio.EndOfStream:
            return b""
