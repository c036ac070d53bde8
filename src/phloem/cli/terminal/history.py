"""The lines that were typed before, and the file they are kept in.

Decides what is kept: no empty line, none twice in a row, none that begins with a space. A file that
cannot be read or written is told once, and costs the past and nothing else. Any number of consoles may
write to one file. Never a checkpoint: a line is some hundred bytes. ``editor`` reads it, ``tty`` adds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

__all__ = ["History", "history_file"]

MOST: Final = 1_000  # lines; a year of somebody who asks three things a day
LONGEST: Final = 10_000  # characters of a line that is kept: pasted documents are not looked for again


def history_file(environment: Mapping[str, str]) -> Path | None:
    """Where it is kept: ``phloem/console_history`` in the user's folder of states; None without a home."""
    folder = environment.get("XDG_STATE_HOME", "")
    if folder and os.path.isabs(folder):  # a relative one is to be ignored, says its specification
        return Path(folder) / "phloem" / "console_history"
    home = os.path.expanduser("~")
    return None if home == "~" else Path(home) / ".local" / "state" / "phloem" / "console_history"


@final
class History:
    """The newest lines, oldest first. ``path`` None keeps them no longer than this object lives."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lines: list[str] = []
        self.failure: OSError | None = None  # what keeps the file from being read or written

    def __len__(self) -> int:
        return len(self._lines)

    def back(self, count: int) -> str:
        """The line so many back; 1 is the newest."""
        return self._lines[-count]

    def load(self) -> None:
        """What the file holds; one that has grown over twice its limit is cut to the newest lines."""
        if self._path is None:
            return
        try:
            stored = self._path.read_text("utf-8", "replace").split("\n")[:-1]
            if len(stored) > 2 * MOST:
                self._rewrite(self._path, stored[-MOST:])
        except FileNotFoundError:
            return
        except OSError as error:
            self.failure = error
            return
        self._lines = [_unescaped(line) for line in stored[-MOST:]]

    def add(self, line: str) -> None:
        """Keep a line."""
        if not line.strip() or line[0] == " " or len(line) > LONGEST or self._lines[-1:] == [line]:
            return
        self._lines = [*self._lines[-MOST + 1 :], line]
        if self._path is None or self.failure is not None:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._append(self._path, line)
        except OSError as error:
            self.failure = error

    @staticmethod
    def _append(path: Path, line: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{_escaped(line)}\n".encode("utf-8", "replace"))  # whole: one write
        finally:
            os.close(descriptor)

    @staticmethod
    def _rewrite(path: Path, lines: list[str]) -> None:
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
        os.replace(fresh, path)


def _escaped(line: str) -> str:
    return line.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(line: str) -> str:
    return "\\".join(part.replace("\\n", "\n") for part in line.split("\\\\"))
