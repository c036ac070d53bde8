"""The cases that start the command line: a batch in constant memory, and how soon help is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STARTS: Final = 9  # the median of so many: a first start reads cold files

ORGANISM: Final = """\
organism: {name: batch}
listeners:
  - name: echo
    payload_class: batch_handlers.Ball
    handler: batch_handlers.echo
    description: Sends back what it gets.
"""

HANDLERS: Final = """\
from dataclasses import dataclass

from phloem import HandlerMetadata, HandlerResponse, xmlify


@xmlify
@dataclass
class Ball:
    left: int
    text: str
    fair: bool


async def echo(payload: Ball, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)
"""

CLICK_ALONE: Final = """
import click

@click.group()
def main(): "A command line with nothing behind it."

@main.command()
def run(): "Runs nothing."

main()
"""


# A process keeps the peak of what it was forked from, so a small one starts what we measure.
STARTER: Final = """
import os, sys, time
started = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - started
cpu = usage.ru_utime + usage.ru_stime
code = os.waitstatus_to_exitcode(status)
print(code, seconds, cpu, usage.ru_maxrss, file=open(os.environ["MEASURED"], "w"))
"""


@dataclass(frozen=True)
class Child:
    """How a child process did."""

    seconds: float
    cpu: float
    peak_bytes: int


def run_child(*command: str, folder: Path | None = None) -> Child:
    """``command[0]`` is a path. Raises RuntimeError unless it exits with 0."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PHLOEM_")}
    with tempfile.TemporaryDirectory() as own:
        measured = Path(own) / "measured"
        environment["MEASURED"] = str(measured)
        starter = [sys.executable, "-I", "-S", "-c", STARTER, *command]
        done = subprocess.run(starter, cwd=folder, env=environment, capture_output=True, check=True)
        status, seconds, cpu, peak = measured.read_text().split()
    if status != "0":
        said = (done.stdout + done.stderr)[-2_000:].decode()
        raise RuntimeError(f"{command} exited with {status}: {said}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Child(float(seconds), float(cpu), int(peak) * unit)


def batch(lines: int) -> Child:
    """A batch of so many NDJSON lines through ``phloem run``; checks that every line has its result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "organism.yaml").write_text(ORGANISM)
        (folder / "batch_handlers.py").write_text(HANDLERS)
        with (folder / "in.ndjson").open("w") as file:
            for number in range(lines):
                payload = {"left": number, "text": "a few words of text", "fair": True}
                file.write(json.dumps({"id": str(number), "to": "echo", "payload": payload}) + "\n")
        batch = ("--batch", "in.ndjson", "--out", "out.ndjson")
        child = run_child(sys.executable, "-m", "phloem", "run", "organism.yaml", *batch, folder=folder)
        number = -1
        with (folder / "out.ndjson").open() as file:
            for number, line in enumerate(file):
                result = json.loads(line)
                assert (result["id"], result["state"]) == (str(number), "completed"), line
            assert number == lines - 1, f"{number + 1} results for {lines} lines"
    return child


def median_start(*command: str) -> float:
    return sorted(run_child(*command).seconds for _ in range(STARTS))[STARTS // 2]


def start_of_help() -> float:
    """Seconds for ``phloem --help``, as installed."""
    return median_start(str(Path(sys.executable).parent / "phloem"), "--help")


def start_of_click() -> float:
    """Seconds for the same in click alone."""
    return median_start(sys.executable, "-c", CLICK_ALONE, "--help")
