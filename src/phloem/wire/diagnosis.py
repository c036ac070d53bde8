"""Why a document is not well-formed, in the words and codes of a ``Huh``.

Decides the one fault that is told once the parser has refused: the parser's own message
names a position, ours also names the element that is open there and what would have been
right. Never accepts anything, never mends: it runs only after a refusal. Called by ``parsing``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from lxml import etree

from phloem.messages import Fault, HuhCode

from .text import WHITE, first_bad_char, line_column, path_of, quoted

__all__ = ["NAME", "TOKEN", "diagnose", "unreadable"]

NAME: Final = r"[^\W\d][\w.\-:]*+"
# One piece of markup. An alternative that misses its end takes all the rest, so that no byte is
# looked at twice however many beginnings there are.
TOKEN: Final = re.compile(
    rf"""
      <!--(?P<comment>.*?-->|.*)
    | <!\[CDATA\[(?P<cdata>.*?\]\]>|.*)
    | <\?(?P<instruction>.*?\?>|.*)
    | </(?P<end>{NAME})[ \t\r\n]*>
    | <(?P<start>{NAME})(?P<attributes>(?:[^<>"']++|"[^<"]*"|'[^<']*')*)>
    | <(?P<broken>[^<>]*)
    """,
    re.VERBOSE | re.DOTALL,
)
_ATTRIBUTES: Final = re.compile(
    rf"""(?:[ \t\r\n]+{NAME}[ \t\r\n]*=[ \t\r\n]*(?:"[^"]*"|'[^']*'))*[ \t\r\n]*/?"""
)
_ATTRIBUTE_NAME: Final = re.compile(rf"({NAME})[ \t\r\n]*=[ \t\r\n]*(?:\"[^\"]*\"|'[^']*')")
_BARE_AMPERSAND: Final = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9a-fA-F]+);)")
_CHARACTER: Final = re.compile(r"&#(?:([0-9]+)|x([0-9a-fA-F]+));")
_CLOSED_BY: Final = {"comment": "-->", "cdata": "]]>", "instruction": "?>"}

# What only the parser can know; everything else was found by reading along.
_BY_LIBXML2: Final[Mapping[Any, tuple[HuhCode, str]]] = {
    etree.ErrorTypes.NS_ERR_UNDEFINED_NAMESPACE: (HuhCode.UNEXPECTED_ELEMENT, "a name without a prefix"),
    etree.ErrorTypes.ERR_NAME_TOO_LONG: (HuhCode.TOO_LARGE, "a shorter name"),
    etree.ErrorTypes.ERR_INTERNAL_ERROR: (HuhCode.TOO_LARGE, "a smaller document"),
    etree.ErrorTypes.ERR_RESOURCE_LIMIT: (HuhCode.TOO_LARGE, "a smaller document"),
}


def diagnose(raw: bytes, error: etree.LxmlError, *, max_depth: int, many_roots: bool = False) -> Fault:
    """The first thing wrong with a document that lxml refused."""
    return (
        unreadable(raw)
        or _Reading(raw.decode("utf-8-sig"), max_depth, many_roots).fault()
        or _from_libxml2(error)
    )


