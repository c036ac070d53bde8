"""``phloem llm ping``: who is asked for what, what is told of each, and what it ends with."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
import trio

from phloem.cli.pinging import Pinged, _ping
from phloem.errors import BackendError
from support.simulated import Command, Done, command_line

KEY = "sk-never-shown-1234567890"
MODULE = '''\
"""What the organism of these tests names."""
from dataclasses import dataclass


@dataclass
class Say:
    text: str


async def hear(payload, metadata): ...


def answer(request):
    return f"{request.model} {request.max_tokens}"


class Own:
    def __init__(self, **keys):
        self.keys = keys

    async def complete(self, request):
        raise LookupError("no\\x1b[31m sap\\nat all" + "!" * self.keys.get("length", 0))
'''
LISTENERS = "listeners: [{name: a, payload_class: ping_module.Say, handler: ping_module.hear}]\n"

Ping: TypeAlias = Callable[..., Done]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    monkeypatch.chdir(tmp_path)
    for name in ("XAI_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    Path("ping_module.py").write_text(MODULE)
    with command_line(capfd) as command:
        yield command
    sys.modules.pop("ping_module", None)


@pytest.fixture
def ping(command: Command) -> Ping:
    def run(*options: str, backends: str, more: str = "") -> Done:
        Path("organism.yaml").write_text(f"{LISTENERS}llm:\n{more}  backends:\n{backends}")
        return command("llm", "ping", "organism.yaml", *options)

    return run


def rows_of(done: Done) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert all(list(row) == ["backend", "provider", "model", "reachable", "ms", "error"] for row in rows)
    return {row["backend"]: row for row in rows}


@contextmanager
def refused() -> Iterator[int]:
    """A port of this machine at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


GOOD = "    - {provider: scripted, name: good, script: [hello]}\n"
BAD = "    - {provider: scripted, name: bad, script: [{status: 529, text: overloaded}]}\n"


# -- what is told --------------------------------------------------------------------------


def test_all_that_answer_are_in_a_table_and_the_code_is_0(ping: Ping) -> None:
    done = ping(
        backends=GOOD + "    - {provider: scripted, name: fn, script: ping_module.answer}\n",
        more="  default_model: m\n",
    )
    assert done.code == 0
    rows = {row.split()[0]: row.split() for row in done.out.splitlines() if row.split()}
    assert rows["backend"] == ["backend", "provider", "model", "reachable", "ms", "error"]
    assert rows["good"][:4] == ["good", "scripted", "m", "yes"]
    assert rows["fn"][:4] == ["fn", "scripted", "m", "yes"]


def test_one_that_fails_makes_the_code_1_and_says_why(ping: Ping) -> None:
    done = ping("--json", backends=GOOD + BAD)
    assert done.code == 1
    rows = rows_of(done)
    assert rows["good"]["reachable"] is True
    assert rows["good"]["error"] is None
    assert rows["good"]["ms"] >= 0
    assert rows["bad"]["reachable"] is False
    assert rows["bad"]["error"] == "backend 'bad': answered 529: overloaded"


def test_quiet_says_nothing_but_what_failed(ping: Ping) -> None:
    assert ping("--quiet", backends=GOOD).out == ""
    done = ping("--quiet", backends=GOOD + BAD)
    assert (done.code, done.out) == (1, "")
    assert done.err == "phloem: bad: backend 'bad': answered 529: overloaded\n"


def test_what_modules_print_is_not_among_the_lines_of_json(phloem: Any) -> None:
    organism = phloem.folder / "organism.yaml"
    (phloem.folder / "chatty.py").write_text("print('imported')\ndef answer(request): return 'yes'\n")
    script = "{provider: scripted, name: good, script: chatty.answer}"
    organism.write_text(f"{organism.read_text()}llm: {{backends: [{script}]}}\n")
    done = phloem("llm", "ping", "organism.yaml", "--json")
    assert list(rows_of(done)) == ["good"]
    assert "imported" in done.err


