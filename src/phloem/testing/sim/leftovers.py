"""What a program leaves behind: tokens, tasks, items, channels, generators, threads.

Decides what counts as left behind once the program has returned: every limiter and channel made in the run
is remembered with the line that made it, and asked then. Used by ``running``.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, final

import anyio.streams.memory as anyio_memory
import trio

from .sites import Site, is_own

__all__ = ["Generators", "Made"]

_LIMITERS: Final = (trio.CapacityLimiter,)
_SENDERS: Final = (trio.MemorySendChannel, anyio_memory.MemoryObjectSendStream)
_RECEIVERS: Final = (trio.MemoryReceiveChannel, anyio_memory.MemoryObjectReceiveStream)


@final
class Made:
    """The limiters and channels of a run, in the order they were made."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember whatever is made from here to the end of the block."""
        kinds: tuple[Any, ...] = (*_LIMITERS, *_SENDERS, *_RECEIVERS)
        before = [(kind, kind.__init__) for kind in kinds]
        for kind, stock in before:
            kind.__init__ = self._remembering(stock)
        try:
            yield
        finally:
            for kind, stock in before:
                kind.__init__ = stock

    def _remembering(self, stock: Callable[..., None]) -> Callable[..., None]:
        made = self._made

        def remembering(self: Any, *args: Any, **kwargs: Any) -> None:
            stock(self, *args, **kwargs)
            made.append((self, _maker()))

        return remembering

    def left(self) -> Iterator[str]:
        """What is borrowed, unread, waited for or open, in words; each thing once."""
        told = set[str]()
        for thing, where in self._made:
            kind: Any = type(thing)
            statistics = thing.statistics()
            if kind in _LIMITERS:
                if statistics.borrowed_tokens:
                    yield f"{statistics.borrowed_tokens} token(s) of the limiter made at {where} are borrowed"
                if statistics.tasks_waiting:
                    yield f"{statistics.tasks_waiting} task(s) wait for the limiter made at {where}"
                continue
            open_ends = [
                side
                for side, names in (
                    ("send", ("open_send_channels", "open_send_streams")),
                    ("receive", ("open_receive_channels", "open_receive_streams")),
                )
                if any(getattr(statistics, name, 0) for name in names)
            ]
            lines = list[str]()
            if statistics.current_buffer_used:
                lines.append(
                    f"{statistics.current_buffer_used} item(s) unread in the channel made at {where}"
                )
            own = "send" if kind in _SENDERS else "receive"
            if own in open_ends:
                lines.append(f"the {own} end of the channel made at {where} is open")
            for line in lines:
                if line not in told:
                    told.add(line)
                    yield line


@final
class Generators:
    """The async generators of a run that were begun and not finished."""

    def __init__(self) -> None:
        self._begun: list[weakref.ref[AsyncGenerator[Any, Any]]] = []
        self.abandoned: list[str] = []

    def watch(self) -> None:
        """From here to the end of the Trio run, which puts the hooks back."""
        hooks = sys.get_asyncgen_hooks()
        first, last = hooks.firstiter, hooks.finalizer

        def firstiter(generator: AsyncGenerator[Any, Any]) -> None:
            self._begun.append(weakref.ref(generator))
            if first is not None:
                first(generator)

        def finalizer(generator: AsyncGenerator[Any, Any]) -> None:
            self.abandoned.append(_told(generator))
            if last is not None:
                with warnings.catch_warnings():  # Trio's own warning of it; here it is a failure
                    warnings.simplefilter("ignore", ResourceWarning)
                    last(generator)

        sys.set_asyncgen_hooks(firstiter, finalizer)

    def left(self) -> Iterator[str]:
        """Those that were dropped, and those that something still holds."""
        yield from self.abandoned
        for each in self._begun:
            generator: Any = each()
            if generator is not None and generator.ag_frame is not None:
                yield _told(generator)


def _told(generator: Any) -> str:
    code = generator.ag_code
    site = Site(code.co_filename, code.co_firstlineno, code.co_qualname)
    return f"the async generator {code.co_qualname} ({site.place}) was abandoned before its end"


def _maker() -> str:
    """The line of the program's own code that is making something now."""
    frame = sys._getframe(2)
    while frame is not None:
        if is_own(frame.f_code.co_filename):
            return Site(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname).place
        frame = frame.f_back  # type: ignore[assignment]
    return "an unknown line"
