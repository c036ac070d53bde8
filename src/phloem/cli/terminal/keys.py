"""Bytes that a terminal sends -> keys, typed text and pastes.

Decides which sequences mean which key. What it does not know is dropped whole, so that no rest of a
sequence is taken for typed text; what is pasted is never taken for keys. Pure. ``tty`` feeds it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, final

__all__ = ["PASTE_OFF", "PASTE_ON", "Key", "KeyReader", "Pasted", "Typed"]

PASTE_ON: Final = "\x1b[?2004h"  # from here on pastes come in brackets
PASTE_OFF: Final = "\x1b[?2004l"
_PASTE_BEGINS: Final = "\x1b[200~"
_PASTE_ENDS: Final = "\x1b[201~"
_LONGEST: Final = 32  # characters of a sequence; the longest that terminals send have about ten
# CSI, SS3, or Alt with a character. An escape within it begins another.
_WHOLE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O\x1b])", re.DOTALL)
_BEGUN: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")


class Key(Enum):
    """What an editor does something at."""

    ENTER = auto()
    NEW_LINE = auto()
    TAB = auto()
    BACKSPACE = auto()
    DELETE = auto()
    END_OF_INPUT = auto()  # Ctrl-D: deletes as well, if there is something
    LEFT = auto()
    RIGHT = auto()
    WORD_LEFT = auto()
    WORD_RIGHT = auto()
    HOME = auto()
    END = auto()
    UP = auto()
    DOWN = auto()
    CUT_WORD = auto()
    CUT_NEXT_WORD = auto()
    CUT_BEFORE = auto()
    CUT_AFTER = auto()
    YANK = auto()
    CLEAR_SCREEN = auto()


@final
@dataclass(frozen=True, slots=True)
class Typed:
    """Characters, none of them a control."""

    text: str


@final
@dataclass(frozen=True, slots=True)
class Pasted:
    """What was pasted at once; its lines end with line feeds."""

    text: str


_CONTROLS: Final = MappingProxyType(
    {
        "\r": Key.ENTER, "\n": Key.ENTER, "\t": Key.TAB, "\x7f": Key.BACKSPACE, "\x08": Key.BACKSPACE,
        "\x01": Key.HOME, "\x02": Key.LEFT, "\x04": Key.END_OF_INPUT, "\x05": Key.END, "\x06": Key.RIGHT,
        "\x0b": Key.CUT_AFTER, "\x0c": Key.CLEAR_SCREEN, "\x0e": Key.DOWN, "\x10": Key.UP,
        "\x15": Key.CUT_BEFORE, "\x17": Key.CUT_WORD, "\x19": Key.YANK,
    }
)  # fmt: skip
_ALT: Final = MappingProxyType(
    {
        "\r": Key.NEW_LINE, "\n": Key.NEW_LINE, "b": Key.WORD_LEFT, "f": Key.WORD_RIGHT,
        "d": Key.CUT_NEXT_WORD, "\x7f": Key.CUT_WORD, "\x08": Key.CUT_WORD,
    }
)  # fmt: skip
_FINAL: Final = MappingProxyType(
    {"A": Key.UP, "B": Key.DOWN, "C": Key.RIGHT, "D": Key.LEFT, "H": Key.HOME, "F": Key.END}
)
_TILDE: Final = MappingProxyType({"1": Key.HOME, "7": Key.HOME, "4": Key.END, "8": Key.END, "3": Key.DELETE})
_BY_WORD: Final = MappingProxyType(
    {Key.LEFT: Key.WORD_LEFT, Key.RIGHT: Key.WORD_RIGHT, Key.DELETE: Key.CUT_NEXT_WORD}
)
_WITH_MODIFIER: Final = frozenset("345678")  # Alt, Ctrl, and both with Shift: 1 + 2 for Alt + 4 for Ctrl


@final
class KeyReader:
    """Remembers what has come of a character, a sequence or a paste that is not yet complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._paste: list[str] | None = None

    @property
    def waiting(self) -> bool:
        """Whether a sequence has begun: soon after it nothing more can belong to it."""
        return self._paste is None and bool(self._rest)

    def feed(self, raw: bytes) -> list[Key | Typed | Pasted]:
        """What these bytes complete."""
        self._rest += self._decoder.decode(raw)
        return list(self._taken())

    def give_up(self) -> None:
        """Drop the sequence that has begun: it was the escape key."""
        if self.waiting:
            self._rest = ""

    def _taken(self) -> Iterator[Key | Typed | Pasted]:
        while self._rest:
            if self._paste is not None:
                if (pasted := self._pasted(self._paste)) is None:
                    return
                yield pasted
            elif self._rest[0] == "\x1b":
                if (sequence := _WHOLE.match(self._rest)) is None:
                    begun = _BEGUN.match(self._rest)
                    end = begun.end() if begun is not None else 1
                    if end == len(self._rest) and end < _LONGEST:
                        return
                    self._rest = self._rest[end:]
                    continue
                self._rest = self._rest[sequence.end() :]
                if sequence.group() == _PASTE_BEGINS:
                    self._paste = []
                elif (key := _key_of(sequence.group())) is not None:
                    yield key
            else:
                yield from self._plain()

    def _plain(self) -> Iterator[Key | Typed]:
        """The characters up to the next escape."""
        text, escape, rest = self._rest.partition("\x1b")
        self._rest = escape + rest
        for part in re.split(r"([\x00-\x1f\x7f-\x9f])", text):
            if (key := _CONTROLS.get(part)) is not None:
                yield key
            elif part and part >= " " and not "\x7f" <= part[0] <= "\x9f":
                yield Typed(part)

    def _pasted(self, paste: list[str]) -> Pasted | None:
        """The paste, if its end has come."""
        text, end, after = self._rest.partition(_PASTE_ENDS)
        if not end:
            kept = next((n for n in range(len(_PASTE_ENDS) - 1, 0, -1) if text.endswith(_PASTE_ENDS[:n])), 0)
            paste.append(text[: len(text) - kept])
            self._rest = text[len(text) - kept :]
            return None
        self._rest, self._paste = after, None
        whole = "".join((*paste, text)).replace("\r\n", "\n").replace("\r", "\n")
        return Pasted(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", whole))


def _key_of(sequence: str) -> Key | None:
    if sequence[1] not in "[O":
        return _ALT.get(sequence[1])
    body, final = sequence[2:-1], sequence[-1]
    number, _, modifier = body.partition(";")
    key = _TILDE.get(number) if final == "~" else _FINAL.get(final)
    return _BY_WORD.get(key, key) if key is not None and modifier in _WITH_MODIFIER else key
