"""``organism.llm``: what programs call, counted for no agent; and what they see of it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from phloem.config import Budgets
from phloem.errors import ConversationFailed, NoDispatch
from phloem.llm.requests import LLMRequest, TokenUsage
from phloem.llm.scripted import Scripted, ScriptedBackend
from support.asking import HELLO, Ask, Held, ask, open_asker, reserved

PRICES = {"m": {"input": 1_000_000, "output": 2_000_000}}  # 1 and 2 for a token


def spent(organism: Any) -> int:
    tokens: int = organism._pump.core.ledger.spending.tokens
    return tokens


async def outcome_of(organism: Any) -> Any:
    receipt = await organism.send(Ask("x"))
    return await organism.wait(receipt)


async def test_a_program_calls_for_no_agent(autojump_clock: trio.testing.MockClock) -> None:
    backend = ScriptedBackend(["one", Scripted("two", chunks=1), Scripted("three", chunks=1)])
    async with open_asker(ask, backend, budgets=Budgets(tokens=1)) as organism:
        assert (await organism.llm.complete(LLMRequest(HELLO))).content == "one"
        async with organism.llm.stream(LLMRequest(HELLO)) as deltas:
            assert [delta.text async for delta in deltas] == ["t", "w", "o"]
        async with organism.llm.stream(LLMRequest(HELLO)) as deltas:
            async for _ in deltas:
                break
        (row,) = organism.llm.usage("agent")
        assert (row.agent, row.requests) == ("", 3), "also the one that was left, by what came"
        assert organism.llm.get_all_usage() == {}


async def test_within_a_handler_the_programs_call_is_under_the_handlers_budgets() -> None:
    backend = ScriptedBackend(["one"])

    async def work() -> None:
        await organism.llm.complete(LLMRequest(HELLO, max_tokens=51))

    async with open_asker(work, backend, budgets=Budgets(tokens=100)) as organism:
        with pytest.raises(ConversationFailed, match="tokens"):
            await organism.ask(Ask("x"))
    assert backend.calls == 0


async def test_a_stream_within_a_handler_is_reserved_while_it_is_open() -> None:
    backend = ScriptedBackend([Scripted("two", chunks=1, usage=TokenUsage(2, 3))])

    async def work() -> None:
        async with organism.llm.stream(LLMRequest(HELLO, max_tokens=50)) as deltas:
            async for _ in deltas:
                assert reserved(organism) == (100, 0)
        assert reserved(organism) == (0, 0)

    async with open_asker(work, backend, budgets=Budgets(tokens=100)) as organism:
        await organism.ask(Ask("x"))
        assert (spent(organism), organism.llm.get_agent_usage("asker").total_tokens) == (5, 5)


async def test_nothing_public_that_is_printed_shows_a_prompt() -> None:
    async with open_asker(ask, Held(), prompt="The blue door.") as organism:
        shown = [repr(organism.llm), repr(organism.llm.prompts), repr(organism.llm.statistics())]
        assert not any("blue door" in text for text in shown)
        assert list(organism.llm.prompts) == ["asker"]


async def test_a_programs_cancelled_call_is_over(autojump_clock: trio.testing.MockClock) -> None:
    held = Held(5.0)
    async with open_asker(ask, held) as organism:
        with trio.move_on_after(1):
            await organism.llm.complete(LLMRequest(HELLO))
        with trio.move_on_after(1):
            async with organism.llm.stream(LLMRequest(HELLO)) as deltas:
                async for _ in deltas:
                    pass
        assert (held.running, organism.llm.statistics()["requests"]) == (0, 0)
        assert (await organism.llm.complete(LLMRequest(HELLO))).content == "hello"


async def test_a_handlers_cancelled_stream_is_booked_by_what_came_and_gives_the_rest_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backend = ScriptedBackend([Scripted("hello", chunks=1, pause=1.0), "x"])

    async def work() -> None:
        with trio.move_on_after(2.5):
            async with organism.llm.stream(LLMRequest(HELLO)) as deltas:
                async for _ in deltas:
                    pass
        assert reserved(organism) == (0, 0)

    async with open_asker(work, backend) as organism:
        await organism.ask(Ask("x"))
        assert spent(organism) == organism.llm.usage()[0].total_tokens == 25 + 1  # two characters


async def test_a_program_that_says_it_is_an_agent_is_none() -> None:
    async with open_asker(ask, ScriptedBackend(["x"], repeat=True)) as organism:
        for number in range(20):
            await organism.llm.complete(LLMRequest(HELLO, agent=f"agent {number}"))
        await organism.llm.complete(LLMRequest(HELLO, agent="asker"))
        assert organism.llm.get_all_usage() == {}
        assert [(row.agent, row.requests) for row in organism.llm.usage()] == [("", 21)]


async def test_a_task_that_outlives_its_dispatch_asks_nothing(autojump_clock: trio.testing.MockClock) -> None:
    held, told = Held(), list[str]()

    async def later() -> None:
        await trio.sleep(1)
        request = LLMRequest(HELLO, max_tokens=50)
        with pytest.raises(NoDispatch) as raised:
            await organism.llm.complete(request)
        told.append(str(raised.value))
        with pytest.raises(NoDispatch):
            async with organism.llm.stream(request):
                pass

    async def work() -> None:
        elsewhere.start_soon(later)

    asking = open_asker(work, held, budgets=Budgets(tokens=100))
    async with trio.open_nursery() as elsewhere, asking as organism:
        await organism.ask(Ask("x"))
        await trio.sleep(2)
        assert (spent(organism), organism.llm.usage()) == (0, [])
    assert "at its end, expected one that goes on" in told[0]
    assert held.requests == []


async def test_a_conversation_that_is_told_apart_by_name_is_that_of_the_receipt() -> None:
    async with open_asker(ask, ScriptedBackend(["x"])) as organism:
        receipt = await organism.send(Ask("x"))
        await organism.wait(receipt)
        assert [row.conversation for row in organism.llm.usage("conversation")] == [receipt.conversation]
