"""However serving ends (a signal, a second one, nobody reading), what it started ends with it."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from typing import Any

import pytest

from support.serving import STDIN, gone, until

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="FIFOs and process groups need a POSIX system"
)


# -- stopping -----------------------------------------------------------------------------------
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_takes_no_more_and_drains(serve: Any, number: int, code: int) -> None:
    phloem = serve("name: console, path: '-', framing: lines, to: told")
    fifo = phloem.folder / "fifo"
    os.mkfifo(fifo)
    process = phloem.start("run", "organism.yaml")
    process.stdin.write(f"{fifo}\n")
    process.stdin.flush()
    until(process.stderr, "hanging")
    process.send_signal(number)
    until(process.stderr, "stopping: what was accepted is drained, for 10 s at most")
    with open(fifo, "w") as file:
        file.write("in time")
    out = process.stdout.read()
    assert "told → console  <Say><Text>in time</Text></Say>" in out
    assert "stopped" in out
    assert process.wait(60) == code


def test_what_does_not_end_within_the_grace_is_abandoned(serve: Any) -> None:
    process = serve("name: console, path: '-', framing: lines, to: hang").start(
        "run", "organism.yaml", "--grace", "0.1"
    )
    process.stdin.write("x\n")
    process.stdin.flush()
    until(process.stderr, "hanging")
    process.send_signal(signal.SIGTERM)
    out = process.stdout.read()
    assert re.search(r"console → hang  <Say><Text>x</Text></Say>  .* ms  abandoned: ", out)
    assert "1 conversation: 1 drained" in out
    assert process.wait(60) == 143


@pytest.mark.parametrize("to", ["hang", "stuck"])
def test_the_second_signal_stops_at_once_and_ends_commands(serve: Any, to: str) -> None:
    phloem = serve(
        "name: made, framing: lines, to: echo, command: [sh, -c, 'echo $$; sleep 600']",
        f"name: console, path: '-', framing: lines, to: {to}",
    )
    process = phloem.start("run", "organism.yaml", "--grace", "3600")
    pid = int(re.findall(r"<Text>(\d+)", until(process.stdout, "echo → made"))[0])
    process.stdin.write("x\n")
    process.stdin.flush()
    until(process.stderr, "hanging")
    process.send_signal(signal.SIGINT)
    if to == "hang":
        until(process.stderr, "stopping:")
    else:
        time.sleep(0.3)  # two signals of one number sent at once would be one
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    err = process.stderr.read()
    assert "stopped at once: " in err
    assert "in flight" in err
    assert gone(pid)


def test_a_command_and_all_it_started_end_with_the_run(serve: Any) -> None:
    script = 'trap "" TERM; sleep 600 & echo $! $$; wait; wait'
    phloem = serve(f"name: made, framing: lines, to: echo, command: [sh, -c, '{script}']")
    process = phloem.start("run", "organism.yaml", "--grace", "0")
    pids = re.findall(r"<Text>(\d+) (\d+)", until(process.stdout, "echo → made"))[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert all(gone(int(pid)) for pid in pids)


def test_who_closes_the_pipe_ends_the_run_without_a_traceback(serve: Any) -> None:
    phloem = serve("name: made, framing: lines, to: echo, command: ['yes']")
    process = phloem.start("run", "organism.yaml", "--quiet")
    until(process.stdout, "made → echo")
    process.stdout.close()
    assert process.wait(60) == 2
    assert process.stderr.read() == ""


def test_who_reads_slowly_slows_the_sources(serve: Any) -> None:
    """Nobody reads stdout: what is told of it is bounded, and so is what is read."""
    phloem = serve("name: made, framing: lines, to: echo, command: ['yes', 'and no']")
    process = phloem.start("run", "organism.yaml", "--quiet")
    until(process.stdout, "made → echo")

    def ticks() -> int:
        with open(f"/proc/{process.pid}/stat") as file:
            return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))

    before = -1
    for _ in range(100):  # until it has nothing to do any more
        time.sleep(0.2)
        if ticks() == before:
            break
        before = ticks()
    else:
        pytest.fail("it never stopped reading")


def test_a_stdout_that_is_full_is_an_error(serve: Any) -> None:
    import subprocess

    phloem = serve(STDIN)
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "phloem", "run", "organism.yaml"],
            cwd=phloem.folder,
            env=phloem._environment(None),
            stdin=subprocess.PIPE,
            stdout=full,
            stderr=subprocess.PIPE,
        )
        phloem.started.append(process)
        _, err = process.communicate(b"hello\n", timeout=60)
    assert (process.returncode, err) == (2, b"phloem: stdout: No space left on device\n")
