"""Claims of pump/sources.py, open_sources.py and fair_line.py: sources take turns, and close first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from phloem.config import Budgets, MemoryLimits, OrganismConfig, WireLimits
from phloem.errors import CallerError, MessageRejected, OrganismClosed, SenderRefused, WouldDeadlock
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Receipt
from phloem.organism import Organism, open_organism
from phloem.pump.fair_line import FairLine
from phloem.pump.origin import Origin
from phloem.pump.sources import Source
from phloem.testing import sweep
from support.auditing import open_audited
from support.gates import Gates, settled
from support.listeners import BACK, HANG, SLOW, Ask, Reply, fall, listener
from support.sweeping import Scenario, World, logged, results_of_one, scheduling, side_by_side

FLOOD = 500
ORDER = ("accepted", "rejected", "waiting", "in_flight")


class Clerk:
    """A listener that takes a second for each message, one at a time, and writes down whose it was."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.listener = listener("clerk", Ask, self.serve, max_concurrent=1)

    async def serve(self, payload: Ask, metadata: HandlerMetadata) -> None:
        self.served.append(metadata.from_id)
        await trio.sleep(1)


def counts(source: Any) -> tuple[int, ...]:
    statistics = source.statistics()
    states = [statistics[state.value] for state in ConversationState if state != "rejected"]
    assert statistics["accepted"] == statistics["in_flight"] + sum(states)
    return tuple(statistics[key] for key in ORDER)


# -- turns -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seats", [1, 2, 1_000])
async def test_a_flood_from_one_source_delays_another_by_one_message(
    seats: int, autojump_clock: trio.abc.Clock
) -> None:
    clerk = Clerk()
    async with open_audited(clerk.listener, max_in_flight=seats, shutdown_grace=9_999) as organism:
        async with (
            organism.open_source("flood") as flood,
            organism.open_source("calm") as calm,
            trio.open_nursery() as nursery,
        ):
            for number in range(FLOOD):
                nursery.start_soon(flood.send, Ask(str(number)), "clerk")
            await trio.sleep(10.5)
            before = len(clerk.served)
            assert before == 11
            await calm.send(Ask("calm"), "clerk")
            await trio.sleep(2)
            after = clerk.served[before:]
            assert "calm" in after[:2], "the one that was served already is not counted"
    assert len(clerk.served) == FLOOD + 1


@pytest.mark.parametrize("seats", [1, 1_000])
async def test_each_flooding_source_delays_another_by_one_message(
    seats: int, autojump_clock: trio.abc.Clock
) -> None:
    clerk = Clerk()
    async with open_audited(clerk.listener, max_in_flight=seats, shutdown_grace=9_999) as organism:
        async with (
            organism.open_source("a") as a,
            organism.open_source("b") as b,
            organism.open_source("calm") as calm,
            trio.open_nursery() as nursery,
        ):
            for number in range(100):
                for source in (a, b, organism):  # strangers without a source are one together
                    nursery.start_soon(source.send, Ask(str(number)), "clerk")
            await trio.sleep(10.5)
            before = len(clerk.served)
            await calm.send(Ask("calm"), "clerk")
            await trio.sleep(5)
            between = clerk.served[before : clerk.served.index("calm")]
            assert len(between) <= 3
            assert len(set(between)) == len(between)
            nursery.cancel_scope.cancel()
            await organism.shutdown(0)


@pytest.mark.parametrize("seats", [1, 1_000])
async def test_an_urgent_source_goes_before_all_others(seats: int, autojump_clock: trio.abc.Clock) -> None:
    clerk = Clerk()
    async with open_audited(clerk.listener, max_in_flight=seats, shutdown_grace=9_999) as organism:
        async with (
            organism.open_source("flood") as flood,
            organism.open_source("alarm", priority=True) as alarm,
            trio.open_nursery() as nursery,
        ):
            assert (alarm.priority, flood.priority) == (True, False)
            for number in range(20):
                nursery.start_soon(flood.send, Ask(str(number)), "clerk")
            await trio.sleep(3.5)
            for number in range(5):
                nursery.start_soon(alarm.send, Ask(str(number)), "clerk")
            await trio.sleep(6)
            assert clerk.served[:4] == ["flood"] * 4
            assert clerk.served[4:9] == ["alarm"] * 5
    assert len(clerk.served) == 25


