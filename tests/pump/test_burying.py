"""Dead letters as messages: to whom a branch behind ``dispatch`` names, and no further than that."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, ListenerConfig
from phloem.errors import ConfigurationError, ConversationFailed
from phloem.messages import (
    SYSTEM,
    Cause,
    ConversationState,
    DeadLetter,
    HandlerMetadata,
    HandlerResponse,
    SystemError,
)
from phloem.pump.ready_made import branch, deadline, drop_if
from support.listeners import HANG, Ask, Note, Reply, drop, fall, listener
from support.pipelines import DEFAULT, Told, counts, open_piped

BAD = listener("bad", Ask, fall)
Letters = list[tuple[DeadLetter, str]]


def every(letter: DeadLetter) -> bool:
    return True


def grave(letters: Letters, name: str = "grave", gives: Any = None) -> ListenerConfig:
    async def bury(payload: Any, metadata: HandlerMetadata) -> Any:
        letters.append((payload, metadata.from_id))
        return gives

    return listener(name, DeadLetter, bury)


TO_GRAVE = DEFAULT.after("dispatch", branch(every, to="grave"), name="mine")


async def failed(organism: Any, payload: Any, to: str) -> Any:
    with pytest.raises(ConversationFailed) as error:
        await organism.ask(payload, to=to)
    assert error.value.outcome.payloads == ()
    return error.value.outcome


async def test_a_dead_letter_is_a_payload_with_all_that_is_known() -> None:
    letters: Letters = []
    async with open_piped(TO_GRAVE, BAD, grave(letters)) as organism:
        outcome = await failed(organism, Ask("<&>"), "bad")
        (letter,) = outcome.dead_letters
        assert letters == [(letter, SYSTEM)]
        assert letter == DeadLetter(
            letter.message_id,
            outcome.conversation,
            "outside",
            "bad",
            "handler",
            Cause("handler", "bad raised ValueError: x", "bad", "ValueError"),
            "<Ask><Text>&lt;&amp;&gt;</Text></Ask>",
        )
        assert outcome.state is ConversationState.FAILED  # that it was buried answers nothing
        assert counts(organism, "mine") == {"seen": 1}


async def test_whoever_it_was_that_died_it_is_told_of(autojump_clock: trio.testing.MockClock) -> None:
    letters: Letters = []

    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse(Note("x"), to="nobody") if isinstance(payload, Ask) else None

    pipeline = TO_GRAVE.before("dispatch", drop_if(lambda message: message.payload == Ask("drop")))
    pipeline = pipeline.before("dispatch", deadline(5))
    async with open_piped(pipeline, BAD, HANG, listener("front", Ask, front), grave(letters)) as organism:
        for payload, to in (Ask("x"), "front"), (Ask("x"), "hang"), (Ask("drop"), "bad"):
            await organism.wait(await organism.send(payload, to=to))
    found = [(letter.from_listener, letter.to_listener, letter.reason) for letter, _ in letters]
    assert sorted(found) == [
        ("front", "nobody", "routing"),
        ("outside", "bad", "dropped"),
        ("outside", "hang", "deadline"),
        (SYSTEM, "front", "unheard"),  # it takes no SystemError
    ]


async def test_a_turn_ends_when_its_letters_are_handled_too(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(payload: Any, metadata: HandlerMetadata) -> None:
        await trio.sleep(3)

    async with open_piped(TO_GRAVE, BAD, listener("grave", DeadLetter, slow)) as organism:
        begun = trio.current_time()
        await failed(organism, Ask("x"), "bad")
        assert trio.current_time() - begun == 3.0


async def test_a_letter_about_its_own_listener_goes_no_further() -> None:
    told = Told()
    async with open_piped(TO_GRAVE, BAD, listener("grave", DeadLetter, fall), observer=told) as organism:
        outcome = await failed(organism, Ask("x"), "bad")
        assert [(each.from_listener, each.to_listener) for each in outcome.dead_letters] == [
            ("outside", "bad"),
            (SYSTEM, "grave"),
        ]
        assert [name for name, _ in told.raised_by] == ["bad", "grave"]
        assert organism.report.failed == 2


@pytest.mark.parametrize(
    "gives", [HandlerResponse.respond(Reply("not asked for")), b"<Reply><Text>x</Text></Reply>"]
)
async def test_what_it_answers_does_not_become_the_callers_answer(gives: Any) -> None:
    letters: Letters = []
    async with open_piped(TO_GRAVE, BAD, grave(letters, gives=gives)) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="bad"))
        assert outcome.payloads == ()
        assert len(letters) == 1


async def test_nor_does_what_it_answers_after_it_has_asked_a_helper() -> None:
    async def bury(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, DeadLetter):
            return HandlerResponse(Note("what now?"), to="helper")
        return HandlerResponse.respond(payload)

    async def help_out(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse.respond(Reply("never mind"))

    listeners = listener("grave", [DeadLetter, Reply], bury), listener("helper", Note, help_out)
    async with open_piped(TO_GRAVE, BAD, *listeners) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="bad"))
        assert outcome.payloads == ()
        assert outcome.state is ConversationState.FAILED
        assert organism.threads == ()


async def test_it_may_send_on_what_died(autojump_clock: trio.testing.MockClock) -> None:
    taken: list[str] = []

    async def second(payload: Any, metadata: HandlerMetadata) -> None:
        taken.append(f"{metadata.from_id}: {payload.text}")

    async def bury(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse(Note(payload.to_listener), to="second")

    listeners = listener("grave", DeadLetter, bury), listener("second", Note, second)
    async with open_piped(TO_GRAVE, BAD, *listeners) as organism:
        await failed(organism, Ask("x"), "bad")
    assert taken == ["grave: bad"]


async def test_a_letter_about_what_its_listener_sent_goes_no_further() -> None:
    letters: Letters = []
    again = HandlerResponse(Ask("again"), to="bad")
    async with open_piped(TO_GRAVE, BAD, grave(letters, gives=again)) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="bad"))
        assert len(letters) == 1
        found = [(each.from_listener, each.to_listener, each.reason) for each in outcome.dead_letters]
        assert found == [
            ("outside", "bad", "handler"),
            ("grave", "bad", "handler"),
            (SYSTEM, "grave", "unheard"),
        ]


async def test_letters_that_lead_to_letters_end_with_the_budget() -> None:
    async def bury(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse(Note("again"), to="helper")

    async def help_out(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse(Ask("again"), to="bad")

    listeners = BAD, listener("grave", DeadLetter, bury), listener("helper", Note, help_out)
    async with open_piped(TO_GRAVE, *listeners, budgets=Budgets(messages=50)) as o:
        outcome = await o.wait(await o.send(Ask("x"), to="bad"))
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert o.report.accepted <= 52  # Boot, and one more that did not fit


@pytest.mark.parametrize("messages", range(1, 16))
async def test_letters_count_as_messages_and_never_more_are_sent_than_fit(messages: int) -> None:
    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return [HandlerResponse(Note(str(number)), to="nobody") for number in range(3)]
        return None

    letters: Letters = []
    listeners = listener("front", [Ask, SystemError], front), grave(letters)
    async with open_piped(TO_GRAVE, *listeners, budgets=Budgets(messages=messages)) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="front"))
        whole = messages >= 7  # the ask, three notes, three notices; a letter goes where there is room
        assert (outcome.state is ConversationState.COMPLETED) == whole
        assert len(letters) == (min(messages - 7, 3) if whole else 0)


async def test_a_letter_is_not_sent_once_its_conversation_is_cut() -> None:
    letters: Letters = []
    async with open_piped(TO_GRAVE, HANG, grave(letters)) as organism:
        receipt = await organism.send(Ask("x"), to="hang")
        await organism.kill(receipt.conversation)
        await organism.wait_idle()
    assert letters == []


async def test_of_two_branches_the_first_that_is_true_gets_it() -> None:
    first: Letters = []
    second: Letters = []

    def by_handler(letter: DeadLetter) -> bool:
        return letter.reason == "handler"

    pipeline = DEFAULT.after("dispatch", branch(by_handler, to="first"))
    pipeline = pipeline.before("replies", branch(every, to="second"))
    listeners = grave(first, "first"), grave(second, "second"), listener("front", Ask, lost)
    async with open_piped(pipeline, BAD, *listeners) as organism:
        await failed(organism, Ask("x"), "bad")
        await failed(organism, Ask("x"), "front")
    assert [letter.reason for letter, _ in first] == ["handler"]
    assert sorted(letter.reason for letter, _ in second) == ["routing", "unheard"]


async def lost(payload: Any, metadata: HandlerMetadata) -> Any:
    return HandlerResponse(Note("x"), to="nobody") if isinstance(payload, Ask) else None


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyError])
async def test_a_predicate_that_raises_is_told_and_the_next_branch_is_asked(
    kind: type[BaseException],
) -> None:
    error = kind("x")

    def bad(letter: DeadLetter) -> bool:
        raise error

    letters: Letters = []
    told = Told()
    pipeline = DEFAULT.after("dispatch", branch(bad, to="grave"), name="bad one")
    pipeline = pipeline.after("dispatch", branch(every, to="grave"))
    async with open_piped(pipeline, BAD, grave(letters), observer=told) as organism:
        await failed(organism, Ask("x"), "bad")
        assert counts(organism, "bad one") == {"seen": 1, "failed": 1}
    assert len(letters) == 1
    assert told.raised_by[-1] == ("bad one after dispatch", error)


async def test_a_payload_that_no_xml_could_carry_is_buried_all_the_same() -> None:
    letters: Letters = []
    pipeline = TO_GRAVE.before("admit", drop_if(lambda item: "\x01 why"))
    async with open_piped(pipeline, BAD, grave(letters)) as organism:
        await organism.wait(await organism.inject(b"<Ask>\x01\xff" + b"<" * 300_000))
    ((letter, _),) = letters
    assert letter.reason == "dropped"
    assert "\x01" not in letter.payload_xml + letter.cause.text


async def test_a_letter_of_a_block_of_turns_belongs_to_its_turn() -> None:
    letters: Letters = []
    listeners = BAD, grave(letters), listener("a", Note, drop)
    async with open_piped(TO_GRAVE, *listeners) as organism, organism.open_conversation() as conversation:
        for _ in range(3):
            with pytest.raises(ConversationFailed):
                await conversation.ask(Ask("x"), to="bad")
        outcome = await organism.wait(await conversation.send(Note("x")))
        assert outcome.state is ConversationState.COMPLETED
    assert len(letters) == 3


async def test_who_cannot_take_letters_is_refused_as_the_organism_opens() -> None:
    async def later(letter: DeadLetter) -> bool:
        return True

    for step, found, expected in (
        (
            branch(every, to="bad"),
            "'bad', which takes no DeadLetter",
            "phloem.DeadLetter among its payload classes",
        ),
        (branch(later, to="grave"), "an async predicate", "a plain function: a message dies in no time"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            async with open_piped(DEFAULT.after("dispatch", step, name="mine"), BAD, grave([])):
                pass
        (fault,) = refused.value.faults
        assert (fault.where, fault.found, fault.expected) == (
            "pipeline: mine after dispatch",
            found,
            expected,
        )
