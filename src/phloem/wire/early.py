"""What can be given out of an answer while it still arrives: ``<send to="…">``, strict and whole.

Decides, as pieces come, which items at the top of the answer are certain whatever follows: then they
are the first parts of what ``read_answer`` makes of the whole text, or that is refused. Where it is
not sure (a fence, a tag in prose, anything to mend, any other item) it gives nothing from there on,
for the final reading sees it all. Never raises for what it reads. Linear in the text, however it is
cut. Called by the pump.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final, final

from phloem.errors import InvalidMessage

from .answers import AnswerPart, Way
from .around import before, gap_end
from .diagnosis import NAME, TOKEN
from .items import Items
from .marks import THOUGHTS, Kind, Marks
from .parsing import Parser
from .shapes import Shapes
from .text import first_bad_char

__all__ = ["EarlyReader"]

_LONGEST_WORD: Final = 80  # characters after a "<" in prose that is waited for
_LONGEST_TAG: Final = 2_000  # characters; of a longer one it waits for the end of the answer
_SEND: Final = re.compile(r"<send(?=[ \t\r\n>])")
_THOUGHT: Final = re.compile(rf"<(/?)({'|'.join(THOUGHTS)})>")
_ALMOST: Final = re.compile(r"</?\s*[a-zA-Z]*\s*\Z")
# A "<" that begins no markup: before a sign, or before a blank and a whole word.
_NO_TAG: Final = re.compile(rf"<(?:[^\w!?/|\\\s\uff5c<]|[ \t]+(?:({NAME})(?=[^\w.\-:])|[^\w/\\\s]))")
_CDATA: Final = "<![CDATA["


class _State(Enum):
    PROSE = auto()  # before the first item
    THOUGHT = auto()  # in a thought
    BETWEEN = auto()  # after an item
    ITEM = auto()  # in <send>
    CDATA = auto()  # in a CDATA section in <send>
    OVER = auto()  # nothing more early


@final
class EarlyReader:
    """Reads one answer as it streams. Belongs to one call."""

    def __init__(self, parser: Parser, shapes: Shapes) -> None:
        self._parser, self._shapes, self._marks = parser, shapes, Marks(shapes)
        self._pieces: list[str] = []
        self._length = self._markup = 0
        self._most = parser.limits.max_model_bytes
        self._state = _State.PROSE
        self._window = ""  # what was not yet understood
        self._here = 0  # up to here it was, by now
        self._at = 0  # the same place, in the whole text
        self._kept: list[str] = []  # the item up to the window
        self._depth = 0
        self._thought = _THOUGHT  # what ends the thought it is in
        clear = all(self._marks.kind(word) is Kind.THOUGHT for word in THOUGHTS)
        if not clear or self._marks.kind("send") is not Kind.FRAME:
            self._state = _State.OVER  # a payload has one of our words for a name
        self.consumed = 0
        """Where the last item that was given out ends in ``text``; 0 before the first."""

    @property
    def text(self) -> str:
        """All that has come. Joined when it is asked for."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def feed(self, piece: str) -> list[AnswerPart]:
        """Take the next piece; the parts that it completes, in order. Never a checkpoint."""
        self._pieces.append(piece)
        if self._state is _State.OVER:
            return []
        self._markup += piece.count("<")
        if self._markup > self._parser.limits.max_markup:
            self._over()
            return []
        room = self._most - self._length
        self._length += len(piece)
        bad = first_bad_char(piece)
        self._window = self._window[self._here :] + piece[:room][:bad]
        self._here = 0
        given: list[AnswerPart] = []
        while self._step(given):
            pass
        if bad is not None or self._length > self._most:  # the whole is refused
            self._over()
        return given

    def _step(self, given: list[AnswerPart]) -> bool:
        """One step; False where it needs more text."""
        match self._state:
            case _State.PROSE:
                return self._prose()
            case _State.THOUGHT:
                return self._in_thought()
            case _State.BETWEEN:
                return self._between()
            case _State.ITEM:
                return self._item(given)
            case _State.CDATA:
                return self._cdata()
            case _State.OVER:
                return False

    def _prose(self) -> bool:
        if not self._drop_to("<"):
            return False
        window, here = self._window, self._here
        if _SEND.match(window, here):
            return self._first()
        thought = _THOUGHT.match(window, here)
        if thought is not None:
            if not thought[1]:
                closing = rf"</\s*{thought[2]}\s*>"
                self._thought, self._state = re.compile(closing, re.IGNORECASE), _State.THOUGHT
            self._drop(thought.end() - here)
            return True
        text = _NO_TAG.match(window, here)
        if text is not None and not (text[1] and self._marks.is_ours(text[1])):
            self._drop(1)
            return True
        if len(window) - here > _LONGEST_WORD or window.find(">", here) >= 0:
            self._over()
        return False

    def _in_thought(self) -> bool:
        closing = self._thought.search(self._window, self._here)
        if closing is not None:
            self._drop(closing.end() - self._here)
            self._state = _State.PROSE
            return True
        last = self._window.rfind("<", self._here)
        if last < 0 or not _ALMOST.match(self._window, last):
            last = len(self._window)
        elif len(self._window) - last > _LONGEST_TAG:
            self._over()
            return False
        self._drop(last - self._here)
        return False

    def _first(self) -> bool:
        """The first item, if what stands before it lets it be one."""
        try:
            begun = before(f"{self.text[: self._at]}<send>", self._marks)
        except InvalidMessage:
            self._over()
            return False
        if begun.start != self._at or begun.fence is not None or begun.declaration:
            self._over()
            return False
        self._state = _State.ITEM
        return True

    def _between(self) -> bool:
        self._drop(gap_end(self._window, self._here) - self._here)
        left = self._window[self._here : self._here + 6]
        if len(left) < 6 and "<send ".startswith(left):
            return False
        if not _SEND.match(self._window, self._here):
            self._over()
            return False
        self._state = _State.ITEM
        return True

    def _item(self, given: list[AnswerPart]) -> bool:
        window = self._window
        at = window.find("<", self._here)
        if at < 0:
            self._keep(len(window))
            return False
        self._keep(at)
        if window.startswith(_CDATA, at):
            self._keep(at + len(_CDATA))
            self._state = _State.CDATA
            return True
        if window.startswith(("<!", "<?"), at) and not _CDATA.startswith(window[at : at + len(_CDATA)]):
            self._over()  # a comment: the final reading knows what it means
            return False
        token = None if window.find(">", at) < 0 else TOKEN.match(window, at)
        if token is None or token["broken"] is not None or token.end() - at > _LONGEST_TAG:
            if len(window) - at > _LONGEST_TAG or window.find("<", at + 1) >= 0:
                self._over()
            return False
        self._keep(token.end())
        if token["end"]:
            self._depth -= 1
        elif not token["attributes"].endswith("/"):
            self._depth += 1
        if self._depth < 1:
            self._give(given)
        return self._state is not _State.OVER

    def _cdata(self) -> bool:
        at = self._window.find("]]>", self._here)
        if at < 0:
            self._keep(max(self._here, len(self._window) - 2))
            return False
        self._keep(at + 3)
        self._state = _State.ITEM
        return True

    def _give(self, given: list[AnswerPart]) -> None:
        text = "".join(self._kept)
        self._kept, self._depth = [], 0
        items = Items(self._parser, text, self._shapes, self._marks)
        try:
            whole = items.read(0) == len(text)
        except InvalidMessage:
            whole = False
        if not whole or items.mends:
            self._over()
            return
        given += (AnswerPart(item.element, Way.SEND, item.to) for item in items.found)
        self.consumed = self._at
        self._state = _State.BETWEEN

    def _drop(self, count: int) -> None:
        self._at += count
        self._here += count

    def _drop_to(self, wanted: str) -> bool:
        at = self._window.find(wanted, self._here)
        self._drop((len(self._window) if at < 0 else at) - self._here)
        return at >= 0

    def _keep(self, end: int) -> None:
        """The window up to there belongs to the item."""
        self._kept.append(self._window[self._here : end])
        self._drop(end - self._here)

    def _over(self) -> None:
        self._state, self._window, self._here, self._kept = _State.OVER, "", 0, []
