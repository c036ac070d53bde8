"""The ready-made steps that users put into a pipeline.

Decides what each takes and which arguments it may have; says so as soon as one is made. A step
made here is a declaration without state: any number of organisms may share it. ``pipeline``
puts it in its place, ``flow`` and ``gates`` carry it out.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast, final

from phloem.config import MAX_NAME
from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.messages import DeadLetter
from phloem.wire.text import shown

from .items import Addressed, Document, Incoming, Message, Opened, Part, Returned

__all__ = [
    "Branch",
    "Deadline",
    "DropIf",
    "Expand",
    "Limit",
    "Pace",
    "Rate",
    "RejectIf",
    "Sample",
    "Step",
    "Tap",
    "Transform",
    "branch",
    "deadline",
    "drop_if",
    "expand",
    "limit",
    "name_of",
    "pace",
    "rate",
    "reject_if",
    "sample",
    "takes",
    "tap",
    "transform",
]

_BEFORE_THE_BOOKS: Final = (Incoming, Document, Opened, Part, Addressed, Message)
_CODE: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


@final
@dataclass(frozen=True, slots=True)
class Tap:
    """``tap(fn)``."""

    kind: ClassVar[str] = "tap"
    takes: ClassVar[tuple[type, ...]] = (*_BEFORE_THE_BOOKS, Returned)
    fn: Callable[[Any], Any]


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """``sample(fraction, fn)``."""

    kind: ClassVar[str] = "sample"
    takes: ClassVar[tuple[type, ...]] = (*_BEFORE_THE_BOOKS, Returned)
    fraction: float
    fn: Callable[[Any], Any]


@final
@dataclass(frozen=True, slots=True)
class RejectIf:
    """``reject_if(fn, code)``."""

    kind: ClassVar[str] = "reject_if"
    takes: ClassVar[tuple[type, ...]] = _BEFORE_THE_BOOKS
    fn: Callable[[Any], Any]
    code: str


@final
@dataclass(frozen=True, slots=True)
class DropIf:
    """``drop_if(fn)``."""

    kind: ClassVar[str] = "drop_if"
    takes: ClassVar[tuple[type, ...]] = _BEFORE_THE_BOOKS
    fn: Callable[[Any], Any]


@final
@dataclass(frozen=True, slots=True)
class Transform:
    """``transform(fn)``."""

    kind: ClassVar[str] = "transform"
    takes: ClassVar[tuple[type, ...]] = (Message,)
    fn: Callable[[Any], Any]


@final
@dataclass(frozen=True, slots=True)
class Expand:
    """``expand(fn)``."""

    kind: ClassVar[str] = "expand"
    takes: ClassVar[tuple[type, ...]] = (Part, Message)
    fn: Callable[[Any], Any]


@final
@dataclass(frozen=True, slots=True)
class Branch:
    """``branch(predicate, to=listener)``."""

    kind: ClassVar[str] = "branch"
    takes: ClassVar[tuple[type, ...]] = (Part, DeadLetter)
    predicate: Callable[[Any], Any]
    to: str


@final
@dataclass(frozen=True, slots=True)
class Limit:
    """``limit(n)``."""

    kind: ClassVar[str] = "limit"
    takes: ClassVar[tuple[type, ...]] = (Incoming, Message)
    n: int


@final
@dataclass(frozen=True, slots=True)
class Pace:
    """``pace(interval)``."""

    kind: ClassVar[str] = "pace"
    takes: ClassVar[tuple[type, ...]] = (Incoming, Message)
    interval: float


@final
@dataclass(frozen=True, slots=True)
class Rate:
    """``rate(per_second, burst)``."""

    kind: ClassVar[str] = "rate"
    takes: ClassVar[tuple[type, ...]] = (Incoming, Message)
    per_second: float
    burst: int


@final
@dataclass(frozen=True, slots=True)
class Deadline:
    """``deadline(seconds)``."""

    kind: ClassVar[str] = "deadline"
    takes: ClassVar[tuple[type, ...]] = _BEFORE_THE_BOOKS
    seconds: float


Step = Tap | Sample | RejectIf | DropIf | Transform | Expand | Branch | Limit | Pace | Rate | Deadline


def tap(fn: Callable[[Any], Any]) -> Tap:
    """Call ``fn(item)`` for each that passes; it sees a message and cannot change it.

    Here as in all of these, ``fn`` may be a plain function or an async one, and if it raises, that
    message ends failed and no other. Raises ConfigurationError.
    """
    return Tap(_function("tap", fn))


def sample(fraction: float, fn: Callable[[Any], Any]) -> Sample:
    """As ``tap``, for one in ``1 / fraction``, by the organism's random. Raises ConfigurationError."""
    if not _number(fraction) or not 0 < fraction <= 1:
        raise _fault("sample: fraction", fraction, "a number above 0, at most 1")
    return Sample(float(fraction), _function("sample", fn))


