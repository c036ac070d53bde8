"""Reads a broken document along its contract and writes it again, strictly.

Decides where a leaf ends (at the first end tag of its name, if the contract allows what
follows) and how its text is escaped. A leaf that is well-formed by itself is copied as it
stands, so that mending one field never gives another a new meaning. Whatever is not in
the contract is copied or refused, never guessed. In a model's answer a leaf's text is what
``leaves`` makes of it. Raises ``NoReading``; called by ``repair`` and ``items``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html.entities import html5
from typing import Final, final

from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode

from .diagnosis import NAME, TOKEN
from .envelope import NAMESPACE
from .leaves import Doubt, made_of, refuse_hidden
from .parsing import Parser
from .shapes import Shape, Shapes
from .text import path_of, quoted

__all__ = ["END", "START", "Mend", "Mender", "NoReading"]

START: Final = re.compile(rf"""<({NAME})((?:[ \t\r\n]++(?:[^<>"'/]++|"[^<"]*"|'[^<']*')*)?)(/?)>""")
END: Final = re.compile(rf"</({NAME})[ \t\r\n]*>")
_BETWEEN: Final = re.compile(r"(?:[ \t\r\n]++|<!--.*?-->)*", re.DOTALL)
_LEAF_END: Final = re.compile(
    rf"<!\[CDATA\[(?:.*?\]\]>|.*)|<!--(?:.*?-->|.*)|</(?P<name>{NAME})[ \t\r\n]*>", re.DOTALL
)
_TAGGED: Final = re.compile(rf"</?({NAME})(?=[ \t\r\n/>])")
_PREFIXED: Final = re.compile(rf"</?[^\W\d][\w.\-]*:{NAME}")
_AMPERSAND: Final = re.compile(
    r"<!\[CDATA\[(?:.*?\]\]>|.*)|<!--(?:.*?-->|.*)|<\?(?:.*?\?>|.*)"
    r"|&(?P<reference>#(?:[0-9]+|[xX][0-9a-fA-F]+);|[a-zA-Z][a-zA-Z0-9]*;)?",
    re.DOTALL,
)
_XML_NAMES: Final = frozenset({"amp;", "lt;", "gt;", "quot;", "apos;"})


@final
@dataclass(frozen=True, slots=True)
class Mend:
    """One repair: ampersand, less-than, cdata-end, entity, tag-case, field-order, fence or prose.

    In a model's answer also: backticks, control-token, declaration, envelope, escaped, namespace, quotes.
    """

    what: str
    path: str
    found: str
    made: str


@final
class NoReading(Exception):
    """The text has no certain reading. Without a fault, the strict parser's own says it best."""

    def __init__(self, fault: Fault | None = None) -> None:
        super().__init__()
        self.fault = fault


@final
class Mender:
    """One walk through one document. ``written`` and ``mends`` are good if ``document`` returned.

    ``answer``: a model wrote it, so that a leaf's text is judged by ``leaves``.
    """

    def __init__(self, parser: Parser, text: str, shapes: Shapes, *, answer: bool = False) -> None:
        self._parser, self._text, self._shapes, self._answer = parser, text, shapes, answer
        self._open: list[Shape] = []
        self.written: list[str] = []
        self.mends: list[Mend] = []

    def document(self, at: int) -> int:
        """Read the root that begins at ``at``: an envelope or a payload. Its end."""
        root = self._match(START, at)
        prefix, _, name = root[1].rpartition(":")
        if name != "message" or NAMESPACE not in root[2] or root[3]:
            return self._element(at, None)
        return self._envelope(root, f"{prefix}:" if prefix else "")

    def payload(self, at: int) -> int:
        """Read the payload that begins at ``at``. Its end."""
        return self._element(at, None)

    def _envelope(self, root: re.Match[str], prefix: str) -> int:
        """Only payloads are mended; ``<meta>`` holds names, which are right or refused."""
        meta = self._match(START, self._between(root.end()))
        if meta[1] != f"{prefix}meta":
            raise NoReading
        closing = next((end for end in END.finditer(self._text, meta.end()) if end[1] == meta[1]), None)
        if closing is None:
            raise NoReading
        self.written.append(self._text[root.start() : closing.end()])
        at = closing.end()
        while True:
            at = self._copy(at, self._between(at))
            end = END.match(self._text, at)
            if end is None:
                at = self._element(at, None)
            elif end[1] == root[1]:
                return self._copy(at, end.end())
            else:
                raise NoReading

    def _element(self, at: int, parent: Shape | None) -> int:
        start = self._match(START, at)
        shape = self._shape(start[1], parent)
        if shape is None:
            return self._unknown(start)
        if len(self._open) >= self._parser.limits.max_depth:
            raise NoReading
        self._open.append(shape)
        self._spelled(start[1], shape.tag)
        self.written.append(f"<{shape.tag}{start[2]}{start[3]}>")
        at = start.end()
        if not start[3]:
            at = self._leaf(start, shape) if shape.leaf else self._children(start, shape)
        self._open.pop()
        return at

    def _children(self, start: re.Match[str], shape: Shape) -> int:
        at = start.end()
        while True:
            at = self._copy(at, self._between(at))
            end = END.match(self._text, at)
            if end is None:
                self._refuse_text(at)
                at = self._element(at, shape)
            elif end[1].casefold() == start[1].casefold():
                return self._close(end, shape)
            else:
                raise NoReading

    def _refuse_text(self, at: int) -> None:
        """Text beside elements: it belongs to no field."""
        text = self._text[at : self._text.find("<", at)]
        if text:
            path = path_of(shape.tag for shape in self._open)
            raise NoReading(Fault(HuhCode.STRAY_TEXT, path, quoted(text.strip()), "nothing but elements"))

    def _leaf(self, start: re.Match[str], shape: Shape) -> int:
        wanted = start[1].casefold()
        ends = _LEAF_END.finditer(self._text, start.end())
        end = next((one for one in ends if (one["name"] or "").casefold() == wanted), None)
        if end is None:
            raise NoReading
        self.written.append(self._leaf_text(self._text[start.end() : end.start()]))
        return self._close(end, shape)

    def _close(self, end: re.Match[str], shape: Shape) -> int:
        self._spelled(end[0][2:-1].strip(), shape.tag)
        self.written.append(f"</{shape.tag}>")
        return end.end()

    def _unknown(self, start: re.Match[str]) -> int:
        """An element outside the contract is copied whole: to refuse it is the decoder's to do."""
        inside: list[str] = []
        for token in TOKEN.finditer(self._text, start.start()):
            if token["start"]:
                if not token["attributes"].endswith("/"):
                    inside.append(token["start"])
            elif token["end"]:
                if not inside or inside.pop() != token["end"]:
                    raise NoReading
            elif token["broken"] is not None:
                raise NoReading
            if not inside:
                return self._copy(start.start(), token.end())
        raise NoReading

    # -- a leaf's text ------------------------------------------------------------------
    def _leaf_text(self, text: str) -> str:
        if self._answer:
            return self._answered(text)
        if self._well_formed(text):
            return text
        text = self._mended("ampersand", text, lambda one: _AMPERSAND.sub(self._escape_bare, one))
        text = self._mended("entity", text, lambda one: _AMPERSAND.sub(self._escape_html, one))
        if self._well_formed(text):
            return text
        if "<!" in text or "<?" in text:
            raise self._several(text, "a comment, CDATA section or instruction beside unescaped text")
        self._refuse_known_tags(text)
        text = self._mended("less-than", text, lambda one: one.replace("<", "&lt;"))
        return self._mended("cdata-end", text, lambda one: one.replace("]]>", "]]&gt;"))

    def _well_formed(self, text: str) -> bool:
        if "<" not in text and "&" not in text and "]]>" not in text:
            return True
        try:
            self._parser.parse(f"<x>{text}</x>", limit=len(text) * 4 + 8)
        except InvalidMessage:
            return False
        return True

    def _answered(self, text: str) -> str:
        try:
            if self._well_formed(text):
                refuse_hidden(text)
                return text
            for what, made in made_of(text, self._known(), self._well_formed):
                self._record(what, text, made)
                text = made
        except Doubt as doubt:
            raise self._several(doubt.found, doubt.why) from None
        return text

    def _mended(self, what: str, text: str, mend: Callable[[str], str]) -> str:
        made = mend(text)
        if made != text:
            self._record(what, text, made)
        return made

    def _record(self, what: str, text: str, made: str) -> None:
        differ = (i for i, (old, new) in enumerate(zip(text, made, strict=False)) if old != new)
        at = max(0, next(differ, len(text)) - 15)
        path = path_of(shape.tag for shape in self._open)
        self.mends.append(Mend(what, path, quoted(text[at : at + 40]), quoted(made[at : at + 40])))

    @staticmethod
    def _escape_bare(found: re.Match[str]) -> str:
        """A whole reference is one, even if its neighbours were forgotten; anything else is an ampersand."""
        if found[0][0] != "&":
            return found[0]
        name = found["reference"]
        if name is None:
            return "&amp;"
        return found[0] if name[0] == "#" or name in _XML_NAMES or name in html5 else f"&amp;{name}"

    @staticmethod
    def _escape_html(found: re.Match[str]) -> str:
        name = found["reference"]
        if name is None or found[0][0] != "&" or name in _XML_NAMES:
            return found[0]
        if name[0] == "#":
            return f"&#x{name[2:]}" if name[1] == "X" else found[0]
        return "".join(f"&#{ord(one)};" for one in html5[name])

    def _refuse_known_tags(self, text: str) -> None:
        """A tag of the contract inside a broken leaf may be the writer's structure, or the text's."""
        if "xmlns:" in self._text and _PREFIXED.search(text):
            raise self._several(text, "a prefixed tag")
        known = self._known() | {"message", "meta"}
        for tag in _TAGGED.finditer(text):
            if tag[1].rpartition(":")[2].casefold() in known:
                raise self._several(text[tag.start() :], "a tag of the contract in text")

    def _known(self) -> frozenset[str]:
        """The tags that may stand anywhere near, case folded."""
        near = (tag for shape in self._open for tag in (shape.tag, *shape.order))
        return frozenset(tag.casefold() for tag in (*self._shapes.tags(), *near))

    def _several(self, text: str, why: str) -> NoReading:
        found = f"{quoted(text)} ({why})"
        path = path_of(shape.tag for shape in self._open)
        return NoReading(
            Fault(HuhCode.AMBIGUOUS_PAYLOAD, path, found, "'&lt;' for '<' and '&amp;' for '&' in text")
        )

    # -- small steps ----------------------------------------------------------------------
    def _shape(self, tag: str, parent: Shape | None) -> Shape | None:
        exact = self._shapes.shape_of if parent is None else parent.child
        shape = exact(tag)
        if shape is not None:
            return shape
        tags = self._shapes.tags() if parent is None else parent.order
        named = [one for one in tags if one.casefold() == tag.casefold()]
        if len(named) > 1:
            raise self._several(f"<{tag}>", f"could be any of {', '.join(named[:9])}")
        return exact(named[0]) if named else None

    def _spelled(self, tag: str, wanted: str) -> None:
        if tag != wanted:
            path = path_of(shape.tag for shape in self._open)
            self.mends.append(Mend("tag-case", path, quoted(tag), quoted(wanted)))

    def _match(self, pattern: re.Pattern[str], at: int) -> re.Match[str]:
        found = pattern.match(self._text, at)
        if found is None:
            raise NoReading
        return found

    def _between(self, at: int) -> int:
        found = _BETWEEN.match(self._text, at)
        return found.end() if found else at

    def _copy(self, start: int, end: int) -> int:
        self.written.append(self._text[start:end])
        return end
