"""What has come of an answer is booked, however it ended; and it is tried again only if there is room for it.

The figures: HELLO is about 25 tokens (9 of its 34 bytes, 16 for its borders), 50 at most.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from phloem.config import Budgets, OnShort
from phloem.errors import BackendError, TruncatedError
from phloem.llm.calls import call
from phloem.llm.requests import LLMDelta, LLMRequest, TokenUsage
from phloem.llm.router import UNPAID
from phloem.llm.scripted import Scripted, ScriptedBackend
from phloem.messages import ConversationState
from support.asking import HELLO, Ask, ask, here, open_asker, reserved

PROMPT = 25
PRICES = {"m": {"input": 1_000_000, "output": 2_000_000}}  # 1 and 2 for a token
PICOS = 10**12
TEXT = "hello " * 20  # 120 characters: 30 tokens


def spent(organism: Any) -> tuple[int, int]:
    """Tokens and picos."""
    spending = organism._pump.core.ledger.spending
    return spending.tokens, spending.cost


def routed(organism: Any) -> int:
    """What the router's own books say."""
    return sum(backend.tokens for backend in organism.llm.backends)


async def outcome_of(organism: Any) -> Any:
    receipt = await organism.send(Ask("x"))
    return await organism.wait(receipt)


def cuts(*lengths: int) -> ScriptedBackend:
    """Answers that break off after so many characters, and then a whole one of 20 tokens, again and again."""
    answers: list[Any] = [Scripted(TEXT, cut=length) for length in lengths]
    return ScriptedBackend([*answers, *[Scripted("hello", usage=TokenUsage(10, 10))] * 50])


# -- tried again -----------------------------------------------------------------------------------


async def test_a_cut_answer_is_booked_by_what_came_and_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backend = cuts(100, 40)
    budgets = Budgets(tokens=185, cost=50 + 2 * 50 + 2 * PROMPT + 2 * 35)
    llm = {"retries": 3, "prices": PRICES}
    async with open_asker(lambda: ask(50), backend, budgets=budgets, llm=llm) as organism:
        await organism.ask(Ask("x"))
        assert spent(organism) == (50 + 35 + 20, (75 + 45 + 30) * PICOS)
        assert routed(organism) == 105
        (row,) = organism.llm.usage()
    assert (row.agent, row.requests, row.total_tokens, row.cost) == ("asker", 3, 105, 150.0)
    assert (row.prompt_tokens, row.completion_tokens) == (25 + 25 + 10, 25 + 10 + 10)


@pytest.mark.parametrize(
    ("budgets", "calls"),
    [
        (Budgets(tokens=149), 1),  # 50 are gone, and another attempt may take 100
        (Budgets(tokens=150), 2),
        (Budgets(tokens=199), 2),
        (Budgets(tokens=200), 3),
        (Budgets(cost=224), 1),  # 75 and 150
        (Budgets(cost=225), 2),
        (Budgets(cost=299), 2),
        (Budgets(cost=300), 3),
    ],
)
@pytest.mark.parametrize("whose", ["budgets", "own"])
async def test_it_is_not_tried_again_if_that_may_cost_more_than_is_left(
    budgets: Budgets, calls: int, whose: str, autojump_clock: trio.testing.MockClock
) -> None:
    backend, notes = cuts(100, 100, 100, 100, 100), list[str]()

    async def work() -> str:
        with pytest.raises(TruncatedError) as raised:
            await ask(50)
        notes.extend(raised.value.__notes__)
        assert reserved(organism) == (0, 0)
        return raised.value.partial

    given: Any = {whose: budgets}
    async with open_asker(work, backend, llm={"retries": 3, "prices": PRICES}, **given) as organism:
        assert (await organism.ask(Ask("x"))).text == TEXT[:100]
        assert spent(organism) == (calls * 50, calls * 75 * PICOS)
        assert routed(organism) == calls * 50
    assert backend.calls == calls
    assert notes[0] == UNPAID


async def test_attempts_of_which_nothing_came_are_made_within_the_same_reservation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backend = ScriptedBackend([Scripted(status=500), Scripted(TEXT, cut=0), Scripted(status=503), "hello"])
    async with open_asker(
        lambda: ask(50), backend, budgets=Budgets(tokens=100), llm={"retries": 3}
    ) as organism:
        await organism.ask(Ask("x"))
    assert backend.calls == 4


