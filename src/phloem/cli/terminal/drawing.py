"""What a person types, drawn at the bottom of a terminal, below everything that has been said.

Decides the escape sequences: what is said is written above, and the block at the bottom (lines that are
still being written, the prompt, the text with its cursor) is drawn anew below it. Pure: gives text to
write, and remembers only how the block was drawn last. ``tty`` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, final

from rich.cells import get_character_cell_size

from .harmless import one_line, width_of

__all__ = ["Bottom", "Prompt", "Size", "clear_screen"]

_HIDE: Final = "\x1b[?25l"
_SHOW: Final = "\x1b[?25h"
_ERASE_BELOW: Final = "\x1b[J"
_CLEAR: Final = "\x1b[H\x1b[2J"
_TAIL_ROWS: Final = 4  # of each line that is still being written; once finished it is shown whole
_LEAST: Final = 2  # columns; a wide character needs as many


@final
@dataclass(frozen=True, slots=True)
class Size:
    """Of a terminal."""

    columns: int = 80
    rows: int = 24


@final
@dataclass(frozen=True, slots=True)
class Prompt:
    """What stands before the text, and the sequence that colours it (none: empty)."""

    text: str
    colour: str = ""


@final
@dataclass(frozen=True, slots=True)
class _Drawn:
    widths: tuple[int, ...] = (0,)
    row: int = 0  # of the cursor
    column: int = 0


def clear_screen() -> str:
    """The sequence that empties the screen."""
    return _CLEAR


@final
class Bottom:
    """The block as it stands on the terminal."""

    def __init__(self) -> None:
        self._drawn = _Drawn()

    def erase(self, size: Size) -> str:
        """Take the block away; the cursor is where it began. Even if the window has become narrower since."""
        columns = max(size.columns, _LEAST)
        drawn, self._drawn = self._drawn, _Drawn()
        above = sum(max(1, -(-width // columns)) for width in drawn.widths[: drawn.row])
        # A cursor right behind the last column may count to either row: better a stale row than a lost one.
        return f"\r{_up(above + max(0, drawn.column - 1) // columns)}{_ERASE_BELOW}"

    def forget(self) -> None:
        """The block is gone already: the screen was cleared, or is somebody else's now."""
        self._drawn = _Drawn()

    def draw(
        self,
        size: Size,
        prompt: Prompt | None,
        text: str,
        cursor: int,
        tails: Sequence[tuple[Prompt, str]] = (),
    ) -> str:
        """The block, from a cursor that stands where it is to begin. Without a prompt only the tails."""
        if prompt is None and not tails:
            return ""
        columns, most = max(size.columns, _LEAST), max(1, size.rows - 1)
        rows, at_row, at_column = _block(columns, prompt, text, cursor)
        first = min(max(0, at_row - most + 1), max(0, len(rows) - most))
        rows, at_row = rows[first : first + most], at_row - first
        above = list[str]()
        painted = dict[int, Prompt]()
        for who, tail in tails:
            wrapped = _wrapped(who.text + one_line(tail), columns)
            if len(wrapped) <= _TAIL_ROWS:
                painted[len(above)] = who
            above += wrapped[-_TAIL_ROWS:]
        left_out = max(0, len(above) - (most - len(rows)))
        above = above[left_out:]
        if prompt is not None and first == 0:
            painted[left_out + len(above)] = prompt
        lines, at_row = [*above, *rows], at_row + len(above)
        self._drawn = _Drawn(tuple(map(width_of, lines)), at_row, at_column)
        for row, who in painted.items():
            if row >= left_out:
                lines[row - left_out] = _painted(who, lines[row - left_out])
        drawn = "\r\n".join(lines)
        return f"{_HIDE}{drawn}\r{_up(len(lines) - 1 - at_row)}{_right(at_column)}{_SHOW}"


def _up(rows: int) -> str:
    return f"\x1b[{rows}A" if rows else ""


def _right(columns: int) -> str:
    return f"\x1b[{columns}C" if columns else ""


def _painted(prompt: Prompt, row: str) -> str:
    if not prompt.colour or not row.startswith(prompt.text):  # in a narrow window it takes several rows
        return row
    return f"{prompt.colour}{prompt.text}\x1b[0m{row[len(prompt.text) :]}"


def _block(columns: int, prompt: Prompt | None, text: str, cursor: int) -> tuple[list[str], int, int]:
    """Rows, and the cursor's row and column."""
    if prompt is None:
        return [""], 0, 0
    before = prompt.text + one_line(text[:cursor])  # several signs may stand for one character
    rows = _wrapped(prompt.text + one_line(text), columns)
    counts = list(accumulate(map(len, rows)))
    at = next((index for index, count in enumerate(counts) if len(before) < count), len(rows) - 1)
    column = width_of(before[counts[at - 1] if at else 0 :])
    if column >= columns:  # the last row is full, and the cursor stands behind it
        return [*rows, ""], at + 1, 0
    return rows, at, column


def _wrapped(text: str, columns: int) -> list[str]:
    """Cut into rows of at most so many columns; a wide character is never cut in two."""
    if text.isascii():
        return [text[at : at + columns] for at in range(0, len(text), columns)] or [""]
    rows, start, width = list[str](), 0, 0
    for index, character in enumerate(text):
        cells = get_character_cell_size(character)
        if width + cells > columns:
            rows.append(text[start:index])
            start, width = index, 0
        width += cells
    return [*rows, text[start:]]
