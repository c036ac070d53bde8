"""What a batch may be read from, and what it means when that raises or gives what is no message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import ConfigurationError, ContractError, SenderRefused, WouldDeadlock
from phloem.feeding.batches import BatchMessage, BatchResult
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.organism import Organism
from support.auditing import open_audited
from support.batches import WAIT, Wait, all_of, answers, numbers, read_into
from support.listeners import BACK, Ask, Reply, listener

COMPLETED = ConversationState.COMPLETED
CANCELLED = ConversationState.CANCELLED


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
        assert (trio.current_time(), results.pending, results.unread) == (1, 0, ())
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
