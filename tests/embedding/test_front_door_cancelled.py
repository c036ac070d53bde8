"""The front door cancelled, left and left by errors, the same on Trio, asyncio and uvloop."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from phloem.messages import ConversationState
from support.embedded import Place, everywhere, opened, until
from support.listeners import BACK, Ask, Note, Reply

# -- cancellation -----------------------------------------------------------------------------------


@everywhere
async def test_a_cancelled_ask_is_killed() -> None:
    place = Place()
    async with opened(BACK, place.listener(Note)) as organism:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(organism.ask, Note("x"), "place")
            await until(lambda: place.entered)
            tasks.cancel_scope.cancel()
        await organism.wait_idle()
        assert (place.left, organism.report.abandoned) == (1, 1)
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


@everywhere
async def test_move_on_after_ends_an_ask_and_nothing_else() -> None:
    place = Place(turns=2)
    async with opened(BACK, place.listener(Note)) as organism:
        with anyio.move_on_after(0.02) as scope:
            await organism.ask(Note("x"), to="place")
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), anyio.fail_after(0.02):
            await organism.ask(Note("x"), to="place")
        await organism.wait_idle()
        assert (place.entered, place.left) == (2, 2)
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


@everywhere
async def test_each_wait_may_be_cancelled_and_done_again() -> None:
    place = Place()
    async with opened(place.listener(Ask)) as organism:
        receipt = await organism.send(Ask("x"), to="place")
        await until(lambda: place.entered)
        waits: list[Any] = [organism.wait_idle, lambda: organism.wait(receipt)]
        for wait in waits:
            with anyio.move_on_after(0.01) as scope:
                await wait()
            assert scope.cancelled_caught
        assert place.left == 0, "only the waiting ended"
        place.go = True
        for wait in waits:
            await wait()


@everywhere
async def test_a_send_that_is_cancelled_while_it_waits_for_a_seat_was_not_accepted() -> None:
    place = Place()
    async with opened(place.listener(Ask), max_in_flight=1) as organism:
        await organism.send(Ask("x"), to="place")
        for _ in range(3):
            with anyio.move_on_after(0.01) as scope:
                await organism.send(Ask("y"), to="place")
            assert scope.cancelled_caught
        assert organism.report.accepted == 2  # Boot as well
        place.go = True
        await organism.wait_idle()
        assert place.entered == 1


@everywhere
async def test_a_cancelled_kill_kills_and_a_cancelled_shutdown_goes_on() -> None:
    place = Place(turns=30)
    async with opened(place.listener(Ask)) as organism:
        receipt = await organism.send(Ask("x"), to="place")
        await until(lambda: place.entered)
        with anyio.move_on_after(0.005) as scope:
            await organism.kill(receipt.conversation)
        assert scope.cancelled_caught
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
        await organism.send(Ask("x"), to="place")
        await until(lambda: place.entered == 2)
        with anyio.move_on_after(0.005) as scope:
            await organism.shutdown(grace=0)
        assert scope.cancelled_caught
        assert (await organism.shutdown()).in_flight == 0


# -- the block ----------------------------------------------------------------------------------------


@everywhere
async def test_the_body_raises_and_its_error_arrives_as_it_is() -> None:
    place = Place(turns=3)
    for error in (ValueError("mine"), ExceptionGroup("mine", [ValueError("x")]), SystemExit(3)):
        before = place.entered
        with pytest.raises(type(error)) as raised:  # noqa: PT012
            async with opened(place.listener(Ask)) as organism:
                await organism.send(Ask("x"), to="place")
                await until(lambda: place.entered > before)  # noqa: B023 - done within the turn
                raise error
        assert raised.value is error
        assert (error.__cause__, organism.report.abandoned) == (None, 1)  # pyright: ignore[reportPossiblyUnboundVariable]
        assert place.entered == place.left


@everywhere
async def test_left_normally_it_drains() -> None:
    place = Place()
    async with anyio.create_task_group() as tasks:

        async def finish() -> None:
            await until(lambda: place.entered)
            place.go = True

        async with opened(place.listener(Ask)) as organism:
            await organism.send(Ask("x"), to="place")
            tasks.start_soon(finish)
    assert (organism.report.handled, organism.report.abandoned) == (2, 0)  # pyright: ignore[reportPossiblyUnboundVariable]


@everywhere
async def test_the_outer_task_group_is_cancelled() -> None:
    place = Place(turns=5)
    left = []

    async def live() -> None:
        try:
            async with opened(place.listener(Ask)) as organism:
                await organism.ask(Ask("x"), to="place")
        finally:
            left.append((place.left, organism.report.in_flight))  # pyright: ignore[reportPossiblyUnboundVariable]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live)
        await until(lambda: place.entered)
        tasks.cancel_scope.cancel()
    assert left == [(1, 0)]


@everywhere
async def test_a_drain_may_be_cancelled() -> None:
    place = Place(turns=3)
    with anyio.move_on_after(0.05) as scope:
        async with opened(place.listener(Ask)) as organism:
            await organism.send(Ask("x"), to="place")
            await until(lambda: place.entered)
    assert scope.cancelled_caught
    assert (organism.report.abandoned, place.left) == (1, 1)  # pyright: ignore[reportPossiblyUnboundVariable]


@everywhere
async def test_it_is_opened_and_left_again_and_again() -> None:
    for _ in range(5):
        async with opened(BACK) as organism:
            assert await organism.ask(Ask("x"), to="back") == Reply("x")
