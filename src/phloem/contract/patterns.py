"""Patterns that mean the same to Python and to an XSD.

Decides which regular expressions a field may carry, and writes each out twice: for
``re`` and for ``xs:pattern``. Both are full matches. The common subset: literals,
escaped punctuation, ``\\n \\r \\t``, ``.``, ``\\d \\w \\s`` and their capitals (ASCII
only, on both sides), ``[...]`` with ranges and ``^``, ``( )``, ``|``, and the
quantifiers ``* + ? {n} {n,} {n,m}``. A leading ``^`` and a trailing ``$`` are dropped.
Everything else is refused. Called by ``constraints`` alone.

Keep patterns simple: alternatives that begin differently, no groups repeated in groups or as
alternatives, nothing negated beside what overlaps it. Elsewhere libxml2 errs: ``(a)*|b`` takes
"ba" there, which decoding then refuses, and ``[^a]*.`` does not take "7". Both judges are asked,
so a doubtful text is refused.
"""

from __future__ import annotations

import re
from typing import Final, final

from lxml import etree

from phloem.wire.text import is_xml_text

__all__ = ["BadPattern", "sample", "translate"]

_CLASSES: Final = {"d": "0-9", "w": "A-Za-z0-9_", "s": " \\t\\n\\r"}
_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t"}
_NO_ATOM: Final = frozenset("()|*+?{")
_CANDIDATES: Final = "aA7-_. bBzZ019/,:;!?éß€中"  # one of these is in almost any class
_QUANTIFIER: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}", re.ASCII)
_MOST: Final = 1_000  # repetitions in one quantifier; libxml2 builds a state for each
_XSD_ESCAPED: Final = frozenset("\\|.?*+(){}-[]^")
_HEAD: Final = (
    '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:simpleType name="p">'
    '<xs:restriction base="xs:string"><xs:pattern/></xs:restriction></xs:simpleType></xs:schema>'
)


@final
class BadPattern(ValueError):
    """Outside the subset. The text says what was found and what to use instead."""


def translate(pattern: str) -> tuple[re.Pattern[str], str]:
    """The pattern for Python and for an XSD; raises ``BadPattern``."""
    return _translated(_Translator(_bare(pattern)))


def sample(pattern: str, spread: int) -> str:
    """A text that matches; open-ended quantifiers repeat ``spread`` times. Never ends in surprise:
    the caller checks it against the other facets."""
    translator = _Translator(_bare(pattern), spread)
    translator.run()
    return translator.sample


def _bare(pattern: str) -> str:
    source = pattern.removeprefix("^")
    if source.endswith("$") and not source.endswith("\\$"):
        source = source[:-1]
    return source


def _translated(translator: _Translator) -> tuple[re.Pattern[str], str]:
    python, xsd = translator.run()
    try:
        compiled = re.compile(python)
    except (re.error, OverflowError) as error:
        raise BadPattern(f"{error}; write a regular expression that Python compiles") from None
    schema = etree.fromstring(_HEAD)
    if not is_xml_text(xsd):
        raise BadPattern("a character that XML cannot carry, so that no text has it; leave it out")
    for element in schema.iter("{*}pattern"):
        element.set("value", xsd)
    try:
        etree.XMLSchema(schema)
    except etree.LxmlError:
        raise BadPattern("one that XML Schema cannot compile; write a simpler one") from None
    return compiled, xsd


@final
class _Alternatives:
    """One group's sample: what its first alternative matches."""

    __slots__ = ("closed", "pieces", "start")

    def __init__(self, start: int = 0) -> None:
        self.start = start  # where the group begins in what is written for Python
        self.pieces: list[str] = []
        self.closed = False


