"""A sitting at the console: what is typed reaches listeners, and what comes back is shown."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock as Clock

from phloem.cli.exit_codes import ExitCode
from phloem.config import Budgets
from phloem.messages import ConversationState, Fault, HandlerMetadata, HandlerResponse
from support.console import EVERYBODY, FakeFace, Say, Sitting, listener, open_sitting

# -- talking -----------------------------------------------------------------------------------------


async def test_a_text_goes_to_the_listener_and_its_answer_comes_back(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@echo hello") == ["echo: hello"]
        assert sitting.face.prompt == "echo> "


async def test_a_line_without_an_address_goes_to_the_listener_talked_to_last(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@echo a", "b", "@memory c", "d") == [
            "echo: a",
            "echo: b",
            "memory: c is number 1",
            "memory: d is number 2",
        ]


async def test_without_anybody_talked_to_a_text_is_told_so(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        (told,) = await sitting.types("hello")
        assert told.startswith("nobody has been talked to yet: begin with one of @echo, @memory")
    assert sitting.session.tally.codes == {ExitCode.UNDELIVERED}


async def test_an_address_alone_turns_to_the_listener(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@echo", "a") == ["lines without @ go to echo from here on", "echo: a"]


async def test_names_are_the_same_without_case_and_may_have_spaces(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@ECHO a", "@Two Words b c") == ["echo: a", "two words: b c"]


async def test_who_is_not_there_is_told_with_who_is(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        (told,) = await sitting.types("@ecko a")
        assert told.startswith("found no listener 'ecko', expected one of echo, memory, ")
        assert told.endswith("did you mean @echo?")


async def test_fields_and_xml_are_for_payloads_with_more_than_a_text(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types(
            '@shop {"item": "tea", "count": 2}',
            "@shop <Order><Item>a</Item><Count>3</Count></Order>",
            "@shop milk",
        ) == [
            'shop: Order {"item": "tea", "count": 2}',
            'shop: Order {"item": "a", "count": 3}',
            'shop: Order {"item": "milk", "count": 1}',
        ]
        assert await sitting.types('@echo {"text": "as it is"}') == ['echo: {"text": "as it is"}']
        (told,) = await sitting.types("@point here")
        assert told.startswith("point: not sent: ")
        assert "Point" in told
        (told,) = await sitting.types('@point {"x": "one", "y": 2}')
        assert told == 'point: not sent: payload.x: found "one", expected a whole number'
        assert await sitting.types('@point {"x": 1, "y": 2}') == ['point: Point {"x": 1, "y": 2}']


async def test_a_listener_remembers_until_it_is_killed(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@memory a", "b") == ["memory: a is number 1", "memory: b is number 2"]
        (told,) = await sitting.types("/kill memory")
        assert told.endswith("was killed")
        assert await sitting.types("c") == ["memory: c is number 1"]
    assert sitting.session.tally.codes <= {ExitCode.COMPLETED}


async def test_nothing_that_is_typed_waits_for_an_answer(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@slow 5", "@slow 1", "@echo a", "/status") != []
        assert sitting.face.said[0] == "echo: a"
        assert "@slow: conversation" in "\n".join(sitting.face.said)
        assert "2 messages unanswered" in "\n".join(sitting.face.said)
        assert await sitting.waits(6.5) == ["slow: after 5", "(5.0 s)", "slow: after 1", "(6.0 s)"]


async def test_messages_enter_in_the_order_they_were_typed(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        for number in range(50):
            sitting.face.type.send_nowait(f"@echo {number}")
        await trio.testing.wait_all_tasks_blocked()
        assert sitting.face.said == [f"echo: {number}" for number in range(50)]


async def test_who_types_much_faster_than_is_answered_is_told_so(
    autojump_clock: Clock,
) -> None:
    async with open_sitting() as sitting:
        for _ in range(102):
            sitting.face.type.send_nowait("@slow 1.0")
        await trio.testing.wait_all_tasks_blocked()
        assert (
            sitting.face.wrong == ["not sent: 100 messages to slow wait for an answer; /kill ends them"] * 2
        )
        await trio.sleep(200)
        assert len([line for line in sitting.face.said if line.startswith("slow: after")]) == 100


# -- how a message ends --------------------------------------------------------------------------------


async def test_a_failure_is_told_once_and_the_conversation_goes_on(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@boom x", "y") == [
            "boom: failed: boom raised LookupError: no x",
            "boom: failed: boom raised LookupError: no y",
        ]
    assert sitting.session.tally.states == {ConversationState.FAILED: 2}


async def test_no_answer_is_said_too(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@mute x") == ["mute: (no answer)"]


async def test_what_a_model_writes_does_nothing_to_the_terminal(autojump_clock: Clock) -> None:
    async def evil(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Say("\x9b2J\u202egnp\u202c\r\ngone"))

    async with open_sitting(listeners=[listener("evil", evil), *EVERYBODY]) as sitting:
        assert await sitting.types("@evil x") == ["evil: \\u009b2J\\u202egnp\\u202c\ngone"]
        (told,) = await sitting.types("@boom \u009b31m")
        assert "\x9b" not in told
        (told,) = await sitting.types("@\x1b[2J x")
        assert "\x1b" not in told
        (told,) = await sitting.types("/\x1b[2J")
        assert "\x1b" not in told
        (told,) = await sitting.types("/kill \x1b[2J")
        assert "\x1b" not in told


async def test_a_long_answer_is_cut_and_full_shows_all(autojump_clock: Clock) -> None:
    text = "\\n".join(f"line {number}" for number in range(500)).replace("\\n", "\n")

    async def much(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Say(text))

    async with open_sitting(listeners=[listener("much", much), *EVERYBODY]) as sitting:
        assert await sitting.types("/full") == ["nothing was cut short"]
        (told,) = await sitting.types("@much x")
        assert len(told.splitlines()) == 61
        assert told.endswith("more characters; /full shows all")
        assert await sitting.types("@echo between", "/full") == ["echo: between", text]


async def test_a_spent_conversation_gives_way_to_a_new_one_and_nothing_is_lost(autojump_clock: Clock) -> None:
    async with open_sitting(budgets=Budgets(messages=3)) as sitting:
        said = await sitting.types("@memory a", "b", "c", "d", "e")
        answers = [line for line in said if line.startswith("memory: ") and "number" in line]
        assert answers == [
            "memory: a is number 1",
            "memory: b is number 2",
            "memory: c is number 3",
            "memory: e is number 1",
        ]
        assert [line for line in said if line.startswith("memory: out of budget: ")]
        assert any("a new one begins" in line for line in said)


# -- the end ---------------------------------------------------------------------------------------------


async def test_quit_waits_for_what_is_unanswered(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        await sitting.types("@slow 3")
        assert await sitting.types("/quit") == ["waiting for 1 answer, 10 s at most; Ctrl-C stops at once"]
        assert sitting.face.closed
        await trio.sleep(4)
        assert sitting.face.said[-2:] == ["slow: after 3", "(3.0 s)"]


async def test_what_does_not_end_in_time_is_cut_and_told(autojump_clock: Clock) -> None:
    async with open_sitting(patience=2) as sitting:
        await sitting.types("@slow 100", "@slow 100", "/quit")
        start = trio.current_time()
    assert trio.current_time() - start == pytest.approx(2, abs=0.1)
    assert len([line for line in sitting.face.wrong if line.startswith("slow: drained")]) == 2


async def test_the_end_of_a_persons_lines_is_a_quit(autojump_clock: Clock) -> None:
    async with open_sitting(patience=1) as sitting:
        await sitting.types("@slow 100")
    assert sitting.face.wrong[-1].startswith("slow: drained")


async def test_a_cancelled_sitting_leaves_nothing_behind(autojump_clock: Clock) -> None:
    face = FakeFace()
    async with open_sitting(FakeFace()) as outer:
        with trio.CancelScope() as scope:
            from phloem.cli.console_session import Session

            session = Session(outer.organism, face)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.run)
                face.type.send_nowait("@slow 100")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert outer.organism.statistics()["messages"]["in_flight"] == 0
        assert await outer.types("@echo a") == ["echo: a"]


# -- lines of a pipe ---------------------------------------------------------------------------------------


async def through_pipe(*lines: str | Fault, in_turn: bool = True, **config: Any) -> Sitting:
    face = FakeFace(in_full=True, in_turn=in_turn)
    async with open_sitting(face, **config) as sitting:
        for line in lines:
            face.type.send_nowait(line)
    return sitting


async def test_lines_of_a_pipe_are_taken_one_after_the_other(autojump_clock: Clock) -> None:
    sitting = await through_pipe("@slow 5", "@echo a", "/trace slow", "@slow 20")
    assert sitting.face.said[:2] == ["slow: after 5", "echo: a"]
    assert "handled" in sitting.face.said[3]
    assert sitting.face.said[-1] == "slow: after 20"
    assert not sitting.session.tally.codes - {ExitCode.COMPLETED}


async def test_a_question_lets_the_next_line_come(autojump_clock: Clock) -> None:
    sitting = await through_pipe("@asker ask", "blue", "@boss ask too", "red")
    assert sitting.face.said == [
        "asker asks: ask",
        "asker: got blue",
        "asker asks: ask too",
        "asker: got red",
    ]


async def test_at_the_end_of_a_pipe_all_is_waited_for_however_long_it_takes(autojump_clock: Clock) -> None:
    sitting = await through_pipe("@slow 60", "@slow 1", "@echo a", in_turn=False)
    assert sitting.face.said == ["echo: a", "slow: after 60", "slow: after 1"]


async def test_a_pipe_that_is_faster_than_its_answers_waits_and_loses_nothing(autojump_clock: Clock) -> None:
    sitting = await through_pipe(*(f"@slow 0.{number % 10}" for number in range(300)), in_turn=False)
    assert len(sitting.face.said) == 300
    assert not sitting.face.wrong


async def test_a_line_that_cannot_be_read_counts_as_rejected(autojump_clock: Clock) -> None:
    sitting = await through_pipe(Fault("bad-char", "line 1", "byte 0xff at 1", "UTF-8"), "@echo a", "@ecko b")
    assert sitting.face.said[:2] == ["not sent: line 1: found byte 0xff at 1, expected UTF-8", "echo: a"]
    assert sitting.session.tally.codes == {ExitCode.UNDELIVERED, ExitCode.COMPLETED}


async def test_in_a_pipe_nothing_is_cut(autojump_clock: Clock) -> None:
    async def much(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Say("x" * 50_000))

    sitting = await through_pipe("@much x", listeners=[listener("much", much)])
    assert sitting.face.said == [f"much: {'x' * 50_000}"]
