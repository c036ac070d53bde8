"""A batch: one result for each message, never read further ahead than its window, cut when it is left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets
from phloem.errors import (
    ConfigurationError,
    ContractError,
    SenderRefused,
    WouldDeadlock,
)
from phloem.feeding.batches import BatchMessage, BatchResult, BatchResults, Unread
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Outcome
from phloem.organism import Organism
from support.auditing import open_audited, report_of, still_answers
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


@dataclass
class Wait:
    seconds: float


async def wait(payload: Wait, metadata: HandlerMetadata) -> HandlerResponse:
    await trio.sleep(payload.seconds)
    return HandlerResponse.respond(Reply(str(payload.seconds)))


WAIT = listener("wait", Wait, wait)


class Counted:
    """An endless source of messages that take so long, and how many have been taken of it."""

    def __init__(self, seconds: float = 1) -> None:
        self.seconds, self.taken = seconds, 0

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.taken += 1
            yield Wait(self.seconds)


async def all_of(organism: Organism, source: Any, **options: Any) -> list[BatchResult]:
    async with organism.open_batch(source, **options) as results:
        return [result async for result in results]


async def read_into(got: list[BatchResult], results: BatchResults) -> None:
    async for result in results:
        got.append(result)


def numbers(results: list[BatchResult]) -> list[int]:
    return [result.number for result in results]


def answers(results: list[BatchResult]) -> list[str]:
    return [payload.text for result in results for payload in result.outcome.payloads]


# -- one result for each ------------------------------------------------------------------------
async def test_each_message_has_one_result_in_the_order_of_the_source(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_audited(WAIT) as organism:
        results = await all_of(organism, [Wait(3), Wait(1), Wait(2)])
        assert trio.current_time() == 3
    assert answers(results) == ["3.0", "1.0", "2.0"]
    assert [(result.number, result.id, result.seconds) for result in results] == [
        (1, 1, 3.0),
        (2, 2, 1.0),
        (3, 3, 2.0),
    ]


async def test_unordered_results_come_as_they_end(autojump_clock: trio.testing.MockClock) -> None:
    came: list[tuple[int, float]] = []
    async with (
        open_audited(WAIT) as organism,
        organism.open_batch([Wait(3), Wait(1), Wait(2)], ordered=False) as results,
    ):
        async for result in results:
            came.append((result.number, trio.current_time()))
    assert came == [(2, 1), (3, 2), (1, 3)]


async def test_a_receipt_names_what_was_accepted() -> None:
    async with open_audited(BACK) as organism:
        [result] = await all_of(organism, [Ask("x")])
        assert result.receipt is not None
        assert await organism.wait(result.receipt) is result.outcome


async def test_payloads_documents_and_named_messages_may_stand_side_by_side() -> None:
    document = "<Ask><Text>{}</Text></Ask>"
    source = [
        Ask("a"),
        document.format("b"),
        document.format("c").encode(),
        BatchMessage(Ask("d"), to="back", id=("any", "thing")),
        BatchMessage(document.format("e"), id=0),
    ]
    async with open_audited(BACK) as organism:
        results = await all_of(organism, source)
    assert answers(results) == ["a", "b", "c", "d", "e"]
    assert [result.id for result in results] == [1, 2, 3, ("any", "thing"), 0]


async def test_what_is_rejected_is_a_result_among_the_others() -> None:
    source = [Ask("a"), "<Ask>", BatchMessage(Ask("b"), to="nobody"), Ask("\x01"), Ask("c")]
    async with open_audited(BACK) as organism:
        results = await all_of(organism, source)
        assert report_of(organism).rejected == 3
    assert [result.outcome.state for result in results] == [
        "completed",
        "rejected",
        "rejected",
        "rejected",
        "completed",
    ]
    assert [huh.code for result in results for huh in result.outcome.rejections] == [
        "truncated",
        "routing",
        "bad-char",
    ]
    assert [result.receipt is None for result in results] == [False, True, True, True, False]
    assert [result.seconds is None for result in results] == [False, True, True, True, False]


async def test_an_outcome_in_the_source_is_a_result_in_its_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    unreadable = Outcome("", ConversationState.REJECTED)
    async with open_audited(WAIT) as organism:
        results = await all_of(organism, [Wait(2), BatchMessage(unreadable, id="row"), Wait(1)])
    assert [result.id for result in results] == [1, "row", 3]
    assert results[1] == BatchResult(2, "row", unreadable)


async def test_what_ends_as_it_is_accepted_has_its_result() -> None:
    async with open_audited(BACK, budgets=Budgets(messages=1, depth=1)) as organism:
        two = "<Ask><Text>x</Text></Ask>"
        message = (
            '<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>a</from><to>back</to></meta>'
            '<Ask xmlns=""><Text>x</Text></Ask><Ask xmlns=""><Text>y</Text></Ask></message>'
        )
        results = await all_of(organism, [two, message])
    assert [result.outcome.state for result in results] == ["completed", "out_of_budget"]


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_empty_source_has_no_results(ordered: bool) -> None:
    async with open_audited(BACK) as organism:
        assert await all_of(organism, [], ordered=ordered) == []


async def test_the_context_of_the_caller_reaches_its_handlers() -> None:
    name: ContextVar[str] = ContextVar("name", default="nobody")

    async def tell(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Reply(name.get()))

    async with open_audited(listener("tell", Ask, tell)) as organism:
        name.set("the caller")
        assert answers(await all_of(organism, [Ask("x")])) == ["the caller"]


# -- how far ahead ------------------------------------------------------------------------------
async def test_the_slowest_holds_the_window_and_nobody_is_read_beyond_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    taken: list[tuple[int, float]] = []

    def source() -> Iterator[Any]:
        for number, seconds in enumerate([10, *[1] * 9], 1):
            taken.append((number, trio.current_time()))
            yield Wait(seconds)

    async with open_audited(WAIT) as organism:
        assert len(await all_of(organism, source(), max_in_flight=4)) == 10
        assert (
            trio.current_time() == 12
        )  # four side by side, six more by turns of four once the first is read
    assert [when for _, when in taken] == [0, 0, 0, 0, 10, 10, 10, 10, 11, 11]


async def test_unordered_the_others_pass_the_slowest(autojump_clock: trio.testing.MockClock) -> None:
    async with open_audited(WAIT) as organism:
        source = [Wait(10), *[Wait(1)] * 9]
        results = await all_of(organism, source, max_in_flight=4, ordered=False)
        assert trio.current_time() == 10
    assert sorted(numbers(results)) == list(range(1, 11))
    assert results[-1].number == 1


@pytest.mark.parametrize("ordered", [True, False])
async def test_who_reads_slowly_slows_reading(autojump_clock: trio.testing.MockClock, ordered: bool) -> None:
    source = Counted(0)
    async with (
        open_audited(WAIT) as organism,
        organism.open_batch(source, max_in_flight=5, ordered=ordered) as results,
    ):
        await trio.sleep(100)
        assert source.taken == 5
        for read in range(1, 20):
            await anext(results)
            await trio.sleep(100)
            assert source.taken == 5 + read - 1  # the one in the reader's hands keeps its place
            assert results.taken == source.taken
            assert (len(results.unread), results.pending) == (5, 4)


async def test_with_one_place_messages_go_one_after_the_other(autojump_clock: trio.testing.MockClock) -> None:
    async with open_audited(WAIT) as organism:
        await all_of(organism, [Wait(1)] * 5, max_in_flight=1)
        assert trio.current_time() == 5


async def test_by_default_a_thousand_are_read_ahead() -> None:
    source = Counted(1)
    async with open_audited(WAIT) as organism, organism.open_batch(source):
        await trio.testing.wait_all_tasks_blocked()
        assert source.taken == 1_000


async def test_a_cancelled_read_takes_no_result(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_audited(WAIT) as organism,
        organism.open_batch([Wait(3), Wait(4)]) as results,
    ):
        with trio.move_on_after(1):
            await anext(results)
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(results)
        assert [result.number async for result in results] == [1, 2]


async def test_what_is_in_the_window_can_be_looked_at(autojump_clock: trio.testing.MockClock) -> None:
    unread: tuple[Unread, ...] = ()
    async with (
        open_audited(WAIT, max_in_flight=2) as organism,
        organism.open_batch([Wait(2), Wait(1), Wait(5), Wait(5)], max_in_flight=3) as results,
    ):
        await trio.sleep(1.5)
        unread = results.unread
        assert results.pending == 3
        assert not results.exhausted
        receipts = [each.receipt for each in unread]
    assert [each.number for each in unread] == [1, 2, 3]
    assert [each.outcome is None for each in unread] == [True, False, True]
    assert None not in receipts


async def test_a_result_that_is_there_is_taken_without_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_audited(WAIT) as organism, organism.open_batch([Wait(1)] * 2) as results:
        with pytest.raises(trio.WouldBlock):
            results.receive_nowait()
        await trio.sleep(2)
        assert [results.receive_nowait().number for _ in range(2)] == [1, 2]
        with pytest.raises(trio.EndOfChannel):
            results.receive_nowait()
        with pytest.raises(trio.EndOfChannel):
            await results.receive()
        assert (results.taken, results.pending, results.exhausted) == (2, 0, True)


async def test_others_wait_for_one_message_of_a_batch_and_not_for_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        open_audited(WAIT, max_in_flight=1) as organism,
        organism.open_batch([Wait(10)] * 5) as results,
    ):
        await trio.sleep(1)
        await organism.ask(Wait(1), to="wait")
        assert trio.current_time() <= 21
        assert len([result async for result in results]) == 5
        assert trio.current_time() == 51


# -- sources ------------------------------------------------------------------------------------
async def some(raises: bool, closed: list[str]) -> AsyncIterator[Any]:
    try:
        for _ in range(3):
            await trio.sleep(1)
            yield Wait(10)
        if raises:
            raise LookupError("row 4")
    finally:
        closed.append("closed")


async def test_an_async_source_is_read_as_it_comes(autojump_clock: trio.testing.MockClock) -> None:
    closed: list[str] = []
    async with open_audited(WAIT) as organism:
        results = await all_of(organism, some(False, closed))
        assert trio.current_time() == 13
    assert [result.seconds for result in results] == [10, 10, 10]
    assert closed == ["closed"]


async def test_a_channel_is_a_source_and_stays_its_owners() -> None:
    put, source = trio.open_memory_channel[Any](3)
    for text in "abc":
        put.send_nowait(Ask(text))
    async with open_audited(BACK) as organism:
        async with organism.open_batch(source) as results:
            assert answers([await anext(results) for _ in range(3)]) == ["a", "b", "c"]
        put.send_nowait(Ask("d"))
        assert source.receive_nowait() == Ask("d")


@pytest.mark.parametrize("ordered", [True, False])
async def test_what_the_source_raises_comes_after_the_results_of_what_it_gave(
    autojump_clock: trio.testing.MockClock, ordered: bool
) -> None:
    closed: list[str] = []
    got: list[BatchResult] = []
    async with (
        open_audited(WAIT) as organism,
        organism.open_batch(some(True, closed), ordered=ordered) as results,
    ):
        with pytest.raises(LookupError, match="row 4") as caught:
            await read_into(got, results)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert numbers(got) == [1, 2, 3]
        with pytest.raises(StopAsyncIteration):
            await anext(results)
    assert closed == ["closed"]


async def test_the_cause_of_what_the_source_raises_is_kept() -> None:
    def source() -> Iterator[Any]:
        yield Ask("a")
        raise LookupError("row 2") from KeyError("why")

    async with open_audited(BACK) as organism:
        with pytest.raises(LookupError) as caught:
            await all_of(organism, source())
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    "bad",
    [7, ("pair", "to"), {"a": 1}, BatchMessage("<Ask/>", to="back")],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.parametrize("ordered", [True, False])
async def test_what_can_be_no_message_ends_reading_and_is_the_callers_fault(
    autojump_clock: trio.testing.MockClock, bad: Any, ordered: bool
) -> None:
    closed: list[str] = []

    async def source() -> AsyncIterator[Any]:
        try:
            yield Wait(1)
            yield bad
            while True:
                await trio.sleep(5)
                yield Wait(1)
        finally:
            closed.append("closed")

    got: list[BatchResult] = []
    async with open_audited(WAIT) as organism, organism.open_batch(source(), ordered=ordered) as results:
        with pytest.raises(ContractError):
            await read_into(got, results)
        assert trio.current_time() == 1
        assert closed == ["closed"]
    assert numbers(got) == [1]


async def test_of_several_that_are_no_messages_the_first_is_told() -> None:
    async with open_audited(BACK) as organism:
        for _ in range(20):  # whichever Trio lets go first
            with pytest.raises(ContractError, match="int"):
                await all_of(organism, [7, {}, 1.5, set[int]()])


@pytest.mark.parametrize("source", ["text", b"bytes", 7, None])
async def test_a_source_that_is_none_is_refused_before_anything_is_sent(source: Any) -> None:
    async with open_audited(BACK) as organism:
        with pytest.raises(ConfigurationError, match="source: found a"):
            await all_of(organism, source)


@pytest.mark.parametrize("window", [0, -1, True, 1.5, float("inf"), "5"])
async def test_a_window_that_is_none_is_refused(window: Any) -> None:
    async with open_audited(BACK) as organism:
        with pytest.raises(
            ConfigurationError, match=r"max_in_flight: found .*, expected a whole number, 1 or more"
        ):
            await all_of(organism, [Ask("x")], max_in_flight=window)


async def test_nobody_speaks_under_a_listeners_name() -> None:
    async with open_audited(BACK) as organism:
        with pytest.raises(SenderRefused):
            await all_of(organism, [Ask("x")], sender="back")


async def test_a_handler_may_not_wait_for_a_batch() -> None:
    found: list[Organism] = []

    async def reach(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        with pytest.raises(WouldDeadlock, match="open_batch inside a dispatch"):
            await all_of(found[0], [Ask("x")])
        return HandlerResponse.respond(Reply("refused"))

    async with open_audited(listener("reach", Ask, reach)) as organism:
        found.append(organism)
        assert await organism.ask(Ask("x"), to="reach") == Reply("refused")


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
        with pytest.raises(ExceptionGroup) as caught:
            async with organism.open_batch(source(), max_in_flight=1) as results:
                await anext(results)
        assert caught.group_contains(LookupError, match="closing")


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


@pytest.mark.parametrize("cut", ["organism", "shutdown", "error"])
def test_wherever_the_organism_is_cut_no_message_of_a_batch_is_lost(cut: str) -> None:
    with scheduling(shuffled=True) as seeds:
        assert count_met(SCENARIO, cut, seeds[:1]) > 0
