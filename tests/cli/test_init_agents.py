"""``phloem init`` with agents: without a key a script answers, with one nobody but the model does."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.beginnings import BIN, LONGEST, ON_MODELS, bare, made

KEY = "sk-ant-very-secret"


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a port that is taken, and at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def with_key(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": BIN, "ANTHROPIC_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def edited(path: Path, right: str, wrong: str) -> None:
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong, 1))


@pytest.mark.parametrize("template", ON_MODELS)
def test_ping_and_graph_tell_who_answers_and_which_key_is_missing(tmp_path: Path, template: str) -> None:
    made(tmp_path, "desk", "--template", template)
    pinged = bare(["phloem", "llm", "ping", "desk/organism.yaml", "--json"], tmp_path)
    assert pinged.returncode == 0, pinged.stderr
    rows = {row["backend"]: row for row in map(json.loads, pinged.stdout.splitlines())}
    assert rows["scripted"]["reachable"] is True
    assert "ANTHROPIC_API_KEY is not set" in rows["anthropic"]["error"]
    drawn = bare(["phloem", "graph", "desk/organism.yaml"], tmp_path)
    assert drawn.returncode == 0, drawn.stderr


@pytest.mark.parametrize("template", ON_MODELS)
def test_with_a_key_nobody_speaks_for_a_model_that_is_down_and_the_test_calls_none(
    tmp_path: Path, nobody: str, template: str
) -> None:
    made(tmp_path, "desk", "--template", template)
    organism = tmp_path / "desk" / "organism.yaml"
    edited(organism, "optional: true", f"base_url: {nobody} #")
    edited(organism, "llm:\n", "llm:\n  retry_base_delay: 0.01\n")
    ran = with_key(["phloem", "run", "organism.yaml", "--batch", "messages.ndjson"], organism.parent)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 1
    assert {line["state"] for line in lines} == {"failed"}
    assert all("no connection" in line["error"]["text"] for line in lines)
    assert KEY not in ran.stdout + ran.stderr
    tested = with_key(["python", "test_organism.py"], organism.parent)
    assert tested.returncode == 0, tested.stderr


def test_the_key_of_a_dotenv_is_the_one_that_is_used(tmp_path: Path) -> None:
    made(tmp_path, "desk", "--template", "debate")
    (tmp_path / "desk" / ".env.example").rename(tmp_path / "desk" / ".env")
    edited(tmp_path / "desk" / ".env", "ANTHROPIC_API_KEY=", f"ANTHROPIC_API_KEY={KEY}")
    checked = bare(["phloem", "check", "desk/organism.yaml"], tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "left out" not in checked.stdout
    assert KEY not in checked.stdout


@pytest.mark.parametrize(
    ("template", "file", "right", "wrong", "failing"),
    [
        ("debate", "organism.yaml", "wait: all", "wait: each", "test_both_sides_are_heard"),
        ("debate", "payloads.py", 'Literal["optimist", "skeptic"]', "str", "test_an_answer_that_breaks"),
        ("debate", "stand_in.py", "<OtherSide>{", "<Other>{", "test_both_sides_are_heard"),
        ("tool-user", "handlers.py", '"teapot", 2450', '"teapot", 2550', "test_what_the_customer_is_told"),
        ("tool-user", "handlers.py", "[a-z][a-z ]{0,39}", ".{1,40}", "test_what_the_tool_cannot"),
        ("research", "handlers.py", "found[:5]", "found[5:]", "test_the_report_rests"),
        (
            "research",
            "organism.yaml",
            "max_attempts: 2",
            "max_attempts: 9",
            "test_a_researcher_that_is_wrong",
        ),
    ],
)
def test_what_goes_wrong_fails_its_test(
    tmp_path: Path, template: str, file: str, right: str, wrong: str, failing: str
) -> None:
    made(tmp_path, "desk", "--template", template)
    edited(tmp_path / "desk" / file, right, wrong)
    done = bare(["python", "desk/test_organism.py"], tmp_path)
    assert done.returncode == 1
    assert f": {failing}" in done.stderr, done.stderr
