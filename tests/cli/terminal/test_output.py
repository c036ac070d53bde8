"""Texts go out in their order, nobody waits for a slow reader, and the last words come last."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from phloem.cli.terminal.output import MUCH, Output


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            pass  # closed by the test


async def test_what_is_said_is_written_in_its_order(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1], str)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        for number in range(100):
            output.say(f"{number}\n")
            if number % 7 == 0:
                await trio.lowlevel.checkpoint()
        await output.written()
        nursery.cancel_scope.cancel()
    assert os.read(pipe[0], 65_536).decode().split() == [str(number) for number in range(100)]


async def test_a_reader_that_does_not_read_holds_up_nobody_but_who_asks_for_room(
    pipe: tuple[int, int],
) -> None:
    output = Output(pipe[1], str)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        output.say("x" * 200_000)  # more than a pipe holds
        await trio.testing.wait_all_tasks_blocked()
        await output.room()
        output.say("y" * (MUCH + 1))
        with trio.move_on_after(0.05) as waiting:
            await output.room()
        assert waiting.cancelled_caught
        taken = b""

        def read() -> bytes:
            return os.read(pipe[0], 1 << 20)

        while len(taken) < 200_000 + MUCH + 1:
            taken += await trio.to_thread.run_sync(read)
        await output.room()
        await output.written()
        nursery.cancel_scope.cancel()
    assert taken == b"x" * 200_000 + b"y" * (MUCH + 1)


async def test_cancelled_waiting_for_room_or_the_end_harms_nothing(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1], str)
    output.say("a")
    for wait in (output.room, output.written):
        with trio.CancelScope() as scope:
            scope.cancel()
            await wait()
        assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        await output.written()
        nursery.cancel_scope.cancel()
    assert os.read(pipe[0], 10) == b"a"


async def test_nobody_to_take_it_is_an_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    output = Output(pipe[1], str)
    output.say("a")
    with pytest.raises(BrokenPipeError):
        await output.run()


async def test_last_words_come_after_all_that_was_said(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1], lambda said: f"<{said}>")
    output.say("a")
    output.say("b")
    assert output.write_rest("last")
    assert os.read(pipe[0], 100) == b"<ab>last"


async def test_last_words_do_not_wait_for_ever_for_a_stuck_reader(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phloem.cli.terminal.output.LOCK_PATIENCE", 0.05)
    output = Output(pipe[1], str)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        output.say("x" * 200_000)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(5):
            while not output._lock.locked():  # noqa: ASYNC110 - a thread takes it
                await trio.sleep(0.001)
        assert not output.write_rest("last")
        nursery.cancel_scope.cancel()
    os.close(pipe[0])  # the thread that was left behind comes back


async def test_only_the_newest_picture_is_composed(pipe: tuple[int, int]) -> None:
    pictures = iter(range(100))
    output = Output(pipe[1], lambda said: f"{said}{next(pictures)} ")
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            output.say()
        nursery.start_soon(output.run)
        await output.written()
        nursery.cancel_scope.cancel()
    assert os.read(pipe[0], 100) == b"0 "