async def test_who_waits_for_threads_to_end_waits_in_turn_as_well(autojump_clock: trio.abc.Clock) -> None:
    clerk = Clerk()
    limits = MemoryLimits(max_threads=2)  # the root's and the clerk's: one conversation
    async with open_audited(clerk.listener, memory=limits, shutdown_grace=9_999) as organism:
        async with (
            organism.open_source("flood") as flood,
            organism.open_source("calm") as calm,
            organism.open_source("alarm", priority=True) as alarm,
            trio.open_nursery() as nursery,
        ):
            for number in range(100):
                nursery.start_soon(flood.send, Ask(str(number)), "clerk")
            await trio.sleep(2.5)
            assert counts(flood)[2] == 97
            nursery.start_soon(calm.send, Ask("calm"), "clerk")
            await trio.sleep(0.1)
            nursery.start_soon(alarm.send, Ask("alarm"), "clerk")
            await trio.sleep(0.1)
            assert (counts(calm)[2], counts(alarm)[2]) == (1, 1)
            assert organism.statistics()["seats"]["waiting"] == 99
            await trio.sleep(4)
            assert clerk.served == ["flood"] * 3 + ["alarm", "flood", "calm", "flood"]
            nursery.cancel_scope.cancel()
            await organism.shutdown(0)


async def test_long_documents_are_read_in_turn() -> None:
    gates = Gates()
    limits = WireLimits(thread_parse_bytes=10)
    read: list[str] = []
    async with open_audited(gates.listener, wire=limits, max_concurrent_pipelines=1) as organism:
        slots = organism._pump.slots
        held = object()
        slots.pipelines.acquire_on_behalf_of_nowait(held)  # no document can be read for now

        async def inject(source: Source, text: str) -> None:
            await source.inject(f"<Ask><Text>{text}</Text></Ask>")
            read.append(text)

        async with (
            organism.open_source("flood") as flood,
            organism.open_source("calm") as calm,
            trio.open_nursery() as nursery,
        ):
            for number in range(20):
                nursery.start_soon(inject, flood, f"f{number}")
            await settled()
            nursery.start_soon(inject, calm, "calm")
            await settled()
            assert (counts(flood)[2], counts(calm)[2]) == (20, 1)
            for text in ("calm", *(f"f{number}" for number in range(20))):
                gates.open(text)
            slots.pipelines.release_on_behalf_of(held)
            organism._pump.carriers.pulse()
        assert read.index("calm") <= 2


async def test_what_a_conversation_of_a_source_goes_on_to_do_is_its_sources_turn(
    autojump_clock: trio.abc.Clock,
) -> None:
    clerk = Clerk()

    async def passes_on(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(Ask(str(number)), "clerk") for number in range(int(payload.text))]

    served: list[str] = []

    async def serve(payload: Ask, metadata: HandlerMetadata) -> None:
        served.append(metadata.conversation)
        await trio.sleep(1)

    clerk.listener = listener("clerk", Ask, serve, max_concurrent=1)
    front = listener("front", Ask, passes_on)
    async with open_audited(front, clerk.listener, shutdown_grace=9_999) as organism:
        async with organism.open_source("flood") as flood, organism.open_source("calm") as calm:
            receipts = [await flood.send(Ask("3"), "front") for _ in range(3)]
            await trio.sleep(0.5)
            mine = await calm.send(Ask("3"), "front")
            await organism.wait_idle()
    flood_ids = {receipt.conversation for receipt in receipts}
    owners = ["c" if id == mine.conversation else "f" for id in served]
    assert "".join(owners) in ("ffcfcfcfffff", "fcfcfcffffff")
    assert set(served) == flood_ids | {mine.conversation}


async def test_what_handlers_send_without_a_source_belongs_to_none() -> None:
    async with open_audited(BACK, *_sending("sender")) as organism:
        async with organism.open_source("calm", priority=True) as calm:
            await calm.send(Ask("x"), "sender")
            await organism.wait_idle()
            assert counts(calm) == (1, 0, 0, 0)
    assert organism.report.accepted == 3, "Boot, what came in and what its handler sent"


