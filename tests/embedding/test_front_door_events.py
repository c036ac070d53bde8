"""Events and batches at the front door, the same on Trio, asyncio and uvloop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import ContextVar

import anyio
import anyio.lowlevel
import sniffio

from phloem import (
    AgentEvent,
    Organism,
)
from support.embedded import everywhere, opened, until
from support.listeners import BACK, HANG, Ask

WHO: ContextVar[str] = ContextVar("who", default="nobody")


# -- events -------------------------------------------------------------------------------------------


@everywhere
async def test_a_stream_gives_each_event_in_order() -> None:
    async with opened(BACK) as organism:
        async with organism.events.open_stream("execution_completed", buffer=50) as events:
            receipts = [await organism.send(Ask(str(n)), to="back") for n in range(20)]
            seen = [await anext(events) for _ in range(20)]
        seqs = [event.seq for event in seen if isinstance(event, AgentEvent)]
        assert seqs == sorted(seqs)
        assert len(set(seqs)) == len(receipts) == 20
        assert events.statistics() == {"received": 20, "lost": 0, "waiting": 0}


@everywhere
async def test_a_stream_ends_with_its_organism_and_what_waits_may_be_read() -> None:
    seen: list[object] = []
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            async with organism.events.open_stream("stream_stopped") as events:
                reading.append(True)
                async for event in events:
                    seen.append(event)

        reading: list[bool] = []
        async with opened(BACK) as organism:
            tasks.start_soon(read)
            await until(lambda: reading)
    assert [event.type for event in seen if isinstance(event, AgentEvent)] == ["stream_stopped"]


@everywhere
async def test_a_cancelled_reader_has_taken_nothing() -> None:
    organism: Organism
    async with opened(BACK) as organism:
        organism.events.register_type("mine")
        async with organism.events.open_stream("mine") as events:
            for _ in range(20):
                with anyio.move_on_after(0.001) as scope:
                    await events.receive()
                assert scope.cancelled_caught
            for number in range(3):
                await organism.events.publish(AgentEvent("mine", str(number)))
            seen = [await events.receive() for _ in range(3)]
            assert [event.stream_id for event in seen if isinstance(event, AgentEvent)] == ["0", "1", "2"]


@everywhere
async def test_a_reader_of_much_lets_others_run() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with opened(BACK) as organism:
        organism.events.register_type("mine")
        async with organism.events.open_stream("mine", buffer=100) as events:
            for number in range(100):
                organism.events.emit(AgentEvent("mine", str(number)))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(others)
                await until(lambda: turns)
                turns = 0
                for _ in range(100):
                    await events.receive()
                assert turns >= 50
                tasks.cancel_scope.cancel()


@everywhere
async def test_handlers_of_events_run_and_expectations_are_met() -> None:
    heard: list[str] = []

    async def hear(event: AgentEvent) -> None:
        assert sniffio.current_async_library() == "trio"
        heard.append(f"{WHO.get()} {event.stream_id}")

    async with opened(BACK) as organism:
        bus = organism.events
        bus.register_type("mine")
        WHO.set("subscriber")
        bus.subscribe("mine", hear)
        with bus.expect("mine") as expected:
            bus.emit(AgentEvent("mine", "1"))
            assert (await expected).stream_id == "1"
            assert (await expected.wait()).stream_id == "1"
        delivered = await bus.deliver(AgentEvent("mine", "2"))
        assert delivered.errors == {}
        assert heard == ["subscriber 1", "subscriber 2"]
        assert await bus.wait_for("mine", timeout=0.01) is None
        with anyio.move_on_after(0.01) as scope:
            await bus.wait_for("mine")
        assert scope.cancelled_caught
        await bus.scoped(stream_id="s").publish(AgentEvent("mine", "s"))
        latest = bus.latest("mine")
        assert latest is not None
        assert latest.stream_id == "s"


# -- batches -------------------------------------------------------------------------------------------


@everywhere
async def test_a_batch_gives_one_result_for_each_message() -> None:
    async def messages() -> AsyncIterator[Ask]:
        for number in range(30):
            await anyio.lowlevel.checkpoint()  # the source is the caller's, and waits on the caller's side
            yield Ask(str(number))

    async with opened(BACK) as organism:
        for source in ([Ask(str(number)) for number in range(30)], messages()):
            async with organism.open_batch(source, max_in_flight=4) as results:
                texts = [result.outcome.payloads[0].text async for result in results]
            assert texts == [str(number) for number in range(30)]
        async with organism.open_batch([Ask("x")] * 10) as results:
            await anext(results)
        assert organism.report.in_flight == 0


@everywhere
async def test_a_hung_organism_is_left_by_a_cancelled_body() -> None:
    with anyio.move_on_after(0.02) as scope:
        async with opened(HANG) as organism:
            await organism.ask(Ask("x"), to="hang")
    assert scope.cancelled_caught
    assert organism.report.abandoned == 1  # pyright: ignore[reportPossiblyUnboundVariable]
