"""The real command: through pipes, and on a terminal of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PATIENCE = 20  # seconds; what is waited for comes within one

ORGANISM = """\
organism: {name: test}
listeners:
  - {name: echo, description: says it again, payload_class: talkers.Say, handler: talkers.echo}
  - {name: boom, description: raises, payload_class: talkers.Say, handler: talkers.boom}
  - {name: hang, description: never answers, payload_class: talkers.Say, handler: talkers.hang}
  - {name: stuck, description: keeps the loop, payload_class: talkers.Say, handler: talkers.stuck}
  - name: writer
    description: writes bit by bit
    payload_class: talkers.Say
    handler: talkers.write
    client_facing: true
  - name: asker
    description: asks back
    payload_class: talkers.Say
    handler: talkers.ask
    client_facing: true
"""

TALKERS = '''\
"""Listeners to talk to."""
import sys, threading, time
from dataclasses import dataclass

import trio
from phloem import HandlerResponse, get_event_bus


@dataclass
class Say:
    text: str


async def echo(payload, metadata):
    return HandlerResponse.respond(payload)


async def boom(payload, metadata):
    print("printed", end="")
    print(" by \\x1b[2Jboom")
    thread = threading.Thread(target=print, args=("from a thread",))
    thread.start()
    thread.join()
    raise LookupError("no " + payload.text)


async def hang(payload, metadata):
    await trio.sleep_forever()


async def stuck(payload, metadata):
    time.sleep(3600)


async def write(payload, metadata):
    bus = get_event_bus()
    said = ""
    for word in payload.text.split("|"):
        said += word
        bus.emit_client_output_delta(content=word, snapshot=said)
        await trio.sleep(0.3)
    return HandlerResponse.respond(Say(said))


async def ask(payload, metadata):
    if payload.text == "ask":
        get_event_bus().emit_client_input_requested(prompt="Which?")
        return None
    return HandlerResponse.respond(Say("got " + payload.text))
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "organism.yaml").write_text(ORGANISM)
    (tmp_path / "talkers.py").write_text(TALKERS)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PHLOEM", "NO_COLOR"))}
    return {**kept, "PYTHONPATH": str(SOURCE), "XDG_STATE_HOME": str(folder / "state"), "TERM": "xterm"}


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "phloem", "console", "organism.yaml", *options]


# -- pipes ---------------------------------------------------------------------------------------------


def piped(folder: Path, given: str | bytes, *options: str) -> tuple[int, str, str]:
    raw = given.encode() if isinstance(given, str) else given
    done = subprocess.run(
        command(*options),
        cwd=folder,
        env=environment(folder),
        input=raw,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_pipe_gets_answers_in_its_order_and_nothing_else(folder: Path) -> None:
    code, out, err = piped(folder, "@echo one\ntwo\n@asker ask\nblue\n@writer a|b\n/quit\n")
    assert out == "echo: one\necho: two\nasker asks: Which?\nasker: got blue\nwriter: ab\n"
    assert err == "6 deliveries (Boot included) = 6 handled\n"
    assert code == 0


def test_the_last_line_needs_no_end_and_a_mark_at_the_beginning_is_none(folder: Path) -> None:
    code, out, _ = piped(folder, b"\xef\xbb\xbf@echo caf\xc3\xa9\r\n@echo last", "-q")
    assert (code, out) == (0, "echo: café\necho: last\n")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("@boom x\n@echo a\n", 1),
        ("@nobody x\n@echo a\n", 5),
        ("/nothing\n@echo a\n", 2),
        (b"@echo \xff\n@echo a\n", 5),
        ("@hang x\n", 4),
        ("", 0),
        ("\n\n", 0),
    ],
)
def test_the_exit_code_tells_what_failed(folder: Path, given: str | bytes, code: int) -> None:
    text = (folder / "organism.yaml").read_text()
    (folder / "organism.yaml").write_text(
        text.replace("handler: talkers.hang}", "handler: talkers.hang, handler_timeout: 0.1}")
    )
    found, out, _ = piped(folder, given, "-q")
    assert found == code
    assert ("echo: a\n" in out) == ("@echo a" in str(given))


def test_what_handlers_print_is_not_among_the_answers(folder: Path) -> None:
    _, out, err = piped(folder, "@boom x\n")
    assert out == "boom: failed: boom raised LookupError: no x\n"
    assert "printed by" in err


def test_with_no_wait_lines_are_taken_at_once(folder: Path) -> None:
    code, out, _ = piped(folder, "@writer a|b|c\n@echo first\n/kill writer\n", "--no-wait")
    assert out.startswith("echo: first\n") or out.startswith("conversation")
    assert "was killed" in out
    assert code == 0


def test_a_file_that_is_none_is_a_usage_error(folder: Path) -> None:
    (folder / "organism.yaml").write_text("organism: {name: 3}\n")
    code, out, err = piped(folder, "@echo a\n")
    assert (code, out) == (2, "")
    assert "organism.yaml" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_a_pipe_and_a_second_one_ends_it(folder: Path, number: int, code: int) -> None:
    process = subprocess.Popen(
        command("--grace", "60"), cwd=folder, env=environment(folder),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"@echo ready\n@hang x\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"echo: ready\n"
    time.sleep(0.2)
    process.send_signal(number)
    assert process.stdout.readline() == b"waiting for 1 answer, 60 s at most; Ctrl-C stops at once\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert b"stopped at once: 3 deliveries (Boot included) = 2 handled + 1 in flight\n" in err


def test_a_reader_that_leaves_ends_it_without_a_word(folder: Path) -> None:
    process = subprocess.Popen(
        command(), cwd=folder, env=environment(folder),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.write(b"@echo a\n@echo b\n")
    process.stdin.flush()
    process.stdout = None
    _, err = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in err
    assert process.returncode == 2


# -- a terminal ------------------------------------------------------------------------------------------


class Terminal:
    """The command on a pseudo-terminal, as its controlling one."""

    def __init__(self, folder: Path, *options: str, **more: str) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(sys.executable, command(*options), {**environment(folder), **more})
        self.seen = ""
        self.at = 0
        self.status: int | None = None

    def until(self, text: str) -> str:
        """What has come up to this text, without the sequences that draw."""
        end = time.monotonic() + PATIENCE
        while (found := plain(self.seen).find(text, self.at)) < 0:
            assert time.monotonic() < end, f"no {text!r} in {plain(self.seen)[self.at :]!r}"
            self._read(0.1)
        before, self.at = plain(self.seen)[self.at : found], found + len(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.master)

    @property
    def cooked(self) -> bool:
        return bool(self.modes()[3] & termios.ICANON)

    def ends(self) -> int:
        """The exit code, or minus the signal that ended it."""
        end = time.monotonic() + PATIENCE
        while self.status is None:
            assert time.monotonic() < end, f"it does not end: {plain(self.seen)[self.at :]!r}"
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        self._read(0)
        return self.status

    def _read(self, patience: float) -> None:
        if select.select([self.master], [], [], patience)[0]:
            try:
                self.seen += os.read(self.master, 65_536).decode("utf-8", "replace")
            except OSError:
                time.sleep(patience)  # it has closed the terminal

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", text).replace("\r", "")


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
    terminal.until("stuck> ")
    time.sleep(0.2)
    terminal.type("\x03")
    time.sleep(0.2)
    terminal.type("\x03")
    terminal.until("stopped at once: 2 deliveries")
    assert terminal.ends() == 130
    assert terminal.cooked


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


def test_stopped_it_gives_the_terminal_back_and_takes_it_again(terminal: Terminal) -> None:
    terminal.type("half")
    terminal.until("half")
    terminal.type("\x1a")
    _, status = os.waitpid(terminal.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert terminal.cooked
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.until("> half")
    assert not terminal.cooked
    terminal.type("\x15@echo on\r")
    terminal.until("echo: on\n")


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
