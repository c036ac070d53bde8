"""Fences, backticks and quotation marks around the payloads of a model's answer.

Decides which of them only dress the answer (one code fence around all of it, one pair of
backticks around everything) and which make a quotation of it: quotes, brackets, JSON, a call.
A quotation is refused, for what it escapes is not known. Raises ``InvalidMessage`` with one
fault. Called by ``around``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode

from .gate import refuse
from .text import line_column, quoted

__all__ = ["Fence", "opened", "refuse_quotation", "unclosed"]

_MARKER: Final = re.compile(r"`{3,}|~{3,}")
_LANGUAGE: Final = re.compile(r"[ \t]*[\w.+-]*\s*[\ufeff\u200b]?\s*\Z")
_CLOSING: Final = re.compile(r"\s*(`{3,}|~{3,})")
_TICKS: Final = re.compile(r"(?<!`)(`{1,2})[ \t]*\Z")
_BEFORE: Final = re.compile(
    r"[\"'\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u2039(\[{=\\][ \t]*\Z"  # right before, on its line
    r"|(?:'''|\"\"\")\s*\Z"  # a long string of code
    r"|[\w,][ \t]*\Z"  # a sentence that goes on: it speaks of the payload
    r"|(?:\\[nrt\"'/])+\s*\Z"  # an escape of JSON or code
    r"|^[ \t]*>[> \t]*\Z"  # a quoted line
    r"|[{,][ \t\r\n]*\"[^\"\n]{0,80}\"[ \t]*:[ \t]*\"[^\"]*\Z",  # a string of JSON, still open
    re.MULTILINE,
)
_JSON: Final = re.compile(r"\s*[\[{]\s*[\"'{\[]")


@final
@dataclass(frozen=True, slots=True)
class Fence:
    """What was opened right before the first item and must be closed right after the last."""

    opening: str
    marker: str

    @property
    def what(self) -> str:
        """The name of the mend."""
        return "fence" if len(self.marker) >= 3 else "backticks"

    def closed(self, text: str, after: str) -> str:
        """What stands after its other end. Raises ``InvalidMessage`` where that is not right there."""
        if self.what == "backticks":
            if after.strip() != self.marker:
                where, found = line_column(text, len(text)), "backticks around the payload and more beside it"
                refuse(HuhCode.STRAY_TEXT, where, found, "the payload alone, without backticks")
            return ""
        closing = _CLOSING.match(after)
        if closing is not None and closing[1][0] == self.marker[0] and len(closing[1]) >= len(self.marker):
            rest = after[closing.end() :]
            if not unclosed(rest):
                return rest
        where = line_column(text, len(text))
        if self.marker not in after:
            refuse(
                HuhCode.TRUNCATED, where, "a code fence that was opened and never closed", "the whole output"
            )
        found = "a code fence around more than the payloads"
        raise InvalidMessage([Fault(HuhCode.STRAY_TEXT, where, found, "the payloads alone")])


def opened(text: str, at: int, clean: str) -> Fence | None:
    """The fence (or the backticks) that stands open at the end of ``clean``, right before the item."""
    fence = unclosed(clean)
    if fence is not None:
        if not _LANGUAGE.match(clean, fence.end()):
            found = "a code fence around more than the payloads"
            refuse(HuhCode.STRAY_TEXT, line_column(text, at), found, "the payloads alone")
        return Fence(clean[fence.start() :].strip(), fence[0])
    ticks = _TICKS.search(clean[-80:])
    if ticks is None:
        return None
    if clean.strip() != ticks[1]:
        found = "a payload in backticks within prose, as one quotes it"
        refuse(HuhCode.STRAY_TEXT, line_column(text, at), found, "the payload by itself, on lines of its own")
    return Fence(ticks[1], ticks[1])


def unclosed(text: str) -> re.Match[str] | None:
    """The code fence that the text leaves open."""
    fence: re.Match[str] | None = None
    for marker in _MARKER.finditer(text):
        if fence is None:
            fence = marker
        elif marker[0][0] == fence[0][0] and len(marker[0]) >= len(fence[0]):
            fence = None
    return fence


def refuse_quotation(text: str, at: int, clean: str, fence: Fence | None) -> None:
    """Refuse an item that begins inside of quotes, brackets, JSON or code."""
    bare = clean if fence is None else clean.rstrip()[: -len(fence.opening)]
    quote = _BEFORE.search(bare[-2_000:]) if bare else None
    if quote is None and not _JSON.match(bare):
        return
    found = f"{quoted(bare[-40:].strip())} right before the payload, as within a sentence or a quotation"
    if _JSON.match(bare):
        found = f"{quoted(bare.strip())} around the payload, as JSON"
    refuse(HuhCode.STRAY_TEXT, line_column(text, at), found, "the payload by itself, on lines of its own")
