"""The way in: from inside a dispatch, cancelled while blocked, and for want of a seat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import (
    OrganismClosed,
    WouldDeadlock,
)
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Receipt
from phloem.organism import Organism
from support.auditing import open_audited, report_of, still_answers
from support.listeners import BACK, HANG, ONE, SENDERS, SLOW, Ask, Reply, hang, listener


# -- inside a dispatch ------------------------------------------------------------------------
async def test_inside_a_dispatch_whatever_would_wait_for_another_is_refused_at_once() -> None:
    refused: list[str] = []

    async def curious(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        waits: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("ask", lambda: organism.ask(Ask("x"), to="back")),
            ("wait", lambda: organism.wait(receipt)),
            ("wait_idle", organism.wait_idle),
        ]
        for name, wait in waits:
            with pytest.raises(WouldDeadlock, match="forward"):
                await wait()
            refused.append(name)

        async def child() -> None:
            with pytest.raises(WouldDeadlock):
                await organism.ask(Ask("x"), to="back")
            refused.append("ask of a child task")

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(child)
        return HandlerResponse.respond(Reply("done"))

    async with open_audited(listener("curious", Ask, curious), BACK) as organism:
        receipt = await organism.send(Ask("earlier"), to="back")
        assert await organism.ask(Ask("x"), to="curious") == Reply("done")
        assert report_of(organism).accepted == 2
    assert refused == ["ask", "wait", "wait_idle", "ask of a child task", "ask of a child task"]


async def test_inside_a_dispatch_send_starts_a_conversation_unless_it_would_wait_for_a_seat() -> None:
    sent: list[Receipt] = []

    async def sender(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        sent.append(await organism.send(Ask("another"), to="hang", sender="elsewhere"))
        with pytest.raises(WouldDeadlock, match="seat"):
            await organism.send(Ask("x"), to="back")
        with pytest.raises(WouldDeadlock, match="seat"):
            await organism.inject("<Ask><Text>x</Text></Ask>")
        with pytest.raises(WouldDeadlock, match="seat"):
            async with organism.open_conversation():
                pytest.fail("opened")
        return HandlerResponse.respond(Reply("done"))

    async with open_audited(listener("sender", Ask, sender), HANG, max_in_flight=2) as organism:
        mine = await organism.send(Ask("x"), to="sender")
        assert (await organism.wait(mine)).payloads == (Reply("done"),)
        (other,) = sent
        assert other.conversation != mine.conversation
        assert organism.statistics()["conversations"]["live"] == 1
        await organism.kill(other.conversation)
        assert organism.statistics()["seats"]["free"] == 2


async def test_shutdown_inside_a_dispatch_only_asks_for_it(autojump_clock: trio.testing.MockClock) -> None:
    async def last(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        report = await organism.shutdown(grace=10)
        assert report.in_flight == 1
        await trio.sleep(2)
        return HandlerResponse.respond(Reply("last words"))

    async with open_audited(listener("last", Ask, last)) as organism:
        assert await organism.ask(Ask("x"), to="last") == Reply("last words")
        with pytest.raises(OrganismClosed):
            await organism.send(Ask("x"), to="last")
        assert report_of(organism).handled == report_of(organism).accepted == 1


async def test_a_handler_may_ask_another_organism() -> None:
    async with open_audited(BACK) as inner:

        async def delegate(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse.respond(await inner.ask(payload, to="back"))

        async with open_audited(listener("delegate", Ask, delegate)) as outer:
            assert await outer.ask(Ask("x"), to="delegate") == Reply("x")
            assert report_of(inner).accepted == report_of(outer).accepted == 1


async def test_a_task_a_handler_left_elsewhere_may_ask_once_its_dispatch_has_ended() -> None:
    answers: list[Any] = []
    ended = trio.Event()

    async def later() -> None:
        await ended.wait()
        answers.append(await organism.ask(Ask("later"), to="back"))

    async def starts(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        nursery.start_soon(later)
        return HandlerResponse.respond(Reply("started"))

    async with (
        open_audited(listener("starts", Ask, starts), BACK) as organism,
        trio.open_nursery() as nursery,
    ):
        await organism.ask(Ask("x"), to="starts")
        ended.set()
    assert answers == [Reply("later")]


# -- cancelled while blocked ------------------------------------------------------------------
async def test_cancelling_an_ask_kills_its_conversation(autojump_clock: trio.testing.MockClock) -> None:
    async with open_audited(HANG, BACK) as organism:
        with trio.move_on_after(1) as scope:
            await organism.ask(Ask("x"), to="hang")
        assert scope.cancelled_caught
        await organism.wait_idle()
        assert trio.current_time() == 1
        assert organism.statistics()["conversations"]["cancelled"] == 1
        assert organism.statistics()["messages"]["abandoned_by"] == {"killed": 1}
        await still_answers(organism)


async def test_cancelling_an_ask_in_the_queue_ends_it_there(autojump_clock: trio.testing.MockClock) -> None:
    async with open_audited(ONE, BACK) as organism:
        await organism.send(Ask("first"), to="one")
        with trio.move_on_after(1):
            await organism.ask(Ask("second"), to="one")
        assert organism.statistics()["queued"] == 0
        assert (report_of(organism).accepted, report_of(organism).abandoned) == (2, 1)
        await still_answers(organism)
        await organism.shutdown(0)


async def test_cancelling_a_wait_ends_the_waiting_only(autojump_clock: trio.testing.MockClock) -> None:
    async with open_audited(SLOW, BACK) as organism:
        receipt = await organism.send(Ask("x"), to="slow")
        with trio.move_on_after(1) as scope:
            await organism.wait(receipt)
        assert scope.cancelled_caught
        assert (await organism.wait(receipt)).payloads == (Reply("x"),)
        await still_answers(organism)


async def test_cancelling_wait_idle_ends_the_waiting_only(autojump_clock: trio.testing.MockClock) -> None:
    async with open_audited(SLOW, BACK) as organism:
        receipt = await organism.send(Ask("x"), to="slow")
        with trio.move_on_after(1) as scope:
            await organism.wait_idle()
        assert scope.cancelled_caught
        await organism.wait_idle()
        assert trio.current_time() == 5
        assert (await organism.wait(receipt)).payloads == (Reply("x"),)
        await still_answers(organism)


async def test_cancelling_a_kill_ends_the_waiting_only(autojump_clock: trio.testing.MockClock) -> None:
    async def tidy(payload: Ask, metadata: HandlerMetadata) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)

    async with open_audited(listener("tidy", Ask, tidy), BACK) as organism:
        receipt = await organism.send(Ask("x"), to="tidy")
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await organism.kill(receipt.conversation)
        assert scope.cancelled_caught
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
        assert trio.current_time() == 5
        await still_answers(organism)


async def test_cancelling_a_shutdown_ends_the_waiting_only(autojump_clock: trio.testing.MockClock) -> None:
    async with open_audited(HANG) as organism:
        receipt = await organism.send(Ask("x"), to="hang")
        with trio.move_on_after(1) as scope:
            await organism.shutdown(grace=3)
        assert scope.cancelled_caught
        with pytest.raises(OrganismClosed):
            await organism.send(Ask("x"), to="hang")
        report = await organism.shutdown(grace=100)
        assert trio.current_time() == 3
        assert report.abandoned == 1
        assert (await organism.wait(receipt)).state is ConversationState.DRAINED


@pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS.keys())
async def test_cancelled_while_it_waits_for_a_seat_a_stranger_left_nothing(
    send: Callable[[Organism], Awaitable[Any]], autojump_clock: trio.testing.MockClock
) -> None:
    only = listener("only", Reply, hang)
    async with open_audited(only, BACK, max_in_flight=1) as organism:
        receipt = await organism.send(Reply("holds the seat"), to="only")
        with trio.move_on_after(1) as scope:
            await send(organism)
        assert scope.cancelled_caught
        assert report_of(organism).accepted == 1
        assert organism.statistics()["seats"] == {"free": 0, "waiting": 0}
        await organism.kill(receipt.conversation)
        assert organism.statistics()["seats"] == {"free": 1, "waiting": 0}
        await send(organism)
        await organism.wait_idle()
        assert report_of(organism).accepted == 2


@pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS.keys())
async def test_cancelled_before_it_began_a_stranger_left_nothing(
    send: Callable[[Organism], Awaitable[Any]],
) -> None:
    async with open_audited(BACK) as organism:
        with trio.CancelScope() as scope:
            scope.cancel()
            await send(organism)
        assert scope.cancelled_caught
        assert report_of(organism).accepted == 0
        assert organism.statistics()["seats"]["free"] == 1_000
        await send(organism)


# -- seats ------------------------------------------------------------------------------------
async def test_strangers_wait_for_a_seat_and_enter_in_the_order_they_came(
    autojump_clock: trio.testing.MockClock,
) -> None:
    entered: list[tuple[int, float]] = []

    async def enter(organism: Organism, number: int) -> None:
        await trio.sleep(number / 100)
        await organism.send(Ask(str(number)), to="slow")
        entered.append((number, trio.current_time()))

    async with open_audited(SLOW, max_in_flight=2) as organism:
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(enter, organism, number)
        await organism.wait_idle()
        assert report_of(organism).handled == 6
    assert [number for number, _ in entered] == list(range(6))
    assert [at for _, at in entered] == pytest.approx([0, 0.01, 5, 5.01, 10, 10.01])


async def test_a_reply_never_waits_for_a_seat() -> None:
    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Reply):
            return HandlerResponse.respond(payload)
        return [HandlerResponse(payload, to="back") for _ in range(50)]

    async with open_audited(listener("front", [Ask, Reply], front), BACK, max_in_flight=1) as organism:
        assert await organism.ask(Ask("x"), to="front") == Reply("x")