async def test_another_backend_is_tried_only_if_there_is_room_and_each_has_its_price(
    autojump_clock: trio.testing.MockClock,
) -> None:
    prices = {
        "a/m": {"input": 1_000_000, "output": 1_000_000},
        "b/m": {"input": 3_000_000, "output": 3_000_000},
        "m": {"input": 9, "output": 9},  # nobody's
    }

    async def told(cost: int) -> tuple[int, int, list[tuple[str, int]]]:
        first = {"name": "a", "provider": ScriptedBackend([Scripted(TEXT, cut=100)] * 9), "priority": 0}
        second = {"name": "b", "provider": ScriptedBackend([Scripted("x", usage=TokenUsage(10, 10))] * 9)}
        llm = {"retries": 3, "prices": prices}
        async with open_asker(
            lambda: ask(50), first, second, budgets=Budgets(cost=cost), llm=llm
        ) as organism:
            outcome = await outcome_of(organism)
            assert outcome.state is (ConversationState.COMPLETED if cost >= 350 else ConversationState.FAILED)
            rows = [(row.backend, row.total_tokens) for row in organism.llm.usage("backend")]
            return *spent(organism), rows

    # The dearer of the two is what a call may cost: 300.
    assert await told(350) == (70, (50 + 60) * PICOS, [("a", 50), ("b", 20)])
    assert await told(349) == (50, 50 * PICOS, [("a", 50)])


async def test_a_shrunk_call_is_topped_up_to_what_it_was_shrunk_to(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backend = cuts(4, 4)

    async def work() -> None:
        with pytest.raises(TruncatedError):
            await ask(500)

    budgets = Budgets(tokens=100, on_short=OnShort.SHRINK)
    async with open_asker(work, backend, budgets=budgets, llm={"retries": 3}) as organism:
        await organism.ask(Ask("x"))
        assert spent(organism)[0] == routed(organism) == PROMPT + 1
    assert [each.max_tokens for each in backend.requests] == [50]


async def test_a_retry_takes_nothing_that_others_hold(autojump_clock: trio.testing.MockClock) -> None:
    """Two calls side by side, 100 tokens each: what the cut one lacks the other holds."""

    async def told(tokens: int) -> int:
        short = TokenUsage(1, 1)
        first, second = Scripted(TEXT, cut=100, delay=1), Scripted("x", delay=5, usage=short)
        backend = ScriptedBackend([first, second, Scripted("y", usage=short)])

        async def one() -> None:
            try:
                await ask(50)
            except TruncatedError:
                failed.append(trio.current_time())

        async def work() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one)
                await trio.sleep(0.5)
                nursery.start_soon(one)

        failed = list[float]()
        async with open_asker(work, backend, budgets=Budgets(tokens=tokens), llm={"retries": 3}) as organism:
            await organism.ask(Ask("x"))
        return len(failed)

    assert (await told(249), await told(250)) == (1, 0)


# -- left and cut ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("pieces", "each"), [(1, 25 + 3), (9, 25 + 27)])
async def test_streams_that_are_left_spend_the_budget(
    pieces: int, each: int, autojump_clock: trio.testing.MockClock
) -> None:
    backend = ScriptedBackend(lambda request: Scripted(TEXT, chunks=12, usage=TokenUsage(10, 40)))

    async def work() -> None:
        llm, _ = here()
        for _ in range(50):
            async with llm.stream(LLMRequest(HELLO, max_tokens=50)) as deltas:
                for _ in range(pieces):
                    await deltas.__anext__()

    async with open_asker(work, backend, budgets=Budgets(tokens=200), llm={"prices": PRICES}) as organism:
        assert (await outcome_of(organism)).state is ConversationState.OUT_OF_BUDGET
        calls = 100 // each + 1  # while 100 are left
        assert spent(organism) == (calls * each, calls * (2 * each - 25) * PICOS)
        assert routed(organism) == organism.llm.usage()[0].total_tokens == calls * each
        assert organism.llm.usage()[0].requests == backend.calls == calls


async def test_a_long_text_counts_at_most_what_was_reserved(autojump_clock: trio.testing.MockClock) -> None:
    backend = ScriptedBackend([Scripted("x" * 4_000, chunks=2_000)])

    async def work() -> None:
        llm, _ = here()
        async with llm.stream(LLMRequest(HELLO, max_tokens=50)) as deltas:
            await deltas.__anext__()

    async with open_asker(work, backend, budgets=Budgets(tokens=100)) as organism:
        await organism.ask(Ask("x"))
        assert spent(organism)[0] == PROMPT + 50


