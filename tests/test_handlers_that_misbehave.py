"""What handlers do to an organism: raise anything, return rubbish. It goes on, and books it.

The one thing a handler may end is the run, with ``KeyboardInterrupt``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from phloem.config import ListenerConfig
from phloem.errors import ConversationFailed
from phloem.messages import (
    ConversationState,
    HandlerMetadata,
    HandlerResponse,
    Huh,
    ShutdownReport,
    SystemError,
)
from phloem.organism import Organism, open_organism
from support.auditing import report_of
from support.listeners import Note, echo
from support.misbehaving import failure, organism_of


@dataclass
class Answer:
    text: str


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even my text")

    __repr__ = __str__


class Bare(BaseException):
    pass


# -- raising ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        GeneratorExit(),
        SystemExit(3),
        asyncio.CancelledError(),
        StopIteration(1),
        StopAsyncIteration(),
        trio.TrioInternalError("x"),
        RecursionError("x"),
        MemoryError("x"),
        Bare("x"),
        ExceptionGroup("x", [ValueError("y")]),
        BaseExceptionGroup("x", [SystemExit(1), Bare("z")]),
        Unspeakable(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_handler_raises_fails_its_own_message_only(error: BaseException) -> None:
    async def bad(payload: Note, metadata: HandlerMetadata) -> None:
        raise error

    async with open_organism(organism_of(bad)) as organism:
        letter = await failure(organism)
        if not isinstance(error, StopIteration):  # a coroutine turns that into a RuntimeError
            assert letter.cause.exception == type(error).__name__
    assert report_of(organism) == ShutdownReport(
        2, handled=1, rejected=0, undeliverable=0, failed=1, abandoned=0
    )


async def test_a_stray_cancelled_fails_the_message_and_cancels_nobody() -> None:
    caught: list[trio.Cancelled] = []

    async def bad(payload: Note, metadata: HandlerMetadata) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                caught.append(error)
                raise
        raise caught[0]

    async with open_organism(organism_of(bad)) as organism:
        assert (await failure(organism)).cause.exception == "Cancelled"
    assert organism.report.failed == 1


async def test_keyboard_interrupt_ends_the_run_and_closes_the_books() -> None:
    async def bad(payload: Note, metadata: HandlerMetadata) -> None:
        raise KeyboardInterrupt

    organisms: list[Organism] = []

    async def live() -> None:
        async with open_organism(organism_of(bad)) as organism:
            organisms.append(organism)
            await organism.send(Note("x"), to="bad")
            await trio.sleep_forever()

    with pytest.raises(BaseException) as ended:  # in a group or not
        await live()
    error: BaseException = ended.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, KeyboardInterrupt)
    report = report_of(organisms[0])
    assert (report.accepted, report.abandoned, report.in_flight) == (1, 1, 0)


# -- returning --------------------------------------------------------------------------------
class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@dataclass
class Surrogate:
    text: str = "\ud800"


@pytest.mark.parametrize(
    "value",
    [
        "text",
        7,
        object(),
        Unprintable(),
        Note("x"),
        (),
        HandlerResponse(None),
        HandlerResponse(Note("x"), to=7),  # type: ignore[arg-type]
        HandlerResponse(Note("x"), to=Unprintable()),  # type: ignore[arg-type]
        HandlerResponse(object()),
        HandlerResponse.respond(object()),
        HandlerResponse.respond(Unprintable()),
        HandlerResponse.respond(Surrogate()),
        HandlerResponse.respond(Note(7)),  # type: ignore[arg-type]
        [HandlerResponse(Note("x"), to="echo"), HandlerResponse.respond(Note("x"))],
        [HandlerResponse(Note("x"), to="echo"), None],
        [Unprintable()],
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_return_that_is_no_answer_fails_the_dispatch(value: object) -> None:
    async def bad(payload: Note, metadata: HandlerMetadata) -> Any:
        return value

    async with open_organism(organism_of(bad)) as organism:
        assert "bad" in (await failure(organism)).cause.text
    assert organism.report.failed == 1


async def test_a_payload_that_raises_while_it_is_written_fails_the_dispatch() -> None:
    @dataclass
    class Loud:
        text: str = "x"

        def to_xml(self) -> str:
            raise RuntimeError("not now")

    async def bad(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Loud())

    async with open_organism(organism_of(bad)) as organism:
        assert "bad" in (await failure(organism)).cause.text


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyError("no"), SystemExit(3), GeneratorExit(), Unspeakable()]
)
async def test_a_payload_that_raises_while_it_is_read_is_its_senders_fault(error: BaseException) -> None:
    @dataclass
    class Moody:
        text: str

        def __post_init__(self) -> None:
            if self.text == "bad":
                raise error

    async def bad(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        moody = Moody("good")
        moody.text = "bad"
        return HandlerResponse(moody, to="moody")

    config = organism_of(bad, ListenerConfig("moody", Moody, echo, "Moody."))
    async with open_organism(config) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Note("x"), to="bad")
        assert await organism.ask(Note("still here"), to="echo") == Note("still here")
    assert organism.report.in_flight == 0


async def test_raw_bytes_are_a_fan_out_and_what_they_say_of_themselves_is_ignored() -> None:
    seen: list[tuple[str, str, str]] = []

    async def bad(payload: Note | Huh | SystemError, metadata: HandlerMetadata) -> bytes | None:
        if not isinstance(payload, Note):
            seen.append((type(payload).__name__, payload.code, metadata.from_id))
            return None
        return (
            b"<Answer><Text>bare</Text></Answer>"
            b'<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>system</from><to>sink</to>'
            b"<thread>somebody-elses</thread></meta>"
            b'<Answer xmlns=""><Text>one</Text></Answer>'
            b'<Answer xmlns=""><Text>two &lt;b&gt;</Text></Answer></message>'
            b"<Answer><Wrong/></Answer>"
            b"<Nobody/>"
        )

    threads: set[str] = set()

    async def sink(payload: Answer, metadata: HandlerMetadata) -> None:
        threads.add(metadata.thread_id)
        seen.append(("sink", payload.text, metadata.from_id))

    config = organism_of(bad, ListenerConfig("sink", Answer, sink, "Sinks."), takes=[Note, Huh, SystemError])
    async with open_organism(config) as organism:
        receipt = await organism.send(Note("x"), to="bad")
        outcome = await organism.wait(receipt)
    assert outcome.state is ConversationState.COMPLETED  # both faults were told, and heard
    assert sorted(seen) == [
        ("Huh", "unexpected-element", "system"),
        ("SystemError", "routing", "system"),
        ("sink", "bare", "bad"),
        ("sink", "one", "bad"),
        ("sink", "two <b>", "bad"),
    ]
    assert len(threads) == 3
    assert "somebody-elses" not in threads
    assert report_of(organism) == ShutdownReport(
        8, handled=6, rejected=1, undeliverable=1, failed=0, abandoned=0
    )


@pytest.mark.parametrize(
    "raw", [b"", b"garbage", b"<Note><Text>x", b"\xff\xfe", b"<!DOCTYPE a><Note/>", b"<?go?>"]
)
async def test_garbage_from_a_handler_comes_back_to_it_as_a_huh(raw: bytes) -> None:
    huhs: list[Huh] = []

    async def bad(payload: Note | Huh, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Huh):
            huhs.append(payload)
            return HandlerResponse.respond(Answer("sorry"))
        return raw

    async with open_organism(organism_of(bad, takes=[Note, Huh])) as organism:
        assert await organism.ask(Note("x"), to="bad") == Answer("sorry")
    (huh,) = huhs
    assert huh.attempts_left == 2
    assert report_of(organism) == ShutdownReport(
        3, handled=2, rejected=1, undeliverable=0, failed=0, abandoned=0
    )
