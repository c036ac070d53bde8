"""The real command line as a subprocess, and an organism for it to run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import pytest

from support.simulated import Command, Sim, command_line, organism_of, simulate_with

SOURCE = Path(__file__).parents[2] / "src"
LONGEST = 60  # seconds; no command of these tests takes ten

ORGANISM = """\
organism: {name: test}
max_concurrent_handlers: 2000
max_concurrent_pipelines: 2000
listeners:
  - {name: echo, description: says it again, payload_class: handlers.Say, handler: handlers.echo}
  - name: many
    description: takes two classes
    payload_class: [handlers.Say, handlers.Count]
    handler: handlers.echo
  - {name: boom, description: raises, payload_class: handlers.Say, handler: handlers.boom}
  - {name: hang, description: never answers, payload_class: handlers.Say, handler: handlers.hang}
  - {name: stuck, description: keeps the loop, payload_class: handlers.Say, handler: handlers.stuck}
  - {name: told, description: waits for the fifo, payload_class: handlers.Say, handler: handlers.told}
  - {name: first, description: waits for others, payload_class: handlers.Count, handler: handlers.first}
  - {name: loop, description: runs away, payload_class: handlers.Say, handler: handlers.loop}
  - {name: lost, description: writes to nobody, payload_class: handlers.Say, handler: handlers.lost}
  - name: late
    description: overruns
    payload_class: handlers.Say
    handler: handlers.hang
    handler_timeout: 0.05
"""

HANDLERS = '''\
"""Handlers that do what can happen to a batch."""
import sys, time
from dataclasses import dataclass

import trio
import trio.testing
from phloem import HandlerMetadata, HandlerResponse

begun = []


@dataclass
class Say:
    text: str


@dataclass
class Count:
    number: int


async def echo(payload, metadata):
    begun.append(payload)
    return HandlerResponse.respond(payload)


async def boom(payload, metadata):
    raise LookupError("there is no " + payload.text)


def tell(text):
    print(text, file=sys.stderr, flush=True)


async def hang(payload, metadata):
    await trio.testing.wait_all_tasks_blocked(0.05)  # whoever came with it has ended by now
    tell("hanging")
    await trio.sleep_forever()


async def stuck(payload, metadata):
    tell("hanging")
    time.sleep(3600)


async def told(payload, metadata):
    tell("hanging")

    def read():
        with open(payload.text) as fifo:
            return fifo.read()

    return HandlerResponse.respond(Say(await trio.to_thread.run_sync(read)))


async def first(payload, metadata):
    """Answers how many others had begun when nothing moved any more."""
    while len(begun) < payload.number:
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked(0.05)
    return HandlerResponse.respond(Count(len(begun)))


async def loop(payload, metadata):
    return HandlerResponse(payload, to="loop")


async def lost(payload, metadata):
    return [HandlerResponse.respond(payload), HandlerResponse.respond(Count(1))]
'''


@final
@dataclass
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def states(self) -> list[str]:
        return [line["state"] for line in self.lines]


@final
@dataclass
class CommandLine:
    """Runs ``phloem`` in a folder that holds an organism."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def _environment(self, more: dict[str, str] | None) -> dict[str, str]:
        ours = ("PHLOEM", "NO_COLOR", "PYTHONUNBUFFERED")  # the last hides what a buffer does at exit
        kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        return {**kept, "PYTHONPATH": str(SOURCE), **(more or {})}

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """A running command; its pipes are the test's."""
        process = subprocess.Popen(
            [sys.executable, "-m", "phloem", *arguments],
            cwd=self.folder,
            env=self._environment(more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def __call__(self, *arguments: str, input: str = "", **more: str) -> Finished:
        process = self.start(*arguments, **more)
        out, err = process.communicate(input, timeout=LONGEST)
        return Finished(process.returncode, out, err)

    def run(self, *lines: object, options: tuple[str, ...] = (), **more: str) -> Finished:
        """``phloem run`` over these lines on stdin; objects are written as JSON."""
        text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
        return self("run", "organism.yaml", "--batch", "-", *options, input=text, **more)


@pytest.fixture
def phloem(tmp_path: Path) -> Iterator[CommandLine]:
    (tmp_path / "organism.yaml").write_text(ORGANISM)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    command_line = CommandLine(tmp_path)
    yield command_line
    for process in command_line.started:
        process.kill()
        process.communicate()


@pytest.fixture
def serve(phloem: Any) -> Callable[..., Any]:
    """Declares sources in the organism's file; gives the command line back."""

    def declare(*sources: str, settings: str = "") -> Any:
        file = phloem.folder / "organism.yaml"
        declared = "".join(f"  - {{{source}}}\n" for source in sources)
        text = file.read_text().replace("listeners:", f"{settings}sources:\n{declared}listeners:", 1)
        file.write_text(text)
        return phloem

    return declare


def say(text: str, to: str = "echo", **more: object) -> dict[str, object]:
    """A line of a batch."""
    return {"to": to, "payload": {"text": text}, **more}


@pytest.fixture
def line() -> Any:
    return say


@pytest.fixture(scope="module")
def sim_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder for all, for its module is imported once."""
    with organism_of(tmp_path_factory.mktemp("simulated")) as folder:
        yield folder


@pytest.fixture
def sim_command(
    sim_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    monkeypatch.chdir(sim_folder)
    with command_line(capsys) as command:
        yield command


@pytest.fixture
def sim(sim_command: Command) -> Sim:
    return simulate_with(sim_command)
