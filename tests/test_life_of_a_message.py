"""What strangers write, through the real front door: refused with its reason, or told to the right one.

Each of these broke, hung or fooled a pump of the obvious kind. After each the organism
still answers, and its books close.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import MessageRejected, SenderRefused
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.organism import Organism, open_organism
from support.auditing import report_of
from support.wire import NAMESPACE, message


@dataclass
class Note:
    text: str


@dataclass
class Question:
    text: str


@dataclass
class Answer:
    text: str


def envelope(payload: str, meta: str = "<from>x</from><to>echo</to>") -> str:
    return message(payload, meta=meta)


NOTE = '<Note xmlns=""><Text>hello</Text></Note>'


@asynccontextmanager
async def open_echo(seen: list[tuple[str, HandlerMetadata]]) -> AsyncIterator[Organism]:
    """One listener that answers what it is told; its books must close."""

    async def echo(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append((payload.text, metadata))
        return HandlerResponse.respond(payload)

    async with open_organism(
        OrganismConfig("echo", [ListenerConfig("echo", Note, echo, "Echoes.")])
    ) as organism:
        yield organism
        assert await organism.ask(Note("still here"), to="echo") == Note("still here")
    report = organism.report
    assert report.in_flight == 0
    assert report.accepted == report.handled + report.rejected + report.undeliverable


# -- refused, each with its code --------------------------------------------------------------
MANY = "".join(f' a{number}=""' for number in range(100_000))  # 890 KB: within the byte limit
BILLION = '<!DOCTYPE a [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]>'
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "nothing but a processing instruction": ("<?go now?>", "no-payload"),
    "a payload that is a processing instruction": (envelope("<?go now?>"), "no-payload"),
    "a payload that is a comment": (envelope("<!-- go -->"), "no-payload"),
    "100,000 attributes": (envelope(f'<Note xmlns=""{MANY}><Text>x</Text></Note>'), "attribute"),
    "depth 10,000": (envelope("<a>" * 10_000 + "</a>" * 10_000), "too-large"),
    "depth 1,000": (envelope("<a>" * 1_000 + "</a>" * 1_000), "too-large"),
    "an internal entity": (f"{BILLION}<Note><Text>&b;</Text></Note>", "dtd-refused"),
    "an external entity": (
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Note><Text>&x;</Text></Note>',
        "dtd-refused",
    ),
    "a parameter entity": (
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1/x">%x;]><Note><Text>x</Text></Note>',
        "dtd-refused",
    ),
    "an external DTD": (
        '<!DOCTYPE Note SYSTEM "http://127.0.0.1/x"><Note><Text>x</Text></Note>',
        "dtd-refused",
    ),
    "NUL": (envelope('<Note xmlns=""><Text>a\0b</Text></Note>'), "bad-char"),
    "NUL as a reference": (envelope('<Note xmlns=""><Text>a&#0;b</Text></Note>'), "bad-char"),
    "UTF-16": (envelope(NOTE).encode("utf-16"), "bad-char"),
    "UTF-16 by declaration": (f'<?xml version="1.0" encoding="UTF-16"?>{envelope(NOTE)}', "bad-char"),
    "Latin-1 bytes": (envelope(NOTE).encode().replace(b"hello", b"h\xe9llo"), "bad-char"),
    "10.5 MB of text": (envelope(f'<Note xmlns=""><Text>{"x" * 10_500_000}</Text></Note>'), "too-large"),
    "10,000 payloads": (envelope(NOTE * 10_000), "too-large"),
    "an envelope in an envelope": (envelope(envelope(NOTE)), "envelope"),
    "an address that is markup": (
        envelope(NOTE, "<from>x</from><to>echo&lt;/to&gt;&lt;from&gt;echo</to>"),
        "routing",
    ),
    "an address that is nobody": (envelope(NOTE, "<from>x</from><to>nobody</to>"), "routing"),
    "a sender of 129 characters": (envelope(NOTE, f"<from>{'x' * 129}</from><to>echo</to>"), "envelope"),
    "two addresses": (envelope(NOTE, "<from>x</from><to>echo</to><to>echo</to>"), "envelope"),
    "no meta": (f'<message xmlns="{NAMESPACE}">{NOTE}</message>', "envelope"),
}


@pytest.mark.parametrize(("document", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_document_is_refused_quickly_and_never_reaches_a_handler(
    document: str | bytes, code: str
) -> None:
    seen: list[tuple[str, HandlerMetadata]] = []
    async with open_echo(seen) as organism:
        began = time.perf_counter()
        with pytest.raises(MessageRejected) as refused:
            await organism.inject(document, sender="console")
        assert time.perf_counter() - began < 2
        assert refused.value.huh.code == code
        assert len(str(refused.value)) <= 2_000
        assert len(refused.value.huh.original) <= 2_000
        assert refused.value.outcome is not None
        assert refused.value.outcome.state is ConversationState.REJECTED
        assert report_of(organism).rejected == report_of(organism).accepted == 1
        assert seen == []


async def test_no_beginning_of_a_document_passes_for_the_whole() -> None:
    seen: list[tuple[str, HandlerMetadata]] = []
    whole = envelope(NOTE).encode()
    async with open_echo(seen) as organism:
        for end in range(len(whole)):
            with pytest.raises(MessageRejected):
                await organism.inject(whole[:end])
        assert seen == []
        assert organism.report.rejected == len(whole)
        await organism.inject(whole)
        await organism.wait_idle()
        assert [text for text, _ in seen] == ["hello"]


# -- what a stranger says of itself -----------------------------------------------------------
async def test_a_forged_sender_is_overwritten_and_told_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "phloem")
    seen: list[tuple[str, HandlerMetadata]] = []
    async with open_echo(seen) as organism:
        for claimed in ("echo", "system", "console.echo"):
            receipt = await organism.inject(
                envelope(NOTE, f"<from>{claimed}</from><to>echo</to>"), sender="console"
            )
            await organism.wait(receipt)
        assert [metadata.from_id for _, metadata in seen] == ["console"] * 3
        assert not any(metadata.is_self_call for _, metadata in seen)
    assert sum(" claims " in record.message for record in caplog.records) == 3


async def test_a_forged_thread_gets_a_fresh_root_and_never_somebody_elses() -> None:
    seen: list[tuple[str, HandlerMetadata]] = []
    held = trio.Event()

    async def hold(payload: Question, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append((payload.text, metadata))
        if payload.text == "secret":
            await held.wait()
        return HandlerResponse.respond(Answer(payload.text))

    config = OrganismConfig("held", [ListenerConfig("hold", Question, hold, "Holds.")])
    async with open_organism(config) as organism:
        mine = await organism.send(Question("secret"), to="hold", sender="alice")
        await trio.testing.wait_all_tasks_blocked()
        (_, hers) = seen[0]
        for stolen in (mine.thread, hers.thread_id):
            theirs = await organism.inject(
                envelope(
                    '<Question xmlns=""><Text>steal</Text></Question>',
                    f"<from>alice</from><to>hold</to><thread>{stolen}</thread>",
                ),
                sender="mallory",
            )
            assert theirs.conversation != mine.conversation
            assert (await organism.wait(theirs)).payloads == (Answer("steal"),)
        held.set()
        assert (await organism.wait(mine)).payloads == (Answer("secret"),)
        assert len({metadata.thread_id for _, metadata in seen}) == 3


@pytest.mark.parametrize(
    "sender", ["echo", "ECHO", "system", "System", "system.boot", "", " ", "a\0b", "x" * 129]
)
async def test_nobody_speaks_under_the_name_of_a_listener_or_of_phloem(sender: str) -> None:
    async with open_echo([]) as organism:
        with pytest.raises(SenderRefused):
            await organism.send(Note("x"), sender=sender)
        with pytest.raises(SenderRefused):
            await organism.inject(envelope(NOTE), sender=sender)
        assert report_of(organism).accepted == 0
        assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight


@pytest.mark.parametrize("to", ["echo</to><from>echo", "echo.note", "echo#1", "<to>", "", "e cho", "a\0b"])
async def test_an_address_is_a_name_and_never_markup(to: str) -> None:
    seen: list[tuple[str, HandlerMetadata]] = []
    async with open_echo(seen) as organism:
        with pytest.raises(MessageRejected) as refused:
            await organism.ask(Note("x"), to=to)
        assert refused.value.huh.code == "routing"
        assert seen == []


@pytest.mark.parametrize(
    "text", ["007", " 12 ", "true", "1e22", "a\n\tb\n", "😀", '<a xmlns="x">&amp;</a>', "]]>", ""]
)
async def test_text_arrives_as_it_left(text: str) -> None:
    seen: list[tuple[str, HandlerMetadata]] = []
    async with open_echo(seen) as organism:
        assert await organism.ask(Note(text), to="echo") == Note(text)
        assert seen[0][0] == text


# -- whose answer it is -----------------------------------------------------------------------
async def test_five_conversations_between_the_same_two_names_share_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ids: list[tuple[str, str, str]] = []

    async def front(payload: Question | Answer, metadata: HandlerMetadata) -> HandlerResponse:
        ids.append((metadata.conversation, metadata.thread_id, metadata.message_id))
        if isinstance(payload, Question):
            return HandlerResponse(payload, to="back")
        return HandlerResponse.respond(payload)

    async def back(payload: Question, metadata: HandlerMetadata) -> HandlerResponse:
        ids.append((metadata.conversation, metadata.thread_id, metadata.message_id))
        await trio.sleep(5 - int(payload.text))  # the first asked is the last answered
        return HandlerResponse.respond(Answer(payload.text))

    answers: dict[int, object] = {}
    config = OrganismConfig(
        "pairs",
        [
            ListenerConfig("front", [Question, Answer], front, "Asks on."),
            ListenerConfig("back", Question, back, "Answers."),
        ],
    )
    async with open_organism(config) as organism:

        async def ask(number: int) -> None:
            answers[number] = await organism.ask(Question(str(number)), to="front", sender="console")

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(ask, number)
    assert answers == {number: Answer(str(number)) for number in range(5)}
    assert len({conversation for conversation, _, _ in ids}) == 5
    assert len({thread for _, thread, _ in ids}) == 10  # two threads each; the answer comes back to the first
    assert len({message for _, _, message in ids}) == 15


async def test_a_dot_in_a_name_means_nothing_to_a_respond() -> None:
    chains: list[tuple[str, str]] = []
    ways = {"a": "a.b", "a.b": "a.b.a", "a.b.a": "b"}

    def walker(own: str) -> ListenerConfig:
        async def walk(payload: Question | Answer, metadata: HandlerMetadata) -> HandlerResponse:
            chains.append((own, metadata.from_id))
            if isinstance(payload, Question) and own in ways:
                return HandlerResponse(payload, to=ways[own])
            return HandlerResponse.respond(Answer(f"{payload.text} {own}"))

        return ListenerConfig(own, [Question, Answer], walk, "Walks.")

    config = OrganismConfig("dots", [walker(name) for name in ("a", "a.b", "a.b.a", "b")])
    async with open_organism(config) as organism:
        answer = await organism.ask(Question("by"), to="a", sender="con.sole")
        assert organism.threads == ()
    assert answer == Answer("by b a.b.a a.b a")
    assert chains == [
        ("a", "con.sole"),
        ("a.b", "a"),
        ("a.b.a", "a.b"),
        ("b", "a.b.a"),
        ("a.b.a", "b"),
        ("a.b", "a.b.a"),
        ("a", "a.b"),
    ]
