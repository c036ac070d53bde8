"""What stands around the payloads in a model's answer: prose, thoughts, fences, leaked tokens.

Decides where the run of items begins, and refuses what makes it unsure that they are the answer:
a wrapper, a quotation, a second payload, a fence that does not close. What a model thinks aloud
(``<think>``…) is prose, whatever it holds. Never reads an item. Raises ``InvalidMessage`` with one
fault. Called by ``answers`` and ``early``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NoReturn, final

from phloem.messages import HuhCode

from .diagnosis import NAME
from .gate import refuse
from .marks import CONTROL, Kind, Marks
from .mending import Mend
from .quoting import Fence, opened, refuse_quotation, unclosed
from .text import line_column, quoted

__all__ = ["GAP", "Before", "after", "before", "gap_end"]

GAP: Final = "\ufeff\u200b"  # what shows as nothing and is no white space; may stand between items
_GAP: Final = re.compile(rf"[\s{GAP}]*")
_SPOT: Final = re.compile(rf"<(?P<odd>[\s/\\]*)(?P<name>{NAME})|<[!?/]")
_TAG: Final = re.compile(
    rf"""</?{NAME}(?P<attributes>(?:\s+{NAME}\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(?P<empty>/?)>"""
)
_DECLARATION: Final = re.compile(r"<\?xml\s[^<>?]*\?>")
_VOID: Final = frozenset({"br", "hr"})


@final
@dataclass(slots=True)
class Before:
    """What stands before the first item, and where that begins (None: there is none)."""

    start: int | None = None
    clean: str = ""  # the prose without thoughts and tokens
    fence: Fence | None = None  # left open: it is the one around the items
    declaration: str = ""
    unknown: str = ""  # the first tag that means nothing to us
    mends: list[Mend] = field(default_factory=list[Mend])


def gap_end(text: str, at: int) -> int:
    """Where white space from ``at`` ends."""
    found = _GAP.match(text, at)
    return found.end() if found else at


def before(text: str, marks: Marks) -> Before:
    """Find the first item. Raises ``InvalidMessage`` for what may not stand before it."""
    walk = _Walk(text, marks, 0)
    found = Before(walk.to_item())
    found.clean, found.mends = walk.clean()
    found.unknown = walk.unknown
    if found.start is None:
        return found
    if walk.open:
        refuse(
            HuhCode.STRAY_TEXT,
            line_column(text, found.start),
            f"<{walk.open[-1]}> around the payload or before it, never closed",
            "the payload by itself",
        )
    found.declaration = walk.declaration
    found.fence = opened(text, found.start, found.clean)
    refuse_quotation(text, found.start, found.clean, found.fence)
    return found


def after(text: str, at: int, marks: Marks, begun: Before) -> str:
    """The prose after the last item, which ends at ``at``. Its mends join those of ``begun``."""
    walk = _Walk(text, marks, at)
    walk.to_end()
    clean, mends = walk.clean()
    begun.mends += mends
    if begun.fence is not None:
        clean = begun.fence.closed(text, clean)
        begun.mends.append(Mend(begun.fence.what, "/", quoted(begun.fence.opening), "nothing"))
    elif unclosed(clean):
        found = "a code fence without its other end"
        refuse(HuhCode.TRUNCATED, line_column(text, len(text)), found, "the whole output")
    if re.match(r"[ \t]*(?:[\"'\u201c\u201d\u2018\u2019\u00bb\u203a)\]}`]|\\[nrt\"'/]|[a-z])", clean):
        _quotation(text, at, clean)
    return clean


def _quotation(text: str, at: int, clean: str) -> NoReturn:
    found = f"{quoted(clean.strip())} right after the payload, as within a sentence or a quotation"
    refuse(HuhCode.STRAY_TEXT, line_column(text, at), found, "the payload by itself, on lines of its own")


@final
class _Walk:
    """One walk along prose, from one ``<`` to the next."""

    def __init__(self, text: str, marks: Marks, at: int) -> None:
        self._text, self._marks, self._at = text, marks, at
        self._kept = at  # prose from here is not yet in _pieces
        self._pieces: list[str] = []
        self._behind = at > 0  # the items: what comes now may be none
        self.open: list[str] = []
        self.unknown = ""
        self.declaration = ""

    def to_item(self) -> int | None:
        """Where the first item begins."""
        while (found := self._next()) is not None:
            at, name = found
            if name and self._marks.kind(name) in (Kind.PAYLOAD, Kind.FRAME, Kind.ENVELOPE):
                self._keep(at)
                blank = self._text[self._at : at].strip() if self.declaration else ""
                if blank:
                    self._fault(
                        HuhCode.STRAY_TEXT, at, quoted(self.declaration), "no XML declaration in prose"
                    )
                return at
            self._pass(at, name)
        self._end()
        return None

    def to_end(self) -> None:
        """Refuse whatever is not prose."""
        self._behind = True
        while (found := self._next()) is not None:
            at, name = found
            if name and self._marks.is_ours(name):
                found_text = (
                    f"{quoted(self._text[at : at + 60])} after the answer, with prose or a token between"
                )
                self._fault(
                    HuhCode.AMBIGUOUS_PAYLOAD, at, found_text, "one run of payloads, and prose only around it"
                )
            self._pass(at, name)
        self._end()
        if self.open:
            expected = f"</{self.open[-1]}>, or no tags in prose"
            self._fault(HuhCode.STRAY_TEXT, len(self._text), f"<{self.open[-1]}> left open", expected)

    def clean(self) -> tuple[str, list[Mend]]:
        """The prose itself, and the tokens that were dropped from it."""
        text = "".join(self._pieces)
        tokens = list(dict.fromkeys(CONTROL.findall(text)))
        mends = [Mend("control-token", "/", quoted(token), "nothing") for token in tokens]
        return (CONTROL.sub("\n", text) if tokens else text), mends

    # -- steps -----------------------------------------------------------------------------
    def _next(self) -> tuple[int, str] | None:
        """The next ``<`` that may be markup, and the name of the start tag it begins, if it is one."""
        text = self._text
        while (spot := _SPOT.search(text, self._at)) is not None:
            name = spot["name"] or ""
            token = CONTROL.match(text, spot.start())
            if token is not None and not (name and self._marks.is_ours(name)):
                self._at = token.end()
                continue
            if not name:
                return spot.start(), ""
            if not spot["odd"]:
                return spot.start(), name
            self._odd(spot)
        return None

    def _odd(self, spot: re.Match[str]) -> None:
        """An end tag, or what has white space or a slash where none may be."""
        text, name, at = self._text, spot["name"], spot.start()
        kind = self._marks.kind(name)
        if kind is Kind.OTHER:
            self._at = spot.end()
            ends = spot["odd"] == "/" and _TAG.match(text, at) is not None
            if ends and (not self.open or self.open.pop() != name):
                found = f"{quoted(f'</{name}>')} that ends nothing"
                self._fault(HuhCode.STRAY_TEXT, at, found, "no tags beside the payloads")
            return
        tag = _TAG.match(text, at)
        if kind is Kind.THOUGHT and spot["odd"] == "/" and tag is not None and not self._behind:
            # Templates open a thought before the model speaks: all it wrote so far was one.
            self._pieces, self._kept, self._at = [], tag.end(), tag.end()
            self.open, self.unknown, self.declaration = [], "", ""
            return
        if tag is None and ">" not in text[at:]:
            self._cut(at)
        code = HuhCode.MISMATCHED_END_TAG if spot["odd"] == "/" else HuhCode.AMBIGUOUS_PAYLOAD
        self._fault(code, at, f"{quoted(text[at : at + 60])} outside of any payload", "no such tag in prose")

    def _pass(self, at: int, name: str) -> None:
        """Go over a tag or a section that is no item."""
        text = self._text
        if not name:
            self._section(at)
            return
        kind = self._marks.kind(name)
        if kind is Kind.UNCLEAR:
            expected = f"{self._marks.wanted()}, spelled exactly so"
            self._fault(
                HuhCode.AMBIGUOUS_PAYLOAD, at, f"<{name}>, which could be more than one thing", expected
            )
        if kind is Kind.THOUGHT:
            self._thought(at, name)
            return
        tag = _TAG.match(text, at)
        self._at = at + 1
        if tag is None or (
            at and not tag["attributes"] and (text[at - 1].isalnum() or text[at - 1] in "_:<")
        ):
            return  # text, such as generics
        self.unknown = self.unknown or name
        self._at = tag.end()
        if not tag["empty"] and name not in _VOID:
            self.open.append(name)

    def _thought(self, at: int, name: str) -> None:
        text = self._text
        tag = re.compile(r"[^<>]*>").match(text, at + 1)
        if tag is None:
            self._cut(at)
        end = tag.end()
        if not tag[0].endswith("/>"):
            closing = re.compile(rf"</\s*{re.escape(name)}\s*>", re.IGNORECASE).search(text, end)
            if closing is None:
                expected = f"</{name}>, then the answer"
                self._fault(HuhCode.TRUNCATED, len(text), f"the end of the output within <{name}>", expected)
            end = closing.end()
        self._keep(at)
        self._kept = self._at = end

    def _section(self, at: int) -> None:
        text = self._text
        self._at = at + 2
        if text[at : at + 9].upper() == "<!DOCTYPE":
            self._fault(HuhCode.DTD_REFUSED, at, "a document type declaration", "none; DTDs are refused")
        declaration = _DECLARATION.match(text, at)
        if declaration is not None and not self.declaration and not self._behind:
            self._keep(at)
            self.declaration = declaration[0]
            self._kept = self._at = declaration.end()
        elif text[at + 2 : at + 3].isalpha() or text.startswith(("<!--", "<![", "<?"), at):
            found = f"{quoted(text[at : at + 60])} beside the payloads"
            self._fault(HuhCode.STRAY_TEXT, at, found, "nothing but prose around them")

    def _end(self) -> None:
        """The end of the text: it may stand in the middle of a tag."""
        text = self._text
        last = text.rfind("<", self._kept)
        if last >= 0 and re.compile(rf"<[!?/]?\Z|</?{NAME}[^<>]*\Z").match(text, last):
            self._cut(last)
        self._keep(len(text))

    def _keep(self, end: int) -> None:
        self._pieces.append(self._text[self._kept : end])
        self._kept = end

    def _cut(self, at: int) -> NoReturn:
        found = f"the end of the output after {quoted(self._text[at:])}"
        self._fault(HuhCode.TRUNCATED, len(self._text), found, "the whole output")

    def _fault(self, code: HuhCode, at: int, found: str, expected: str) -> NoReturn:
        refuse(code, line_column(self._text, at), found, expected)
