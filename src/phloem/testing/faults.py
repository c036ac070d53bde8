"""phloem's own fault points: which there are, how each may misbehave, what handlers give back then.

Decides the plan that a simulated organism has by default. How faults are drawn is
``sim.injecting``'s, where the points stand is the product's. Called by tests, and by ``phloem sim``:

    async with open_organism(config, faults=faults.current()) as organism: …
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, final

from phloem.contract import xmlify
from phloem.errors import BackendError
from phloem.llm.requests import LLMResponse, StopReason
from phloem.messages import HandlerResponse

from .sim.context import current_run
from .sim.injecting import (
    FaultKind,
    FaultPlan,
    FiredFault,
    InjectedBaseException,
    InjectedFault,
    Injector,
    Point,
)

__all__ = [
    "ANSWERS",
    "HANDLER",
    "POINTS",
    "PROVIDER",
    "SUBSCRIBER",
    "THREAD",
    "FaultKind",
    "FaultPlan",
    "FiredFault",
    "InjectedBackendError",
    "InjectedBaseException",
    "InjectedFault",
    "InjectedOSError",
    "Injector",
    "Point",
    "current",
    "plan",
]

HANDLER: Final = "handler"
SUBSCRIBER: Final = "bus subscriber"
PROVIDER: Final = "provider"
THREAD: Final = "thread"
EVERYTHING: Final = "all"  # what a text says that means every point as it is here

NOTHING: Final[Any] = None  # where something is due
LONG: Final = 400_000  # characters: more than a model may write (256 KiB), less than one text may hold
LONGER: Final = 1_100_000  # characters: more than a contract takes in one text


@final
class InjectedOSError(InjectedFault, OSError):
    """What a thread raises: a disk that refuses, a thread that the system does not give."""


@final
class InjectedBackendError(InjectedFault, BackendError):
    """What a model's backend raises: a connection that broke. Worth another attempt."""


def current() -> Injector | None:
    """The faults of the simulation that the calling code is in; None where there are none to inject."""
    run = current_run()
    return None if run is None else run.faults


def plan(text: str | None = None) -> FaultPlan:
    """phloem's points, or those that a text names: ``handler=raise,hang:0.5:0.1; thread`` (or ``all``).

    What the text leaves out is as in ``POINTS``. Raises ConfigurationError for a text that is none,
    or names other points; a program with points of its own makes a ``FaultPlan`` itself.
    """
    if text is None or text.strip() == EVERYTHING:
        return FaultPlan(POINTS)
    return FaultPlan.parse(text, POINTS)


# -- what a handler gives back that is no answer -------------------------------------------------


@xmlify
@dataclass
class Stray:
    """A payload that no listener takes."""

    text: str = "stray"
    number: int = 1


class Undecorated:
    """What no contract can be made of."""

    def __init__(self) -> None:
        self.anything = object()


class Unwilling:
    """A payload whose own code fails as it is written."""

    def to_xml(self) -> str:
        """Raises InjectedFault."""
        raise InjectedFault("injected: a payload that cannot be written")


def _respond(kind: type[Any], **fields: Any) -> HandlerResponse:
    return HandlerResponse.respond(kind(**fields))


def _forward(to: Any) -> HandlerResponse:
    return HandlerResponse(Stray(), to=to)


def _mixed() -> list[HandlerResponse]:
    return [HandlerResponse(Stray()), HandlerResponse.respond(Stray())]


def _nested() -> list[Any]:
    return [None, [HandlerResponse(Stray())]]


def _class() -> type[HandlerResponse]:
    return HandlerResponse  # where one was meant


GARBAGE: Final[tuple[Callable[[], Any], ...]] = (  # all can be pickled: other interpreters take a plan, too
    partial(int, 42),
    partial(str, "a text, and no message"),
    _class,
    partial(ValueError, "an error, given back where it should be raised"),
    _nested,
    _mixed,
    partial(HandlerResponse, None),
    partial(_forward, 7),
    partial(_forward, "nobody of that name"),
    partial(_respond, Stray),
    partial(_respond, Undecorated),
    partial(_respond, Unwilling),
    partial(_respond, Stray, number="many"),
    partial(_respond, Stray, text="no such character: \0"),
    partial(_respond, Stray, text="x" * LONGER),
    partial(bytes, b""),
    partial(bytes, b"\xff\xfe\x00 of no encoding"),
    partial(bytes, b"<Stray><Text>no UTF-8: \xc3(</Text></Stray>"),
    partial(bytes, b"<Stray><Text>begun, and never"),
    partial(bytes, b"<Stray><Text>crossed</Stray></Text>"),
    partial(bytes, b'<!DOCTYPE a [<!ENTITY b "c">]><Stray><Text>&b;</Text></Stray>'),
    partial(bytes, b'<message xmlns="urn:of-somebody-else"><to>nobody</to></message>'),
    partial(bytes, b"<Stray><Text>" + b"x" * LONG + b"</Text></Stray>"),
)

ANSWERS: Final[tuple[Callable[[], Any], ...]] = (  # what a backend gives that is no answer, or none to go by
    partial(int, 42),
    partial(str, "a text, and no answer"),
    partial(LLMResponse, NOTHING),
    partial(LLMResponse, "without what it took", usage=NOTHING),
    partial(LLMResponse, ""),
    partial(LLMResponse, "I would rather talk about the weather."),
    partial(LLMResponse, "<Stray><Text>begun, and never"),
    partial(LLMResponse, "<Stray><Text>cut at its length</Text></Stray>", finish_reason=StopReason.LENGTH),
    partial(LLMResponse, "<Stray><Text>nobody takes it</Text></Stray>"),
    partial(LLMResponse, "<Stray><Text>no such character: \0</Text></Stray>"),
    partial(LLMResponse, "<Stray><Text>" + "x" * LONG + "</Text></Stray>"),
)

# A thread cannot be cancelled, so one that hangs holds up whoever leaves for ever: true to life, and
# found at once, which is why ``thread`` has no hang unless a plan asks for it. Nor is it given
# ``raise-after`` or ``base-exception``: what runs in threads is phloem's own code, and ends in neither.
POINTS: Final[Mapping[str, Point]] = {
    HANDLER: Point(tuple(FaultKind), garbage=GARBAGE),
    SUBSCRIBER: Point(
        (FaultKind.RAISE, FaultKind.RAISE_AFTER, FaultKind.HANG, FaultKind.SLOW, FaultKind.BASE)
    ),
    THREAD: Point((FaultKind.RAISE, FaultKind.SLOW), raises=InjectedOSError),
    PROVIDER: Point(  # without base-exception: what a handler makes of one is the handler's point to show
        (FaultKind.RAISE, FaultKind.RAISE_AFTER, FaultKind.HANG, FaultKind.SLOW, FaultKind.GARBAGE),
        garbage=ANSWERS,
        raises=InjectedBackendError,
    ),
}
