"""A real HTTP server in the test's own Trio run that speaks both wire formats, and can break in every way.

For tests of the providers. It takes what it is to say from a list, one entry a request: a ``Reply`` says
so byte for byte, a ``Plan`` of the conformance suite is said in the format that the request's path asks
for. It keeps the requests, and who hung up before his answer was whole, with the moment of it. Time is
real: nothing here waits longer than the test does.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Final, TypeAlias

import h11
import trio

from .backend_conformance import Plan
from .llm_dialects import dialect_of

__all__ = ["LLMServer", "Reply", "Request", "open_llm_server"]

DATE: Final = "Sun, 06 Nov 1994 08:49:37 GMT"


@dataclass(frozen=True)
class Request:
    """What reached the server."""

    path: str
    headers: dict[str, str]
    json: Any


@dataclass(frozen=True)
class Reply:
    """One answer, byte for byte.

    ``delay``: seconds before its head. ``pause``: seconds before each piece. ``length``: what it claims to
    be long; without, it comes chunked. ``then``: what follows the pieces: the end, a connection that is
    reset, one that is closed with the body unended, or nothing at all until the caller hangs up.
    """

    pieces: Sequence[bytes] = (b"",)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    pause: float = 0
    length: int | None = None
    then: str = "end"  # "end" | "reset" | "close" | "silence"

    @staticmethod
    def of(found: Any, **more: Any) -> Reply:
        """JSON in one piece."""
        headers = {"content-type": "application/json", **more.pop("headers", {})}
        return Reply([json.dumps(found).encode()], headers=headers, **more)

    @staticmethod
    def events(*data: str, **more: Any) -> Reply:
        """A stream, each of these the data of one event."""
        pieces = [f"data: {each}\n\n".encode() for each in data]
        return Reply(pieces, headers={"content-type": "text/event-stream"}, **more)


Script: TypeAlias = Reply | Plan


class LLMServer:
    """The other side. ``url`` for either format; made by ``open_llm_server``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"
        self.script: deque[Script] = deque()
        self.otherwise: Script | None = None  # once the script is at its end
        self.requests: list[Request] = []
        self.gone: list[float] = []  # when a caller hung up early, on Trio's clock
        self.connections = 0
        self._changed = trio.Condition()

    @property
    def asked(self) -> int:
        return len(self.requests)

    def prepare(self, *script: Script) -> None:
        self.script.extend(script)

    async def until_asked(self, number: int) -> None:
        async with self._changed:
            while len(self.requests) < number:
                await self._changed.wait()

    async def until_gone(self, number: int) -> None:
        async with self._changed:
            while len(self.gone) < number:
                await self._changed.wait()

    # -- one connection --------------------------------------------------------------------------

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        async with stream:
            try:
                connection = h11.Connection(h11.SERVER)
                while await self._exchange(stream, connection):
                    connection.start_next_cycle()
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                await self._left()

    async def _exchange(self, stream: trio.SocketStream, connection: h11.Connection) -> bool:
        """One request and its answer; False once the connection is of no more use."""
        request = await self._request(stream, connection)
        if request is None:
            return False
        self.requests.append(request)
        async with self._changed:
            self._changed.notify_all()
        script = self.script.popleft() if self.script else self.otherwise
        assert script is not None, f"no answer prepared for request {len(self.requests)}"
        return await self._answer(stream, connection, replied(script, request))

    async def _request(self, stream: trio.SocketStream, connection: h11.Connection) -> Request | None:
        head: h11.Request | None = None
        body = b""
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some())
                case h11.Request() as head:
                    pass
                case h11.Data(data=data):
                    body += data
                case h11.EndOfMessage():
                    assert head is not None
                    headers = {name.decode(): value.decode() for name, value in head.headers}
                    return Request(head.target.decode(), headers, json.loads(body))
                case _:
                    return None

    async def _answer(self, stream: trio.SocketStream, connection: h11.Connection, reply: Reply) -> bool:
        if not await self._waited(stream, reply.delay):
            return False
        headers: list[tuple[str, str]] = [*reply.headers.items(), ("date", DATE)]
        if reply.length is not None:
            headers.append(("content-length", str(reply.length)))
        parts = [connection.send(h11.Response(status_code=reply.status, headers=headers))]
        if not reply.pause:  # in as few packets as may be
            parts += [connection.send(h11.Data(piece)) for piece in reply.pieces]
        else:
            for piece in reply.pieces:
                await stream.send_all(b"".join(part for part in parts if part))
                if not await self._waited(stream, reply.pause):
                    return False
                parts = [connection.send(h11.Data(piece))]
        if reply.then == "end":
            parts.append(connection.send(h11.EndOfMessage()))
        await stream.send_all(b"".join(part for part in parts if part))
        match reply.then:
            case "reset":
                stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case "close":
                return False
            case "silence":
                return await self._waited(stream, float("inf"))
            case _:
                return connection.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}

    async def _waited(self, stream: trio.SocketStream, seconds: float) -> bool:
        """False if the caller hung up meanwhile."""
        if not seconds:
            return True
        with trio.move_on_after(seconds):
            try:
                assert await stream.receive_some() == b"", "a caller that sends more than its request"
            except trio.BrokenResourceError:
                pass
            await self._left()
            return False
        return True

    async def _left(self) -> None:
        self.gone.append(trio.current_time())
        async with self._changed:
            self._changed.notify_all()


def replied(script: Script, request: Request) -> Reply:
    """A plan, said in the format of the request."""
    if isinstance(script, Reply):
        return script
    dialect, stream = dialect_of(request.path), bool(request.json.get("stream"))
    model = request.json["model"]
    if script.silent:
        return Reply(delay=float("inf"))
    if script.status != 200:
        headers = {} if script.retry_after is None else {"retry-after": str(script.retry_after)}
        return Reply.of(dialect.failure(script), status=script.status, headers=headers)
    if not stream:
        whole = json.dumps(dialect.whole(script, model)).encode()
        if script.cut:
            return Reply([whole[: len(whole) // 2]], length=len(whole), then="close")
        return Reply([whole], headers={"content-type": "application/json"}, length=len(whole))
    events = dialect.events(script, model)
    if script.cut or script.pause:
        events = events[: dialect.said(script)]
    then = "close" if script.cut else "silence" if script.pause else "end"
    return Reply(events, headers={"content-type": "text/event-stream; charset=utf-8"}, then=then)


@asynccontextmanager
async def open_llm_server() -> AsyncIterator[LLMServer]:
    """A server on a port of its own, until the block ends."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = LLMServer(listeners[0].socket.getsockname()[1])
        await nursery.start(trio.serve_listeners, server.serve, listeners)
        yield server
        nursery.cancel_scope.cancel(reason="the test is over")
