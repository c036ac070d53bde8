"""The connections of one backend. The one file of phloem that imports httpx2, when a backend is opened.

Decides what a client of ours does and does not: no time-outs of its own (they are for each read, and
know no virtual time; the caller's one deadline holds), no redirects (the key would go along), no cookies,
and nothing from the environment but which certificates are believed. A proxy named by some variable would
see to where and how much an organism speaks, and could not reach Ollama on this machine; who needs one
hands over a ``transport`` that has it. Knows nothing of what is said. For ``backend``.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, final

import trio

from phloem.errors import ConfigurationError, ConfigurationFault

if TYPE_CHECKING:
    import httpx2

__all__ = ["Broken", "Client", "Reply", "open_client"]

KEPT_OPEN: Final = 30.0  # seconds without a request: agents speak in turns, a handshake costs two round trips
_CLOSING: Final = 2.0  # seconds; it waits for nobody, but a transport of somebody's own might
_MOST_BUFFERED: Final = 1_000  # pieces that were read already: a few, of 64 KiB at most in all
_HEADERS: Final[Mapping[str, str]] = {
    "accept-encoding": "identity",  # a piece must be readable as it comes; texts this short gain nothing
    "content-type": "application/json",
    "user-agent": "phloem",
}


@final
class Broken(Exception):  # becomes a BackendError where the backend's name is known
    """The connection could not be made, or ended before its time. ``str`` says why, without any header."""


@final
class Reply:
    """What came back. Its body comes in pieces, decompressed, each no longer than a MiB."""

    def __init__(self, response: httpx2.Response, pieces: AsyncIterator[bytes], faults: Any) -> None:
        self._response, self._pieces, self._faults = response, pieces, faults

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, in any case."""
        return self._response.headers

    async def piece(self) -> bytes:
        """The next bytes of the body, none at its end. Raises Broken. A checkpoint where none is there yet.

        Cancelled means: the connection is closed.
        """
        try:
            return await anext(self._pieces, b"")
        except self._faults as error:
            why = _why(error)
        raise Broken(why)  # out here: the other error leads to the request, and so to the key


@final
class Client:
    """Sends requests to one address. Made by ``open_client``."""

    def __init__(self, client: httpx2.AsyncClient, address: str, faults: Any) -> None:
        self._client, self._address, self._faults = client, address, faults

    @asynccontextmanager
    async def post(self, body: bytes) -> AsyncIterator[Reply]:
        """A request and the reply to it, of which the head has come. Raises Broken.

        Left before the body has ended, it closes the connection; otherwise that can be used again.
        Cancelled means: the connection is closed.
        """
        response = await self._sent(body)
        pieces = response.aiter_bytes()
        try:
            yield Reply(response, pieces, self._faults)
        finally:
            with trio.move_on_after(_CLOSING, shield=True):
                await _let_go(response, pieces, self._faults)

    async def _sent(self, body: bytes) -> httpx2.Response:
        try:
            request = self._client.build_request("POST", self._address, content=body)
            return await self._client.send(request, stream=True)
        except self._faults as error:
            why = _why(error)
        raise Broken(why)


async def open_client(
    stack: AsyncExitStack,
    address: str,
    headers: Mapping[str, str],
    *,
    connections: int,
    transport: Any = None,
    backend: str = "",
) -> Client:
    """A client for that address that ends with the stack. Raises ConfigurationError without httpx2.

    ``transport`` takes the place of its connections: ``httpx2.MockTransport``, or one with a proxy.
    """
    try:
        import httpx2
    except ImportError:
        fault = ConfigurationFault(
            f"llm backend {backend!r}", "no httpx2 to reach it with", "pip install phloem[llm]"
        )
        raise ConfigurationError([fault]) from None
    client = httpx2.AsyncClient(
        headers={**_HEADERS, **headers},
        timeout=None,
        limits=httpx2.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEPT_OPEN
        ),
        verify=httpx2.create_ssl_context() if address.startswith("https:") else _believing_nobody(),
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )
    await stack.enter_async_context(client)
    # An invalid address is told when the backend is opened: there is nothing in it that a request adds.
    return Client(client, address, (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL))


def _believing_nobody() -> ssl.SSLContext:
    """For addresses without TLS: this machine's certificates take a while to read, and nobody asks."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _let_go(response: httpx2.Response, pieces: AsyncIterator[bytes], faults: Any) -> None:
    """End a body that may have more to come, and its response.

    It is a chain of async generators, and closing the outer one leaves the inner ones to the garbage
    collector, with a warning. Cancelled at its next read, all of it ends at once.
    """
    try:
        with trio.CancelScope() as scope:
            scope.cancel(reason="nobody reads the rest of the body")
            for _ in range(_MOST_BUFFERED):
                if not await anext(pieces, b""):
                    break
        await response.aclose()
    except faults:
        pass  # broken, and so at its end


def _why(error: BaseException) -> str:
    """The first of an error and what led to it that says something. Its own kind where none does."""
    if type(error).__name__ == "LocalProtocolError":
        return "the request could not be written as HTTP"  # the text would quote the header
    kind, seen = type(error).__name__, error
    while not (text := str(seen)):
        inner = seen.__cause__ or seen.__context__
        if inner is None:
            break
        seen = inner
    return f"{text} ({kind})" if text else kind
