"""What simulations of organisms of agents have found: a small program of each."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from phloem.config import ListenerConfig, MemoryLimits
from phloem.errors import ConversationFailed
from phloem.llm.requests import LLMRequest
from phloem.llm.script import Scripted
from phloem.llm.scripted import ScriptedBackend
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism, open_organism
from support.agents import DONE, TOOL, Found, Question, Search, Verdict, agent, organism_of, payloads_in, said

NONSENSE = "<Nope/>"


def sends(*queries: str) -> list[str]:
    return [f'<send to="search"><Search><Query>{each}</Query></Search></send>' for each in queries]


async def slowly(payload: Search, metadata: HandlerMetadata) -> HandlerResponse:
    """A query of ``name seconds``."""
    name, seconds = payload.query.split()
    await trio.sleep(float(seconds))
    return HandlerResponse.respond(Found(name))


SLOW = ListenerConfig("search", Search, slowly, "Takes its time.", responds_with=Found, idempotent=True)
EARLY = {"stream": True, "accept_early": True, "wait": "all"}


def in_pieces(*pieces: str) -> Scripted:
    """An answer whose pieces come a second after one another."""
    return Scripted("".join(pieces), chunks=pieces, pause=1.0)


def own_words(request: LLMRequest) -> str:
    return "\n".join(each.content for each in request.messages if each.role == "assistant")


@pytest.mark.parametrize("wait", ["each", "all"])
async def test_who_asks_while_an_agent_waits_for_anothers_answers_is_answered_too(
    autojump_clock: Any, wait: str
) -> None:
    """In one conversation: it stood among these answers, and only the last of them made a call."""

    def model(request: LLMRequest) -> str:
        text = said(request)
        if "two" in request.messages[-1].content:
            return "<Verdict><Text>two</Text></Verdict>"
        if len(payloads_in(text, "Found")) < 2:
            return "".join(sends("oaks 1", "elms 3")) if "<Found>" not in text else "<wait/>"
        return "<Verdict><Text>one</Text></Verdict>"

    answers: dict[str, Any] = {}

    async with (
        open_organism(organism_of(agent("judge", "search", wait=wait), SLOW, script=model)) as organism,
        organism.open_conversation() as conversation,
        trio.open_nursery() as nursery,
    ):

        async def ask(text: str) -> None:
            answers[text] = await conversation.ask(Question(text), "judge")

        nursery.start_soon(ask, "one")
        await trio.sleep(2)
        nursery.start_soon(ask, "two")
    assert answers == {"one": Verdict("one"), "two": Verdict("two")}


async def test_an_agent_cannot_wait_for_what_another_turn_has_asked_for(autojump_clock: Any) -> None:
    """Nobody would have called it again, and its caller got nothing."""

    def model(request: LLMRequest) -> str:
        if "Huh" in request.messages[-1].content:
            return "<Verdict><Text>at once</Text></Verdict>"
        if "two" in request.messages[-1].content:
            return "<wait/>"
        return DONE if "<Found>" in said(request) else "".join(sends("oaks 9"))

    async with (
        open_organism(organism_of(agent("judge", "search"), SLOW, script=model)) as organism,
        organism.open_conversation() as conversation,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(conversation.ask, Question("one"), "judge")
        await trio.sleep(2)
        assert await conversation.ask(Question("two"), "judge") == Verdict("at once")


@pytest.mark.parametrize("rest", ['<send to="search"><Search><Que', sends("elms 1")[0][:-1]])
async def test_what_went_early_is_not_told_as_delivered_to_nobody(autojump_clock: Any, rest: str) -> None:
    """The refusal quoted it beside the rest, and the agent's own words had it twice."""
    (oaks,) = sends("oaks 1")
    backend = ScriptedBackend([in_pieces(oaks, " ", rest), DONE])
    async with open_organism(
        organism_of(agent("judge", "search", **EARLY), SLOW, script=backend)
    ) as organism:
        assert await organism.ask(Question("trees"), "judge") == Verdict("tall")
    assert own_words(backend.requests[1]).count(oaks) == 1
    (original,) = payloads_in(said(backend.requests[1]), "Original")
    assert "oaks" not in original


