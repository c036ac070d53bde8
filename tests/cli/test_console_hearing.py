"""What listeners say while they work, and what they ask: shown as it comes, in its place."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock as Clock

from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.pump.listening import get_event_bus
from support.console import EVERYBODY, Say, listener, open_sitting


async def test_what_is_written_bit_by_bit_grows_and_is_not_said_twice(
    autojump_clock: Clock,
) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@writer one| two\nthree| four") == []
        assert sitting.face.tails == {"writer": "one"}
        assert await sitting.waits(1) == ["writer: one two"]
        assert sitting.face.tails == {"writer": "three"}
        assert await sitting.waits(2.5) == ["writer: three four", "(3.0 s)"]
        assert sitting.face.tails == {}


async def test_an_answer_that_differs_from_what_was_written_is_shown(autojump_clock: Clock) -> None:
    async def other(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        get_event_bus().emit_client_output_delta(content="thinking", snapshot="thinking")
        return HandlerResponse.respond(Say("the answer"))

    async with open_sitting(listeners=[listener("other", other, client_facing=True)]) as sitting:
        assert await sitting.types("@other x") == ["other: thinking", "other: the answer"]


async def test_two_messages_to_one_writer_are_not_mixed(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        await sitting.types("@writer a| b", "@writer c| d")
        said = [line for line in await sitting.waits(6) if line.startswith("writer")]
        assert said == ["writer: a b", "writer: c d"]


async def test_listeners_that_do_not_face_clients_are_not_heard(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@private writer a| b") == []
        assert sitting.face.tails == {}
        assert await sitting.waits(3) == ["private writer: a b", "(2.0 s)"]


async def test_a_question_is_answered_by_the_next_plain_line(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@asker ask for a colour") == ["asker asks: ask for a colour"]
        assert (sitting.face.prompt, sitting.face.keep) == ("asker? ", False)
        assert await sitting.types("@echo meanwhile") == ["echo: meanwhile"]
        assert sitting.face.prompt == "asker? "
        assert await sitting.types("blue") == ["asker: got blue"]
        assert (sitting.face.prompt, sitting.face.keep) == ("echo> ", True)
        assert await sitting.types("plain again") == ["echo: plain again"]


async def test_questions_are_answered_in_the_order_they_came(autojump_clock: Clock) -> None:
    async with open_sitting(
        listeners=[*EVERYBODY, listener("other", *(EVERYBODY[10].handler,), client_facing=True)]
    ) as sitting:
        await sitting.types("@asker ask one", "@other ask two")
        assert await sitting.types("first", "second") == ["asker: got first", "other: got second"]


async def test_a_question_from_below_is_answered_to_who_asked(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("@boss ask the person") == ["asker asks: ask the person"]
        assert sitting.face.prompt == "asker? "
        assert await sitting.types("blue") == ["asker: got blue"]


async def test_an_addressed_answer_or_a_kill_settles_the_question(
    autojump_clock: Clock,
) -> None:
    async with open_sitting() as sitting:
        await sitting.types("@asker ask", "@asker red")
        assert sitting.face.prompt == "asker> "
        await sitting.types("@asker ask again", "/kill asker")
        assert sitting.face.prompt == "asker> "


async def test_a_prompt_may_be_empty_or_evil(autojump_clock: Clock) -> None:
    async def empty(payload: Any, metadata: HandlerMetadata) -> None:
        get_event_bus().emit_client_input_requested(prompt="\x1b[2J" if payload.text == "evil" else "")

    async with open_sitting(listeners=[listener("empty", empty, client_facing=True)]) as sitting:
        assert await sitting.types("@empty x") == ["empty asks: (waits for an answer)"]
        assert await sitting.types("evil") == ["empty asks: ␛[2J"]


async def test_what_is_written_in_one_dispatch_is_whole_before_the_next_writes(autojump_clock: Clock) -> None:
    async def twice(payload: Say, metadata: HandlerMetadata) -> HandlerResponse:
        again = metadata.from_id == "echo"
        word = "second" if again else "first"
        get_event_bus().emit_client_output_delta(content=word, snapshot=word)
        await trio.sleep(1)
        return HandlerResponse.respond(Say("done")) if again else HandlerResponse(payload, to="echo")

    async with open_sitting(listeners=[*EVERYBODY, listener("twice", twice, client_facing=True)]) as sitting:
        await sitting.types("@twice x")
        assert await sitting.waits(1.5) == ["twice: first"]
        assert sitting.face.tails == {"twice": "second"}
        assert (await sitting.waits(1))[:2] == ["twice: second", "twice: done"]


async def test_a_stream_without_line_ends_is_broken_and_nothing_of_it_is_lost(autojump_clock: Clock) -> None:
    text = "word " * 5_000

    async def endless(payload: Say, metadata: HandlerMetadata) -> HandlerResponse:
        for at in range(0, len(text), 7):
            get_event_bus().emit_client_output_delta(content=text[at : at + 7], snapshot="")
        return HandlerResponse.respond(Say(text))

    async with open_sitting(listeners=[listener("endless", endless, client_facing=True)]) as sitting:
        said = await sitting.types("@endless x")
        assert "".join(line.removeprefix("endless: ") for line in said) == text
        assert max(map(len, said)) < 4_100


async def test_what_comes_too_fast_is_counted(autojump_clock: Clock) -> None:
    async def flood(payload: Say, metadata: HandlerMetadata) -> HandlerResponse:
        for _ in range(6_000):
            get_event_bus().emit_client_output_delta(content="x", snapshot="")
        return HandlerResponse.respond(Say("done"))

    async with open_sitting(listeners=[listener("flood", flood, client_facing=True)]) as sitting:
        said = await sitting.types("@flood x")
        assert said[0].endswith("pieces of what was said came too fast")
        assert said[-1] == "flood: done"
        assert await sitting.types("again") != []
