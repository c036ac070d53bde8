"""A line that is being typed: its text, its cursor, and what each key does to them.

Decides what the keys mean, as in readline's emacs mode; knows nothing of terminals, colours or time. Pure.
``tty`` presses the keys and draws what is left.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, final

from .harmless import width_of
from .history import History
from .keys import Key, Pasted, Typed

__all__ = ["Choices", "Entered", "LineEditor", "Signal", "common_start"]

LONGEST_LINE: Final = 1_000_000  # characters; a field of a message takes no more
_JOINER: Final = "\u200d"  # joins emoji to one


class Signal(Enum):
    """What a key asks for beside a change of the line."""

    BELL = auto()
    CLEAR_SCREEN = auto()
    END_OF_INPUT = auto()


@final
@dataclass(frozen=True, slots=True)
class Entered:
    """A line that is finished."""

    text: str


@final
@dataclass(frozen=True, slots=True)
class Choices:
    """What the word before the cursor may be completed to."""

    words: tuple[str, ...]


@final
class LineEditor:
    """``complete`` gives what may stand in place of a whole text before the cursor."""

    def __init__(self, history: History, complete: Callable[[str], Sequence[str]]) -> None:
        self.text, self.cursor = "", 0
        self._history, self._complete = history, complete
        self._cut = ""
        self._back = 0  # entries back in the history; 0 is the line itself
        self._own = ""  # the line itself, while older ones are shown
        self._tabs = 0

    def press(self, key: Key | Typed | Pasted) -> Entered | Choices | Signal | None:
        """What the key asks for, once the line is changed."""
        self._tabs = self._tabs + 1 if key is Key.TAB else 0
        if not isinstance(key, Key):
            return self._insert(key.text)
        return _ACTIONS[key](self)

    def clear(self) -> None:
        """An empty line, as at the beginning."""
        self.text, self.cursor, self._back, self._own = "", 0, 0, ""

    # -- the keys ------------------------------------------------------------------------------

    def _insert(self, text: str) -> Signal | None:
        if len(self.text) + len(text) > LONGEST_LINE:
            return Signal.BELL
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)
        return None

    def _enter(self) -> Entered:
        entered = Entered(self.text)
        self.clear()
        return entered

    def _new_line(self) -> Signal | None:
        return self._insert("\n")

    def _end_of_input(self) -> Signal | None:
        return self._delete() if self.text else Signal.END_OF_INPUT

    def _backspace(self) -> Signal | None:
        return self._remove(self._before(), self.cursor, keep=False)

    def _delete(self) -> Signal | None:
        return self._remove(self.cursor, self._after(), keep=False)

    def _left(self) -> None:
        self.cursor = self._before()

    def _right(self) -> None:
        self.cursor = self._after()

    def _word_left(self) -> None:
        self.cursor = self._word_before(_in_word)

    def _word_right(self) -> None:
        self.cursor = self._word_after()

    def _home(self) -> None:
        self.cursor = 0

    def _end(self) -> None:
        self.cursor = len(self.text)

    def _cut_word(self) -> Signal | None:
        return self._remove(self._word_before(_no_space), self.cursor)

    def _cut_next_word(self) -> Signal | None:
        return self._remove(self.cursor, self._word_after())

    def _cut_before(self) -> Signal | None:
        return self._remove(0, self.cursor)

    def _cut_after(self) -> Signal | None:
        return self._remove(self.cursor, len(self.text))

    def _yank(self) -> Signal | None:
        return self._insert(self._cut) if self._cut else Signal.BELL

    def _clear_screen(self) -> Signal:
        return Signal.CLEAR_SCREEN

    def _up(self) -> Signal | None:
        return self._recall(self._back + 1)

    def _down(self) -> Signal | None:
        return self._recall(self._back - 1)

    def _tab(self) -> Choices | Signal | None:
        before = self.text[: self.cursor]
        words = tuple(self._complete(before))
        if not words:
            return Signal.BELL
        common = common_start(words)
        if len(common) >= len(before) and common != before:
            self.text, self.cursor = common + self.text[self.cursor :], len(common)
            return None
        return Choices(words) if self._tabs > 1 and len(words) > 1 else Signal.BELL

    # -- what they have in common ----------------------------------------------------------------

    def _remove(self, start: int, end: int, *, keep: bool = True) -> Signal | None:
        if start == end:
            return Signal.BELL
        if keep:
            self._cut = self.text[start:end]
        self.text, self.cursor = self.text[:start] + self.text[end:], start
        return None

    def _recall(self, back: int) -> Signal | None:
        if not 0 <= back <= len(self._history):
            return Signal.BELL
        if self._back == 0:
            self._own = self.text
        self._back = back
        self.text = self._own if back == 0 else self._history.back(back)
        self.cursor = len(self.text)
        return None

    def _before(self) -> int:
        """Where the character before the cursor begins, with all that is drawn onto it."""
        at = self.cursor
        while at > 0:
            at -= 1
            if not _joined(self.text, at):
                break
        return at

    def _after(self) -> int:
        at = self.cursor
        while at < len(self.text):
            at += 1
            if at == len(self.text) or not _joined(self.text, at):
                break
        return at

    def _word_before(self, within: Callable[[str], bool]) -> int:
        at = self.cursor
        while at > 0 and not within(self.text[at - 1]):
            at -= 1
        while at > 0 and within(self.text[at - 1]):
            at -= 1
        return at

    def _word_after(self) -> int:
        at = self.cursor
        while at < len(self.text) and not _in_word(self.text[at]):
            at += 1
        while at < len(self.text) and _in_word(self.text[at]):
            at += 1
        return at


def common_start(words: Sequence[str]) -> str:
    """What all of these begin with; at least one."""
    first, last = min(words), max(words)
    return first[
        : next(
            (at for at, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), len(first)
        )
    ]


def _joined(text: str, at: int) -> bool:
    """Whether the character there is drawn onto the one before it."""
    character = text[at]
    if unicodedata.category(character) == "Cc":  # a line feed has no width, and stands alone
        return False
    return width_of(character) == 0 or (at > 0 and text[at - 1] == _JOINER)


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_" or bool(unicodedata.combining(character))


def _no_space(character: str) -> bool:
    return not character.isspace()


_ACTIONS: Final = {
    Key.ENTER: LineEditor._enter,
    Key.NEW_LINE: LineEditor._new_line,
    Key.TAB: LineEditor._tab,
    Key.BACKSPACE: LineEditor._backspace,
    Key.DELETE: LineEditor._delete,
    Key.END_OF_INPUT: LineEditor._end_of_input,
    Key.LEFT: LineEditor._left,
    Key.RIGHT: LineEditor._right,
    Key.WORD_LEFT: LineEditor._word_left,
    Key.WORD_RIGHT: LineEditor._word_right,
    Key.HOME: LineEditor._home,
    Key.END: LineEditor._end,
    Key.UP: LineEditor._up,
    Key.DOWN: LineEditor._down,
    Key.CUT_WORD: LineEditor._cut_word,
    Key.CUT_NEXT_WORD: LineEditor._cut_next_word,
    Key.CUT_BEFORE: LineEditor._cut_before,
    Key.CUT_AFTER: LineEditor._cut_after,
    Key.YANK: LineEditor._yank,
    Key.CLEAR_SCREEN: LineEditor._clear_screen,
}
