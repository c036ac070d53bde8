"""A batch: one result for each message, in order, and never read further ahead than its window."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets
from phloem.feeding.batches import BatchMessage, BatchResult, Unread
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Outcome
from support.auditing import open_audited, report_of
from support.batches import WAIT, Counted, Wait, all_of, answers, numbers
from support.listeners import BACK, Ask, Reply, listener

COMPLETED = ConversationState.COMPLETED
CANCELLED = ConversationState.CANCELLED


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
