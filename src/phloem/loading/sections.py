"""The kinds of values that hold others: mappings with known keys, with free ones, and lists.

Decides how their parts are found and where a fault in them is told, for files and for Python alike.
Knows no key: ``keys`` has the tables. What a single value may be is in ``rules``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

from .report import FileReport, Path, Report, closest, quoted
from .rules import BROKEN, Rule, shown, tell, wrong
from .tree import Items, Scalar, Table, Value


def is_nothing(value: Value) -> bool:
    """True for a key without a value: nothing stands nowhere, its key does."""
    return isinstance(value, Scalar) and value.kind == "null" and not value.text


@final
@dataclass(frozen=True, slots=True)
class Key:
    """A key: its kind of value, the attribute it is kept as, and whether it must be there."""

    rule: Rule
    field: str = ""
    required: bool = False


Keys = Mapping[str, Key]


@final
@dataclass(frozen=True, slots=True)
class Section:
    """A mapping with known keys. Read as a dict by YAML key; faults of keys point at the key."""

    keys: Keys
    expected: str
    homes: Mapping[str, str] | None = None  # keys that belong elsewhere, and where
    others: Rule | None = None  # what stands under any further key; None: there is none

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if not isinstance(value, Table):
            return wrong(self, value, path, report)
        report.places.setdefault(path, value.spot)
        result: dict[str, object] = {}
        given = {key.text for key, _ in value.entries}
        for key, entry in value.entries:
            known = self.keys.get(key.text)
            rule = self.others if known is None else known.rule
            if rule is None:
                report.at(key.spot, f"the unknown key {quoted(key.text)}", self._instead(key.text))
                meant = closest(key.text, self.keys)
                if meant is not None and meant not in given:
                    report.broken.add((*path, meant))  # misspelt, so not missing as well
                continue
            place = (*path, key.text)
            report.places[place] = key.spot if is_nothing(entry) else entry.spot
            read = rule.read(entry, place, report)
            if read is not BROKEN:
                result[key.text] = read
        return result

    def check(self, value: Any, path: Path, report: Report) -> None:
        if not isinstance(value, Mapping):
            tell(report, path, shown(value), self.expected)
            return
        plain = cast("Mapping[str, object]", value)
        for key, entry in plain.items():
            known = self.keys.get(key)
            rule = self.others if known is None and isinstance(cast("object", key), str) else None
            rule = rule if known is None else known.rule
            if rule is None:
                report.add((*path, key), f"the unknown key {quoted(str(key))}", self._instead(str(key)))
            elif (*path, key) not in report.broken:
                rule.check(entry, (*path, key), report)
        self.missing(plain, path, report)

    def missing(self, value: Mapping[str, object], path: Path, report: Report) -> None:
        """Report each required key that is not there (a broken one is)."""
        for key, known in self.keys.items():
            if known.required and key not in value and (*path, key) not in report.broken:
                report.add(path, f"no {key}", f"{key}: {known.rule.expected}")

    def _instead(self, key: str) -> str:
        home = (self.homes or {}).get(key)
        if home is not None:
            return f"it {home}"
        meant = closest(key, self.keys)
        return (
            "one of " + ", ".join(self.keys)
            if meant is None
            else f"a known key; did you mean {quoted(meant)}?"
        )


@final
@dataclass(frozen=True, slots=True)
class Each:
    """A list of values of one kind. A broken one leaves its place empty: BROKEN."""

    rule: Rule
    expected: str

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if not isinstance(value, Items):
            return wrong(self, value, path, report)
        for index, item in enumerate(value.items):
            report.places[(*path, index)] = item.spot
        return [self.rule.read(item, (*path, index), report) for index, item in enumerate(value.items)]

    def check(self, value: Any, path: Path, report: Report) -> None:
        if isinstance(value, str) or not isinstance(value, Sequence):
            tell(report, path, shown(value), self.expected)
            return
        for index, item in enumerate(cast("Sequence[object]", value)):
            if (*path, index) not in report.broken:
                self.rule.check(item, (*path, index), report)


@final
@dataclass(frozen=True, slots=True)
class Named:
    """A mapping whose keys are the user's own names, each with a value of one kind."""

    rule: Rule
    expected: str

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if not isinstance(value, Table):
            return wrong(self, value, path, report)
        result: dict[str, object] = {}
        for key, entry in value.entries:
            place = (*path, key.text)
            report.places[place] = key.spot if is_nothing(entry) else entry.spot
            read = self.rule.read(entry, place, report)
            if read is not BROKEN:
                result[key.text] = read
        return result

    def check(self, value: Any, path: Path, report: Report) -> None:
        if not isinstance(value, Mapping):
            tell(report, path, shown(value), self.expected)
            return
        seen: set[str] = set()
        for key, entry in cast("Mapping[object, object]", value).items():
            if not isinstance(key, str) or not key:
                report.add(path, f"{shown(key)} as a key", "a name as a key")
                continue
            if key.casefold() in seen:
                report.add((*path, key), f"{quoted(key)} a second time", "each name once, in any case")
            elif (*path, key) not in report.broken:
                self.rule.check(entry, (*path, key), report)
            seen.add(key.casefold())


@final
@dataclass(frozen=True, slots=True)
class Either:
    """A value of one of two kinds; ``first`` is for lists, ``second`` for all else."""

    first: Rule
    second: Rule

    @property
    def expected(self) -> str:
        return f"{self.first.expected}, or {self.second.expected}"

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        return (self.first if isinstance(value, Items) else self.second).read(value, path, report)

    def check(self, value: Any, path: Path, report: Report) -> None:
        (self.first if isinstance(value, (list, tuple)) else self.second).check(value, path, report)
