"""What the pump calls for a handler as it was declared: on Trio, in a worker thread, or in the host's loop.

Decides which of the three a callable is for, and what an abandoned thread means: it keeps its
token until it ends, it is named, and whatever it gives back is dropped. An ``async def`` is called as
it is, at no cost. Never enters a handler (``dispatch`` does) and knows no deadline: it is cancelled from
outside. ``loading`` asks what a callable is, and has the listeners of a run made here.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any, Final, TypeVar, cast, final

import trio

from phloem.config import AnyHandler, Handler, RunsOn
from phloem.messages import HandlerMetadata, Host

__all__ = ["Around", "Calling", "HandlerThreads", "has_generator", "is_async", "on_host", "wants_host"]

MOST_LAYERS: Final = 64  # partials and decorators around one function; more is a circle
_ON_HOST: Final = "__phloem_on_host__"

_Function = TypeVar("_Function", bound=Callable[..., Any])


def on_host(function: _Function) -> _Function:
    """Mark an async handler that needs the event loop of the program around: same as ``runs_on: host``.

    It is awaited there, and its cancellation crosses as well. Functions keep being what they are;
    what takes no attributes (a bound method) comes back as a ``functools.partial`` of itself.
    """
    marks: Any = function
    if type(function) in (staticmethod, classmethod):
        marks = marks.__func__  # a class gives out this alone
    try:
        setattr(marks, _ON_HOST, True)
    except (AttributeError, TypeError):
        marked = functools.partial(function)
        setattr(marked, _ON_HOST, True)
        return cast("_Function", marked)
    return function


@final
class Around:
    """A handler with something done before and after each call, wherever the handler itself runs.

    ``wrap`` is given what the pump would call, and gives back what it is to call instead.
    """

    def __init__(self, handler: AnyHandler, wrap: Callable[[Handler], Handler]) -> None:
        self.__wrapped__, self.wrap = handler, wrap

    def __call__(self, payload: Any, metadata: HandlerMetadata) -> Any:
        """As a call of the handler itself, for those who know of no organism."""
        return self.wrap(cast("Handler", self.__wrapped__))(payload, metadata)


def is_async(handler: object) -> bool:
    """True for what is to be awaited: an async function, beneath partials, methods and decorators as well.

    A plain wrapper that ``functools.wraps`` an async function counts as one, since it hands its
    coroutine on.
    """
    return any(inspect.iscoroutinefunction(layer) for layer in _layers(handler))


def has_generator(handler: object) -> str:
    """``an async generator`` or ``a generator`` if calling it gives one, else nothing."""
    for layer in _layers(handler):
        if inspect.isasyncgenfunction(layer):
            return "an async generator"
        if inspect.isgeneratorfunction(layer):
            return "a generator"
    return ""


def wants_host(handler: object, runs_on: str) -> bool:
    """True if it is declared, or marked, to be awaited in the host's loop."""
    return runs_on == RunsOn.HOST or any(_is_marked(layer) for layer in _layers(handler))


def _is_marked(layer: object) -> bool:
    return getattr(layer, _ON_HOST, None) is True  # an object may answer to every name


def _layers(handler: object) -> Iterator[object]:
    """A callable, and what it calls in turn, as far as that can be seen."""
    layer: Any = handler
    for _ in range(MOST_LAYERS):
        yield layer
        if isinstance(layer, functools.partial):
            layer = layer.func
        elif isinstance(layer, MethodType):
            layer = layer.__func__
        elif hasattr(layer, "__wrapped__"):
            layer = layer.__wrapped__
        elif inspect.isroutine(layer):
            return
        else:
            layer = type(layer).__call__


