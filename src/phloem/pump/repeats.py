"""Who said what to whom along one causal chain, and how often in a row it was nothing new.

Decides whether a message between two agents repeats: each text in it was said between these two
before, by either, within the last messages of its own chain. What goes side by side is on chains of its
own, so that one question to five workers repeats nothing. Pure: looks at texts, knows no listener
and no budget. ``ledger`` asks, before follow-ups are opened, and each delivery keeps where its chain is.
"""

from __future__ import annotations

import re
from typing import Final, final

__all__ = ["CUT_EVERY", "LOOK_BACK", "Talk", "further_talk", "words_of"]

LOOK_BACK: Final = 32  # messages between agents; two that thank each other need three, a ring of ten thirty
CUT_EVERY: Final = 64  # of them; so a chain of any length holds at most 96
MOST_WORDS: Final = 64  # texts told apart; a longer message counts as one word, and repeats as a whole

_TEXT_OR_EMPTY: Final = re.compile(r">([^<>]+)|<([^\s<>/]+)[^<>]*(?:/>|>\s*</)")


@final
class Talk:
    """One message between two agents; a linked list that shares its tail. Compared by identity.

    ``run``: how many messages of this pair in a row, this one included, had nothing new in them.
    ``words`` are hashes: texts may be long, and a chain must not keep them.
    """

    __slots__ = ("before", "length", "pair", "run", "words")

    def __init__(
        self, pair: frozenset[str], words: frozenset[int], run: int, before: Talk | None, length: int
    ) -> None:
        self.pair, self.words, self.run = pair, words, run
        self.before, self.length = before, length


def further_talk(before: Talk | None, sender: str, taker: str, text: str) -> Talk:
    """The chain one message on. ``text`` is a payload's canonical XML, the names are listeners' keys."""
    pair, words = frozenset((sender, taker)), words_of(text)
    run, known = _last(before, pair)
    run = run + 1 if known is not None and words <= known else 0
    length = 1 if before is None else before.length + 1
    if length % CUT_EVERY == 0:
        before = _cut(before)
    return Talk(pair, words, run, before, length)


def words_of(text: str) -> frozenset[int]:
    """What a payload says: its texts, white space and case folded; where an element is empty, its name."""
    found = _TEXT_OR_EMPTY.findall(text)
    words = {f"<{tag}" if tag else " ".join(said.split()).casefold() for said, tag in found} - {""}
    if len(words) > MOST_WORDS:
        words = {" ".join(text.split()).casefold()}
    return frozenset(map(hash, words))


def _last(talk: Talk | None, pair: frozenset[str]) -> tuple[int, frozenset[int] | None]:
    """The run that the pair's last message stands in, and all its words within reach; None: it had none."""
    run, known = 0, None
    for _ in range(LOOK_BACK):
        if talk is None:
            break
        if talk.pair == pair:
            if known is None:
                run, known = talk.run, talk.words
            else:
                known = known | talk.words
        talk = talk.before
    return run, known


def _cut(talk: Talk | None) -> Talk | None:
    """The same chain without what is out of reach."""
    kept: list[Talk] = []
    while talk is not None and len(kept) < LOOK_BACK:
        kept.append(talk)
        talk = talk.before
    shorter: Talk | None = None
    for each in reversed(kept):
        shorter = Talk(each.pair, each.words, each.run, shorter, each.length)
    return shorter
