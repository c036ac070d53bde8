"""What a program leaves behind: tokens, tasks, items, channels, generators, threads.

Decides what counts as left behind once the program has returned: every limiter and channel made in the run
is remembered with the line that made it, every other limiter that it borrows from with the line that did so
first, and asked then. Used by ``running`` and ``holding``.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE
from threading import get_ident
from types import FrameType
from typing import Any, Final, final

import anyio.streams.memory as anyio_memory
import trio

from .sites import Site, is_own

__all__ = ["Generators", "Made"]

_LIMITERS: Final = (trio.CapacityLimiter,)
_SENDERS: Final = (trio.MemorySendChannel, anyio_memory.MemoryObjectSendStream)
_RECEIVERS: Final = (trio.MemoryReceiveChannel, anyio_memory.MemoryObjectReceiveStream)
_BORROW: Final = "acquire_on_behalf_of_nowait"  # what every way to a token begins with
_ASYNC: Final = CO_COROUTINE | CO_ASYNC_GENERATOR


@final
class Made:
    """The limiters and the ends of channels of a run, in the order they were made, or first borrowed from."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str]] = []
        self._limiters = set[int]()  # ids of those in the list
        self._lent: dict[int, list[Any]] = {}  # of a limiter that was there before: its borrowers until then
        self._closed = set[int]()  # ids of ends, all of which are kept in the list

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember whatever this thread makes from here to the end of the block."""
        ends: tuple[Any, ...] = (*_SENDERS, *_RECEIVERS)
        before = [(kind, "__init__", kind.__init__, self._remembering) for kind in (*_LIMITERS, *ends)]
        before += [(kind, "close", kind.close, self._noting) for kind in ends]
        before += [(kind, _BORROW, getattr(kind, _BORROW), self._borrowing) for kind in _LIMITERS]
        for kind, name, stock, ours in before:
            setattr(kind, name, ours(stock, get_ident()))
        try:
            yield
        finally:
            for kind, name, stock, _ in before:
                setattr(kind, name, stock)
            if trio.lowlevel.in_trio_run():
                self._close()
            self._made.clear()

    def _close(self) -> None:
        """What was told as open or borrowed.

        Else anyio warns of each end once more, whenever it is collected, and the next run finds no token.
        """
        for thing, _ in self._made:
            if not isinstance(thing, _LIMITERS):
                if id(thing) not in self._closed:
                    thing.close()
            elif (lent := self._lent.get(id(thing))) is not None:
                for borrower in thing.statistics().borrowers:
                    if borrower not in lent:
                        thing.release_on_behalf_of(borrower)

    def _remembering(self, stock: Callable[..., None], thread: int) -> Callable[..., None]:
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            stock(self, *args, **kwargs)
            if get_ident() == thread:
                remember(self)

        def remember(made: Any) -> None:
            if isinstance(made, _LIMITERS):
                self._limiters.add(id(made))
                self._made.append((made, f"made at {_maker()[0]}"))
                return
            self._closed.discard(id(made))  # it was another's, which is gone
            place, librarys = _maker()
            if not librarys:
                self._made.append((made, f"made at {place}"))

        return init

    def _borrowing(self, stock: Callable[..., None], thread: int) -> Callable[..., None]:
        def borrow(limiter: Any, *args: Any, **kwargs: Any) -> None:
            if id(limiter) not in self._limiters and get_ident() == thread:
                self._limiters.add(id(limiter))
                self._lent[id(limiter)] = limiter.statistics().borrowers
                self._made.append((limiter, f"first used at {_maker()[0]}"))
            stock(limiter, *args, **kwargs)

        return borrow

    def _noting(self, stock: Callable[..., None], thread: int) -> Callable[..., None]:
        closed = self._closed

        def close(self: Any) -> None:
            if get_ident() == thread:
                closed.add(id(self))
            stock(self)

        return close

    def left(self, abandoning: Sequence[trio.CapacityLimiter] = ()) -> Iterator[str]:
        """What is borrowed, unread, waited for or open, in words; a clone by the line that made it.

        Threads that may be abandoned keep the tokens of ``abandoning``.
        """
        unread, open_ends = dict[str, None](), Counter[tuple[str, str]]()
        for thing, where in self._made:
            statistics = thing.statistics()
            if isinstance(thing, _LIMITERS):
                borrowed = statistics.borrowed_tokens - len(self._lent.get(id(thing), ()))
                if borrowed > 0 and thing not in abandoning:
                    yield f"{borrowed} token(s) of the limiter {where} are borrowed"
                if statistics.tasks_waiting:
                    yield f"{statistics.tasks_waiting} task(s) wait for the limiter {where}"
            elif id(thing) not in self._closed:
                open_ends["send" if isinstance(thing, _SENDERS) else "receive", where] += 1
                if statistics.current_buffer_used and isinstance(thing, _RECEIVERS):
                    unread[f"{statistics.current_buffer_used} item(s) unread in the channel {where}"] = None
        yield from unread
        for (side, where), count in open_ends.items():
            many = f" ({count} times)" if count > 1 else ""
            yield f"the {side} end of the channel {where} is open{many}"


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


def _maker() -> tuple[str, bool]:
    """The line of the program's own code that is making something now; and whether it only has it made.

    What an async function of a library makes (``trio.as_safe_channel``) is the library's to close: cancelled
    in time, nobody else ever sees it.
    """
    librarys = False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if is_own(code.co_filename):
            return Site(code.co_filename, frame.f_lineno, code.co_qualname).place, librarys
        librarys = librarys or bool(code.co_flags & _ASYNC)
        frame = frame.f_back
    return "an unknown line", librarys
