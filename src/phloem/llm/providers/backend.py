"""A backend behind HTTP, whatever it speaks.

Decides how a call and a stream go: what is sent, how much of an answer is read, and which error says what
went wrong. Never tries again and sets no deadline: both are the router's. Made by ``open_provider``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final, final

from phloem.config import MAX_RESPONSE_BYTES
from phloem.errors import BackendError
from phloem.llm.requests import Deltas, LLMRequest, LLMResponse
from phloem.messages import Clock

from .failures import Failures, Told, Unreadable, retry_after, words
from .formats import Format, decoded
from .http import Broken, Client, Reply
from .streaming import ProviderDeltas

__all__ = ["HTTPBackend"]

_FAILURE_BYTES: Final = 8 * 1024  # of what a failure says: ten times what is shown, for the JSON around it
_SUCCESS: Final = range(200, 300)
_NO_STREAMS: Final = ("json", "html")  # in the type of an answer: it is whole, or none at all


@final
class HTTPBackend:
    """Answers requests through one provider. Any number at once; connections as many as it was given."""

    def __init__(self, client: Client, form: Format, failures: Failures, clock: Clock, name: str) -> None:
        self._client, self._format, self._failures = client, form, failures
        self._clock, self._name = clock, name

    def __repr__(self) -> str:
        return f"<HTTPBackend {self._name!r}>"

    async def complete(self, request: LLMRequest, /) -> LLMResponse:
        """The whole answer. Raises BackendError. Checkpoint.

        Cancelled means: the connection is closed, which the provider sees.
        """
        async with self._asked(request, stream=False) as reply:
            body = await self._whole_body(reply, request.model)
        failure: BackendError
        try:
            return replace(self._format.answer(decoded(body), request), backend=self._name)
        except Unreadable as unreadable:
            failure = self._failures.unreadable(str(unreadable), request.model)
        except Told as told:
            failure = self._failures.refused(told.status, told.said, request.model)
        raise failure  # out here, so that it leads to no other error

    @asynccontextmanager
    async def stream(self, request: LLMRequest, /) -> AsyncIterator[Deltas]:
        """The answer as it comes: ``async with backend.stream(request) as deltas``. Checkpoint.

        Entering raises BackendError. Left early, or cancelled, it closes the connection, which the
        provider sees.
        """
        async with self._asked(request, stream=True) as reply:
            kind = reply.headers.get("content-type", "").lower()
            if any(each in kind for each in _NO_STREAMS):
                told = f"{kind}, which is no stream: {words(await _head(reply))}"
                raise self._failures.unreadable(told, request.model)
            assembly = self._format.assembly(request)
            deltas = ProviderDeltas(reply, assembly, self._failures, request.model, self._name)
            try:
                yield deltas
            finally:
                deltas.leave()

    @asynccontextmanager
    async def _asked(self, request: LLMRequest, *, stream: bool) -> AsyncIterator[Reply]:
        """The reply to a request, if its status is one of success."""
        body = json.dumps(self._format.body(request, stream=stream)).encode()
        async with AsyncExitStack() as stack:
            reply = await self._reply(stack, body, request.model)
            if reply.status not in _SUCCESS:
                after = retry_after(reply.headers, self._clock.wall())
                raise self._failures.refused(reply.status, words(await _head(reply)), request.model, after)
            yield reply

    async def _reply(self, stack: AsyncExitStack, body: bytes, model: str) -> Reply:
        try:
            return await stack.enter_async_context(self._client.post(body))
        except Broken as error:
            why = str(error)
        raise self._failures.connection(why, model)

    async def _whole_body(self, reply: Reply, model: str) -> bytes:
        body, failure = bytearray(), None
        try:
            while piece := await reply.piece():
                body += piece
                if len(body) > MAX_RESPONSE_BYTES:
                    failure = self._failures.unreadable(f"more than {MAX_RESPONSE_BYTES} bytes", model)
                    break
        except Broken as error:
            failure = self._failures.truncated(f"after {len(body)} bytes: {error}", "", model)
        if failure is not None:
            raise failure
        return bytes(body)


async def _head(reply: Reply) -> bytes:
    """The beginning of what a failure says, as far as it comes."""
    body = bytearray()
    try:
        while len(body) < _FAILURE_BYTES and (piece := await reply.piece()):
            body += piece
    except Broken:
        pass  # the status has said enough
    return bytes(body[:_FAILURE_BYTES])
