"""Faults: which of a program's boundaries misbehave in a run, how, and when.

Decides it from a seed alone: whether a point is active by (seed, point), what a visit meets by
(seed, point, name, number of that visit). So another order of tasks, or a fault less, moves no
other draw. Or from a list of faults that have fired before, for a replay or to have fewer of them.
Knows no product: a program visits its boundaries through an object with ``visit``, of which
``Injector`` is one. Called by programs under simulation, and by the engine that makes the injector.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final, cast, final

import trio

from phloem.errors import ConfigurationError, ConfigurationFault

__all__ = [
    "FaultKind",
    "FaultPlan",
    "FiredFault",
    "InjectedBaseException",
    "InjectedFault",
    "Injector",
    "Point",
]

SYNTAX: Final = "name=kind,kind:per_run:per_visit:slow; name=kind, the numbers as far as they are needed"
PUNCTUATION: Final = "=:;"  # what a plan's text is made of, and so no name
NUMBERS: Final = ("per_run", "per_visit", "slow")


class InjectedFault(Exception):
    """Raised at a boundary because a plan says so."""


@final
class InjectedBaseException(BaseException):
    """As ``InjectedFault``, and no ``except Exception`` catches it."""


class FaultKind(StrEnum):
    """What a visit may meet in place of, before or after what it calls."""

    RAISE = "raise"  # an error, and nothing was called
    RAISE_AFTER = "raise-after"  # an error, and all was done
    HANG = "hang"  # nothing, until it is cancelled
    SLOW = "slow"  # some seconds, and then what it called
    GARBAGE = "garbage"  # it was called, and something else comes back
    BASE = "base-exception"  # an error that is no Exception, and nothing was called


@final
@dataclass(frozen=True, slots=True)
class Point:
    """How one boundary misbehaves: in what ways, how often, how long.

    ``per_run`` is how likely a run has it active at all; then each visit meets a fault with
    ``per_visit``, of a kind drawn from ``kinds``. ``slow`` is in (virtual) seconds. ``garbage``
    makes what comes back, a new one each time; ``raises`` makes the error from its text.
    """

    kinds: tuple[FaultKind, ...]
    per_run: float = 0.5
    per_visit: float = 0.1
    slow: float = 10.0  # longer than what most deadlines allow, and no virtual second costs anything
    garbage: tuple[Callable[[], Any], ...] = ()
    raises: Callable[[str], BaseException] = InjectedFault


@final
@dataclass(frozen=True, slots=True)
class FiredFault:
    """One visit that met a fault: the ``visit``-th, from 1, of that name at that point."""

    point: str
    name: str
    visit: int
    kind: FaultKind

    def __str__(self) -> str:
        return f"{self.kind} at {self.point} {self.name!r}, visit {self.visit}"


@final
@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The points of a program that misbehave. ``str()`` gives the text that ``parse`` takes.

    Raises ConfigurationError for a plan that cannot be, with all that is wrong with it.
    """

    points: Mapping[str, Point]

    def __post_init__(self) -> None:
        wrong = [fault for name, point in self.points.items() for fault in _wrong(name, point)]
        if not self.points:
            wrong.append(ConfigurationFault("faults", "no point", SYNTAX))
        if wrong:
            raise ConfigurationError(wrong)
        points = {
            name: replace(point, kinds=tuple(map(FaultKind, point.kinds)), garbage=tuple(point.garbage))
            for name, point in sorted(self.points.items())
        }
        object.__setattr__(self, "points", MappingProxyType(points))

    def __hash__(self) -> int:
        return hash(tuple(self.points.items()))

    def __str__(self) -> str:
        return "; ".join(
            f"{name}={','.join(point.kinds)}:"
            + ":".join(_shortest(getattr(point, number)) for number in NUMBERS)
            for name, point in self.points.items()
        )

    @classmethod
    def parse(cls, text: str, known: Mapping[str, Point] | None = None) -> FaultPlan:
        """A plan from ``handler=raise,hang:0.5:0.1; thread=slow``. Raises ConfigurationError.

        The numbers are per_run, per_visit and slow; those left out are a ``Point``'s own. With
        ``known`` only these names may occur, what is left out (the kinds too) is theirs, and so are
        garbage and errors, which no text can say.
        """
        points: dict[str, Point] = {}
        wrong: list[ConfigurationFault] = []
        parts = [part for part in map(str.strip, text.split(";")) if part]
        if not parts:
            wrong.append(ConfigurationFault("faults", "nothing", SYNTAX))
        for part in parts:
            name, equals, rest = (piece.strip() for piece in part.partition("="))
            where = f"faults: {name or part}"
            if name in points:
                wrong.append(ConfigurationFault(where, "it twice", "each point once"))
            elif known is not None and name not in known:
                expected = f"one of {', '.join(sorted(known))}"
                wrong.append(ConfigurationFault(where, "a point that nothing visits", expected))
            elif known is None and not equals:
                wrong.append(ConfigurationFault(where, "no kinds", SYNTAX))
            else:
                base = Point(()) if known is None else known[name]
                points[name] = _point(where, rest, base, wrong) if equals else base
        if wrong:
            raise ConfigurationError(wrong)
        return cls(points)


