"""An answer on its way through the router: opened until its first piece is there, then handed on.

Decides that a stream which has begun is never begun again, and that what breaks off says so with all that
was handed out. One attempt here, as in ``gateway``; another is the router's to make. Called by the router.
"""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from typing import Any, Final, cast, final

import trio

from phloem.errors import BackendError, TruncatedError

from .gateway import Attempt, Gateway, Told
from .requests import Backend, Deltas, LLMDelta, LLMRequest, LLMResponse, StreamingBackend

__all__ = ["RoutedDeltas", "open_deltas"]

_END: Final = LLMDelta()  # no backend's: one without anything in it is never handed on


async def open_deltas(
    gateway: Gateway, request: LLMRequest, tokens: int, told: Told, stack: AsyncExitStack
) -> RoutedDeltas | None:
    """One attempt, up to its first piece; None as of ``Gateway.complete``.

    What it holds is the stack's from then on. Raises as ``Gateway.complete``. Checkpoint. Cancelled means:
    closed, and nothing stays reserved.
    """
    async with AsyncExitStack() as own:
        attempt = await own.enter_async_context(gateway.attempt(request, tokens, told))
        if attempt is None:
            return None
        deltas, scope = RoutedDeltas(attempt), trio.CancelScope(deadline=attempt.deadline)
        try:
            async with AsyncExitStack() as inner:
                # One scope around all of the stream, entered before anything of the backend's is, which
                # may hold scopes of its own: they must nest. Its deadline counts until the first piece.
                inner.enter_context(scope)
                inner.callback(deltas.closing)
                await deltas.begin(inner)
                scope.deadline = math.inf  # from here on each wait has it, and the caller's own code has not
                if scope.cancel_called:  # as the piece came, and unseen: it would cut whoever reads on
                    raise attempt.late()
                own.push_async_exit(inner.pop_all())
            if scope.cancelled_caught:
                raise attempt.late()
        except BackendError as error:
            attempt.failed(error)
            raise
        except Exception:
            gateway.failures += 1
            raise
        stack.push_async_exit(own.pop_all())
        return deltas


@final
class RoutedDeltas:
    """The pieces of one answer. ``response`` is there once iterating has ended by itself."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._deltas: Deltas | None = None
        self._first: LLMDelta = _END
        self._response: LLMResponse | None = None
        self._error: TruncatedError | None = None
        self._texts: list[str] = []  # handed out
        self._arrived: list[str] = []  # and what has come beside, as it counts

    @property
    def response(self) -> LLMResponse:
        """The whole answer. Raises RuntimeError while it is not whole."""
        if self._response is None:
            raise RuntimeError("the answer is not whole: read the stream to its end first")
        return self._response

    def __aiter__(self) -> RoutedDeltas:
        return self

    async def __anext__(self) -> LLMDelta:
        """The next piece. Raises TruncatedError if the answer breaks off, also by its time-out; then always.

        Checkpoint. Cancelled means: that piece may be lost, and the stream is to be left.
        """
        await trio.lowlevel.checkpoint()
        if self._error is not None:
            raise self._error
        delta, self._first = self._first, _END
        if delta is _END and self._response is None:
            delta = await self._next()
        if delta is _END:
            raise StopAsyncIteration
        self._texts.append(delta.text)
        return delta

    async def begin(self, stack: AsyncExitStack) -> None:
        """Open the backend's stream and wait for its first piece, or its end. Raises BackendError."""
        gateway, request = self._attempt.gateway, self._attempt.request
        if getattr(gateway.backend, "stream", None) is None:
            self._whole(await gateway.visit(gateway.backend.complete, request))
            return

        async def opened(request: LLMRequest) -> Any:
            return await stack.enter_async_context(_streaming(gateway.backend).stream(request))

        found = await gateway.visit(opened, request)
        if isinstance(found, LLMResponse):  # whatever stands between may have made one of it
            self._whole(found)
        elif not hasattr(found, "__anext__"):
            name = type(found).__name__
            raise BackendError(f"backend {gateway.name!r} gave a {name}, expected an answer's pieces")
        else:
            self._deltas = cast("Deltas", found)
            self._first = await self._pull()

    def closing(self) -> None:
        """The stream is left. What had come of it has been used, whoever left it and why."""
        if self._response is None and self._arrived:
            self._attempt.used_about("".join(self._arrived))

    def _whole(self, answer: object) -> None:
        """One piece out of an answer that came at once."""
        self._response = self._attempt.answered(answer)
        if self._response.content or self._response.reasoning:
            self._first = LLMDelta(self._response.content, self._response.reasoning)

    async def _next(self) -> LLMDelta:
        """A piece that is not the first: whatever fails now leaves a part of an answer."""
        attempt, delta = self._attempt, _END
        try:
            with trio.move_on_at(attempt.deadline) as scope:
                delta = await self._pull()
            if scope.cancelled_caught:
                raise attempt.late()
        except BackendError as error:
            partial = "".join(self._texts)
            name, model = attempt.gateway.name, attempt.request.model
            text = f"the answer broke off after {len(partial)} characters: {error}"
            self._error = TruncatedError(text, partial=partial, backend=name, model=model)
            attempt.failed(error)
            raise self._error from error
        return delta

    async def _pull(self) -> LLMDelta:
        """The backend's next piece with something in it, or ``_END`` once the answer is whole."""
        assert self._deltas is not None
        name = self._attempt.gateway.name
        while True:
            try:
                delta: Any = await self._deltas.__anext__()
            except StopAsyncIteration:
                break
            if not isinstance(delta, LLMDelta):
                raise BackendError(f"backend {name!r} gave a {type(delta).__name__}, expected an LLMDelta")
            if delta.text or delta.reasoning:
                self._arrived += (delta.text, delta.reasoning)
                return delta
        try:
            answer = self._deltas.response
        except RuntimeError as error:
            raise BackendError(f"backend {name!r} ended a stream without a whole answer") from error
        self._response = self._attempt.answered(answer)
        return _END


def _streaming(backend: Backend) -> StreamingBackend:
    return cast("StreamingBackend", backend)
