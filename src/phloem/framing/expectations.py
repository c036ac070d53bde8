"""What a line of a batch may expect of its message, and how what came differs. Pure.

Decides what ``expect`` may say: ``state`` (by default completed), ``payloads`` (for each answer, fields
that it must have; others are free) and ``within_ms``. Reads results, never makes them. For scripted runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, final

from phloem.errors import InvalidMessage
from phloem.messages import ConversationState, Fault, HuhCode, Outcome

from .scalars import Digits, shown

__all__ = ["Difference", "Expectation", "differences", "read_expectation"]

_KEYS: Final = ("state", "payloads", "within_ms")
_MISSING: Final = "nothing"
_LONGEST: Final = 200  # characters of a value that a difference shows


@final
@dataclass(frozen=True, slots=True)
class Expectation:
    """What is to come of one message. ``payloads`` None: whatever it answers."""

    state: ConversationState = ConversationState.COMPLETED
    payloads: tuple[Any, ...] | None = None
    within_ms: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """Where something else came than was expected."""

    path: str
    expected: str
    came: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, came {self.came}"


def read_expectation(given: object, *, virtual: bool) -> Expectation:
    """The ``expect`` of a line. Raises InvalidMessage with every fault."""
    if not isinstance(given, dict):
        raise InvalidMessage([Fault(HuhCode.TYPE, "expect", shown(given), f"an object with {_listed()}")])
    entry = cast("dict[str, Any]", given)
    faults = [
        Fault(HuhCode.UNEXPECTED_ELEMENT, f"expect.{key[:60]}", f"a key {shown(key)}", _listed())
        for key in entry
        if key not in _KEYS
    ]
    state = entry.get("state", ConversationState.COMPLETED.value)
    if state not in list(ConversationState):
        words = ", ".join(each.value for each in ConversationState)
        faults.append(Fault(HuhCode.ENUM, "expect.state", shown(state), f"one of {words}"))
    payloads = entry.get("payloads")
    if payloads is not None and not _is_objects(payloads):
        faults.append(Fault(HuhCode.TYPE, "expect.payloads", shown(payloads), "a list of objects"))
    within: Any = _plain(entry.get("within_ms"))
    if within is not None and (isinstance(within, bool) or not isinstance(within, int | float) or within < 0):
        found = shown(entry["within_ms"])
        faults.append(Fault(HuhCode.TYPE, "expect.within_ms", found, "milliseconds, 0 or more"))
    elif within is not None and not virtual:
        # In real time it would be true on one machine and not on the next.
        expected = "it with --virtual or --seed, where time is virtual"
        faults.append(Fault(HuhCode.UNEXPECTED_ELEMENT, "expect.within_ms", str(within), expected))
    if faults:
        raise InvalidMessage(faults)
    plain = None if payloads is None else tuple(_plain(each) for each in payloads)
    return Expectation(ConversationState(state), plain, within)


def differences(
    expected: Expectation, outcome: Outcome, payloads: Sequence[Any], ms: float | None
) -> list[Difference]:
    """What came otherwise. ``payloads``: the fields of each answer, as results show them."""
    found: list[Difference] = []
    if outcome.state is not expected.state:
        cause = "" if outcome.cause is None else f" ({outcome.cause})"
        found.append(Difference("state", expected.state.value, f"{outcome.state.value}{cause}"[:_LONGEST]))
    if expected.payloads is not None:
        if len(payloads) != len(expected.payloads):
            count = f"{len(expected.payloads)} of them"
            came = f"{len(payloads)}: {_json(payloads)}" if payloads else "none"
            found.append(Difference("payloads", count, came))
        for index, (wanted, came_fields) in enumerate(zip(expected.payloads, payloads, strict=False)):
            _compare(wanted, _plain(came_fields), f"payloads[{index}]", found)
    if expected.within_ms is not None and (ms is None or ms > expected.within_ms):
        came = "no time at all: it was not accepted" if ms is None else f"{ms:,}"
        found.append(Difference("within_ms", f"at most {expected.within_ms:,}", came))
    return found


def _compare(wanted: Any, came: Any, path: str, found: list[Difference]) -> None:
    """Objects: at least these fields. Lists: these members. Else the same value."""
    asked, there = _fields(wanted), _fields(came)
    if asked is not None and there is not None:
        for key, value in asked.items():
            if key in there:
                _compare(value, there[key], f"{path}.{key}", found)
            else:
                found.append(Difference(f"{path}.{key}", _json(value), _MISSING))
        return
    ours, theirs = _members(wanted), _members(came)
    if ours is not None and theirs is not None and len(ours) == len(theirs):
        for index, (value, other) in enumerate(zip(ours, theirs, strict=True)):
            _compare(value, other, f"{path}[{index}]", found)
        return
    if isinstance(wanted, bool) is not isinstance(came, bool) or wanted != came:
        found.append(Difference(path, _json(wanted), _json(came)))


def _plain(value: Any) -> Any:
    """A JSON value with numbers as numbers, wherever they were kept as they were written."""
    if isinstance(value, Digits):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast("Sequence[Any]", value)]
    return value


def _is_objects(value: object) -> bool:
    members = _members(value)
    return members is not None and all(isinstance(each, dict) for each in members)


def _fields(value: object) -> Mapping[str, Any] | None:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else None


def _members(value: object) -> Sequence[Any] | None:
    return cast("Sequence[Any]", value) if isinstance(value, list) else None


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _listed() -> str:
    return ", ".join(_KEYS)
