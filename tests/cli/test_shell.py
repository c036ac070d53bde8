"""What every command shares: usage faults, options from the environment, logs, and how errors are told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

USAGE_FAULTS = [
    ("run organism.yaml --batch missing", "phloem: missing: No such file or directory"),
    ("run organism.yaml --batch .", "phloem: .: Is a directory"),
    ("run organism.yaml --batch in --out no/out", "phloem: no/out: No such file or directory"),
    ("run organism.yaml --batch in --out /dev/full", "phloem: /dev/full: No space left"),
    ("run organism.yaml --batch in --out in", "phloem: --out in is the same file as --batch in"),
    ("run organism.yaml --batch in --out ./organism.yaml", "is the same file as FILE organism.yaml"),
    ("run organism.yaml --batch in --dead-letters in", "phloem: --dead-letters in is the same file"),
    ("run organism.yaml --batch in --dead-letters -", "phloem: --dead-letters - needs --out"),
    ("run organism.yaml", "phloem: organism.yaml declares no sources, so nothing would come in"),
    ("run missing.yaml --batch in", "phloem: missing.yaml: found no such file"),
    ("run organism.yaml --batch in --reorder-window 0", "phloem: Invalid value"),
    (
        "run organism.yaml --batch in --reorder-window x",
        "phloem: Invalid value for '--reorder-window': 'x' is not",
    ),
    ("run organism.yaml --batch in --grace nan", "phloem: Invalid value for '--grace': 'nan' is not"),
    ("run organism.yaml --batch in --grace x", "'x' is not a valid number of seconds."),
    ("run organism.yaml --batch in --bogus", "phloem: No such option '--bogus'"),
    ("bogus", "phloem: No such command 'bogus'."),
]


@pytest.mark.parametrize(("arguments", "cause"), [(line.split(), cause) for line, cause in USAGE_FAULTS])
def test_usage_faults_say_their_cause_in_the_first_line(
    phloem: Any, line: Any, arguments: list[str], cause: str
) -> None:
    (phloem.folder / "in").write_text(json.dumps(line("a")) + "\n")
    before = (phloem.folder / "in").read_text()
    done = phloem(*arguments, "--quiet")
    assert done.code == 2
    assert cause in done.err.splitlines()[0]
    assert "Traceback" not in done.err
    assert (phloem.folder / "in").read_text() == before


def test_a_bad_value_from_the_environment_says_so(phloem: Any) -> None:
    done = phloem("run", "organism.yaml", "--batch", "-", PHLOEM_RUN_REORDER_WINDOW="many")
    assert done.code == 2
    assert "'many' is not a valid whole number." in done.err
    assert "It comes from PHLOEM_RUN_REORDER_WINDOW in the environment." in done.err
    assert "environment" not in phloem("run", "organism.yaml", "--batch", "-", "--reorder-window", "x").err


def test_quiet_leaves_errors_alone_and_no_warnings_unless_they_are_asked_for(phloem: Any, line: Any) -> None:
    assert "WARNING" in phloem.run(line("a", to="boom")).err
    quiet = phloem.run(line("a", to="boom"), options=("--quiet",)).err
    assert "ERROR" in quiet
    assert "WARNING" not in quiet
    assert "WARNING" in phloem.run(line("a", to="boom"), options=("-q", "--log-level", "warning")).err


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"PHLOEM_QUIET": "1"}, False),
        ({"PHLOEM_RUN_QUIET": "1"}, False),
        ({}, True),
    ],
)
def test_options_come_from_the_environment_too(
    phloem: Any, line: Any, environment: dict[str, str], shown: bool
) -> None:
    (phloem.folder / "in").write_text(json.dumps(line("a")) + "\n")
    done = phloem("run", "organism.yaml", PHLOEM_RUN_BATCH="in", PHLOEM_RUN_OUT="out", **environment)
    assert done.code == 0
    assert (phloem.folder / "out").read_text().count("\n") == 1
    assert ("1 message: 1 completed" in done.err) is shown


def test_the_log_level_is_an_option_before_or_after_the_command_or_a_variable(phloem: Any, line: Any) -> None:
    batch = json.dumps(line("a")) + "\n"
    run = ("run", "organism.yaml", "--batch", "-")
    assert "DEBUG" not in phloem(*run, input=batch).err
    assert "DEBUG" in phloem("--log-level", "debug", *run, input=batch).err
    assert "DEBUG" in phloem(*run, "--log-level", "DEBUG", input=batch).err
    assert "DEBUG" in phloem(*run, input=batch, PHLOEM_LOG_LEVEL="debug").err
    assert "DEBUG" not in phloem(*run, "--log-level", "error", input=batch, PHLOEM_LOG_LEVEL="debug").err


def test_a_bug_says_its_cause_first_and_its_traceback_on_demand(phloem: Any) -> None:
    (phloem.folder / "sitecustomize.py").write_text(
        "import phloem.cli.batch\n"
        "def broken(*arguments, **options): raise ZeroDivisionError('of all things')\n"
        "phloem.cli.batch.ResultLines = broken\n"
    )
    path = os.pathsep.join([str(phloem.folder), str(Path(__file__).parents[2] / "src")])
    plain = phloem("run", "organism.yaml", "--batch", "-", PYTHONPATH=path)
    assert plain.err.splitlines()[0] == "phloem: ZeroDivisionError: of all things"
    assert "Traceback" not in plain.err
    assert plain.code == 1
    full = phloem("run", "organism.yaml", "--batch", "-", "--traceback", PYTHONPATH=path)
    assert full.err.splitlines()[0] == plain.err.splitlines()[0]
    assert "in broken" in full.err


def test_what_a_handler_raised_is_logged_as_one_line_and_its_traceback_on_demand(
    phloem: Any, line: Any
) -> None:
    plain = phloem.run(line("tea", to="boom"))
    assert ": LookupError: there is no tea" in plain.err
    assert "Traceback" not in plain.err
    assert (
        'raise LookupError("there is no "' in phloem.run(line("tea", to="boom"), options=("--traceback",)).err
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("ValueError()", "ERROR phloem: odd raised on {id}: ValueError"),
        (
            "Unspeakable()",
            "ERROR phloem: odd raised on {id}: Unspeakable: (its text raised ZeroDivisionError)",
        ),
    ],
)
def test_an_error_with_nothing_to_say_is_told_by_its_name(
    phloem: Any, line: Any, error: str, told: str
) -> None:
    with (phloem.folder / "handlers.py").open("a") as file:
        file.write(
            "\n\nclass Unspeakable(Exception):\n    def __str__(self): return 1 / 0\n"
            f"\n\nasync def odd(payload, metadata):\n    raise {error}\n"
        )
    with (phloem.folder / "organism.yaml").open("a") as file:
        file.write("  - {name: odd, payload_class: handlers.Say, handler: handlers.odd}\n")
    done = phloem.run(line("a", to="odd"), options=("--quiet",))
    [logged] = done.err.splitlines()
    assert logged.partition(" ")[2] == told.format(id=f"{done.lines[0]['conversation']}-2")
