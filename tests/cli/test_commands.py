"""``phloem send``, ``check``, ``demo`` and the group around them, as they are typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SAY = "<Say><Text>a</Text></Say>"


# -- send ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listener", "payload", "state", "code"),
    [
        ("echo", SAY, "completed", 0),
        ("ECHO", SAY, "completed", 0),
        ("boom", SAY, "failed", 1),
        ("loop", SAY, "out_of_budget", 3),
        ("late", SAY, "failed", 4),
        ("echo", "<Say><Txt>a</Txt></Say>", "rejected", 5),
        ("echo", "<Say>", "rejected", 5),
        ("echo", "just words", "rejected", 5),
        ("nobody", SAY, "rejected", 5),
        ("</to><Evil/>", SAY, "rejected", 5),
    ],
)
def test_send_prints_the_outcome_and_exits_by_it(
    phloem: Any, listener: str, payload: str, state: str, code: int
) -> None:
    done = phloem("send", "organism.yaml", listener, payload)
    assert (done.states, done.code) == ([state], code)


def test_send_reads_its_payload_from_stdin(phloem: Any) -> None:
    done = phloem("send", "organism.yaml", "echo", "-", input=f"\ufeff{SAY}\n")
    assert done.lines[0]["payloads"][0]["xml"] == SAY


def test_send_says_where_in_the_payload_and_of_no_line_in_a_file(phloem: Any) -> None:
    [result] = phloem("send", "organism.yaml", "many", "<Count><Number>x</Number></Count>").lines
    assert result["error"] == {
        "code": "type",
        "path": "/Count/Number",
        "found": "'x'",
        "expected": "an integer",
    }


def test_what_send_prints_is_the_line_that_run_writes(phloem: Any) -> None:
    sent = phloem("send", "organism.yaml", "echo", SAY).lines[0]
    ran = phloem.run({"to": "echo", "xml": SAY}).lines[0]
    changing = ("conversation", "ms")
    assert [sent.pop(key) is not None for key in changing] == [ran.pop(key) is not None for key in changing]
    assert sent == ran


# -- check ---------------------------------------------------------------------------------


def test_check_shows_listeners_payloads_peers_and_limits(phloem: Any) -> None:
    done = phloem("check", "organism.yaml")
    assert done.code == 0
    rows = {row.split()[0]: row for row in done.out.splitlines() if row.split()}
    assert "Say, Count" in rows["many"]
    assert "anyone" in rows["many"]
    assert "takes two classes" in rows["many"]
    assert "0.05 s a message" in rows["late"]
    assert "10 listeners" in done.out
    assert any("handlers at once" in row and "2,000" in row for row in done.out.splitlines())
    assert "\x1b" not in done.out


def test_check_counts_one_as_one_and_names_every_kind_of_a_listener(phloem: Any) -> None:
    (phloem.folder / "organism.yaml").write_text(
        "listeners: [{name: a, payload_class: handlers.Say, handler: handlers.echo, agent: true, "
        "broadcast: true, retries: 1, budgets: {messages: 1, seconds: 2}}]"
    )
    out = phloem("check", "organism.yaml").out
    assert "unnamed: 1 listener\n" in out
    assert "a (agent, broadcast)" in out
    assert "1 retry, 1 message, 2 seconds" in out


def test_check_says_where_a_handler_runs_and_who_watches_it(phloem: Any) -> None:
    (phloem.folder / "plainly.py").write_text("def handle(payload, metadata): ...\n")
    (phloem.folder / "organism.yaml").write_text(
        """
        max_sync_handlers: 2000
        listeners:
          - {name: a, payload_class: handlers.Say, handler: handlers.echo, client_facing: true}
          - {name: b, payload_class: handlers.Say, handler: plainly.handle}
          - {name: c, payload_class: handlers.Say, handler: handlers.echo, runs_on: host}
        """
    )
    out = phloem("check", "organism.yaml").out
    assert all(name in out for name in ("a (client facing)", "b (in a thread)", "c (on the host)"))
    assert values(out)["plain handlers at once"] == "2,000"


def values(out: str) -> dict[str, str]:
    """The table of limits, by its left column; the two are at least two blanks apart."""
    rows = (re.split(r" {2,}", row.strip()) for row in out.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2}


def test_check_shows_what_is_remembered_at_most(phloem: Any) -> None:
    told = values(phloem("check", "organism.yaml").out)
    memory = {
        "messages kept per thread": "1,000",
        "messages kept per conversation": "10,000",
        "bytes kept per conversation": "4,194,304",
        "where that is full": "the oldest is forgotten",
        "threads at once": "20,000",
        "open todos per conversation": "1,000",
        "finished conversations kept": "0",
        "agents are told of peers by": "cards",
    }
    assert {name: told.get(name) for name in memory} == memory
    text = (phloem.folder / "organism.yaml").read_text()
    (phloem.folder / "organism.yaml").write_text(
        "memory: {max_slots_per_thread: 11, max_slots_per_conversation: 12, max_bytes_per_conversation: 13, "
        f"max_threads: 14, max_todos: 15, on_full: refuse, keep_finished: 16}}\nusage: xsd\n{text}"
    )
    told = values(phloem("check", "organism.yaml").out)
    assert [told[name] for name in memory] == [
        *("11", "12", "13", "the message is refused", "14", "15", "16"),
        "cards and XSD",
    ]


def test_check_shows_what_the_event_bus_may_keep_and_run(phloem: Any) -> None:
    text = (phloem.folder / "organism.yaml").read_text()
    events = {
        "events kept": ("1,000", "21"),
        "bytes of events kept": ("4,194,304", "22"),
        "event handlers at once": ("10", "23"),
        "events waiting per subscriber": ("1,024", "24"),
        "event handler is slow after": ("1 s", "2.5 s"),
        "grace for events at the end": ("1 s", "0 s"),
    }
    told = values(phloem("check", "organism.yaml").out)
    assert {name: told.get(name) for name in events} == {name: shown for name, (shown, _) in events.items()}
    (phloem.folder / "organism.yaml").write_text(
        "events: {max_history: 21, max_history_bytes: 22, max_concurrent_handlers: 23, buffer: 24, "
        f"slow_after: 2.5, grace: 0}}\n{text}"
    )
    told = values(phloem("check", "organism.yaml").out)
    assert {name: told.get(name) for name in events} == {name: shown for name, (_, shown) in events.items()}


def test_check_shows_edits_sources_services_and_what_leaves(phloem: Any) -> None:
    (phloem.folder / "organism.yaml").write_text(
        """
        pipeline:
          - {after: repair, tap: handlers.tell, name: seen}
          - {before: dispatch, rate: {per_second: 0.5, burst: 5}}
          - {before: route, branch: {predicate: handlers.tell, to: a}}
          - {without: seen}
        sources:
          - {name: feed, command: [tail, -f, x.xml], priority: true}
          - {name: console, path: "-", framing: lines, to: a}
        egress: [A]
        listeners:
          - {name: a, payload_class: handlers.Say, handler: handlers.echo}
          - {name: b, payload_class: handlers.Say, handler: handlers.echo, service: true}
        """
    )
    out = phloem("check", "organism.yaml").out
    assert "a (egress)" in out
    assert "b (service)" in out
    told = values(out)
    assert told["after repair"] == "tap handlers.tell as seen"
    assert told["before dispatch"] == "rate per_second: 0.5, burst: 5"
    assert told["before route"] == "branch predicate: handlers.tell, to: a"
    assert "\n  without seen " in out
    assert told["feed"] == "xml of tail -f x.xml, first"
    assert told["console"] == "lines of stdin, for a"


def test_check_tells_a_step_that_does_not_fit_where_it_stands(phloem: Any) -> None:
    listener = "listeners: [{name: a, payload_class: handlers.Say, handler: handlers.echo}]\n"
    edit = "pipeline:\n  - {after: parse, transform: handlers.tell}\n"
    (phloem.folder / "organism.yaml").write_text(edit + listener)
    done = phloem("check", "organism.yaml")
    assert done.code == 2
    assert "organism.yaml:2:5: found transform(tell), which takes Message, expected" in done.err


def test_check_marks_unknown_peers_and_tells_an_agent_s_own_usage(phloem: Any) -> None:
    (phloem.folder / "organism.yaml").write_text(
        "allow_unknown_peers: true\n"
        "listeners:\n"
        "  - {name: a, payload_class: handlers.Say, handler: handlers.echo, agent: true, usage: xsd,\n"
        "     peers: [B, later, System.Todo]}\n"
        "  - {name: b, payload_class: handlers.Say, handler: handlers.echo, agent: true}\n"
    )
    out = phloem("check", "organism.yaml").out
    assert "a (agent, usage: xsd)" in out
    assert "b (agent) " in out
    assert "B, later (not registered), System.Todo" in out
    assert out.count("(not registered)") == 1


def test_check_says_nothing_under_quiet_but_faults(phloem: Any) -> None:
    done = phloem("check", "organism.yaml", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    (phloem.folder / "organism.yaml").write_text("listeners: 5\n")
    assert "found the number 5 as listeners" in phloem("check", "organism.yaml", "--quiet").err


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of its own needs a POSIX system")
def test_check_cuts_no_word_where_the_terminal_is_narrow(phloem: Any) -> None:
    import pty

    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [sys.executable, "-m", "phloem", "check", "organism.yaml"],
            cwd=phloem.folder,
            env={**phloem._environment(None), "TERM": "xterm", "COLUMNS": "40"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
        )
        os.close(theirs)
        drawn = b""
        try:
            while piece := screen.read(65536):
                drawn += piece
        except OSError:
            pass  # Linux says so when the other end has closed
    assert process.wait(timeout=60) == 0
    shown = [line.strip() for line in drawn.decode().splitlines()]
    for row in (
        "many",
        "takes two classes",
        "takes: Say, Count",
        "peers: anyone",
        "limits: 0.05 s a message",
    ):
        assert any(row in line for line in shown), row
    assert any(line.startswith("handlers at once") and line.endswith("2,000") for line in shown)


def test_check_tells_all_faults_at_once(phloem: Any) -> None:
    text = (phloem.folder / "organism.yaml").read_text()
    text = text.replace("handlers.boom", "handlers.bom").replace("handler_timeout", "handler_timout")
    (phloem.folder / "organism.yaml").write_text(text)
    done = phloem("check", "organism.yaml")
    assert (done.code, done.out) == (2, "")
    first, *faults = done.err.splitlines()
    assert first == "phloem: the configuration has 2 faults"
    assert len(faults) == 2
    assert all(fault.startswith("organism.yaml:") for fault in faults)
    assert "found no 'bom'" in faults[0]
    assert "did you mean 'handler_timeout'?" in faults[1]


def test_check_says_what_this_version_does_not_use(phloem: Any) -> None:
    text = (phloem.folder / "organism.yaml").read_text()
    (phloem.folder / "organism.yaml").write_text(text.replace("{name: test}", "{name: test, port: 99}"))
    done = phloem("check", "organism.yaml")
    assert done.code == 0
    assert "port: checked and kept, not used" in done.out
    assert "port: checked and kept, not used" in phloem.run().err


# -- demo ----------------------------------------------------------------------------------


def next_command(out: str) -> list[str]:
    [command] = [line.strip() for line in out.splitlines() if " run " in line]
    return shlex.split(command)


def test_the_demo_shows_what_it_promises_within_ten_seconds(phloem: Any) -> None:
    began = time.perf_counter()
    done = phloem("demo")
    assert time.perf_counter() - began < 10
    assert (done.code, done.err) == (0, "")
    assert done.out.count("<Confirmed>") == 3  # two of the fan-out, one of the corrected retry
    assert "<Noted><Words>4</Words></Noted>" in done.out
    assert "huh (type) at /Order/Quantity: found 'two', expected an integer" in done.out
    assert done.out.startswith("An organism of three listeners: desk, stock, notebook.\n")
    assert "Every message is accounted for, phloem's own first one, Boot, as well:\n" in done.out
    assert "  12 accepted = 11 handled + 1 rejected + 0 undeliverable + 0 failed + 0 abandoned\n" in done.out


@pytest.mark.parametrize("into", [(), ("--into", "my desk")])
def test_the_next_command_works_as_it_is_printed(phloem: Any, into: tuple[str, ...]) -> None:
    command = next_command(phloem("demo", *into).out)
    done = subprocess.run(
        command, cwd=phloem.folder, env=phloem._environment(None), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["state"] for each in results] == ["completed"] * 4


def test_the_demo_never_overwrites(phloem: Any) -> None:
    done = phloem("demo", "--into", ".")
    assert done.code == 2
    assert done.err.startswith("phloem: --into .: organism.yaml is there already")


@pytest.mark.parametrize("arguments", [("check", "organism.yaml"), ("demo",), ("--help",)])
def test_who_closes_stdout_gets_no_traceback(phloem: Any, arguments: tuple[str, ...]) -> None:
    process = phloem.start(*arguments)
    process.stdout.close()
    assert process.wait(timeout=60) == 2
    assert process.stderr.read() == ""


# -- the group -----------------------------------------------------------------------------


def test_help_is_there_in_less_than_three_tenths_of_a_second(phloem: Any) -> None:
    def seconds() -> float:
        began = time.perf_counter()
        assert "Commands:" in phloem("--help").out
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 0.3


def test_help_loads_nothing_heavy(phloem: Any) -> None:
    code = (
        "import sys; from phloem.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('trio', 'lxml', 'rich', 'yaml', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=phloem._environment(None),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_list_of_commands_cuts_no_sentence(phloem: Any) -> None:
    assert "..." not in phloem("--help").out.split("Commands:")[1]


@pytest.mark.parametrize("command", ["demo", "check", "send", "run"])
def test_every_command_has_help(phloem: Any, command: str) -> None:
    done = phloem(command, "--help")
    assert done.code == 0
    assert "--log-level" in done.out


def test_the_version_is_the_package_s(phloem: Any) -> None:
    source = (Path(__file__).parents[2] / "src" / "phloem" / "__init__.py").read_text()
    version = source.split('__version__ = "')[1].split('"')[0]
    assert phloem("--version").out == f"phloem {version}\n"


def test_without_a_command_there_is_help_and_exit_code_2(phloem: Any) -> None:
    done = phloem()
    assert done.code == 2
    assert "Commands:" in done.err
