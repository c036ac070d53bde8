"""One streamed answer: pieces of HTTP in, deltas out.

Decides when a stream has ended by itself and when it was cut, and that what stood before a fault is
handed out before the fault is told. Opens nothing and closes nothing: ``backend`` does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final, final

import trio

from phloem.errors import BackendError
from phloem.llm.requests import LLMDelta, LLMResponse

from .failures import Failures, Told, Unreadable
from .formats import Assembly
from .http import Broken, Reply
from .sse import Events, EventTooLong

__all__ = ["ProviderDeltas"]

# Seconds that the end of a body may take behind the last event. It mostly comes with it, and then the
# connection serves the next call; a server that forgets it costs that connection, and no caller's time.
_END_OF_BODY: Final = 0.05


@final
class ProviderDeltas:
    """An answer on its way."""

    def __init__(
        self, reply: Reply, assembly: Assembly, failures: Failures, model: str, backend: str
    ) -> None:
        self._reply, self._assembly = reply, assembly
        self._failures, self._model, self._backend = failures, model, backend
        self._events = Events()
        self._ready: deque[LLMDelta] = deque()
        self._failure: BackendError | None = None
        self._over = False
        self._response: LLMResponse | None = None
        self._left = False

    @property
    def response(self) -> LLMResponse:
        """The whole answer. Raises RuntimeError while it is not whole."""
        if self._response is None:
            raise RuntimeError(
                "found a stream that has not ended by itself; expected its response after that"
            )
        return self._response

    def __aiter__(self) -> ProviderDeltas:
        return self

    async def __anext__(self) -> LLMDelta:
        """The next piece. Raises TruncatedError, with what had arrived, if the answer breaks off.

        Raises BackendError for what else went wrong. Checkpoint. Cancelled means: no piece is lost, but a
        call that was waiting for one has lost its connection.
        """
        await trio.lowlevel.checkpoint()
        if self._left:
            raise trio.ClosedResourceError("the stream has been left")
        while not self._ready:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._over:
                raise StopAsyncIteration
            await self._read()
        return self._ready.popleft()

    def leave(self) -> None:
        """No more pieces: its ``async with`` has ended."""
        self._left = True

    async def _read(self) -> None:
        """One piece of the body."""
        try:
            piece = await self._reply.piece()
        except Broken as error:
            self._cut(str(error))
            return
        except BaseException:
            self._cut("its reader was cancelled")  # for one who asks again: the connection is gone
            raise
        if not piece:
            self._ended("the stream ended before the answer did")
            return
        try:
            for event in self._events.feed(piece):
                delta = self._assembly.take(event)
                if delta.text or delta.reasoning:
                    self._ready.append(delta)
                if self._assembly.ended:
                    break
        except (Unreadable, EventTooLong) as error:
            self._fail(self._failures.unreadable(str(error), self._model))
        except Told as told:
            self._fail(self._failures.refused(told.status, told.said, self._model))
        if self._assembly.ended and not self._over:
            self._ended("")
            with trio.move_on_after(_END_OF_BODY):
                await self._drain()

    async def _drain(self) -> None:
        try:
            while await self._reply.piece():
                pass
        except Broken:
            pass  # nothing was to come

    def _ended(self, why: str) -> None:
        self._over = True
        if self._assembly.whole:
            self._response = replace(self._assembly.response(), backend=self._backend)
        else:
            self._cut(why)

    def _cut(self, why: str) -> None:
        self._fail(self._failures.truncated(why, self._assembly.text, self._model))

    def _fail(self, failure: BackendError) -> None:
        self._failure, self._over = failure, True
