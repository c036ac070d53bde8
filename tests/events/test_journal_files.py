"""Files of a journal on a disk that fills up, refuses, or stops halfway."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from support.disks import Disk, Item, event, numbers

from phloem.errors import JournalError
from phloem.events import journal_files
from phloem.events.journal_files import Fsync, JournalFile, numbered
from phloem.events.journal_lines import encoded
from phloem.events.replaying import read_journal
from phloem.events.types import Lagged

LINE = len(encoded(event(1)))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(journal_files, "os", disk)
    return disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


def opened(path: Path, fsync: Fsync = Fsync.NEVER, max_bytes: int = 1 << 20, keep: int = 5) -> JournalFile:
    file = JournalFile(path, fsync=fsync, max_bytes=max_bytes, keep=keep)
    file.open()
    return file


def written(path: Path, *batches: Sequence[Item], **settings: Any) -> JournalFile:
    """A journal with these batches in it, closed."""
    file = opened(path, **settings)
    for batch in batches:
        file.append(batch)
    file.close()
    return file


def events(*found: int) -> list[Item]:
    return [event(number) for number in found]


def insisted(file: JournalFile, items: Sequence[Item], disk: Disk) -> int:
    """Written as ``journal`` does it: what was not settled is tried again. How often it failed."""
    rest, failures = list(items), 0
    while rest:
        before = file.settled.lines
        try:
            file.append(rest)
        except OSError:
            failures += 1
            assert failures < 10
            disk.room = 1 << 20
            disk.refuses.clear()
        del rest[: file.settled.lines - before]
    return failures


def files_of(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


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


def test_a_line_that_only_lacks_its_end_is_kept(path: Path) -> None:
    path.write_bytes(encoded(event(1)).rstrip(b"\n"))
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
    assert 1 < disk.calls.count("write") < 10


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


# -- a disk that refuses -------------------------------------------------------------------------


@pytest.mark.parametrize("fsync", Fsync)
@pytest.mark.parametrize("max_bytes", [LINE, 2 * LINE, 1 << 20])
def test_a_disk_that_is_full_at_any_byte_holds_whole_lines_and_takes_the_rest_later(
    path: Path, disk: Disk, fsync: Fsync, max_bytes: int
) -> None:
    edges = {lines * LINE + bytes for lines in range(5) for bytes in (-1, 0, 1)} - {-1}
    for room in sorted(edges | set(range(0, 4 * LINE, 13))):
        own = path.with_name(f"{room}")
        file = opened(own, fsync, max_bytes)
        disk.room = room
        failed = False
        try:
            file.append(events(1, 2, 3, 4))
        except OSError:
            failed = True
        assert failed is (room < 4 * LINE)
        on_disk = b"".join(each.read_bytes() for each in own.parent.glob(f"{room}*") if each.name[0] != "e")
        assert on_disk.endswith(b"\n") or not on_disk
        assert file.settled.lines <= on_disk.count(b"\n")
        disk.room = 1 << 20
        file.append(events(*range(file.settled.lines + 1, 5)))
        file.close()
        assert numbers(read_journal(own)) == [1, 2, 3, 4]
        assert file.settled.events == 4
        for each in own.parent.iterdir():
            each.unlink()


def test_what_could_not_be_cut_away_is_before_anything_else_is_written(path: Path, disk: Disk) -> None:
    file = opened(path)
    disk.room = LINE + 5
    disk.refuses = {"ftruncate"}
    with pytest.raises(OSError, match="space"):
        file.append(events(1, 2))
    with pytest.raises(OSError, match="error"):
        file.append(events(1, 2))
    disk.refuses, disk.room = set(), 1 << 20
    file.append(events(1, 2))
    file.close()
    assert numbers(read_journal(path)) == [1, 2]


def test_a_journal_that_had_to_leave_a_ragged_end_can_be_read_and_gone_on_with(
    path: Path, disk: Disk
) -> None:
    file = opened(path)
    file.append(events(1))
    disk.room, disk.refuses = 5, {"ftruncate"}
    with pytest.raises(OSError, match="space"):
        file.append(events(2))
    file.close()
    assert numbers(read_journal(path)) == [1]
    disk.room, disk.refuses = 1 << 20, set()
    written(path, events(3))
    assert numbers(read_journal(path)) == [1, 3]


@pytest.mark.parametrize("call", ["open", "close", "write", "fsync", "ftruncate"])
@pytest.mark.parametrize("fsync", Fsync)
def test_any_call_that_fails_in_any_place_is_made_good_by_trying_again(
    tmp_path: Path, disk: Disk, call: str, fsync: Fsync
) -> None:
    for at in range(30):
        path = tmp_path / f"{at}.ndjson"
        disk.calls.clear()
        file = opened(path, fsync, 2 * LINE, keep=50)
        made = len(disk.calls)

        def before(name: str, made: int = made, at: int = at) -> None:
            if len(disk.calls) == made + at + 1 and name == call:
                disk.refuses = {call}

        disk.before = before
        failures = insisted(file, events(*range(9)), disk)
        disk.before = lambda name: None
        disk.refuses = set()
        file.close()
        assert failures <= 1
        assert numbers(read_journal(path)) == list(range(9))
        assert file.settled.events == 9


def test_names_that_cannot_be_changed_are_changed_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.replace
    for refused in range(6):
        own = path.with_name(f"{refused}.ndjson")
        written(own, events(0, 1, 2), max_bytes=LINE)
        file = opened(own, max_bytes=LINE)
        seen = [0]

        def replace(self: Path, target: Path, refused: int = refused, seen: list[int] = seen) -> Path:
            seen[0] += 1
            if seen[0] in (refused, refused + 1, refused + 2):
                raise PermissionError("not now")
            return real(self, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", replace)
            insisted(file, events(3, 4), Disk())
        file.close()
        assert numbers(read_journal(own)) == [0, 1, 2, 3, 4]


def test_a_journal_that_somebody_took_away_is_begun_anew(path: Path) -> None:
    file = opened(path, max_bytes=LINE)
    file.append(events(1))
    path.unlink()
    assert insisted(file, events(2, 3), Disk()) <= 1
    file.close()
    assert numbers(read_journal(path)) == [2, 3]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files, as POSIX has")
def test_a_real_limit_on_the_size_of_a_file_leaves_whole_lines(path: Path) -> None:
    code = """
        import resource, sys
        from pathlib import Path
        from phloem.events.journal_files import Fsync, JournalFile
        from phloem.events.types import AgentEvent

        file = JournalFile(Path(sys.argv[1]), fsync=Fsync.NEVER, max_bytes=1 << 30, keep=1)
        file.open()
        items = [AgentEvent("custom", "s", data={"n": n, "text": ""}) for n in range(500)]
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_001, hard))
        try:
            file.append(items)
        except OSError as error:
            print(error.strerror)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        print(Path(sys.argv[1]).stat().st_size, file.settled.lines)
        file.append(items[file.settled.lines:])
        file.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], capture_output=True, text=True, check=True
    )
    said, at = done.stdout.splitlines()
    assert said == "File too large"
    assert at == "0 0"  # the piece that did not fit was cut away again
    assert numbers(read_journal(path)) == list(range(500))


