"""The real console on a terminal of its own, as a person meets it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.screens import Screen
from support.terminals import PATIENCE, Terminal, write_organism


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_organism(tmp_path)
    return tmp_path


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    with_prompt = Terminal(folder)
    with_prompt.until("6 listeners")
    with_prompt.until("> ")
    yield with_prompt
    with_prompt.close()


def test_a_person_talks_and_leaves(terminal: Terminal) -> None:
    assert not terminal.cooked
    terminal.type("@echo hello\r")
    terminal.until("echo: hello\n")
    terminal.until("echo> ")
    terminal.type("again\x7f\x7fst\r")
    terminal.until("echo: agast\n")
    terminal.type("\x04")
    terminal.until("3 deliveries (Boot included) = 3 handled")
    assert terminal.ends() == 0
    assert terminal.cooked
    assert "\x1b[?2004l" in terminal.seen


def test_answers_come_while_one_types_and_what_was_typed_stays(terminal: Terminal) -> None:
    terminal.type("@writer one| two| three\r")
    terminal.until("writer: one")
    terminal.type("half a li")
    terminal.until("writer: one two three\n")
    terminal.until("writer> half a li")
    terminal.type("ne\x01@echo \r")
    terminal.until("echo: half a line\n")


def test_a_question_changes_the_prompt_and_its_answer_is_not_kept(terminal: Terminal, folder: Path) -> None:
    terminal.type("@asker ask\r")
    terminal.until("asker asks: Which?\n")
    terminal.until("asker? ")
    terminal.type("secret\r")
    terminal.until("asker: got secret\n")
    assert (folder / "state" / "phloem" / "console_history").read_text() == "@asker ask\n"


def test_what_was_typed_before_comes_back_in_another_sitting(terminal: Terminal, folder: Path) -> None:
    terminal.type("@echo remembered\r")
    terminal.until("echo: remembered\n")
    other = Terminal(folder)
    try:
        other.until("> ")
        other.type("\x1b[A\r")
        other.until("echo: remembered\n")
    finally:
        other.close()


def test_tab_completes(terminal: Terminal) -> None:
    terminal.type("@ec\thello\r")
    terminal.until("echo: hello\n")


def test_control_c_clears_a_line_and_on_an_empty_one_drains_and_ends(terminal: Terminal) -> None:
    terminal.type("some words")
    terminal.until("some words")
    terminal.type("\x03")
    terminal.until("some words^C\n")
    terminal.type("@echo still here\r")
    terminal.until("echo: still here\n")
    terminal.type("\x03")
    assert terminal.ends() == 130
    assert terminal.cooked


def test_a_second_control_c_ends_a_loop_that_is_kept_busy(terminal: Terminal) -> None:
    terminal.type("@stuck x\r")
    time.sleep(0.5)  # from here on nothing is drawn any more
    terminal.type("\x03")
    time.sleep(0.2)
    terminal.type("\x03")
    terminal.until("stopped at once: 2 deliveries")
    assert terminal.ends() == 130
    assert terminal.cooked
    screen = Screen(80, 24)
    screen.write(terminal.seen)
    assert screen.everything[-1].startswith("stopped at once")
    assert not any("stuck>" in row for row in screen.everything)


def test_after_quit_one_control_c_is_enough(terminal: Terminal) -> None:
    terminal.type("@hang x\r/quit\r")
    terminal.until("waiting for 1 answer, 10 s at most; Ctrl-C stops at once\n")
    terminal.type("\x03")
    terminal.until("stopped at once")
    assert terminal.ends() == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_whatever_ends_it_gives_the_terminal_back(terminal: Terminal, number: int) -> None:
    os.kill(terminal.pid, number)
    code = terminal.ends()
    assert code == (143 if number == signal.SIGTERM else -number)
    assert terminal.cooked


SHELL = """\
import os, signal, sys, termios
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
_, status = os.waitpid(child, os.WUNTRACED)
os.tcsetpgrp(0, os.getpgrp())
cooked = bool(termios.tcgetattr(0)[3] & termios.ICANON)
print("stopped:", os.WIFSTOPPED(status), "cooked:", cooked, flush=True)
os.tcsetpgrp(0, child)
os.kill(child, signal.SIGCONT)
_, status = os.waitpid(child, 0)
os._exit(os.waitstatus_to_exitcode(status))
"""


def test_stopped_it_gives_the_terminal_back_and_takes_it_again(folder: Path) -> None:
    job = Terminal(folder, before=("-c", SHELL))
    try:
        job.until("> ")
        job.type("half")
        job.until("half")
        job.type("\x1a")
        job.until("stopped: True cooked: True\n")
        job.until("> half")
        assert not job.cooked
        job.type("\x15@echo on\r")
        job.until("echo: on\n")
        job.type("\x04")
        assert job.ends() == 0
        assert job.cooked
    finally:
        job.close()


def test_where_nobody_could_make_it_go_on_it_is_not_stopped(terminal: Terminal) -> None:
    """A process without a shell above it."""
    terminal.type("half\x1a")
    terminal.type("\x15@echo on\r")
    terminal.until("echo: on\n")
    assert not terminal.cooked


def test_what_is_printed_stands_above_the_prompt_and_is_harmless(terminal: Terminal) -> None:
    terminal.type("@boom x\r")
    terminal.until("printed by ␛[2Jboom\n")
    terminal.until("from a thread\n")
    terminal.until("boom: failed: boom raised LookupError: no x\n")
    terminal.until("boom> ")
    assert "\x1b[2J" not in terminal.seen


def test_a_paste_is_one_message(terminal: Terminal) -> None:
    terminal.type("\x1b[200~@echo one\rtwo\x1b[201~\r")
    terminal.until("echo: one\ntwo\n")


def test_a_terminal_that_is_gone_ends_it(folder: Path) -> None:
    gone = Terminal(folder, "--grace", "0")
    gone.until("> ")
    os.close(gone.master)
    gone.master = os.open(os.devnull, os.O_RDONLY)
    end = time.monotonic() + PATIENCE
    while gone.status is None and time.monotonic() < end:
        pid, status = os.waitpid(gone.pid, os.WNOHANG)
        gone.status = os.waitstatus_to_exitcode(status) if pid else None
        time.sleep(0.02)
    gone.close()
    assert gone.status is not None
    assert gone.status != 0


def test_without_colours_nothing_is_coloured(folder: Path) -> None:
    grey = Terminal(folder, NO_COLOR="1")
    try:
        grey.until("> ")
        grey.type("@boom x\r")
        grey.until("boom> ")
        assert not re.search(r"\x1b\[[0-9;]*m", grey.seen)
    finally:
        grey.close()


def test_on_a_terminal_that_cannot_be_drawn_on_lines_are_read_as_they_come(folder: Path) -> None:
    dumb = Terminal(folder, TERM="dumb")
    try:
        dumb.type("@echo a\n@echo b\n\x04")
        dumb.until("echo: a\n")
        dumb.until("echo: b\n")
        assert dumb.ends() == 0
    finally:
        dumb.close()
