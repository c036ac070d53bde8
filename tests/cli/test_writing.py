"""Results go out in input order within a bounded window, and a slow reader slows the batch only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from phloem.cli.writing import Place, ResultWriter


@pytest.fixture
def out(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


async def arrived(reading: int, count: int) -> bytes:
    """So many bytes, as soon as they come out of a pipe."""
    with trio.fail_after(30):
        received = await trio.to_thread.run_sync(os.read, reading, 65536)
        while len(received) < count:
            received += await trio.to_thread.run_sync(os.read, reading, 65536)
    return received


def written(out: int) -> bytes:
    return os.pread(out, 1_000_000, 0)


async def places(writer: ResultWriter, count: int) -> list[Place]:
    await trio.lowlevel.checkpoint()
    return [await writer.open_place(number) for number in range(1, count + 1)]


def text(place: Place) -> bytes:
    return b"%d\n" % place.number


async def run_filled(writer: ResultWriter, order: list[int]) -> None:
    found = await places(writer, len(order))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        for number in order:
            writer.fill(found[number - 1], b"%d\n" % number)
            await trio.lowlevel.checkpoint()
        writer.close()


async def test_lines_go_out_in_input_order_however_they_end(out: int) -> None:
    await run_filled(ResultWriter(out, None, window=10, ordered=True), [3, 2, 5, 1, 4])
    assert written(out) == b"1\n2\n3\n4\n5\n"


async def test_unordered_lines_go_out_as_they_end(out: int) -> None:
    await run_filled(ResultWriter(out, None, window=10, ordered=False), [3, 2, 5, 1, 4])
    assert written(out) == b"3\n2\n5\n1\n4\n"


async def test_a_place_is_free_again_only_when_its_line_is_written(pipe: tuple[int, int]) -> None:
    writer = ResultWriter(pipe[1], None, window=3, ordered=True)
    first, second, third = await places(writer, 3)
    fourth = trio.Event()

    async def open_fourth() -> None:
        await writer.open_place(4)
        fourth.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        nursery.start_soon(open_fourth)
        writer.fill(second, b"2\n")
        writer.fill(third, b"3\n")
        await wait_all_tasks_blocked()
        assert writer.opened == 3  # the slowest holds the window
        writer.fill(first, b"1\n")
        with trio.fail_after(30):
            await fourth.wait()
        assert await arrived(pipe[0], 6) == b"1\n2\n3\n"
        nursery.cancel_scope.cancel()


async def test_a_lone_line_is_written_without_waiting_for_company(out: int) -> None:
    writer = ResultWriter(out, None, window=1000, ordered=True)
    [place] = await places(writer, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        writer.fill(place, b"1\n")
        await writer.open_place(2)
        writer.close()
    assert written(out) == b"1\n"


async def test_a_line_waits_for_company_only_a_moment(pipe: tuple[int, int]) -> None:
    writer = ResultWriter(pipe[1], None, window=1000, ordered=True)
    first, _ = await places(writer, 2)  # the second never ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        writer.fill(first, b"1\n")
        assert await arrived(pipe[0], 2) == b"1\n"
        nursery.cancel_scope.cancel()


async def test_cancelling_the_wait_for_a_place_takes_none(out: int) -> None:
    writer = ResultWriter(out, None, window=1, ordered=True)
    [place] = await places(writer, 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await writer.open_place(2)
    assert writer.opened == 1
    writer.fill(place, b"1\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        with trio.fail_after(30):
            assert (await writer.open_place(2)).number == 2
        nursery.cancel_scope.cancel()


async def test_a_full_pipe_holds_the_batch_and_not_the_loop(pipe: tuple[int, int]) -> None:
    writer, line = ResultWriter(pipe[1], None, window=2, ordered=True), b"x" * 200_000 + b"\n"
    [first] = await places(writer, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        writer.fill(first, line)
        await trio.lowlevel.checkpoint()  # the loop goes on while the write is stuck
        await places(writer, 1)
        with trio.move_on_after(0.05) as scope:
            await writer.open_place(3)
        assert scope.cancelled_caught
        received = await arrived(pipe[0], len(line))
        with trio.fail_after(30):
            await writer.open_place(3)
        nursery.cancel_scope.cancel()
    assert received == line


async def test_a_file_that_takes_no_more_is_an_error(out: int) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    writer = ResultWriter(full, None, window=2, ordered=True)
    [place] = await places(writer, 1)
    writer.fill(place, b"1\n")
    with pytest.raises(OSError, match="No space left"):
        await writer.run()
    os.close(full)


async def test_dead_letters_are_written_beside_their_results(out: int, tmp_path: Path) -> None:
    letters = os.open(tmp_path / "letters", os.O_RDWR | os.O_CREAT)
    writer = ResultWriter(out, letters, window=3, ordered=True)
    first, second = await places(writer, 2)
    writer.fill(second, b"2\n", b"b\nc\n")
    writer.fill(first, b"1\n", b"a\n")
    writer.close()
    await writer.run()
    assert (written(out), written(letters)) == (b"1\n2\n", b"a\nb\nc\n")
    os.close(letters)


async def test_the_rest_is_every_line_not_yet_written_in_order(pipe: tuple[int, int]) -> None:
    writer = ResultWriter(pipe[1], None, window=9, ordered=True)
    first, _, third, _ = await places(writer, 4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        writer.fill(first, b"one\n")
        writer.fill(third, b"three\n")
        assert await arrived(pipe[0], 4) == b"one\n"
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert writer.write_rest(text)
    assert await arrived(pipe[0], 10) == b"2\nthree\n4\n"


async def test_the_rest_does_not_repeat_what_the_worker_has_just_written(out: int) -> None:
    writer = ResultWriter(out, None, window=9, ordered=True)
    first, second = await places(writer, 2)
    writer.fill(first, b"one\n")
    writer.fill(second, b"two\n")
    writer._write([first])  # the loop has not heard of it yet
    assert writer.write_rest(text)
    assert written(out) == b"one\ntwo\n"


async def test_the_rest_is_given_up_when_a_write_is_stuck(out: int) -> None:
    writer = ResultWriter(out, None, window=9, ordered=True)
    await places(writer, 1)
    with writer._lock:
        assert not writer.write_rest(text)
    assert written(out) == b""
