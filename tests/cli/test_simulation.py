"""``phloem sim``: one run had again and written down, what is refused, and how it is stopped."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.simulated import (
    Sim,
    header_of,
    token_of,
    write_organism,
)

# -- one run -----------------------------------------------------------------------------------


def test_a_replay_shows_who_ran_when_and_exits_by_the_verdict(sim: Sim) -> None:
    token = token_of(sim, "relay")
    done = sim("relay", "--replay", token)
    assert done.code == 0
    assert done.out.rstrip().endswith("no violation")
    assert "  clock   1" in done.out
    assert " goes on at " in done.out
    digest = header_of("run.ndjson")["digest"]
    assert f"digest {digest}" in done.out
    assert len(sim("relay", "--replay", token, "-q").out.splitlines()) == 2


def test_a_replay_of_another_program_says_that_it_is_one(sim: Sim) -> None:
    token = token_of(sim, "relay")
    done = sim("flaky", "--replay", token)
    assert done.code == 0
    assert "it did not go as its token says" in done.out


def test_the_run_that_fails_is_written_and_can_be_had_again_to_the_letter(sim: Sim, sim_command: Any) -> None:
    done = sim("counts", "--out", "one.ndjson")
    token = done.told("token")
    assert sim("counts", "--replay", token, "--out", "two.ndjson").code == 1
    assert Path("one.ndjson").read_text() == Path("two.ndjson").read_text()
    header, *rows = map(json.loads, Path("one.ndjson").read_text().splitlines())
    assert header["token"] == token
    assert header["outcome"].startswith("HandlerRaised: listener counts raised AssertionError")
    messages = [row for row in rows if "message" in row and row["listener"] == "counts"]
    assert [row["ending"] for row in messages] == ["failed", "failed"]
    assert {row["ended"] - row["started"] for row in messages} == {10.0}
    assert sim_command("trace", "diff", "one.ndjson", "two.ndjson").code == 0


def test_the_first_run_is_written_where_none_fails_and_a_longer_file_is_replaced(sim: Sim) -> None:
    Path("run.ndjson").write_text("x" * 1_000_000)
    assert sim("relay", "--out", "run.ndjson", "--seed", "5").code == 0
    header, *rows = map(json.loads, Path("run.ndjson").read_text().splitlines())
    assert (header["organism"], header["seed"], header["outcome"]) == ("small", 5, "passed")
    messages = {row["message"]: row for row in rows if "message" in row}
    paths = {
        (row["from"], row["listener"], messages[row["parent"]]["listener"] if row["parent"] else None)
        for row in messages.values()
    }
    assert paths == {
        ("system", "system.boot", None),
        ("outside", "relay", None),
        ("relay", "echo", "relay"),
        ("echo", "relay", "echo"),
    }
    assert {row["state"] for row in rows if "state" in row} == {"completed"}


def test_the_line_to_paste_has_what_the_run_depends_on(sim: Sim) -> None:
    options = ("--seed", "3", "--strategy", "walk", "--no-confluence", "--allow-deadlines")
    words = shlex.split(sim("boom", *options, "--sweep", "every-site").told("again:"))
    assert [*options, "--replay"] == words[words.index("batch.ndjson") + 1 : -1]


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--strategy", "wlak"), "found 'wlak', expected one of calm, shuffle, walk, pct, portfolio"),
        (("--seeds", "0"), "--seeds"),
        (("--seeds", "many"), "--seeds"),
        (("--sweep", "some"), "--sweep"),
        (("--faults", "handlr=raise"), "faults: handlr: found a point that nothing visits"),
        (("--faults", "handler=rise"), "faults: handler: found rise, expected some of raise"),
        (("--replay", "x"), "--replay: token: found 'x', expected one that begins with 'sim1-'"),
        (("--replay", "sim1-xxxx"), "--replay: token: found 'sim1-xxxx'"),
        (("--out", "-"), "stdout has the table"),
        (("--out", "organism.yaml"), "--out organism.yaml is the same file as FILE organism.yaml"),
        (("--out", "./batch.ndjson"), "is the same file as --batch batch.ndjson"),
        (("--out", "nowhere/x"), "nowhere/x: No such file"),
        (("--out", "."), "Is a directory"),
        (("--out", ""), "--out: found nothing, expected the name of a file"),
    ],
)
def test_an_option_that_is_none_is_refused_before_the_first_run(
    sim: Sim, options: tuple[str, ...], error: str
) -> None:
    organism = Path("organism.yaml").read_text()
    done = sim("spin", *options)  # a first run would be seen: it takes seconds and fails
    assert (done.code, done.out) == (2, "")
    assert error in done.err
    assert Path("organism.yaml").read_text() == organism
    assert len(Path("batch.ndjson").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        ("", "--batch batch.ndjson: found nothing, expected a message"),
        ("  \n\n", "found nothing"),
        ("garbage\n", 'batch.ndjson: line 1: found "garbage", expected JSON'),
        ('{"to": "ecko", "payload": {"text": "a"}}', 'line 1, to: found "ecko", expected a listener'),
    ],
)
def test_a_batch_without_a_message_is_refused(sim_command: Any, batch: str, error: str) -> None:
    Path("batch.ndjson").write_text(batch)
    done = sim_command("sim", "organism.yaml", "--batch", "batch.ndjson")
    assert (done.code, done.out) == (2, "")
    assert error in done.err


def test_a_batch_without_a_name_is_refused(sim_command: Any) -> None:
    done = sim_command("sim", "organism.yaml", "--batch", "")
    assert (done.code, done.out) == (2, "")
    assert "--batch: found nothing, expected the name of a file" in done.err


def test_messages_that_cannot_be_read_are_told_and_are_not_covered(sim_command: Any) -> None:
    good = '{"to": "echo", "payload": {"text": "a"}}\n'
    Path("batch.ndjson").write_text(good + "nonsense\n" * 13 + good)
    done = sim_command("sim", "organism.yaml", "--batch", "batch.ndjson", "--seeds", "2")
    assert done.code == 0
    assert done.err.count("batch.ndjson: line ") == 10
    assert "and 3 more that cannot be read" in done.err
    assert done.out.startswith("small: 2 messages simulated")
    assert "13 messages of the batch that cannot be read" in done.rows["not covered"]


def test_a_batch_may_be_xml(sim_command: Any) -> None:
    Path("batch.ndjson").write_text("<Say><Text>a</Text></Say>" * 2)
    done = sim_command("sim", "organism.yaml", "--batch", "batch.ndjson", "--seeds", "2")
    assert "small: 2 messages simulated" in done.out


def test_a_token_with_faults_needs_the_plan_it_was_made_with(sim: Sim) -> None:
    plan = ("--faults", "handler=slow:1:0.9")
    token = token_of(sim, "relay", *plan)
    assert sim("relay", "--replay", token, *plan).code == 0
    done = sim("relay", "--replay", token)
    assert done.code == 2
    assert "and no plan, expected the faults" in done.err


# -- as a process --------------------------------------------------------------------------------


@pytest.fixture
def simulated(phloem: Any) -> Any:
    """The real command line, in a folder with these organisms."""
    write_organism(phloem.folder)
    return phloem


def until(stream: Any, text: str) -> str:
    told = ""
    while text not in told:
        line = stream.readline()
        assert line, f"ended before {text!r}: {told}"
        told += line
    return told


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_ends_it_between_two_runs_with_what_is_known(
    simulated: Any, number: int, code: int
) -> None:
    (simulated.folder / "batch").write_text('{"to": "told", "payload": {"text": "a"}}')
    process = simulated.start("sim", "organism.yaml", "--batch", "batch", "--seeds", "1000000")
    until(process.stderr, "hanging")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "stopping after this run; a second signal stops at once\n" in err
    assert "\x1b" not in err  # no terminal, no cursor
    assert out.startswith("small: 1 message simulated: interrupted\n"), out
    assert re.search(r"schedules +(0|[\d,]+) of 1,000,000", out)
    assert "all that was to come after the signal" in out


def test_the_second_signal_ends_a_run_that_never_would(simulated: Any) -> None:
    (simulated.folder / "batch").write_text('{"to": "stuck", "payload": {"text": "a"}}')
    process = simulated.start("sim", "organism.yaml", "--batch", "batch")
    until(process.stderr, "hanging")
    process.send_signal(signal.SIGINT)
    until(process.stderr, "stopping after this run")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_terminal_sees_a_bar_and_a_signal_gives_it_its_cursor_back(simulated: Any) -> None:
    import pty

    (simulated.folder / "batch").write_text('{"to": "echo", "payload": {"text": "a"}}')
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "phloem", "sim", "organism.yaml", "--batch", "batch", "--seeds", "1000000"],
        cwd=simulated.folder,
        env={**simulated._environment(None), "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    simulated.started.append(process)
    os.close(theirs)
    drawn = b""
    while b" of 1,000,000 schedules" not in drawn and (piece := _read(ours)):
        drawn += piece
    process.send_signal(signal.SIGINT)
    while piece := _read(ours):
        drawn += piece
    os.close(ours)
    assert process.stdout is not None
    assert b"interrupted" in process.stdout.read()
    assert process.wait(60) == 130
    assert b"\x1b[?25hstopping after this run" in drawn
    assert drawn.rfind(b"\x1b[?25l") < drawn.rfind(b"\x1b[?25h")  # it is shown again at the end


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""


def test_a_batch_may_come_from_stdin_and_quiet_says_nothing_of_what_is_well(simulated: Any) -> None:
    line = json.dumps({"to": "echo", "payload": {"text": "a"}})
    done = simulated("sim", "organism.yaml", "--batch", "-", "--seeds", "3", "--quiet", input=line)
    assert (done.code, done.out, done.err) == (0, "", "")
