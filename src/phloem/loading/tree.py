"""YAML text -> a tree in which every value knows its line and column.

Decides what of YAML is read: one document, plain tags, unique keys, merges, and
aliases up to a bound on what they expand to. Knows no key and no type of ours, and
never builds an object from a tag. ``files`` calls it; ``rules`` reads its values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, cast, final

import yaml

from .report import FileReport, Spot, quoted

MAX_NODES: Final = 50_000  # after expansion; a thousand listeners have about 20,000
MAX_NESTING: Final = 32  # our deepest value is six levels down

_SURROGATE: Final = re.compile("[\ud800-\udfff]")  # from escapes only: UTF-8 has none
_TAG: Final = "tag:yaml.org,2002:"
_PLAIN_TAGS: Final = frozenset({f"{_TAG}str", f"{_TAG}seq", f"{_TAG}map", "!"})


class Unreadable(Exception):
    """The text cannot be read any further; the fault is already reported."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """One word or text. ``kind`` is what YAML 1.1 takes it for: str, bool, int, float, null…"""

    spot: Spot
    text: str
    kind: str
    plain: bool
    size: int = 1


@final
@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """A list."""

    spot: Spot
    items: tuple[Value, ...]
    size: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A mapping, merges already in place; its keys are unique text."""

    spot: Spot
    entries: tuple[tuple[Scalar, Value], ...]
    size: int


Value = Scalar | Items | Table


def describe(value: Value) -> str:
    """What stands there, as YAML 1.1 reads it and in words."""
    if isinstance(value, Items):
        return "a list"
    if isinstance(value, Table):
        return "a mapping"
    text = quoted(value.text)
    match value.kind:
        case "null":
            return f"{value.text}, which is nothing" if value.text else "nothing"
        case "bool":
            meaning = value.text.lower()
            if meaning in ("true", "false"):
                return meaning
            return f"{value.text}, which YAML 1.1 reads as {str(meaning in ('yes', 'on')).lower()}"
        case "int":
            return _number(value)
        case "float":
            return f"the number {value.text}"
        case "timestamp":
            return f"{value.text}, which YAML 1.1 reads as a date"
        case _:
            return f"the text {text}"


def decimal(value: Scalar) -> int | None:
    """The whole number that YAML 1.1 reads; None for what only looks like one, as 0x_ does."""
    node = yaml.ScalarNode(f"{_TAG}int", value.text)
    try:
        return int(yaml.constructor.SafeConstructor().construct_yaml_int(node))
    except ValueError:
        return None


def _number(value: Scalar) -> str:
    digits = value.text.replace("_", "").lstrip("+-")
    if len(digits) > 40:
        return f"a number of {len(digits)} digits"
    if digits == "0" or (digits.isdecimal() and not digits.startswith("0")):
        return f"the number {value.text}"
    kind = "base 60" if ":" in digits else {"0x": "hexadecimal", "0b": "binary"}.get(digits[:2], "octal")
    number = decimal(value)
    read = f"a {kind} number" if number is None else f"the {kind} number {number}"
    return f"{value.text}, which YAML 1.1 reads as {read}"


def read_tree(text: str, report: FileReport) -> Value:
    """The one document of the text. Raises Unreadable once it cannot go on, its fault reported."""
    builder = _Builder(report)
    loader: Any = None
    try:
        loader = yaml.SafeLoader(text)  # its stubs know no types
        while loader.check_event():
            builder.take(loader.get_event())
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        spot = Spot(before.count("\n") + 1, error.position - before.rfind("\n"))
        report.at(spot, f"the character U+{error.character:04X}", "printable text")
        raise Unreadable from None
    except (ValueError, OverflowError):  # numbers and escapes that PyYAML does not look at first
        mark = loader.get_mark()
        report.at(Spot(mark.line + 1, mark.column + 1), "a number that is too large", "YAML")
        raise Unreadable from None
    except yaml.MarkedYAMLError as error:
        _report_syntax(error, text, report)
        raise Unreadable from None
    root = builder.root
    if root is None or (isinstance(root, Scalar) and root.kind == "null" and not root.text):
        report.at(Spot(1, 1), "an empty file", "the keys of an organism, such as listeners:")
        raise Unreadable
    return root


def _report_syntax(error: yaml.MarkedYAMLError, text: str, report: FileReport) -> None:
    mark = error.problem_mark or error.context_mark
    spot = Spot(1, 1) if mark is None else Spot(mark.line + 1, mark.column + 1)
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        report.at(spot, "a tab", "spaces: YAML indents with nothing else")
        return
    said = " ".join(f"{error.context or ''} {error.problem or ''}".split())
    since = error.context_mark
    begun = f" (begun at line {since.line + 1})" if since and mark and since.line != mark.line else ""
    report.at(spot, f"text that is not YAML: {said}{begun}", "a YAML mapping; nothing after this was read")


