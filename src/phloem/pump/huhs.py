"""What the sender of a refused message is told of it.

Decides which words: of its own message and of the contract it addressed, nothing else. Pure; the
core alone calls it.
"""

from __future__ import annotations

from typing import Any

from phloem.messages import Huh, folded
from phloem.wire.parsing import printable

from .steps import ORIGINAL, Refused

__all__ = ["huh_of"]


def huh_of(item: Refused, attempts_left: int) -> Huh:
    """The answer to a refused message: its first fault, the others folded in; nothing but XML characters."""
    fault = folded(item.faults)
    texts: list[Any] = [
        printable(text, ORIGINAL) for text in (fault.code, fault.path, fault.found, fault.expected)
    ]
    return Huh(texts[0], texts[1], texts[2], texts[3], attempts_left, printable(item.text, ORIGINAL))
