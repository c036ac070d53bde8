"""What a respond or a failure ends below it; and whom a message without an address reaches."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import ListenerConfig
from phloem.errors import ConversationFailed
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, SystemError
from support.auditing import open_audited, report_of
from support.flows import Aside, asks_each, passes_on
from support.listeners import BACK, ONE, Ask, Reply, hang, listener


# -- prune ------------------------------------------------------------------------------------
async def test_a_respond_cancels_what_runs_below_and_that_is_no_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cancelled: list[str] = []

    async def slow(payload: Ask, metadata: HandlerMetadata) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(payload.text)
            raise

    answers: list[str] = []
    async with open_audited(
        listener("front", [Ask, Reply], asks_each("slow", "back", answers=answers, enough=1)),
        listener("slow", Ask, slow),
        BACK,
    ) as organism:
        receipt = await organism.send(Ask("x"), to="front")
        outcome = await organism.wait(receipt)
        assert trio.current_time() == 0
        assert outcome.state is ConversationState.COMPLETED
        assert outcome.payloads == (Reply("back"),)
        assert outcome.dead_letters == ()
        assert organism.statistics()["messages"]["abandoned_by"] == {"pruned": 1}
    assert cancelled == ["slow"]


async def test_a_respond_ends_what_is_queued_below(autojump_clock: trio.testing.MockClock) -> None:
    answers: list[str] = []
    async with open_audited(
        listener("front", [Ask, Reply], asks_each("one", "one", "one", "back", answers=answers, enough=1)),
        ONE,
        BACK,
    ) as organism:
        assert await organism.ask(Ask("x"), to="front") == Reply("back")
        assert organism.statistics()["messages"]["abandoned_by"] == {"pruned": 3}
        assert organism.statistics()["queued"] == 0
        assert (report_of(organism).handled, report_of(organism).abandoned) == (3, 3)


async def test_answers_that_wait_for_a_thread_that_responds_are_pruned(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return [HandlerResponse(Ask(str(n)), to="back") for n in range(4)]
        await trio.sleep(1)  # the other answers come meanwhile
        return HandlerResponse.respond(Reply("enough"))

    async with open_audited(listener("front", [Ask, Reply], front), BACK) as organism:
        assert await organism.ask(Ask("x"), to="front") == Reply("enough")
        assert organism.statistics()["messages"]["abandoned_by"] == {"pruned": 3}


async def test_a_prune_reaches_all_the_way_down_and_nothing_beside(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """top asks left and right; left responds above its own hanging chain; right works on."""
    answers: list[str] = []

    async def left(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return [HandlerResponse(Ask("d1"), to="d1"), HandlerResponse(Ask("left"), to="back")]
        return HandlerResponse.respond(payload)

    async def right(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(3)
        return HandlerResponse.respond(Reply("right"))

    async with open_audited(
        listener("top", [Ask, Reply], asks_each("left", "right", answers=answers, enough=2)),
        listener("left", [Ask, Reply], left),
        listener("right", Ask, right),
        listener("d1", [Ask, Reply], passes_on("d2")),
        listener("d2", [Ask, Reply], passes_on("d3")),
        listener("d3", Ask, hang),
        BACK,
    ) as organism:
        receipt = await organism.send(Ask("x"), to="top", sender="console")
        await trio.sleep(1)
        assert {thread.chain for thread in organism.threads} == {
            ("console",),
            ("console", "top"),
            ("console", "top", "right"),
        }
        assert (await organism.wait(receipt)).payloads == (Reply("right"),)
    assert answers == ["left", "right"]


async def test_a_thread_whose_dispatch_failed_is_pruned_once_its_caller_has_been_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    told: list[SystemError] = []
    chains: list[tuple[str, ...]] = []

    async def top(payload: Ask | SystemError, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return HandlerResponse(payload, to="middle")
        told.append(payload)
        chains.extend(thread.chain[1:] for thread in organism.threads)
        return HandlerResponse.respond(Reply("it failed"))

    async def middle(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return [HandlerResponse(payload, to="hung"), HandlerResponse(payload, to="back")]
        raise ValueError("x")

    async with open_audited(
        listener("top", [Ask, SystemError], top),
        listener("middle", [Ask, Reply], middle),
        listener("hung", Ask, hang),
        BACK,
    ) as organism:
        assert await organism.ask(Ask("x"), to="top") == Reply("it failed")
        assert len(told) == 1
        assert chains == [(), ("top",)]
        assert (report_of(organism).failed, report_of(organism).abandoned) == (1, 1)


async def test_a_fault_pruned_unread_because_its_receiver_responded_counts_as_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        assert not isinstance(payload, SystemError), "it is to be pruned unread"
        if isinstance(payload, Ask):
            return [HandlerResponse(Ask("good"), to="back"), HandlerResponse(Ask("bad"), to="fall")]
        await trio.sleep(2)
        return HandlerResponse.respond(payload)

    async def fall(payload: Ask, metadata: HandlerMetadata) -> None:
        await trio.sleep(1)
        raise ValueError("x")

    async with open_audited(
        listener("front", [Ask, Reply, SystemError], front), listener("fall", Ask, fall), BACK
    ) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="front"))
        assert outcome.state is ConversationState.COMPLETED
        assert outcome.payloads == (Reply("good"),)
        assert [letter.to_listener for letter in outcome.dead_letters] == ["fall"]
        assert (report_of(organism).failed, report_of(organism).abandoned) == (1, 1)


async def test_a_thread_that_nothing_can_reach_any_more_goes() -> None:
    gate = trio.Event()

    async def silent(payload: Ask, metadata: HandlerMetadata) -> None:
        return None

    async def wait(payload: Aside, metadata: HandlerMetadata) -> None:
        await gate.wait()

    async def front(payload: Ask, metadata: HandlerMetadata) -> Any:
        return [HandlerResponse(payload, to="silent"), HandlerResponse(Aside("x"), to="wait")]

    async with open_audited(
        listener("front", Ask, front), listener("silent", Ask, silent), listener("wait", Aside, wait)
    ) as organism:
        await organism.send(Ask("x"), to="front", sender="console")
        await trio.testing.wait_all_tasks_blocked()
        assert [thread.chain[1:] for thread in organism.threads] == [(), ("front",), ("front", "wait")]
        gate.set()


# -- without an address -----------------------------------------------------------------------
async def test_an_agents_takers_are_first_cut_to_its_peers() -> None:
    heard: list[str] = []

    def hears(name: str) -> ListenerConfig:
        async def hear(payload: Aside, metadata: HandlerMetadata) -> None:
            heard.append(name)

        return listener(name, Aside, hear)

    async def front(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Aside("x"))

    async with open_audited(
        listener("front", Ask, front, is_agent=True, peers=["left"]), hears("left"), hears("right")
    ) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="front"))
        assert outcome.state is ConversationState.COMPLETED
    assert heard == ["left"]


async def test_an_ambiguous_payload_without_an_address_is_a_routing_fault() -> None:
    async def front(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Aside("x"))

    async with open_audited(
        listener("front", Ask, front), listener("left", Aside, hang), listener("right", Aside, hang)
    ) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Ask("x"), to="front")
        assert caught.value.outcome.cause is not None
        assert caught.value.outcome.cause.reason == "routing"
        # the message itself, and the SystemError that front does not take
        assert report_of(organism).undeliverable == 2
