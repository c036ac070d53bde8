"""Files of a journal on a disk that fills up, refuses, or will not say that it has the bytes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from phloem.events.journal_files import Fsync
from phloem.events.replaying import read_journal
from support.disks import Disk, numbers
from support.journals import LINE, events, insisted, opened, written

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
        print(Path(sys.argv[1]).read_bytes().endswith(b"\\n"), 0 < file.settled.lines < 500)
        file.append(items[file.settled.lines:])
        file.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], capture_output=True, text=True, check=True
    )
    said, at = done.stdout.splitlines()
    assert said == "File too large"
    assert at == "True True"  # what did not fit was cut away again
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
    disk.refuses = {"fsync"}
    assert insisted(file, events(4), disk) == 1
    file.close()
    assert numbers(read_journal(path)) == [1, 2, 3, 4]
    assert path.stat().st_size == 4 * LINE


def test_closing_closes_even_if_nothing_can_be_forced(path: Path, disk: Disk) -> None:
    file = opened(path, Fsync.CLOSE)
    file.append(events(1))
    disk.refuses = {"fsync"}
    with pytest.raises(OSError, match="error"):
        file.close()
    file.close()
    opened(path).close()  # nobody holds it
