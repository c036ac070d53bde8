"""The three standard streams: who may use them, and what a closed or a full one means.

Decides that a stream which carries data belongs to the data: what handlers print meanwhile
goes to stderr, and what they read is empty. Decides that no file may get the number of a
closed stream, and that a stream which takes no more is an error once, never a traceback at
exit. Never writes a word itself. For ``app`` and the commands that read or write data.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO

__all__ = ["STDERR", "STDIN", "STDOUT", "data_stdin", "data_stdout", "let_go", "occupied", "stdout_failure"]

STDIN, STDOUT, STDERR = 0, 1, 2
# What stands for a closed stream fails as a closed one would, except where a person was to be told.
_IN_PLACE: Final = ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_RDWR))
_NOT_WRITTEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


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
    _flushed(sys.stdout)
    before = _line_buffered(True)  # as stderr is: what was printed is seen even at a sudden end
    ours = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        yield ours
    finally:
        _flushed(sys.stdout)
        os.dup2(ours, STDOUT)
        os.close(ours)
        _line_buffered(before)


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
    """The same error, with stdout's name where it has none: files say theirs, what is printed does not."""
    if error.filename is None and error.errno in _NOT_WRITTEN:
        error.filename = "stdout"
    return error


def let_go() -> None:
    """What a stream does not take now it would not take at exit, where the exit code would be lost."""
    for stream, descriptor in ((sys.stdout, STDOUT), (sys.stderr, STDERR)):
        if not _flushed(stream):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _flushed(stream: TextIO | None) -> bool:
    if stream is not None:  # None: it was closed before the interpreter started
        with suppress(OSError):
            stream.flush()
            return True
        return False
    return True


def _line_buffered(wanted: bool) -> bool:
    """What it was before."""
    stream: Any = sys.stdout  # nothing, or whatever a program has put there
    if not hasattr(stream, "reconfigure"):
        return wanted
    before: bool = stream.line_buffering
    stream.reconfigure(line_buffering=wanted)
    return before
