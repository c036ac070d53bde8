"""Notes: from where they are written to all that becomes of a message, and to nobody else."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from phloem.messages import HandlerMetadata, HandlerResponse, SystemError
from phloem.pump.ready_made import expand, tap, transform
from support.listeners import BACK, Ask, Note, Reply, answer, drop, listener
from support.pipelines import ASK, DEFAULT, open_piped
from support.wire import message

TWO = message('<Ask xmlns=""><Text>1</Text></Ask>', '<Ask xmlns=""><Text>2</Text></Ask>')
Seen = list[tuple[str, dict[str, Any]]]


def write(item: Any) -> None:
    item.notes["from"] = "admit"


def look(seen: Seen) -> Any:
    return tap(lambda message: seen.append((message.listener, dict(message.notes))))


async def test_notes_of_the_door_are_there_at_every_place_and_behind_the_dispatch() -> None:
    found: list[Any] = []
    pipeline = DEFAULT.before("admit", tap(write))
    for at in (
        "admit",
        "parse",
        "repair",
        "envelope",
        "extract",
        "thread",
        "route",
        "validate",
        "decode",
        "dispatch",
    ):
        pipeline = pipeline.after(at, tap(lambda item: found.append(item.notes.get("from"))))
    async with open_piped(pipeline, listener("a", Ask, drop)) as organism:
        await organism.inject(ASK)
        await organism.wait_idle()
    assert found == ["admit"] * 10


async def test_they_are_copied_to_each_payload_and_no_payload_sees_its_siblings() -> None:
    seen: Seen = []

    def mark(part: Any) -> None:
        assert "mark" not in part.notes
        part.notes["mark"] = part.xml

    pipeline = DEFAULT.before("admit", tap(write)).after("extract", tap(mark)).before("dispatch", look(seen))
    async with open_piped(pipeline, listener("a", Ask, drop)) as organism:
        await organism.inject(TWO)
        await organism.wait_idle()
    xmls = [f"<Ask><Text>{number}</Text></Ask>" for number in (1, 2)]
    assert sorted(seen, key=str) == [("a", {"from": "admit", "mark": xml}) for xml in xmls]


async def test_they_are_copied_to_each_of_a_broadcast_and_of_an_expansion() -> None:
    seen: Seen = []

    def count(item: Any) -> None:
        item.notes["count"] = item.notes.get("count", 0) + 1

    pipeline = (
        DEFAULT.before("route", expand(lambda part: [Ask("1"), Ask("2")]))
        .before("route", tap(count))
        .after("route", tap(count))
        .before("dispatch", expand(lambda payload: [payload, payload]))
        .before("dispatch", transform(lambda payload: payload))
        .before("dispatch", tap(count))
        .before("dispatch", look(seen))
    )
    twins = [listener("twin", Ask, drop, broadcast=True) for _ in range(2)]
    async with open_piped(pipeline, *twins) as organism:
        await organism.send(Ask("x"))
        await organism.wait_idle()
    assert sorted(name for name, _ in seen) == ["twin"] * 4 + ["twin#2"] * 4
    assert [notes for _, notes in seen] == [{"count": 3}] * 8


async def test_they_go_on_with_what_a_handler_sends_and_not_back_to_what_was_sent() -> None:
    seen: Seen = []

    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return [HandlerResponse(Note("1"), to="bench"), HandlerResponse(Note("2"), to="bench")]
        return None

    def mark(part: Any) -> None:
        part.notes[part.tag] = part.xml

    listeners = listener("front", [Ask, Reply], front), listener("bench", Note, answer)
    pipeline = DEFAULT.after("admit", tap(write)).after("thread", tap(mark)).before("dispatch", look(seen))
    async with open_piped(pipeline, *listeners) as organism:
        await organism.send(Ask("x"), to="front")
        await organism.wait_idle()
    first = {"from": "admit", "Ask": "<Ask><Text>x</Text></Ask>"}
    assert seen[0] == ("front", first)
    notes = sorted((found for name, found in seen if name == "bench"), key=str)
    assert notes == [{**first, "Note": f"<Note><Text>{number}</Text></Note>"} for number in (1, 2)]
    answers = sorted((found for name, found in seen[1:] if name == "front"), key=str)
    assert answers == [
        {**found, "Reply": f"<Reply><Text>{number}</Text></Reply>"}
        for found, number in zip(notes, (1, 2), strict=True)
    ]


async def test_each_document_of_a_handlers_bytes_has_its_own() -> None:
    seen: list[dict[str, Any]] = []

    async def write_two(payload: Any, metadata: HandlerMetadata) -> bytes:
        return b"<Note><Text>1</Text></Note><Note><Text>2</Text></Note>"

    def mark(opened: Any) -> None:
        seen.append(dict(opened.notes))
        opened.notes["mark"] = 1

    pipeline = DEFAULT.after("admit", tap(write)).before("extract", tap(mark))
    async with open_piped(
        pipeline, listener("writer", Ask, write_two), listener("a", Note, drop)
    ) as organism:
        await organism.send(Ask("x"))
        await organism.wait_idle()
    assert seen == [{"from": "admit"}] * 2


async def test_a_listener_that_was_told_that_it_was_wrong_sends_on_with_the_same_notes() -> None:
    seen: Seen = []

    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse(Note("x"), to="nobody" if isinstance(payload, Ask) else "bench")

    listeners = listener("front", [Ask, SystemError], front), listener("bench", Note, drop)
    pipeline = DEFAULT.after("admit", tap(write)).before("dispatch", look(seen))
    async with open_piped(pipeline, *listeners) as organism:
        await organism.send(Ask("x"), to="front")
        await organism.wait_idle()
    assert seen == [(name, {"from": "admit"}) for name in ("front", "front", "bench")]


async def test_what_one_attempt_notes_the_next_one_finds(autojump_clock: trio.testing.MockClock) -> None:
    seen: Seen = []

    async def twice(payload: Any, metadata: HandlerMetadata) -> None:
        if metadata.attempt == 1:
            raise ValueError("x")

    def count(message: Any) -> None:
        message.notes["tries"] = message.notes.get("tries", 0) + 1

    pipeline = DEFAULT.before("dispatch", tap(count)).after(
        "dispatch", tap(lambda returned: seen.append(("after", dict(returned.notes))))
    )
    async with open_piped(pipeline, listener("a", Ask, twice, retries=1)) as organism:
        await organism.send(Ask("x"))
        await organism.wait_idle()
    assert seen == [("after", {"tries": 1}), ("after", {"tries": 2})]


async def test_two_strangers_and_two_turns_share_none() -> None:
    seen: Seen = []

    def once(item: Any) -> None:
        assert item.notes == {}
        item.notes["mine"] = item.sender

    pipeline = DEFAULT.before("admit", tap(once)).before("dispatch", look(seen))
    async with open_piped(pipeline, BACK) as organism:
        for sender in ("a", "b"):
            await organism.ask(Ask("x"), sender=sender)
        async with organism.open_conversation(sender="c") as conversation:
            await conversation.ask(Ask("x"))
            await conversation.ask(Ask("x"))
    assert [notes["mine"] for _, notes in seen] == ["a", "b", "c", "c"]


async def test_they_are_in_nothing_that_is_told_or_written() -> None:
    secret = "nobody-is-to-read-this"
    pipeline = DEFAULT.before("admit", tap(lambda item: item.notes.update({"secret": secret})))
    written: list[bytes] = []

    async def out(payload: bytes, metadata: HandlerMetadata) -> Any:
        written.append(payload)

    async with open_piped(pipeline, listener("out", Ask, out), egress=["out"]) as organism:
        await organism.wait(await organism.send(Ask("x")))
        events = organism.events.get_history(limit=1000)
        (envelope,) = written
        for text in (str(events), str(envelope), str(organism.statistics()), str(organism.report)):
            assert secret not in text
