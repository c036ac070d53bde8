"""The providers behind HTTP: xAI, OpenAI, Ollama, Anthropic, and what speaks as one of them does.

    open_provider   a backend for one entry of the llm section
    backend         a call and a stream over HTTP, whatever is spoken
    streaming       one streamed answer
    http            the connections; the one file that knows httpx2
    chat            the format of chat completions
    anthropic       the format of Anthropic's messages
    formats         what both formats share
    failures        which error says what went wrong
    sse             events out of bytes

Decides where each provider is and which format it speaks. The router opens its backends here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import urlsplit

import trio

from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.llm.backend_settings import BackendSettings
from phloem.llm.requests import StreamingBackend
from phloem.messages import Clock

from .anthropic import AnthropicMessages
from .backend import HTTPBackend
from .chat import ChatCompletions
from .failures import Failures
from .formats import Format
from .http import open_client

__all__ = ["open_provider"]


@final
@dataclass(frozen=True, slots=True)
class _Provider:
    address: str
    form: Format
    versioned: bool = False  # its addresses end with /v1, which many leave out


_PROVIDERS: Final[Mapping[str, _Provider]] = {
    "xai": _Provider("https://api.x.ai/v1", ChatCompletions()),
    "openai": _Provider("https://api.openai.com/v1", ChatCompletions(reasoners=True)),
    "ollama": _Provider("http://localhost:11434/v1", ChatCompletions(), versioned=True),
    "anthropic": _Provider("https://api.anthropic.com/v1", AnthropicMessages(), versioned=True),
}
_VERSION: Final = "/v1"
_SHORTEST_HIDDEN: Final = 8  # characters of a header's value: of fewer, hiding would garble every text
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # of a header, by RFC 9110
_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")  # of one, without what only some servers take


async def open_provider(settings: BackendSettings, stack: AsyncExitStack, clock: Clock) -> StreamingBackend:
    """A backend for these settings; its connections are closed with the stack. Connects to nothing yet.

    Raises ConfigurationError: without httpx2, for an address that is none, for a key or a header that
    HTTP cannot carry. No text says the key, nor a header's value. Checkpoint.
    """
    where = f"llm backend {settings.name!r}"
    await trio.lowlevel.checkpoint()
    provider = _PROVIDERS.get(settings.provider)
    if provider is None:
        known = ", ".join(_PROVIDERS)
        raise ConfigurationError([ConfigurationFault(where, f"provider {settings.provider!r}", known)])
    key = settings.api_key.reveal().strip() if settings.api_key is not None else ""
    address, faults = _address(provider, settings.base_url or provider.address)
    faults += _unfit(key, settings.headers)
    if faults:
        raise ConfigurationError([ConfigurationFault(where, found, wanted) for found, wanted in faults])
    headers = {name.lower(): value for name, value in provider.form.headers(key).items()}
    headers |= {name.lower(): value for name, value in settings.headers.items()}  # who writes them means them
    hidden = [key, *(each for each in settings.headers.values() if len(each) >= _SHORTEST_HIDDEN)]
    client = await open_client(
        stack,
        address,
        headers,
        connections=settings.max_concurrent,
        transport=settings.options.get("transport"),
        backend=settings.name,
    )
    failures = Failures(settings.name, hidden)
    return HTTPBackend(client, provider.form, failures, clock, settings.name)


def _address(provider: _Provider, base: str) -> tuple[str, list[tuple[str, str]]]:
    """Where its requests go, and what is wrong with that: pairs of found and expected."""
    wanted = "an address such as " + provider.address
    try:
        parts = urlsplit(base)
        port = parts.port
    except ValueError:
        return "", [("a base_url that cannot be read", wanted)]
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "", [("a base_url without http(s):// and a host", wanted)]
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        # Addresses stand in logs: nothing secret may be in one.
        wanted += "; a key goes into api_key_env, anything else into headers"
        return "", [("a base_url with a user, a query or a fragment", wanted)]
    if not base.isascii() or not base.isprintable() or " " in base:
        return "", [("a base_url with characters that no address has", wanted)]
    path = parts.path.rstrip("/")
    if provider.versioned and not path.endswith(_VERSION):
        path += _VERSION
    return f"{parts.scheme}://{parts.netloc}{path}{provider.form.path}", []


def _unfit(key: str, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """What HTTP cannot carry. Its own complaint would quote it, key and all."""
    faults: list[tuple[str, str]] = []
    if key and not _VALUE.fullmatch(key):
        faults.append(("an API key with characters that no header takes", "printable ASCII"))
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or (value and not _VALUE.fullmatch(value)):
            faults.append((f"header {name!r} with characters that no header takes", "printable ASCII"))
    return faults
