"""Whatever gives bytes can be read: streams, processes, files, paths, async iterables."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from anyio.streams.buffered import BufferedByteReceiveStream

from phloem.errors import ConfigurationError, SenderRefused
from support.auditing import open_audited
from support.feeds import Chunks, Log
from support.gates import settled
from support.listeners import BACK

LINES = b"a\nb\nc\n"
XML = b"<Ask><Text>%b</Text></Ask>"


async def fed(stream: Any, framing: str = "lines", to: str | None = "log") -> tuple[Log, dict[str, Any]]:
    """What comes of a stream in an organism that only logs."""
    log = Log()
    async with open_audited(log.listener) as organism:
        attached = organism.attach(stream, sender="feed", framing=framing, to=to)
        await attached.wait_done()
        await organism.wait_idle()
    assert attached.closed
    assert log.senders <= {"feed"}
    return log, attached.statistics()


# -- what can be read ------------------------------------------------------------------------------


def binary(path: Path) -> Any:
    return path.open("rb")


def unbuffered(path: Path) -> Any:
    return path.open("rb", buffering=0)


def random_access(path: Path) -> Any:
    return path.open("r+b")


def in_memory(path: Path) -> Any:
    return io.BytesIO(path.read_bytes())


def by_name(path: Path) -> Any:
    return str(path)


def as_path(path: Path) -> Any:
    return path


def zipped(path: Path) -> Any:
    other = path.with_suffix(".gz")
    other.write_bytes(gzip.compress(path.read_bytes()))
    return gzip.open(other)


@pytest.mark.parametrize("kind", [binary, unbuffered, random_access, in_memory, by_name, as_path, zipped])
async def test_files_and_paths_are_read_to_their_end(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(LINES)
    stream = kind(path)
    log, statistics = await fed(stream)
    assert log.texts == ["a", "b", "c"]
    assert (statistics["bytes"], statistics["ended"], statistics["error"]) == (6, True, None)
    if hasattr(stream, "close"):
        assert not stream.closed, "it is its owner's"
        stream.close()


async def test_a_file_is_read_from_where_its_reader_is(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(LINES)
    with path.open("rb") as file:
        assert file.readline() == b"a\n"
        log, _ = await fed(file)
    assert log.texts == ["b", "c"]


@pytest.mark.parametrize("opens", [trio.open_file, anyio.open_file])
async def test_an_async_file_is_read_as_the_file_it_wraps(opens: Any, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(LINES)
    async with await opens(path, "rb") as file:
        log, _ = await fed(file)
    assert log.texts == ["a", "b", "c"]


async def test_a_trio_stream_is_read() -> None:
    ours, theirs = trio.testing.memory_stream_one_way_pair()
    await ours.send_all(LINES)
    await ours.aclose()
    log, _ = await fed(theirs)
    assert log.texts == ["a", "b", "c"]


async def test_an_anyio_stream_is_read() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](9)
    for line in (b"a\nb", b"\nc"):
        await send.send(line)
    send.close()
    log, _ = await fed(BufferedByteReceiveStream(receive))
    assert log.texts == ["a", "b", "c"]
    receive.close()


async def test_whatever_is_async_and_iterable_is_read() -> None:
    log, _ = await fed(Chunks(b"a\nb", b"", bytearray(b"\n"), memoryview(b"c")))
    assert log.texts == ["a", "b", "c"]
    send, receive = trio.open_memory_channel[bytes](1)
    await send.send(b"x\n")
    send.close()
    assert (await fed(receive))[0].texts == ["x"]


PROGRAM = "import sys; sys.stdout.write('one\\n  two\\n'); sys.stdout.flush(); sys.exit(3)"


async def test_what_a_process_writes_is_read_and_its_exit_is_its_owners() -> None:
    process = await trio.lowlevel.open_process([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE)
    assert process.stdout is not None
    async with process.stdout:
        log, _ = await fed(process.stdout)
        assert await process.wait() == 3
    assert log.texts == ["one", "  two"]


async def test_a_process_of_the_standard_library_or_anyio_is_read_as_well() -> None:
    program = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220 - it is the subject
        assert (await fed(process.stdout))[0].texts == ["one", "  two"]
    async with await anyio.open_process(program, stderr=None) as other:
        assert (await fed(other.stdout))[0].texts == ["one", "  two"]


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (b"bytes", "stream: found bytes, expected a byte stream of Trio or anyio"),
        ([b"a"], "stream: found list,"),
        (None, "stream: found NoneType,"),
        (io.StringIO("text"), "stream: found StringIO, which is open as text, expected"),
    ],
)
async def test_what_is_no_stream_is_refused_at_once(stream: Any, found: str) -> None:
    async with open_audited(BACK) as organism:
        with pytest.raises(ConfigurationError) as raised:
            organism.attach(stream, sender="feed")
        assert str(raised.value).startswith(found)
        assert organism.sources == {}


async def test_a_text_file_is_refused_and_so_is_one_that_is_async(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("x")
    async with open_audited(BACK) as organism, await trio.open_file(path) as wrapped:
        with path.open() as file:
            for stream in (file, wrapped):
                with pytest.raises(ConfigurationError, match="TextIOWrapper, which is open as text"):
                    organism.attach(stream, sender="feed")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"sender": "feed", "framing": "csv"}, ConfigurationError),
        ({"sender": "feed", "framing": "lines"}, ConfigurationError),
        ({"sender": "feed", "framing": "xml", "to": "back"}, ConfigurationError),
        ({"sender": "back"}, SenderRefused),
        ({"sender": "system"}, SenderRefused),
        ({"sender": "OPEN"}, SenderRefused),
    ],
)
async def test_what_does_not_fit_is_refused_at_once_and_leaves_nothing(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    async with open_audited(BACK) as organism, organism.open_source("open"):
        with pytest.raises(error):
            organism.attach(Chunks(None), **arguments)
        assert list(organism.sources) == ["open"]
        assert organism._pump.sources.readers == ()


def held(path: Path) -> int:
    """How many of this process's descriptors are of that file."""
    links = [Path("/proc/self/fd", each) for each in os.listdir("/proc/self/fd")]
    return sum(os.path.realpath(each) == str(path) for each in links)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="runs where descriptors can be listed: Linux")
@pytest.mark.parametrize("opened", [False, True])
async def test_a_read_that_blocks_is_abandoned_and_the_descriptor_closed_once_it_is_back(
    opened: bool, tmp_path: Path
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writers = [os.open(path, os.O_RDWR)] if opened else []  # without a writer opening it blocks already
    async with open_audited(BACK) as organism:
        attached = organism.attach(path, sender="feed", framing="lines", to="back")
        while opened and held(path) < 2:
            await settled()
            await trio.sleep(0.001)
        await trio.sleep(0.01)
        with trio.fail_after(5):
            await organism.shutdown()
        assert attached.statistics()["ended"]
        assert held(path) == 2 * opened, "a descriptor that a thread reads from is not closed under it"
        if not opened:
            writers.append(os.open(path, os.O_RDWR))
        os.write(writers[0], b"late\n")
        with trio.fail_after(5):
            while held(path) > 1:
                await settled()
                await trio.sleep(0.001)
    os.close(writers[0])
    assert attached.statistics()["bytes"] == 0
