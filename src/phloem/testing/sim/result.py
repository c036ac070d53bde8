"""What one run was: its value or failure, its trace, its schedule, and the token to have it again. Pure.

Decides how a trace is written and what the digest covers: who ran in which order, which tasks began and
ended, the clock, what was cut and noted, and how it ended. Never an address, never the order of a set.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final, cast, final, overload

from phloem.errors import SimulationError

from .injecting import FiredFault
from .looking import Stood
from .sites import Stack, scrubbed
from .tokens import Cut, Recipe, encode

__all__ = ["Result", "Trace", "TraceEvent", "canonical", "digest_of", "ending", "leaves"]

PARTS: Final = 100_000  # of a value that are told: some tenths of a second
SHOWN: Final = 200  # characters of an ending in a result's repr

_SETS: Final[tuple[type[Any], ...]] = (set, frozenset)
_SEQUENCES: Final[tuple[type[Any], ...]] = (list, tuple, deque)
_MAPPINGS: Final[tuple[type[Any], ...]] = (dict, OrderedDict, defaultdict, Counter, MappingProxyType)


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
    """The lines of a run, in order. ``make`` gives them, once somebody reads: of most runs nobody does."""

    def __init__(self, make: Callable[[], Sequence[TraceEvent]]) -> None:
        self._make = make

    @cached_property
    def _events(self) -> tuple[TraceEvent, ...]:
        return tuple(self._make())

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
    recipe: Recipe
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
    choices: int = 0  # ticks in which several tasks could run
    order: Sequence[int] = ()  # which task ran at each step, by the order in which they began

    @property
    def token(self) -> str:
        """The run in one word, for ``simulate(main, replay=…)``."""
        return encode(self.recipe)

    def unwrap(self) -> Any:
        """``value``, or raise ``failure``."""
        if self.failure is not None:
            raise self.failure
        return self.value

    def __repr__(self) -> str:
        how = ending(self.value, self.failure)
        how = how if len(how) <= SHOWN else f"{how[:SHOWN]}…"
        return f"<Result seed={self.seed} {self.strategy} {how} steps={self.steps} digest={self.digest[:8]}>"


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
    whole.update(ending(value, failure, stacks=False).encode("utf-8", "backslashreplace"))
    return whole.hexdigest()


def ending(value: object, failure: object, *, stacks: bool = True) -> str:
    """How a run ended, alike in every process; without a deadlock's stacks, in every Python as well."""
    if isinstance(failure, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", failure)
        parts = sorted(ending(None, each, stacks=stacks) for each in group.exceptions)
        return f"raised {type(group).__name__}({'; '.join(parts)})"
    if isinstance(failure, BaseException):
        text = scrubbed(_text(failure))
        if not stacks and isinstance(failure, SimulationError):
            text = text.partition("\n")[0]
        return f"raised {type(failure).__name__}: {text}"
    return f"returned {canonical(value)}"


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, of its groups and so on; of any other error, itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(each)
    else:
        yield error


def canonical(value: Any, depth: int = 8) -> str:
    """A value's ``repr`` without addresses, its sets sorted: also those in containers and dataclasses.

    What lies deeper, or is more than some 100,000 parts, is only counted.
    """
    return _Teller(PARTS).told(value, depth)


@final
class _Teller:
    def __init__(self, parts: int) -> None:
        self.left = parts  # that may still be told

    def told(self, value: Any, depth: int) -> str:
        self.left -= 1
        if depth == 0 or self.left < 0:
            return "…"
        kind: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType]
        try:
            return self._told(value, kind, depth - 1)
        except Exception as error:  # noqa: BLE001 - a user's repr; the run is over, and its digest must not fail
            return f"<{kind.__name__} whose repr raised {type(error).__name__}>"

    def _told(self, value: Any, kind: type[Any], depth: int) -> str:
        shown: object = kind.__repr__  # a subclass of a plain container has its own, or that one's
        if _is_one(shown, _SETS):
            return f"{kind.__name__}({{{', '.join(self._unordered(value, depth))}}})"
        if _is_one(shown, _SEQUENCES) or (tuple in kind.__mro__ and hasattr(kind, "_fields")):
            told = (self.told(each, depth) for each in value)
            return f"{kind.__name__}({', '.join(self._some(told, len(value)))})"
        if _is_one(shown, _MAPPINGS):
            told = (f"{self.told(key, depth)}: {self.told(each, depth)}" for key, each in value.items())
            name = "" if kind is dict else kind.__name__
            return f"{name}{{{', '.join(self._some(told, len(value)))}}}"
        plain = shown is object.__repr__ or hasattr(shown, "__wrapped__")  # not written by its author
        if plain and is_dataclass(kind):
            told = (
                f"{each.name}={self.told(getattr(value, each.name, None), depth)}"
                for each in fields(kind)
                if each.repr
            )
            return f"{kind.__name__}({', '.join(told)})"
        return scrubbed(repr(value))

    def _some(self, told: Iterator[str], count: int) -> Iterator[str]:
        for done in range(count):
            if self.left <= 0:
                yield f"… {count - done} more"
                return
            yield next(told)

    def _unordered(self, values: Any, depth: int) -> list[str]:
        """Each has an equal share, whichever comes first."""
        share = max(self.left, 0) // max(len(values), 1)
        if not share and values:
            return [f"… {len(values)} more"]
        told = list[str]()
        for each in values:
            teller = _Teller(share)
            told.append(teller.told(each, depth))
            self.left -= share - max(teller.left, 0)
        return sorted(told)


def _is_one(shown: object, kinds: tuple[type[Any], ...]) -> bool:
    return any(shown is each.__repr__ for each in kinds)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - likewise
        return f"(its text raised {type(broken).__name__})"
