"""Opening a provider: where it is, what it sends, what it takes from its surroundings, and its end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
import trio
import trio.testing

from phloem.errors import BackendError, ConfigurationError
from phloem.llm.providers import open_provider
from phloem.llm.requests import StreamingBackend
from support.backend_conformance import Plan
from support.llm_dialects import chat
from support.llm_provided import KEY, WallClock, ask, open_provided, settings_of


@asynccontextmanager
async def mocked(handler: Any, provider: str = "openai", **more: Any) -> AsyncIterator[StreamingBackend]:
    """A backend whose transport is that function."""
    options = {"transport": httpx2.MockTransport(handler)}
    async with AsyncExitStack() as stack:
        yield await open_provider(settings_of(provider, options=options, **more), stack, WallClock())


@pytest.mark.parametrize(
    ("provider", "base", "address"),
    [
        ("xai", "", "https://api.x.ai/v1/chat/completions"),
        ("openai", "", "https://api.openai.com/v1/chat/completions"),
        ("anthropic", "", "https://api.anthropic.com/v1/messages"),
        ("ollama", "", "http://localhost:11434/v1/chat/completions"),
        ("ollama", "http://box:1", "http://box:1/v1/chat/completions"),
        ("ollama", "http://box:1/v1/", "http://box:1/v1/chat/completions"),
        ("ollama", "http://box/under/", "http://box/under/v1/chat/completions"),
        ("anthropic", "https://box", "https://box/v1/messages"),
        ("openai", "http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
        ("openai", "https://box/v1beta/openai/", "https://box/v1beta/openai/chat/completions"),
        ("xai", "http://box", "http://box/chat/completions"),
    ],
)
async def test_each_provider_has_its_address(provider: str, base: str, address: str) -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(500)

    async with mocked(handler, provider, base_url=base) as backend:
        with pytest.raises(BackendError):
            await backend.complete(ask())
    assert [(each.method, str(each.url)) for each in seen] == [("POST", address)]


async def test_a_backend_without_a_key_sends_none() -> None:
    for provider in ("ollama", "openai", "anthropic"):
        async with open_provided(provider, api_key=None) as provided:
            provided.prepare(Plan())
            await provided.backend.complete(ask())
            assert not {"authorization", "x-api-key"} & set(provided.server.requests[0].headers)


async def test_headers_of_the_settings_go_before_ours() -> None:
    own = {"Authorization": "Basic abc", "X-Team": "trees"}
    async with open_provided("openai", headers=own) as provided:
        provided.prepare(Plan())
        await provided.backend.complete(ask())
        headers = provided.server.requests[0].headers
    assert (headers["authorization"], headers["x-team"]) == ("Basic abc", "trees")
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"


async def test_a_request_arrives_as_it_was_asked() -> None:
    async with open_provided("openai") as provided:
        provided.prepare(Plan())
        response = await provided.backend.complete(ask("Wächst 🍁?", temperature=0.5, max_tokens=7))
        sent = provided.server.requests[0]
    assert sent.json["messages"] == [{"role": "user", "content": "Wächst 🍁?"}]
    assert (sent.json["temperature"], sent.json["max_tokens"]) == (0.5, 7)
    assert "stream" not in sent.json
    assert response.backend == "tree"
    assert response.raw["object"] == "chat.completion"
    assert sent.headers["authorization"] == f"Bearer {KEY}"


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    async with open_provided("openai") as provided:
        provided.prepare(Plan())
        assert (await provided.backend.complete(ask())).content == Plan().text


async def test_cookies_are_not_kept() -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json=chat().whole(Plan(), "m"), headers={"set-cookie": "a=b; Path=/"})

    async with mocked(handler) as backend:
        for _ in range(2):
            await backend.complete(ask())
    assert all("cookie" not in each.headers for each in seen)


async def test_a_transport_from_python_follows_virtual_time(autojump_clock: trio.testing.MockClock) -> None:
    async def handler(request: httpx2.Request) -> httpx2.Response:
        await trio.sleep(3600)
        if json.loads(request.content).get("stream"):
            return httpx2.Response(200, content=b"".join(chat().events(Plan(), "m")))
        return httpx2.Response(200, json=chat().whole(Plan(), "m"))

    async with mocked(handler) as backend:
        assert (await backend.complete(ask())).content == Plan().text
        assert trio.current_time() == 3600
        async with backend.stream(ask(stream=True)) as deltas:
            assert "".join([delta.text async for delta in deltas]) == Plan().text
        assert trio.current_time() == 7200
        with trio.move_on_after(60) as scope:
            await backend.complete(ask())
        assert (scope.cancelled_caught, trio.current_time()) == (True, 7260)


async def test_connections_end_with_the_stack() -> None:
    async with AsyncExitStack() as outer:
        async with open_provided("openai") as provided:
            provided.prepare(Plan())
            await provided.backend.complete(ask())
            client = provided.backend._client._client  # type: ignore[attr-defined]
            assert not client.is_closed
            await outer.aclose()
        assert client.is_closed


async def test_without_httpx2_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigurationError, match=r"pip install phloem\[llm\]"):
            await open_provider(settings_of(), stack, WallClock())


async def test_opening_is_a_checkpoint_and_opens_nothing_when_cancelled() -> None:
    async with AsyncExitStack() as stack:
        with trio.CancelScope() as scope:
            scope.cancel()
            await open_provider(settings_of(), stack, WallClock())
        assert scope.cancelled_caught
        assert stack.pop_all()._exit_callbacks == type(stack)()._exit_callbacks  # type: ignore[attr-defined]


async def test_a_stream_that_was_left_gives_no_more() -> None:
    async with open_provided("openai") as provided:
        provided.prepare(Plan())
        async with provided.backend.stream(ask(stream=True)) as deltas:
            await deltas.__anext__()
        with pytest.raises(trio.ClosedResourceError):
            await deltas.__anext__()


async def test_what_its_reader_raises_comes_out_of_a_stream_as_it_is() -> None:
    async with open_provided("anthropic") as provided:
        provided.prepare(Plan(pause=True), Plan())
        mine = ValueError("mine")

        async def reads() -> None:
            async with provided.backend.stream(ask(stream=True)) as deltas:
                await deltas.__anext__()
                raise mine

        with pytest.raises(ValueError) as caught:
            await reads()
        assert caught.value is mine
        assert (await provided.backend.complete(ask())).content == Plan().text


async def test_a_cancelled_wait_for_a_piece_ends_the_stream_and_never_calls_it_whole() -> None:
    async with open_provided("openai") as provided:
        provided.prepare(Plan(pause=True))
        async with provided.backend.stream(ask(stream=True)) as deltas:
            seen = ""
            with trio.move_on_after(0.2):
                async for delta in deltas:
                    seen += delta.text
            assert seen == Plan().text
            with pytest.raises(BackendError, match="broke off"):
                await deltas.__anext__()
            with pytest.raises(RuntimeError):
                _ = deltas.response


def test_the_package_is_imported_without_httpx2() -> None:
    program = "import sys, phloem.llm.providers; assert not {'httpx2', 'httpcore2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