async def test_a_stream_that_is_cut_by_cancellation_is_booked_by_what_came(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backend = ScriptedBackend([Scripted("x" * 80, chunks=8, pause=1.0)])

    async def hear(delta: LLMDelta) -> None:
        await trio.lowlevel.checkpoint()

    async with open_asker(lambda: call(*here(), LLMRequest(HELLO), on_delta=hear), backend) as organism:
        receipt = await organism.send(Ask("x"))
        await trio.sleep(4.5)
        await organism.kill(receipt.conversation)
        assert (spent(organism)[0], reserved(organism)) == (routed(organism), (0, 0))
        assert spent(organism)[0] in (PROMPT + 8, PROMPT + 10)  # four or five pieces


async def test_a_whole_answer_is_booked_even_if_its_reader_is_cut_as_it_closes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backend = ScriptedBackend([Scripted("hello", usage=TokenUsage(10, 10))])

    async def work() -> None:
        llm, _ = here()
        with trio.CancelScope() as scope:
            async with llm.stream(LLMRequest(HELLO, max_tokens=50)) as deltas:
                async for _ in deltas:
                    pass
                scope.cancel()
                await trio.lowlevel.checkpoint()

    async with open_asker(work, backend) as organism:
        await organism.ask(Ask("x"))
        assert spent(organism)[0] == routed(organism) == 20


async def test_programs_count_what_they_left_and_have_no_budget(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backend = cuts(100, 100, 100)
    async with open_asker(ask, backend, budgets=Budgets(tokens=1), llm={"retries": 3}) as organism:
        await organism.llm.complete(LLMRequest(HELLO, max_tokens=50))
        assert spent(organism) == (0, 0)
        (row,) = organism.llm.usage()
    assert (row.agent, row.requests, row.total_tokens) == ("", 4, 170)


# -- whatever happens ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_nothing_that_the_router_counts_is_beyond_the_budget(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Cuts, refusals, stalls, retries, failover, streams that are left and calls that are cancelled."""
    chance = random.Random(seed)

    def answer(request: LLMRequest) -> Scripted:
        most = request.max_tokens or 0
        text = "x" * chance.randrange(1, 4 * most + 1)
        kind, delay = chance.randrange(6), chance.random()
        if kind == 0:
            return Scripted(status=chance.choice((400, 429, 500)), delay=delay)
        if kind < 3:
            return Scripted(text, cut=chance.randrange(len(text)), chunks=7, pause=0.1, delay=delay)
        if kind == 3:
            return Scripted(text, stall=chance.randrange(len(text)), chunks=5, delay=delay)
        return Scripted(text, usage=TokenUsage(20, chance.randrange(most + 1)), chunks=9, pause=0.1)

    async def one() -> None:
        llm, _ = here()
        request = LLMRequest(HELLO, max_tokens=chance.randrange(1, 80))
        with trio.move_on_after(chance.choice((2, 30))):
            try:
                if chance.random() < 0.5:
                    await llm.complete(request)
                    return
                async with llm.stream(request) as deltas:
                    for _ in range(chance.randrange(12)):
                        await deltas.__anext__()
            except (BackendError, StopAsyncIteration):
                pass

    async def many() -> None:
        for _ in range(10):
            await one()

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(many)

    def backend() -> dict[str, Any]:
        return {"provider": ScriptedBackend(answer), "timeout": 3, "max_concurrent": 2}

    tokens, cost = chance.choice((400, 1_500, 10**6)), chance.choice((900, 10**6))
    llm = {"retries": 3, "prices": PRICES}
    async with open_asker(
        work, backend(), backend(), budgets=Budgets(tokens=tokens, cost=cost), llm=llm
    ) as organism:
        await outcome_of(organism)
        booked, picos = spent(organism)
        assert 0 < routed(organism) == booked <= tokens
        assert picos <= cost * PICOS
        (row,) = organism.llm.usage("agent")
        assert (row.total_tokens, row.cost) == (booked, picos / PICOS)
        assert reserved(organism) == (0, 0)
        assert organism.llm.lines._lines == {}
