"""What stays the host's while a guest lives: its async generators, its loop, its threads, its causes."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sniffio
import trio

from phloem import CallerError, HostGone, OrganismConfig, on_host, open_organism
from phloem.embedding import guests
from phloem.embedding.crossing import cross
from phloem.embedding.guests import Guest, join_guest
from phloem.messages import HandlerMetadata, HandlerResponse
from support.embedded import each_loop, in_loops, new_loop, opened, run, until
from support.listeners import BACK, Ask, Reply, listener


@each_loop
def test_each_side_closes_its_own_async_generators_whichever_run_of_the_loop_it_is(backend: str) -> None:
    closed: list[tuple[str, str]] = []

    async def numbers(whose: str) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append((whose, sniffio.current_async_library()))

    async def drops_one(whose: str) -> None:
        dropped = numbers(whose)
        await anext(dropped)
        del dropped
        gc.collect()

    async def on_both(guest: Guest) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # Trio's, of what nobody closes
            await cross(guest, drops_one, "trio")
            await drops_one("asyncio")
            await until(lambda: len(closed) % 2 == 0)

    loop = new_loop(backend)
    guest = loop.run_until_complete(join_guest())
    try:
        for _ in range(2):
            loop.run_until_complete(on_both(guest))
    finally:
        loop.run_until_complete(guest.leave())
        loop.close()
    assert sorted(closed) == [("asyncio", "asyncio")] * 2 + [("trio", "trio")] * 2


@each_loop
def test_a_keeper_that_was_cancelled_before_its_first_step_is_waited_for_all_the_same(backend: str) -> None:
    async def main() -> None:
        joining = asyncio.create_task(join_guest())
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(HostGone):
            async with open_organism(OrganismConfig("late", (BACK,))):
                await asyncio.sleep(10)
        await asyncio.wait([joining])
        async with opened(BACK) as organism:  # in another guest
            assert await organism.ask(Ask("x"), to="back") == Reply("x")

    run(backend, main)


@in_loops
async def test_a_leaf_that_has_a_cause_of_its_own_keeps_it() -> None:
    async def fails() -> None:
        leaf = ValueError("leaf")
        leaf.__cause__ = KeyError("root")
        raise ExceptionGroup("group", [leaf])

    guest = await join_guest()
    try:
        with pytest.raises(ValueError, match="leaf") as raised:
            await cross(guest, fails)
    finally:
        await guest.leave()  # noqa: ASYNC102
    assert isinstance(raised.value.__cause__, KeyError)


@each_loop
def test_ctrl_c_in_a_waiting_host_cancels_what_it_waited_for(backend: str) -> None:
    begun, cut = list[bool](), list[bool]()

    async def hangs() -> None:
        begun.append(True)
        try:
            await trio.sleep_forever()
        finally:
            cut.append(True)

    async def main() -> None:
        guest = await join_guest()
        try:
            waits = cross(guest, hangs)
            waits.send(None)
            await until(lambda: begun)
            with pytest.raises(KeyboardInterrupt):
                waits.throw(KeyboardInterrupt())  # as the signal's handler raises it, in the task's own step
            await until(lambda: cut)
        finally:
            await guest.leave()  # noqa: ASYNC102

    run(backend, main)


class Strikes:
    """``sys`` for the guest, where Ctrl-C comes as it turns to Trio: a tick is taken, and not done yet."""

    def __init__(self) -> None:
        self.struck = False
        self.get_asyncgen_hooks = sys.get_asyncgen_hooks

    def set_asyncgen_hooks(self, *hooks: Any) -> None:
        if not self.struck:
            self.struck = True
            raise KeyboardInterrupt
        sys.set_asyncgen_hooks(*hooks)


@each_loop
def test_ctrl_c_beside_trios_scheduler_costs_no_tick(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleeps() -> int:
        await trio.sleep(0.001)
        return 7

    loop = new_loop(backend)
    guest = loop.run_until_complete(join_guest())
    task = loop.create_task(cross(guest, sleeps))
    monkeypatch.setattr(guests, "sys", Strikes())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert loop.run_until_complete(asyncio.wait_for(task, 5)) == 7
    loop.run_until_complete(guest.leave())
    loop.close()


@in_loops
async def test_the_open_sources_have_faces_as_the_organism_has() -> None:
    go = asyncio.Event()

    async def feed() -> AsyncIterator[bytes]:
        await go.wait()
        yield b"<Ask><text>x</text></Ask>"

    async with opened(BACK) as organism:
        sources: Any = organism.sources
        attached = organism.attach(feed(), sender="feed")
        async with organism.open_source("console") as source:
            assert dict(organism.sources) == {"feed": attached, "console": source}
            assert await sources["console"].ask(Ask("x"), to="back") == Reply("x")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.002):
                    await sources["feed"].wait_done()
            go.set()
            await sources["feed"].wait_done()
            assert list(organism.sources) == ["console"]
        assert (len(organism.sources), repr(organism.sources)) == (0, "{}")


@in_loops
async def test_a_plain_method_is_refused_in_another_thread_and_does_nothing_there() -> None:
    async def feed() -> AsyncIterator[bytes]:
        yield b""

    async with opened(BACK) as organism:
        with pytest.raises(CallerError, match="a thread that is not"):
            await asyncio.to_thread(organism.attach, feed(), sender="feed")
        assert dict(organism.sources) == {}


@in_loops
async def test_an_organism_opened_in_a_handler_has_the_same_host() -> None:
    @on_host
    async def where(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Reply(sniffio.current_async_library()))

    async def opens(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        async with open_organism(OrganismConfig("inner", (listener("where", Ask, where),))) as inner:
            return HandlerResponse.respond(await inner.ask(Ask("x"), to="where"))

    async with opened(listener("opens", Ask, opens)) as organism:
        assert await organism.ask(Ask("x"), to="opens") == Reply("asyncio")


@in_loops
async def test_a_static_method_may_be_marked_from_outside() -> None:
    class Handlers:
        @on_host
        @staticmethod
        async def static(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse.respond(Reply(sniffio.current_async_library()))

        @on_host
        @classmethod
        async def of_class(cls, payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse.respond(Reply(sniffio.current_async_library()))

    async with opened(
        listener("static", Ask, Handlers.static), listener("class", Ask, Handlers.of_class)
    ) as organism:
        assert await organism.ask(Ask("x"), to="static") == Reply("asyncio")
        assert await organism.ask(Ask("x"), to="class") == Reply("asyncio")
