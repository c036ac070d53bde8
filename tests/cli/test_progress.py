"""The bar: drawn on a terminal only, as far as messages have ended, and gone when the process is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, final

import pytest

from phloem.cli.batch import BatchEnd
from phloem.cli.exit_codes import Tally
from phloem.cli.progress import summary
from phloem.messages import ConversationState, ShutdownReport

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a terminal of its own needs a POSIX system")
HIDE, SHOW, CLEAR = b"\x1b[?25l", b"\x1b[?25h", b"\r\x1b[2K"


@final
class Terminal:
    """``phloem run`` with a terminal as its stderr (``shared``: its stdout too), and what it draws there."""

    def __init__(
        self, phloem: Any, *options: str, shared: bool = False, variables: dict[str, str] | None = None
    ) -> None:
        import pty

        self.drawn = b""
        self._ours, theirs = pty.openpty()
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", "phloem", "run", "organism.yaml", "--batch", "in", *options],
            cwd=phloem.folder,
            env={**phloem._environment(None), "TERM": "xterm-256color", **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=theirs if shared else subprocess.PIPE,
            stderr=theirs,
        )
        phloem.started.append(self.process)
        os.close(theirs)

    def until(self, seen: Callable[[bytes], bool]) -> None:
        """Read until that is on the screen, or the process has ended."""
        while not seen(self.drawn) and (piece := self._read()):
            self.drawn += piece

    def rest(self) -> int:
        """All that is drawn until the end, and the exit code."""
        self.until(lambda drawn: False)
        os.close(self._ours)
        return self.process.wait(timeout=60)

    def _read(self) -> bytes:
        try:
            return os.read(self._ours, 65536)
        except OSError:  # Linux says so when the other end has closed
            return b""


def batch(phloem: Any, *lines: dict[str, object]) -> None:
    (phloem.folder / "in").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
def test_a_bar_is_drawn_on_a_terminal_and_its_colours_respect_no_color(
    phloem: Any, line: Any, variables: dict[str, str]
) -> None:
    batch(phloem, *[line("a")] * 50)
    terminal = Terminal(phloem, "--out", "out", variables=variables)
    assert terminal.rest() == 0
    assert b"reading" in terminal.drawn
    coloured = any(f"\x1b[{colour}".encode() in terminal.drawn for colour in ("38;5;", "31", "32", "35"))
    assert coloured is (not variables)


def test_a_terminal_that_can_draw_nothing_gets_the_summary_alone(phloem: Any, line: Any) -> None:
    batch(phloem, line("a"))
    terminal = Terminal(phloem, "--out", "out", variables={"TERM": "dumb"})
    assert terminal.rest() == 0
    assert terminal.drawn.startswith(b"1 message: 1 completed")


def test_the_bar_is_as_long_as_what_has_ended_is_of_the_file(phloem: Any, line: Any) -> None:
    """All of the file is read at once here: half of its messages hang."""
    batch(phloem, *[line("a")] * 5, *[line("a", to="hang")] * 5)
    terminal = Terminal(phloem, "--out", "out", variables={"NO_COLOR": "1"})
    terminal.until(lambda drawn: b"5 completed" in drawn)
    terminal.process.kill()
    bar = terminal.drawn.split(b"5 completed")[0].rpartition(CLEAR)[2].decode()
    assert 15 <= bar.count("━") <= 25, bar  # of 40


def test_a_stop_at_once_leaves_a_whole_line_and_a_cursor(phloem: Any, line: Any) -> None:
    batch(phloem, line("a"), line("b", to="hang"))
    terminal = Terminal(phloem, "--out", "out")
    terminal.until(lambda drawn: b"1 completed" in drawn)
    terminal.process.send_signal(signal.SIGINT)
    terminal.until(lambda drawn: b"stopping:" in drawn)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.rest() == 130
    assert CLEAR + SHOW + b"stopping: what was accepted is drained, for 10 s at most" in terminal.drawn
    assert CLEAR + SHOW + b"stopped at once, 2 messages read" in terminal.drawn
    assert terminal.drawn.rfind(SHOW) > terminal.drawn.rfind(HIDE)


@pytest.mark.parametrize("shared", [True, False])
def test_a_bar_is_not_drawn_among_results_on_the_same_terminal(phloem: Any, line: Any, shared: bool) -> None:
    batch(phloem, line("a"))
    terminal = Terminal(phloem, shared=shared)
    assert terminal.rest() == 0
    assert (HIDE in terminal.drawn) is not shared
    assert (b'"state": "completed"' in terminal.drawn) is shared
    assert b"1 message: 1 completed" in terminal.drawn


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (1, "1 message: 1 failed; 1 huh within them; 1 dead letter; 0.5 s"),
        (2, "2 messages: 2 failed; 2 huhs within them; 2 dead letters; 0.5 s"),
    ],
)
def test_one_is_not_called_many(number: int, told: str) -> None:
    tally = Tally({ConversationState.FAILED: number}, dead_letters=number, refused=number)
    assert next(summary(BatchEnd(tally, all_read=True), 0.5)) == told


def test_threads_that_outlive_their_dispatches_are_named() -> None:
    report = ShutdownReport(3, 1, 0, 0, 0, 2, abandoned_threads=("slow", "deaf", "slow"))
    told = list(summary(BatchEnd(Tally(), all_read=True, report=report), 0.5))
    assert told[2:] == ["  still at work: 1 thread of deaf", "  still at work: 2 threads of slow"]
