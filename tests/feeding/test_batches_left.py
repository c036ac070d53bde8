"""A batch that is left before its end, or whose organism is: what is in flight is cut, nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trio.testing

from phloem.feeding.batches import BatchMessage
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Outcome
from phloem.organism import Organism
from support.auditing import open_audited, report_of, still_answers
from support.batches import WAIT, Wait, all_of, numbers
from support.listeners import BACK, HANG, Ask, Reply, listener
from support.sweeping import (
    Scenario,
    World,
    count_met,
    logged,
    results_of_one,
    scheduling,
    side_by_side,
)

COMPLETED = ConversationState.COMPLETED
CANCELLED = ConversationState.CANCELLED


# -- shutdown -----------------------------------------------------------------------------------
async def test_what_was_not_accepted_before_a_shutdown_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_audited(WAIT, max_in_flight=2) as organism:
        async with (
            trio.open_nursery() as nursery,
            organism.open_batch([Wait(3)] * 6, max_in_flight=4) as results,
        ):
            await trio.sleep(1)
            nursery.start_soon(organism.shutdown, 100)
            got = [result async for result in results]
            assert trio.current_time() == 3
        assert report_of(organism).handled == 2
    assert numbers(got) == [1, 2, 3, 4, 5, 6]
    causes = [result.outcome.cause.reason if result.outcome.cause else "" for result in got]
    assert sorted(causes) == ["", "", "not-sent", "not-sent", "not-sent", "not-sent"]
    for result in got:
        not_sent = result.outcome.state is CANCELLED
        assert (result.receipt is None) is (result.seconds is None) is not_sent


async def test_what_a_shutdown_cuts_is_drained(autojump_clock: trio.testing.MockClock) -> None:
    async with open_audited(WAIT) as organism, organism.open_batch([Wait(3)] * 2) as results:
        await trio.sleep(1)
        await organism.shutdown(0)
        assert {result.outcome.state async for result in results} == {ConversationState.DRAINED}


# -- leaving early ------------------------------------------------------------------------------
class Own(Exception):
    """An error of the body."""


def by_break(scope: trio.CancelScope) -> None:
    """Leaves the loop."""


def by_error(scope: trio.CancelScope) -> None:
    raise Own


def by_cancel(scope: trio.CancelScope) -> None:
    scope.cancel()


@pytest.mark.parametrize("leave", [by_break, by_error, by_cancel])
async def test_leaving_early_cuts_what_is_in_flight_and_waits_for_it(
    autojump_clock: trio.testing.MockClock, leave: Callable[[trio.CancelScope], None]
) -> None:
    left: list[float] = []
    outcomes: list[Outcome] = []

    async def tidy(payload: Ask, metadata: HandlerMetadata) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            left.append(trio.current_time())

    closed: list[str] = []

    async def source() -> AsyncIterator[Any]:
        try:
            yield Wait(0)
            while True:
                yield Ask("x")
        finally:
            closed.append("closed")

    async with open_audited(
        WAIT, BACK, listener("tidy", Ask, tidy), outcomes=outcomes, max_in_flight=3
    ) as organism:
        own = [BatchMessage(each, to="tidy") for each in [Ask("x")] * 2]
        other = await organism.send(Wait(7), to="wait")
        with trio.CancelScope() as scope:
            try:
                async with (
                    organism.open_batch([Wait(0), *own, *own], max_in_flight=4) as results,
                    organism.open_batch(source(), max_in_flight=1),
                ):
                    async for result in results:
                        assert result.number == 1
                        await trio.sleep(2)
                        leave(scope)
                        await trio.lowlevel.checkpoint()
                        break
            except Own:
                assert leave is by_error
        assert (scope.cancelled_caught) is (leave is by_cancel)
        assert trio.current_time() == 3
        assert left == [3, 3]
        assert closed == ["closed"]
        assert [thread.conversation for thread in organism.threads][:1] == [other.conversation]
        assert {thread.conversation for thread in organism.threads} == {other.conversation}
        assert (await organism.wait(other)).state is COMPLETED
        await still_answers(organism)
    states = [outcome.state for outcome in outcomes]
    assert states.count(CANCELLED) == 2


async def test_a_leaving_that_is_cancelled_waits_two_seconds_for_handlers_that_do_not_leave(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def stay(payload: Ask, metadata: HandlerMetadata) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)

    async with open_audited(listener("stay", Ask, stay)) as organism:
        with trio.move_on_after(1):
            async with organism.open_batch([Ask("x")]) as results:
                await anext(results)
        assert trio.current_time() == 3
        await organism.wait_idle()
        assert trio.current_time() == 30


async def test_an_error_of_the_body_is_not_lost_if_leaving_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def stay(payload: Ask, metadata: HandlerMetadata) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)

    async with open_audited(listener("stay", Ask, stay)) as organism:

        async def fail() -> None:
            async with organism.open_batch([Ask("x")]):
                await trio.testing.wait_all_tasks_blocked()
                raise Own

        with trio.move_on_after(1), pytest.raises(Own):
            await fail()
        assert trio.current_time() == 3


async def test_what_closing_the_source_raises_is_not_lost() -> None:
    async def source() -> AsyncIterator[Any]:
        try:
            while True:
                yield Ask("x")
        finally:
            raise LookupError("closing")

    async with open_audited(BACK) as organism:
        with pytest.RaisesGroup(pytest.RaisesExc(LookupError, match="closing")):
            async with organism.open_batch(source(), max_in_flight=1) as results:
                await anext(results)


async def test_who_is_given_a_seat_as_the_batch_is_left_gives_it_back() -> None:
    async with open_audited(HANG, max_in_flight=1) as organism:
        await organism._pump.intake.take_seat(may_wait=True)
        async with organism.open_batch([Ask("x")]):
            await trio.testing.wait_all_tasks_blocked()
            organism._pump.intake.give_back()  # no checkpoint from here to the end of the block
        assert report_of(organism).accepted == 0


async def test_after_its_block_a_batch_gives_nothing() -> None:
    async with open_audited(BACK) as organism:
        async with organism.open_batch([Ask("x")] * 3) as results:
            await anext(results)
        with pytest.raises(trio.ClosedResourceError):
            await anext(results)


async def test_two_tasks_may_not_read_one_batch() -> None:
    async with (
        open_audited(HANG) as organism,
        organism.open_batch([Ask("x")]) as results,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(anext, results)
        await trio.testing.wait_all_tasks_blocked()
        for read in (results.__anext__, results.receive):
            with pytest.raises(trio.BusyResourceError):
                await read()
        with pytest.raises(trio.BusyResourceError):
            results.receive_nowait()
        nursery.cancel_scope.cancel()


# -- wherever it is cut -------------------------------------------------------------------------
async def handle(name: str, payload: Any, metadata: HandlerMetadata) -> Any:
    match name, payload:
        case "worker", Wait(seconds):
            await trio.sleep(seconds)
            return HandlerResponse(Ask("0"), to="helper")
        case "worker", _:
            return HandlerResponse.respond(payload)
        case _:
            await trio.sleep(0.5)
            return HandlerResponse.respond(Reply(payload.text))


async def strangers(world: World, organism: Organism) -> None:
    async def source() -> AsyncIterator[Any]:
        for number in range(6):
            yield BatchMessage(Wait(number % 3), to="worker")
            if number == 2:
                yield "<Ask>"
        await trio.sleep(1)

    async def batch(ordered: bool) -> str:
        got = await all_of(organism, source(), max_in_flight=3, ordered=ordered)
        assert organism.report.in_flight == 0 or len(organism.threads) > 0
        return " ".join(sorted(f"{result.number}:{result.outcome.state}" for result in got))

    await side_by_side(
        world,
        {
            "ordered": lambda: batch(True),
            "unordered": lambda: batch(False),
            "asked": lambda: organism.ask(Wait(4), to="worker"),
        },
    )


SCENARIO = Scenario(
    listeners=lambda world: [
        logged(world, "worker", [Wait, Reply], handle),
        logged(world, "helper", Ask, handle),
    ],
    strangers=strangers,
    drained=[(Wait(1), "worker")],
    calls=("ordered", "unordered"),
    settings={"max_in_flight": 4},
)
ALL = " ".join(f"{number}:{'rejected' if number == 4 else 'completed'}" for number in range(1, 8))
UNDISTURBED = {"ordered": repr(ALL), "unordered": repr(ALL), "asked": "Reply(text='0')"}


@pytest.mark.parametrize(("call", "seed"), [("ordered", 0), ("unordered", 1)])
def test_wherever_a_batch_is_cancelled_nothing_of_it_is_left(call: str, seed: int) -> None:
    with scheduling(shuffled=True) as seeds:
        one = seeds[seed : seed + 1]
        assert results_of_one(SCENARIO, call, one, UNDISTURBED) == {UNDISTURBED[call], "cancelled"}


@pytest.mark.parametrize("cut", ["organism", "shutdown"])
def test_wherever_the_organism_is_cut_no_message_of_a_batch_is_lost(cut: str) -> None:
    with scheduling(shuffled=True) as seeds:
        assert count_met(SCENARIO, cut, seeds[:1]) > 0
