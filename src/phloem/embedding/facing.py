"""What the host sees of an organism: the same names, of which each await crosses to Trio's side.

Decides which classes of phloem's have something that must cross, and gives those a face; everything else
passes through, for both sides are one thread. Holds no state of its own. Used by ``embedding`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial, wraps
from inspect import iscoroutinefunction, ismethod
from types import TracebackType
from typing import Any, Final, Self, cast, final

import trio

from phloem.events.bus import EventBus
from phloem.events.emitting import Committed
from phloem.events.expecting import Expectation
from phloem.events.scoped import ScopedBus
from phloem.events.streams import EventStream
from phloem.feeding.attached import Attached
from phloem.feeding.batches import BatchResults
from phloem.llm.facade import LLM
from phloem.llm.requests import Deltas
from phloem.llm.router import Router
from phloem.llm.streaming import RoutedDeltas
from phloem.messages import Host
from phloem.organism import Organism
from phloem.pump.conversing import Conversation
from phloem.pump.sources import Source

from .crossing import Block, cross
from .guests import Guest, guest_around, join_guest
from .hosting import EmbeddingHost
from .loops import checkpoint
from .readers import read_from_host

__all__ = ["FACES", "Embedded", "Face", "facing", "host_around"]


class Face:
    """An object of Trio's side as the host sees it. Within a task of Trio's it is the object itself."""

    __slots__ = ("_guest", "_methods", "_own")

    def __init__(self, guest: Guest, own: Any) -> None:
        self._guest, self._own = guest, own
        self._methods: dict[str, Any] = {}  # made once: dressing one up costs a tenth of a call

    def __getattr__(self, name: str) -> Any:
        made = self._methods.get(name)
        if made is not None:
            return made
        value = getattr(self._own, name)
        if not ismethod(value):
            return facing(self._guest, value)
        crosses = cross if iscoroutinefunction(value) else _called
        made = self._methods[name] = wraps(value)(partial(crosses, self._guest, value))
        return made

    @property  # type: ignore[misc] # as a class says it, and nothing else can
    def __class__(self) -> type[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """For ``isinstance``: a program asks for an Organism on every loop alike."""
        own: object = self._own
        return type(own)

    def __repr__(self) -> str:
        return f"<the host's {self._own!r}>"

    def __eq__(self, other: object) -> bool:
        return self._own is (other._own if type(other) is type(self) else other)

    def __hash__(self) -> int:
        return id(self._own)

    def __dir__(self) -> list[str]:
        return dir(self._own)


@final
class OrganismFace(Face):
    """An organism. The sources that are open in it are faced as they are looked up."""

    __slots__ = ()

    @property
    def sources(self) -> Mapping[str, Any]:
        """As ``Organism.sources``."""
        return _Faced(self._guest, self._own.sources)


@final
class _Faced(Mapping[str, Any]):
    """A mapping of Trio's side whose values have faces; as live as that one."""

    def __init__(self, guest: Guest, own: Mapping[str, Any]) -> None:
        self._guest, self._own = guest, own

    def __getitem__(self, name: str) -> Any:
        return facing(self._guest, self._own[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)

    def __repr__(self) -> str:
        return repr(dict(self))


@final
class StreamFace(Face):
    """A stream of events, or a batch's results. What waits there is taken without a crossing."""

    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def receive(self) -> Any:
        """As ``EventStream.receive``: cancelled means that nothing was taken, or what was is returned."""
        if not trio.lowlevel.in_trio_task():
            await checkpoint()  # before anything is taken
            try:
                return self._own.receive_nowait()
            except trio.WouldBlock:
                pass  # wait on Trio's side
        return await cross(self._guest, self._own.receive)


@final
class DeltasFace(Face):
    """An answer of a model on its way."""

    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await cross(self._guest, self._own.__anext__)


@final
class ExpectationFace(Face):
    """An event to come, awaited or disarmed."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, Any]:
        return cross(self._guest, self._own.wait).__await__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._own.cancel()


@final
class CommittedFace(Face):
    """What an ``emit_*`` returns, to be awaited or not."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        if trio.lowlevel.in_trio_task():
            own: Generator[Any, Any, None] = self._own.__await__()
            return own
        return checkpoint().__await__()


READS: Final = ("attach", "open_batch")  # are given something to read, which may be the host's

# Every class of phloem's that a host may come to hold and that has something to await.
FACES: Final[Mapping[type[Any], type[Face]]] = {
    Organism: OrganismFace,
    Conversation: Face,
    LLM: Face,
    Router: Face,
    Deltas: DeltasFace,  # as the API names it,
    RoutedDeltas: DeltasFace,  # and as it is
    Source: Face,
    Attached: Face,
    BatchResults: StreamFace,
    EventBus: Face,
    ScopedBus: Face,
    EventStream: StreamFace,
    Expectation: ExpectationFace,
    Committed: CommittedFace,
}


def facing(guest: Guest, value: object) -> Any:
    """``value`` as the host is to see it: itself, if nothing of it must cross."""
    face = FACES.get(type(value))
    if face is not None:
        return face(guest, value)
    if isinstance(value, AbstractAsyncContextManager):
        manager = cast("AbstractAsyncContextManager[Any]", value)
        return Block(guest, manager, partial(facing, guest))
    return value


def _called(guest: Guest, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """A plain method's result, as the host is to see it."""
    if trio.lowlevel.in_trio_task():
        return method(*args, **named)
    guest.check_thread()
    if method.__name__ in READS:
        host = EmbeddingHost(guest)
        args = tuple(read_from_host(host, each) for each in args)
        named = {name: read_from_host(host, each) for name, each in named.items()}
    return facing(guest, method(*args, **named))


def host_around() -> Host | None:
    """The event loop around a task of a guest's, for an organism that it opens; else None."""
    guest = guest_around()
    return None if guest is None else EmbeddingHost(guest)


@final
class Embedded:
    """An organism in the running loop's guest, and its face for the block."""

    def __init__(
        self, opens: Callable[..., AbstractAsyncContextManager[Organism]], host: Host | None = None
    ) -> None:
        self._opens, self._host = opens, host
        self._guest: Guest
        self._block: Block

    async def __aenter__(self) -> Any:
        guest = self._guest = await join_guest()
        try:
            opened = self._opens(host=self._host or EmbeddingHost(guest))
            self._block = Block(guest, opened, partial(facing, guest))
            return await self._block.__aenter__()
        except GeneratorExit:
            guest.abandon()
            raise
        except BaseException:
            await guest.leave()  # noqa: ASYNC102
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if isinstance(error, GeneratorExit):  # the body is thrown away: nobody can wait here
            self._guest.abandon()
            return await self._block.__aexit__(kind, error, traceback)  # noqa: ASYNC102
        try:
            return await self._block.__aexit__(kind, error, traceback)  # noqa: ASYNC102
        finally:
            await self._guest.leave()  # noqa: ASYNC102
