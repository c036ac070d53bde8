"""Characters: which ones XML can carry, and how text of strangers is shown in our own words.

Decides what a legal character is, how element text is escaped, and how input is quoted
in errors. Never parses and never refuses: callers raise. Anyone may call it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = [
    "escaped",
    "first_bad_char",
    "is_xml_text",
    "line_column",
    "path_of",
    "printable",
    "quoted",
    "shown",
]

QUOTE_MOST: Final = 60  # characters of input that an error repeats: enough to find it, too few to leak it
WHITE: Final = " \t\r\n"  # what XML calls white space; str.strip() without arguments takes far more

# The complement of XML 1.0's Char production. The short list of what is bad is searched three
# times faster than the long list of what is good.
_BAD: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_find_bad: Final = _BAD.search


def first_bad_char(text: str) -> int | None:
    """The index of the first character that XML 1.0 cannot carry, not even as a reference."""
    if text.isprintable():  # nothing printable is forbidden, and this runs at memory speed
        return None
    found = _find_bad(text)
    return None if found is None else found.start()


def is_xml_text(text: str) -> bool:
    """Whether every character is one of XML 1.0's."""
    return text.isprintable() or _find_bad(text) is None


def escaped(text: str) -> str:
    """The text as exclusive canonical form writes it between two tags."""
    if "&" in text:
        text = text.replace("&", "&amp;")
    if "<" in text:
        text = text.replace("<", "&lt;")
    if ">" in text:
        text = text.replace(">", "&gt;")
    if "\r" in text:
        text = text.replace("\r", "&#xD;")
    return text


def quoted(text: str, most: int = QUOTE_MOST) -> str:
    """The beginning of the text in quotes, control characters made visible; always legal XML text."""
    if len(text) <= most:
        return repr(text)
    shown = repr(text[:most])
    return f"{shown[:-1]}…{shown[-1]}"


def shown(value: object, most: int = QUOTE_MOST) -> str:
    """The beginning of what a program gave, on one line: a text in quotes, all else as Python writes it."""
    if isinstance(value, str):
        return quoted(value, most)
    text = _BAD.sub(_visible, " ".join(repr(value).split()))
    return text if len(text) <= most else f"{text[:most]}…"


def printable(text: bytes | str, most: int) -> str:
    """The beginning of anything as legal XML text: what XML cannot carry becomes ``\\x..``."""
    if isinstance(text, bytes):  # a character takes at most four bytes; a split last one is cut off below
        text = text[: 4 * most + 4].decode("utf-8", "backslashreplace")
    return _BAD.sub(_visible, text[:most])[:most]


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def line_column(text: str, at: int) -> str:
    """Where an offset is, as people count: from 1, characters, lines ended by a line feed."""
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def path_of(names: Iterable[str]) -> str:
    """An element path; of a very long one, its end."""
    path = "/" + "/".join(names)
    return path if len(path) <= 2 * QUOTE_MOST else "…" + path[-QUOTE_MOST:]
