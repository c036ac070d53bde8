"""A terminal, as far as the console's drawing goes: rows, a cursor, and what has scrolled away."""

from __future__ import annotations

import re

from rich.cells import get_character_cell_size

_SEQUENCE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


class Screen:
    """Refuses any sequence it does not know: nothing else may reach a terminal."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.height = columns, rows
        self.rows = [""] * rows
        self.past: list[str] = []
        self.row = self.column = 0
        self.full = False  # a character stands in the last column: the next one begins a row

    def write(self, text: str) -> None:
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                match = _SEQUENCE.match(text, at)
                assert match is not None, f"no sequence: {text[at : at + 10]!r}"
                self._sequence(match[1], match[2], match[3])
                at = match.end()
                continue
            self._character(text[at])
            at += 1

    @property
    def everything(self) -> list[str]:
        """All rows there ever were, without the empty ones at the end."""
        rows = [row.rstrip() for row in (*self.past, *self.rows)]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def _character(self, character: str) -> None:
        if character == "\r":
            self.column, self.full = 0, False
        elif character == "\n":
            self.full = False
            self._down()
        elif character != "\x07":
            assert character.isprintable() or character == "\u200d", f"{character!r} reached the terminal"
            width = get_character_cell_size(character)
            if width and (self.full or self.column + width > self.columns):
                self.column, self.full = 0, False
                self._down()
            self._put(character, width)

    def _put(self, character: str, width: int) -> None:
        cells = self._cells(self.rows[self.row])
        cells += [" "] * (self.column - len(cells))
        if not width:  # drawn onto the character before it
            end = len(cells) if self.full else self.column
            cells[max(at for at in range(end) if cells[at])] += character
            self.rows[self.row] = "".join(cells)
            return
        cells[self.column : self.column + width] = [character] + [""] * (width - 1)
        self.rows[self.row] = "".join(cells)
        self.full = self.column + width >= self.columns
        self.column = min(self.column + width, self.columns - 1)

    @staticmethod
    def _cells(row: str) -> list[str]:
        cells: list[str] = []
        for character in row:
            width = get_character_cell_size(character)
            if width:
                cells += [character] + [""] * (width - 1)
            else:
                at = next(index for index in range(len(cells) - 1, -1, -1) if cells[index])
                cells[at] += character
        return cells

    def _down(self) -> None:
        if self.row == self.height - 1:
            self.past.append(self.rows.pop(0))
            self.rows.append("")
        else:
            self.row += 1

    def _sequence(self, private: str, number: str, final: str) -> None:
        if private:
            assert (number, final) in (("25", "l"), ("25", "h"), ("2004", "h"), ("2004", "l"))
        elif final == "A":
            self.row, self.full = max(0, self.row - int(number)), False
        elif final == "C":
            self.column, self.full = min(self.columns - 1, self.column + int(number)), False
        elif final == "J" and not number:
            cells = self._cells(self.rows[self.row])
            self.rows[self.row] = "".join(cells[: self.column])
            self.rows[self.row + 1 :] = [""] * (self.height - self.row - 1)
            self.full = False
        elif final == "J":
            self.rows = [""] * self.height
        elif final == "H":
            self.row = self.column = 0
        else:
            assert final == "m", f"a sequence nobody expects: {number}{final}"
