"""Blocks of Trio's side held for the host, and the death of an organism inside of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
import trio

from phloem import InternalError, ListenerConfig, Organism, OrganismClosed, OrganismConfig, open_organism
from phloem.embedding.crossing import Block
from support.crossings import guest_here, this_task, turns
from support.embedded import in_loops, opened, until
from support.listeners import BACK, Ask, Reply, listener

# -- blocks --------------------------------------------------------------------------------------------


@in_loops
async def test_a_block_is_one_task_that_gets_what_the_body_raises() -> None:
    seen: list[Any] = []

    @asynccontextmanager
    async def manager() -> AsyncIterator[int]:
        seen.append(trio.lowlevel.current_task())
        try:
            yield 5
        except LookupError as error:
            seen.append(error)
        finally:
            seen.append(trio.lowlevel.current_task())

    async with guest_here() as guest:
        swallowed = LookupError()
        async with Block(guest, manager(), lambda value: value + 1) as value:
            assert value == 6
            raise swallowed
        assert seen[1] is swallowed
        assert seen[0] is seen[2]
        with pytest.raises(TypeError):
            async with Block(guest, manager(), lambda value: value):
                raise TypeError


@in_loops
async def test_a_cancelled_body_cancels_the_block() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def manager() -> AsyncIterator[None]:
        try:
            yield
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.003)
            seen.append("cleaned")
            raise

    async def hold() -> None:
        async with Block(guest, manager(), lambda value: value):
            seen.append("in")
            await asyncio.sleep(10)

    async with guest_here() as guest:
        task = asyncio.create_task(hold())
        await until(lambda: seen)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["in", "cleaned"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await hold()
        with anyio.move_on_after(0.002) as scope:
            await hold()
        assert scope.cancelled_caught
        assert seen == ["in", "cleaned"] * 3


@in_loops
async def test_entering_a_block_may_be_cancelled() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def manager() -> AsyncIterator[None]:
        try:
            await trio.sleep_forever()
            yield
        finally:
            seen.append("left")

    async with guest_here() as guest:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002), Block(guest, manager(), lambda value: value):
                pytest.fail("it is never entered")
        assert seen == ["left"]


# -- an organism that dies inside ------------------------------------------------------------------


class Broken:
    """An observer that raises at the first dispatch of a message of ours."""

    def __init__(self) -> None:
        self.error = ZeroDivisionError("a bug of the observer's")

    def dispatched(self, delivery: Any) -> None:
        if delivery.listener.key == "back":
            raise self.error

    def unseen(self, *_: Any, **__: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return self.unseen


async def break_it(organism: Organism, body: str) -> None:
    if body == "asks":
        await organism.ask(Ask("x"), to="back")
    await organism.send(Ask("x"), to="back")
    if body == "waits":
        await asyncio.sleep(1_000)
    if body == "swallows":
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            pass
    if body == "raises":
        try:
            await asyncio.sleep(1_000)
        finally:
            raise LookupError("of the body")
    if body == "groups":
        async with asyncio.TaskGroup() as tasks:  # noqa: ASYNC112
            tasks.create_task(asyncio.sleep(1_000))
    if body == "ends":
        await turns(1)


@pytest.mark.parametrize("body", ["asks", "waits", "swallows", "raises", "groups", "ends"])
def test_the_death_of_an_organism_cancels_the_body_and_is_raised_there(body: str) -> None:
    async def main() -> None:
        broken = Broken()
        config = OrganismConfig("breaks", (BACK,))
        with pytest.raises(ZeroDivisionError) as raised:
            async with open_organism(config, observer=cast("Any", broken)) as organism:
                await break_it(organism, body)
        assert raised.value is broken.error
        assert isinstance(broken.error.__cause__, ExceptionGroup)
        assert this_task().cancelling() == 0
        await turns(5)
        with pytest.raises(OrganismClosed):
            await organism.ask(Ask("x"), to="back")  # pyright: ignore[reportPossiblyUnboundVariable]
        async with opened(BACK) as organism:
            assert await organism.ask(Ask("x"), to="back") == Reply("x")

    asyncio.run(main())


@in_loops
async def test_one_that_dies_leaves_others_of_its_loop_alone() -> None:
    async with opened(BACK) as healthy:
        with pytest.raises(ZeroDivisionError):
            async with open_organism(
                OrganismConfig("x", (BACK,)), observer=cast("Any", Broken())
            ) as organism:
                await break_it(organism, "waits")
        assert await healthy.ask(Ask("x"), to="back") == Reply("x")


@in_loops
async def test_a_body_cancelled_from_outside_as_its_organism_dies_is_still_cancelled() -> None:
    async def live() -> None:
        try:
            async with open_organism(
                OrganismConfig("x", (BACK,)), observer=cast("Any", Broken())
            ) as organism:
                await organism.send(Ask("x"), to="back")
                try:
                    await asyncio.sleep(1_000)
                finally:
                    this_task().cancel("from outside")
        except ZeroDivisionError:
            after.append(this_task().cancelling())
        await asyncio.sleep(1_000)

    after: list[int] = []
    task = asyncio.create_task(live())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert after == [1]


@in_loops
async def test_a_trio_run_that_breaks_is_told_to_every_body_as_a_bug() -> None:
    async def breaks(payload: Any, metadata: Any) -> None:
        async def fall() -> None:
            raise LookupError("in a system task")

        trio.lowlevel.spawn_system_task(fall)
        await trio.sleep_forever()

    async def live(*listeners: ListenerConfig) -> None:
        with pytest.raises(InternalError, match="broke") as raised:  # noqa: PT012
            async with open_organism(OrganismConfig("x", listeners)) as organism:
                if listeners[0].name == "breaks":
                    await organism.send(Ask("x"), to="breaks")
                await asyncio.sleep(1_000)
        assert isinstance(raised.value.__cause__, trio.TrioInternalError)
        told.append(listeners[0].name)

    told: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(live(BACK))
        await asyncio.sleep(0.01)
        tasks.create_task(live(listener("breaks", Ask, breaks)))
    assert sorted(told) == ["back", "breaks"]
    async with opened(BACK) as organism:
        assert await organism.ask(Ask("x"), to="back") == Reply("x")
