"""How the values of the llm section are looked at: types and ranges, all faults at once. Pure.

Decides which plain value fits and how a fault names its place: ``llm.backends[0].timeout``. A file's
values were looked at before, with line and column; these are for what Python hands in. Never quotes what
may be a key. Called by ``settings``, ``backend_settings`` and nobody else.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar, cast, final

from phloem.errors import ConfigurationFault

__all__ = ["Section", "closest", "shown"]

LONGEST_QUOTE: Final = 60  # characters of somebody's input in one fault, as everywhere

E = TypeVar("E", bound=StrEnum)

Problem = Callable[[str], tuple[str, str] | None]
"""(found, expected) of a text that does not do, or None."""


def shown(value: object) -> str:
    """A value as a fault tells of it."""
    if isinstance(value, str):
        cut = value if len(value) <= LONGEST_QUOTE else value[: LONGEST_QUOTE - 1] + "…"
        return f"the text {cut!r}" if value else "an empty text"
    if value is None or isinstance(value, (bool, float)):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**LONGEST_QUOTE else "a huge number"
    return f"a {type(value).__name__}"


def closest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or nothing."""
    hits = difflib.get_close_matches(word.casefold(), list(known), n=1)
    return f"; did you mean {hits[0]!r}?" if hits else ""


@final
class Section:
    """One mapping: gives each key's value, or its default once its fault is noted."""

    def __init__(self, given: object, where: str, faults: list[ConfigurationFault], expected: str) -> None:
        self.where, self._faults = where, faults
        self.given: Mapping[Any, Any] = dict[Any, Any]()
        if isinstance(given, Mapping):
            self.given = cast("Mapping[object, Any]", given)
        else:
            faults.append(ConfigurationFault(where, shown(given), expected))

    def fault(self, key: str, found: str, expected: str) -> None:
        """Note a fault of a key's value."""
        self._faults.append(ConfigurationFault(f"{self.where}.{key}", found, expected))

    def only(self, known: Sequence[str]) -> None:
        """Note each key that is not among those known."""
        for key in self.given:
            if key not in known:
                meant = closest(key, known) if isinstance(key, str) else ""
                found = f"the unknown key {shown(key).removeprefix('the text ')}"
                expected = f"one of {', '.join(known)}{meant}"
                self._faults.append(ConfigurationFault(self.where, found, expected))

    def whole(self, key: str, default: int, low: int | None = 1) -> int:
        """A whole number, of at least ``low``."""
        value = self.given.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and (low is None or value >= low):
            return value
        self.fault(key, shown(value), "a whole number" + ("" if low is None else f", at least {low}"))
        return default

    def seconds(self, key: str, default: float, *, zero: bool = False) -> float:
        """A finite length of time, above 0 or (``zero``) not below it."""
        words = f"seconds, {'0 or more' if zero else 'more than 0'}"
        value = self.number(key, default, words)
        if value > 0 or (zero and value == 0):
            return float(value)
        self.fault(key, shown(value), words)
        return default

    def number(self, key: str, default: float, expected: str, high: float = math.inf) -> float | Decimal:
        """A finite number from 0 to ``high``."""
        value: Any = self.given.get(key, default)
        if (
            isinstance(value, (int, float, Decimal))
            and not isinstance(value, bool)
            and math.isfinite(value)
            and 0 <= value <= high
        ):
            return value
        self.fault(key, shown(value), expected)
        return default

    def flag(self, key: str) -> bool:
        """True or false; false by default."""
        value = self.given.get(key, False)
        if isinstance(value, bool):
            return value
        self.fault(key, shown(value), "true or false")
        return False

    def text(self, key: str, expected: str, problem: Problem | None = None) -> str:
        """A text, by default none: the empty one."""
        value = self.given.get(key, "")
        if not isinstance(value, str):
            self.fault(key, shown(value), expected)
            return ""
        if value and problem is not None and (wrong := problem(value)) is not None:
            self.fault(key, *wrong)
            return ""
        return value

    def texts(self, key: str, expected: str) -> tuple[str, ...]:
        """A list of texts with something in each, by default an empty one."""
        value = self.given.get(key, ())
        if isinstance(value, str) or not isinstance(value, Sequence):
            self.fault(key, shown(value), expected)
            return ()
        items = cast("Sequence[object]", value)
        for place, item in enumerate(items):
            if not isinstance(item, str) or not item:
                self.fault(f"{key}[{place}]", shown(item), "text")
        return tuple(item for item in items if isinstance(item, str) and item)

    def choice(self, key: str, default: E) -> E:
        """One of an enumeration's words."""
        value = self.given.get(key, default)
        options = [each.value for each in type(default)]
        if isinstance(value, str) and value in options:
            return type(default)(value)
        meant = closest(value, options) if isinstance(value, str) else ""
        self.fault(key, shown(value), f"one of {', '.join(options)}{meant}")
        return default
