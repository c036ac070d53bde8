"""The kinds of single values a configuration may hold: how each is read from YAML, and which fit.

Decides types and ranges, one class per kind, each with the words for what it expects.
Knows no key (``keys`` has the tables) and nothing of listeners or classes; mappings and lists of
anything are in ``sections``. A value from a file is read and then checked; a value from Python is
only checked: one rule for both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol, cast, final

from .report import FileReport, Path, Report, quoted, suggesting
from .tree import Items, Scalar, Value, decimal, describe

BROKEN: Final = object()  # what a value is read as once its fault is reported

_WHOLE: Final = re.compile(r"[+-]?(0|[1-9][0-9_]*)")
_NUMBER: Final = re.compile(r"[+-]?(0|[1-9][0-9_]*)?(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_LONGEST_NUMBER: Final = 18  # characters; int() refuses thousands, and nobody means them


class Rule(Protocol):
    """One kind of value."""

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        ...

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        """The plain value, or BROKEN once the fault is reported."""
        ...

    def check(self, value: Any, path: Path, report: Report) -> None:
        """Report a plain value that is of the wrong type or out of range."""
        ...


def tell(report: Report, path: Path, found: str, expected: str) -> object:
    """Report what stands at a path, by the name of its key, as broken."""
    name = next((part for part in reversed(path) if isinstance(part, str)), "organism")
    report.broken.add(path)
    comma = "," if ", which " in found else ""
    report.add(path, f"{found}{comma} as {name}", expected)
    return BROKEN


def shown(value: object) -> str:
    """A Python value as a fault quotes it."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return f"the text {quoted(value)}" if value else "an empty text"
    if isinstance(value, (bool, int, float)):
        huge = isinstance(value, int) and abs(value) >= 10**_LONGEST_NUMBER
        return "a huge number" if huge else str(value)
    return f"a {type(value).__name__}"


def wrong(rule: Rule, value: Value, path: Path, report: FileReport, hint: str = "") -> object:
    """Report a value of a file that is none of a rule's."""
    return tell(report, path, describe(value), rule.expected + hint)


def number_in(value: Scalar) -> float | None:
    """The number that a plain word writes in decimal."""
    text = value.text.casefold()
    if len(text) > _LONGEST_NUMBER or not any(map(str.isdecimal, text)) or not _NUMBER.fullmatch(text):
        return None
    number = float(text.replace("_", ""))
    return number if math.isfinite(number) else None  # 1e999 is not how one says none


def whole_in(value: Scalar) -> int | None:
    """The whole number that a plain word writes in decimal."""
    if _WHOLE.fullmatch(value.text) and len(value.text) <= _LONGEST_NUMBER:
        return int(value.text.replace("_", ""))
    return None


def _says_none(value: Value) -> bool:
    return isinstance(value, Scalar) and value.plain and value.text.casefold() in ("none", ".inf", "+.inf")


def _in_decimal(value: Scalar) -> str:
    known = value.kind == "int" and len(value.text) <= _LONGEST_NUMBER
    number = decimal(value) if known else None
    return "" if number is None else f"; in decimal that is {number}"


@final
@dataclass(frozen=True, slots=True)
class Text:
    """Text; ``problem`` says what is wrong with one, or None."""

    expected: str = "text"
    empty: bool = True
    problem: Callable[[str], tuple[str, str] | None] | None = None

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if not isinstance(value, Scalar):
            return wrong(self, value, path, report)
        if value.kind not in ("str", "value", "merge"):
            hint = f'; if that text is meant, write "{value.text}" in quotes' if value.text else ""
            return wrong(self, value, path, report, hint)
        return value.text

    def check(self, value: Any, path: Path, report: Report) -> None:
        if not isinstance(value, str) or not (value or self.empty):
            tell(report, path, shown(value), self.expected)
        elif self.problem is not None and (wrong := self.problem(value)) is not None:
            tell(report, path, *wrong)


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]
    optional: bool = False  # None is allowed from Python, where it means: inherited

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(self.options)

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        return Text(self.expected).read(value, path, report)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if value is None and self.optional:
            return
        if not isinstance(value, str):
            tell(report, path, shown(value), self.expected)
        elif value not in self.options:
            tell(report, path, shown(value), suggesting(self.expected, value, self.options))


