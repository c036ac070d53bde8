"""``accept_early``: what is whole and harmless to repeat goes while the rest of the answer still comes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio

from phloem.config import Budgets, ListenerConfig
from phloem.errors import ConversationFailed
from phloem.llm.script import Scripted
from phloem.llm.scripted import ScriptedBackend
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import open_organism
from phloem.pump.pipeline import Pipeline
from phloem.pump.ready_made import tap
from support.agents import DONE, Found, Question, Search, Verdict, agent, organism_of, payloads_in, said

TREES = Question("are trees tall?")
OAKS = '<send to="search"><Search><Query>oaks</Query></Search></send>'
ELMS = '<send to="search"><Search><Query>elms</Query></Search></send>'
JUDGE = agent("judge", "search", stream=True, accept_early=True, wait="all")


def searching(seen: list[tuple[str, float]], *, idempotent: bool = True) -> ListenerConfig:
    async def search(payload: Search, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append((payload.query, trio.current_time()))
        return HandlerResponse.respond(Found(payload.query))

    return ListenerConfig("search", Search, search, "Looks.", responds_with=Found, idempotent=idempotent)


def slowly(*pieces: str, **more: Any) -> Scripted:
    """An answer whose pieces come a second after one another."""
    return Scripted("".join(pieces), chunks=pieces, pause=1.0, **more)


async def test_a_whole_message_goes_while_the_rest_still_comes_and_goes_once(autojump_clock: Any) -> None:
    seen: list[tuple[str, float]] = []
    backend = ScriptedBackend([slowly("First:\n", OAKS, " \n", ELMS, "\n\nDone."), DONE])
    async with open_organism(organism_of(JUDGE, searching(seen), script=backend)) as organism:
        begun = trio.current_time()
        assert await organism.ask(TREES, "judge") == Verdict("tall")
    assert [(query, round(when - begun)) for query, when in seen] == [("oaks", 1), ("elms", 3)]
    assert backend.calls == 2
    assert sorted(payloads_in(said(backend.requests[1]), "Found")) == [
        "<Found><Text>elms</Text></Found>",
        "<Found><Text>oaks</Text></Found>",
    ]
    (own,) = [each.content for each in backend.requests[1].messages if each.role == "assistant"]
    assert payloads_in(own, "Query") == ["<Query>oaks</Query>", "<Query>elms</Query>"]


async def test_one_for_a_listener_that_may_not_get_it_twice_waits(autojump_clock: Any) -> None:
    seen: list[tuple[str, float]] = []
    script = [slowly(OAKS, ELMS), DONE]
    async with open_organism(
        organism_of(JUDGE, searching(seen, idempotent=False), script=script)
    ) as organism:
        begun = trio.current_time()
        await organism.ask(TREES, "judge")
    assert sorted((query, round(when - begun)) for query, when in seen) == [("elms", 1), ("oaks", 1)]


async def test_a_later_fault_rejects_the_rest_only(autojump_clock: Any) -> None:
    seen: list[tuple[str, float]] = []
    backend = ScriptedBackend([slowly(OAKS, '<send to="search"><Search><Wrong/></Search></send>'), DONE])
    async with open_organism(organism_of(JUDGE, searching(seen), script=backend)) as organism:
        assert await organism.ask(TREES, "judge") == Verdict("tall")
        assert organism.report.rejected == 1
    assert [query for query, _ in seen] == ["oaks"]
    second = said(backend.requests[1])
    assert "<Huh>" in second
    assert "<Found><Text>oaks</Text></Found>" in second


async def test_a_stream_that_breaks_off_behind_it_is_told_as_cut_and_the_call_is_not_retried(
    autojump_clock: Any,
) -> None:
    seen: list[tuple[str, float]] = []
    backend = ScriptedBackend([slowly(OAKS, ELMS, cut=len(OAKS) + 9), DONE])
    judge = replace(JUDGE, retries=3)
    async with open_organism(organism_of(judge, searching(seen), script=backend)) as organism:
        assert await organism.ask(TREES, "judge") == Verdict("tall")
    assert [query for query, _ in seen] == ["oaks"]
    assert backend.calls == 2
    assert "truncated" in said(backend.requests[1])


async def test_a_limit_behind_it_is_told_as_cut_too(autojump_clock: Any) -> None:
    seen: list[tuple[str, float]] = []
    backend = ScriptedBackend([slowly(OAKS, DONE, stop_reason="length"), DONE])
    async with open_organism(organism_of(JUDGE, searching(seen), script=backend)) as organism:
        assert await organism.ask(TREES, "judge") == Verdict("tall")
    assert [query for query, _ in seen] == ["oaks"]
    assert "truncated" in said(backend.requests[1])


async def test_nothing_but_prose_behind_it_is_a_whole_answer(autojump_clock: Any) -> None:
    seen: list[tuple[str, float]] = []
    backend = ScriptedBackend([slowly(OAKS, "\n\nAnd that is all."), DONE])
    async with open_organism(organism_of(JUDGE, searching(seen), script=backend)) as organism:
        assert await organism.ask(TREES, "judge") == Verdict("tall")
    assert (backend.calls, len(seen)) == (2, 1)


async def test_it_never_goes_past_a_budget(autojump_clock: Any) -> None:
    seen: list[tuple[str, float]] = []
    config = organism_of(JUDGE, searching(seen), script=[slowly(OAKS, ELMS)], budgets=Budgets(messages=2))
    async with open_organism(config) as organism:
        with pytest.raises(ConversationFailed, match="messages"):
            await organism.ask(TREES, "judge")
    assert len(seen) <= 1


async def test_users_steps_see_it(autojump_clock: Any) -> None:
    seen: list[tuple[str, float]] = []
    tapped: list[str] = []

    def look(message: Any) -> None:
        tapped.append(message.tag)

    pipeline = Pipeline.default().before("dispatch", tap(look))
    config = organism_of(JUDGE, searching(seen), script=[slowly(OAKS, ELMS), DONE])
    async with open_organism(config, pipeline=pipeline) as organism:
        assert await organism.ask(TREES, "judge") == Verdict("tall")
    assert sorted(tapped) == ["Found", "Found", "Question", "Search", "Search"]


async def test_a_cancel_behind_it_leaves_nothing(autojump_clock: Any) -> None:
    seen: list[tuple[str, float]] = []
    script = [slowly(OAKS, ELMS, ELMS), DONE]
    async with open_organism(organism_of(JUDGE, searching(seen), script=script)) as organism:
        with trio.move_on_after(0.5):
            await organism.ask(TREES, "judge")
        await organism.wait_idle()
        assert organism.report.in_flight == 0
        assert [query for query, _ in seen] == ["oaks"]
        assert await organism.ask(TREES, "judge") == Verdict("tall")


async def test_what_a_provider_says_of_a_break_is_for_the_operator_and_not_for_the_agent(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[str, float]] = []
    backend = ScriptedBackend([slowly(OAKS, ELMS, cut=len(OAKS) + 9), DONE])
    async with open_organism(organism_of(JUDGE, searching(seen), script=backend)) as organism:
        outcome = await organism.wait(await organism.send(TREES, "judge"))
    (huh,) = outcome.rejections
    assert (huh.code, huh.found) == ("truncated", "an answer that broke off")
    assert "scripted" not in said(backend.requests[1])
    assert "scripted" in caplog.text
