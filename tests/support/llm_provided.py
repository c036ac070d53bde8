"""Providers on a server of the test's own: settings for one, and the two wire formats as worlds.

For tests of ``phloem.llm.providers``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from phloem.llm.backend_settings import BackendSettings
from phloem.llm.providers import open_provider
from phloem.llm.requests import LLMRequest, StreamingBackend
from phloem.llm.secret import Secret

from .backend_conformance import Plan
from .llm_server import LLMServer, open_llm_server

__all__ = ["FORMATS", "KEY", "Provided", "WallClock", "ask", "open_provided", "settings_of"]

KEY: Final = "sk-very-secret-0123456789"
FORMATS: Final = ("openai", "anthropic")  # one provider of each


@dataclass
class WallClock:
    """A clock whose wall is set."""

    now: float = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


@dataclass(frozen=True)
class Provided:
    """A backend and the server behind it: a world of the conformance suite."""

    backend: StreamingBackend
    server: LLMServer
    clock: WallClock

    @property
    def asked(self) -> int:
        return self.server.asked

    def prepare(self, *plans: Plan) -> None:
        self.server.prepare(*plans)

    async def until_asked(self, number: int) -> None:
        await self.server.until_asked(number)

    async def until_gone(self, number: int) -> None:
        await self.server.until_gone(number)


@asynccontextmanager
async def open_provided(provider: str = "openai", **settings: Any) -> AsyncIterator[Provided]:
    """One backend in that provider's format, and its server."""
    clock = WallClock()
    async with open_llm_server() as server, AsyncExitStack() as stack:
        given = {"base_url": server.url, **settings}
        backend = await open_provider(settings_of(provider, **given), stack, clock)
        yield Provided(backend, server, clock)


def settings_of(provider: str = "openai", **more: Any) -> BackendSettings:
    """Settings of one backend, with a key."""
    given: dict[str, Any] = {"name": "tree", "provider": provider, "api_key": Secret(KEY), **more}
    return BackendSettings(**given)


def ask(*contents: str, **more: Any) -> LLMRequest:
    """A request of a user's."""
    messages = [{"role": "user", "content": each} for each in contents or ("Grow.",)]
    return LLMRequest(messages, **{"model": "model-1", **more})  # type: ignore[arg-type]
