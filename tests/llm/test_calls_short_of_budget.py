"""A call that does not fit in full is shrunk to what does; costs are reserved by configured prices."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from phloem.config import Budgets, ListenerConfig
from phloem.errors import ConfigurationError
from phloem.llm.calls import LEAST_TOKENS
from phloem.llm.requests import LLMRequest, TokenUsage
from phloem.messages import ConversationState, HandlerMetadata
from support.asking import HELLO, HELLO_TOKENS, Ask, Held, ask, here, open_asker, reserved

PRICES = {"m": {"input": 1_000_000, "output": 2_000_000}}  # 1 and 2 for a token


def spent(organism: Any) -> int:
    tokens: int = organism._pump.core.ledger.spending.tokens
    return tokens


async def outcome_of(organism: Any) -> Any:
    receipt = await organism.send(Ask("x"))
    return await organism.wait(receipt)


@pytest.mark.parametrize("room", [LEAST_TOKENS, LEAST_TOKENS + 1, 37, 99])
async def test_a_call_is_shrunk_to_what_fits(room: int, autojump_clock: trio.testing.MockClock) -> None:
    held = Held()
    budgets = Budgets(tokens=HELLO_TOKENS + room, on_short="shrink")
    async with open_asker(lambda: ask(100), held, budgets=budgets) as organism:
        await organism.ask(Ask("x"))
    assert [each.max_tokens for each in held.requests] == [room]


async def test_a_call_is_not_shrunk_to_an_answer_that_can_hold_nothing() -> None:
    held = Held()
    budgets = Budgets(tokens=HELLO_TOKENS + LEAST_TOKENS - 1, on_short="shrink")
    async with open_asker(lambda: ask(100), held, budgets=budgets) as organism:
        assert (await outcome_of(organism)).state is ConversationState.OUT_OF_BUDGET
    assert held.requests == []


@pytest.mark.parametrize(("tokens", "asked"), [(HELLO_TOKENS + 4, []), (HELLO_TOKENS + 5, [5])])
async def test_an_answer_that_is_short_already_is_not_shrunk(
    tokens: int, asked: list[int], autojump_clock: trio.testing.MockClock
) -> None:
    held = Held()
    async with open_asker(
        lambda: ask(5), held, budgets=Budgets(tokens=tokens, on_short="shrink")
    ) as organism:
        await outcome_of(organism)
    assert [each.max_tokens for each in held.requests] == asked


async def test_a_call_is_shrunk_by_cost(autojump_clock: trio.testing.MockClock) -> None:
    held = Held()
    budgets = Budgets(cost=HELLO_TOKENS + 2 * 41, on_short="shrink")
    async with open_asker(lambda: ask(100), held, budgets=budgets, llm={"prices": PRICES}) as organism:
        await organism.ask(Ask("x"))
    assert [each.max_tokens for each in held.requests] == [41]


async def test_nothing_is_shrunk_while_others_may_give_back(autojump_clock: trio.testing.MockClock) -> None:
    held = Held(usage=TokenUsage(1, 1))

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask, 100)

    budgets = Budgets(tokens=250, on_short="shrink")  # room for 50 beside the first
    async with open_asker(work, held, budgets=budgets) as organism:
        await organism.ask(Ask("x"))
    assert [each.max_tokens for each in held.requests] == [100, 100, 100]


@pytest.mark.parametrize("where", ["organism", "agent", "call"])
async def test_a_budget_of_cost_wants_a_price(where: str) -> None:
    held, cost = Held(), Budgets(cost=1_000.0)

    async def work() -> None:
        with pytest.raises(ConfigurationError, match=r"llm\.prices: found no price for the model 'n'"):
            await ask(5, model="n")

    budgets, own = cost if where == "organism" else None, cost if where == "agent" else None
    async with open_asker(work, held, llm={"prices": PRICES}, budgets=budgets, own=own) as organism:
        await organism.ask(Ask("x"), budgets=cost if where == "call" else None)
    assert held.requests == []


async def test_without_a_budget_of_cost_a_model_needs_no_price(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_asker(lambda: ask(5, model="n"), Held(), llm={"prices": PRICES}) as organism:
        await organism.ask(Ask("x"))
        (row,) = organism.llm.usage()
    assert (row.cost, row.unpriced) == (None, 1)


async def test_the_dearest_backend_that_may_answer_is_reserved_and_the_one_that_did_is_booked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    prices = {**PRICES, "dear/m": {"input": 9_000_000, "output": 9_000_000}}
    backends = [{"provider": Held(), "name": "cheap"}, {"provider": Held(), "name": "dear"}]
    seen = list[Any]()

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 10)
            await trio.sleep(0.5)
            seen.append(reserved(organism)[1])

    async with open_asker(work, *backends, llm={"prices": prices}) as organism:
        await organism.ask(Ask("x"))
        (row,) = organism.llm.usage()
    assert seen == [60 * 9 * 10**12]
    assert (row.backend, row.cost) == ("cheap", 30.0)


@pytest.mark.parametrize("on_short", ["refuse", "shrink"])
async def test_who_holds_a_stream_open_does_not_wait_for_its_end(
    on_short: Any, autojump_clock: trio.testing.MockClock
) -> None:
    held, times = Held(), list[float]()

    async def work() -> None:
        llm, _ = here()
        async with llm.stream(LLMRequest(HELLO, max_tokens=50)):
            times.append(trio.current_time())
            try:
                await ask(50)
            finally:
                times.append(trio.current_time())

    budgets = Budgets(tokens=2 * (HELLO_TOKENS + 50) - 30, on_short=on_short)
    async with open_asker(work, held, budgets=budgets) as organism:
        state = (await outcome_of(organism)).state
    if on_short == "refuse":
        assert (state, times[1] - times[0]) == (ConversationState.OUT_OF_BUDGET, 0.0)
    else:
        assert (state, times[1] - times[0]) == (ConversationState.COMPLETED, held.seconds)
        assert [each.max_tokens for each in held.requests] == [50, 20]


async def test_two_who_hold_streams_open_do_not_wait_for_each_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def work() -> None:
        async with here()[0].stream(LLMRequest(HELLO, max_tokens=50)):
            await trio.sleep(5)
            await ask(50)

    async def handle(payload: Ask, metadata: HandlerMetadata) -> None:
        await work()

    other = ListenerConfig("other", Ask, handle, "Asks as well.", is_agent=True)
    budgets = Budgets(tokens=2 * (HELLO_TOKENS + 50) + 40)
    async with (
        open_asker(work, Held(), budgets=budgets, others=(other,)) as organism,
        organism.open_conversation(sender="somebody") as conversation,
    ):
        receipts = [await conversation.send(Ask("x"), to=each) for each in ("asker", "other")]
        ended = set[ConversationState]()
        for each in receipts:
            with trio.fail_after(30):
                ended.add((await organism.wait(each)).state)
    assert ended == {ConversationState.OUT_OF_BUDGET}


@pytest.mark.parametrize("most", [-1, -1_000, True, 1.5, "9"])
def test_a_request_for_what_is_no_count_of_tokens_is_none(most: Any) -> None:
    with pytest.raises(ValueError, match="max_tokens: found"):
        LLMRequest(HELLO, max_tokens=most)
