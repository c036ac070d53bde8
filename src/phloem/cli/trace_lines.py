"""The file of a simulated run: a line of what it was, then its events, conversations and messages.

Decides the format, which is NDJSON: the first line is a header with ``trace`` (the format's version), and
each further one is told by a key that only its kind has. Refuses what is none, with file and line. Pure
but for reading the file. ``simulation`` writes, ``trace`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast, final

import click

__all__ = ["Row", "TraceFile", "event_line", "header_line", "read_trace", "row_line"]

VERSION: Final = 1
LONGEST_LINE: Final = 16 << 20  # bytes; a payload is cut short as it is written, a stack has some hundred
Row = dict[str, Any]

_TEXT: Final = (str,)
_COUNT: Final = (int,)
_SECONDS: Final = (int, float)
_NO_TEXT: Final = (str, type(None))
_NO_SECONDS: Final = (int, float, type(None))

_HEADER: Final[Mapping[str, tuple[type, ...]]] = {
    "trace": _COUNT, "organism": _TEXT, "seed": _COUNT, "strategy": _TEXT, "token": _TEXT,
    "digest": _TEXT, "outcome": _TEXT, "steps": _COUNT, "seconds": _SECONDS,
}  # fmt: skip
# By the key that only this kind of line has.
_KINDS: Final[Mapping[str, Mapping[str, tuple[type, ...]]]] = {
    "kind": {"step": _COUNT, "kind": _TEXT, "text": _TEXT},
    "state": {
        "at": _SECONDS, "conversation": _TEXT, "from": _TEXT,
        "ended": _NO_SECONDS, "state": _NO_TEXT, "why": _NO_TEXT,
    },
    "message": {
        "at": _SECONDS, "message": _TEXT, "conversation": _TEXT, "parent": _NO_TEXT, "from": _TEXT,
        "to": _TEXT, "listener": _TEXT, "payload": _TEXT, "attempts": _COUNT,
        "started": _NO_SECONDS, "ended": _NO_SECONDS, "ending": _NO_TEXT, "why": _NO_TEXT,
    },
    "refused": {
        "at": _SECONDS, "refused": _TEXT, "path": _TEXT, "conversation": _TEXT, "parent": _NO_TEXT,
        "from": _TEXT,
    },
}  # fmt: skip
_NAMES: Final[Mapping[type, str]] = {
    str: "a text", int: "a whole number", float: "a number", type(None): "null",
}  # fmt: skip


@final
@dataclass(slots=True)
class TraceFile:
    """One file. ``events`` in their order, each with its line's number; the rest likewise."""

    path: str
    header: Row
    events: list[tuple[int, Row]] = field(default_factory=list[tuple[int, Row]])
    conversations: list[tuple[int, Row]] = field(default_factory=list[tuple[int, Row]])
    messages: list[tuple[int, Row]] = field(default_factory=list[tuple[int, Row]])
    refusals: list[tuple[int, Row]] = field(default_factory=list[tuple[int, Row]])

    @property
    def rows(self) -> Iterator[tuple[int, Row]]:
        """All after the header, kind by kind."""
        for rows in (self.events, self.conversations, self.messages, self.refusals):
            yield from rows


def header_line(**values: Any) -> str:
    """The first line, with its line end."""
    return row_line({"trace": VERSION, **values})


def row_line(row: Row) -> str:
    """Any other line, with its line end. A lone surrogate of a payload stays an escape."""
    text = json.dumps(row, ensure_ascii=False, separators=(", ", ": "))
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(row, separators=(", ", ": "))
    return f"{text}\n"


def event_line(row: Row) -> str:
    """An event for people: as a trace is printed everywhere."""
    return f"{row['step']:6d}  {row['kind']:6s}  {row['text']}"


def read_trace(path: str) -> TraceFile:
    """The whole file. Raises OSError, and ClickException for what is no trace, with file and line."""
    with open(path, "rb") as stream:
        lines = _lines(path, iter(lambda: stream.readline(LONGEST_LINE + 1), b""))
        number, header = next(lines, (1, None))
        if header is None:
            raise _wrong(path, number, "an empty file", "the first line of a trace (see phloem sim --out)")
        _check_header(path, number, header)
        trace = TraceFile(path, header)
        lists: dict[str, list[tuple[int, Row]]] = {
            "kind": trace.events,
            "state": trace.conversations,
            "message": trace.messages,
            "refused": trace.refusals,
        }
        for number, row in lines:
            name = next((name for name in _KINDS if name in row), None)
            if name is None:
                keys = ", ".join(list(row)[:8]) or "no key"
                raise _wrong(path, number, f"an object with {keys}", f"one with {' or '.join(_KINDS)}")
            _check(path, number, row, _KINDS[name])
            lists[name].append((number, row))
    return trace


def _check_header(path: str, number: int, header: Row) -> None:
    if "trace" not in header:
        keys = ", ".join(list(header)[:8]) or "no key"
        expected = 'the header of a trace, {"trace": 1, …}'
        raise _wrong(path, number, f"an object with {keys}", expected)
    if header["trace"] != VERSION:
        raise _wrong(path, number, f"a trace of version {_shown(header['trace'])}", f"version {VERSION}")
    _check(path, number, header, _HEADER)


def _check(path: str, number: int, row: Row, keys: Mapping[str, tuple[type, ...]]) -> None:
    for key, kinds in keys.items():
        if key not in row:
            raise _wrong(path, number, f"no {key}", f"one, beside {', '.join(list(row)[:8])}")
        if type(row[key]) not in kinds:
            expected = " or ".join(dict.fromkeys(_NAMES[kind] for kind in kinds))
            raise _wrong(path, number, f"{key} {_shown(row[key])}", expected)


def _lines(path: str, raw: Iterable[bytes]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(raw, 1):
        if len(line) > LONGEST_LINE:
            raise _wrong(path, number, f"a line of more than {LONGEST_LINE:,} bytes", "a shorter one")
        if line.strip():
            yield number, _parsed(path, number, line)


def _parsed(path: str, number: int, line: bytes) -> Row:
    try:
        row: Any = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), parse_constant=_refused)
    except UnicodeDecodeError as error:
        raise _wrong(path, number, f"byte 0x{line[error.start]:02x}", "UTF-8") from None
    except (ValueError, RecursionError):
        raise _wrong(path, number, _shown(line[:40].decode("utf-8", "replace").strip()), "JSON") from None
    if not isinstance(row, dict):
        raise _wrong(path, number, _shown(row), "an object")
    return cast("Row", row)


def _refused(constant: str) -> Callable[[], None]:
    raise ValueError(constant)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _wrong(path: str, number: int, found: str, expected: str) -> click.ClickException:
    return click.ClickException(f"{path}:{number}: found {found}, expected {expected}")