def _sending(name: str) -> list[Any]:
    organisms: list[Organism] = []

    async def send(payload: Ask, metadata: HandlerMetadata) -> None:
        organism = phloem_of(organisms)
        await organism.send(Ask("from within"), "back")

    def phloem_of(known: list[Organism]) -> Organism:
        if not known:
            import gc

            known.extend(
                each for each in gc.get_objects() if isinstance(each, Organism) and not each._pump.intake.closed
            )
        return known[0]

    return [listener(name, Ask, send)]


# -- figures ---------------------------------------------------------------------------------------


async def test_a_source_counts_what_became_of_its_messages(autojump_clock: trio.abc.Clock) -> None:
    bad = listener("bad", Ask, fall)
    async with open_audited(BACK, SLOW, HANG, bad, max_in_flight=4, shutdown_grace=0) as organism:
        async with organism.open_source("one") as one, organism.open_source("two") as two:
            assert await one.ask(Ask("x"), "back") == Reply("x")
            await one.inject("<Ask><Text>x</Text></Ask>" if False else _envelope("back"))
            await one.send(Ask("x"), "bad")
            await organism.wait_idle()
            with pytest.raises(MessageRejected):
                await one.inject("<Ask><Nothing/></Ask>")
            with pytest.raises(MessageRejected):
                await one.send(Ask("x"), "nobody")
            await one.send(Ask("x"), "slow", budgets=Budgets(seconds=1))
            await one.send(Ask("x"), "hang")
            await trio.sleep(2)
            assert counts(one) == (5, 2, 0, 1)
            assert counts(two) == (0, 0, 0, 0)
            ended = one.statistics()
            assert (ended["completed"], ended["failed"], ended["timed_out"]) == (2, 1, 1)
            assert organism.statistics()["sources"] == {
                "one": one.statistics(),
                "two": two.statistics(),
            }
            assert organism.statistics()["conversations"]["rejected"] == 2
        assert organism.statistics()["sources"] == {}
        assert counts(one) == (5, 2, 0, 1)
        await organism.shutdown(0)
    assert one.statistics()["drained"] == 1


def _envelope(to: str) -> bytes:
    return (
        '<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>boss</from>'
        f'<to>{to}</to></meta><Ask xmlns=""><Text>x</Text></Ask></message>'
    ).encode()


# -- names and blocks ------------------------------------------------------------------------------


async def test_a_name_is_open_once_whatever_its_case_and_free_again_after_its_block() -> None:
    async with open_audited(BACK) as organism:
        async with organism.open_source("Console") as first:
            assert organism.sources == {"Console": first}
            with pytest.raises(SenderRefused, match="'Console' is open"):
                async with organism.open_source("console"):
                    pass
            assert (await first.send(Ask("x"), "back")).turn == 1
            await organism.send(Ask("x"), "back", sender="console")  # a stranger may say so still
        assert organism.sources == {}
        async with organism.open_source("console") as second:
            assert organism.sources == {"console": second}
        assert issubclass(SenderRefused, CallerError)
        assert issubclass(SenderRefused, ValueError)


@pytest.mark.parametrize("name", ["", " ", "back", "BACK", "system", "system.todo", "x" * 129, "a\x00"])
async def test_a_name_that_a_stranger_may_not_have_is_refused(name: str) -> None:
    async with open_audited(BACK) as organism:
        with pytest.raises(SenderRefused):
            async with organism.open_source(name):
                pass
        assert organism.sources == {}


async def test_messages_come_from_their_source() -> None:
    gates = Gates()
    seen: list[str] = []

    async def see(payload: Ask, metadata: HandlerMetadata) -> None:
        seen.append(metadata.from_id)

    async with open_audited(gates.listener, listener("see", Ask, see)) as organism:
        async with organism.open_source("console") as source:
            assert source.name == "console"
            await source.send(Ask("x"), "see")
            await source.inject(_envelope("see"))
            await organism.wait_idle()
    assert seen == ["console", "console"]


