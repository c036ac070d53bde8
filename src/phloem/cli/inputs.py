"""What ``phloem run`` reads while it serves: files, FIFOs, stdin, and what commands write.

Decides how each is opened, that reading one never holds the loop, and that a command ends with the run:
asked to, then made to, with all it has started. Cuts nothing into messages: the organism does. ``serving``
uses it.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, final

import trio

__all__ = ["CommandOutput", "FileInput", "opened_input"]

CHUNK: Final = 64 * 1024  # bytes per thread hop (about 100 µs), and what a pipe holds
PATIENCE: Final = 2.0  # seconds between asking a command to end and making it; shells and readers take none
Ready = Callable[[], Awaitable[None]]  # awaited before each read: whoever prints keeps up


@final
class FileInput(trio.abc.ReceiveStream):
    """A file, a FIFO or stdin. The descriptor is its owner's, and stays open."""

    def __init__(self, descriptor: int, ready: Ready) -> None:
        self._descriptor, self._ready = descriptor, ready
        # One that was opened without waiting has an end before its first writer: only poll knows better.
        self._polled = stat.S_ISFIFO(os.fstat(descriptor).st_mode) and not os.get_blocking(descriptor)
        self._limiter = trio.CapacityLimiter(1)  # an abandoned read keeps its token: nobody else's

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes; none at the end. Checkpoint. Cancelled means: what is being read is lost.

        Raises OSError.
        """
        await self._ready()
        size = CHUNK if max_bytes is None else max_bytes
        while self._polled:
            await trio.lowlevel.wait_readable(self._descriptor)
            with suppress(BlockingIOError):
                return os.read(self._descriptor, size)
        # A read of a terminal or an idle pipe cannot be interrupted; os.read holds no lock that
        # would keep the interpreter from ending.
        read = partial(os.read, self._descriptor, size)
        return await trio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=self._limiter)

    async def aclose(self) -> None:
        """Nothing: its owner does. Checkpoint."""
        await trio.lowlevel.checkpoint()


def opened_input(path: str) -> int:
    """A descriptor to read from. Waits for no writer of a FIFO. Raises OSError."""
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    if hasattr(os, "O_NONBLOCK"):
        flags |= os.O_NONBLOCK
    descriptor = os.open(path, flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):  # which opens for reading, and cannot be read
            raise IsADirectoryError(21, os.strerror(21), path)
        if not stat.S_ISFIFO(mode) and hasattr(os, "set_blocking"):
            os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@final
class CommandOutput(trio.abc.ReceiveStream):
    """What a running command writes to its stdout. From ``open``, in its block."""

    def __init__(self, process: trio.Process, ready: Ready) -> None:
        self._process, self._ready = process, ready

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        command: Sequence[str],
        folder: str,
        name: str,
        ready: Ready,
        live: Callable[[trio.Process], object],
    ) -> AsyncIterator[CommandOutput]:
        """Start it in ``folder``, with no stdin and our stderr, in a group of its own: Ctrl-C comes to us.

        ``live`` hears of it once it runs. When the block is left the whole group is asked to end,
        and after two seconds made to. Checkpoint. Raises OSError, ``filename`` its ``name``, if it
        cannot be started.
        """
        group: dict[str, Any] = {"start_new_session": True} if hasattr(os, "killpg") else {}
        run = partial(
            trio.run_process,
            list(command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
            deliver_cancel=_end,
            **group,
        )
        async with trio.open_nursery() as nursery:
            try:
                process: trio.Process = await nursery.start(run, name=name)
            except OSError as error:
                error.filename = name
                raise
            try:
                live(process)
                yield cls(process, ready)
            finally:
                nursery.cancel_scope.cancel(reason="the run is over")
        strike(process, signal.SIGTERM)  # whom it has started and left behind

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes; none once nobody can write any more. Checkpoint."""
        await self._ready()
        assert self._process.stdout is not None  # a pipe was asked for
        return bytes(await self._process.stdout.receive_some(CHUNK if max_bytes is None else max_bytes))

    async def aclose(self) -> None:
        """Its stdout is closed: the command is told when it next writes. Checkpoint."""
        assert self._process.stdout is not None
        await self._process.stdout.aclose()

    async def ended(self) -> str:
        """How it ended, if it does within two seconds: ``""`` for exit code 0. Checkpoint."""
        with trio.move_on_after(PATIENCE):
            await self._process.wait()
        code = self._process.returncode
        if code is None:
            return ""
        if code >= 0:
            return f"exit code {code}" if code else ""
        with suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
        return f"ended by signal {-code}"


def strike(process: trio.Process, number: int) -> None:
    """Send a signal to a command and all of its group. Never waits; safe in a signal handler."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


async def _end(process: trio.Process) -> None:
    """Trio calls it, shielded, and cancels it once the command has ended."""
    strike(process, signal.SIGTERM)
    await trio.sleep(PATIENCE)
    strike(process, getattr(signal, "SIGKILL", signal.SIGTERM))
