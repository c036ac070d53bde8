"""Deadlines, limiters, and whose turn it is; and what a handler is told."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import ConversationFailed
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import open_organism
from support.auditing import open_audited, report_of
from support.listeners import Note, Reply, answer, hang, listener

ECHO = listener("echo", Note, answer)


# -- deadlines --------------------------------------------------------------------------------
async def test_an_overrun_is_a_failure_that_names_the_limit(autojump_clock: trio.testing.MockClock) -> None:

    async with open_audited(listener("hang", Note, hang), handler_timeout=7) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Note("x"), to="hang")
        assert trio.current_time() == 7
        assert "7 s" in str(caught.value)
        assert report_of(organism).failed == 1


async def test_a_listeners_own_deadline_goes_before_the_organisms(
    autojump_clock: trio.testing.MockClock,
) -> None:

    async with open_audited(listener("hang", Note, hang, handler_timeout=3), handler_timeout=7) as organism:
        await organism.wait(await organism.send(Note("x"), to="hang"))
        assert trio.current_time() == 3


async def test_a_handler_that_returns_normally_after_its_deadline_is_handled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def late(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        with trio.CancelScope(shield=True):
            await trio.sleep(3)
        return HandlerResponse.respond(Reply("late"))

    async with open_audited(listener("late", Note, late, handler_timeout=1)) as organism:
        assert await organism.ask(Note("x"), to="late") == Reply("late")
        assert report_of(organism).handled == 1


async def test_a_deadline_starts_with_the_dispatch_and_not_in_the_queue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(payload: Note, metadata: HandlerMetadata) -> None:
        await trio.sleep(2)

    async with open_audited(listener("slow", Note, slow, handler_timeout=3, max_concurrent=1)) as organism:
        for _ in range(5):
            await organism.send(Note("x"), to="slow")
        await organism.wait_idle()
        assert trio.current_time() == 10
        assert report_of(organism).handled == 5


# -- limits -----------------------------------------------------------------------------------
class Gauge:
    """How many run now, and how many ever did at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def work(self, payload: Note, metadata: HandlerMetadata) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await trio.sleep(1)
        self.now -= 1


