"""What a program leaves behind: tokens, tasks, items, channels, generators, threads.

Decides what counts as left behind once the program has returned: every limiter and channel made in the run
is remembered with the line that made it, and asked then. Used by ``running``.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections import Counter
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
    """The limiters and the ends of channels of a run, in the order they were made."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str]] = []
        self._closed = set[int]()  # ids of ends, all of which are kept in the list

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember whatever is made from here to the end of the block."""
        ends: tuple[Any, ...] = (*_SENDERS, *_RECEIVERS)
        before = [(kind, "__init__", kind.__init__) for kind in (*_LIMITERS, *ends)]
        before += [(kind, "close", kind.close) for kind in ends]
        for kind, name, stock in before:
            setattr(kind, name, self._remembering(stock) if name == "__init__" else self._noting(stock))
        try:
            yield
        finally:
            for kind, name, stock in before:
                setattr(kind, name, stock)
            if trio.lowlevel.in_trio_run():
                self._close()
            self._made.clear()

    def _close(self) -> None:
        """What was told as open; else anyio warns of each once more, whenever it is collected."""
        for thing, _ in self._made:
            if not isinstance(thing, _LIMITERS) and id(thing) not in self._closed:
                thing.close()

    def _remembering(self, stock: Callable[..., None]) -> Callable[..., None]:
        made = self._made

        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            stock(self, *args, **kwargs)
            made.append((self, _maker()))

        return init

    def _noting(self, stock: Callable[..., None]) -> Callable[..., None]:
        closed = self._closed

        def close(self: Any) -> None:
            closed.add(id(self))
            stock(self)

        return close

    def left(self) -> Iterator[str]:
        """What is borrowed, unread, waited for or open, in words; a clone by the line that made it."""
        unread, open_ends = dict[str, None](), Counter[tuple[str, str]]()
        for thing, where in self._made:
            statistics = thing.statistics()
            if isinstance(thing, _LIMITERS):
                if statistics.borrowed_tokens:
                    yield f"{statistics.borrowed_tokens} token(s) of the limiter made at {where} are borrowed"
                if statistics.tasks_waiting:
                    yield f"{statistics.tasks_waiting} task(s) wait for the limiter made at {where}"
            elif id(thing) not in self._closed:
                open_ends["send" if isinstance(thing, _SENDERS) else "receive", where] += 1
                if statistics.current_buffer_used and isinstance(thing, _RECEIVERS):
                    unread[
                        f"{statistics.current_buffer_used} item(s) unread in the channel made at {where}"
                    ] = None
        yield from unread
        for (side, where), count in open_ends.items():
            many = f" ({count} times)" if count > 1 else ""
            yield f"the {side} end of the channel made at {where} is open{many}"


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
