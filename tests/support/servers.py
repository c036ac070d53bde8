"""A real server as a subprocess, started as its user would start it, and spoken to over real HTTP.

For the tests of docs/examples. A server takes port 0 and says which one it got, so no two ever want
the same. Time is real here: every wait has an end, and asks again every few hundredths of a second.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

__all__ = ["Answer", "Server", "environment", "listens", "open_server", "soon"]

T = TypeVar("T")

LONGEST: Final = 30  # seconds for anything; a loaded machine needs some for one server's imports
PAUSE: Final = 0.02  # between two looks
PORT: Final = re.compile(r"https?://127\.0\.0\.1:(\d+)")
COUNT: Final = re.compile(r"(\w+)=(\d+)")


def environment(**more: str) -> dict[str, str]:
    """This one, without what our own settings would change, and with our commands on the path."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PHLOEM_", "FLASK_"))},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "NO_COLOR": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


def soon(look: Callable[[], T | None], what: str) -> T:
    """What ``look`` gives as soon as it is not None."""
    end = time.monotonic() + LONGEST
    while (found := look()) is None:
        assert time.monotonic() < end, f"waited {LONGEST} s for {what}"
        time.sleep(PAUSE)
    return found


def listens(port: int) -> bool:
    """Whether anybody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=LONGEST).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Server:
    """One started server. Made by ``open_server``."""

    def __init__(self, process: subprocess.Popen[bytes], logs: tuple[Path, Path]) -> None:
        self.process, self._logs = process, logs
        self._port: int | None = None

    @property
    def out(self) -> str:
        return self._logs[0].read_text("utf-8")

    @property
    def err(self) -> str:
        return self._logs[1].read_text("utf-8")

    @property
    def port(self) -> int:
        """The port it listens on, as soon as it does."""
        if self._port is None:
            self._port = soon(self._told_port, "the server's port")
        return self._port

    def _told_port(self) -> int | None:
        assert self.process.poll() is None, (
            f"it ended with {self.process.returncode}:\n{self.out}\n{self.err}"
        )
        found = PORT.search(self.out + self.err)
        # Some say it a moment before they listen.
        return int(found[1]) if found and listens(int(found[1])) else None

    # -- speaking with it ----------------------------------------------------------------------

    def send(self, method: str, path: str, body: bytes = b"") -> http.client.HTTPConnection:
        """A request on its way. Whoever closes the connection before the answer has come hangs up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST)
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        return connection

    def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        connection = self.send(method, path, body)
        try:
            response = connection.getresponse()
            return Answer(response.status, response.read().decode())
        finally:
            connection.close()

    def post(self, payload: object, path: str = "/ask") -> Answer:
        return self.request("POST", path, json.dumps(payload).encode())

    def books(self) -> Mapping[str, Any]:
        answer = self.request("GET", "/books")
        assert answer.status == 200, answer
        books: dict[str, Any] = answer.json
        return books

    def books_where(self, wanted: Callable[[Mapping[str, Any]], bool], what: str) -> Mapping[str, Any]:
        """The books, as soon as they stand as they should."""

        def look() -> Mapping[str, Any] | None:
            books = self.books()
            return books if wanted(books) else None

        return soon(look, what)

    # -- ending it -----------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends it to every process of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def terminate(self) -> None:
        """``kill PID``, and what a process manager does."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Its exit code, once neither it nor a process of its own is left."""
        code = self.process.wait(timeout=LONGEST)
        soon(lambda: None if living(self.process.pid) else True, "the end of all its processes")
        return code

    def last_books(self) -> dict[str, int]:
        """The counts of its last line, which says that every message is accounted for; they add up."""
        (line,) = [line for line in self.out.splitlines() if "every message accounted for" in line]
        assert line == self.out.splitlines()[-1]
        counts = {
            name: int(number) for name, number in COUNT.findall(line.partition(" abandoned_messages=")[0])
        }
        assert set(counts) == {"accepted", "handled", "rejected", "undeliverable", "failed", "abandoned"}
        assert counts["accepted"] == sum(counts.values()) - counts["accepted"]
        assert " in_flight=0" in line
        return counts


def living(group: int) -> list[int]:
    """The processes of a group that are alive; one that nobody has waited for yet is not."""
    if not Path("/proc/self/stat").exists():
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return []
        return [group]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, leader, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            if int(leader) == group and state not in "ZX":
                found.append(int(entry.name))
    return found


@contextmanager
def open_server(command: Sequence[str], folder: Path, logs: Path, **more: str) -> Iterator[Server]:
    """A server in a process group of its own; whatever is left of it after the block is killed."""
    logs.mkdir(parents=True, exist_ok=True)
    out, err = logs / "out.txt", logs / "err.txt"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        yield Server(process, (out, err))
    finally:
        if process.poll() is None or living(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