@pytest.mark.parametrize(
    ("more", "settings", "most"),
    [
        ({"max_concurrent": 3}, {}, 3),
        ({"is_agent": True}, {}, 5),
        ({"is_agent": True}, {"max_concurrent_per_agent": 2}, 2),
        ({"is_agent": True, "max_concurrent": 7}, {}, 7),
        ({}, {"max_concurrent_handlers": 4}, 4),
        ({}, {"max_concurrent_pipelines": 6}, 6),
        ({}, {}, 20),
    ],
    ids=["own", "agent", "per-agent", "agent's own", "handlers", "pipelines", "defaults"],
)
async def test_no_limit_is_ever_exceeded_nor_left_unused(
    more: dict[str, Any],
    settings: dict[str, Any],
    most: int,
    autojump_clock: trio.testing.MockClock,
) -> None:
    gauge = Gauge()
    async with open_audited(listener("one", Note, gauge.work, **more), **settings) as organism:
        for _ in range(40):
            await organism.send(Note("x"), to="one")
        await organism.wait_idle()
        assert gauge.most == most
        assert trio.current_time() == -(-40 // most)


async def test_a_busy_listener_delays_no_other(autojump_clock: trio.testing.MockClock) -> None:
    gauge = Gauge()
    async with open_audited(listener("busy", Note, gauge.work, max_concurrent=2), ECHO) as organism:
        for _ in range(100):
            await organism.send(Note("x"), to="busy")
        assert await organism.ask(Note("quick"), to="echo") == Reply("quick")
        assert trio.current_time() == 0
        await organism.shutdown(0)


async def test_a_caller_holds_no_token_while_its_callee_works() -> None:
    async def count(payload: Note | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        left = int(payload.text)
        if isinstance(payload, Note) and left:
            return HandlerResponse(Note(str(left - 1)), to="count")
        return HandlerResponse.respond(Reply(payload.text))

    async with open_audited(
        listener("count", [Note, Reply], count, max_concurrent=1),
        max_concurrent_handlers=1,
        max_concurrent_pipelines=1,
    ) as organism:
        assert await organism.ask(Note("50"), to="count") == Reply("0")
        assert report_of(organism).handled == 101


# -- whose turn it is -------------------------------------------------------------------------
def tree(log: list[str]) -> list[ListenerConfig]:
    """A root that fans out to three, each of which goes on to one."""

    async def root(payload: Note, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(Reply(name), to="branch") for name in "abc"]

    async def branch(payload: Reply, metadata: HandlerMetadata) -> HandlerResponse:
        log.append(payload.text)
        return HandlerResponse(Reply(payload.text.upper()), to="leaf")

    async def leaf(payload: Reply, metadata: HandlerMetadata) -> None:
        log.append(payload.text)

    return [listener("root", Note, root), listener("branch", Reply, branch), listener("leaf", Reply, leaf)]


@pytest.mark.parametrize(("scheduling", "order"), [("breadth-first", "abcABC"), ("depth-first", "aAbBcC")])
async def test_scheduling_decides_the_order_within_a_conversation(scheduling: str, order: str) -> None:
    log: list[str] = []
    async with open_audited(*tree(log), thread_scheduling=scheduling, max_concurrent_handlers=1) as organism:
        await organism.wait(await organism.send(Note("x"), to="root"))
    assert "".join(log) == order


@pytest.mark.parametrize("scheduling", ["breadth-first", "depth-first"])
async def test_several_responds_reach_their_caller_in_the_order_they_were_sent(scheduling: str) -> None:
    log: list[str] = []

    async def front(payload: Note | Reply, metadata: HandlerMetadata) -> HandlerResponse | None:
        if isinstance(payload, Note):
            return HandlerResponse(payload, to="many")
        log.append(payload.text)
        return None

    async def many(payload: Note, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse.respond(Reply(text)) for text in "abcd"]

    async with open_audited(
        listener("front", [Note, Reply], front), listener("many", Note, many), thread_scheduling=scheduling
    ) as organism:
        await organism.wait(await organism.send(Note("x"), to="front"))
    assert log == ["a", "b", "c", "d"]


@pytest.mark.parametrize("scheduling", ["breadth-first", "depth-first"])
async def test_a_conversation_that_floods_delays_another_by_one_message_only(
    scheduling: str, autojump_clock: trio.testing.MockClock
) -> None:
    log: list[str] = []

    async def flood(payload: Note, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(Reply(payload.text), to="work") for _ in range(500)]

    async def work(payload: Reply, metadata: HandlerMetadata) -> None:
        log.append(payload.text)
        await trio.sleep(1)

    async with open_audited(
        listener("flood", Note, flood),
        listener("work", Reply, work),
        thread_scheduling=scheduling,
        max_concurrent_handlers=1,
        shutdown_grace=0,
    ) as organism:
        await organism.send(Note("flood"), to="flood")
        await trio.sleep(3.5)
        arrived = len(log)
        await organism.wait(await organism.send(Reply("other"), to="work"))
        assert log[arrived:].index("other") <= 1


# -- what a handler is told -------------------------------------------------------------------
async def test_metadata_says_who_sent_it_and_own_name_to_agents_only() -> None:
    seen: dict[str, HandlerMetadata] = {}

    async def front(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        seen["front"] = metadata
        return HandlerResponse(payload, to="BACK")

    async def back(payload: Note, metadata: HandlerMetadata) -> HandlerResponse | None:
        seen["self" if metadata.is_self_call else "back"] = metadata
        return None if metadata.is_self_call else HandlerResponse(payload, to="back")

    async with open_audited(
        listener("front", Note, front), listener("back", Note, back, is_agent=True)
    ) as organism:
        receipt = await organism.send(Note("x"), to="front", sender="console")
        await organism.wait(receipt)
    assert [(m.from_id, m.own_name) for m in seen.values()] == [
        ("console", None),
        ("front", "back"),
        ("back", "back"),
    ]
    assert {m.conversation for m in seen.values()} == {receipt.conversation}
    assert {m.attempt for m in seen.values()} == {1}
    assert len({m.message_id for m in seen.values()}) == 3
    assert len({m.thread_id for m in seen.values()} | {receipt.thread}) == 4


async def test_a_failure_is_told_to_the_log_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def fall(payload: Note, metadata: HandlerMetadata) -> None:
        raise ValueError("the reason")

    caplog.set_level(logging.DEBUG, "phloem")
    async with open_organism(OrganismConfig("o", [listener("fall", Note, fall)])) as organism:
        await organism.wait(await organism.send(Note("x"), to="fall"))
    errors = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info[0] for record in errors if record.exc_info] == [ValueError]