async def test_a_source_that_is_left_accepts_nothing_and_what_it_sent_goes_on() -> None:
    gates = Gates()
    async with open_audited(gates.listener) as organism:
        async with organism.open_source("console") as source:
            receipt = await source.send(Ask("a"), "gate")
            assert not source.closed
        assert source.closed
        for call in (source.send, source.ask):
            with pytest.raises(OrganismClosed, match="the source 'console' has been closed"):
                await call(Ask("b"), "gate")
        with pytest.raises(OrganismClosed, match="'console'"):
            await source.inject(_envelope("gate"))
        gates.open("a")
        assert (await organism.wait(receipt)).state is ConversationState.COMPLETED
        assert counts(source) == (1, 0, 0, 0)


@pytest.mark.parametrize("where", ["seat", "threads", "reading"])
async def test_who_waits_in_a_source_that_is_closed_is_told_so_and_others_wait_on(where: str) -> None:
    gates = Gates()
    settings: dict[str, Any] = {"seat": {"max_in_flight": 1}, "threads": {"memory": MemoryLimits(max_threads=2)}}.get(
        where, {"wire": WireLimits(thread_parse_bytes=10)}
    )
    told: list[str] = []

    async def waits(source: Source) -> None:
        try:
            await source.inject("<Ask><Text>waits</Text></Ask>")
        except OrganismClosed as error:
            told.append(str(error))
        else:
            told.append("accepted")

    async with open_audited(gates.listener, max_concurrent_pipelines=2, **settings) as organism:
        slots, held = organism._pump.slots, [object(), object()]
        if where == "reading":
            for each in held:
                slots.pipelines.acquire_on_behalf_of_nowait(each)
        else:
            await organism.send(Ask("first"), "gate")
        async with trio.open_nursery() as nursery, organism.open_source("stays") as stays:
            async with organism.open_source("goes", priority=True) as goes:
                for _ in range(3):
                    nursery.start_soon(waits, goes)
                nursery.start_soon(waits, stays)
                await settled()
                assert (counts(goes)[2], counts(stays)[2]) == (3, 1)
            await settled()
            assert told == ["the source 'goes' has been closed and takes no more messages"] * 3
            assert (counts(goes)[2], counts(stays)[2]) == (0, 1)
            gates.open("first")
            gates.open("waits")
            if where == "reading":
                for each in held:
                    slots.pipelines.release_on_behalf_of(each)
                organism._pump.carriers.pulse()
            while len(told) < 4:
                await trio.sleep(0.001)
            assert told[3] == "accepted"


async def test_a_handler_that_would_wait_in_a_source_is_told_that_it_would_deadlock() -> None:
    raised: list[str] = []
    sources: list[Source] = []

    async def tries(payload: Ask, metadata: HandlerMetadata) -> None:
        for call in (sources[0].send, sources[0].ask):
            with pytest.raises(WouldDeadlock):
                await call(Ask("x"), "tries")
            raised.append(call.__name__)

    async with open_audited(listener("tries", Ask, tries), max_in_flight=1) as organism:
        async with organism.open_source("console") as source:
            sources.append(source)
            await source.send(Ask("x"), "tries")
            await organism.wait_idle()
    assert raised == ["send", "ask"]


# -- shutdown --------------------------------------------------------------------------------------


async def test_shutdown_closes_every_source_then_the_way_in_and_drains_what_they_sent() -> None:
    gates = Gates()
    async with open_audited(gates.listener) as organism, trio.open_nursery() as nursery:
        async with organism.open_source("console") as source:
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
        "inject": lambda source: source.inject(_envelope("gate")),
        "ask": lambda source: source.ask(Ask("b"), "gate"),
    }
    async with open_audited(gates.listener, max_in_flight=1) as organism:
        async with organism.open_source("console") as source:
            await source.send(Ask("a"), "gate")
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(calls[way], source)
                    await settled()
                    assert counts(source) == (1, 0, 3, 1)
                    scope.cancel()
            assert counts(source) == (1, 0, 0, 1)
            assert not organism._pump.intake._seats._others
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
                return await organism.wait(await source.inject(_envelope("worker")))
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
    assert len(organism._pump.intake._seats._ways) <= 1, "but for strangers without a source"


