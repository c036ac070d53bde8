"""What is kept of the lines that were typed, and what a file that fails costs."""

from __future__ import annotations

import os
from pathlib import Path

from phloem.cli.terminal.history import LONGEST, MOST, History, history_file


def kept(path: Path) -> list[str]:
    history = History(path)
    history.load()
    return [history.back(count) for count in range(len(history), 0, -1)]


def test_another_console_finds_what_was_typed(tmp_path: Path) -> None:
    path = tmp_path / "states" / "phloem" / "history"
    history = History(path)
    history.load()
    lines = ["one", "two\nlines", "back\\slash \\n no line feed", "é 漢"]
    for line in lines:
        history.add(line)
    assert history.failure is None
    assert kept(path) == lines


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "phloem" / "history"
    History(path).add("secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_blank_and_repeated_lines_and_those_after_a_space_are_not_kept(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    for line in ("", "  ", "a", "a", " secret", "b", "a", "x" * (LONGEST + 1)):
        history.add(line)
    assert kept(tmp_path / "history") == ["a", "b", "a"]


def test_two_consoles_write_to_one_file(tmp_path: Path) -> None:
    first, second = History(tmp_path / "history"), History(tmp_path / "history")
    first.add("a")
    second.add("b")
    first.add("c")
    assert kept(tmp_path / "history") == ["a", "b", "c"]


def test_only_the_newest_lines_are_kept_and_the_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text("".join(f"line {number}\n" for number in range(2 * MOST + 1)))
    assert kept(path) == [f"line {number}" for number in range(MOST + 1, 2 * MOST + 1)]
    assert len(path.read_text().splitlines()) == MOST
    assert os.listdir(tmp_path) == ["history"]
    history = History(path)
    history.load()
    history.add("newest")
    assert (len(history), history.back(1), history.back(MOST)) == (MOST, "newest", f"line {MOST + 2}")


def test_a_file_that_cannot_be_read_or_written_costs_the_past_only(tmp_path: Path) -> None:
    history = History(tmp_path)  # a folder
    history.load()
    assert history.failure is not None
    history.add("a")
    assert history.back(1) == "a"
    (tmp_path / "file").write_text("")
    below = History(tmp_path / "file" / "history")
    below.load()
    assert below.failure is not None


def test_bytes_that_are_no_text_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "history").write_bytes(b"ok\n\xff\xfe\nlast")
    assert kept(tmp_path / "history")[0] == "ok"


def test_it_is_kept_among_the_users_states(tmp_path: Path) -> None:
    assert history_file({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "phloem" / "console_history"
    home = Path(os.path.expanduser("~"))
    for environment in ({}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative"}):
        assert history_file(environment) == home / ".local" / "state" / "phloem" / "console_history"