def reject_if(fn: Callable[[Any], Any], code: str) -> RejectIf:
    """Refuse with a ``Huh`` of your ``code`` where ``fn(item)`` is true; a str says what was found.

    Raises ConfigurationError.
    """
    if not isinstance(cast("object", code), str) or not _CODE.fullmatch(code):
        raise _fault("reject_if: code", code, "1 to 64 of a-z, 0-9 and -, a letter first")
    return RejectIf(_function("reject_if", fn), code)


def drop_if(fn: Callable[[Any], Any]) -> DropIf:
    """End what ``fn(item)`` is true of: a dead letter of reason ``dropped``, and no fault of anybody's.

    A str says why. Raises ConfigurationError.
    """
    return DropIf(_function("drop_if", fn))


def transform(fn: Callable[[Any], Any]) -> Transform:
    """Put ``fn(payload)`` in a payload's place: an object that the same listener takes, validated again.

    Raises ConfigurationError.
    """
    return Transform(_function("transform", fn))


def expand(fn: Callable[[Any], Any]) -> Expand:
    """Make several of one. Raises ConfigurationError.

    Once it is decoded, ``fn(payload)`` gives the payloads that its listener gets instead; before it is
    routed, ``fn(part)`` gives the payloads that are routed as it would have been. None at all: dropped.
    """
    return Expand(_function("expand", fn))


def branch(predicate: Callable[[Any], Any], *, to: str) -> Branch:
    """Send what ``predicate`` is true of to the listener ``to``, whoever its sender may address.

    Where messages are routed, that is a message; answers go to who asked all the same. After
    ``dispatch`` it is a ``DeadLetter``, which ``to`` gets as its payload, besides all that is told of
    it. Raises ConfigurationError.
    """
    if not isinstance(cast("object", to), str) or not 0 < len(to) <= MAX_NAME:
        raise _fault("branch: to", to, "a listener's name")
    return Branch(_function("branch", predicate, "predicate"), to)


def limit(n: int) -> Limit:
    """At most ``n`` messages at once in the step it stands before. Raises ConfigurationError."""
    return Limit(_whole("limit", n))


def pace(interval: float) -> Pace:
    """At least ``interval`` seconds between one message and the next, over the whole organism.

    Raises ConfigurationError.
    """
    return Pace(_positive("pace", interval, "seconds"))


def rate(per_second: float, burst: int) -> Rate:
    """At most ``burst`` messages at once, and ``per_second`` in the long run. Raises ConfigurationError."""
    per_second = _positive("rate: per_second", per_second, "messages a second")
    if 1 / per_second == math.inf:
        raise _fault("rate: per_second", per_second, "a number whose inverse is finite")
    return Rate(per_second, _whole("rate: burst", burst))


def deadline(seconds: float) -> Deadline:
    """A message's handler has returned within ``seconds`` of its passing here, or the message has failed.

    Raises ConfigurationError.
    """
    return Deadline(_positive("deadline", seconds, "seconds"))


def name_of(step: Step | None) -> str:
    """What a step is called in errors and statistics: its kind and its function, or its numbers."""
    if step is None:
        return "by"
    if isinstance(step, Limit):
        return f"limit({step.n})"
    if isinstance(step, Pace):
        return f"pace({step.interval:g})"
    if isinstance(step, Rate):
        return f"rate({step.per_second:g}, {step.burst})"
    if isinstance(step, Deadline):
        return f"deadline({step.seconds:g})"
    if isinstance(step, Branch):
        return f"branch({function_name(step.predicate)}, to={step.to!r})"
    return f"{step.kind}({function_name(step.fn)})"


def takes(fn: Callable[..., Any], count: int) -> bool:
    """Whether a function may be called with so many arguments; true where nothing tells."""
    try:
        inspect.signature(fn).bind(*range(count))
    except ValueError:  # one of C's without a signature
        return True
    except TypeError:
        return False
    return True


def function_name(fn: object) -> str:
    """A function as people know it."""
    name = getattr(fn, "__qualname__", None) or getattr(getattr(fn, "func", None), "__qualname__", None)
    return name if isinstance(name, str) else type(fn).__name__


def _function(what: str, fn: Callable[[Any], Any], name: str = "fn") -> Callable[[Any], Any]:
    if not callable(cast("object", fn)):
        raise _fault(f"{what}: {name}", fn, "a function of one argument")
    if not takes(fn, 1):
        raise _fault(f"{what}: {name}", fn, "a function of one argument, the item")
    return fn


def _positive(what: str, value: float, unit: str) -> float:
    if not _number(value) or not 0 < value < math.inf:
        raise _fault(what, value, f"{unit}, above 0 and finite")
    return float(value)


def _whole(what: str, value: int) -> int:
    if not isinstance(cast("object", value), int) or isinstance(value, bool) or value < 1:
        raise _fault(what, value, "a whole number, 1 or more")
    return value


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fault(where: str, found: object, expected: str) -> ConfigurationError:
    return ConfigurationError([ConfigurationFault(where, shown(found), expected)])
