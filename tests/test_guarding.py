"""Claims of guarding.py."""

from __future__ import annotations

import asyncio

import pytest
import trio

from phloem.guarding import Raised, guarded


async def test_a_result_comes_back_as_it_is() -> None:
    async def fine(number: int) -> int:
        return number + 1

    assert await guarded(fine, 1) == 2


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), GeneratorExit(), asyncio.CancelledError(), StopAsyncIteration()]
)
async def test_whatever_user_code_raises_is_a_value(error: BaseException) -> None:
    async def bad() -> None:
        raise error

    verdict = await guarded(bad)
    assert isinstance(verdict, Raised)
    assert verdict.error is error


async def test_keyboard_interrupt_goes_on() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await guarded(interrupted)


async def test_real_cancellation_goes_on() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await guarded(trio.sleep, 1)
        pytest.fail("not reached")
    assert scope.cancelled_caught


async def test_a_stray_cancelled_is_the_users_error() -> None:
    async def stray() -> None:
        caught: trio.Cancelled | None = None
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                caught = error
                raise
        assert caught is not None
        raise caught

    verdict = await guarded(stray)
    assert isinstance(verdict, Raised)
    assert isinstance(verdict.error, trio.Cancelled)


async def test_a_group_is_divided_what_is_cancelled_goes_on_with_a_note_of_the_rest() -> None:
    notes: list[str] = []
    with trio.CancelScope() as scope:
        scope.cancel()

        async def both() -> None:
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                raise BaseExceptionGroup("both", [cancelled, ValueError("beside")]) from None

        async def noted() -> None:
            try:
                await guarded(both)
            except BaseException as error:
                notes.extend(getattr(error, "__notes__", []))
                raise

        await noted()
    assert any("beside" in note for note in notes)