@final
class _Translator:
    """One pass from left to right; writes both spellings as it goes."""

    def __init__(self, source: str, spread: int = 1) -> None:
        self._source = source
        self._spread = spread
        self._at = 0
        self._python: list[str] = []
        self._xsd: list[str] = []
        self._atom = 0  # where what a quantifier would repeat begins, likewise
        self._open = [_Alternatives()]  # the groups we are in, outermost first

    @property
    def sample(self) -> str:
        """A text that matches, by the first alternative of each group. Only after ``run``."""
        return "".join(self._open[0].pieces)

    def run(self) -> tuple[str, str]:
        depth, repeatable = 0, False
        while (char := self._next()) is not None:
            if char not in _NO_ATOM:
                self._atom = len(self._python)
            match char:
                case "\\":
                    self._escape()
                    repeatable = True
                case "[":
                    self._brackets()
                    repeatable = True
                case ".":
                    self._both("[^\\n\\r]")
                    self._show("a")
                    repeatable = True
                case "(":
                    if self._peek() == "?":
                        raise BadPattern("'(?'; use plain groups: no look-around, names or flags")
                    depth += 1
                    self._open.append(_Alternatives(len(self._python)))
                    self._both(char)
                    repeatable = False
                case ")":
                    depth -= 1
                    if depth < 0:
                        raise BadPattern("a ')' without its '('; balance the groups")
                    self._both(char)
                    group = self._open.pop()
                    self._show("".join(group.pieces))
                    self._atom = group.start
                    repeatable = True
                case "|":
                    self._both(char)
                    self._open[-1].closed = True
                    repeatable = False
                case "*" | "+" | "?" | "{":
                    if not repeatable:
                        raise BadPattern(
                            f"{char!r} with nothing to repeat; lazy and possessive forms are out too"
                        )
                    self._quantify(char)
                    repeatable = False
                case "^" | "$":
                    raise BadPattern(
                        f"{char!r} inside; a pattern always means the full text, so leave it out"
                    )
                case "}" | "]":
                    raise BadPattern(f"a bare {char!r}; write \\{char}")
                case _:
                    self._literal(char)
                    repeatable = True
        if depth:
            raise BadPattern("a '(' without its ')'; balance the groups")
        return "".join(self._python), "".join(self._xsd)

    def _next(self) -> str | None:
        char = self._peek()
        self._at += 1
        return char

    def _peek(self) -> str | None:
        return self._source[self._at] if self._at < len(self._source) else None

    def _both(self, text: str) -> None:
        self._python.append(text)
        self._xsd.append(text)

    def _show(self, piece: str) -> None:
        if not self._open[-1].closed:
            self._open[-1].pieces.append(piece)

    def _literal(self, char: str) -> None:
        self._python.append(re.escape(char))
        self._xsd.append(_xsd_char(char))
        self._show(char)

    def _escape(self) -> None:
        char = self._next()
        if char is None:
            raise BadPattern("a backslash at the end; write two")
        if char.lower() in _CLASSES:
            self._both(f"[{'^' if char.isupper() else ''}{_CLASSES[char.lower()]}]")
            self._show({"d": "7", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a"}[char])
        elif char in _CONTROLS:
            self._both("\\" + char)
            self._show(_CONTROLS[char])
        elif char.isalnum():
            raise BadPattern(
                f"'\\{char}'; of these only \\d \\w \\s \\n \\r \\t and escaped punctuation are common"
            )
        else:
            self._literal(char)

    def _quantify(self, char: str) -> None:
        least, most = 0, self._spread
        match char:
            case "?":
                most = 1
            case "+":
                least = 1
            case "{":
                char, least, most = self._counted()
                if re.fullmatch("".join(self._python[self._atom :]), ""):  # libxml2 loses count there
                    raise BadPattern("a count on what may be empty; use * or + instead")
            case _:
                pass  # "*": what is set above
        self._both(char)
        if not self._open[-1].closed:
            pieces = self._open[-1].pieces
            pieces[-1] *= max(least, most)

    def _counted(self) -> tuple[str, int, int]:
        found = _QUANTIFIER.match(self._source, self._at - 1)
        if found is None:
            raise BadPattern("a '{' that counts nothing; write {n}, {n,}, {n,m} or \\{")
        if max(int(number) for number in found.groups() if number) > _MOST:
            raise BadPattern(f"more than {_MOST} repetitions; use MaxLen for lengths")
        self._at = found.end()
        least = int(found[1])
        most = (
            least if found[2] is None else self._spread if not found[2] else min(int(found[2]), self._spread)
        )
        return found[0], least, most

    def _brackets(self) -> None:
        python, xsd = ["["], ["["]
        if self._peek() == "^":
            self._at += 1
            python.append("^")
            xsd.append("^")
        empty, before = True, ""  # before: the literal a '-' could start a range from
        while (char := self._next()) != "]" or empty:
            if char is None:
                raise BadPattern("a '[' without its ']'; close the class")
            if char == "[":
                raise BadPattern("a bare '[' in a class; write \\[")
            if char == "]":
                raise BadPattern("a class that starts with ']'; write \\]")
            empty = False
            if char == "-" and before and self._peek() not in ("]", None):
                python.append("-")
                xsd.append("-")
                last = self._next()
                last = self._class_escape() if last == "\\" else last
                if last is None or len(last) != 1 or last < before or last == "[":
                    raise BadPattern("a range in a class that leads nowhere; escape its '-'")
                python.append(re.escape(last))
                xsd.append(_xsd_char(last))
                before = ""
                continue
            if char == "\\":
                char = self._class_escape()
                if len(char) > 1:
                    python.append(char)
                    xsd.append(char)
                    before = ""
                    continue
            python.append(re.escape(char))
            xsd.append(_xsd_char(char))
            before = char
        self._show(_member("".join([*python, "]"])))
        self._python.append("".join([*python, "]"]))
        self._xsd.append("".join([*xsd, "]"]))

    def _class_escape(self) -> str:
        char = self._next()
        if char is not None and char in _CLASSES:
            return _CLASSES[char]
        if char is not None and char in _CONTROLS:
            return _CONTROLS[char]
        if char is None or char.isalnum():
            raise BadPattern(
                f"'\\{char or ''}' in a class; use \\d \\w \\s \\n \\r \\t or escaped punctuation"
            )
        return char


def _xsd_char(char: str) -> str:
    if char in _XSD_ESCAPED:
        return "\\" + char
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, char)


def _member(char_class: str) -> str:
    """A character of this class, a plain one if there is one."""
    wanted = re.compile(char_class)
    for char in _CANDIDATES:
        if wanted.match(char):
            return char
    return next((chr(code) for code in range(0x20, 0xD800) if wanted.match(chr(code))), "")
