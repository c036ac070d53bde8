"""What may be a name: of an organism, of a listener, of a source.

Decides on characters and length only; whether a name is taken is decided where all
listeners are known. For the files of this package only.
"""

from __future__ import annotations

import unicodedata

from phloem.config import MAX_NAME
from phloem.messages import SYSTEM

from .report import quoted

TWIN_MARK = "#"  # x#2 is how ledger and events tell broadcast twins apart

_OTHER = f"a name other than {SYSTEM} and {SYSTEM}.…, which are phloem's own"
_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, surrogates, separators of lines
_NOT_XML = frozenset({"\ufffe", "\uffff"})


def organism_name_problem(name: str) -> tuple[str, str] | None:
    """(found, expected) if this cannot be a name at all, else None."""
    if not name.strip():
        return ("an empty text" if not name else f"the text {quoted(name)}"), "a name"
    if len(name) > MAX_NAME:
        return f"{quoted(name)} ({len(name)} characters)", f"a name of at most {MAX_NAME} characters"
    for character in name:
        if unicodedata.category(character) in _UNSEEN or character in _NOT_XML:
            found = f"{quoted(name)}, which has the character U+{ord(character):04X}"
            return found, "a name of characters that XML allows, without controls"
    if name != name.strip():
        return f"{quoted(name)}, which begins or ends with a space", f"a name such as {quoted(name.strip())}"
    return None


def listener_name_problem(name: str) -> tuple[str, str] | None:
    """The same for a listener, whose name is an address: some are taken by phloem."""
    if (wrong := organism_name_problem(name)) is not None:
        return wrong
    if _is_ours(name):
        return quoted(name), _OTHER
    if TWIN_MARK in name:
        return quoted(name), f"a name without {TWIN_MARK}, which numbers broadcast twins"
    return None


def source_name_problem(name: str) -> tuple[str, str] | None:
    """The same for a source, whose name is the sender of what it brings."""
    if (wrong := organism_name_problem(name)) is not None:
        return wrong
    if _is_ours(name):
        return quoted(name), _OTHER
    return None


def _is_ours(name: str) -> bool:
    folded = name.casefold()
    return folded == SYSTEM or folded.startswith(f"{SYSTEM}.")
