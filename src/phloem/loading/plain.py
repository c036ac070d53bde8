"""Values whose shape somebody else knows, and values that nobody may see: options of factories, headers.

Decides how YAML becomes plain Python where no table says what is meant, so that nothing is guessed; and
what may be a header of HTTP. A fault here never quotes a value: keys of providers stand in both. For the
tables of ``llm_keys``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast, final

from .report import FileReport, Path, Report
from .rules import BROKEN, number_in, whole_in
from .sections import is_nothing
from .tree import Items, Scalar, Table, Value

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110's token
_VALUE: Final = re.compile(r"([\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?)?")
_CLIENTS_OWN: Final = frozenset({"content-length", "transfer-encoding", "connection"})
_KINDS: Final[Mapping[str, str]] = {
    "bool": "a truth",
    "int": "a number",
    "float": "a number",
    "null": "nothing",
    "timestamp": "a date",
}


def _hidden(value: object) -> str:
    """What stands there, by its kind alone."""
    if isinstance(value, Scalar):
        kind = _KINDS.get(value.kind, "a text")
        return kind if kind in ("a text", "nothing") else f"what YAML 1.1 reads as {kind}"
    if isinstance(value, (Items, list, tuple)):
        return "a list"
    return "a mapping" if isinstance(value, (Table, Mapping)) else f"a {type(value).__name__}"


def _tell(report: Report, path: Path, found: str, expected: str) -> object:
    """As ``rules.tell``, but names no key: one may have been taken for the other."""
    report.broken.add(path)
    report.add(path, found, expected)
    return BROKEN


@final
@dataclass(frozen=True, slots=True)
class Plain:
    """Anything: texts, numbers in decimal, true, false, null, and lists and mappings of these."""

    expected: str = "a text, a number in decimal, true, false, null, a list or a mapping"

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        """The same in Python. What YAML 1.1 takes for something else than it looks like is a fault."""
        if isinstance(value, Items):
            return [
                self.read(each, self._at(path, i, each, report), report) for i, each in enumerate(value.items)
            ]
        if isinstance(value, Table):
            return {
                key.text: self.read(each, self._at(path, key.text, each, report, key), report)
                for key, each in value.entries
            }
        match value.kind:
            case "null":
                return None
            case "bool" if value.text.lower() in ("true", "false"):
                return value.text.lower() == "true"
            case "int" if (whole := whole_in(value)) is not None:
                return whole
            case "float" if (number := number_in(value)) is not None:
                return number
            case "str" | "value" | "merge":
                return value.text
            case _:
                return _tell(report, path, _hidden(value), f"{self.expected}; a text like this in quotes")

    def _at(
        self, path: Path, part: str | int, value: Value, report: FileReport, key: Scalar | None = None
    ) -> Path:
        place = (*path, part)
        report.places[place] = key.spot if key is not None and is_nothing(value) else value.spot
        return place

    def check(self, value: Any, path: Path, report: Report) -> None:
        """Whatever Python gives is what it means."""


@final
@dataclass(frozen=True, slots=True)
class Headers:
    """Headers of HTTP by name, each a text."""

    expected: str = "a mapping with names of HTTP headers and their texts"

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if not isinstance(value, Table):
            return _tell(report, path, f"{_hidden(value)} as headers", self.expected)
        result: dict[str, object] = {}
        for key, entry in value.entries:
            place = (*path, key.text)
            report.places[place] = key.spot if is_nothing(entry) else entry.spot
            report.places[(*place, "name")] = key.spot
            if not isinstance(entry, Scalar) or entry.kind not in ("str", "value", "merge"):
                hint = "a text; in quotes, if it is one" if isinstance(entry, Scalar) else "a text"
                _tell(report, place, f"{_hidden(entry)} as a header's value", hint)
                continue
            result[key.text] = entry.text
        return result

    def check(self, value: Any, path: Path, report: Report) -> None:
        if not isinstance(value, Mapping):
            _tell(report, path, f"{_hidden(value)} as headers", self.expected)
            return
        seen: set[str] = set()
        for name, text in cast("Mapping[object, object]", value).items():
            place = (*path, str(name), "name")
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                expected = "letters, digits and - as in X-Team"
                _tell(report, place, "what cannot be the name of an HTTP header", expected)
            elif name.casefold() in _CLIENTS_OWN:
                _tell(report, place, f"the header {name.casefold()}", "none that each request has of its own")
            elif name.casefold() in seen:
                _tell(report, place, "the same header a second time", "each header once, in any case")
            elif not isinstance(text, str):
                _tell(report, place[:-1], f"{_hidden(text)} as a header's value", "a text")
            elif not _VALUE.fullmatch(text):
                expected = "printable ASCII in one line, without spaces around it"
                _tell(report, place[:-1], "what cannot be the value of an HTTP header", expected)
            if isinstance(name, str):
                seen.add(name.casefold())