@final
@dataclass(frozen=True, slots=True)
class Flag:
    """True or false. YAML's yes and on are taken where nothing else could be meant."""

    expected: str = "true or false"

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if isinstance(value, Scalar) and value.kind == "bool":
            return value.text.lower() in ("true", "yes", "on")
        return wrong(self, value, path, report)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if not isinstance(value, bool):
            tell(report, path, shown(value), self.expected)


@final
@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number in decimal, within bounds."""

    low: int | None = 1
    high: int | None = None
    optional: bool = False  # None is allowed from Python, where it means: inherited
    none: bool = False  # none says that there is no bound, and is math.inf in Python

    @property
    def expected(self) -> str:
        if self.low is not None and self.high is not None:
            return f"a whole number from {self.low} to {self.high}"
        words = "a whole number" if self.low is None else f"a whole number, at least {self.low}"
        return f"{words}, or none for no bound" if self.none else words

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if self.none and _says_none(value):
            return math.inf
        if not isinstance(value, Scalar) or value.kind != "int":
            return wrong(self, value, path, report)
        number = whole_in(value)
        return wrong(self, value, path, report, _in_decimal(value)) if number is None else number

    def check(self, value: Any, path: Path, report: Report) -> None:
        if (value is None and self.optional) or (self.none and value == math.inf):
            return
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or (self.low is not None and value < self.low)
            or (self.high is not None and value > self.high)
        ):
            tell(report, path, shown(value), self.expected)


@final
@dataclass(frozen=True, slots=True)
class Seconds:
    """A length of time. ``none`` says that there is no bound, and is ``math.inf`` in Python."""

    zero: bool = False
    none: bool = False
    optional: bool = False

    @property
    def expected(self) -> str:
        words = f"seconds, {'0 or more' if self.zero else 'more than 0'}"
        return f"{words}, or none for no bound" if self.none else words

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if not isinstance(value, Scalar) or not value.plain:
            return wrong(self, value, path, report)
        if self.none and _says_none(value):
            return math.inf
        number = number_in(value)
        return wrong(self, value, path, report, _in_decimal(value)) if number is None else number

    def check(self, value: Any, path: Path, report: Report) -> None:
        if value is None and self.optional:
            return
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or math.isnan(value)
            or value < 0
            or (value == 0 and not self.zero)
            or (value == math.inf and not self.none)
        ):
            tell(report, path, shown(value), self.expected)


@final
@dataclass(frozen=True, slots=True)
class Number:
    """A finite number above 0 (``zero``: 0 as well), up to a bound."""

    expected: str = "a number, more than 0"
    high: float = math.inf
    zero: bool = False
    optional: bool = False  # None is allowed from Python, where it means: inherited
    none: bool = False  # none says that there is no bound, and is math.inf in Python
    exact: bool = False  # a Decimal from Python will do as well

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if self.none and _says_none(value):
            return math.inf
        number = number_in(value) if isinstance(value, Scalar) and value.plain else None
        hint = _in_decimal(value) if isinstance(value, Scalar) else ""
        return wrong(self, value, path, report, hint) if number is None else number

    def check(self, value: Any, path: Path, report: Report) -> None:
        if value is None and self.optional:
            return
        kinds = (int, float, Decimal) if self.exact else (int, float)
        if (
            not isinstance(value, kinds)
            or isinstance(value, bool)
            or math.isnan(value)
            or not 0 <= value <= self.high
            or (value == 0 and not self.zero)
            or (value == math.inf and not self.none)
        ):
            tell(report, path, shown(value), self.expected)


@final
@dataclass(frozen=True, slots=True)
class Texts:
    """A list of texts, or (``one``) a single one."""

    expected: str
    one: bool = False
    optional: bool = False

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if isinstance(value, Items):
            for index, item in enumerate(value.items):
                report.places[(*path, index)] = item.spot
            words = [Text().read(item, (*path, i), report) for i, item in enumerate(value.items)]
            # A broken item keeps its place, so that what is said of the others points at them.
            return tuple("" if word is BROKEN else word for word in words)
        if self.one:
            return Text(self.expected).read(value, path, report)
        return wrong(self, value, path, report)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if (value is None and self.optional) or (isinstance(value, str) and self.one):
            return
        if isinstance(value, str) or not isinstance(value, Sequence):
            tell(report, path, shown(value), self.expected)
            return
        for index, item in enumerate(cast("Sequence[object]", value)):
            if (*path, index) not in report.broken:
                Text("text", empty=False).check(item, (*path, index), report)
