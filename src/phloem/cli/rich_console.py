"""The console of rich that ``check``, ``demo`` and ``sim`` print on.

Decides that a pipe gets whole lines, and that a pipe that is closed is an error like any
other (rich would leave the process on its own). Never used for data.
"""

from __future__ import annotations

from typing import NoReturn, final

from rich.console import Console

__all__ = ["open_console"]

_PIPE_WIDTH = 200  # columns: a pipe has no width of its own, and no name should be cut


@final
class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def open_console() -> Console:
    """A console on stdout, as wide as the terminal. Respects NO_COLOR."""
    console = _Console(highlight=False)
    return console if console.is_terminal else _Console(highlight=False, width=_PIPE_WIDTH)
