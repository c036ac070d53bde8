"""The three standard streams: who may use them, and what a closed or a full one means.

Decides that a stream which carries data belongs to the data: what handlers print meanwhile
goes to stderr, and what they read is empty. Decides that no file may get the number of a
closed stream, and that a stream which takes no more is an error once, never a traceback at
exit. Never writes a word itself. For ``app`` and the commands that read or write data.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

__all__ = ["STDERR", "STDIN", "STDOUT", "data_stdin", "data_stdout", "let_go", "occupied", "stdout_failure"]

STDIN, STDOUT, STDERR = 0, 1, 2
# What stands for a closed stream fails as a closed one would, except where a person was to be told.
_IN_PLACE: Final = ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_RDWR))


def occupied() -> None:
    """See to it that all three numbers are taken: the next file opened would get a free one."""
    for descriptor, flags in _IN_PLACE:
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # the lowest free number is this one


@contextmanager
def data_stdout() -> Iterator[int]:
    """stdout for data alone. Until the block is left, all else that is printed there goes to stderr."""
    stream = sys.stdout if isinstance(sys.stdout, io.TextIOWrapper) else None
    _flushed(stream)
    buffered = stream is not None and not stream.line_buffering
    if stream is not None and buffered:
        stream.reconfigure(line_buffering=True)  # as stderr is: what was printed is seen even at a sudden end
    ours = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        yield ours
    finally:
        _flushed(stream)
        os.dup2(ours, STDOUT)
        os.close(ours)
        if stream is not None and buffered:
            stream.reconfigure(line_buffering=False)


@contextmanager
def data_stdin() -> Iterator[int]:
    """stdin for data alone. Until the block is left, whoever else reads it finds its end."""
    ours = os.dup(STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, STDIN)
    os.close(nothing)
    try:
        yield ours
    finally:
        os.dup2(ours, STDIN)
        os.close(ours)


def stdout_failure(error: OSError) -> OSError:
    """The same error with stdout's name where it was stdout that took no more."""
    if error.filename is None and not _flushed(sys.stdout):
        error.filename = "stdout"
    return error


def let_go() -> None:
    """What a stream does not take now it would not take at exit, where the exit code would be lost."""
    for stream, descriptor in ((sys.stdout, STDOUT), (sys.stderr, STDERR)):
        if not _flushed(stream):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _flushed(stream: io.TextIOBase | None) -> bool:
    if stream is not None:  # None: it was closed before the interpreter started
        with suppress(OSError):
            stream.flush()
            return True
        return False
    return True
