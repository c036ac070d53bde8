"""Budgets of tokens and cost: what calls of models may spend, and what an overrun says.

No model is called here: handlers reserve, settle and release as whoever calls one does.
"""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, ListenerConfig
from phloem.errors import InternalError
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.organism import Organism
from phloem.pump.accounts import PICOS, Reservation
from phloem.pump.dispatch import running_delivery
from phloem.pump.ledger import Short
from support.auditing import open_audited
from support.flows import outcome_of, passes_on
from support.listeners import Ask, Reply, listener
from support.told import told


def reserve(tokens: int, cost: int = 0) -> Reservation | Short:
    """Of the dispatch that the calling handler runs in."""
    delivery = running_delivery()
    assert delivery is not None
    core: Any = delivery.conversation.core
    found: Reservation | Short = core.ledger.reserve(delivery, tokens, cost)
    return found


def overrun(short: Short) -> None:
    """What whoever calls a model does if he does not wait for what is reserved."""
    delivery = running_delivery()
    assert delivery is not None
    core: Any = delivery.conversation.core
    core.overrun(delivery.turn, short.overrun)


class Spender:
    """A listener's handler: each message spends, or ends what it is in; then it answers."""

    def __init__(self, tokens: int, cost: int = 0, *, used: int | None = None, seconds: float = 0.0) -> None:
        self.tokens, self.cost, self.seconds = tokens, cost, seconds
        self.used = tokens if used is None else used
        self.shorts: list[Short] = []

    async def __call__(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        reservation = reserve(self.tokens, self.cost)
        if isinstance(reservation, Short):
            self.shorts.append(reservation)
            overrun(reservation)
            await trio.sleep_forever()
        else:
            try:
                await trio.sleep(self.seconds)
                reservation.settle(self.used, self.cost)
            finally:
                reservation.release()
        return HandlerResponse.respond(Reply(payload.text))


def spender(name: str, handler: Any, **more: Any) -> ListenerConfig:
    return listener(name, Ask, handler, **more)


def spending(organism: Organism) -> dict[str, float]:
    found: dict[str, float] = organism.statistics()["spending"]
    return found


def asks(*names: str) -> Any:
    """Asks these, one after the other, then answers."""

    left = list(names)

    async def handle(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Ask("x"), to=left.pop(0)) if left else HandlerResponse.respond(Reply("done"))

    return handle


# -- levels -----------------------------------------------------------------------------------
async def test_all_of_a_conversation_spend_from_one_budget_and_the_cause_says_who_did() -> None:
    listeners = (
        listener("front", [Ask, Reply], asks("a", "b", "a", "c", "d", "b")),
        spender("a", Spender(30)),
        spender("b", Spender(30)),
        spender("c", Spender(5)),
        spender("d", Spender(1)),
    )
    async with open_audited(*listeners, budgets=Budgets(tokens=100)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "front")
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert outcome.cause is not None
        assert (outcome.cause.reason, outcome.cause.listener) == ("budget", "b")
        assert outcome.cause.text == (
            "out of budget (tokens): 96 spent and 0 reserved of 100 when b asked for 30 more; "
            "most by a (60), b (30), c (5)"
        )
        assert spending(organism) == {"tokens": 96, "cost": 0.0, "reserved_tokens": 0, "reserved_cost": 0.0}
        again = await outcome_of(organism, Ask("x"), "a")
        assert again.state is ConversationState.COMPLETED, "another conversation has its own"


async def test_cost_is_held_to_the_last_pico_and_told_in_money() -> None:
    listeners = listener("front", [Ask, Reply], asks(*"aaaa")), spender("a", Spender(1, PICOS // 10))
    async with open_audited(*listeners) as organism:
        outcome = await outcome_of(organism, Ask("x"), "front", budgets=Budgets(cost=0.3))
        assert outcome.cause is not None
        assert outcome.cause.text.startswith(
            "out of budget (cost): 0.3 spent and 0 reserved of 0.3 when a asked for 0.1 more; most by a (0.3)"
        )
        assert spending(organism)["cost"] == 0.3


async def test_a_listeners_own_tokens_are_for_one_conversation() -> None:
    listeners = (
        listener("front", [Ask, Reply], passes_on("a")),
        spender("a", Spender(40), budgets=Budgets(tokens=50)),
    )
    async with open_audited(*listeners) as organism, organism.open_conversation() as conversation:
        assert await conversation.ask(Ask("x"), to="front") == Reply("x")
        receipt = await conversation.send(Ask("x"), to="front")
        outcome = await organism.wait(receipt)
        assert outcome.cause is not None
        assert "40 spent and 0 reserved of 50 for 'a' when a asked for 40 more" in outcome.cause.text
        assert organism.statistics()["conversations"]["out_of_budget"] == 0
        assert await organism.ask(Ask("x"), to="a") == Reply("x")
    assert organism.statistics()["conversations"]["out_of_budget"] == 1, "the whole conversation has ended"


async def test_a_calls_own_tokens_end_its_turn_only() -> None:
    async with (
        open_audited(spender("a", Spender(40)), budgets=Budgets(tokens=1000)) as organism,
        organism.open_conversation() as conversation,
    ):
        receipt = await conversation.send(Ask("x"), to="a", budgets=Budgets(tokens=30))
        outcome = await organism.wait(receipt)
        assert outcome.state is ConversationState.OUT_OF_BUDGET
        assert outcome.cause is not None
        assert "0 spent and 0 reserved of 30 of this call when a asked for 40 more" in outcome.cause.text
        assert await conversation.ask(Ask("x"), to="a", budgets=Budgets(tokens=40, cost=1.0)) == Reply("x")


async def test_a_call_never_has_more_than_is_left_of_its_conversation() -> None:
    async with (
        open_audited(spender("a", Spender(40))) as organism,
        organism.open_conversation(budgets=Budgets(tokens=100)) as conversation,
    ):
        for _ in range(2):
            await conversation.ask(Ask("x"), to="a", budgets=Budgets(tokens=1_000_000))
        receipt = await conversation.send(Ask("x"), to="a", budgets=Budgets(tokens=1_000_000))
        outcome = await organism.wait(receipt)
        assert outcome.cause is not None
        assert "80 spent and 0 reserved of 100 when" in outcome.cause.text


async def test_a_call_outside_of_a_block_has_its_budgets_in_place_of_the_organisms() -> None:
    async with open_audited(spender("a", Spender(40)), budgets=Budgets(tokens=10)) as organism:
        assert await organism.ask(Ask("x"), to="a", budgets=Budgets(tokens=40)) == Reply("x")
        outcome = await outcome_of(organism, Ask("x"), "a", budgets=Budgets(cost=1.0))
        assert outcome.state is ConversationState.OUT_OF_BUDGET, "what it leaves out is the organism's"


# -- what is short ----------------------------------------------------------------------------
async def test_a_short_says_what_would_fit_now_and_whether_it_would_fit_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen: list[Any] = []

    async def looks(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(1)  # the other one holds its 70
        for tokens, cost in (
            (30, 0),
            (31, 0),
            (100, 0),
            (101, 0),
            (1, PICOS),
            (0, 2 * PICOS),
            (101, 2 * PICOS),
        ):
            found = reserve(tokens, cost)
            if isinstance(found, Short):
                seen.append((found.what, found.left_tokens, found.left_cost, found.later))
            else:
                seen.append("fits")
                found.release()
        return HandlerResponse.respond(Reply("x"))

    async def fan(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(Ask("x"), to="holds"), HandlerResponse(Ask("x"), to="looks")]

    listeners = (
        spender("fan", fan),
        spender("holds", Spender(70, PICOS // 4, seconds=5)),
        spender("looks", looks),
    )
    async with open_audited(*listeners) as organism:
        await outcome_of(organism, Ask("x"), "fan", budgets=Budgets(tokens=100, cost=1.0))
    left = (30, 3 * PICOS // 4)
    assert seen == [
        "fits",
        ("tokens", *left, True),
        ("tokens", *left, True),
        ("tokens", *left, False),
        ("cost", *left, True),
        ("cost", *left, False),
        ("tokens", *left, False),
    ]


async def test_what_is_left_is_the_least_of_all_levels_and_the_cause_names_the_one_that_never_fits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    shorts: list[Short] = []

    async def looks(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        held = reserve(20)
        assert isinstance(held, Reservation)
        for tokens in (70, 90):
            short = reserve(tokens)
            assert isinstance(short, Short)
            shorts.append(short)
        held.release()
        return HandlerResponse.respond(Reply("x"))

    looker = spender("looks", looks, budgets=Budgets(tokens=80))
    async with (
        open_audited(looker) as organism,
        organism.open_conversation(budgets=Budgets(tokens=85)) as conversation,
    ):
        await conversation.ask(Ask("x"), to="looks", budgets=Budgets(tokens=95))
    assert [(short.left_tokens, short.left_cost, short.later) for short in shorts] == [
        (60, math.inf, True),
        (60, math.inf, False),
    ]
    assert [short.overrun.whole for short in shorts] == [True, True]
    assert "20 reserved of 85 when" in shorts[0].overrun.cause.text, "the conversation's is asked first"
    assert "most by looks (20)" in shorts[0].overrun.cause.text
    assert "of 85 when" in shorts[1].overrun.cause.text


async def test_what_is_refused_at_one_level_is_reserved_at_none() -> None:
    async def looks(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        assert isinstance(reserve(50), Short)
        core: Any = organism._core
        assert core.ledger.spending.reserved_tokens == 0
        fits = reserve(30)
        assert isinstance(fits, Reservation)
        fits.release()
        return HandlerResponse.respond(Reply("x"))

    async with open_audited(
        spender("looks", looks, budgets=Budgets(tokens=30)), budgets=Budgets(tokens=100)
    ) as organism:
        assert await organism.ask(Ask("x"), to="looks") == Reply("x")


async def test_amounts_that_are_none_are_a_bug_of_ours() -> None:
    async def looks(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        for tokens in (-1, 1.5, True):
            with pytest.raises(InternalError):
                reserve(tokens)  # type: ignore[arg-type] # what is tested
        return HandlerResponse.respond(Reply("x"))

    async with open_audited(spender("looks", looks)) as organism:
        assert await organism.ask(Ask("x"), to="looks") == Reply("x")


# -- after the end ----------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["settle", "release", "both"])
async def test_what_ends_after_its_conversation_is_booked_and_given_back(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    held: list[Reservation] = []

    async def leaves(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        reservation = reserve(40, 4)
        assert isinstance(reservation, Reservation)
        held.append(reservation)
        return HandlerResponse.respond(Reply("x"))

    async with open_audited(spender("leaves", leaves), budgets=Budgets(tokens=40)) as organism:
        assert await organism.ask(Ask("x"), to="leaves") == Reply("x")
        assert spending(organism)["reserved_tokens"] == 40
        (reservation,) = held
        if how != "release":
            reservation.settle(50, 4)
        if how != "settle":
            reservation.release()
        used = 0 if how == "release" else 50
        assert (spending(organism)["tokens"], spending(organism)["reserved_tokens"]) == (used, 0)
        levels = [event.data["level"] for event in told(organism, "budget_warning")]
        assert levels == ([] if how == "release" else ["reservation"]), "no warning for what is over"


async def test_settled_reservations_keep_no_conversation_alive() -> None:
    held: list[Reservation] = []

    async def spends(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        reservation = reserve(1)
        assert isinstance(reservation, Reservation)
        reservation.settle(1, 0)
        held.append(reservation)
        payloads.append(weakref.ref(payload))
        return HandlerResponse.respond(Reply("x"))

    payloads: list[weakref.ref[Ask]] = []
    async with open_audited(spender("spends", spends)) as organism:
        for _ in range(20):
            await organism.ask(Ask("x"), to="spends")
        gc.collect()
        alive = [each for each in payloads if each() is not None]
    assert len(held) == 20
    assert len(alive) <= 2


@pytest.mark.parametrize("how", ["kill", "raise", "deadline", "overrun"])
async def test_however_it_ends_nothing_stays_reserved(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def breaks(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        reservation = reserve(40, 4)
        assert isinstance(reservation, Reservation)
        try:
            if how == "raise":
                raise ValueError("x")
            if how == "overrun":
                short = reserve(41)
                assert isinstance(short, Short)
                overrun(short)
            await trio.sleep_forever()
        finally:
            reservation.release()
        raise AssertionError

    breaker = spender("breaks", breaks, handler_timeout=5.0 if how == "deadline" else 50.0)
    async with open_audited(breaker, budgets=Budgets(tokens=80)) as organism:
        receipt = await organism.send(Ask("x"), to="breaks")
        await trio.sleep(1)
        if how == "kill":
            await organism.kill(receipt.conversation)
        await organism.wait(receipt)
        assert spending(organism)["reserved_tokens"] == 0


# -- warnings ---------------------------------------------------------------------------------
async def test_four_fifths_are_told_once_for_each_level_that_has_a_limit() -> None:
    async def asks_often(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Ask("x"), to="a")

    listeners = (
        listener("front", [Ask, Reply], asks_often),
        spender("a", Spender(10, PICOS), budgets=Budgets(tokens=60)),
    )
    async with (
        open_audited(*listeners) as organism,
        organism.open_conversation(budgets=Budgets(tokens=100, cost=9.0)) as conversation,
    ):
        receipt = await conversation.send(Ask("x"), to="front", budgets=Budgets(tokens=50))
        await organism.wait(receipt)
        await organism.wait(await conversation.send(Ask("x"), to="front"))
    warnings = [tuple(event.data.values()) for event in told(organism, "budget_warning")]
    assert warnings == [("tokens", 40, 50, "call", None), ("tokens", 50, 60, "listener", "a")]


async def test_what_a_call_used_beyond_its_reservation_is_told_and_nothing_is_left_then() -> None:
    listeners = listener("front", [Ask, Reply], asks("a", "a")), spender("a", Spender(10, used=120))
    async with open_audited(*listeners, budgets=Budgets(tokens=100)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "front")
        assert outcome.cause is not None
        assert "120 spent and 0 reserved of 100 when a asked for 10 more" in outcome.cause.text
        warnings = [tuple(event.data.values()) for event in told(organism, "budget_warning")]
        assert warnings == [
            ("tokens", 120, 10, "reservation", "a"),
            ("tokens", 120, 100, "conversation", None),
        ]
