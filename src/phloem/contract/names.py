"""From a Python name to the name of its element.

Decides the spelling on the wire, letter for letter the one that payloads of the
reference have (there: pyhumps' ``pascalize``), oddities included. Knows nothing of
types. The rest of this package may call it.
"""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

__all__ = ["is_xml_name", "pascalize"]

_WORD: Final = re.compile(r"[^\-_]+")
_JOINT: Final = re.compile(r"(?<=[^\-_])[\-_]+([^\-_])")


def pascalize(name: str) -> str:
    """``user_name`` becomes ``UserName``; ``a_b`` becomes ``A_B``; ``class_`` becomes ``Class_``.

    A name that is all upper case, at first or once its words are capitalised, keeps its
    underscores: that is why ``a_b`` does.
    """
    if name.isupper() or name.isnumeric():
        return name
    capital = _WORD.sub(lambda word: word[0][0].upper() + word[0][1:], name)
    if capital.isupper() or capital.isnumeric():
        return capital[:1].upper() + capital[1:]
    if not capital[:2].isupper():
        # undone two lines below, but not for every letter: the detour is part of the spelling
        capital = capital[:1].lower() + capital[1:]
    joined = _JOINT.sub(lambda joint: joint[1].upper(), capital)
    return joined[:1].upper() + joined[1:]


def is_xml_name(name: str) -> bool:
    """Whether an element can be called so, without a namespace."""
    try:
        etree.Element(name)
    except ValueError:
        return False
    return ":" not in name and not name.startswith("{")