@final
class Injector:
    """The faults of one run. ``visit`` is the port that a program calls at its boundaries."""

    def __init__(
        self,
        plan: FaultPlan,
        seed: int,
        only: Iterable[FiredFault] | None = None,
        *,
        told: Callable[[FiredFault], object] | None = None,
    ) -> None:
        """``only`` these faults, where the plan drew them or not; None: as drawn.

        They still take what they need from the plan: seconds, garbage, errors. ``told`` is called
        with each fault just before it happens. Raises ConfigurationError for faults that the plan has
        no point for.
        """
        self.plan, self.seed = plan, seed
        self.fired: list[FiredFault] = []
        self.visits: dict[tuple[str, str], int] = {}  # by point and name, whether a fault was met or not
        self._told = told
        self._only: dict[tuple[str, str, int], FaultKind] | None = None
        if only is None:
            self.active = frozenset(
                name for name, point in plan.points.items() if self._draw("run", name) < point.per_run
            )
        else:
            self._only = {(each.point, each.name, each.visit): FaultKind(each.kind) for each in only}
            self.active = frozenset(point for point, _, _ in self._only)
            self._refuse_what_the_plan_cannot_do(self._only)

    async def visit(self, point: str, name: str, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Await ``function(*args)`` and give back what it gave, or misbehave as the plan says.

        A checkpoint where the function is one. Cancelled means what it means to the function; in a
        hang, and while it is slow, nothing was called.
        """
        number = self.visits[point, name] = self.visits.get((point, name), 0) + 1
        kind = self._kind(point, name, number)
        if kind is None:
            return await function(*args)
        fault, own = FiredFault(point, name, number, kind), self.plan.points[point]
        self.fired.append(fault)
        if self._told is not None:
            self._told(fault)
        if kind is FaultKind.RAISE:
            raise own.raises(f"injected: {fault}")
        if kind is FaultKind.BASE:
            raise InjectedBaseException(f"injected: {fault}")
        if kind is FaultKind.HANG:
            await trio.sleep_forever()
        if kind is FaultKind.SLOW:
            await trio.sleep(own.slow)
        result = await function(*args)
        if kind is FaultKind.RAISE_AFTER:
            raise own.raises(f"injected: {fault}")
        if kind is FaultKind.GARBAGE:
            return own.garbage[int(self._draw("garbage", point, name, number) * len(own.garbage))]()
        return result

    def _kind(self, point: str, name: str, number: int) -> FaultKind | None:
        if self._only is not None:
            return self._only.get((point, name, number))
        if point not in self.active:
            return None
        own = self.plan.points[point]
        if self._draw("visit", point, name, number) >= own.per_visit:
            return None
        return own.kinds[int(self._draw("kind", point, name, number) * len(own.kinds))]

    def _draw(self, *what: str | int) -> float:
        """A number in [0, 1) that this seed has for it, whatever else was drawn before."""
        digest = blake2b(ascii((self.seed, *what)).encode(), digest_size=8).digest()
        return (int.from_bytes(digest, "big") >> 11) / 2.0**53  # 53 bits: all that a float in [0, 1) holds

    def _refuse_what_the_plan_cannot_do(self, only: Mapping[tuple[str, str, int], FaultKind]) -> None:
        wrong: list[ConfigurationFault] = []
        for (point, name, number), kind in only.items():
            where = f"fault {FiredFault(point, name, number, kind)}"
            if point not in self.plan.points:
                expected = f"one of {', '.join(self.plan.points)}"
                wrong.append(ConfigurationFault(where, "a point that the plan does not have", expected))
            elif kind is FaultKind.GARBAGE and not self.plan.points[point].garbage:
                wrong.append(_no_garbage(where))
        if wrong:
            raise ConfigurationError(wrong)


def _wrong(name: str, point: Point) -> Iterable[ConfigurationFault]:
    where = f"faults: {name}"
    if name != name.strip() or not name.isprintable() or not name or set(name) & set(PUNCTUATION):
        expected = f"a name that is printable, without {' '.join(PUNCTUATION)} and white space around it"
        yield ConfigurationFault("faults", repr(name), expected)
    kinds = [_kind_of(kind) for kind in point.kinds]
    if not kinds or None in kinds or len(set(kinds)) < len(kinds):
        found = ",".join(map(str, point.kinds)) or "no kinds"
        yield ConfigurationFault(where, found, f"some of {', '.join(FaultKind)}, each once")
    for number in ("per_run", "per_visit"):
        if not 0 <= (found := getattr(point, number)) <= 1:
            yield ConfigurationFault(f"{where}: {number}", f"{found}", "a number from 0 to 1")
    if not 0 <= point.slow < math.inf:
        yield ConfigurationFault(f"{where}: slow", f"{point.slow}", "seconds, 0 or more")
    if FaultKind.GARBAGE in kinds and not point.garbage:
        yield _no_garbage(where)


def _no_garbage(where: str) -> ConfigurationFault:
    return ConfigurationFault(where, "garbage at a point that knows none", "Point(…, garbage=(maker, …))")


def _kind_of(word: str) -> FaultKind | None:
    try:
        return FaultKind(word)
    except ValueError:
        return None


def _point(where: str, rest: str, base: Point, wrong: list[ConfigurationFault]) -> Point:
    """What stands behind a name's ``=``, over what is known of it; what is wrong with it is noted."""
    words, *numbers = (piece.strip() for piece in rest.split(":"))
    more: dict[str, float] = {}
    if len(numbers) > len(NUMBERS):
        wrong.append(ConfigurationFault(where, f"{len(numbers)} numbers", f"at most {', '.join(NUMBERS)}"))
    for number, text in zip(NUMBERS, numbers, strict=False):
        try:
            more[number] = float(text)
        except ValueError:
            wrong.append(ConfigurationFault(f"{where}: {number}", repr(text), "a number"))
    kinds = tuple(word.strip() for word in words.split(",")) if words else base.kinds
    return replace(
        base,
        kinds=cast("tuple[FaultKind, ...]", kinds),  # words so far: the plan judges them
        per_run=more.get("per_run", base.per_run),
        per_visit=more.get("per_visit", base.per_visit),
        slow=more.get("slow", base.slow),
    )


def _shortest(number: float) -> str:
    """A number as people write it, if that says it exactly."""
    text = f"{number:g}"
    return text if float(text) == number else repr(number)
