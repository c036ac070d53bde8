"""What one run was: its value or failure, its trace, its schedule, and the token to have it again. Pure.

Decides how a trace is written and what the digest covers: who ran in which order, which tasks began and
ended, the clock, what was cut and noted, and how it ended. Never an address, never the order of a set.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from hashlib import blake2b
from typing import Any, cast, final, overload

from .injecting import FiredFault
from .looking import Stood
from .sites import Stack, scrubbed
from .tokens import Cut

__all__ = ["Result", "Trace", "TraceEvent", "canonical", "digest_of", "ending", "leaves"]


@final
@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One line of a trace.

    ``kind``: ``switch`` (which task goes on where, and where the one before it stands), ``spawn``, ``exit``,
    ``clock``, ``cut``, ``fault``, ``note``, ``end``. ``step`` counts from 0.
    """

    step: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.step:6d}  {self.kind:6s}  {self.text}"


@final
class Trace(Sequence[TraceEvent]):
    """The lines of a run, in order."""

    def __init__(self, events: Sequence[TraceEvent]) -> None:
        self._events = tuple(events)

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> TraceEvent: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[TraceEvent]: ...

    def __getitem__(self, index: int | slice) -> TraceEvent | Sequence[TraceEvent]:
        return self._events[index]

    def __iter__(self) -> Iterator[TraceEvent]:
        return iter(self._events)

    def __str__(self) -> str:
        return "\n".join(map(str, self._events))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One run. ``value`` is what ``main`` returned, ``failure`` what it raised or was stopped for.

    Both are None where a sweep's cut ended it well. ``schedule`` has a choice for each tick in which
    several tasks could run; 0 goes on with the same task. ``virtual_seconds`` passed on its clock.
    """

    seed: int
    strategy: str
    value: Any
    failure: BaseException | None
    digest: str
    trace: Trace
    schedule: tuple[int, ...]
    token: str
    virtual_seconds: float
    steps: int
    cut: Cut | None = None
    faults: tuple[FiredFault, ...] = ()
    cuts: tuple[Cut, ...] = ()
    sometimes: Mapping[str, bool] = field(default_factory=dict[str, bool])
    found: tuple[object, ...] = ()  # what the program's own oracles left (``Run.found``)
    diverged: bool = False  # a replay that did not do what its token says
    stood: Sequence[Stood] = ()  # where the task of each step stood, as far as that was looked at
    cut_stacks: Sequence[Stack] = ()
    order: Sequence[int] = ()  # which task ran at each step, by the order in which they began

    def unwrap(self) -> Any:
        """``value``, or raise ``failure``."""
        if self.failure is not None:
            raise self.failure
        return self.value

    def __repr__(self) -> str:
        how = f"failure={self.failure!r}" if self.failure is not None else f"value={self.value!r}"
        more = f"steps={self.steps} digest={self.digest[:8]}"
        return f"<Result seed={self.seed} {self.strategy} {scrubbed(how)} {more}>"


def digest_of(
    order: array[int],
    names: Sequence[str],
    log: Sequence[tuple[int, str, str]],
    value: object,
    failure: object,
) -> str:
    """32 hexadecimal digits, equal in every process."""
    whole = blake2b(digest_size=16)
    whole.update(b"".join(each.to_bytes(4, "little") for each in order))
    for name in names:
        whole.update(scrubbed(name).encode("utf-8", "backslashreplace") + b"\0")
    for step, kind, text in log:
        whole.update(f"{step}\0{kind}\0{scrubbed(text)}\0".encode("utf-8", "backslashreplace"))
    end = ending(value, failure) if failure is None else ending(value, failure).split("\n", 1)[0]
    whole.update(end.encode("utf-8", "backslashreplace"))  # not a deadlock's stacks: lines move with Python
    return whole.hexdigest()


def ending(value: object, failure: object) -> str:
    """How a run ended, in a line that is the same in every process."""
    if isinstance(failure, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", failure)
        parts = sorted(ending(None, each) for each in group.exceptions)
        return f"raised {type(group).__name__}({'; '.join(parts)})"
    if isinstance(failure, BaseException):
        return f"raised {type(failure).__name__}: {scrubbed(_text(failure))}"
    return f"returned {canonical(value)}"


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, of its groups and so on; of any other error, itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(each)
    else:
        yield error


def canonical(value: Any, depth: int = 8) -> str:
    """A value's ``repr`` without addresses, its sets sorted."""
    if depth == 0:
        return "…"
    kind: Any = type(value)
    if kind in (set, frozenset):
        return f"{kind.__name__}({{{', '.join(sorted(canonical(each, depth - 1) for each in value))}}})"
    if kind in (list, tuple):
        return f"{kind.__name__}({', '.join(canonical(each, depth - 1) for each in value)})"
    if kind is dict:
        told = (f"{canonical(key, depth - 1)}: {canonical(each, depth - 1)}" for key, each in value.items())
        return f"{{{', '.join(told)}}}"
    if (
        is_dataclass(value)
        and not isinstance(value, type)
        and kind.__repr__.__qualname__.endswith("__repr__")
    ):
        told = (
            f"{each.name}={canonical(getattr(value, each.name, None), depth - 1)}" for each in fields(value)
        )
        return f"{kind.__name__}({', '.join(told)})"
    try:
        return scrubbed(repr(value))
    except Exception as error:  # noqa: BLE001 - a user's repr; the run is over, and its digest must not fail
        return f"<{kind.__name__} whose repr raised {type(error).__name__}>"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - likewise
        return f"(its text raised {type(broken).__name__})"
