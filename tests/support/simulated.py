"""An organism with the faults that a simulation is there for, and the command line within this process."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phloem.cli.app import main

HANDLERS = '''\
"""Handlers with the faults that a simulation is there for."""
import random, socket, sys
from dataclasses import dataclass

import trio
from phloem import HandlerResponse


@dataclass
class Say:
    text: str


async def echo(payload, metadata):
    print("echo was here")
    await trio.sleep(1)
    return HandlerResponse.respond(payload)


async def relay(payload, metadata):
    if metadata.from_id == "outside":
        return HandlerResponse(payload, to="echo")
    return HandlerResponse.respond(payload)


async def boom(payload, metadata):
    raise LookupError("there is no " + payload.text)


async def group(payload, metadata):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(boom, payload, metadata)
        await trio.sleep_forever()


async def flaky(payload, metadata):
    if metadata.attempt < 3:
        raise OSError("busy")
    return HandlerResponse.respond(payload)


async def hang(payload, metadata):
    await trio.sleep_forever()


async def spin(payload, metadata):
    while True:
        await trio.lowlevel.checkpoint()


async def number(payload, metadata):
    return 42


async def dial(payload, metadata):
    socket.socket()


async def leave(payload, metadata):
    sys.exit("it is over")


async def slowly(payload, metadata):
    """Cannot be cancelled without raising something else."""
    try:
        await trio.sleep(5)
    except trio.Cancelled:
        raise ValueError("not now") from None


async def patient(payload, metadata):
    with trio.fail_after(20):
        await trio.sleep(10)
    return HandlerResponse.respond(payload)


calls = []


async def remembers(payload, metadata):
    calls.append(payload)
    for _ in range(len(calls)):
        await trio.lowlevel.checkpoint()


books = {}


def own(make):
    """What all handlers of one run share."""
    return books.setdefault(trio.lowlevel.current_root_task(), make())


async def locks(payload, metadata):
    first, second = own(lambda: [trio.Lock(), trio.Lock()])[:: -1 if payload.text == "b" else 1]
    async with first:
        await trio.lowlevel.checkpoint()
        async with second:
            pass


async def counts(payload, metadata):
    """A read, a checkpoint, a write."""
    book = own(lambda: {"count": 0})
    before = book["count"]
    await trio.lowlevel.checkpoint()
    book["count"] = before + 1
    await trio.sleep(10)
    assert book["count"] == 2, book["count"]


async def ranks(payload, metadata):
    book = own(list)
    book.append(payload)
    return HandlerResponse.respond(Say(f"number {len(book)}"))


async def chance(payload, metadata):
    return HandlerResponse.respond(Say(str(random.random())))


async def stuck(payload, metadata):
    print("hanging", file=sys.stderr, flush=True)
    while True:
        pass


async def told(payload, metadata):
    if not calls:
        calls.append(payload)
        print("hanging", file=sys.stderr, flush=True)
'''
NAMES = re.findall(r"^async def (\w+)", HANDLERS, re.MULTILINE)
MORE = {"flaky": ", retries: 2", "forever": ", handler_timeout: none"}


def listener(name: str, handler: str = "") -> str:
    return (
        f"  - {{name: {name}, description: one of many, payload_class: simulated_handlers.Say, "
        f"handler: simulated_handlers.{handler or name}{MORE.get(name, '')}}}\n"
    )


ORGANISM = (
    "organism: {name: small}\nlisteners:\n" + "".join(map(listener, NAMES)) + listener("forever", "hang")
)


class Done:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def rows(self) -> dict[str, str]:
        """The table; a cell of several lines as one."""
        rows: dict[str, str] = {}
        label = ""
        for line in self.out.rpartition("──\n")[2].splitlines():
            label = line[:18].strip() or label
            rows[label] = f"{rows.get(label, '')} {line[18:].strip()}".strip()
        return rows

    def told(self, start: str) -> str:
        """The rest of the first line that begins so."""
        return next(line for line in self.out.splitlines() if line.startswith(start))[len(start) :].strip()


Command = Callable[..., Done]
Sim = Callable[..., Done]


def write_organism(folder: Path) -> None:
    """Its two files. Its module is imported once in a process."""
    (folder / "organism.yaml").write_text(ORGANISM)
    (folder / "simulated_handlers.py").write_text(HANDLERS)


@contextmanager
def organism_of(folder: Path) -> Iterator[Path]:
    """The folder with the organism in it, for as long as its module may stay imported."""
    write_organism(folder)
    sys.modules.pop("simulated_handlers", None)
    yield folder
    sys.modules.pop("simulated_handlers", None)


@contextmanager
def command_line(capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """``phloem`` without a process of its own."""
    handlers, level = logging.root.handlers[:], logging.root.level

    def invoke(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        told = capsys.readouterr()
        return Done(int(left.value.code or 0), told.out, told.err)

    yield invoke
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def simulate_with(command: Command) -> Sim:
    """``phloem sim`` in the working directory, with these texts for one listener."""

    def simulate(to: str, *options: str, texts: str = "ab") -> Done:
        lines = (json.dumps({"to": to, "payload": {"text": text}}) for text in texts)
        Path("batch.ndjson").write_text("".join(f"{line}\n" for line in lines))
        more = () if "--seeds" in options or "--replay" in options else ("--seeds", "12")
        return command("sim", "organism.yaml", "--batch", "batch.ndjson", *options, *more)

    return simulate


def header_of(file: str) -> dict[str, object]:
    """The first line of a trace."""
    header: dict[str, object] = json.loads(Path(file).read_text().splitlines()[0])
    return header


def token_of(sim: Sim, to: str, *options: str) -> str:
    """Of the run that such a simulation writes."""
    done = sim(to, "--out", "run.ndjson", *options)
    assert done.code in (0, 1), done.out
    return str(header_of("run.ndjson")["token"])
