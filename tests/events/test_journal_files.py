"""Files of a journal: lines, moves, crashes between, and what cannot be opened."""

from __future__ import annotations

import logging
import os
import stat
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from phloem.errors import JournalError
from phloem.events import journal_files
from phloem.events.journal_files import numbered
from phloem.events.journal_lines import encoded
from phloem.events.replaying import read_journal
from phloem.events.types import Lagged
from support.disks import Disk, Item, event, numbers
from support.journals import LINE, events, files_of, opened, written

# -- lines -------------------------------------------------------------------------------------


def test_a_journal_goes_on_where_an_older_one_ended(path: Path) -> None:
    written(path, events(1, 2), [])
    written(path, [Lagged(4), event(3)])
    assert numbers(read_journal(path)) == [1, 2, 3]
    assert path.read_bytes().count(b"\n") == 4


def test_what_was_written_is_counted_by_what_it_is(path: Path) -> None:
    file = written(path, [event(1), Lagged(4), event(2), Lagged(1)])
    assert (file.settled.lines, file.settled.events, file.settled.lagged) == (4, 2, 5)


@pytest.mark.parametrize("torn", [1, 2, LINE // 2, LINE - 2])
def test_a_line_that_a_crash_tore_ends_before_the_next_begins(
    path: Path, torn: int, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(encoded(event(1)) + encoded(event(2))[:torn])
    written(path, events(3))
    written(path, events(4))
    assert numbers(read_journal(path)) == [1, 3, 4]
    assert "its last line is torn" in caplog.text
    assert f"{path}:2: passed over a line that is torn" in caplog.text


@pytest.mark.parametrize("length", [0, 50_000])
def test_a_line_that_only_lacks_its_end_is_kept(path: Path, length: int) -> None:
    path.write_bytes(encoded(event(1, "x" * length)).rstrip(b"\n"))
    written(path, events(2))
    assert numbers(read_journal(path)) == [1, 2]


@pytest.mark.parametrize("tail", [b"\0" * 5_000, b"\xff\xfe", b"x" * 200_000, b"\x18"])
def test_whatever_a_loss_of_power_left_at_the_end_is_passed_over(path: Path, tail: bytes) -> None:
    path.write_bytes(encoded(event(1)) + tail)
    written(path, events(2))
    assert numbers(read_journal(path)) == [1, 2]


def test_a_file_of_nothing_but_a_torn_line_is_a_journal(path: Path) -> None:
    path.write_bytes(b'{"type"')
    written(path, events(1))
    assert numbers(read_journal(path)) == [1]


class Bad(Enum):
    @property
    def value(self) -> Any:
        raise LookupError("no value today")

    MEMBER = object()


def test_an_event_that_has_no_json_counts_as_lost_and_takes_no_other_with_it(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = encoded

    def picky(item: Item) -> bytes:
        if numbers([item]) == [2]:
            raise LookupError("no value today")
        return real(item)

    monkeypatch.setattr(journal_files, "encoded", picky)
    file = written(path, events(1, 2, 3))
    assert list(read_journal(path))[1] == Lagged(1)
    assert numbers(read_journal(path)) == [1, 3]
    assert (file.settled.events, file.settled.lagged) == (2, 1)
    assert "no value today" in caplog.text


# -- moving aside --------------------------------------------------------------------------------


def test_a_full_file_moves_aside_and_the_oldest_goes(path: Path) -> None:
    written(path, events(*range(10)), max_bytes=2 * LINE, keep=3)
    assert files_of(path) == ["events.ndjson", *(f"events.ndjson.{n}" for n in (1, 2, 3))]
    assert numbers(read_journal(path)) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert [numbered(path, n).stat().st_size for n in range(4)] == [2 * LINE] * 4


def test_a_file_may_be_filled_to_its_last_byte_and_no_further(path: Path) -> None:
    written(path, events(1, 2), max_bytes=2 * LINE)
    assert files_of(path) == ["events.ndjson"]
    written(path, events(3), max_bytes=2 * LINE)
    assert numbers(read_journal(path)) == [1, 2, 3]
    assert path.stat().st_size == LINE


def test_a_line_longer_than_a_file_may_be_is_written_all_the_same(path: Path) -> None:
    written(path, [event(1), event(2, "long" * 100), event(3)], max_bytes=LINE)
    assert numbers(read_journal(path)) == [1, 2, 3]
    assert len(files_of(path)) == 3


def test_a_first_line_longer_than_a_file_moves_no_empty_file_aside(path: Path) -> None:
    written(path, events(1), max_bytes=1)
    assert files_of(path) == ["events.ndjson"]


def test_keeping_none_keeps_the_journal_alone(path: Path) -> None:
    written(path, events(1, 2, 3), max_bytes=LINE, keep=0)
    assert files_of(path) == ["events.ndjson"]
    assert numbers(read_journal(path)) == [3]


def test_keeping_fewer_than_before_removes_the_rest_and_no_dated_copy(path: Path) -> None:
    copy = path.with_name(f"{path.name}.20310517")
    copy.write_bytes(b"somebody's own")
    written(path, events(*range(6)), max_bytes=LINE, keep=5)
    written(path, events(6), max_bytes=LINE, keep=2)
    assert numbers(read_journal(path)) == [4, 5, 6]
    assert files_of(path) == ["events.ndjson", "events.ndjson.1", "events.ndjson.2", copy.name]


def test_lines_are_written_in_pieces_that_fit_the_file(path: Path, disk: Disk) -> None:
    written(path, events(*range(1_000)))
    assert 1 < disk.calls.count("write") < 40


@pytest.mark.parametrize("stop", range(1, 12))
def test_a_crash_anywhere_in_a_move_loses_nothing(
    path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(path, events(0, 1, 2), max_bytes=LINE)
    file = opened(path, max_bytes=LINE)
    steps = [0]
    real_replace, real_open = Path.replace, os.open

    def counted() -> None:
        steps[0] += 1
        if steps[0] == stop:
            raise KeyboardInterrupt

    def replace(self: Path, target: Path) -> Path:
        counted()
        moved = real_replace(self, target)
        counted()
        return moved

    disk = Disk()
    disk.before = lambda call: counted() if call in ("open", "close") else None
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        patched.setattr(journal_files, "os", disk)
        try:
            file.append(events(3))
        except KeyboardInterrupt:
            pass
    assert os.open is real_open
    if file._fd is not None:
        os.close(file._fd)
    survived = numbers(read_journal(path))
    assert survived == [0, 1, 2, 3][: len(survived)]
    assert survived[:3] == [0, 1, 2]
    written(path, events(4, 5), max_bytes=LINE, keep=6)
    assert numbers(read_journal(path)) == [*survived, 4, 5]
    assert not numbered(path, 7).exists()


# -- opening -----------------------------------------------------------------------------------


def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cases = {
        tmp_path: "found a folder",
        tmp_path / "missing" / "j": "found No such file or directory",
        tmp_path / "file" / "j": "found Not a directory",
        tmp_path / ("x" * 300): "found File name too long",
        tmp_path / "a\0b": "found .*null",
        Path(os.devnull): "found something that is no file",
    }
    for path, found in cases.items():
        with pytest.raises(JournalError, match=f"{found}.*, expected a file that can be written") as caught:
            opened(path)
        assert str(path) in str(caught.value)


def test_a_file_that_may_not_be_written_is_refused(path: Path, disk: Disk) -> None:
    def forbid(call: str) -> None:
        raise PermissionError(13, "Permission denied")

    disk.before = forbid
    with pytest.raises(JournalError, match="found Permission denied"):
        opened(path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a named pipe, as POSIX has")
def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(JournalError, match="no file"):
        opened(path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks on files, as POSIX has")
def test_a_file_has_one_journal_at_a_time(path: Path) -> None:
    first = opened(path, max_bytes=LINE)
    first.append(events(1, 2))  # also after it has moved
    with pytest.raises(JournalError, match="found a file that another journal writes"):
        opened(path)
    first.append(events(3))
    first.close()
    written(path, events(4))
    assert numbers(read_journal(path)) == [1, 2, 3, 4]


@pytest.mark.skipif(sys.platform == "win32", reason="needs the modes of POSIX")
def test_only_its_owner_may_read_what_was_said(path: Path) -> None:
    written(path, events(1, 2), max_bytes=LINE)
    for each in (path, numbered(path, 1)):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


def test_a_journal_stays_where_it_was_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    file = opened(Path(path.name), max_bytes=LINE)
    monkeypatch.chdir("/")
    file.append(events(1, 2))
    file.close()
    assert numbers(read_journal(path)) == [1, 2]


def test_refusals_say_nothing_of_their_own(path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    file = opened(path)
    disk.room = 0
    with pytest.raises(OSError, match="space"):
        file.append(events(1))
    file.close()
    assert caplog.records == []  # whoever tries again says it, once
