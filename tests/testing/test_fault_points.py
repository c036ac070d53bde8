"""Where faults are injected into an organism: which boundaries these are, and that it bears them."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from typing import Any, Final

import pytest
import trio
import trio.testing

from phloem.config import OrganismConfig, WireLimits
from phloem.errors import ConversationFailed
from phloem.events import (
    AgentEvent,
)
from phloem.messages import Cause, ConversationState, HandlerMetadata, Outcome
from phloem.organism import Organism, open_organism
from phloem.pump.ports import TrioClock
from phloem.testing import faults as own
from phloem.testing.faults import InjectedFault
from support.auditing import report_of
from support.faulty import Port, audited, hangs, once, raises
from support.listeners import BACK, Ask, Note, Reply, drop, listener

LONG: Final = "<Ask><Text>x</Text></Ask>"  # is long where every document is
EVERY_ONE: Final = WireLimits(thread_parse_bytes=1)


async def failed(organism: Organism, to: str = "back") -> Outcome:
    with pytest.raises(ConversationFailed) as error:
        await organism.ask(Ask("x"), to=to)
    return error.value.outcome


def free_seats(organism: Organism) -> int:
    seats: int = organism.statistics()["seats"]["free"]
    return seats


# -- the handler ---------------------------------------------------------------------------------


async def test_every_entering_of_a_users_handler_is_a_visit_and_of_phloems_own_none() -> None:
    port = Port()
    twins = [listener("twin", Note, drop, broadcast=True) for _ in range(2)]
    async with audited(port, BACK, *twins) as organism:
        assert await organism.ask(Ask("x"), to="back") == Reply("x")
        await organism.send(Note("x"))
    assert sorted(port.visits) == [("handler", "back"), ("handler", "twin"), ("handler", "twin#2")]


async def test_a_visit_is_given_what_the_handler_is() -> None:
    seen = list[Any]()

    async def look(function: Any, *args: Any) -> Any:
        seen.append((function, *args))
        return await function(*args)

    async with audited(Port({"handler": look})) as organism:
        await organism.ask(Ask("x"), to="back")
    ((function, payload, metadata),) = seen
    assert (function, payload, metadata.from_id) == (BACK.handler, Ask("x"), "outside")


@pytest.mark.parametrize(
    "error",
    [
        lambda: InjectedFault("injected"),
        lambda: own.InjectedBaseException("injected"),
        lambda: BaseExceptionGroup("both", [own.InjectedBaseException("injected"), ValueError("beside")]),
        lambda: SystemExit(3),
    ],
)
async def test_what_is_raised_there_is_the_handlers_failure(error: Callable[[], BaseException]) -> None:
    port = Port({"handler": once(raises(error))})
    async with audited(port) as organism:
        outcome = await failed(organism)
        (letter,) = outcome.dead_letters
        assert (outcome.state, letter.reason, letter.to_listener) == (
            ConversationState.FAILED,
            "handler",
            "back",
        )
        assert letter.cause.exception == type(error()).__name__
        assert await organism.ask(Ask("goes on"), to="back") == Reply("goes on")
        report = report_of(organism)
        assert (report.accepted, report.handled, report.failed) == (2, 1, 1)


async def test_a_failed_visit_is_tried_again_where_the_listener_is(autojump_clock: Any) -> None:
    port = Port({"handler": once(raises(lambda: InjectedFault("injected")))})
    tried = listener("back", Ask, BACK.handler, retries=1)
    async with audited(port, tried) as organism:
        assert await organism.ask(Ask("x"), to="back") == Reply("x")
    assert port.visits == [("handler", "back")] * 2


async def test_a_hang_there_ends_at_the_handlers_deadline(autojump_clock: Any) -> None:
    port = Port({"handler": hangs})
    async with audited(port, listener("back", Ask, BACK.handler, handler_timeout=7.0)) as organism:
        began = trio.current_time()
        outcome = await failed(organism)
        assert trio.current_time() - began == 7.0
        assert outcome.cause == Cause("deadline", "back overran its deadline of 7 s", "back")


async def test_a_hang_there_ends_with_its_conversation_and_with_the_organism(autojump_clock: Any) -> None:
    async with audited(Port({"handler": hangs}), shutdown_grace=3.0) as organism:
        with trio.move_on_after(1) as scope:
            await organism.ask(Ask("x"), to="back")
        assert scope.cancelled_caught
        await organism.send(Ask("y"), to="back")
        began = trio.current_time()
    assert trio.current_time() - began == 3.0
    assert (report_of(organism).accepted, report_of(organism).abandoned) == (2, 2)


async def test_a_handler_runs_in_its_callers_context_behind_the_port_too() -> None:
    found = list[bool]()

    async def asks(payload: Ask, metadata: HandlerMetadata) -> None:
        found.append(organism._door.inside)

    async with audited(Port(), listener("back", Ask, asks)) as organism:
        await organism.send(Ask("x"), to="back")
    assert found == [True]


# -- the thread of a long document -----------------------------------------------------------------


async def test_a_long_document_is_a_visit_and_a_short_one_is_none() -> None:
    port = Port()
    async with audited(port) as organism:
        await organism.inject(LONG)
    assert port.visits == [("handler", "back")]
    port = Port()
    async with audited(port, wire=EVERY_ONE) as organism:
        await organism.inject(LONG)
    assert port.visits == [("thread", "parse"), ("handler", "back")]


@pytest.mark.parametrize(
    "error", [lambda: own.InjectedOSError("injected"), lambda: own.InjectedBaseException("injected")]
)
async def test_what_is_raised_there_comes_to_whoever_injects_and_all_is_given_back(
    error: Callable[[], BaseException],
) -> None:
    port = Port({"thread": once(raises(error))})
    async with audited(port, wire=EVERY_ONE, max_in_flight=1, max_concurrent_pipelines=1) as organism:
        with pytest.raises(type(error()), match="injected"):
            await organism.inject(LONG)
        assert (free_seats(organism), organism._pump.intake.parsing) == (1, 0)
        assert organism._pump.slots.borrowed() == 0
        assert report_of(organism).accepted == 0
        await organism.inject(LONG)
    assert (report_of(organism).accepted, report_of(organism).handled) == (1, 1)


async def test_within_a_conversation_too_and_its_turns_go_on() -> None:
    port = Port({"thread": once(raises(lambda: own.InjectedOSError("injected")))})
    async with (
        audited(port, wire=EVERY_ONE) as organism,
        organism.open_conversation() as conversation,
    ):
        with pytest.raises(own.InjectedOSError):
            await conversation.inject(LONG)
        assert await conversation.ask(Ask("x"), to="back") == Reply("x")


async def test_a_hang_there_that_is_cancelled_gives_slot_and_seat_back(autojump_clock: Any) -> None:
    port = Port({"thread": once(hangs)})
    async with audited(port, wire=EVERY_ONE, max_in_flight=2, max_concurrent_pipelines=1) as organism:
        intake, slots = organism._pump.intake, organism._pump.slots
        async with trio.open_nursery() as nursery:
            nursery.start_soon(organism.inject, LONG)
            await trio.testing.wait_all_tasks_blocked()
            assert (intake.parsing, slots.pipelines.borrowed_tokens, free_seats(organism)) == (1, 1, 1)
            await organism.send(Ask("waits for the slot"), to="back")
            await trio.testing.wait_all_tasks_blocked()
            assert report_of(organism).handled == 0
            nursery.cancel_scope.cancel()
        assert (intake.parsing, report_of(organism).accepted) == (0, 1)
        await organism.inject(LONG)
    assert (report_of(organism).accepted, report_of(organism).handled) == (2, 2)


async def test_a_stop_waits_for_one_that_is_slow(autojump_clock: Any) -> None:
    async def slow(function: Any, *args: Any) -> Any:
        await trio.sleep(9)
        raise own.InjectedOSError("injected")

    async def inject(organism: Organism) -> None:
        with pytest.raises(own.InjectedOSError):
            await organism.inject(LONG)

    async with trio.open_nursery() as nursery:
        async with audited(Port({"thread": slow}), wire=EVERY_ONE, shutdown_grace=1.0) as organism:
            nursery.start_soon(inject, organism)  # noqa: ASYNC111 - outlives it on purpose
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
        assert trio.current_time() - began == 9.0
    assert report_of(organism).accepted == 0


# -- without a port ------------------------------------------------------------


async def test_without_a_port_a_handler_stands_directly_under_the_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stacks = list[list[str]]()

    async def looks(payload: Ask, metadata: HandlerMetadata) -> None:
        stacks.append([frame.name for frame in traceback.extract_stack()])

    async def watches(event: AgentEvent) -> None:
        stacks.append([frame.name for frame in traceback.extract_stack()])

    async with open_organism(OrganismConfig("o", [listener("back", Ask, looks)])) as organism:
        organism.events.subscribe("execution_started", watches)
        await organism.send(Ask("x"), to="back")
    assert sorted(stack[-2] for stack in stacks) == ["_handle", "guarded"]


async def test_an_organism_gives_its_own_bus_the_same_port() -> None:
    port = Port()

    async def watch(event: AgentEvent) -> None: ...

    async with audited(port) as organism:
        organism.events.subscribe("execution_completed", watch, name="watch")
        await organism.ask(Ask("x"), to="back")
    assert port.visits == [("handler", "back"), ("bus subscriber", "watch")]


# -- the clock ---------------------------------------------------------------------------------------


def test_the_wall_clock_is_the_one_there_is_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    before = TrioClock()
    monkeypatch.setattr("time.time", lambda: 12.5)
    assert TrioClock().wall() == 12.5
    assert before.wall() > 1e9


async def test_an_organisms_own_chance_comes_from_the_system_by_one_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.urandom", random.Random(1).randbytes)
    async with open_organism(OrganismConfig("o", [BACK])) as organism:
        first = organism._pump.carriers._random.random()
    monkeypatch.setattr("os.urandom", random.Random(1).randbytes)
    async with open_organism(OrganismConfig("o", [BACK])) as organism:
        assert organism._pump.carriers._random.random() == first
