"""Lines go out as they were put, each once, and a slow reader slows who writes and never the loop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from phloem.cli.writing import ResultWriter


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


async def test_lines_go_out_as_they_were_put(out: int) -> None:
    writer = ResultWriter(out, None)
    for number in (3, 1, 2):
        writer.put(number, b"%d\n" % number)
    assert (writer.held, written(out)) == (3, b"")
    await writer.write()
    assert (writer.held, written(out)) == (0, b"3\n1\n2\n")
    writer.put(4, b"4\n")
    await writer.write()
    assert written(out) == b"3\n1\n2\n4\n"


async def test_a_full_pipe_holds_who_writes_and_not_the_loop(pipe: tuple[int, int]) -> None:
    writer, line = ResultWriter(pipe[1], None), b"x" * 200_000 + b"\n"
    writer.put(1, line)
    done = trio.Event()

    async def write() -> None:
        await writer.write()
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        with trio.move_on_after(0.05):  # the loop goes on while the write is stuck
            await done.wait()
        assert not done.is_set()
        writer.put(2, b"2\n")  # for the next one
        assert await arrived(pipe[0], len(line)) == line
        with trio.fail_after(30):
            await done.wait()
    assert writer.held == 1
    await writer.write()
    assert await arrived(pipe[0], 2) == b"2\n"


async def test_what_has_begun_is_written_though_the_wait_for_it_is_cancelled(pipe: tuple[int, int]) -> None:
    writer = ResultWriter(pipe[1], None)
    writer.put(1, b"1\n")
    with trio.CancelScope() as scope:
        scope.cancel()
        await writer.write()
    assert writer.write_rest([])
    assert await arrived(pipe[0], 2) == b"1\n"


async def test_a_file_that_takes_no_more_is_an_error_with_its_descriptor() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    writer = ResultWriter(full, None)
    writer.put(1, b"1\n")
    with pytest.raises(OSError, match="No space left") as caught:
        await writer.write()
    assert caught.value.filename == full
    os.close(full)


async def test_dead_letters_are_written_beside_their_results(out: int, tmp_path: Path) -> None:
    letters = os.open(tmp_path / "letters", os.O_RDWR | os.O_CREAT)
    writer = ResultWriter(out, letters)
    writer.put(1, b"1\n", b"a\n")
    writer.put(2, b"2\n", b"b\nc\n")
    await writer.write()
    assert (written(out), written(letters)) == (b"1\n2\n", b"a\nb\nc\n")
    writer.put(3, b"3\n", b"d\n")
    assert writer.write_rest([b"4\n"])
    assert (written(out), written(letters)) == (b"1\n2\n3\n4\n", b"a\nb\nc\nd\n")
    os.close(letters)


async def test_the_rest_is_what_is_held_and_then_what_is_given(out: int) -> None:
    writer = ResultWriter(out, None)
    writer.put("one", b"one\n")
    assert writer.holds("one")
    assert not writer.holds("two")
    assert writer.write_rest(iter([b"two\n", b"three\n"]))
    assert written(out) == b"one\ntwo\nthree\n"


async def test_the_rest_does_not_repeat_what_the_worker_has_just_written(out: int) -> None:
    writer = ResultWriter(out, None)
    writer.put("one", b"one\n")
    writer._write(list(writer._held.values()))  # the loop has not heard of it yet
    writer.put("two", b"two\n")
    assert writer.write_rest([])
    assert written(out) == b"one\ntwo\n"


async def test_the_rest_is_given_up_when_a_write_is_stuck(out: int) -> None:
    writer = ResultWriter(out, None)
    writer.put("one", b"one\n")
    with writer._lock:
        assert not writer.write_rest([b"two\n"])
    assert written(out) == b""
