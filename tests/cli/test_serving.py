"""``phloem run`` without a batch: serves what the file declares, says each message's end, leaves nothing."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import pytest

from support.serving import STDIN, until, without_times
from support.wire import message

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="FIFOs and process groups need a POSIX system"
)


# -- lines and the end --------------------------------------------------------------------------
def test_each_message_and_each_answer_has_a_line_and_the_table_ends_it(serve: Any) -> None:
    done = serve(STDIN)("run", "organism.yaml", input="hello\n")
    lines, _, table = without_times(done.out).partition("\n\n")
    assert lines.splitlines() == [
        "console → echo  <Say><Text>hello</Text></Say>  … ms",
        "echo → console  <Say><Text>hello</Text></Say>  … ms",
    ]
    listeners, _, sources = table.partition("\n\n")
    assert (listeners.split()[0], sources.split()[0]) == ("listener", "source")
    rows = [line.split() for line in table.splitlines()]
    assert ["echo", "1", "0", "0", "0", "0"] in rows
    assert ["boom", "0", "0", "0", "0", "0"] in rows
    assert ["console", "stdin", "1", "1", "0", "0", "read", "to", "its", "end"] in rows
    assert "1 conversation: 1 completed" in table
    assert "2 deliveries (Boot included) = 2 handled" in table
    assert (done.code, done.err) == (0, "")


def test_quiet_leaves_the_table_out(serve: Any) -> None:
    done = serve(STDIN)("run", "organism.yaml", "--quiet", input="hello\n")
    assert len(done.out.splitlines()) == 2
    assert done.err == ""


def test_what_does_not_end_well_says_how_and_why(serve: Any) -> None:
    source = 'name: feed, path: "feed.ndjson", framing: ndjson'
    phloem = serve(source)
    (phloem.folder / "feed.ndjson").write_text(
        '{"to": "boom", "payload": {"text": "tea"}}\n'
        '{"to": "late", "payload": {"text": "x"}}\n'
        "garbage\n"
        '{"to": "echo", "xml": "<Say><Txt>a</Txt></Say>"}\n'
        '{"to": "loop", "payload": {"text": "x"}}\n'
    )
    done = phloem("run", "organism.yaml", "--log-level", "critical")
    out = without_times(done.out)
    assert (
        "feed → boom  <Say><Text>tea</Text></Say>  … ms  failed: boom raised LookupError: there is no tea\n"
        in out
    )
    assert re.search(r"feed → late .* ms  failed: .*0\.05", out)
    assert 'feed → ?  rejected: line 3, column 1: found "garbage", expected JSON (Expecting value)\n' in out
    assert re.search(r"feed → \?  <Say><Txt>a</Txt></Say>  rejected: /Say", out)
    assert re.search(r"feed → all of \S+  out of budget: ", out)
    assert "4 conversations: 1 rejected, 2 failed, 1 out of budget" in out
    assert done.code == 4  # of several the deadline's


def test_who_runs_it_is_told_why_nobody_takes_a_message(serve: Any) -> None:
    phloem = serve("name: feed, path: feed.xml")
    (phloem.folder / "feed.xml").write_text(
        message('<Say xmlns=""><Text>a</Text></Say>', meta="<from>x</from><to>ecko</to>")
        + message('<Word xmlns=""><Text>a</Text></Word>', meta="<from>x</from>")
    )
    done = phloem("run", "organism.yaml")
    assert "rejected: /Say: there is no 'ecko'\n" in done.out
    assert "rejected: /Word: nobody takes 'Word'\n" in done.out
    assert done.code == 5


def test_what_others_wrote_cannot_draw_on_the_terminal_and_is_cut(serve: Any) -> None:
    done = serve(STDIN)("run", "organism.yaml", input=f"tab\there\n{'x' * 5000}\n\u202eright to left\n")
    lines = done.out.splitlines()
    assert not set(done.out) & {"\t", "\u202e", "\x1b"}
    assert "tab\u2409here" in done.out
    assert "…" in done.out
    assert max(map(len, lines)) <= 200


def test_a_narrow_terminal_gets_narrow_lines(serve: Any) -> None:
    import fcntl
    import pty
    import struct
    import subprocess
    import termios

    phloem = serve(STDIN)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "phloem", "run", "organism.yaml"],
        cwd=phloem.folder,
        env=phloem._environment({"TERM": "xterm"}),
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    phloem.started.append(process)
    os.close(theirs)
    process.communicate(b"x" * 300 + b"\n", timeout=60)
    drawn = b""
    try:
        while piece := os.read(ours, 65536):
            drawn += piece
    except OSError:
        pass  # Linux says so when the other end has closed
    os.close(ours)
    lines = drawn.decode().splitlines()
    assert lines[0].startswith("console → echo  <Say><Text>xxx")
    assert max(map(len, lines)) <= 50
    assert lines[3:5] == ["echo: 1 handled", "many: nothing"]
    assert "console: 1 message (1 accepted), read to its end" in lines


def test_several_sources_are_served_side_by_side(serve: Any) -> None:
    phloem = serve(
        STDIN,
        "name: feed, path: feed.xml",
        f'name: made, command: [{sys.executable}, "-c", "print(1); print(2)"], framing: lines, to: echo',
    )
    (phloem.folder / "feed.xml").write_text(
        message('<Say xmlns=""><Text>a</Text></Say>', meta="<from>x</from><to>echo</to>")
    )
    done = phloem("run", "organism.yaml", input="hello\n")
    assert done.code == 0, done.err
    for name, count in (("console", 1), ("feed", 1), ("made", 2)):
        assert done.out.count(f"{name} → echo") == done.out.count(f"echo → {name}") == count
    assert done.out.count("read to its end") == 3


def test_files_and_commands_are_looked_for_beside_the_file(serve: Any, tmp_path: Any) -> None:
    phloem = serve(
        "name: feed, path: feed.txt, framing: lines, to: echo",
        "name: made, command: [cat, feed.txt], framing: lines, to: echo",
    )
    (phloem.folder / "feed.txt").write_text("hello\n")
    folder, phloem.folder = phloem.folder, phloem.folder / "elsewhere"
    phloem.folder.mkdir()
    done = phloem("run", str(folder / "organism.yaml"))
    assert (done.code, done.out.count("→ echo")) == (0, 2), done.err


def test_handlers_print_to_stderr_and_read_nothing(serve: Any) -> None:
    phloem = serve(STDIN)
    with (phloem.folder / "handlers.py").open("a") as file:
        file.write(
            "\n\nasync def echo(payload, metadata):\n"
            "    print('printed', repr(sys.stdin.read()))\n"
            "    return HandlerResponse.respond(payload)\n"
        )
    done = phloem("run", "organism.yaml", input="hello\nworld\n")
    assert "printed" not in done.out
    assert done.err.count("printed ''\n") == 2


# -- what is open -------------------------------------------------------------------------------
def test_a_fifo_waits_for_its_writer_and_ends_with_the_last(serve: Any) -> None:
    phloem = serve("name: pipe, path: fifo, framing: lines, to: echo")
    fifo = phloem.folder / "fifo"
    os.mkfifo(fifo)
    process = phloem.start("run", "organism.yaml")
    with open(fifo, "w") as first:
        first.write("one\n")
        first.flush()
        until(process.stdout, "pipe → echo")
        with open(fifo, "w") as second:
            second.write("two\n")
    out, err = process.communicate(timeout=60)
    assert out.count("pipe → echo") == 1
    assert (process.returncode, err) == (0, "")


def test_a_run_ends_when_all_is_idle_and_not_before(serve: Any) -> None:
    phloem = serve("name: console, path: '-', framing: lines, to: told")
    fifo = phloem.folder / "fifo"
    os.mkfifo(fifo)
    process = phloem.start("run", "organism.yaml")
    process.stdin.write(f"{fifo}\n")
    process.stdin.flush()
    until(process.stderr, "hanging")
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), process.stdin.fileno())  # its end; communicate still has a file to close
    with open(fifo, "w") as file:
        file.write("in time")
    assert "<Text>in time</Text>" in until(process.stdout, "→ console")
    assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("name: feed, path: missing", "phloem: {folder}/missing: No such file or directory"),
        ("name: feed, path: .", "phloem: {folder}/.: Is a directory"),
        ("name: feed, command: [./missing, x]", "phloem: source feed: ./missing: No such file or directory"),
        ("name: feed, command: [./handlers.py]", "phloem: source feed: ./handlers.py: Permission denied"),
    ],
)
def test_a_source_that_cannot_be_opened_is_told_and_ends_the_run(serve: Any, source: str, told: str) -> None:
    phloem = serve(STDIN, source)
    done = phloem("run", "organism.yaml", input="hello\n")
    assert told.format(folder=phloem.folder) in done.err.splitlines()
    assert (done.code, "Traceback" in done.err) == (2, False)


def test_lines_for_a_listener_that_takes_none_name_their_source(serve: Any) -> None:
    done = serve("name: feed, path: '-', framing: lines, to: many")("run", "organism.yaml")
    assert done.code == 2
    assert done.err.startswith("phloem: source feed, to: found 'many'")


@pytest.mark.parametrize(
    ("code", "told"),
    [("raise SystemExit(3)", "exit code 3"), ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL")],
)
def test_a_command_that_fails_is_told_and_counts_as_a_file_that_cannot_be_read(
    serve: Any, code: str, told: str
) -> None:
    command = f'[{sys.executable}, "-c", "print(1, flush=True); {code}"]'
    done = serve(f"name: made, command: {command}, framing: lines, to: echo")("run", "organism.yaml")
    assert done.code == 2
    assert done.out.count("made → echo") == 1
    assert done.err.endswith(f"): {told}\n")
    assert re.search(rf"(?m)^ *made .* {told}$", done.out)


def test_without_sources_nothing_would_come_in(phloem: Any) -> None:
    done = phloem("run", "organism.yaml", input="hello\n")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("phloem: organism.yaml declares no sources, so nothing would come in")
    assert "--batch" in done.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--out", "-"), "--out needs --batch IN"),
        (("--dead-letters", "x"), "--dead-letters needs --batch IN"),
        (("--unordered",), "--unordered needs --batch IN"),
        (("--reorder-window", "1000"), "--reorder-window needs --batch IN"),
    ],
)
def test_what_is_for_batches_is_refused_without_one(serve: Any, options: tuple[str, ...], told: str) -> None:
    done = serve(STDIN)("run", "organism.yaml", *options, input="hello\n")
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_of_the_environment_it_may_be_for_other_runs(serve: Any) -> None:
    assert serve(STDIN)("run", "organism.yaml", input="hello\n", PHLOEM_RUN_OUT="x").code == 0


def test_an_empty_stdin_ends_the_run(serve: Any) -> None:
    done = serve(STDIN)("run", "organism.yaml", input="")
    assert done.code == 0
    assert "0 conversations" in done.out
