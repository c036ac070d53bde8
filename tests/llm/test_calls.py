"""A call of a model stays within its budgets: reserved before it is asked, booked after, given back else."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from phloem.config import Budgets
from phloem.errors import BackendError, ConfigurationError, NoDispatch, TruncatedError
from phloem.llm.calls import call
from phloem.llm.requests import LLMDelta, LLMRequest, LLMResponse, TokenUsage
from phloem.llm.scripted import Scripted, ScriptedBackend
from phloem.messages import ConversationState
from support.asking import HELLO, HELLO_TOKENS, Ask, Held, ask, here, open_asker, reserved

PRICES = {"m": {"input": 1_000_000, "output": 2_000_000}}  # 1 and 2 for a token


def spent(organism: Any) -> int:
    tokens: int = organism._pump.core.ledger.spending.tokens
    return tokens


async def outcome_of(organism: Any) -> Any:
    receipt = await organism.send(Ask("x"))
    return await organism.wait(receipt)


# -- what is asked ---------------------------------------------------------------------------------


async def test_a_call_says_what_it_says_then_what_its_listener_says_then_the_section(
    autojump_clock: trio.testing.MockClock,
) -> None:
    held = Held()

    async def work() -> None:
        await ask()
        await ask(7, model="n", temperature=0.0)

    async with open_asker(work, held, llm={"defaults": {"max_tokens": 99, "temperature": 0.5}}) as organism:
        await organism.ask(Ask("x"))
    async with open_asker(work, held, model="own", temperature=1.5, max_tokens=11) as organism:
        await organism.ask(Ask("x"))
    seen = [(each.model, each.temperature, each.max_tokens) for each in held.requests]
    assert seen == [("m", 0.5, 99), ("n", 0.0, 7), ("own", 1.5, 11), ("n", 0.0, 7)]
    assert {each.agent for each in held.requests} == {"asker"}
    assert all(each.conversation for each in held.requests)


async def test_a_call_without_a_model_or_a_backend_says_what_to_configure() -> None:
    told: list[str] = []

    async def work() -> None:
        with pytest.raises(ConfigurationError) as raised:
            await ask()
        told.append(str(raised.value))

    async with open_asker(work, Held(), llm={"default_model": None}) as organism:
        await organism.ask(Ask("x"))
    async with open_asker(work) as organism:
        await organism.ask(Ask("x"))
    assert told[0] == (
        "llm.default_model: found a call of asker without a model, expected a default_model in the llm "
        "section, or a model where it is called"
    )
    assert told[1].startswith("llm.backends: found no backend, expected one at least")


# -- budgets ---------------------------------------------------------------------------------------


async def test_what_is_used_is_booked_and_the_rest_given_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    held, seen = Held(usage=TokenUsage(30, 20)), list[Any]()

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 100)
            await trio.sleep(0.5)
            seen.append(reserved(organism))

    async with open_asker(work, held, llm={"prices": PRICES}) as organism:
        await organism.ask(Ask("x"))
        (row,) = organism.llm.usage()
        assert spent(organism) == 50
    assert seen == [(HELLO_TOKENS + 100, (HELLO_TOKENS + 200) * 10**12)]
    assert (row.agent, row.model, row.backend, row.requests) == ("asker", "m", "held", 1)
    assert (row.prompt_tokens, row.completion_tokens, row.total_tokens, row.cost) == (30, 20, 50, 70.0)


async def test_a_call_that_does_not_fit_ends_its_conversation_and_is_not_asked() -> None:
    held, after = Held(), list[str]()

    async def work() -> None:
        await ask(51)
        after.append("went on")

    async with open_asker(work, held, budgets=Budgets(tokens=100)) as organism:
        outcome = await outcome_of(organism)
    assert outcome.state is ConversationState.OUT_OF_BUDGET
    assert "tokens" in outcome.cause.text
    assert (held.requests, after) == ([], [])


async def test_a_call_that_fits_to_the_token_is_asked(autojump_clock: trio.testing.MockClock) -> None:
    held = Held()
    async with open_asker(lambda: ask(50), held, budgets=Budgets(tokens=100)) as organism:
        await organism.ask(Ask("x"))
    assert len(held.requests) == 1


async def test_an_agents_own_budget_holds_as_well(autojump_clock: trio.testing.MockClock) -> None:
    held = Held()

    async def work() -> None:
        for _ in range(3):
            await ask(50)

    async with open_asker(work, held, own=Budgets(tokens=139), budgets=Budgets(tokens=10_000)) as organism:
        outcome = await outcome_of(organism)
    assert outcome.state is ConversationState.OUT_OF_BUDGET
    assert "'asker'" in outcome.cause.text
    assert len(held.requests) == 2  # of 20 tokens each: the third would hold 100 of 99 that are left


async def test_calls_that_do_not_fit_yet_wait_their_turn(autojump_clock: trio.testing.MockClock) -> None:
    held = Held(usage=TokenUsage(1, 1))

    async def one(number: int) -> None:
        await trio.sleep(number / 1000)
        await ask(50 + number)

    async def work() -> float:
        async with trio.open_nursery() as nursery:
            for number in range(32):
                nursery.start_soon(one, number)
        return trio.current_time()

    async with open_asker(work, held, budgets=Budgets(tokens=200)) as organism:
        await organism.ask(Ask("x"))
        assert spent(organism) == 64
        assert organism.llm.lines.waiting == 0
    assert [each.max_tokens for each in held.requests] == [50 + number for number in range(32)]
    assert held.most == 1  # two of them are 201 tokens and more


async def test_nothing_overshoots_whatever_is_used_and_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    chance = random.Random(11)
    held = Held(usage=TokenUsage(20, 13))
    peak = 0

    async def one() -> None:
        nonlocal peak
        await trio.sleep(chance.random() * 3)
        with trio.move_on_after(chance.random() * 5):
            await ask(chance.randrange(1, 60))

    async def watch(until: trio.Event) -> None:
        nonlocal peak
        while not until.is_set():
            spending = organism._pump.core.ledger.spending
            peak = max(peak, spending.tokens + spending.reserved_tokens)
            await trio.sleep(0.01)

    async def work() -> None:
        done = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, done)
            async with trio.open_nursery() as inner:
                for _ in range(60):
                    inner.start_soon(one)
            done.set()

    async with open_asker(work, held, budgets=Budgets(tokens=1_500)) as organism:
        await outcome_of(organism)
        assert spent(organism) <= 1_500
        assert organism.llm.lines.waiting == 0
        assert organism.llm.lines._lines == {}
    assert 150 < peak <= 1_500


async def test_a_big_call_is_not_overtaken_by_small_ones(autojump_clock: trio.testing.MockClock) -> None:
    held = Held(usage=TokenUsage(1, 1))

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            for number, size in enumerate((50, 140, 1, 2)):
                nursery.start_soon(ask, size)
                await trio.sleep(0.01 * (number + 1))

    async with open_asker(work, held, budgets=Budgets(tokens=200)) as organism:
        await organism.ask(Ask("x"))
    assert [each.max_tokens for each in held.requests] == [50, 140, 1, 2]


async def test_one_that_leaves_the_line_leaves_its_place(autojump_clock: trio.testing.MockClock) -> None:
    held, cut = Held(usage=TokenUsage(1, 1)), trio.CancelScope()

    async def impatient() -> None:
        with cut:
            await ask(120)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 50)
            await trio.sleep(0.1)
            nursery.start_soon(impatient)
            await trio.sleep(0.1)
            nursery.start_soon(ask, 40)
            await trio.sleep(0.1)
            assert (held.running, organism.llm.lines.waiting) == (1, 2)
            cut.cancel()
            await trio.sleep(0.1)
            assert (held.running, organism.llm.lines.waiting) == (2, 0)

    async with open_asker(work, held, budgets=Budgets(tokens=200)) as organism:
        await organism.ask(Ask("x"))
    assert cut.cancelled_caught
    assert [each.max_tokens for each in held.requests] == [50, 40]


async def test_whoever_waits_when_the_budget_is_gone_ends_with_the_conversation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    held = Held(usage=TokenUsage(60, 60))

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, 100)

    async with open_asker(work, held, budgets=Budgets(tokens=200)) as organism:
        assert (await outcome_of(organism)).state is ConversationState.OUT_OF_BUDGET
        assert spent(organism) == 120
        assert organism.llm.lines._lines == {}
    assert len(held.requests) == 1


# -- what goes wrong -------------------------------------------------------------------------------


async def test_a_call_that_fails_before_anything_came_gives_back_and_is_not_counted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backend = ScriptedBackend([Scripted(status=400), Scripted("x", cut=0), "hello"])

    async def work() -> None:
        for _ in range(2):
            with pytest.raises(BackendError):
                await ask(50)
        await ask(50)

    async with open_asker(work, backend, budgets=Budgets(tokens=100)) as organism:
        await organism.ask(Ask("x"))
        assert organism.llm.statistics()["requests"] == 1
    assert backend.calls == 3


async def test_an_answer_without_usage_counts_as_all_that_was_reserved(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Silent:
        async def complete(self, request: LLMRequest, /) -> LLMResponse:
            await trio.lowlevel.checkpoint()
            return LLMResponse("hello", request.model)

    async with open_asker(lambda: ask(50), Silent(), llm={"prices": PRICES}) as organism:
        await organism.ask(Ask("x"))
        assert organism.llm.usage("agent")[0].total_tokens == spent(organism) == 100
        assert organism.llm.usage("agent")[0].cost == 150.0


async def test_a_call_that_is_cut_while_it_runs_gives_back(autojump_clock: trio.testing.MockClock) -> None:
    held = Held(10_000.0)

    async with open_asker(lambda: ask(50), held) as organism:
        receipt = await organism.send(Ask("x"))
        await trio.sleep(1)
        assert reserved(organism) == (100, 0)
        await organism.kill(receipt.conversation)
        assert (reserved(organism), held.running) == ((0, 0), 0)
        assert organism.llm.statistics()["requests"] == 0


async def test_a_handler_that_shields_itself_asks_nothing_once_it_is_cut() -> None:
    held, raised = Held(), list[BaseException]()

    async def work() -> None:
        with trio.CancelScope(shield=True):
            for tokens in (10_000, 1):
                try:
                    await ask(tokens)
                except NoDispatch as error:
                    raised.append(error)

    async with open_asker(work, held, budgets=Budgets(tokens=100)) as organism:
        assert (await outcome_of(organism)).state is ConversationState.OUT_OF_BUDGET
    assert ["cut" in str(error) for error in raised] == [True, True]
    assert held.requests == []


async def test_one_that_shields_itself_in_the_line_asks_nothing_once_it_is_cut(
    autojump_clock: trio.testing.MockClock,
) -> None:
    held, raised = Held(5.0), list[NoDispatch]()

    async def shielded() -> None:
        with trio.CancelScope(shield=True), pytest.raises(NoDispatch) as told:
            await ask(60)
        raised.append(told.value)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 50)
            await trio.sleep(1)
            nursery.start_soon(shielded)

    async with open_asker(work, held, budgets=Budgets(tokens=200)) as organism:
        receipt = await organism.send(Ask("x"))
        await trio.sleep(2)
        await organism.kill(receipt.conversation)
    assert (len(raised), len(held.requests)) == (1, 1)


async def test_a_total_below_its_parts_is_not_believed(autojump_clock: trio.testing.MockClock) -> None:
    held = Held(usage=TokenUsage(30, 20, total_tokens=1))
    async with open_asker(lambda: ask(50), held) as organism:
        await organism.ask(Ask("x"))
        assert spent(organism) == 50


# -- streams ---------------------------------------------------------------------------------------


async def test_a_stream_is_told_as_it_comes_and_booked_at_its_end() -> None:
    backend = ScriptedBackend([Scripted("hello you", chunks=["hel", "lo ", "you"], usage=TokenUsage(5, 6))])
    pieces = list[str]()

    async def hear(delta: LLMDelta) -> None:
        pieces.append(delta.text)
        await trio.lowlevel.checkpoint()

    async def work() -> str:
        response = await call(*here(), LLMRequest(HELLO), on_delta=hear)
        return response.content

    async with open_asker(work, backend) as organism:
        assert (await organism.ask(Ask("x"))).text == "hello you"
        assert spent(organism) == 11
    assert pieces == ["hel", "lo ", "you"]
    assert backend.requests[0].stream


async def test_a_cut_stream_is_no_answer_and_what_came_of_it_is_booked() -> None:
    backend = ScriptedBackend([Scripted("hello you", chunks=3, cut=5)])

    async def hear(delta: LLMDelta) -> None:
        await trio.lowlevel.checkpoint()

    async def work() -> str:
        with pytest.raises(TruncatedError) as raised:
            await call(*here(), LLMRequest(HELLO), on_delta=hear)
        return raised.value.partial

    async with open_asker(work, backend) as organism:
        assert (await organism.ask(Ask("x"))).text == "hello"
        assert spent(organism) == 25 + 2  # about: the prompt, and five characters


async def test_one_who_hears_and_raises_ends_the_stream() -> None:
    backend = ScriptedBackend([Scripted("hello you", chunks=3)])

    async def hear(delta: LLMDelta) -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("enough")

    async def work() -> None:
        with pytest.raises(LookupError):
            await call(*here(), LLMRequest(HELLO), on_delta=hear)
        assert reserved(organism) == (0, 0)

    async with open_asker(work, backend) as organism:
        await organism.ask(Ask("x"))