@final
@dataclass(slots=True, eq=False)
class _Open:
    """A list or mapping whose end has not been met yet."""

    spot: Spot
    anchor: str | None
    is_table: bool
    children: list[Value] = field(default_factory=list["Value"])
    size: int = 1


@final
class _Builder:
    """Events in, a tree out, without recursion: nesting is data here, not a stack of calls."""

    def __init__(self, report: FileReport) -> None:
        self.root: Value | None = None
        self._report = report
        self._resolver = cast("Any", yaml.resolver.Resolver())
        self._open: list[_Open] = []
        self._anchors: dict[str, Value] = {}
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        mark = cast("yaml.Mark", event.start_mark)
        spot = Spot(mark.line + 1, mark.column + 1)
        match event:
            case yaml.DocumentStartEvent() if self.root is not None:
                self._stop(spot, "a second document", "one document in the file")
            case yaml.AliasEvent():
                self._close(self._alias(str(event.anchor), spot), None)
            case yaml.ScalarEvent():
                self._close(self._scalar(event, spot), event.anchor)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._check_tag(event.tag, spot)
                if len(self._open) >= MAX_NESTING:
                    self._stop(spot, f"more than {MAX_NESTING} levels of nesting", "a flatter file")
                self._open.append(_Open(spot, event.anchor, isinstance(event, yaml.MappingStartEvent)))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                done = self._open.pop()
                value = self._table(done) if done.is_table else self._items(done)
                self._close(value, done.anchor)
            case _:
                return

    def _stop(self, spot: Spot, found: str, expected: str) -> None:
        self._report.at(spot, found, f"{expected}; nothing after this was read")
        raise Unreadable

    def _check_tag(self, tag: str | None, spot: Spot) -> None:
        if tag is not None and tag not in _PLAIN_TAGS:
            shown = quoted(tag.replace(_TAG, "!!"))
            self._report.at(spot, f"the tag {shown}", "values without tags: no object is built here")

    def _scalar(self, event: yaml.ScalarEvent, spot: Spot) -> Scalar:
        plain = event.tag is None and event.implicit[0]
        self._check_tag(event.tag, spot)
        if (half := _SURROGATE.search(event.value)) is not None:
            self._report.at(spot, f"text with the character U+{ord(half[0]):04X}", "whole characters")
        if not plain:
            return Scalar(spot, event.value, "str", plain)
        tag: str = self._resolver.resolve(yaml.ScalarNode, event.value, (True, False))
        return Scalar(spot, event.value, tag.removeprefix(_TAG), plain)

    def _alias(self, anchor: str, spot: Spot) -> Value:
        if any(frame.anchor == anchor for frame in self._open):
            self._stop(spot, f"the alias *{anchor} inside what it stands for", "an alias of an earlier value")
        if anchor not in self._anchors:
            self._stop(spot, f"the alias *{anchor}, which nothing defines", f"&{anchor} before it")
        return self._anchors[anchor]

    def _close(self, value: Value, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = value
        if not self._open:
            self.root = value
            return
        frame = self._open[-1]
        frame.children.append(value)
        frame.size += value.size
        # Counted as expanded, where it is put together: nine aliases of nine aliases of … stop here.
        if frame.size > MAX_NODES:
            found = f"more than {MAX_NODES} values, aliases expanded"
            self._stop(frame.spot, found, "at most that many")

    def _items(self, done: _Open) -> Items:
        return Items(done.spot, tuple(done.children), done.size)

    def _table(self, done: _Open) -> Table:
        own: dict[str, tuple[Scalar, Value]] = {}
        merged: dict[str, tuple[Scalar, Value]] = {}
        for key, value in zip(done.children[::2], done.children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._report.at(key.spot, f"{describe(key)} as a key", "a word as a key")
            elif key.text in own:
                first = own[key.text][0].spot.line
                found = f"the key {quoted(key.text)} a second time (first on line {first})"
                self._report.at(key.spot, found, "each key once")
            elif key.kind == "merge":
                own[key.text] = (key, value)
                self._merge(value, merged)
            elif key.kind not in ("str", "value"):
                fix = f'a word as a key; if that text is meant, write "{key.text}" in quotes'
                self._report.at(key.spot, f"{describe(key)}, as a key", fix)
            else:
                own[key.text] = (key, value)
        entries = {**merged, **{text: entry for text, entry in own.items() if entry[0].kind != "merge"}}
        return Table(done.spot, tuple(entries.values()), done.size)

    def _merge(self, value: Value, merged: dict[str, tuple[Scalar, Value]]) -> None:
        sources = value.items if isinstance(value, Items) else (value,)
        for source in sources:
            if not isinstance(source, Table):
                self._report.at(
                    source.spot, f"{describe(source)} after <<", "a mapping, or a list of mappings"
                )
                continue
            for key, entry in source.entries:
                merged.setdefault(key.text, (key, entry))
