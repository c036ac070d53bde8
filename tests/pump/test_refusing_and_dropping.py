"""``reject_if`` and ``drop_if``: a huh of one's own code, and an end that is counted and told."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio

from phloem.config import OrganismConfig
from phloem.errors import MessageRejected, NoResponse
from phloem.messages import Cause, ConversationState, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import open_organism
from phloem.pump.ready_made import drop_if, reject_if, tap
from phloem.pump.telling import PumpEvent
from support.listeners import BACK, Ask, Note, Reply, answer, drop, listener
from support.pipelines import ASK, DEFAULT, PLACES, Told, counts, open_piped
from support.told import data, told

DECIDING: Final = [place for place in PLACES if place[0] != "replies" and place != ("dispatch", False)]
FOR_OBJECTS: Final = [
    place
    for place in DECIDING
    if place[0] not in ("repair", "envelope", "extract") and place != ("parse", False)
]


def put(place: tuple[str, bool], step: Any) -> Any:
    at, before = place
    return (DEFAULT.before if before else DEFAULT.after)(at, step, name="mine")


def of_stranger(item: Any) -> bool:
    return bool(item.sender == "outside")


def name(place: tuple[str, bool]) -> str:
    return f"{'before' if place[1] else 'after'} {place[0]}"


@pytest.mark.parametrize("place", DECIDING, ids=name)
async def test_a_stranger_is_refused_with_the_code_at_every_place(place: tuple[str, bool]) -> None:
    async with open_piped(put(place, reject_if(of_stranger, "not-today")), BACK) as organism:
        with pytest.raises(MessageRejected) as rejected:
            await organism.inject(ASK)
        huh = rejected.value.huh
        assert (huh.code, huh.found, huh.expected) == (
            "not-today",
            "what mine refuses",
            "a message that is let through",
        )
        assert huh.path in ("document", "/Ask")
        assert huh.original == ASK
        assert rejected.value.outcome is not None
        assert rejected.value.outcome.state is ConversationState.REJECTED
        assert counts(organism, "mine") == {"seen": 1, "rejected": 1}
        report = organism.report
        assert (report.accepted, report.handled, report.rejected) == (2, 1, 1)
        assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight


@pytest.mark.parametrize("place", FOR_OBJECTS, ids=name)
async def test_a_strangers_object_is_refused_and_an_ask_raises(place: tuple[str, bool]) -> None:
    async with open_piped(put(place, reject_if(of_stranger, "not-today")), BACK) as organism:
        with pytest.raises(MessageRejected) as rejected:
            await organism.ask(Ask("x"))
        assert rejected.value.huh.code == "not-today"
        assert rejected.value.huh.path == "/Ask"


async def test_a_str_says_what_was_found_and_an_async_predicate_may_wait() -> None:
    async def why(message: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return f"the text {message.payload.text!r}" if message.payload.text == "rude" else ""

    async with open_piped(
        DEFAULT.before("dispatch", reject_if(why, "tone"), name="polite"), BACK
    ) as organism:
        with pytest.raises(MessageRejected) as rejected:
            await organism.ask(Ask("rude"))
        assert rejected.value.huh.found == "the text 'rude'"
        assert await organism.ask(Ask("kind")) == Reply("kind")
        assert counts(organism, "polite") == {"seen": 2, "rejected": 1}


async def test_what_no_xml_can_carry_is_made_printable_in_a_huh() -> None:
    async with open_piped(
        DEFAULT.before("route", reject_if(lambda part: "\x01" * 600, "x")), BACK
    ) as organism:
        with pytest.raises(MessageRejected) as rejected:
            await organism.ask(Ask("x"))
        assert "\x01" not in rejected.value.huh.found
        assert len(rejected.value.huh.found) <= 500


async def test_one_of_two_payloads_is_refused_and_the_other_goes_on() -> None:
    taken: list[str] = []

    async def take(payload: Any, metadata: HandlerMetadata) -> None:
        taken.append(payload.text)

    xml = (
        '<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>a</from></meta>'
        '<Ask xmlns=""><Text>bad</Text></Ask><Ask xmlns=""><Text>good</Text></Ask></message>'
    )
    step = reject_if(lambda part: "bad" in part.xml, "bad")
    async with open_piped(DEFAULT.after("extract", step), listener("a", Ask, take)) as organism:
        outcome = await organism.wait(await organism.inject(xml))
        assert taken == ["good"]
        assert [huh.code for huh in outcome.rejections] == ["bad"]


def sender_told(log: list[Any], *, attempts: int = 9) -> Any:
    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        log.append(payload)
        if isinstance(payload, SystemError | Huh) and len(log) > attempts:
            return None
        return HandlerResponse(Note("x"), to="bench")

    return listener("front", [Ask, Huh, SystemError, Reply], front)


@pytest.mark.parametrize(
    "place", [("thread", True), ("route", True), ("route", False), ("decode", False)], ids=name
)
async def test_a_handler_gets_a_huh_and_its_attempts_are_spent(place: tuple[str, bool]) -> None:
    log: list[Any] = []
    step = reject_if(lambda item: item.sender == "front" and item.tag == "Note", "no-notes")
    async with open_piped(put(place, step), sender_told(log), listener("bench", Note, drop)) as organism:
        receipt = await organism.send(Ask("x"), to="front")
        outcome = await organism.wait(receipt)
        assert [type(each) for each in log] == [Ask, Huh, Huh]
        assert [(each.code, each.attempts_left) for each in log[1:]] == [("no-notes", 2), ("no-notes", 1)]
        assert (outcome.state, len(outcome.rejections)) == (ConversationState.FAILED, 3)
        assert organism.report.rejected == 3


async def test_a_handlers_answer_at_the_root_that_is_refused_is_told_to_the_handler() -> None:
    async def back(payload: Any, metadata: HandlerMetadata) -> Any:
        text = "better" if isinstance(payload, Huh) else "bad"
        return HandlerResponse.respond(Reply(text))

    step = reject_if(lambda part: part.is_response and "bad" in part.xml, "no")
    async with open_piped(DEFAULT.before("thread", step), listener("back", [Ask, Huh], back)) as organism:
        assert await organism.ask(Ask("x"), to="back") == Reply("better")
        assert organism.report.rejected == 0  # what would go out to a stranger is no entry


@pytest.mark.parametrize("place", DECIDING, ids=name)
async def test_what_is_dropped_is_counted_and_told_at_every_place(place: tuple[str, bool]) -> None:
    async with open_piped(put(place, drop_if(of_stranger)), BACK) as organism:
        receipt = await organism.inject(ASK)
        outcome = await organism.wait(receipt)
        cause = Cause("dropped", f"mine {name(place)} dropped it", outcome.cause and outcome.cause.listener)
        assert (outcome.state, outcome.cause) == (ConversationState.COMPLETED, cause)
        (letter,) = outcome.dead_letters
        assert (letter.reason, letter.from_listener, letter.payload_xml) == ("dropped", "outside", ASK)
        messages = organism.statistics()["messages"]
        assert (messages["abandoned"], messages["abandoned_by"]) == (1, {"dropped": 1})
        assert counts(organism, "mine") == {"seen": 1, "dropped": 1}
        assert organism.report.accepted == 2


async def test_who_asks_for_what_is_dropped_is_told_that_there_is_no_response() -> None:
    step = drop_if(lambda message: "too late for this")
    async with open_piped(DEFAULT.before("dispatch", step, name="late"), BACK) as organism:
        with pytest.raises(NoResponse) as nothing:
            await organism.ask(Ask("x"))
        cause = nothing.value.outcome.cause
        assert cause == Cause("dropped", "late before dispatch dropped it: too late for this", "back")
        (event,) = told(organism, PumpEvent.DEAD_LETTER)
        assert event.data["reason"] == "dropped"


async def forwarding(payload: Any, metadata: HandlerMetadata) -> Any:
    return HandlerResponse(Note(payload.text), to="bench") if isinstance(payload, Ask) else None


async def test_a_handlers_message_that_is_dropped_is_no_fault_of_its_senders() -> None:
    log: list[Any] = []
    step = drop_if(lambda item: item.tag == "Note")
    async with open_piped(
        DEFAULT.before("route", step), sender_told(log), listener("bench", Note, drop)
    ) as o:
        outcome = await o.wait(await o.send(Ask("x"), to="front"))
        assert (outcome.state, outcome.cause) == (ConversationState.COMPLETED, None)
        assert [type(each) for each in log] == [Ask]
        (letter,) = outcome.dead_letters
        assert (letter.from_listener, letter.to_listener, letter.reason) == ("front", "bench", "dropped")
        assert (o.report.handled, o.report.abandoned) == (2, 1)


async def test_a_respond_that_is_dropped_leaves_its_caller_without_an_answer() -> None:
    listeners = listener("front", [Ask, Reply], forwarding), listener("bench", Note, answer)
    step = drop_if(lambda part: part.is_response)
    async with open_piped(DEFAULT.before("thread", step), *listeners) as organism:
        outcome = await organism.wait(await organism.send(Ask("x")))
        assert (outcome.state, outcome.payloads) == (ConversationState.COMPLETED, ())
        assert [letter.reason for letter in outcome.dead_letters] == ["dropped"]
        assert organism.threads == ()


async def test_an_answer_at_the_root_that_is_dropped_is_no_response_and_no_entry() -> None:
    told_all = Told()
    step = drop_if(lambda part: part.is_response)
    async with open_piped(DEFAULT.after("replies", step), BACK, observer=told_all) as organism:
        with pytest.raises(NoResponse) as nothing:
            await organism.ask(Ask("x"))
        assert [letter.reason for letter in nothing.value.outcome.dead_letters] == ["dropped"]
        assert (organism.report.accepted, organism.report.handled, organism.report.abandoned) == (2, 2, 0)


async def test_of_a_broadcast_one_is_dropped_and_the_others_go_on() -> None:
    taken: list[str] = []

    async def take(payload: Any, metadata: HandlerMetadata) -> None:
        taken.append(metadata.message_id)

    twins = [listener("twin", Ask, take, broadcast=True) for _ in range(3)]
    step = drop_if(lambda item: item.listener == "twin#2")
    async with open_piped(DEFAULT.before("validate", step), *twins) as organism:
        outcome = await organism.wait(await organism.send(Ask("x")))
        assert len(taken) == 2
        assert [letter.to_listener for letter in outcome.dead_letters] == ["twin#2"]
        rows = organism.statistics()["listeners"]
        assert [rows[key]["abandoned"] for key in ("twin", "twin#2", "twin#3")] == [0, 1, 0]


async def test_what_a_retry_would_repeat_is_decided_once_before_it_is_in_the_books() -> None:
    asked: list[int] = []

    def decide(message: Any) -> bool:
        asked.append(message.attempt)
        return False

    async def twice(payload: Any, metadata: HandlerMetadata) -> None:
        if metadata.attempt == 1:
            raise ValueError("x")

    pipeline = DEFAULT.before("dispatch", tap(lambda message: asked.append(message.attempt)))
    pipeline = pipeline.before("dispatch", drop_if(decide)).before("dispatch", reject_if(decide, "no"))
    a = listener("a", Ask, twice, retries=1, retry_base_delay=0.001)
    async with open_piped(pipeline, a) as organism:
        await organism.send(Ask("x"))
        await organism.wait_idle()
    assert asked == [0, 0, 1, 2]


@pytest.mark.parametrize("step", [reject_if(of_stranger, "no"), drop_if(of_stranger)], ids=["reject", "drop"])
async def test_what_was_decided_at_the_door_still_takes_a_seat_to_be_booked(step: Any) -> None:
    async with open_piped(DEFAULT.before("admit", step), BACK, max_in_flight=1) as organism:
        async with organism.open_conversation(sender="console"):
            with trio.move_on_after(0.01) as scope:
                await organism.send(Ask("x"))
            assert scope.cancelled_caught
        assert organism.report.accepted == 1  # Boot


async def test_a_turn_whose_message_is_dropped_leaves_the_block_open() -> None:
    step = drop_if(lambda message: message.payload.text == "bad")
    pipeline = DEFAULT.after("decode", step)
    async with open_piped(pipeline, BACK) as organism, organism.open_conversation() as conversation:
        with pytest.raises(NoResponse):
            await conversation.ask(Ask("bad"))
        assert await conversation.ask(Ask("good")) == Reply("good")


async def test_one_dropped_and_one_failing_payload_end_as_failed() -> None:
    xml = (
        '<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>a</from></meta>'
        '<Ask xmlns=""><Text>bad</Text></Ask><Nobody xmlns=""/></message>'
    )
    step = drop_if(lambda part: "bad" in part.xml)
    async with open_piped(DEFAULT.after("extract", step), BACK) as organism:
        outcome = await organism.wait(await organism.inject(xml))
        assert outcome.state is ConversationState.FAILED
        assert [huh.code for huh in outcome.rejections] == ["routing"]
        assert [letter.reason for letter in outcome.dead_letters] == ["dropped"]
        assert data(told(organism, PumpEvent.DEAD_LETTER), "reason") == [("dropped",)]


async def test_the_log_has_no_gap_where_nobody_was_found_for_what_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = DEFAULT.after("parse", drop_if(lambda document: True))
    async with open_organism(OrganismConfig(listeners=[BACK]), pipeline=pipeline) as organism:
        await organism.wait(await organism.inject("<Ask><Text>x</Text></Ask>"))
    assert " from outside to ?: drop_if(" in caplog.text
