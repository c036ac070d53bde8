"""The gate before the parser: what is refused by looking at bytes, before any tree exists.

Decides size, encoding, prolog, and the amounts of markup and attributes. It exists because
libxml2 is linear where its callers are not: 100,000 attributes parse in a moment and cost
36 s in canonical form. Never builds a tree, never changes a byte. Called by ``parsing``.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from phloem.config import WireLimits
from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode

from .text import line_column, printable, quoted

__all__ = ["MARKUP", "check", "refuse", "to_bytes"]

_BOM: Final = b"\xef\xbb\xbf"
_PROLOG: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:<\?xml(?P<declaration>[ \t\r\n][^<>?]*)\?>)?[ \t\r\n]*<(?=[A-Za-z_:\x80-\xff])"
)
_ENCODING: Final = re.compile(rb"""[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*["']([^"']*)["']""")
# Groups are never possessive here: Python before 3.11.5 loses matches there. None needs to be,
# for no alternative begins as another does.
# What may stand before a doctype in any XML at all; the lazy half never looks twice at a byte.
_MISC: Final = re.compile(rb"(?:[ \t\r\n]++|<!--.*?-->|<\?.*?\?>)*", re.DOTALL)
# Everything between "<" and its ">", quotes respected; an attribute's value never holds "<".
MARKUP: Final = re.compile(rb"""<([^!<>"'][^<>"']*+(?:(?:"[^<"]*"|'[^<']*')[^<>"']*+)*)""")
_NOT_TAGS: Final = re.compile(rb"<!--(?:.*?-->|.*)|<!\[CDATA\[(?:.*?\]\]>|.*)", re.DOTALL)
_QUOTED: Final = re.compile(rb""""[^"]*"|'[^']*'""")
_UTF_16_OR_32: Final = (b"\xff\xfe", b"\xfe\xff", b"<\x00", b"\x00<", b"\x00\x00\x00<", b"\x00\x00\xfe\xff")


def refuse(code: HuhCode, path: str, found: str, expected: str) -> NoReturn:
    """Raise the one fault."""
    raise InvalidMessage([Fault(code, path, found, expected)])


def to_bytes(data: bytes | str, limit: int) -> bytes:
    """The document as UTF-8, unless it is too long or cannot be written so."""
    if len(data) > limit:
        unit = "bytes" if isinstance(data, bytes) else "characters"
        _too_large(f"{len(data):,} {unit}", f"at most {limit:,} bytes")
    if isinstance(data, bytes):
        return data
    try:
        raw = data.encode()
    except UnicodeEncodeError as error:
        at = error.start
        refuse(
            HuhCode.BAD_CHAR,
            line_column(data, at),
            f"the lone surrogate U+{ord(data[at]):04X}",
            "characters of XML",
        )
    if len(raw) > limit:
        _too_large(f"{len(raw):,} bytes", f"at most {limit:,} bytes")
    return raw


def check(raw: bytes, limits: WireLimits) -> int:
    """Refuse what must not reach the parser; otherwise the number of ``<``."""
    if b"\0" in raw or raw.startswith(_UTF_16_OR_32):
        _refuse_encoding(raw)
    markup = raw.count(b"<")
    if markup > limits.max_markup:
        _too_large(f"{markup:,} pieces of markup", f"at most {limits.max_markup:,}")
    prolog = _PROLOG.match(raw)
    if prolog is None:
        _refuse_prolog(raw)
    if prolog["declaration"]:
        _check_encoding(raw, prolog["declaration"])
    if raw.count(b"=") > limits.max_attributes:  # else it cannot have more attributes either
        _check_attributes(raw, limits.max_attributes)
    return markup


def _too_large(found: str, expected: str) -> NoReturn:
    refuse(HuhCode.TOO_LARGE, "/", found, expected)


def _refuse_encoding(raw: bytes) -> NoReturn:
    if raw.startswith(_UTF_16_OR_32):
        refuse(HuhCode.BAD_CHAR, "line 1, column 1", "UTF-16 or UTF-32", "UTF-8")
    text = raw[: raw.index(b"\0")].decode("utf-8", "replace")
    refuse(
        HuhCode.BAD_CHAR, line_column(text, len(text)), "the control character U+0000", "characters of XML"
    )


def _refuse_prolog(raw: bytes) -> NoReturn:
    start = len(_BOM) if raw.startswith(_BOM) else 0
    misc = _MISC.match(raw, start)
    at = misc.end() if misc else start
    rest = raw[at : at + 400]
    text = raw[start:at].decode("utf-8", "replace")
    where = line_column(text, len(text))
    if rest[:9].upper() == b"<!DOCTYPE":
        refuse(
            HuhCode.DTD_REFUSED, where, "a document type declaration", "the root element; DTDs are refused"
        )
    if not rest or b"<" not in raw:
        found = f"{quoted(printable(rest, 400))} and no element" if rest else "no element"
        refuse(HuhCode.NO_PAYLOAD, where, found, "one root element")
    if rest == b"<" or (rest.startswith((b"<?", b"<!")) and b">" not in raw[at:]):
        refuse(
            HuhCode.TRUNCATED,
            where,
            f"the end of the input after {quoted(printable(rest, 400))}",
            "a root element",
        )
    if re.match(rb"<[A-Za-z_:\x80-\xff]", rest):  # what stands before the root is legal XML, and not ours
        rest, where = raw[start : start + 400].lstrip(b" \t\r\n"), "line 1, column 1"
    expected = "only an XML declaration and white space before the root element"
    refuse(HuhCode.STRAY_TEXT, where, quoted(printable(rest, 400)), expected)


def _check_encoding(raw: bytes, declaration: bytes) -> None:
    """The parser reads UTF-8 whatever is declared, so anything else would be read wrong in silence."""
    declared = _ENCODING.search(declaration)
    if declared is None or declared[1].lower() in (b"utf-8", b"utf8"):
        return
    if declared[1].lower() in (b"us-ascii", b"ascii") and raw.isascii():
        return
    refuse(
        HuhCode.BAD_CHAR, "line 1, column 1", f"the encoding {quoted(printable(declared[1], 60))}", "UTF-8"
    )


def _check_attributes(raw: bytes, most: int) -> None:
    """Count attributes. The one ``xmlns=""`` that each payload needs is free: it bounds itself by its tag."""
    count = 0
    for tag in MARKUP.findall(_NOT_TAGS.sub(b"", raw) if b"<!" in raw else raw):
        if b"=" in tag:
            count += _QUOTED.sub(b"", tag).count(b"=") - (b'xmlns=""' in tag)
            if count > most:
                refuse(HuhCode.ATTRIBUTE, "/", f"more than {most:,} attributes", f"at most {most:,}")
