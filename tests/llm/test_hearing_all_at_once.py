"""``wait: all``: answers stay queued on their agent's thread until nothing below it is in flight."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from phloem.config import Budgets, ListenerConfig
from phloem.errors import ConversationFailed
from phloem.llm.script import Scripted
from phloem.llm.scripted import ScriptedBackend
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism, open_organism
from support.agents import DONE, Found, Question, Search, Verdict, agent, organism_of, payloads_in, said

TREES = Question("are trees tall?")


def sends(*queries: str, to: str = "search") -> str:
    return "".join(f'<send to="{to}"><Search><Query>{each}</Query></Search></send>' for each in queries)


async def slowly(payload: Search, metadata: HandlerMetadata) -> Any:
    """A query of ``name seconds``, or ``name seconds !`` that fails."""
    name, seconds, *fails = payload.query.split()
    await trio.sleep(float(seconds))
    if fails:
        raise ValueError(name)
    return HandlerResponse.respond(Found(name))


SLOW = ListenerConfig("search", Search, slowly, "Takes its time.", responds_with=Found)


async def ask(backend: Any, *listeners: ListenerConfig, **settings: Any) -> tuple[Any, Organism]:
    config = organism_of(*listeners, script=backend, **settings)
    async with open_organism(config) as organism:
        return await organism.ask(TREES, "judge"), organism


async def test_there_is_one_call_for_all_answers_in_the_order_in_which_they_came(autojump_clock: Any) -> None:
    backend = ScriptedBackend([sends("oaks 3", "elms 1", "firs 2"), DONE])
    answer, organism = await ask(backend, agent("judge", "search", wait="all"), SLOW)
    assert answer == Verdict("tall")
    assert backend.calls == 2
    found = payloads_in(said(backend.requests[1]), "Found")
    assert found == [f"<Found><Text>{name}</Text></Found>" for name in ("elms", "firs", "oaks")]
    assert organism.report.handled == organism.report.accepted == 8  # Boot, a question, three each way
    assert trio.current_time() < 4


async def test_each_of_them_is_a_delivery_that_is_handled(autojump_clock: Any) -> None:
    backend = ScriptedBackend([sends("oaks 1", "elms 1"), DONE])
    config = organism_of(agent("judge", "search", wait="all"), SLOW, script=backend)
    async with open_organism(config) as organism:
        await organism.ask(TREES, "judge")
        ended = [
            event.data["ending"]
            for event in organism.events.get_history("node_loop_completed")
            if event.node_id == "judge"
        ]
    assert ended == ["handled"] * 3


async def test_they_wait_in_flight_and_without_a_token(autojump_clock: Any) -> None:
    backend = ScriptedBackend([sends("oaks 5", "elms 1"), DONE, DONE])
    judge = agent("judge", "search", wait="all", max_concurrent=1)
    config = organism_of(judge, SLOW, script=backend)
    async with open_organism(config) as organism, trio.open_nursery() as nursery:
        nursery.start_soon(organism.ask, TREES, "judge")
        await trio.sleep(2)
        assert organism.report.in_flight == 2, "an answer that waits, and a search"
        assert organism._pump.slots.borrowed() == 2, "the search's handler and pipeline only"
        assert await organism.ask(TREES, "judge") == Verdict("tall"), "the token is there for others"
        assert trio.current_time() < 3


async def test_faults_count_as_answers(autojump_clock: Any) -> None:
    backend = ScriptedBackend([sends("oaks 1 !", "elms 2"), DONE])
    answer, _ = await ask(backend, agent("judge", "search", wait="all"), SLOW)
    assert answer == Verdict("tall")
    text = said(backend.requests[1])
    assert text.index("<SystemError>") < text.index("elms</Text>")


async def test_a_refused_message_beside_good_ones_is_heard_with_their_answers(autojump_clock: Any) -> None:
    backend = ScriptedBackend(['<send to="search"><Search/></send>' + sends("elms 2"), DONE])
    answer, _ = await ask(backend, agent("judge", "search", wait="all"), SLOW)
    assert answer == Verdict("tall")
    assert backend.calls == 2
    text = said(backend.requests[1])
    assert "<Huh>" in text
    assert "elms</Text>" in text


async def test_who_never_answers_is_waited_for_only_while_it_is_in_flight(autojump_clock: Any) -> None:
    async def some(payload: Search, metadata: HandlerMetadata) -> Any:
        return None if payload.query == "quiet" else await slowly(payload, metadata)

    tool = ListenerConfig("search", Search, some, "Sometimes.", responds_with=Found)
    backend = ScriptedBackend([sends("quiet", "elms 1"), DONE])
    assert (await ask(backend, agent("judge", "search", wait="all"), tool))[0] == Verdict("tall")
    assert backend.calls == 2


async def test_agents_below_agents_each_hear_their_own(autojump_clock: Any) -> None:
    def model(request: Any) -> Any:
        text = said(request)
        if request.agent == "judge":
            if "<Found>" in text:
                return DONE
            return sends("a", "b", to="scout")
        if "<Found>" in text:
            return f"<Found><Text>{len(payloads_in(text, 'Found'))}</Text></Found>"
        return sends("oaks 2", "elms 4")

    backend = ScriptedBackend(model)
    scout = agent("scout", "search", payload_class=Search, responds_with=Found, wait="all")
    answer, _ = await ask(backend, agent("judge", "scout", wait="all"), scout, SLOW)
    assert answer == Verdict("tall")
    by = [request.agent for request in backend.requests]
    assert sorted(by) == ["judge"] * 2 + ["scout"] * 4
    assert said(backend.requests[-1]).count("<Found><Text>2</Text></Found>") == 2


async def test_what_is_killed_meanwhile_leaves_nothing(autojump_clock: Any) -> None:
    backend = ScriptedBackend([sends("oaks 50", "elms 1"), DONE])
    judge = agent("judge", "search", wait="all")
    async with open_organism(organism_of(judge, SLOW, script=backend)) as organism:
        receipt = await organism.send(TREES, "judge")
        await trio.sleep(2)
        assert organism.report.in_flight == 2
        await organism.kill(receipt.conversation)
        assert organism.report.in_flight == 0
        assert organism._core.memory.census.live == 0
    assert trio.current_time() < 3


async def test_a_shutdown_waits_for_them(autojump_clock: Any) -> None:
    backend = ScriptedBackend([sends("oaks 3", "elms 1"), DONE])
    judge = agent("judge", "search", wait="all")
    async with open_organism(organism_of(judge, SLOW, script=backend)) as organism:
        receipt = await organism.send(TREES, "judge")
        await trio.sleep(2)
        report = await organism.shutdown(grace=10)
        assert report.abandoned == 0
        assert (await organism.wait(receipt)).payloads == (Verdict("tall"),)


async def test_out_of_budget_while_they_wait_is_one_ending(autojump_clock: Any) -> None:
    backend = ScriptedBackend([sends("oaks 3", "elms 1"), DONE])
    judge = agent("judge", "search", wait="all")
    async with open_organism(
        organism_of(judge, SLOW, script=backend, budgets=Budgets(seconds=2))
    ) as organism:
        with pytest.raises(ConversationFailed, match="2 s"):
            await organism.ask(TREES, "judge")
        assert organism.report.in_flight == 0


async def test_turns_of_one_conversation_hear_their_own_answers(autojump_clock: Any) -> None:
    script = [sends("oaks 3", "elms 1"), DONE, sends("firs 1", "figs 2"), DONE]
    backend = ScriptedBackend(script)
    judge = agent("judge", "search", wait="all")
    async with (
        open_organism(organism_of(judge, SLOW, script=backend)) as organism,
        organism.open_conversation() as conversation,
    ):
        assert await conversation.ask(TREES, "judge") == Verdict("tall")
        assert await conversation.ask(TREES, "judge") == Verdict("tall")
    assert backend.calls == 4
    assert [len(payloads_in(said(each), "Found")) for each in backend.requests] == [0, 2, 2, 4]


async def test_each_answer_is_a_call_without_it(autojump_clock: Any) -> None:
    backend = ScriptedBackend([sends("oaks 3", "elms 1"), "<wait/>", DONE])
    answer, _ = await ask(backend, agent("judge", "search"), SLOW)
    assert answer == Verdict("tall")
    assert backend.calls == 3


async def test_a_slow_model_meanwhile_changes_nothing(autojump_clock: Any) -> None:
    backend = ScriptedBackend([Scripted(sends("oaks 1", "elms 1"), delay=5), Scripted(DONE, delay=5)])
    assert (await ask(backend, agent("judge", "search", wait="all"), SLOW))[0] == Verdict("tall")
    assert trio.current_time() == pytest.approx(11, abs=0.1)
