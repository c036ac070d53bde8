"""Where the one payload begins in what a model wrote around it.

Decides what is prose: text without anything that looks like a tag. A tag outside the payload
could mean anything (``<example>``, a second call, a draft), so it is refused, as is a fence
that was opened and never closed: that output was cut. Never touches the payload. From
strangers nothing stands around the root. Called by ``repair``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from phloem.messages import Fault, HuhCode

from .diagnosis import NAME
from .envelope import NAMESPACE
from .mending import Mend, NoReading
from .text import WHITE, line_column, quoted

__all__ = ["Extract", "extract"]

_TAG: Final = re.compile(rf"<({NAME})(?=[\s/>])([^<>]*)")
_TAG_LIKE: Final = re.compile(rf"<(?:[!?/]|{NAME}[\s/>])")
_DECLARATION: Final = re.compile(r"(<\?xml\s[^<>?]*\?>)\s*\Z")
_STRANGER: Final = re.compile(r"(<\?xml\s[^<>?]*\?>)?[ \t\r\n]*+(?=<[^!?/])")
_FENCE: Final = "```"
_OPENING: Final = re.compile(r"```[\w.+-]*\s*\Z")
_CLOSING: Final = re.compile(r"\s*```")


@final
@dataclass(frozen=True, slots=True)
class Extract:
    """The text, and where its one root begins."""

    text: str
    start: int
    before: str
    declaration: str  # stays before the root, so that the parser judges it again
    known: frozenset[str]
    from_model: bool

    def mends(self, end: int) -> list[Mend]:
        """What was taken away around the payload that ends at ``end``; refuses what is no prose."""
        after = self.text[end:]
        if not self.from_model:
            if after.strip(WHITE):
                raise NoReading  # the parser said stray-text, and is right
            return []
        self._refuse_tags(after, end)
        before = self.before
        fenced = before.count(_FENCE) % 2 == 1
        closed = after.count(_FENCE) % 2 == 1
        if fenced != closed:
            raise self._refusal(
                HuhCode.TRUNCATED, len(self.text), "a code fence without its other end", "the whole output"
            )
        mends: list[Mend] = []
        if fenced:
            opening, closing = _OPENING.search(before), _CLOSING.match(after)
            if opening is None or closing is None:
                raise self._refusal(
                    HuhCode.STRAY_TEXT,
                    self.start,
                    "a code fence around more than the payload",
                    "the payload alone",
                )
            before, after = before[: opening.start()], after[closing.end() :]
            mends.append(Mend("fence", "/", quoted(opening[0].strip()), "nothing"))
        if self.declaration and before and not before.strip():
            mends.append(Mend("prose", "/", quoted(before), "nothing"))
        for prose in (before.strip(), after.strip()):
            if prose:
                mends.append(Mend("prose", "/", quoted(prose), "nothing"))
        return mends

    def _refuse_tags(self, text: str, at: int) -> None:
        for tag in _TAG.finditer(text):
            if _is_root(tag, self.known):
                raise self._refusal(
                    HuhCode.AMBIGUOUS_PAYLOAD,
                    at + tag.start(),
                    f"a second payload, {quoted(tag[0])}",
                    "one payload",
                )
        _refuse_tag_like(self.text, at, len(self.text))

    def _refusal(self, code: HuhCode, at: int, found: str, expected: str) -> NoReading:
        return NoReading(Fault(code, line_column(self.text, at), found, expected))


def extract(text: str, tags: Iterable[str], *, from_model: bool) -> Extract:
    """Find the root. Raises ``NoReading`` where there is none, or something else before it."""
    names = sorted(tags)
    known = frozenset(name.casefold() for name in names)
    if not from_model:
        start = _STRANGER.match(text)
        if start is None:
            raise NoReading
        return Extract(text, start.end(), "", start[1] or "", known, from_model)
    root = next((tag for tag in _TAG.finditer(text) if _is_root(tag, known)), None)
    if root is None:
        raise NoReading(_nothing(text, names))
    before = text[: root.start()]
    declaration = _DECLARATION.search(before)
    if declaration is not None:
        before = before[: declaration.start()]
    _refuse_tag_like(text, 0, len(before))
    return Extract(text, root.start(), before, declaration[1] if declaration else "", known, from_model)


def _is_root(tag: re.Match[str], known: frozenset[str]) -> bool:
    name = tag[1]
    return name.casefold() in known or (name.rpartition(":")[2] == "message" and NAMESPACE in tag[2])


def _refuse_tag_like(text: str, start: int, end: int) -> None:
    tag = _TAG_LIKE.search(text, start, end)
    if tag is None:
        return
    where = line_column(text, tag.start())
    shown = quoted(text[tag.start() : end])
    if text[tag.start() : tag.start() + 9].upper() == "<!DOCTYPE":
        raise NoReading(Fault(HuhCode.DTD_REFUSED, where, shown, "no document type declaration"))
    raise NoReading(
        Fault(HuhCode.STRAY_TEXT, where, f"{shown} beside the payload", "one payload, and no other tag")
    )


def _nothing(text: str, names: list[str]) -> Fault:
    expected = "one of " + quoted(", ".join(f"<{name}>" for name in names), 200) if names else "a payload"
    last = text.rfind("<")
    if last >= 0 and ">" not in text[last:] and text[last + 1 : last + 2].isalpha():
        where, shown = line_column(text, len(text)), quoted(text[last:])
        return Fault(HuhCode.TRUNCATED, where, f"the end of the input after {shown}", expected)
    found = f"{quoted(text.strip())} and no payload" if text.strip() else "nothing"
    return Fault(HuhCode.NO_PAYLOAD, "/", found, expected)
