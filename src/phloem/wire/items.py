"""The items of a model's answer: payloads, bare or framed, envelopes, and ``<wait/>``.

Decides where each ends and whose payloads they are. A payload that is strict is taken as it
stands; any other is mended along its contract by ``mending``, or refused. From, to and thread of
an envelope that a model made up are never read. Raises ``InvalidMessage``. Called by ``answers``
and ``early``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn, final

from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode

from .around import gap_end
from .diagnosis import NAME, TOKEN
from .fitting import check_fit, drop_namespace
from .gate import refuse
from .leaves import Doubt, refuse_hidden
from .marks import Kind, Marks
from .mending import END, START, Mend, Mender, NoReading
from .parsing import Element, Parser, canonical
from .repair import fit_root
from .shapes import Shapes
from .text import line_column, path_of, quoted

__all__ = ["Item", "Items"]

_NAME: Final = re.compile(rf"<({NAME})")
_ANY_NAME: Final = re.compile(rf"</?({NAME})")
_META_END: Final = re.compile(rf"</(?:{NAME}:)?meta\s*>", re.IGNORECASE)
# <send to=“peer”> and <send to=peer>: a name of letters can be read in one way only
_LOOSE_TO: Final = re.compile(
    r"<send\s+to\s*=\s*(?:[\u201c\u201d\u201e](?P<curly>[\w.\-]+)[\u201c\u201d]"
    r"|(?P<bare>[\w.\-]+))\s*>",
    re.IGNORECASE,
)


@final
@dataclass(frozen=True, slots=True)
class Item:
    """One payload. ``frame``: send, respond, or empty for a bare one; ``begin``: where its item begins."""

    element: Element
    frame: str
    to: str | None
    begin: int


@final
class Items:
    """Reads items out of one text, one after the other. What it found so far is in its attributes."""

    def __init__(self, parser: Parser, text: str, shapes: Shapes, marks: Marks) -> None:
        self._parser, self._text, self._shapes, self._marks = parser, text, shapes, marks
        self._begin = 0
        self.found: list[Item] = []
        self.mends: list[Mend] = []
        self.frames: list[str] = []  # one word for each item, in order

    def begins(self, at: int) -> bool:
        """Whether an item begins right there."""
        name = _NAME.match(self._text, at)
        return name is not None and self._marks.kind(name[1]) in (Kind.PAYLOAD, Kind.FRAME, Kind.ENVELOPE)

    def read(self, at: int) -> int:
        """Read the item that begins at ``at``. Its end."""
        name = _NAME.match(self._text, at)
        if name is None:
            raise ValueError(f"no item begins at {at}")
        self._begin = at
        kind = self._marks.kind(name[1])
        if kind is Kind.FRAME:
            return self._frame(at, name[1])
        if kind is Kind.ENVELOPE:
            self.frames.append("")
            return self._envelope(at, name[1])
        self.frames.append("")
        return self._payload(at, "", None)

    # -- frames ----------------------------------------------------------------------------
    def _frame(self, at: int, name: str) -> int:
        word = name.casefold()
        if ":" in name:
            self._fault(
                HuhCode.UNEXPECTED_ELEMENT, at, f"<{name}>", f"<{word.rpartition(':')[2]}>, no prefix"
            )
        self.frames.append(word)
        if name != word:
            self.mends.append(Mend("tag-case", f"/{word}", quoted(name), quoted(word)))
        to, end, empty = self._start(at, word)
        if word == "wait":
            return (
                end if empty else self._ended(gap_end(self._text, end), word, "<wait/>, with nothing inside")
            )
        before = len(self.found)
        while not empty:
            end = gap_end(self._text, end)
            if self._is_payload(end):
                end = self._payload(end, word, to)
            else:
                end = self._ended(end, word, f"{self._marks.wanted()}, then </{word}>")
                break
        if len(self.found) == before:
            refuse(HuhCode.NO_PAYLOAD, f"/{word}", "nothing inside", self._marks.wanted())
        return end

    def _start(self, at: int, word: str) -> tuple[str | None, int, bool]:
        """(to, the end of the start tag, whether it ends the frame too)."""
        text = self._text
        loose = _LOOSE_TO.match(text, at) if word == "send" else None
        if loose is not None:
            to = loose["curly"] or loose["bare"]
            self.mends.append(Mend("quotes", "/send", quoted(loose[0]), quoted(f'<send to="{to}">')))
            return to, loose.end(), False
        start = START.match(text, at)
        if start is None:
            raise self._told(at, f"<{word}>")
        attributes = dict(self._parsed(f"<x{start[2]}/>", at).attrib)
        wanted = 'to="the name of a peer" and nothing else' if word == "send" else "no attributes"
        to = attributes.pop("to", None) if word == "send" else None
        if attributes or (word == "send" and not (to or "").strip()) or "xmlns" in start[2]:
            found = quoted(start[0]) if start[2].strip() else f"<{word}> alone"
            refuse(HuhCode.ATTRIBUTE, f"/{word}", found, wanted)
        return (None if to is None else str(to)), start.end(), bool(start[3])

    def _ended(self, at: int, word: str, expected: str) -> int:
        """The end of the end tag that must stand there."""
        text, path = self._text, f"/{word}"
        end = END.match(text, at)
        if end is not None and end[1].casefold() == word.casefold():
            if end[1] != word:
                self.mends.append(Mend("tag-case", path, quoted(end[1]), quoted(word)))
            return end.end()
        if end is not None:
            refuse(HuhCode.MISMATCHED_END_TAG, path, quoted(f"</{end[1]}>"), expected)
        shown = quoted(text[at : at + 400])
        if at == len(text) or (text[at] == "<" and ">" not in text[at:]):
            refuse(HuhCode.TRUNCATED, path, f"the end of the output after {shown}", expected)
        name = _NAME.match(text, at)
        if name is None:
            refuse(HuhCode.STRAY_TEXT, path, shown, expected)
        code = (
            HuhCode.UNEXPECTED_ELEMENT
            if self._marks.kind(name[1]) is Kind.OTHER
            else HuhCode.AMBIGUOUS_PAYLOAD
        )
        inner = name[1][:60]
        raise InvalidMessage([Fault(code, f"{path}/{inner}", f"<{inner}> inside", expected)])

    def _is_payload(self, at: int) -> bool:
        name = _NAME.match(self._text, at)
        return name is not None and self._marks.kind(name[1]) is Kind.PAYLOAD

    # -- envelopes -------------------------------------------------------------------------
    def _envelope(self, at: int, name: str) -> int:
        text = self._text
        start = START.match(text, at)
        if start is None:
            raise self._told(at, "<message>")
        if start[3]:
            refuse(HuhCode.NO_PAYLOAD, "/message", "nothing inside", self._marks.wanted())
        shown, before = f"{quoted(start[0])} and its <meta>", len(self.found)
        end = gap_end(text, self._meta_end(gap_end(text, start.end())))
        while self._is_payload(end):
            end = gap_end(text, self._payload(end, "", None))
        if len(self.found) == before and text.startswith("</", end):
            refuse(HuhCode.NO_PAYLOAD, "/message", "no payload inside", self._marks.wanted())
        end = self._ended(end, name, f"{self._marks.wanted()}, best without any <message>")
        self.mends.append(Mend("envelope", "/message", shown, "its payloads, bare"))
        return end

    def _meta_end(self, at: int) -> int:
        """Where a ``<meta>`` that begins at ``at`` ends; nothing in it is read."""
        text = self._text
        meta = START.match(text, at)
        if meta is None or meta[1].rpartition(":")[2].casefold() != "meta":
            return at
        if meta[3]:
            return meta.end()
        closing = _META_END.search(text, meta.end())
        inside = text[meta.end() : len(text) if closing is None else closing.start()]
        ours = [one[1] for one in _ANY_NAME.finditer(inside) if self._marks.is_ours(one[1])]
        if closing is None or ours or self._marks.is_ours(meta[1]):
            found = f"<{ours[0]}> within <meta>" if ours else "a <meta> that is not closed"
            refuse(
                HuhCode.ENVELOPE, "/message/meta", found, "the payloads alone, without <message> and <meta>"
            )
        return closing.end()

    # -- payloads --------------------------------------------------------------------------
    def _payload(self, at: int, frame: str, to: str | None) -> int:
        element, end = self._strict(at) or self._mended(at)
        drop_namespace(element, self._marks, self.mends)
        fit_root(element, self._shapes, self.mends)
        check_fit(element, self._shapes)
        if "xmlns" in self._text[at:end]:
            canonical(element)  # some namespaces have no canonical form, even unused
        self.found.append(Item(element, frame, to, self._begin))
        return end

    def _strict(self, at: int) -> tuple[Element, int] | None:
        """The payload as it stands, and its end; None where it is not strict."""
        text = self._text
        open_: list[
            tuple[str, int]
        ] = []  # a name, and where its text begins; -1 once there is an element in it
        hidden: tuple[Doubt, list[str]] | None = None
        for token in TOKEN.finditer(text, at):
            if token["broken"] is not None:
                return None
            if token["start"]:
                if open_:
                    open_[-1] = (open_[-1][0], -1)
                if not token["attributes"].endswith("/"):
                    open_.append((token["start"], token.end()))
            elif token["end"]:
                if not open_ or open_[-1][0] != token["end"]:
                    return None
                if open_[-1][1] >= 0 and hidden is None:
                    try:
                        refuse_hidden(text[open_[-1][1] : token.start()])
                    except Doubt as doubt:
                        hidden = doubt, [name for name, _ in open_]
                open_.pop()
            if not open_:
                try:
                    element = self._parser.parse(text[at : token.end()], limit=self._limit)
                except InvalidMessage:
                    return None
                if hidden is not None:
                    why, names = hidden
                    found = f"{quoted(why.found)} ({why.why})"
                    expected = "text without it, or in <![CDATA[…]]> if it is meant"
                    refuse(HuhCode.AMBIGUOUS_PAYLOAD, path_of(names), found, expected)
                return element, token.end()
        return None

    def _mended(self, at: int) -> tuple[Element, int]:
        mender = Mender(self._parser, self._text, self._shapes, answer=True)
        try:
            end = mender.payload(at)
        except NoReading as reason:
            if reason.fault is None:
                raise self._told(at, "the payload") from None
            raise InvalidMessage([reason.fault]) from None
        if not mender.mends:  # what is not strict is still there, or went without a record: neither may pass
            raise self._told(at, "the payload")
        try:
            element = self._parser.parse("".join(mender.written), limit=self._limit)
        except InvalidMessage:
            raise self._told(at, "the payload") from None
        self.mends += mender.mends
        return element, end

    # -- faults ----------------------------------------------------------------------------
    @property
    def _limit(self) -> int:
        return 5 * self._parser.limits.max_model_bytes + 1_000  # a "<" alone mends into four bytes

    def _parsed(self, text: str, at: int) -> Element:
        try:
            return self._parser.parse(text, limit=self._limit)
        except InvalidMessage:
            raise self._told(at, "a tag") from None

    def _told(self, at: int, what: str) -> InvalidMessage:
        """What the parser says against the text from ``at`` on, at its place in the whole of it."""
        text = self._text
        line, column = text.count("\n", 0, at), at - text.rfind("\n", 0, at) - 1
        padded = "\n" * line + " " * column + text[at:]
        try:
            self._parser.parse(padded, limit=self._limit + len(padded))
        except InvalidMessage as error:
            return error
        found, expected = quoted(text[at : at + 60]), f"{what}, well-formed"
        return InvalidMessage([Fault(HuhCode.STRAY_TEXT, line_column(text, at), found, expected)])

    def _fault(self, code: HuhCode, at: int, found: str, expected: str) -> NoReturn:
        refuse(code, line_column(self._text, at), found, expected)
