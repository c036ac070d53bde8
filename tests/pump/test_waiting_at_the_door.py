"""``pace``, ``rate`` and ``limit`` before ``admit`` and ``parse``: who comes in waits his turn there."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import WireLimits
from phloem.errors import MessageRejected, OrganismClosed, WouldDeadlock
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.pump.ready_made import limit, pace, rate
from support.listeners import BACK, HANG, Ask, Reply, drop, listener
from support.pipelines import ASK, DEFAULT, counts, open_piped, quick

Log = list[tuple[str, float]]
Clock = trio.testing.MockClock


async def let_in(organism: Any, count: int, *, xml: bool) -> list[float]:
    """So many strangers at once; when each was let in, since they came."""
    begun, found = trio.current_time(), list[float]()

    async def stranger() -> None:
        await (organism.inject(ASK) if xml else organism.send(Ask("x")))
        found.append(round(trio.current_time() - begun, 6))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(stranger)
    return found


@pytest.mark.parametrize("xml", [True, False])
@pytest.mark.parametrize(("edit", "at"), [("before", "admit"), ("after", "admit"), ("before", "parse")])
async def test_pace_lets_strangers_in_one_by_one(
    edit: str, at: str, xml: bool, autojump_clock: Clock
) -> None:
    pipeline = getattr(DEFAULT, edit)(at, pace(0.1))
    async with open_piped(pipeline, BACK) as organism:
        assert await let_in(organism, 4, xml=xml) == [0.0, 0.1, 0.2, 0.3]
        assert counts(organism, "pace(0.1)") == {"seen": 4}


async def test_a_rate_lets_a_burst_in_at_once_and_the_rest_evenly(autojump_clock: Clock) -> None:
    async with open_piped(DEFAULT.before("admit", rate(2, 3)), BACK) as organism:
        assert await let_in(organism, 5, xml=True) == [0.0, 0.0, 0.0, 0.5, 1.0]
        await trio.sleep(0.5)
        assert await let_in(organism, 2, xml=True) == [0.0, 0.5]


async def test_before_admit_one_waits_without_a_seat_and_behind_it_with_one(autojump_clock: Clock) -> None:
    for pipeline, taken in (DEFAULT.before("admit", pace(1)), 0), (DEFAULT.after("admit", pace(1)), 2):
        opening = open_piped(pipeline, BACK, max_in_flight=10)
        async with opening as organism, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(organism.send, Ask("x"))
            await trio.sleep(0.5)
            assert 10 - organism.statistics()["seats"]["free"] == taken


@pytest.mark.parametrize(("edit", "at"), [("before", "admit"), ("before", "parse")])
async def test_who_is_cancelled_while_he_waits_leaves_no_gap_and_nothing_behind(
    edit: str, at: str, autojump_clock: Clock
) -> None:
    log: Log = []
    async with open_piped(getattr(DEFAULT, edit)(at, pace(1)), quick(log)) as organism:
        begun = trio.current_time()
        scopes = [trio.CancelScope() for _ in range(4)]

        async def stranger(number: int) -> None:
            with scopes[number]:
                await organism.send(Ask(str(number)))

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(stranger, number)
                await trio.testing.wait_all_tasks_blocked()
            scopes[1].cancel()  # the one that sleeps
            scopes[2].cancel()  # one that waits in line behind him
        await organism.wait_idle()
        assert organism.report.accepted == 3  # with Boot
    assert [(text, at - begun) for text, at in log] == [("0", 0.0), ("3", 1.0)]


async def test_who_waits_while_the_organism_closes_is_told_so(autojump_clock: Clock) -> None:
    errors: list[str] = []
    async with open_piped(DEFAULT.before("admit", pace(5)), BACK) as organism:
        await organism.ask(Ask("x"))

        async def stranger() -> None:
            with pytest.raises(OrganismClosed) as closed:
                await organism.send(Ask("late"))
            errors.append(str(closed.value))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stranger)
            await trio.testing.wait_all_tasks_blocked()
            await organism.shutdown(grace=1)
    assert errors == ["the organism takes no more messages"]


async def test_a_limit_before_admit_holds_strangers_who_wait_for_a_seat(autojump_clock: Clock) -> None:
    async with open_piped(DEFAULT.before("admit", limit(2)), HANG, max_in_flight=1) as organism:
        held = await organism.send(Ask("x"))
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(organism.send, Ask("x"))
            await trio.testing.wait_all_tasks_blocked()
            assert organism.statistics()["seats"]["waiting"] == 2
            assert organism._pump.flow is not None
            (stage,) = organism._pump.flow._walk.at("admit", before=True)
            assert stage.limiter is not None
            assert stage.limiter.taken == 2
            nursery.cancel_scope.cancel()
        assert stage.limiter.taken == 0
        await organism.kill(held.conversation)


@pytest.mark.parametrize("edit", ["before parse", "after admit"])
async def test_a_limit_before_parse_holds_documents_of_which_no_more_are_read_at_once(edit: str) -> None:
    reading = most = 0

    async def parse(incoming: Any) -> Any:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        reading -= 1
        return incoming.data

    side, at = edit.split()
    pipeline = getattr(DEFAULT, side)(at, limit(2)).replace("parse", parse)
    async with open_piped(pipeline, BACK) as organism:
        async with trio.open_nursery() as nursery:
            for _ in range(9):
                nursery.start_soon(organism.inject, ASK)
        await organism.wait_idle()
        assert (reading, most) == (0, 2)
        assert counts(organism, "limit(2)") == {"seen": 9}


async def test_a_limit_at_parse_is_given_back_by_what_is_refused_and_by_who_is_cancelled() -> None:
    long = f"<Ask><Text>{'x' * 20_000}</Text></Ask>"
    pipeline = DEFAULT.before("parse", limit(1))
    async with open_piped(pipeline, BACK, wire=WireLimits(thread_parse_bytes=10_000)) as organism:
        with pytest.raises(MessageRejected):
            await organism.inject("<Ask>")
        with trio.move_on_after(0):
            await organism.inject(long)
        with trio.fail_after(5):
            await organism.inject(long)
        await organism.wait_idle()


async def test_an_object_is_not_held_by_a_limit_of_parse(autojump_clock: Clock) -> None:
    async def parse(incoming: Any) -> Any:
        await trio.sleep(100)
        return incoming.data

    pipeline = DEFAULT.before("parse", limit(1)).replace("parse", parse)
    async with open_piped(pipeline, BACK) as organism, trio.open_nursery() as nursery:
        nursery.start_soon(organism.inject, ASK)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(1):
            assert await organism.ask(Ask("x")) == Reply("x")
        nursery.cancel_scope.cancel()


async def test_a_pace_at_the_door_is_not_for_what_handlers_send(autojump_clock: Clock) -> None:
    async def relay(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Ask(payload.text), to="sink")

    listeners = listener("relay", Ask, relay), listener("sink", Ask, drop)
    async with open_piped(DEFAULT.before("admit", pace(60)), *listeners) as organism:
        begun = trio.current_time()
        await organism.send(Ask("x"), to="relay")
        await organism.wait_idle()
        assert trio.current_time() == begun


@pytest.mark.parametrize("at", ["admit", "parse"])
async def test_a_handler_never_waits_for_who_holds_a_limit(at: str, autojump_clock: Clock) -> None:
    told: list[str] = []
    done = trio.Event()

    async def send_more(payload: Any, metadata: HandlerMetadata) -> None:
        if payload.text == "first":
            await trio.sleep(1)
            with pytest.raises(WouldDeadlock) as refused:
                await running[0].inject(ASK)
            told.append(str(refused.value))
            done.set()

    running: list[Any] = []
    pipeline = DEFAULT.before(at, limit(1))
    if at == "parse":
        pipeline = pipeline.replace("parse", held)
    seats = {"max_in_flight": 1} if at == "admit" else {}
    async with open_piped(pipeline, listener("a", Ask, send_more), **seats) as organism:
        running.append(organism)
        async with trio.open_nursery() as nursery:
            await organism.send(Ask("first"))
            nursery.start_soon(organism.inject, ASK)  # takes the token and waits
            begun = trio.current_time()
            await done.wait()
            assert trio.current_time() - begun == 1.0
            nursery.cancel_scope.cancel()
    assert len(told) == 1


async def held(incoming: Any) -> Any:
    await trio.sleep(100)
    return incoming.data
