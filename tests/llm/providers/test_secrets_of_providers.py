"""A key stands in no error, no log line and no repr, and goes to nobody but its provider."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from phloem.errors import BackendError, ConfigurationError
from phloem.llm.providers import open_provider
from phloem.llm.secret import Secret
from support.backend_conformance import Plan
from support.llm_provided import FORMATS, KEY, Provided, WallClock, ask, open_provided, settings_of
from support.llm_server import Reply

HEADER = "header-value-that-nobody-sees"
CAUGHT = f"bad key {KEY} and {HEADER}"
REPLIES = {
    "refused": Reply.of({"error": {"message": CAUGHT}}, status=401),
    "limited": Reply.of({"error": {"message": CAUGHT}}, status=429),
    "broken": Reply([f"<html>{CAUGHT}</html>".encode()], status=500),
    "redirect": Reply([CAUGHT.encode()], status=302, headers={"location": f"http://127.0.0.1:1/?k={KEY}"}),
    "told": Reply.of({"type": "error", "error": {"message": CAUGHT}}),
    "no json": Reply([f"{KEY} {HEADER}".encode()]),
    "other shape": Reply.of({KEY: HEADER}),
    "wrong type": Reply([b"x"], headers={"content-type": f"application/json; {KEY}"}),
    "half": Reply([KEY.encode()], length=100, then="close"),
    "event": Reply.events(json.dumps({"type": "error", "error": {"message": CAUGHT}})),
    "no event": Reply.events(CAUGHT),
}


def everything(error: BaseException) -> Iterator[str]:
    """Every text that leads off an error."""
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        yield from (str(each), repr(each), repr(each.args), repr(vars(each)))
        yield "\n".join(getattr(each, "__notes__", ()))
        yield "".join(traceback.format_exception(each))
        left += [each.__cause__, each.__context__]
        left += getattr(each, "exceptions", ())


def shows_nothing(text: str) -> None:
    for hidden in (KEY, HEADER, base64.b64encode(KEY.encode()).decode()):
        assert hidden not in text


async def errors_of(provided: Provided, reply: Reply) -> list[BackendError]:
    errors: list[BackendError] = []
    provided.server.prepare(reply, reply)
    try:
        await provided.backend.complete(ask())
    except BackendError as error:
        errors.append(error)
    try:
        async with provided.backend.stream(ask(stream=True)) as deltas:
            _ = [delta async for delta in deltas]
    except BackendError as error:
        errors.append(error)
    return errors


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", REPLIES)
async def test_no_error_shows_a_key_or_a_header(
    form: str, case: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_provided(form, headers={"x-team": HEADER}) as provided:
        errors = await errors_of(provided, REPLIES[case])
        shows_nothing(repr(provided.backend))
        sent = provided.server.requests[0].headers
    assert errors
    for error in errors:
        assert error.__cause__ is None
        assert error.__context__ is None  # what httpx2 raised leads to its request, and so to the key
        for text in everything(error):
            shows_nothing(text)
    assert sent["x-team"] == HEADER
    assert KEY in (sent.get("authorization", "") + sent.get("x-api-key", ""))
    out, err = capfd.readouterr()
    shows_nothing(out + err)
    ours = [each for each in caplog.records if each.name.startswith(("phloem", "trio"))]
    shows_nothing("\n".join(each.getMessage() for each in ours))


@pytest.mark.parametrize("form", FORMATS)
async def test_httpx2_logs_no_key_at_any_level(form: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_provided(form, headers={"x-team": HEADER}) as provided:
        provided.prepare(Plan(), Plan(), Plan(status=500))
        await provided.backend.complete(ask())
        async with provided.backend.stream(ask(stream=True)) as deltas:
            assert [delta async for delta in deltas]
        with pytest.raises(BackendError):
            await provided.backend.complete(ask())
    names = {each.name.partition(".")[0] for each in caplog.records}
    assert {"httpx2", "httpcore2"} <= names  # or this test looks at nothing
    for record in caplog.records:
        shows_nothing(record.getMessage() + repr(record.args))


async def test_a_connection_refused_shows_no_key() -> None:
    async with open_provided("openai", base_url="http://127.0.0.1:1/v1") as provided:
        with pytest.raises(BackendError) as caught:
            await provided.backend.complete(ask())
    assert caught.value.__context__ is None
    for text in everything(caught.value):
        shows_nothing(text)


@pytest.mark.parametrize("tail", ["\n", " \t", ""])
async def test_spaces_around_a_key_are_no_part_of_it(tail: str) -> None:
    async with open_provided("anthropic", api_key=Secret(KEY + tail)) as provided:
        provided.prepare(Plan())
        await provided.backend.complete(ask())
        assert provided.server.requests[0].headers["x-api-key"] == KEY


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": Secret(f"{KEY}\n{KEY}")},
        {"api_key": Secret(f"{KEY}é")},
        {"headers": {"x-team": f"{HEADER}\r\nx: y"}},
        {"headers": {"x team": HEADER}},
        {"base_url": f"http://user:{KEY}@host/v1"},
        {"base_url": f"http://host/v1?key={KEY}"},
        {"base_url": f"http://host/v1#{KEY}"},
        {"base_url": f"ftp://{KEY}/v1"},
        {"base_url": f"http://[{KEY}/v1"},
        {"base_url": f"http://host:{KEY}/v1"},
        {"base_url": f"http://host/ {KEY}"},
        {"provider": "oak"},
    ],
)
async def test_what_cannot_be_sent_is_told_at_the_start_and_not_quoted(wrong: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigurationError, match="llm backend 'tree'") as caught:
            await open_provider(settings_of(**wrong), stack, WallClock())
    for text in everything(caught.value):
        shows_nothing(text)
