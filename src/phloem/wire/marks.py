"""What a tag in a model's answer is: a frame, a payload, an envelope, a thought, a leaked token, or none.

Decides by names alone, for one agent: which payloads it may write comes in as ``Shapes``. The
frames are lower case, payload tags are not: a payload spelled exactly like a frame wins over it,
and a spelling that could be either is nobody's. Never reads text. Called by ``around``, ``items``,
``answers`` and ``early``.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final, final

from .shapes import Shapes

__all__ = ["CONTROL", "FRAMES", "THOUGHTS", "Kind", "Marks"]

FRAMES: Final = ("send", "respond", "wait")
THOUGHTS: Final = ("think", "thinking", "reasoning", "analysis")
ENVELOPE: Final = "message"

# What chat templates put between turns. A model that repeats one has not written it for anybody.
CONTROL: Final = re.compile(
    r"""
      <\|[^<>|\n]{1,60}\|>
    | <\uff5c[^<>\n]{1,60}\uff5c>
    | </?s>
    | <(?:bos|eos|pad|unk|sep|cls|mask|eot|eom|start_of_turn|end_of_turn|end_of_utterance|endoftext)>
    | \[/?INST\]
    | <</?SYS>>
    """,
    re.VERBOSE,
)


class Kind(Enum):
    """What a tag may be."""

    FRAME = auto()
    PAYLOAD = auto()
    ENVELOPE = auto()
    THOUGHT = auto()
    UNCLEAR = auto()  # two of the above fit
    OTHER = auto()


@final
class Marks:
    """The tags of one agent. Made anew for each answer: shapes are cheap to list."""

    __slots__ = ("_by_fold", "_exact", "tags")

    def __init__(self, shapes: Shapes) -> None:
        self.tags: tuple[str, ...] = tuple(shapes.tags())
        self._exact = frozenset(self.tags)
        self._by_fold = frozenset(tag.casefold() for tag in self.tags)

    def kind(self, name: str) -> Kind:
        """What ``<name`` begins or ``</name`` ends; a prefix is looked through."""
        if name in self._exact:
            return Kind.PAYLOAD
        local = name.rpartition(":")[2]
        fold = local.casefold()
        if local in FRAMES:
            return Kind.FRAME
        ours = fold in self._by_fold
        if fold in THOUGHTS:
            return Kind.UNCLEAR if ours else Kind.THOUGHT
        if fold in FRAMES:
            return Kind.UNCLEAR if ours and local not in self._exact else Kind.PAYLOAD if ours else Kind.FRAME
        if fold == ENVELOPE and local not in self._exact:
            return Kind.UNCLEAR if ours else Kind.ENVELOPE
        return Kind.PAYLOAD if ours else Kind.OTHER

    def is_ours(self, name: str) -> bool:
        """Whether the name means anything to us, in any spelling."""
        return self.kind(name) is not Kind.OTHER

    def wanted(self) -> str:
        """What a model may write, in words."""
        if not self.tags:
            return "a payload"
        shown = ", ".join(f"<{tag}>" for tag in self.tags[:12])
        more = f" or {len(self.tags) - 12} more" if len(self.tags) > 12 else ""
        return f"{'one of ' if len(self.tags) > 1 else ''}{shown}{more}"
