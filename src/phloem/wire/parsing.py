"""The one hardened parser. Every tree in the house comes from here.

Decides what is XML and what is too much of it. Never mends (``repair`` does), never looks
at what a document means, never lets an lxml error out: what it does not like is an
``InvalidMessage`` with one fault. Anyone may call it; a ``Parser`` belongs to one organism
and may be used from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, TypeAlias, final

from lxml import etree

from phloem.config import WireLimits
from phloem.errors import InvalidMessage
from phloem.messages import HuhCode

from .diagnosis import diagnose
from .gate import check, refuse, to_bytes
from .names import Vocabulary
from .text import WHITE, first_bad_char, is_xml_text, line_column, path_of, printable, quoted

__all__ = [
    "Element",
    "Parser",
    "canonical",
    "first_bad_char",
    "is_xml_text",
    "line_column",
    "path_of",
    "printable",
    "quoted",
]

Element: TypeAlias = etree._Element

_LEFT: Final = b"<fragments>"
_RIGHT: Final = b"</fragments>"


def _new_parser() -> etree.XMLParser:
    # Comments go because admin<!-- -->istrator validates as one word and reads as another.
    # recover would deliver AT for AT&T; collect_ids=False would bring external DTDs back.
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
        huge_tree=False,
        recover=False,
    )


@final
class _PerThread(threading.local):
    def __init__(self) -> None:
        self.parser = _new_parser()
        self.vocabulary = Vocabulary()


@final
class Parser:
    """Strict parsing within an organism's limits. Never a checkpoint; sync, and safe in any thread."""

    __slots__ = ("_here", "limits")

    def __init__(self, limits: WireLimits) -> None:
        self.limits = limits
        self._here = _PerThread()

    def parse(self, data: bytes | str, *, limit: int | None = None) -> Element:
        """The root of a stranger's document of at most ``limit`` (by default ``max_bytes``) bytes.

        Raises ``InvalidMessage`` with one fault.
        """
        raw = to_bytes(data, self.limits.max_bytes if limit is None else limit)
        markup = check(raw, self.limits)
        root = self._read(raw, raw)
        self._check_tree(root, markup, len(raw), self.limits.max_depth)
        return root

    def parse_own(self, text: str) -> Element:
        """The root of what phloem's own encoder just wrote: same parser, its limits, no gate but length."""
        if len(text) > self.limits.max_bytes:
            to_bytes(text, self.limits.max_bytes)
        try:
            return etree.fromstring(text.encode(), self._here.parser)
        except (etree.LxmlError, UnicodeEncodeError):
            # Not what our encoder writes, then: a foreign class's, and strictly read it will say why.
            return self.parse(text)

    def parse_fragments(self, data: bytes | str, *, limit: int | None = None) -> list[Element]:
        """One or more elements side by side, each a root of its own; only white space between them."""
        raw = to_bytes(data, self.limits.max_bytes if limit is None else limit)
        markup = check(raw, self.limits)
        start = raw.index(b"?>") + 2 if raw.lstrip(b"\xef\xbb\xbf").startswith(b"<?xml") else 0
        if start == 0 and raw.startswith(b"\xef\xbb\xbf"):
            start = 3
        root = self._read(b"".join((_LEFT, raw[start:], _RIGHT)), raw)
        self._check_tree(root, markup + 1, len(raw), self.limits.max_depth + 1)
        _check_between(root)
        return detached(root, list(root))

    def _read(self, document: bytes, told: bytes) -> Element:
        """Parse ``document``; a fault speaks of ``told``, what the sender wrote."""
        here = self._here
        try:
            if here.vocabulary.admits(document):
                return etree.fromstring(document, here.parser)
            return _read_aside(document)
        except etree.LxmlError as error:
            many = document is not told
            fault = diagnose(told, error, max_depth=self.limits.max_depth, many_roots=many)
            raise InvalidMessage([fault]) from None

    def _check_tree(self, root: Element, markup: int, size: int, max_depth: int) -> None:
        if markup > max_depth:  # fewer tags cannot be nested deeper
            _check_depth(root, max_depth)
        if size > self.limits.max_text:
            _check_text(root, self.limits.max_text)


def canonical(element: Element) -> str:
    """The exclusive canonical form of one element, standing alone.

    Raises ``InvalidMessage`` for what has none: an element under a relative namespace.
    """
    try:
        return etree.tostring(element, method="c14n", exclusive=True, with_comments=False).decode()
    except etree.LxmlError:
        found = "a namespace that is no absolute URI"
        refuse(HuhCode.ATTRIBUTE, path_of([local_name(element)]), found, "none, or an absolute URI")


def detached(parent: Element, children: Sequence[Element]) -> list[Element]:
    """The children without their parent and without the text after them.

    They stay in its document: a copy would enter their names into this thread's table.
    """
    for child in children:
        parent.remove(child)
        child.tail = None
    return list(children)


def _read_aside(document: bytes) -> Element:
    """Parse in a thread of its own, so that the names it interns go when it and its tree go."""
    roots: list[Element] = []
    errors: list[etree.LxmlError] = []

    def read() -> None:
        try:
            roots.append(etree.fromstring(document, _new_parser()))
        except etree.LxmlError as error:
            errors.append(error)

    thread = threading.Thread(target=read, name="phloem: new names", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return roots[0]


def _check_depth(root: Element, most: int) -> None:
    level, depth = [root], 1
    while level:
        if depth > most:
            found = f"more than {most:,} elements within one another"
            refuse(HuhCode.TOO_LARGE, path_of([local_name(root), "…"]), found, f"at most {most:,}")
        level = [child for element in level for child in element]
        depth += 1


def _check_text(root: Element, most: int) -> None:
    for element in root.iter():
        if len(element.text or "") > most or len(element.tail or "") > most:
            names = [local_name(above) for above in element.iterancestors()]
            path = path_of([*reversed(names), local_name(element)])
            refuse(
                HuhCode.TOO_LARGE, path, f"more than {most:,} characters in one field", f"at most {most:,}"
            )


def _check_between(root: Element) -> None:
    last = ""
    for element in (root, *root):
        text = (root.text if element is root else element.tail) or ""
        last = last if element is root else local_name(element)
        if text.strip(WHITE):
            where = f" after </{last}>" if last else ""
            refuse(HuhCode.STRAY_TEXT, "/", f"{quoted(text.strip(WHITE))}{where}", "nothing but elements")


def local_name(element: Element) -> str:
    """The tag without its namespace."""
    return str(element.tag).rpartition("}")[2]