def test_a_refused_connection_is_told(ping: Ping) -> None:
    with refused() as port:
        backends = (
            f"    - {{provider: ollama, base_url: 'http://127.0.0.1:{port}', supported_models: [l*, l3]}}\n"
        )
        done = ping("--json", backends=backends)
    row = rows_of(done)["ollama"]
    assert (done.code, row["reachable"], row["model"]) == (1, False, "l3")
    assert "no connection" in row["error"]


def test_what_a_backend_of_one_s_own_raises_is_one_line_without_control_characters(ping: Ping) -> None:
    own = "    - {{provider: 'ping_module:Own', name: own, length: {}}}\n"
    row = rows_of(ping("--json", backends=own.format(0)))["own"]
    assert (row["provider"], row["error"]) == ("custom", "no [31m sap at all")
    assert len(rows_of(ping("--json", backends=own.format(10_000)))["own"]["error"]) == 500


def test_a_key_is_never_shown(ping: Ping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with refused() as port:
        backends = (
            f"    - {{provider: openai, api_key_env: OPENAI_API_KEY, base_url: 'http://127.0.0.1:{port}', "
            "supported_models: [m]}\n"
        )
        for options in ((), ("--json",), ("--quiet",), ("--traceback", "--log-level", "debug")):
            done = ping(*options, backends=backends)
            assert done.code == 1
            assert KEY not in done.out + done.err


# -- who is asked, and for what ------------------------------------------------------------


def test_the_model_is_the_default_one_where_the_backend_takes_it_else_its_first_whole_name(
    ping: Ping,
) -> None:
    backends = (
        "    - {provider: scripted, name: any, script: [a]}\n"
        "    - {provider: scripted, name: some, script: [a], supported_models: ['x*', y, z]}\n"
        "    - {provider: scripted, name: none, script: [a], supported_models: ['x*']}\n"
    )
    rows = rows_of(ping("--json", backends=backends, more="  default_model: q\n"))
    assert {name: row["model"] for name, row in rows.items()} == {"any": "q", "some": "y", "none": "none"}


def test_a_default_model_of_one_backend_is_asked_of_that_one_only(ping: Ping) -> None:
    backends = (
        "    - {provider: scripted, name: one, script: [a]}\n"
        "    - {provider: scripted, name: two, script: [a]}\n"
    )
    rows = rows_of(ping("--json", backends=backends, more="  default_model: one/q\n"))
    assert {name: row["model"] for name, row in rows.items()} == {"one": "q", "two": "two"}


def test_a_backend_no_model_is_known_for_says_to_name_one_and_the_others_are_asked(ping: Ping) -> None:
    backends = GOOD + "    - {provider: ollama, name: local}\n"
    done = ping("--json", backends=backends)
    rows = rows_of(done)
    assert done.code == 2
    assert rows["good"]["reachable"] is True
    assert rows["local"]["reachable"] is None
    assert rows["local"]["error"] == (
        "not asked: no model is known for it; name one: --backend local --model M"
    )


def test_a_model_is_asked_of_those_that_take_it(ping: Ping) -> None:
    backends = GOOD + "    - {provider: scripted, name: some, script: [a], supported_models: [y]}\n"
    done = ping("--json", "--model", "q", backends=backends)
    rows = rows_of(done)
    assert done.code == 0
    assert (rows["good"]["model"], rows["good"]["reachable"]) == ("q", True)
    assert (rows["some"]["reachable"], rows["some"]["error"]) == (None, "not asked: it does not take 'q'")


def test_one_backend_is_asked_by_its_name_without_case(ping: Ping) -> None:
    assert list(rows_of(ping("--json", "--backend", "GOOD", backends=GOOD + BAD))) == ["good"]


def test_an_optional_backend_without_a_key_is_told_and_no_failure(ping: Ping) -> None:
    done = ping("--json", backends=GOOD + "    - {provider: xai, optional: true}\n")
    assert done.code == 0
    assert rows_of(done)["xai"]["error"] == "not asked: XAI_API_KEY is not set"


# -- what is no question -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("--backend", "x"),
            "--backend: found 'x', expected one of these: 'some', 'local'; 'openai' was left out, for "
            "OPENAI_API_KEY is not set",
        ),
        (("--model", "q", "--backend", "some"), "--model: found 'q', expected a model that 'some' takes"),
        (("--timeout", "0"), "Invalid value for '--timeout'"),
        (("--timeout", "soon"), "is not a valid number of seconds"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(ping: Ping, options: tuple[str, ...], told: str) -> None:
    backends = (
        "    - {provider: scripted, name: some, script: [a], supported_models: [y]}\n"
        "    - {provider: ollama, name: local, supported_models: [z]}\n"
        "    - {provider: openai, optional: true}\n"
    )
    done = ping(*options, backends=backends)
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_no_section_and_no_backend_are_usage_errors(command: Command, ping: Ping) -> None:
    Path("organism.yaml").write_text(LISTENERS)
    done = command("llm", "ping", "organism.yaml")
    assert done.code == 2
    assert "FILE organism.yaml: found no llm section, expected one with backends" in done.err
    done = ping(backends="    - {provider: openai, optional: true}\n")
    assert done.code == 2
    assert "found no backend to ask, expected one of these: none; 'openai' was left out" in done.err


def test_a_missing_key_and_a_broken_script_are_faults_of_the_configuration(ping: Ping) -> None:
    done = ping(backends="    - {provider: xai}\n")
    assert done.code == 2
    assert "XAI_API_KEY" in done.err
    done = ping(backends="    - {provider: scripted, script: [{text: a, chunks: [b]}]}\n")
    assert done.code == 2
    assert "backend 'scripted': script[0].chunks: found 'b', expected pieces of 'a'" in done.err


def test_a_file_that_is_not_there_is_told(command: Command) -> None:
    done = command("llm", "ping", "nothing.yaml")
    assert done.code == 2
    assert "nothing.yaml" in done.err


# -- time ----------------------------------------------------------------------------------


class _Router:
    """Answers after some seconds."""

    def __init__(self, seconds: float, *, fails: bool = False) -> None:
        self._seconds, self._fails = seconds, fails

    async def probe(self, backend: str, model: str | None = None) -> object:
        await trio.sleep(self._seconds)
        if self._fails:
            raise BackendError("no sap")
        return object()


async def test_who_does_not_answer_in_time_is_told_with_the_time(autojump_clock: Any) -> None:
    in_time, late, failing = (Pinged(name, "scripted", "m") for name in ("in time", "late", "failing"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_ping, cast("Any", _Router(9)), in_time, 10)
        nursery.start_soon(_ping, cast("Any", _Router(11)), late, 10)
        nursery.start_soon(_ping, cast("Any", _Router(3, fails=True)), failing, 10)
    assert trio.current_time() == 10
    assert (in_time.reachable, in_time.ms, in_time.error, in_time.code) == (True, 9_000, "", 0)
    assert (late.reachable, late.ms, late.error, late.code) == (False, 10_000, "no answer within 10 s", 1)
    assert (failing.ms, failing.error) == (3_000, "no sap")


async def test_a_ping_can_be_cancelled(autojump_clock: Any) -> None:
    row = Pinged("slow", "scripted", "m")
    with trio.move_on_after(5) as scope:
        await _ping(cast("Any", _Router(100)), row, float("inf"))
    assert scope.cancelled_caught
    assert row.ms is None


def test_control_c_ends_it_with_130(phloem: Any) -> None:
    organism = phloem.folder / "organism.yaml"
    waits = (
        '    print("asked", file=__import__("sys").stderr, flush=True)\n'
        "    await __import__('trio').sleep_forever()\n"
    )
    (phloem.folder / "waiting.py").write_text(f"async def answer(request):\n{waits}")
    organism.write_text(
        f"{organism.read_text()}llm: {{backends: [{{provider: scripted, script: waiting.answer}}]}}\n"
    )
    process = phloem.start("llm", "ping", "organism.yaml")
    assert process.stderr.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "Traceback" not in process.stderr.read()


def test_the_group_has_help(command: Command) -> None:
    done = command("llm", "--help")
    assert done.code == 0
    assert "ping" in done.out
    assert "--backend" in command("llm", "ping", "--help").out
