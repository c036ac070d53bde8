"""Standard streams: stdout carries data only, stdin is the batch's, and neither is taken for granted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SAY = "<Say><Text>a</Text></Say>"
FULL = Path("/dev/full")

LOUD = """
import os, subprocess
print("printed at import")


async def loud(payload, metadata):
    print("printed by a handler")
    os.write(1, b"written by a handler\\n")
    subprocess.run(["echo", "said by a child"], check=True)
    return HandlerResponse.respond(payload)


async def nosy(payload, metadata):
    return HandlerResponse.respond(Say(repr(sys.stdin.read())))
"""

SAID = ["printed at import", "printed by a handler", "written by a handler", "said by a child"]


@pytest.fixture
def loud(phloem: Any) -> Any:
    """An organism whose handlers use the standard streams as if they were alone."""
    with (phloem.folder / "handlers.py").open("a") as file:
        file.write(LOUD)
    with (phloem.folder / "organism.yaml").open("a") as file:
        for name in ("loud", "nosy"):
            file.write(f"  - {{name: {name}, payload_class: handlers.Say, handler: handlers.{name}}}\n")
    return phloem


def in_a_shell(phloem: Any, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``command`` with ``"$@"`` for phloem and these arguments: redirections are the shell's."""
    return subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-m", "phloem", *arguments],
        cwd=phloem.folder,
        env=phloem._environment(None),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -- what handlers say -----------------------------------------------------------------------


def test_what_handlers_print_goes_to_stderr_and_the_data_alone_to_stdout(loud: Any, line: Any) -> None:
    done = loud.run(line("a", to="loud"), line("b"))
    assert done.states == ["completed", "completed"]
    assert [text for text in SAID if text in done.err] == SAID
    sent = loud("send", "organism.yaml", "loud", SAY)
    assert sent.states == ["completed"]
    assert [text for text in SAID if text in sent.err] == SAID


def test_what_handlers_print_may_use_stdout_where_no_data_does(loud: Any, line: Any) -> None:
    done = loud.run(line("a", to="loud"), options=("--out", "out"))
    assert [text for text in SAID if text in done.out] == SAID
    letters = loud.run(line("a", to="loud"), options=("--out", "out", "--dead-letters", "-"))
    assert letters.out == ""


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_the_device_names_of_standard_streams_mean_the_streams(loud: Any, line: Any) -> None:
    text = json.dumps(line("a", to="loud")) + "\n"
    done = loud("run", "organism.yaml", "--batch", "/dev/stdin", "--out", "/dev/stdout", input=text)
    assert done.states == ["completed"]


def test_what_was_printed_is_seen_even_if_the_process_ends_at_once(loud: Any, line: Any) -> None:
    with (loud.folder / "handlers.py").open("a") as file:
        file.write("\n\nasync def gone(payload, metadata):\n    print('last words')\n    os._exit(7)\n")
    with (loud.folder / "organism.yaml").open("a") as file:
        file.write("  - {name: gone, payload_class: handlers.Say, handler: handlers.gone}\n")
    done = loud.run(line("a", to="gone"))
    assert (done.code, done.out) == (7, "")
    assert "last words" in done.err


def test_stdin_is_the_data_s_until_the_block_is_left(phloem: Any) -> None:
    code = (
        "import os; from phloem.cli.standard import data_stdin\n"
        "with data_stdin() as data: print(os.read(0, 9), os.read(data, 4))\n"
        "print(os.read(0, 9))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=phloem._environment(None),
        input=b"datarest",
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == [b"b''", b"b'data'", b"b'rest'"]


def test_a_handler_that_reads_stdin_takes_nothing_of_the_batch(loud: Any, line: Any) -> None:
    rest = [line(str(number)) for number in range(50)]
    done = loud.run(line("a", to="nosy"), *rest, options=("--reorder-window", "1"))
    assert done.states == ["completed"] * 51
    assert done.lines[0]["payloads"][0]["fields"] == {"text": "''"}


# -- streams that are full or closed ---------------------------------------------------------


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("run", "--help"),
        ("check", "organism.yaml"),
        ("demo",),
        ("send", "organism.yaml", "echo", SAY),
    ],
)
def test_a_stdout_that_takes_no_more_is_one_line_and_exit_code_2(
    phloem: Any, arguments: tuple[str, ...]
) -> None:
    done = in_a_shell(phloem, '"$@" >/dev/full', *arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["phloem: stdout: No space left on device"]


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("check", "missing.yaml"), 2),
        (("run", "organism.yaml", "--batch", "in"), 0),
        (("send", "organism.yaml", "boom", SAY), 1),
    ],
)
def test_a_stderr_that_takes_no_more_changes_no_exit_code(
    phloem: Any, line: Any, arguments: tuple[str, ...], code: int
) -> None:
    (phloem.folder / "in").write_text(json.dumps(line("a")) + "\n")
    for command in ('"$@" 2>/dev/full', '"$@" 2>&-'):
        assert in_a_shell(phloem, command, *arguments).returncode == code, command


def test_a_file_never_takes_the_place_of_a_closed_stream(phloem: Any, line: Any) -> None:
    """The first free descriptor is what a file gets: 2, where stderr is closed."""
    (phloem.folder / "in").write_text(json.dumps(line("a", to="boom")) + "\n")
    run = ("run", "organism.yaml", "--batch", "in", "--out", "out")
    for command in ('"$@" 2>&-', '"$@" <&- 2>&-', '"$@" <&- >&- 2>&-'):
        assert in_a_shell(phloem, command, *run).returncode == 1, command
        [result] = (phloem.folder / "out").read_text().splitlines()
        assert json.loads(result)["state"] == "failed"


def test_closed_streams_that_are_needed_are_one_line_and_exit_code_2(phloem: Any, line: Any) -> None:
    (phloem.folder / "in").write_text(json.dumps(line("a")) + "\n")
    closed = in_a_shell(phloem, '"$@" >&-', "run", "organism.yaml", "--batch", "in", "--quiet")
    assert (closed.returncode, closed.stderr) == (2, "phloem: stdout: Bad file descriptor\n")
    closed = in_a_shell(phloem, '"$@" <&-', "run", "organism.yaml", "--batch", "-", "--quiet")
    assert (closed.returncode, closed.stderr) == (2, "phloem: stdin: Bad file descriptor\n")
    closed = in_a_shell(phloem, '"$@" <&-', "send", "organism.yaml", "echo", "-")
    assert (closed.returncode, closed.stderr) == (2, "phloem: stdin: Bad file descriptor\n")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_of_two_output_files_the_one_that_takes_no_more_is_named(phloem: Any, line: Any) -> None:
    done = phloem.run(line("a", to="boom"), options=("--quiet", "--dead-letters", os.fspath(FULL)))
    assert done.code == 2
    assert done.err.splitlines()[-1] == "phloem: /dev/full: No space left on device"