# -- forcing to the disk -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fsync", "forced"),
    [
        (Fsync.NEVER, []),
        (Fsync.BATCH, ["j", "folder", "j", "j", "j", "folder"]),
        (Fsync.CLOSE, ["j", "folder", "j", "folder"]),
    ],
)
def test_bytes_are_forced_to_the_disk_as_the_policy_says(
    tmp_path: Path, disk: Disk, fsync: Fsync, forced: list[str]
) -> None:
    # two batches, a third that moves the file aside after its first line, and the end
    written(tmp_path / "j", events(1), events(2), events(3, 4), fsync=fsync, max_bytes=3 * LINE)
    names = ["folder" if each == tmp_path else each.name for each in disk.synced]
    assert names == forced


def test_nothing_is_forced_that_was_not_written(path: Path, disk: Disk) -> None:
    file = opened(path, Fsync.CLOSE)
    file.append(events(1))
    file.sync()
    forced = len(disk.synced)
    file.sync()
    file.append([])
    file.close()
    assert len(disk.synced) == forced


def test_lines_that_could_not_be_forced_are_written_again_and_stand_once(path: Path, disk: Disk) -> None:
    # the system may say a second time that all is well of pages that it has given up
    file = opened(path, Fsync.BATCH)
    file.append(events(1))
    disk.refuses = {"fsync"}
    with pytest.raises(OSError, match="error"):
        file.append(events(2, 3))
    assert file.settled.lines == 1
    assert path.stat().st_size == LINE
    assert insisted(file, events(2, 3), disk) == 1
    file.close()
    assert numbers(read_journal(path)) == [1, 2, 3]


def test_closing_closes_even_if_nothing_can_be_forced(path: Path, disk: Disk) -> None:
    file = opened(path, Fsync.CLOSE)
    file.append(events(1))
    disk.refuses = {"fsync"}
    with pytest.raises(OSError, match="error"):
        file.close()
    file.close()
    opened(path).close()  # nobody holds it


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
