"""Claims of pump/open_sources.py: sources close first, and whoever is cut in one loses nothing of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from phloem.config import MemoryLimits, OrganismConfig, WireLimits
from phloem.errors import OrganismClosed
from phloem.messages import HandlerMetadata, HandlerResponse, Receipt
from phloem.organism import Organism, open_organism
from phloem.pump.sources import Source
from phloem.testing import sweep
from support.auditing import open_audited
from support.feeds import counts, envelope
from support.gates import Gates, settled
from support.listeners import BACK, SLOW, Ask, Reply
from support.sweeping import Scenario, World, logged, scheduling, side_by_side
from support.sweeping import sweep as each_cut

# -- shutdown --------------------------------------------------------------------------------------


async def test_shutdown_closes_every_source_then_the_way_in_and_drains_what_they_sent() -> None:
    gates = Gates()
    async with (
        open_audited(gates.listener) as organism,
        trio.open_nursery() as nursery,
        organism.open_source("console") as source,
    ):
        await source.send(Ask("a"), "gate")
        nursery.start_soon(organism.shutdown, 5)
        await settled()
        assert source.closed
        assert organism.sources == {}
        with pytest.raises(OrganismClosed):
            await source.send(Ask("b"), "gate")
        with pytest.raises(OrganismClosed):
            async with organism.open_source("late"):
                pass
        gates.open("a")
    assert organism.report.handled == 2
    assert source.statistics()["completed"] == 1


async def test_the_way_in_closes_once_no_task_reads_for_a_source_any_more() -> None:
    async with open_organism(OrganismConfig("x", [BACK])) as organism, trio.open_nursery() as nursery:
        sources = organism._pump.sources
        sources.reading("feed")
        nursery.start_soon(organism.shutdown, 5)
        await settled()
        assert (sources.closing, sources.readers) == (True, ("feed",))
        await organism.send(Ask("x"), "back")  # no source's: the way in is open still
        sources.left("feed")
        with pytest.raises(OrganismClosed):
            await organism.send(Ask("x"), "back")
    assert organism.report.handled == 2


async def test_a_reader_that_does_not_leave_holds_up_the_drain_for_its_grace_only(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_organism(OrganismConfig("x", [BACK])) as organism:
        organism._pump.sources.reading("feed")
        before = trio.current_time()
        await organism.shutdown(3)
        assert trio.current_time() == before + 3
    assert organism._pump.intake.closed


# -- cancelling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["send", "inject", "ask"])
async def test_whoever_is_cancelled_in_a_sources_line_has_accepted_nothing_and_is_forgotten(way: str) -> None:
    gates = Gates()
    calls: dict[str, Callable[[Source], Awaitable[Any]]] = {
        "send": lambda source: source.send(Ask("b"), "gate"),
        "inject": lambda source: source.inject(envelope("gate")),
        "ask": lambda source: source.ask(Ask("b"), "gate"),
    }
    async with (
        open_audited(gates.listener, max_in_flight=1) as organism,
        organism.open_source("console") as source,
    ):
        await source.send(Ask("a"), "gate")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(calls[way], source)
                await settled()
                assert counts(source) == (1, 0, 3, 1)
                scope.cancel()
        assert counts(source) == (1, 0, 0, 1)
        assert len(organism._pump.intake._seats) == 0
        for text in ("a", "b", "x"):
            gates.open(text)
        await organism.wait_idle()
        await calls[way](source)
        await organism.wait_idle()
        assert counts(source) == (2, 0, 0, 0)


async def test_opening_a_source_is_a_checkpoint_and_cancelled_it_opens_nothing() -> None:
    async with open_audited(BACK) as organism:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with organism.open_source("console"):
                raise AssertionError("it was opened")
        assert scope.cancelled_caught
        assert organism.sources == {}


async def _worker(name: str, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    await trio.sleep(1)
    return HandlerResponse.respond(Reply(payload.text))


async def _strangers(world: World, organism: Organism) -> None:
    async def ask(name: str) -> Any:
        async with organism.open_source(name, priority=name == "urgent") as source:
            if name == "inject":
                return await organism.wait(await source.inject(envelope("worker")))
            return await source.ask(Ask(name), "worker")

    async def send(source: Source) -> Receipt:
        return await source.send(Ask("sent"), "worker")

    async with organism.open_source("shared") as shared:
        await side_by_side(
            world,
            {
                "urgent": lambda: ask("urgent"),
                "inject": lambda: ask("inject"),
                "send": lambda: send(shared),
                "beside": lambda: send(shared),
            },
        )
    assert organism.sources == {}
    assert not organism._pump.intake._seats._ways


@pytest.mark.parametrize(
    "settings", [{"max_in_flight": 1}, {"memory": MemoryLimits(max_threads=2)}], ids=["seats", "threads"]
)
@pytest.mark.parametrize("cut", ["urgent", "inject", "send", "organism", "shutdown"])
def test_wherever_a_source_is_cut_no_seat_and_no_line_is_lost(cut: str, settings: dict[str, Any]) -> None:
    scenario = Scenario(
        lambda world: [logged(world, "worker", Ask, _worker)],
        _strangers,
        [],
        ["urgent", "inject", "send"],
        {"max_in_flight": 9, **settings},
    )
    with scheduling(shuffled=True) as seeds:
        beside = {world.results.get("beside") for world in each_cut(scenario, cut, seeds)}
    if cut in scenario.calls:
        assert "cancelled" not in beside, "what stands beside it in its source goes on"


async def _several_sources() -> None:
    config = OrganismConfig("office", [SLOW], max_in_flight=2, wire=WireLimits(thread_parse_bytes=10))
    async with (
        open_organism(config) as organism,
        organism.open_source("a") as a,
        organism.open_source("b", priority=True) as b,
        trio.open_nursery() as senders,
    ):
        for number in range(3):
            senders.start_soon(a.send, Ask(str(number)), "slow")
            senders.start_soon(b.inject, f"<Ask><Text>{number} and more</Text></Ask>")
            senders.start_soon(a.ask, Ask("x"), "slow")


@pytest.mark.parametrize("seed", range(2))
def test_the_promises_of_the_pump_hold_with_sources_wherever_all_of_it_is_cancelled(seed: int) -> None:
    assert sweep(_several_sources, seed=seed, strategy="walk").passed