@final
class Calling:
    """How one organism calls its handlers: its threads, and its host if there is one."""

    def __init__(self, max_sync_handlers: int, host: Host | None = None) -> None:
        self.threads, self.host = HandlerThreads(max_sync_handlers), host

    def can_call(self, handler: AnyHandler, runs_on: str) -> bool:
        """False for a handler that wants a host where there is none."""
        return self.host is not None or not wants_host(handler, runs_on)

    def call_of(self, handler: AnyHandler, key: str, runs_on: str) -> Handler:
        """What the pump is to call for the listener ``key``, after ``can_call`` said yes."""
        if isinstance(handler, Around):
            return handler.wrap(self.call_of(handler.__wrapped__, key, runs_on))
        if wants_host(handler, runs_on):
            assert self.host is not None  # as can_call has found
            return self._in_host(cast("Handler", handler), self.host)
        if is_async(handler):
            return cast("Handler", handler)
        return self._in_thread(handler, key)

    def _in_host(self, handler: Handler, host: Host) -> Handler:
        @functools.wraps(handler)
        async def in_host(payload: Any, metadata: HandlerMetadata) -> Any:
            return await host.call(handler, payload, metadata)

        return in_host

    def _in_thread(self, handler: Callable[..., Any], key: str) -> Handler:
        @functools.wraps(handler)
        async def in_thread(payload: Any, metadata: HandlerMetadata) -> Any:
            return await self.threads.run(key, handler, payload, metadata)

        return in_thread


@final
class _Job:
    """One call of a plain handler. Its fields are written by one thread each."""

    __slots__ = ("key", "left")

    def __init__(self, key: str) -> None:
        self.key = key
        self.left = False  # nobody waits for it any more


@final
class HandlerThreads:
    """The worker threads in which one organism's plain handlers run, ``most`` at once.

    Whoever waits for one holds a handler slot meanwhile, and its deadline runs.
    """

    def __init__(self, most: int) -> None:
        self.limiter = trio.CapacityLimiter(most)
        self._running: dict[_Job, None] = {}  # written by the workers; each step of it is atomic

    @property
    def abandoned(self) -> tuple[str, ...]:
        """The listener of each thread that still runs though its dispatch has ended; oldest first."""
        return tuple(job.key for job in self._running.copy() if job.left)

    def statistics(self) -> dict[str, int]:
        """``busy`` threads, of them ``abandoned``, and the handlers ``waiting`` for one."""
        seen = self.limiter.statistics()
        return {
            "busy": seen.borrowed_tokens,
            "abandoned": len(self.abandoned),
            "waiting": seen.tasks_waiting,
        }

    async def run(
        self, key: str, handler: Callable[..., Any], payload: Any, metadata: HandlerMetadata
    ) -> Any:
        """The handler's answer, from a worker thread that has the caller's context variables. Checkpoint.

        Cancelled means: it was not begun, or its thread runs on by itself and keeps its token until
        it ends; what it gives back is dropped.
        """
        job = _Job(key)
        try:
            return await trio.to_thread.run_sync(
                self._work,
                job,
                handler,
                payload,
                metadata,
                thread_name=f"phloem {key}",
                abandon_on_cancel=True,
                limiter=self.limiter,
            )
        finally:
            job.left = True

    def _work(self, job: _Job, handler: Callable[..., Any], payload: Any, metadata: HandlerMetadata) -> Any:
        """The thread's side."""
        if job.left:  # the system was slow to start it
            return None
        self._running[job] = None
        try:
            answer = handler(payload, metadata)
            if inspect.isawaitable(answer):
                raise _not_awaited(job.key, answer)
            return answer
        finally:
            del self._running[job]
            if job.left:
                raised = sys.exc_info()[0] is not None
                how = "raised" if raised else "returned"
                log = logging.getLogger("phloem")
                log.debug("%s %s after it had been abandoned", job.key, how, exc_info=raised)


def _not_awaited(key: str, answer: object) -> TypeError:
    """What to say of a plain function that gives back what it should have awaited."""
    if inspect.iscoroutine(answer):
        answer.close()  # or Python complains of it somewhere else
    return TypeError(
        f"the handler of {key} is a plain function and returned an awaitable ({type(answer).__name__}); "
        "expected its answer: make the function async and await it there"
    )
