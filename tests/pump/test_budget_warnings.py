"""Budgets that are nearly spent are told of once, at each level; an overrun says who spent them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, OrganismConfig
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism, open_organism
from support.auditing import open_audited
from support.flows import down, fan, looping, outcome_of, step
from support.listeners import BACK, Ask, Reply, answer, drop, listener
from support.told import told


def warnings(organism: Organism) -> list[tuple[Any, ...]]:
    return [tuple(event.data.values()) for event in told(organism, "budget_warning")]


# -- counts -----------------------------------------------------------------------------------
async def test_messages_of_a_conversation_and_of_a_listener_are_told_once_each() -> None:
    async with open_audited(
        listener("loop", [Ask, Reply], looping(100, "back")),
        listener("back", Ask, answer, budgets=Budgets(messages=8)),
        budgets=Budgets(messages=11),
    ) as organism:
        await outcome_of(organism, Ask("x"), "loop")
        assert warnings(organism) == [("messages", 9, 11, "conversation", None)]
        await outcome_of(organism, Ask("x"), "loop", budgets=Budgets(messages=100))
        assert warnings(organism)[1:] == [("messages", 7, 8, "listener", "back")]
        (event,) = told(organism, "budget_warning")[1:]
        assert event.node_id == "back"


async def test_a_fan_out_that_leaps_over_the_mark_is_told_with_what_it_comes_to() -> None:
    async with open_audited(
        fan("leaf", 9), listener("leaf", Reply, drop), budgets=Budgets(messages=10)
    ) as organism:
        await outcome_of(organism, Ask("x"), "fan")
        assert warnings(organism) == [("messages", 10, 10, "conversation", None)]


async def test_what_does_not_fit_is_not_told_of_as_nearly_spent() -> None:
    async with open_audited(
        fan("leaf", 10), listener("leaf", Reply, drop), budgets=Budgets(messages=10)
    ) as organism:
        outcome = await outcome_of(organism, Ask("x"), "fan")
        assert warnings(organism) == []
        assert outcome.cause is not None
        assert "10 more came up from fan, for leaf" in outcome.cause.text
        assert "most went to fan (1)" in outcome.cause.text


async def test_a_strangers_own_messages_count_too() -> None:
    async with open_audited(BACK) as organism:
        await organism.ask(Ask("x"), to="back", budgets=Budgets(messages=1))
        assert warnings(organism) == [("messages", 1, 1, "conversation", None)]


async def test_hops_and_depth_are_told_once_for_each_turn() -> None:
    async with open_audited(down()) as organism:
        await outcome_of(organism, Ask("5"), "down", budgets=Budgets(hops=10, depth=5))
        assert warnings(organism) == [
            ("depth", 4, 5, "conversation", None),
            ("hops", 8, 10, "conversation", None),
        ]
        async with organism.open_conversation(budgets=Budgets(hops=9)) as conversation:
            for _ in range(2):
                await conversation.ask(Ask("5"), to="down")
            await conversation.ask(Ask("5"), to="down", budgets=Budgets(depth=6, hops=100))
        assert warnings(organism)[2:] == [("hops", 8, 9, "call", None)] * 2 + [("depth", 5, 6, "call", None)]


async def test_messages_of_a_call_are_told_beside_those_of_its_conversation() -> None:
    async with (
        open_audited(down()) as organism,
        organism.open_conversation(budgets=Budgets(messages=20)) as conversation,
    ):
        await conversation.ask(Ask("5"), to="down", budgets=Budgets(messages=10))
        await conversation.ask(Ask("5"), to="down", budgets=Budgets(messages=10))
    assert warnings(organism) == [
        ("messages", 8, 10, "call", None),
        ("messages", 16, 20, "conversation", None),
        ("messages", 8, 10, "call", None),
    ]


async def test_without_limits_and_within_them_nothing_is_told() -> None:
    async with open_audited(down()) as organism:
        assert await organism.ask(Ask("50"), to="down") == Reply("1")
        assert warnings(organism) == []


# -- who spent it -----------------------------------------------------------------------------
async def test_the_cause_of_an_overrun_names_the_three_that_got_most() -> None:
    async def hub(payload: Any, metadata: HandlerMetadata) -> Any:
        names = ["a"] * 4 + ["b"] * 3 + ["c"] * 2 + ["d"]
        return [HandlerResponse(Reply("x"), to=name) for name in names] if isinstance(payload, Ask) else None

    async def back(payload: Reply, metadata: HandlerMetadata) -> Any:
        return HandlerResponse.respond(Reply("x"))

    listeners = listener("hub", [Ask, Reply], hub), *(listener(name, Reply, back) for name in "abcd")
    async with open_audited(*listeners, budgets=Budgets(messages=20)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "hub")
        assert outcome.cause is not None
        assert ", for hub; most went to hub (10), a (4), b (3)" in outcome.cause.text


async def test_the_cause_of_a_runaway_names_its_cycle_and_who_is_in_it() -> None:
    async with open_audited(step("ping", "pong"), step("pong", "ping"), budgets=Budgets(hops=9)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "ping")
        assert outcome.cause is not None
        assert "; most went to ping (5), pong (4); these repeat: pong > ping > pong" in outcome.cause.text
        assert "1 more came up from ping, for pong" in outcome.cause.text


# -- seconds ----------------------------------------------------------------------------------
async def test_seconds_are_told_at_four_fifths_and_not_of_what_ended_before(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def waits(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(float(payload.text))
        return HandlerResponse.respond(Reply("x"))

    async with open_audited(listener("waits", Ask, waits), budgets=Budgets(seconds=10)) as organism:
        await outcome_of(organism, Ask("7.9"), "waits")
        assert warnings(organism) == []
        began = trio.current_time()
        receipt = await organism.send(Ask("20"), to="waits")
        await trio.sleep(8.1)
        assert warnings(organism) == [("seconds", 8.0, 10, "conversation", None)]
        await organism.wait(receipt)
        assert trio.current_time() == began + 10
        async with organism.open_conversation() as conversation:
            await organism.wait(await conversation.send(Ask("20"), to="waits"))
        assert [row[3] for row in warnings(organism)] == ["conversation", "call"]


@pytest.mark.parametrize("seconds", [0, -1, 0.0])
async def test_a_call_with_no_time_left_is_cut_without_a_warning(
    seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_audited(step("a", "a")) as organism:
        await outcome_of(organism, Ask("x"), "a", budgets=Budgets(seconds=seconds))
        assert warnings(organism) == []


async def test_a_listeners_seconds_are_told_as_its_dispatch_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(2)
        return HandlerResponse.respond(Reply("x"))

    async with open_audited(
        listener("loop", [Ask, Reply], looping(10, "slow")),
        listener("slow", Ask, slow, budgets=Budgets(seconds=9)),
    ) as organism:
        await outcome_of(organism, Ask("x"), "loop")
        assert warnings(organism) == [("seconds", 8.0, 9, "listener", "slow")]


# -- the log ----------------------------------------------------------------------------------
async def test_the_log_says_so_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "phloem")
    config = OrganismConfig("x", [down()], budgets=Budgets(hops=9, depth=5))
    async with open_organism(config) as organism:
        await organism.ask(Ask("5"), to="down")
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "budget (depth): 4 of 5, conversation",
        "budget (hops): 8 of 9, conversation",
    ]