def unreadable(raw: bytes) -> Fault | None:
    """What is wrong with the characters themselves: not UTF-8, or not XML's."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        before = raw[: wrong.start].decode("utf-8-sig", "replace")
        found = f"the byte 0x{raw[wrong.start]:02X}"
        return Fault(HuhCode.BAD_CHAR, line_column(before, len(before)), found, "UTF-8")
    bad = first_bad_char(text)
    if bad is None:
        return None
    found = f"the control character U+{ord(text[bad]):04X}"
    return Fault(HuhCode.BAD_CHAR, line_column(text, bad), found, "characters of XML")


def _from_libxml2(error: etree.LxmlError) -> Fault:
    code, expected = _BY_LIBXML2.get(
        getattr(error, "code", None) or 0, (HuhCode.STRAY_TEXT, "well-formed XML")
    )
    line, column = getattr(error, "position", (1, 1))
    message = str(error).partition(", line ")[0]
    return Fault(code, f"line {line}, column {column}", quoted(message), expected)


class _Reading:
    """One walk along the text with the names of the open elements."""

    def __init__(self, text: str, max_depth: int, many_roots: bool) -> None:
        self.text, self.max_depth, self.many_roots = text, max_depth, many_roots
        self.open: list[str] = []
        self.closed_root = ""

    def fault(self) -> Fault | None:
        text = self.text
        at = 0
        for token in TOKEN.finditer(text):
            wrong = self._text(at, token.start()) or self._markup(token)
            if wrong is not None:
                return wrong
            at = token.end()
        return self._text(at, len(text)) or self._end()

    def _fault(self, code: HuhCode, at: int, found: str, expected: str) -> Fault:
        inside = f" in {path_of(self.open)}" if self.open else ""
        return Fault(code, line_column(self.text, at), found + inside, expected)

    def _text(self, start: int, end: int) -> Fault | None:
        if start == end:
            return None
        piece = self.text[start:end]
        if not self.open:
            bare = piece.strip(WHITE)
            if not bare:
                return None
            where = f"after </{self.closed_root}>" if self.closed_root else "before the root element"
            at = start + piece.index(bare[0])
            return self._fault(HuhCode.STRAY_TEXT, at, f"{quoted(bare)} {where}", "nothing but elements")
        if "]]>" in piece:
            at = start + piece.index("]]>")
            return self._fault(HuhCode.BAD_CHAR, at, "']]>' in text", "']]&gt;'")
        return self._references(piece, start)

    def _references(self, piece: str, start: int) -> Fault | None:
        if "&" not in piece:
            return None
        bare = _BARE_AMPERSAND.search(piece)
        if bare is not None:
            found = quoted(piece[bare.start() : bare.start() + 20])
            return self._fault(HuhCode.BAD_CHAR, start + bare.start(), f"{found} in text", "'&amp;' for '&'")
        for reference in _CHARACTER.finditer(piece):
            digits = (reference[1] or reference[2]).lstrip("0")
            code = int(digits or "0", 10 if reference[1] else 16) if len(digits) < 9 else 0x110000
            if code > 0x10FFFF or first_bad_char(chr(code)) is not None:
                at = start + reference.start()
                found = f"a reference to a forbidden character, {quoted(reference[0])}"
                return self._fault(HuhCode.BAD_CHAR, at, found, "characters of XML")
        return None

    def _markup(self, token: re.Match[str]) -> Fault | None:
        kind, at = token.lastgroup or "", token.start()
        if kind == "attributes":  # the last group of a start tag
            return self._start(token)
        if kind == "end":
            return self._close(token["end"], at)
        if kind in _CLOSED_BY and not token[0].endswith(_CLOSED_BY[kind]):
            return self._cut(at)
        if kind == "cdata" and not self.open:
            return self._fault(HuhCode.STRAY_TEXT, at, "a CDATA section", "one root element")
        if kind == "broken":
            if token.end() == len(self.text):
                return self._cut(at)
            if token[0][:9].upper() == "<!DOCTYPE":
                return self._fault(
                    HuhCode.DTD_REFUSED, at, "a document type declaration", "none; DTDs are refused"
                )
            found = quoted(token[0])
            if "=" in token[0] and re.match(rf"<{NAME}[ \t\r\n]", token[0]):
                return self._fault(HuhCode.ATTRIBUTE, at, found, "attributes as name=\"value\", without '<'")
            return self._fault(HuhCode.BAD_CHAR, at, f"{found} that is no tag", "'&lt;' for '<' in text")
        return None

    def _cut(self, at: int) -> Fault:
        found = f"the end of the input after {quoted(self.text[at : at + 400])}"
        return self._fault(HuhCode.TRUNCATED, at, found, "a whole document")

    def _start(self, token: re.Match[str]) -> Fault | None:
        name, attributes, at = token["start"], token["attributes"], token.start()
        if not self.open and self.closed_root and not self.many_roots:
            found = f"{quoted(f'<{name}>')} after </{self.closed_root}>"
            return self._fault(HuhCode.STRAY_TEXT, at, found, "one root element")
        if attributes and attributes != "/":
            if not _ATTRIBUTES.fullmatch(attributes):
                if "=" in attributes:
                    return self._fault(HuhCode.ATTRIBUTE, at, quoted(token[0]), 'attributes as name="value"')
                return self._fault(
                    HuhCode.BAD_CHAR, at, f"{quoted(token[0])} that is no tag", "'&lt;' for '<' in text"
                )
            names = _ATTRIBUTE_NAME.findall(attributes)
            if len(set(names)) < len(names):
                return self._fault(
                    HuhCode.ATTRIBUTE, at, f"an attribute twice in {quoted(token[0])}", "each once"
                )
            wrong = self._references(attributes, token.start("attributes"))
            if wrong is not None:
                return wrong
        if attributes.endswith("/"):
            self.closed_root = self.closed_root if self.open else name
            return None
        self.open.append(name)
        if len(self.open) > self.max_depth:
            found = f"more than {self.max_depth:,} elements within one another"
            return Fault(HuhCode.TOO_LARGE, line_column(self.text, at), found, f"at most {self.max_depth:,}")
        return None

    def _close(self, name: str, at: int) -> Fault | None:
        if not self.open:
            return self._fault(HuhCode.MISMATCHED_END_TAG, at, quoted(f"</{name}>"), "an element it ends")
        if name == self.open[-1]:
            self.open.pop()
            self.closed_root = self.closed_root if self.open else name
            return None
        expected = f"</{self.open[-1]}>"
        code = HuhCode.MISSING_END_TAG if name in self.open else HuhCode.MISMATCHED_END_TAG
        return self._fault(code, at, quoted(f"</{name}>"), quoted(expected))

    def _end(self) -> Fault | None:
        if not self.open:
            return None
        expected = quoted(f"</{self.open[-1]}>")
        return self._fault(HuhCode.TRUNCATED, len(self.text), "the end of the input", expected)
