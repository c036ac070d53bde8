"""Steps of phloem's own replaced or left out: what a user's function gives passes all that follows."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import ConversationFailed, MessageRejected
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.pump.ready_made import tap
from support.listeners import BACK, Ask, Note, Reply, answer, drop, fall, listener
from support.pipelines import ASK, DEFAULT, Told, open_piped

Clock = trio.testing.MockClock


def from_json(incoming: Any) -> str:
    ((tag, text),) = json.loads(incoming.data).items()
    return f"<{tag}><Text>{text}</Text></{tag}>"


async def failed(organism: Any, xml: Any) -> str:
    outcome = await organism.wait(await organism.inject(xml))
    assert outcome.state is ConversationState.FAILED
    assert [letter.reason for letter in outcome.dead_letters] == ["step"]
    return str(outcome.cause)


# -- parse ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gives", [str, str.encode])
async def test_strangers_may_speak_json(gives: Any) -> None:
    async def parse(incoming: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return gives(from_json(incoming))

    async with open_piped(DEFAULT.replace("parse", parse), BACK) as organism:
        outcome = await organism.wait(await organism.inject('{"Ask": "x"}', sender="console"))
        assert outcome.payloads == (Reply("x"),)
        assert await organism.ask(Ask("an object is not parsed")) == Reply("an object is not parsed")


async def test_what_a_parser_gives_is_validated_like_anything_else() -> None:
    async with open_piped(DEFAULT.replace("parse", from_json), BACK) as organism:
        for data, code in ('{"Nobody": "x"}', "routing"), ('{"Ask": "<Text/>"}', "unexpected-element"):
            with pytest.raises(MessageRejected) as rejected:
                await organism.inject(data)
            assert rejected.value.huh.code == code


@pytest.mark.parametrize("gives", [None, {"Ask": "x"}, 7, []])
async def test_a_parser_that_gives_no_document_ends_that_message_as_failed(gives: Any) -> None:
    def parse(incoming: Any) -> Any:
        return gives if incoming.data == "bad" else incoming.data

    told = Told()
    async with open_piped(DEFAULT.replace("parse", parse), BACK, observer=told) as organism:
        name = parse.__qualname__
        wanted = f"TypeError: gave {type(gives).__name__}, expected bytes or str"
        assert await failed(organism, "bad") == f"{name} in the place of parse raised {wanted}"
        assert (await organism.wait(await organism.inject(ASK))).payloads == (Reply("x"),)


async def test_a_parser_that_raises_is_told_once_and_ends_that_message_only() -> None:
    told = Told()
    async with open_piped(DEFAULT.replace("parse", from_json), BACK, observer=told) as organism:
        cause = await failed(organism, "no json")
        assert cause.startswith("from_json in the place of parse raised JSONDecodeError: ")
        ((name, error),) = told.raised_by
        assert (name, type(error)) == ("from_json in the place of parse", json.JSONDecodeError)
        assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight


# -- repair -----------------------------------------------------------------------------------------


async def test_without_repair_what_is_not_strict_is_refused() -> None:
    broken = "<Ask><Text>a & b</Text></Ask>"
    async with open_piped(DEFAULT, BACK) as organism:
        assert (await organism.wait(await organism.inject(broken))).payloads == (Reply("a & b"),)
    async with open_piped(DEFAULT.without("repair"), BACK) as organism:
        with pytest.raises(MessageRejected):
            await organism.inject(broken)
        assert (await organism.wait(await organism.inject(ASK))).payloads == (Reply("x"),)


@pytest.mark.parametrize(
    "gives", ["<Note><Text>a &amp; b</Text></Note>", b"<Note><Text>a &amp; b</Text></Note>"]
)
async def test_a_repair_of_ones_own_takes_phloems_place_for_strangers_and_for_handlers(gives: Any) -> None:
    taken: list[str] = []
    faults: list[str] = []

    async def take(payload: Any, metadata: HandlerMetadata) -> None:
        taken.append(payload.text)

    async def write(payload: Any, metadata: HandlerMetadata) -> bytes:
        return b"<Note><Text>a & b</Text></Note>"

    def repair(document: Any) -> Any:
        if document.fault is None:
            return None
        faults.append(document.fault.code)
        return gives

    listeners = listener("writer", Ask, write), listener("taker", Note, take)
    async with open_piped(DEFAULT.replace("repair", repair), *listeners) as organism:
        await organism.inject("<Note><Text>a & b</Text></Note>")
        await organism.inject(ASK)
        await organism.wait_idle()
    assert taken == ["a & b", "a & b"]
    assert len(faults) == 2


async def test_what_it_does_not_mend_is_not_mended_by_phloem_either() -> None:
    async def write(payload: Any, metadata: HandlerMetadata) -> bytes:
        return b"Sure: <Note><Text>a</Text></Note>"

    taken: list[Any] = []

    async def take(payload: Any, metadata: HandlerMetadata) -> None:
        taken.append(payload)

    listeners = listener("writer", Ask, write), listener("taker", Note, take)
    async with open_piped(DEFAULT.replace("repair", lambda document: None), *listeners) as organism:
        with pytest.raises(MessageRejected):
            await organism.inject("<Ask><Text>a & b</Text></Ask>")
        outcome = await organism.wait(await organism.inject(ASK))
        assert outcome.state is ConversationState.FAILED
    assert taken == []


async def test_what_it_gives_is_read_strictly() -> None:
    async with open_piped(
        DEFAULT.replace("repair", lambda document: "<Ask><Text>still & bad"), BACK
    ) as organism:
        with pytest.raises(MessageRejected):
            await organism.inject("<Ask><Text>a & b</Text></Ask>")


async def test_a_repair_that_raises_ends_a_strangers_message_and_a_handlers() -> None:
    async def write(payload: Any, metadata: HandlerMetadata) -> bytes:
        return b"<Note><Text>a</Text></Note>"

    def bad(document: Any) -> Any:
        if "Note" in document.xml:
            raise ValueError("no notes")

    told = Told()
    listeners = listener("writer", Ask, write), listener("taker", Note, drop)
    async with open_piped(DEFAULT.replace("repair", bad), *listeners, observer=told) as organism:
        cause = await failed(organism, "<Note><Text>a</Text></Note>")
        assert cause.endswith("bad in the place of repair raised ValueError: no notes")
        outcome = await organism.wait(await organism.inject(ASK))
        assert [letter.reason for letter in outcome.dead_letters] == ["step", "unheard"]
        assert len(told.raised_by) == 2


# -- extract ----------------------------------------------------------------------------------------


async def test_an_extract_of_ones_own_says_which_payloads_there_are() -> None:
    def extract(opened: Any) -> list[str]:
        return [payload.replace("Ask", "Note") for payload in opened.payloads] * 2

    taken: list[str] = []

    async def take(payload: Any, metadata: HandlerMetadata) -> None:
        taken.append(f"{metadata.from_id} {payload.text}")

    async with open_piped(DEFAULT.replace("extract", extract), listener("taker", Note, take)) as organism:
        await organism.inject(ASK, sender="console")
        await organism.wait_idle()
    assert taken == ["console x", "console x"]


@pytest.mark.parametrize(
    ("gives", "error"),
    [
        ([], "ValueError: gave none, expected a payload's XML"),
        (None, "TypeError: gave NoneType, expected list or tuple"),
        (["<Ask>"], "InvalidMessage: "),
        ([7], "TypeError: "),
    ],
)
async def test_an_extract_that_gives_no_payload_ends_that_message_as_failed(gives: Any, error: str) -> None:
    async with open_piped(DEFAULT.replace("extract", lambda opened: gives), BACK) as organism:
        assert f"in the place of extract raised {error}" in await failed(organism, ASK)


# -- dispatch ---------------------------------------------------------------------------------------


async def test_a_dispatch_of_ones_own_stands_around_each_attempt(autojump_clock: Clock) -> None:
    spans: list[tuple[str, int, str]] = []

    async def span(message: Any, call: Any) -> Any:
        try:
            result = await call()
        except ValueError as error:
            spans.append((message.listener, message.attempt, repr(error)))
            raise
        spans.append((message.listener, message.attempt, str(result.payload)))
        return result

    bad = listener("bad", Ask, fall, retries=1)
    async with open_piped(DEFAULT.replace("dispatch", span), BACK, bad) as organism:
        assert await organism.ask(Ask("x"), to="back") == Reply("x")
        with pytest.raises(ConversationFailed) as error:
            await organism.ask(Ask("x"), to="bad")
        assert str(error.value.outcome.cause) == "bad raised ValueError: x"
    wanted = [("bad", attempt, "ValueError('x')") for attempt in (1, 2)]
    assert spans == [("back", 1, "Reply(text='x')"), *wanted]


async def test_it_may_answer_for_the_handler_or_mend_what_it_raised() -> None:
    async def cached(message: Any, call: Any) -> Any:
        if message.payload.text == "known":
            return HandlerResponse.respond(Reply("from the cache"))
        try:
            return await call()
        except ValueError:
            return HandlerResponse.respond(Reply("mended"))

    bad = listener("bad", Ask, fall)
    async with open_piped(DEFAULT.replace("dispatch", cached), bad) as organism:
        assert await organism.ask(Ask("known")) == Reply("from the cache")
        assert await organism.ask(Ask("x")) == Reply("mended")


async def test_it_is_held_to_the_listeners_time_and_its_result_to_the_contract(autojump_clock: Clock) -> None:
    async def slow(message: Any, call: Any) -> Any:
        if message.payload.text == "slow":
            await trio.sleep(100)
        return "<Reply/>"

    async with open_piped(
        DEFAULT.replace("dispatch", slow), listener("a", Ask, answer, handler_timeout=5)
    ) as o:
        begun = trio.current_time()
        with pytest.raises(ConversationFailed) as error:
            await o.ask(Ask("slow"))
        assert error.value.outcome.cause is not None
        assert (error.value.outcome.cause.reason, trio.current_time() - begun) == ("deadline", 5.0)
        with pytest.raises(ConversationFailed) as error:
            await o.ask(Ask("x"))
        assert str(error.value.outcome.cause).startswith("a returned str ")


async def test_taps_are_outside_of_it() -> None:
    log: list[str] = []

    async def around(message: Any, call: Any) -> Any:
        log.append("in")
        try:
            return await call()
        finally:
            log.append("out")

    pipeline = DEFAULT.replace("dispatch", around).before("dispatch", tap(lambda _: log.append("before")))
    async with open_piped(pipeline.after("dispatch", tap(lambda _: log.append("after"))), BACK) as organism:
        await organism.ask(Ask("x"))
    assert log == ["before", "in", "out", "after"]
