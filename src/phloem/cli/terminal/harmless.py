"""Text that somebody else wrote -> text that a terminal only shows.

Decides which characters reach a terminal as they are, and how wide a text is on it. Every other
character becomes a sign that stands for it: no escape sequence, no carriage return, no change of
writing direction. Pure. Whoever prints what a model, a handler or a file said calls it.
"""

from __future__ import annotations

import re
from typing import Final

from rich.cells import get_character_cell_size

__all__ = ["clipped", "harmless", "one_line", "width_of"]

# C0 without tab and line feed, DEL, C1 (U+009B begins an escape sequence too), the marks that turn the
# direction of writing (what is read would not be what is there), other line ends, lone surrogates.
_HARMFUL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_COLOURS: Final = re.compile("\x1b\\[[0-9;:]*m")
_PICTURES: Final = 0x2400  # U+2400 to U+2421 are pictures of the ASCII controls
_DELETE: Final = 0x7F
_TAB_STOP: Final = "    "  # columns of a tab differ by where it stands; four spaces do not


def _sign(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(_PICTURES + code)
    return "\u2421" if code == _DELETE else f"\\u{code:04x}"


def harmless(text: str, *, colours: bool = False) -> str:
    """The same with signs for what is no plain character; line feeds stay, tabs become four spaces.

    ``colours`` lets the sequences through that only set colours and styles.
    """
    text = text.replace("\r\n", "\n").replace("\t", _TAB_STOP)
    if not colours:
        return _HARMFUL.sub(_sign, text)
    parts, at = list[str](), 0
    for match in _COLOURS.finditer(text):
        parts += (_HARMFUL.sub(_sign, text[at : match.start()]), match.group())
        at = match.end()
    return "".join((*parts, _HARMFUL.sub(_sign, text[at:])))


def one_line(text: str) -> str:
    """The same on one line: a sign of one column for each line feed and tab as well."""
    return _HARMFUL.sub(_sign, text.replace("\n", "\u240a").replace("\t", "\u2409"))


def width_of(text: str) -> int:
    """Columns it takes; of a harmless text on one line."""
    return len(text) if text.isascii() else sum(map(get_character_cell_size, text))


def clipped(text: str, most: int) -> str:
    """As much of it as ``most`` columns hold, with an ellipsis where something is left out."""
    if len(text) <= most and width_of(text) <= most:
        return text
    width = 0
    for index, character in enumerate(text):
        width += get_character_cell_size(character)
        if width > most - 1:
            return text[:index] + "…" if most > 0 else ""
    return text