@pytest.mark.parametrize("response", [DONE, f"<respond>{DONE}</respond>"])
async def test_nobody_responds_behind_what_went_early(autojump_clock: Any, response: str) -> None:
    """A bare response ended what had just been sent; in one piece, that answer is refused."""
    backend = ScriptedBackend([in_pieces(*sends("oaks 1"), response), DONE])
    async with open_organism(
        organism_of(agent("judge", "search", **EARLY), SLOW, script=backend)
    ) as organism:
        assert await organism.ask(Question("trees"), "judge") == Verdict("tall")
    assert backend.calls == 2
    assert "<Found><Text>oaks</Text></Found>" in said(backend.requests[1])


@pytest.mark.parametrize("early", [False, True])
async def test_what_goes_early_goes_past_no_full_memory(autojump_clock: Any, early: bool) -> None:
    seen: list[str] = []

    async def note(payload: Search, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append(payload.query)
        return await slowly(payload, metadata)

    tool = ListenerConfig("search", Search, note, "Looks.", responds_with=Found, idempotent=True)
    judge = agent("judge", "search", stream=True, accept_early=early, wait="all")
    script = [in_pieces(*sends("a 50", "b 50", "c 50", "d 50", "e 50")), DONE, DONE]
    full = MemoryLimits(max_slots_per_conversation=4, on_full="refuse")
    async with open_organism(organism_of(judge, tool, script=script, memory=full)) as organism:
        with trio.move_on_after(20):
            await organism.ask(Question("trees"), "judge")
    assert sorted(seen) == ["a 50", "b 50", "c 50"]


async def test_attempts_of_a_turn_that_was_cut_are_nobody_elses(autojump_clock: Any) -> None:
    """The next turn had so many fewer, and its dead letter was of a message that had long ended."""
    script = [NONSENSE, Scripted(DONE, delay=10), NONSENSE, DONE]
    judge = agent("judge", "search", max_attempts=2)
    async with (
        open_organism(organism_of(judge, TOOL, script=script)) as organism,
        organism.open_conversation() as conversation,
    ):
        with trio.move_on_after(3):
            await conversation.ask(Question("first"), "judge")
        assert await conversation.ask(Question("second"), "judge") == Verdict("tall")


@pytest.mark.parametrize("early", [False, True])
async def test_only_attempts_in_a_row_are_counted(autojump_clock: Any, early: bool) -> None:
    """An answer of which all went early did not end the row."""
    script = [
        NONSENSE,
        in_pieces(*sends("oaks 1"), "\n"),
        NONSENSE,
        in_pieces(*sends("elms 1")),
        NONSENSE,
        DONE,
    ]
    judge = agent("judge", "search", max_attempts=2, stream=True, accept_early=early)
    async with open_organism(organism_of(judge, SLOW, script=script)) as organism:
        assert await organism.ask(Question("trees"), "judge") == Verdict("tall")
        told = [event.data["attempts_left"] for event in organism.events.get_history("message_rejected")]
    assert told == [1, 1, 1]


async def test_turns_side_by_side_have_their_own_attempts(autojump_clock: Any) -> None:
    def model(request: LLMRequest) -> Any:
        now = request.messages[-1].content
        return Scripted(NONSENSE, delay=1 if "one" in now else 1.5)

    failed: dict[str, Any] = {}
    judge = agent("judge", "search", max_attempts=2)
    async with (
        open_organism(organism_of(judge, TOOL, script=model)) as organism,
        organism.open_conversation() as conversation,
        trio.open_nursery() as nursery,
    ):

        async def ask(text: str) -> None:
            with pytest.raises(ConversationFailed) as error:
                await conversation.ask(Question(text), "judge")
            (failed[text],) = error.value.outcome.dead_letters

        nursery.start_soon(ask, "one")
        nursery.start_soon(ask, "two")
    assert {text: letter.payload_xml for text, letter in failed.items()} == {
        text: f"<Question><Text>{text}</Text></Question>" for text in ("one", "two")
    }
    assert [[huh.attempts_left for huh in letter.attempts] for letter in failed.values()] == [[1, 0]] * 2


def test_an_organism_with_models_can_be_looked_at_after_its_run() -> None:
    """What a backend is like was asked of a clock that had stopped."""
    kept: list[Organism] = []

    async def main() -> None:
        async with open_organism(organism_of(agent("judge", "search"), TOOL, script=[DONE])) as organism:
            kept.append(organism)
            await organism.ask(Question("trees"), "judge")

    trio.run(main)
    (backend,) = kept[0].statistics()["llm"]["backends"].values()
    assert (backend["up"], backend["out_for"], backend["attempts"], backend["reserved"]) == (True, 0.0, 1, 0)
