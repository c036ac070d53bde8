"""A batch is read as a stream, and its first character says what it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from phloem.cli.source import StreamSource
from phloem.framing.lines import Piece


async def everything(source: StreamSource) -> list[bytes | str]:
    found: list[bytes | str] = []
    while (pieces := await source.receive()) is not None:
        found += [each.content if isinstance(each, Piece) else str(each.fault.code) for each in pieces]
    return found


async def read(tmp_path: Path, data: bytes) -> tuple[list[bytes | str], bool]:
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as file:
        source = StreamSource(file.fileno())
        found = await everything(source)
        assert source.consumed == len(data)
        return found, source.is_xml


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("data", "expected", "is_xml"),
    [
        (b'{"a": 1}\n{"b": 2}', [b'{"a": 1}', b'{"b": 2}'], False),
        (BOM + b"\n\n{}\n", [b"{}"], False),
        (b"<message/>\n<message/>", [b"<message/>", b"<message/>"], True),
        (BOM + b"\n <message/>", [b"<message/>"], True),
        (b"junk", [b"junk"], False),
        (b"", [], False),
        (b" \n\n", [], False),
        (BOM, [], False),
        (b"{}\n" * 100_000, [b"{}"] * 100_000, False),
    ],
)
async def test_the_first_character_says_the_format(
    tmp_path: Path, data: bytes, expected: list[bytes], is_xml: bool
) -> None:
    assert await read(tmp_path, data) == (expected, is_xml)


async def test_a_pipe_is_read_as_it_comes_whatever_its_pieces() -> None:
    reading, writing = os.pipe()
    source, found = StreamSource(reading), []
    for byte in BOM + b"\n{}\n[]\n":
        os.write(writing, bytes([byte]))
        found += [each for each in await source.receive() or () if isinstance(each, Piece)]
    os.close(writing)
    assert await source.receive() == []
    assert await source.receive() is None
    assert [(each.line, each.content) for each in found] == [(2, b"{}"), (3, b"[]")]
    os.close(reading)


async def test_waiting_for_input_can_be_cancelled() -> None:
    reading, writing = os.pipe()
    source = StreamSource(reading)
    with trio.move_on_after(0.01) as scope:
        await source.receive()
    assert scope.cancelled_caught
    os.close(writing)  # lets the abandoned read end
    os.close(reading)


async def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        await StreamSource(folder).receive()
    os.close(folder)
