"""What a real server does wrong, in both formats: each fault is its error, and the next call works."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import Any

import pytest
import trio

from phloem.config import MAX_RESPONSE_BYTES
from phloem.errors import (
    AuthenticationError,
    BackendError,
    ProviderError,
    RateLimitError,
    TruncatedError,
)
from phloem.llm.requests import Deltas
from support.backend_conformance import Plan
from support.llm_dialects import anthropic, chat
from support.llm_provided import FORMATS, Provided, ask, open_provided
from support.llm_server import Reply

both_formats = pytest.mark.parametrize("form", FORMATS)
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}


async def stream_text(provided: Provided) -> str:
    async with provided.backend.stream(ask(stream=True)) as deltas:
        return "".join([delta.text async for delta in deltas])


async def fails(
    provided: Provided, reply: Reply, error: type[BackendError], *, streams: bool = True
) -> BackendError:
    """The error of a call; a stream meets the same, and each time the call after it works."""
    provided.server.prepare(reply, Plan())
    with pytest.raises(error) as caught:
        await provided.backend.complete(ask())
    assert type(caught.value) is error
    assert (caught.value.backend, caught.value.model) == ("tree", "model-1")
    assert (await provided.backend.complete(ask())).content == Plan().text
    if streams:
        provided.server.prepare(reply, Plan())
        with pytest.raises(error) as again:
            await stream_text(provided)
        assert type(again.value) is error
        assert await stream_text(provided) == Plan().text
    return caught.value


# -- statuses --------------------------------------------------------------------------------------


@both_formats
@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),  # the clock stands at 22:13:20
        ({"retry-after": "Mon, 13 Nov 2023 22:13:50 GMT"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
async def test_429_says_when_to_come_back(form: str, headers: dict[str, str], after: float | None) -> None:
    async with open_provided(form) as provided:
        reply = Reply.of({"error": {"message": "slow down"}}, status=429, headers=headers)
        error = await fails(provided, reply, RateLimitError)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == after
    assert "slow down" in str(error)


@both_formats
@pytest.mark.parametrize("status", [400, 404, 408, 500, 502, 503, 529])
async def test_a_status_of_failure_is_told_with_the_providers_words(form: str, status: int) -> None:
    async with open_provided(form) as provided:
        error = await fails(
            provided, Reply.of({"error": {"message": "no\nsap"}}, status=status), ProviderError
        )
    assert isinstance(error, ProviderError)
    assert error.status_code == status
    assert str(error) == f"backend 'tree': answered {status}: no sap"


@both_formats
async def test_a_redirect_is_not_followed(form: str) -> None:
    async with open_provided(form) as provided:
        reply = Reply(status=307, headers={"location": f"http://127.0.0.1:{provided.server.port}/other"})
        error = await fails(provided, reply, ProviderError)
        assert {each.path for each in provided.server.requests} <= {"/v1/chat/completions", "/v1/messages"}
    assert isinstance(error, ProviderError)
    assert (error.status_code, "redirect" in str(error)) == (307, True)


@both_formats
async def test_of_a_failure_only_the_beginning_is_read(form: str) -> None:
    pieces = [b"x" * 1024] * 64
    async with open_provided(form) as provided:
        for reply in (Reply(pieces, status=500, then="silence"), Reply([gzip.compress(b"y" * 10**7)], 500)):
            with trio.fail_after(5):
                error = await fails(provided, reply, ProviderError)
            assert len(str(error)) < 600


@both_formats
async def test_a_failure_that_breaks_off_is_still_that_failure(form: str) -> None:
    async with open_provided(form) as provided:
        error = await fails(provided, Reply([b"bu"], status=503, length=100, then="close"), ProviderError)
    assert str(error).endswith("answered 503: bu") or str(error).endswith("answered 503: (nothing)")


# -- bodies ----------------------------------------------------------------------------------------


@both_formats
@pytest.mark.parametrize(
    "body", [b"", b"{", b"<html>hello</html>", b"\xff\xfe\x00", b"null", b'"x"', b"[" * 99999]
)
async def test_a_body_that_is_no_answer_says_what_was_found(form: str, body: bytes) -> None:
    async with open_provided(form) as provided:
        error = await fails(provided, Reply([body], headers=JSON), BackendError)
    assert "no answer: found" in str(error)
    assert len(str(error)) < 600


@both_formats
async def test_an_event_that_is_no_json_is_no_answer(form: str) -> None:
    async with open_provided(form) as provided:
        provided.server.prepare(Reply.events('{"type": "ping", "choices": []}', "{oops"), Plan())
        with pytest.raises(BackendError, match="invalid JSON") as caught:
            await stream_text(provided)
        assert type(caught.value) is BackendError
        assert await stream_text(provided) == Plan().text


@both_formats
async def test_a_huge_answer_is_given_up_at_the_bound(form: str) -> None:
    """Endless, plain and compressed: no more is held than the bound and what was on its way."""
    piece = b'{"x": "' + b"y" * 2**20
    packed = gzip.compress(b"z" * (MAX_RESPONSE_BYTES * 40), compresslevel=1)
    replies = [
        Reply([piece] * 12, headers=JSON, then="silence"),
        Reply([packed], headers={**JSON, "content-encoding": "gzip"}, then="silence"),
    ]
    async with open_provided(form) as provided:
        for reply in replies:
            tracemalloc.start()
            with trio.fail_after(20):
                error = await fails(provided, reply, BackendError, streams=False)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert f"more than {MAX_RESPONSE_BYTES} bytes" in str(error)
            assert peak < 6 * MAX_RESPONSE_BYTES, peak  # the server's own 12 MiB among it


@both_formats
async def test_a_stream_without_end_is_given_up_at_the_bound(form: str) -> None:
    text = "y" * 2**19
    if form == "openai":
        event = json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]})
    else:
        event = json.dumps({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}})
    async with open_provided(form) as provided:
        provided.server.prepare(Reply.events(*[event] * 20, then="silence"), Plan())
        with pytest.raises(BackendError, match=f"more than {MAX_RESPONSE_BYTES} bytes"), trio.fail_after(20):
            await stream_text(provided)
        assert await stream_text(provided) == Plan().text


@both_formats
async def test_an_event_without_end_is_given_up_at_the_bound(form: str) -> None:
    async with open_provided(form) as provided:
        provided.server.prepare(
            Reply([b"data: " + b"y" * 2**20, b"y" * 10], headers=SSE, then="silence"), Plan()
        )
        with pytest.raises(BackendError, match="an event of more than"), trio.fail_after(20):
            await stream_text(provided)
        assert await stream_text(provided) == Plan().text


@both_formats
@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_body_that_breaks_off_is_truncated(form: str, then: str) -> None:
    async with open_provided(form) as provided:
        error = await fails(
            provided, Reply([b'{"cho'], headers=JSON, length=100, then=then), TruncatedError, streams=False
        )
        assert isinstance(error, TruncatedError)
        assert error.partial == ""
        error = await fails(
            provided, Reply([b'{"cho'], headers=JSON, then=then), TruncatedError, streams=False
        )
    assert "broke off" in str(error)


@both_formats
@pytest.mark.parametrize("then", ["close", "reset", "end"])
async def test_a_stream_cut_anywhere_is_truncated_with_what_had_arrived(form: str, then: str) -> None:
    """At every byte until its stop reason: never a short answer called whole."""
    async with open_provided(form) as provided:
        plan = Plan(chunks=("ab", "cd"))
        provided.server.prepare(plan)
        assert await stream_text(provided) == "abcd"
        events = whole_stream(form, plan)
        reason = events.index(b'finish_reason": "stop' if form == "openai" else b'"message_delta"')
        for cut in range(1, reason, 7):
            provided.server.prepare(Reply([events[:cut]], headers=SSE, then=then))
            with pytest.raises(TruncatedError) as caught:
                await stream_text(provided)
            # What a reset leaves of the bytes before it is the network's choice.
            assert "abcd".startswith(caught.value.partial)
            if then != "reset":
                assert caught.value.partial == arrived(form, events[:cut])


async def kept(deltas: Deltas, seen: list[str]) -> None:
    async for delta in deltas:
        seen.append(delta.text)


def whole_stream(form: str, plan: Plan) -> bytes:
    return b"".join((chat() if form == "openai" else anthropic()).events(plan, "model-1"))


def arrived(form: str, part: bytes) -> str:
    """The text in the events that are whole."""
    texts: list[str] = []
    for each in part.split(b"\n\n")[:-1]:
        told: Any = json.loads(each[each.index(b"data: ") + 6 :])
        if form == "openai":
            texts += [choice["delta"].get("content") or "" for choice in told["choices"]]
        else:
            texts.append(told.get("delta", {}).get("text", ""))
    return "".join(texts)


@both_formats
async def test_a_stream_that_says_why_it_stopped_and_ends_is_whole(form: str) -> None:
    events = whole_stream(form, Plan(chunks=("ab",)))
    last = b"data: [DONE]" if form == "openai" else b"event: message_stop"
    async with open_provided(form) as provided:
        provided.server.prepare(Reply([events[: events.index(last)]], headers=SSE))
        assert await stream_text(provided) == "ab"


@both_formats
async def test_an_end_that_is_not_followed_by_the_bodys_is_waited_for_only_a_moment(form: str) -> None:
    async with open_provided(form) as provided:
        provided.server.prepare(Reply([whole_stream(form, Plan())], headers=SSE, then="silence"), Plan())
        with trio.fail_after(2):
            assert await stream_text(provided) == Plan().text
        await provided.server.until_gone(1)
        assert await stream_text(provided) == Plan().text


@both_formats
async def test_an_error_in_the_middle_of_a_stream_is_that_error(form: str) -> None:
    plan = Plan(chunks=("ab",))
    said = 2 if form == "openai" else 4
    events = whole_stream(form, plan).split(b"\n\n")[:said]
    for kind, error in (
        ("rate_limit_error", RateLimitError),
        ("authentication_error", AuthenticationError),
        ("overloaded_error", ProviderError),
    ):
        told = {"type": "error", "error": {"type": kind, "message": "words"}}
        failing = [*events, b"event: error\ndata: " + json.dumps(told).encode(), b""]
        async with open_provided(form) as provided:
            provided.server.prepare(Reply([b"\n\n".join(failing)], headers=SSE))
            seen: list[str] = []
            async with provided.backend.stream(ask(stream=True)) as deltas:
                with pytest.raises(error, match="words"):
                    await kept(deltas, seen)
                assert [each async for each in deltas] == []  # told once; and it never becomes whole
                with pytest.raises(RuntimeError):
                    _ = deltas.response
            assert seen == ["ab"]


@both_formats
@pytest.mark.parametrize("kind", ["application/json", "text/html; charset=utf-8"])
async def test_an_answer_that_is_no_stream_is_none(form: str, kind: str) -> None:
    async with open_provided(form) as provided:
        provided.server.prepare(Reply([b"{}"], headers={"content-type": kind}))
        with pytest.raises(BackendError, match="which is no stream"):
            await stream_text(provided)


# -- connections -----------------------------------------------------------------------------------


@both_formats
async def test_a_connection_refused_is_a_backend_error(form: str) -> None:
    async with open_provided(form) as other:
        port = other.server.port
    async with open_provided(form, base_url=f"http://127.0.0.1:{port}/v1") as provided:
        for call in (provided.backend.complete(ask()), stream_text(provided)):
            with pytest.raises(BackendError, match="no connection: ") as caught:
                await call
            assert type(caught.value) is BackendError


@both_formats
@pytest.mark.parametrize(
    "raw", [b"", b"HTTP/1.1 2", b"what?\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"]
)
async def test_a_server_that_speaks_no_http_is_a_backend_error(form: str, raw: bytes) -> None:
    async def speak(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(raw)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, speak, listeners)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
        async with open_provided(form, base_url=url) as provided:
            with pytest.raises(BackendError) as caught:
                await provided.backend.complete(ask())
            assert type(caught.value) is BackendError
        nursery.cancel_scope.cancel()


@both_formats
async def test_a_connection_serves_one_call_after_the_other(form: str) -> None:
    async with open_provided(form) as provided:
        provided.prepare(*[Plan()] * 6)
        for _ in range(3):
            assert (await provided.backend.complete(ask())).content == Plan().text
            assert await stream_text(provided) == Plan().text
        assert provided.server.connections == 1
