"""Users' steps that hold strangers up know of sources: turns, priority, and what is closed."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio
import trio.testing

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import OrganismClosed
from phloem.feeding.batches import NOT_SENT
from phloem.messages import HandlerMetadata
from phloem.pump.pipeline import Pipeline
from phloem.pump.ready_made import deadline, limit, pace, rate
from phloem.testing import check_pump, explore, open_watched_organism, simulate
from support.gates import settled
from support.listeners import BACK, Ask, listener
from support.pipelines import DEFAULT, open_piped

Clock = trio.testing.MockClock
FLOOD: Final = 50
SPACED: Final = [
    DEFAULT.before("admit", pace(1)),
    DEFAULT.before("parse", pace(1)),
    DEFAULT.before("admit", rate(1, 1)),
]
named = pytest.mark.parametrize(
    "pipeline", SPACED, ids=lambda each: f"{each.placed[0].name} {each.placed[0].place}"
)


def seconds(count: int) -> ListenerConfig:
    async def serve(payload: Ask, metadata: HandlerMetadata) -> None:
        await trio.sleep(count)

    return listener("serve", Ask, serve)


# -- turns ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", [False, True])
@pytest.mark.parametrize(
    "pipeline",
    [*SPACED, DEFAULT.before("admit", limit(1)), DEFAULT.before("parse", limit(1))],
    ids=lambda each: f"{each.placed[0].name} {each.placed[0].place}",
)
async def test_a_flood_delays_another_source_by_one_message_there_too(
    pipeline: Pipeline, priority: bool, autojump_clock: Clock
) -> None:
    async with (
        open_piped(pipeline, seconds(1), max_in_flight=1, shutdown_grace=0.0) as organism,
        organism.open_source("flood") as flood,
        organism.open_source("calm", priority=priority) as calm,
        trio.open_nursery() as nursery,
    ):
        for _ in range(FLOOD):
            nursery.start_soon(flood.send, Ask("x"), "serve")
        await trio.sleep(5.5)
        begun = trio.current_time()
        await calm.send(Ask("x"), "serve")
        assert trio.current_time() - begun <= 1.5 + (not priority)
        assert flood.statistics()["waiting"] > FLOOD / 2
        nursery.cancel_scope.cancel()


# -- closing ----------------------------------------------------------------------------------------


@named
async def test_a_shutdown_wakes_whoever_is_spaced(pipeline: Pipeline, autojump_clock: Clock) -> None:
    async with open_piped(pipeline, BACK) as organism:
        async with organism.open_batch([Ask(str(n)) for n in range(FLOOD)]) as results:
            await anext(results)
            begun = trio.current_time()
            await organism.shutdown()
            rest = [each async for each in results]
        assert [each.outcome.cause for each in rest] == [NOT_SENT] * (FLOOD - 1)
        assert trio.current_time() == begun


@named
async def test_a_source_that_is_closed_wakes_its_own_and_takes_no_turn(
    pipeline: Pipeline, autojump_clock: Clock
) -> None:
    closed: list[float] = []

    async def late(source: Any) -> None:
        with pytest.raises(OrganismClosed, match="flood"):
            await source.send(Ask("x"))
        closed.append(trio.current_time())

    async with (
        open_piped(pipeline, BACK) as organism,
        organism.open_source("flood") as flood,
        organism.open_source("calm") as calm,
        trio.open_nursery() as nursery,
    ):
        begun = trio.current_time()
        await flood.send(Ask("x"))
        for _ in range(FLOOD):
            nursery.start_soon(late, flood)
        await settled()
        nursery.start_soon(calm.send, Ask("x"))
        await settled()
        flood.close()
        await calm.send(Ask("y"))
        assert closed == [begun] * FLOOD
        assert trio.current_time() == begun + 2


@pytest.mark.parametrize("place", ["admit", "parse"])
async def test_who_waits_for_a_limit_is_told_of_the_end(place: str, autojump_clock: Clock) -> None:
    closed: list[str] = []

    async def late(organism: Any) -> None:
        with pytest.raises(OrganismClosed) as error:
            await organism.inject("<Ask><Text>x</Text></Ask>")
        closed.append(str(error.value))

    async def parse(incoming: Any) -> Any:
        await trio.sleep(3)
        return incoming.data

    pipeline = DEFAULT.before(place, limit(1)).replace("parse", parse)
    async with open_piped(pipeline, BACK) as organism, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(late, organism)
        await settled()
        await organism.shutdown()
    assert closed == ["the organism takes no more messages"] * 3


# -- what was found beside --------------------------------------------------------------------------


async def cut_before_its_pause() -> None:
    """A message fails for the first time as its conversation is killed; its pause would be too long."""
    failing = trio.Event()

    async def fail(payload: Ask, metadata: HandlerMetadata) -> None:
        failing.set()
        raise ValueError("x")

    one = listener("fail", Ask, fail, retries=3, retry_base_delay=5.0)
    async with open_piped(DEFAULT.before("dispatch", deadline(1)), one) as organism:
        receipt = await organism.send(Ask("x"))
        await failing.wait()
        await organism.kill(receipt.conversation)


def test_what_is_cut_before_its_pause_has_begun_is_abandoned_and_not_failed() -> None:
    assert explore(cut_before_its_pause, runs=40, check=check_pump).passed


def test_a_message_that_is_on_its_way_in_holds_its_seat_rightly() -> None:
    async def main() -> None:
        async def patient(incoming: Any) -> Any:
            await trio.sleep(60)
            return incoming.data

        async def stream() -> Any:
            yield b"<Ask><Text>x</Text></Ask>"

        async with open_watched_organism(
            OrganismConfig("fed", [BACK]), pipeline=DEFAULT.replace("parse", patient)
        ) as organism:
            organism.attach(stream(), sender="feed")
            await trio.sleep(1)

    assert simulate(main).failure is None
