"""Where a fault is said to be, and the collection of all of them.

Decides how a place in a configuration is named: ``file:line:column`` where a file
was read, ``listener 'x'`` or ``organism`` where Python built it. Holds no rule about
what is a fault. For the files of this package only.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, final

from phloem.errors import ConfigurationError, ConfigurationFault

LONGEST_QUOTE: Final = 60  # characters of somebody's input in one fault; the place says the rest

_NUMBERED: Final = MappingProxyType({"pipeline": "edit", "sources": "source", "egress": "egress"})

Path = tuple[str | int, ...]
"""A value's way from the top: ``("listeners", 2, "peers", 0)``."""


class Spot(NamedTuple):
    """A place in a text, both counted from 1, as editors do."""

    line: int
    column: int


class Report(Protocol):
    """What checks report to. ``broken`` are values already reported: nothing follows from them."""

    broken: set[Path]

    def add(self, path: Path, found: str, expected: str) -> None:
        """Report a fault of the value at ``path``."""
        ...


def quoted(text: str) -> str:
    """The text in quotes, escaped, at most 60 characters of it."""
    return repr(text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…")


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant; case is no difference."""
    by_fold = {name.casefold(): name for name in known}
    hits = difflib.get_close_matches(word.casefold(), by_fold, n=1)
    return by_fold[hits[0]] if hits else None


def suggesting(expected: str, word: str, known: Iterable[str]) -> str:
    """``expected``, and the closest known word where there is one."""
    hit = closest(word, known)
    return expected if hit is None else f"{expected}; did you mean {quoted(hit)}?"


def raised(faults: Iterable[ConfigurationFault]) -> None:
    """Raise them all, each once; nothing happens if there are none."""
    if unique := tuple(dict.fromkeys(faults)):
        raise ConfigurationError(unique)


@final
class FileReport:
    """Faults of one file, in the order in which its reader meets them from top to bottom."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.broken: set[Path] = set()
        self.places: dict[Path, Spot] = {}
        self.names: dict[int, str] = {}  # listeners that were handed in beside the file
        self._faults: list[tuple[Spot, ConfigurationFault]] = []

    def at(self, spot: Spot, found: str, expected: str) -> None:
        """Report a fault at a spot of the file."""
        where = f"{self.file}:{spot.line}:{spot.column}"
        self._faults.append((spot, ConfigurationFault(where, found, expected)))

    def beside(self, where: str, found: str, expected: str) -> None:
        """Report a fault that is not in this file's text: the file itself, or its ``.env``."""
        self._faults.append((Spot(0, 0), ConfigurationFault(where, found, expected)))

    def add(self, path: Path, found: str, expected: str) -> None:
        if len(path) > 1 and path[0] == "listeners" and path[1] in self.names:
            last = Spot(2**31, int(path[1]))
            self._faults.append((last, ConfigurationFault(self.names[int(path[1])], found, expected)))
            return
        known = next(path[:end] for end in range(len(path), -1, -1) if path[:end] in self.places or not end)
        self.at(self.places.get(known, Spot(1, 1)), found, expected)

    def raise_all(self) -> None:
        """Raise ConfigurationError if anything was reported."""
        raised(fault for _, fault in sorted(self._faults, key=lambda entry: entry[0]))


@final
class PythonReport:
    """Faults of a configuration that Python built, named by listener."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.broken: set[Path] = set()
        self._names = names
        self._faults: list[ConfigurationFault] = []

    def add(self, path: Path, found: str, expected: str) -> None:
        where = "organism"
        if len(path) > 1 and path[0] == "listeners":
            where = self._names[int(path[1])]
        elif len(path) > 1 and path[0] in _NUMBERED:
            where = f"{_NUMBERED[str(path[0])]} number {int(path[1]) + 1}"
        elif len(path) > 2 and path[:2] == ("llm", "backends"):
            where = f"backend number {int(path[2]) + 1}"
        self._faults.append(ConfigurationFault(where, found, expected))

    def raise_all(self) -> None:
        """Raise ConfigurationError if anything was reported."""
        raised(self._faults)


def listener_place(name: object, number: int) -> str:
    """How a listener without a line in a file is called."""
    return f"listener {quoted(name)}" if isinstance(name, str) and name else f"listener number {number}"
