"""The real console as a command: its organism, and a pseudo-terminal that it runs on."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import termios
import time
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"
PATIENCE = 20  # seconds; what is waited for comes within one

ORGANISM = """\
organism: {name: test}
listeners:
  - {name: echo, description: says it again, payload_class: talkers.Say, handler: talkers.echo}
  - {name: boom, description: raises, payload_class: talkers.Say, handler: talkers.boom}
  - {name: hang, description: never answers, payload_class: talkers.Say, handler: talkers.hang}
  - {name: stuck, description: keeps the loop, payload_class: talkers.Say, handler: talkers.stuck}
  - name: writer
    description: writes bit by bit
    payload_class: talkers.Say
    handler: talkers.write
    client_facing: true
  - name: asker
    description: asks back
    payload_class: talkers.Say
    handler: talkers.ask
    client_facing: true
"""

TALKERS = '''\
"""Listeners to talk to."""
import sys, threading, time
from dataclasses import dataclass

import trio
from phloem import HandlerResponse, get_event_bus


@dataclass
class Say:
    text: str


async def echo(payload, metadata):
    return HandlerResponse.respond(payload)


async def boom(payload, metadata):
    print("printed", end="")
    print(" by \\x1b[2Jboom")
    thread = threading.Thread(target=print, args=("from a thread",))
    thread.start()
    thread.join()
    raise LookupError("no " + payload.text)


async def hang(payload, metadata):
    await trio.sleep_forever()


async def stuck(payload, metadata):
    time.sleep(3600)


async def write(payload, metadata):
    bus = get_event_bus()
    said = ""
    for word in payload.text.split("|"):
        said += word
        bus.emit_client_output_delta(content=word, snapshot=said)
        await trio.sleep(0.3)
    return HandlerResponse.respond(Say(said))


async def ask(payload, metadata):
    if payload.text == "ask":
        get_event_bus().emit_client_input_requested(prompt="Which?")
        return None
    return HandlerResponse.respond(Say("got " + payload.text))
'''


def write_organism(folder: Path) -> None:
    (folder / "organism.yaml").write_text(ORGANISM)
    (folder / "talkers.py").write_text(TALKERS)


def environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PHLOEM", "NO_COLOR"))}
    return {**kept, "PYTHONPATH": str(SOURCE), "XDG_STATE_HOME": str(folder / "state"), "TERM": "xterm"}


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "phloem", "console", "organism.yaml", *options]


class Terminal:
    """The command on a pseudo-terminal, as its controlling one."""

    def __init__(self, folder: Path, *options: str, before: tuple[str, ...] = (), **more: str) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(
                sys.executable,
                [sys.executable, *before, *command(*options)[1:]],
                {**environment(folder), **more},
            )
        self.seen = ""
        self.at = 0
        self.status: int | None = None

    def until(self, text: str) -> str:
        """What has come up to this text, without the sequences that draw."""
        end = time.monotonic() + PATIENCE
        while (found := plain(self.seen).find(text, self.at)) < 0:
            assert time.monotonic() < end, f"no {text!r} in {plain(self.seen)[self.at :]!r}"
            self._read(0.1)
        before, self.at = plain(self.seen)[self.at : found], found + len(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.master)

    @property
    def cooked(self) -> bool:
        return bool(self.modes()[3] & termios.ICANON)

    def ends(self) -> int:
        """The exit code, or minus the signal that ended it."""
        end = time.monotonic() + PATIENCE
        while self.status is None:
            assert time.monotonic() < end, f"it does not end: {plain(self.seen)[self.at :]!r}"
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        self._read(0)
        return self.status

    def _read(self, patience: float) -> None:
        if select.select([self.master], [], [], patience)[0]:
            try:
                self.seen += os.read(self.master, 65_536).decode("utf-8", "replace")
            except OSError:
                time.sleep(patience)  # it has closed the terminal

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", text).replace("\r", "")
