"""The real console through pipes: answers in their order, signals, exit codes."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.terminals import PATIENCE, command, environment, write_organism


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_organism(tmp_path)
    return tmp_path


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
    code, out, _ = piped(folder, "@writer a|b|c\n@echo first\n", "--no-wait")
    assert out == "echo: first\nwriter: abc\n"
    assert code == 0


def test_what_stands_before_quit_is_still_sent(folder: Path) -> None:
    code, out, _ = piped(folder, "@writer a|b\n@echo first\n/quit\n@echo late\n", "--no-wait")
    assert (code, "echo: first" in out, "writer: ab" in out, "late" in out) == (0, True, True, False)


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
