"""A journal read back: which files and lines belong to it, and which are errors."""

from __future__ import annotations

import logging
import os
import sys
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from phloem.errors import JournalError
from phloem.events.journal_files import Fsync, JournalFile, numbered
from phloem.events.journal_lines import encoded
from phloem.events.replaying import read_journal
from phloem.events.types import HistoryGap, Lagged
from support.disks import Item, event, numbers

AT = datetime(2031, 5, 17, 9, 30, tzinfo=UTC)


def put(path: Path, items: Sequence[Item], tail: bytes = b"") -> None:
    path.write_bytes(b"".join(map(encoded, items)) + tail)


def faults_of(path: Path) -> str:
    with pytest.raises(JournalError) as caught:
        list(read_journal(path))
    return str(caught.value)


# -- reading -----------------------------------------------------------------------------------


def test_the_oldest_file_comes_first(path: Path) -> None:
    for number, file in enumerate((12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)):
        put(numbered(path, file), [event(number)])
    assert numbers(read_journal(path)) == list(range(13))


def test_losses_are_read_where_they_happened(path: Path) -> None:
    put(path, [HistoryGap(1, 4), event(1), Lagged(3), event(2)])
    found = list(read_journal(path))
    assert found[0] == HistoryGap(1, 4)
    assert found[2] == Lagged(3)


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_number_that_a_crash_left_out_hides_no_older_file(path: Path, missing: int) -> None:
    for number in {0, 1, 2, 3, 4} - {missing}:
        put(numbered(path, number), [event(number)])
    assert numbers(read_journal(path)) == sorted({0, 1, 2, 3, 4} - {missing}, reverse=True)


def test_copies_with_other_names_are_no_part_of_it(path: Path) -> None:
    put(path, [event(1)])
    for name in (".20310517", ".bak", ".01", ".3", ".-1", "1"):
        put(path.with_name(path.name + name), [event(99)])
    assert numbers(read_journal(path)) == [1]


def test_a_torn_last_line_is_passed_over_and_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(encoded(event(1)) + encoded(event(2))[:-5])
    assert numbers(read_journal(path)) == [1]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{path}:2: passed over a line that is torn: '{{")


def test_a_last_line_that_only_lacks_its_end_counts(path: Path) -> None:
    path.write_bytes(encoded(event(1)) + encoded(event(2))[:-1])
    assert numbers(read_journal(path)) == [1, 2]


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (b"garbage\n", "found 'garbage', expected an event as one JSON object"),
        (b'{"type": "cus\n', 'found \'{"type": "cus\', expected an event'),
        (b"\n", "found '', expected an event"),
        (b"\xff\xfe\n", "found '\\\\xff\\\\xfe', expected an event"),
        (b"x" * 100_000 + b"\n", f"found '{'x' * 59}\\u2026', expected an event"),
        (b'{"lagged":0}\n', "expected how many events were lost"),
    ],
    ids=lambda value: ascii(value[:12]),
)
def test_a_line_that_is_no_event_is_named(path: Path, bad: bytes, found: str) -> None:
    path.write_bytes(encoded(event(1)) + bad + encoded(event(2)))
    said = faults_of(path)
    assert said.startswith(f"{path}:2: found ")
    assert found in said


def test_what_is_good_before_a_bad_line_is_read(path: Path) -> None:
    path.write_bytes(encoded(event(1)) + b"garbage\n")
    items = read_journal(path)
    assert numbers([next(items)]) == [1]
    with pytest.raises(JournalError):
        next(items)


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "missing").endswith("found no file, expected a journal")
    assert "found a folder" in faults_of(tmp_path)
    assert "null" in faults_of(tmp_path / "a\0b")
    assert "no file" in faults_of(Path(os.devnull))
    (tmp_path / "file").write_text("")
    assert "Not a directory" in faults_of(tmp_path / "file" / "j")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a named pipe, as POSIX has")
def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    assert "no file" in faults_of(path)


def test_an_empty_journal_holds_nothing(path: Path) -> None:
    path.touch()
    assert list(read_journal(path)) == []


def test_reading_takes_the_memory_of_a_line(path: Path) -> None:
    with path.open("wb") as handle:
        for number in range(20_000):
            handle.write(encoded(event(number, "x" * 200)))
    assert path.stat().st_size > 7_000_000
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_journal(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 300_000


def test_a_journal_that_is_being_written_and_moved_is_read_whole_and_once(path: Path) -> None:
    size = len(encoded(event(100)))
    file = JournalFile(path, fsync=Fsync.NEVER, max_bytes=3 * size, keep=100)
    file.open()
    file.append([event(number) for number in range(100, 110)])
    items = read_journal(path)
    seen = numbers([next(items)])
    file.append([event(number) for number in range(110, 150)])  # every file has another name now
    seen += numbers(items)
    file.close()
    assert seen == list(range(100, 110))


def test_a_move_between_two_files_being_opened_hides_and_doubles_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(encoded(event(100)))
    file = JournalFile(path, fsync=Fsync.NEVER, max_bytes=size, keep=100)
    file.open()
    file.append([event(number) for number in range(100, 106)])
    real, opened = Path.open, [0]

    def slow(self: Path, *args: Any) -> Any:
        handle = real(self, *args)
        opened[0] += 1
        if opened[0] in (1, 2, 5):
            file.append([event(200 + opened[0])])
        return handle

    monkeypatch.setattr(Path, "open", slow)
    seen = numbers(read_journal(path))
    file.close()
    assert seen == list(range(100, 106))


def test_a_reader_that_stops_early_closes_its_files(path: Path) -> None:
    put(path, [event(1), event(2)])
    items = read_journal(path)
    next(items)
    items.close()
    assert list(items) == []
