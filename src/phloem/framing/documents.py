"""Cuts a byte stream of XML into documents, one per envelope. Pure: reads nothing, parses nothing.

Decides where a document begins and ends, in three framings: one envelope, envelopes one
after the other, a root ``<messages>`` around them. Knows tags, quoted attributes, comments,
CDATA and processing instructions, and no more: whether a document is any good is for the
organism's parser. What belongs to no document becomes one ``Unreadable``, and the next
``<message`` is taken up. Holds at most one document. For
whoever reads a stream.

Names of start and end tags are matched loosely, because the parser explains a bad document
better than a splitter could. A document that never ends would swallow those after it: it is
given up at the limit, and the stretch it swallowed is read again with every ``<message``
taken for a beginning. So every byte is looked at twice at most, also in a tag that comes in many
chunks: what has been looked at of one that is not whole yet is remembered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, final

from phloem.messages import Fault, HuhCode

from .lines import MAX_LINE, Piece, Unreadable

__all__ = ["DocumentSplitter"]

_NAME: Final = rb"[^\s<>/\"'=!?&]"
# No alternative begins as another does, so a hostile tag costs no squares. The group itself must not
# be possessive: Python before 3.11.5 loses matches there.
_INSIDE: Final = rb"(?:[^<>\"']++|\"[^\"]*+\"|'[^']*+')*"
_START: Final = re.compile(rb"<(" + _NAME + rb"++)(" + _INSIDE + rb")>")
_ANGLE: Final = re.compile(rb"[<>]")
_ANGLE_OR_QUOTE: Final = re.compile(rb"[<>\"']")
_NEXT: Final = re.compile(rb"<(?:[^\s<>/\"'=!?&:]+:)?messages?(?=[\s/>])")
_NEXT_OR_END: Final = re.compile(_NEXT.pattern + rb"|</(?:[^\s<>/\"'=!?&:]+:)?messages\s*>")
_DECLARATION: Final = re.compile(rb"\s(xmlns(?::[^\s=]+)?)\s*=\s*(?:\"[^\"<]*\"|'[^'<]*')")
_ENCODING: Final = re.compile(rb"<\?xml\s[^>]*?encoding\s*=\s*[\"']([^\"'>]{1,60})[\"']")
_XML: Final = tuple(b"<?xml" + bytes([white]) for white in b" \t\r\n")
_OURS: Final = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
_LONGEST_START: Final = 256  # bytes that may be the beginning of a "<prefix:message " cut by a chunk's end
_QUOTED: Final = 60  # bytes of input that a complaint quotes
_LESS: Final = ord("<")
_WHITE: Final = b" \t\r\n"


class _Kind(Enum):
    START = auto()
    EMPTY = auto()
    END = auto()
    ASIDE = auto()  # comment, processing instruction, CDATA
    DTD = auto()
    TEXT = auto()  # a "<" that opens nothing
    UNFINISHED = auto()


@final
class DocumentSplitter:
    """``feed`` chunks as they come, ``finish`` once."""

    def __init__(self, max_bytes: int = MAX_LINE) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._dropped = 0  # bytes before the buffer
        self._line = 1  # of the buffer's first byte
        self._number = 0
        self._at = 0  # how far the buffer has been looked at
        self._open: list[bytes] = []  # the document's open elements, outermost first; it starts the buffer
        self._names = Counter[bytes]()  # the same, to be asked for one that may lie deep
        # Of the token that was not whole when it was looked at last: where it begins, how far that look
        # came (both counted from the input's beginning), and the quote that was open there.
        self._seen = (-1, 0, b"")
        self._wrapper = b""  # the name of the open <messages>
        self._inherited: tuple[tuple[bytes, bytes], ...] = ()  # its namespace declarations
        self._encoding = b""  # a declared one that is not ours
        self._lost = False  # looking for the next <message
        self._flat_until = 0  # before this offset a <message within a message begins the next one

    def feed(self, chunk: bytes) -> Iterator[Piece | Unreadable]:
        """The documents that this chunk completes. Exhaust it before feeding again."""
        self._buffer += chunk
        yield from self._scan()

    def finish(self) -> Iterator[Piece | Unreadable]:
        """What is left when the input has ended."""
        while True:
            yield from self._scan()
            if self._open:
                yield self._overrun(HuhCode.TRUNCATED, "the end of the input", f"</{self._root}>")
            elif self._lost or not self._buffer:
                break
            else:
                yield self._give_up(HuhCode.STRAY_TEXT, self._quoted(), "an envelope")
        if self._wrapper:
            expected = f"</{_shown(self._wrapper)}>"
            yield self._unreadable(HuhCode.TRUNCATED, "the end of the input", expected)

    # -- scanning ------------------------------------------------------------------------------
    def _scan(self) -> Iterator[Piece | Unreadable]:
        while not self._lost or self._find_next():
            found = self._within() if self._open else self._between()
            if found is None:
                if len(self._buffer) <= self._max_bytes:
                    return
                size = f"{len(self._buffer):,} bytes without an end"
                yield self._overrun(HuhCode.TOO_LARGE, size, f"at most {self._max_bytes:,}")
            elif not isinstance(found, bool):
                yield found

    def _between(self) -> Piece | Unreadable | bool | None:
        """One step outside documents. True: go on. None: more bytes are needed."""
        white = 0
        if self._buffer and self._buffer[0] in _WHITE:  # else no copy: what begins here may be long
            white = len(self._buffer) - len(self._buffer.lstrip(_WHITE))
        self._drop(white)
        if not self._buffer:
            return None
        if self._buffer[0] != _LESS:
            if len(self._buffer) < _QUOTED and _LESS not in self._buffer:
                return None  # the complaint quotes its beginning, however the chunks fall
            return self._give_up(HuhCode.STRAY_TEXT, self._quoted(), "an envelope")
        kind, name, end = self._token(0)
        if kind is _Kind.UNFINISHED:
            return None
        if kind is _Kind.ASIDE and not self._buffer.startswith(b"<![CDATA["):
            if bytes(self._buffer[:6]) in _XML:
                declared = _ENCODING.match(self._buffer, 0, end)
                self._encoding = b"" if declared is None or declared[1].lower() in _OURS else declared[1]
            self._drop(end)
            return True
        if kind is _Kind.END and name == self._wrapper:
            self._wrapper, self._inherited = b"", ()
            self._drop(end)
            return True
        if kind is _Kind.DTD:
            return self._give_up(HuhCode.DTD_REFUSED, "a document type declaration", "none")
        if kind not in (_Kind.START, _Kind.EMPTY):
            return self._give_up(HuhCode.STRAY_TEXT, self._quoted(end), "an envelope")
        if _local(name) == b"messages" and not self._wrapper:
            if kind is _Kind.START:
                declarations = _DECLARATION.finditer(self._buffer, 0, end)
                self._wrapper, self._inherited = name, tuple((each[1], each[0]) for each in declarations)
            self._drop(end)
            return True
        self._begin(name)
        self._at = end
        return self._document(end) if kind is _Kind.EMPTY else True

    def _within(self) -> Piece | Unreadable | bool | None:
        """One step inside a document."""
        at = self._buffer.find(b"<", self._at)
        if at < 0:
            self._at = len(self._buffer)
            return None
        kind, name, end = self._token(at)
        if kind is _Kind.UNFINISHED:
            self._at = at
            return None
        self._at = end
        if (
            kind in (_Kind.START, _Kind.EMPTY)
            and name == self._open[0]
            and self._dropped + at < self._flat_until
        ):
            unreadable = self._unreadable(HuhCode.TRUNCATED, f"another <{self._root}>", f"</{self._root}>")
            self._drop(at)
            return unreadable
        if kind is _Kind.START:
            self._begin(name)
        elif kind is _Kind.END and self._names[name]:
            while self._end() != name:
                pass  # what was left open inside it; the parser will say so
            if not self._open:
                return self._document(end)
        elif kind is _Kind.END and name == self._wrapper:
            return self._overrun(HuhCode.TRUNCATED, f"</{_shown(name)}>", f"</{self._root}>")
        return True

    def _begin(self, name: bytes) -> None:
        self._open.append(name)
        self._names[name] += 1

    def _end(self) -> bytes:
        name = self._open.pop()
        self._names[name] -= 1
        return name

    def _token(self, at: int) -> tuple[_Kind, bytes, int]:
        """What begins at this "<": its kind, its name, where it ends."""
        buffer = self._buffer
        if at + 1 == len(buffer):
            return _Kind.UNFINISHED, b"", at
        begun, seen, quote = self._seen
        if begun != self._dropped + at:
            seen, quote = 0, b""
        since = max(seen - self._dropped, at + 1)
        if buffer[at + 1] in b"!?":
            for opening, closing in ((b"<!--", b"-->"), (b"<![CDATA[", b"]]>"), (b"<?", b"?>")):
                if buffer.startswith(opening, at):
                    end = buffer.find(closing, max(since, at + len(opening)))
                    if end >= 0:
                        return _Kind.ASIDE, b"", end + len(closing)
                    return self._unfinished(at, len(buffer) - len(closing) + 1)
                if len(buffer) - at < len(opening) and opening.startswith(bytes(buffer[at:])):
                    return _Kind.UNFINISHED, b"", at
        if buffer.startswith(b"<!", at):
            return _Kind.DTD, b"", at + 2
        if buffer.startswith(b"</", at):
            angle = _ANGLE.search(buffer, since)
            if angle is None:
                return self._unfinished(at, len(buffer))
            if angle[0] == b"<":
                return _Kind.TEXT, b"", at + 1
            return _Kind.END, bytes(buffer[at + 2 : angle.start()]).rstrip(_WHITE), angle.end()
        return self._start(at, since, quote)

    def _start(self, at: int, since: int, quote: bytes) -> tuple[_Kind, bytes, int]:
        """A start tag, if it is one; it has been looked at until ``since``, where ``quote`` was open."""
        buffer = self._buffer
        while True:
            if quote:
                closed = buffer.find(quote, since)
                if closed < 0:
                    return self._unfinished(at, len(buffer), quote)
                since, quote = closed + 1, b""
            sign = _ANGLE_OR_QUOTE.search(buffer, since)
            if sign is None:
                return self._unfinished(at, len(buffer))
            if sign[0] in b"<>":
                break
            since, quote = sign.end(), sign[0]
        if sign[0] == b">" and (start := _START.match(buffer, at)):
            return (_Kind.EMPTY if start[2].endswith(b"/") else _Kind.START), start[1], start.end()
        return _Kind.TEXT, b"", at + 1

    def _unfinished(self, at: int, seen: int, quote: bytes = b"") -> tuple[_Kind, bytes, int]:
        self._seen = (self._dropped + at, self._dropped + seen, quote)
        return _Kind.UNFINISHED, b"", at

    # -- results -------------------------------------------------------------------------------
    def _document(self, end: int) -> Piece | Unreadable:
        """The document that ends here, with the namespaces that its wrapper declared for it."""
        if self._encoding:
            found = self._unreadable(HuhCode.BAD_CHAR, f"encoding {_shown(self._encoding)!r}", "UTF-8")
            self._drop(end)
            return found
        content = bytes(self._buffer[:end])
        if self._inherited and (start := _START.match(content)):
            own = {each[1] for each in _DECLARATION.finditer(content, 0, start.end())}
            added = b"".join(text for name, text in self._inherited if name not in own)
            content = content[: start.end(1)] + added + content[start.end(1) :]
        self._number += 1
        piece = Piece(self._number, self._line, content)
        self._drop(end)
        return piece

    def _unreadable(self, code: HuhCode, found: str, expected: str) -> Unreadable:
        self._number += 1
        fault = Fault(code, f"line {self._line}", found, expected)
        return Unreadable(self._number, self._line, fault)

    def _give_up(self, code: HuhCode, found: str, expected: str) -> Unreadable:
        """What starts the buffer is no document; go on at the next <message behind its first byte."""
        unreadable = self._unreadable(code, found, expected)
        self._drop(1)
        self._lost = True
        return unreadable

    def _overrun(self, code: HuhCode, found: str, expected: str) -> Unreadable:
        """What starts the buffer does not end. Read again what it swallowed, but only once."""
        again = self._dropped >= self._flat_until
        self._flat_until = max(self._flat_until, self._dropped + len(self._buffer))
        unreadable = self._give_up(code, found, expected)
        if not again:
            self._drop(max(0, len(self._buffer) - _LONGEST_START))
        return unreadable

    def _find_next(self) -> bool:
        found = (_NEXT_OR_END if self._wrapper else _NEXT).search(self._buffer)
        self._lost = found is None
        self._drop(found.start() if found else max(0, len(self._buffer) - _LONGEST_START))
        return found is not None

    def _drop(self, count: int) -> None:
        """Let go of the buffer's first bytes; whatever was open began there."""
        if count:
            self._line += self._buffer.count(b"\n", 0, count)
            self._dropped += count
            del self._buffer[:count]
        self._at, self._open = 0, []
        self._names.clear()

    def _quoted(self, end: int = _QUOTED) -> str:
        """The buffer's beginning, up to the next tag: the same however the chunks fell."""
        tag = self._buffer.find(b"<", 1, end)
        return repr(_shown(bytes(self._buffer[: tag if tag > 0 else min(end, _QUOTED)]).rstrip()))

    @property
    def _root(self) -> str:
        return _shown(self._open[0])


def _local(name: bytes) -> bytes:
    return name.rpartition(b":")[2]


def _shown(name: bytes) -> str:
    text = name.decode("utf-8", "replace")
    return text if len(text) <= 60 else text[:59] + "…"