@pytest.mark.parametrize("settings", [{"max_in_flight": 1}, {"memory": MemoryLimits(max_threads=2)}], ids=["seats", "threads"])
@pytest.mark.parametrize("call", ["urgent", "inject", "send", "organism"])
def test_wherever_a_source_is_cancelled_no_seat_and_no_line_is_lost(call: str, settings: dict[str, Any]) -> None:
    scenario = Scenario(
        lambda world: [logged(world, "worker", Ask, _worker)],
        _strangers,
        [],
        ["urgent", "inject", "send"],
        {"max_in_flight": 9, **settings},
    )
    with scheduling(shuffled=True) as seeds:
        results = results_of_one(scenario, call, seeds, {}) if call == "organism" else None
        if results is None:
            from support.sweeping import sweep as each_cut

            for world in each_cut(scenario, call, seeds):
                assert world.results["beside"] != "cancelled"


async def _several_sources() -> None:
    config = OrganismConfig("office", [SLOW], max_in_flight=2, wire=WireLimits(thread_parse_bytes=10))
    async with open_organism(config) as organism, trio.open_nursery() as nursery:
        async with organism.open_source("a") as a, organism.open_source("b", priority=True) as b:
            async with trio.open_nursery() as senders:
                for number in range(3):
                    senders.start_soon(a.send, Ask(str(number)), "slow")
                    senders.start_soon(b.inject, f"<Ask><Text>{number} and more</Text></Ask>")
            nursery.start_soon(a.ask, Ask("x"), "slow")
            await settled()


@pytest.mark.parametrize("seed", range(2))
def test_the_promises_of_the_pump_hold_with_sources_wherever_all_of_it_is_cancelled(seed: int) -> None:
    assert sweep(_several_sources, seed=seed, strategy="walk").passed


# -- the line itself -------------------------------------------------------------------------------


async def test_a_line_serves_its_sources_in_turn_and_each_in_order() -> None:
    line, order = FairLine[int](), list[str]()
    a, b = Origin("a"), Origin("b")

    async def wait(origin: Origin | None, name: str) -> None:
        order.append(f"{name}{await line.wait(origin)}")

    async with trio.open_nursery() as nursery:
        for origin, name in ((a, "a1"), (a, "a2"), (a, "a3"), (None, "s1"), (b, "b1"), (b, "b2")):
            nursery.start_soon(wait, origin, name)
            await settled()
        assert (len(line), line.waiting(a), bool(line)) == (6, 3, True)
        for number in range(6):
            assert line.serve(number)
            await settled()
    assert order == ["a10", "s11", "b12", "a23", "b24", "a35"]
    assert not line.serve(9)
    assert (len(line), bool(line)) == (0, False)


async def test_a_source_whose_tasks_have_given_up_has_no_turn_and_no_old_place() -> None:
    line, order = FairLine[None](), list[str]()
    a, b = Origin("a"), Origin("b")

    async def wait(origin: Origin, scope: trio.CancelScope) -> None:
        with scope:
            await line.wait(origin)
            order.append(origin.name)

    async with trio.open_nursery() as nursery:
        given_up = trio.CancelScope()
        nursery.start_soon(wait, a, given_up)
        await settled()
        nursery.start_soon(wait, b, trio.CancelScope())
        await settled()
        given_up.cancel()
        assert line.serve(None)  # before the one that was cancelled has run
        nursery.start_soon(wait, a, trio.CancelScope())
        await settled()
        assert line.serve(None)
    assert order == ["b", "a"]


async def test_a_line_that_is_closed_tells_everybody_and_takes_nobody_any_more() -> None:
    line, told = FairLine[None](), list[str]()

    async def wait(origin: Origin | None) -> None:
        try:
            await line.wait(origin)
        except trio.ClosedResourceError:
            told.append("closed")

    async with trio.open_nursery() as nursery:
        for origin in (None, Origin("a"), Origin("b", urgent=True)):
            nursery.start_soon(wait, origin)
        await settled()
        line.close()
        nursery.start_soon(wait, None)
    assert told == ["closed"] * 4
    assert not line.serve(None)
