"""phloem's own fault points: which there are, how each may misbehave, what handlers give back then.

Decides the plan that a simulated organism has by default. How faults are drawn is
``sim.injecting``'s, where the points stand is the product's. Called by tests, and by ``phloem sim``:

    async with open_organism(config, faults=faults.current()) as organism: …
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast, final

from phloem.contract import xmlify
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
    "HANDLER",
    "POINTS",
    "SUBSCRIBER",
    "THREAD",
    "FaultKind",
    "FaultPlan",
    "FiredFault",
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
THREAD: Final = "thread"
EVERYTHING: Final = "all"  # what a text says that means every point as it is here

LONG: Final = 400_000  # characters: more than a model may write (256 KiB), less than one text may hold
LONGER: Final = 1_100_000  # characters: more than a contract takes in one text


@final
class InjectedOSError(InjectedFault, OSError):
    """What a thread raises: a disk that refuses, a thread that the system does not give."""


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


def _violating() -> HandlerResponse:
    return HandlerResponse.respond(Stray(number=cast("Any", "many")))


def _mixed() -> list[HandlerResponse]:
    return [HandlerResponse(Stray()), HandlerResponse.respond(Stray())]


GARBAGE: Final[tuple[Callable[[], Any], ...]] = (
    lambda: 42,
    lambda: "a text, and no message",
    lambda: HandlerResponse,  # the class, where one was meant
    lambda: ValueError("an error, given back where it should be raised"),
    lambda: [None, [HandlerResponse(Stray())]],
    _mixed,
    lambda: HandlerResponse(None),
    lambda: HandlerResponse(Stray(), to=cast("Any", 7)),
    lambda: HandlerResponse(Stray(), to="nobody of that name"),
    lambda: HandlerResponse.respond(Stray()),
    lambda: HandlerResponse.respond(Undecorated()),
    lambda: HandlerResponse.respond(Unwilling()),
    _violating,
    lambda: HandlerResponse.respond(Stray("no such character: \0")),
    lambda: HandlerResponse.respond(Stray("x" * LONGER)),
    lambda: b"",
    lambda: b"\xff\xfe\x00 of no encoding",
    lambda: b"<Stray><Text>no UTF-8: \xc3(</Text></Stray>",
    lambda: b"<Stray><Text>begun, and never",
    lambda: b"<Stray><Text>crossed</Stray></Text>",
    lambda: b'<!DOCTYPE a [<!ENTITY b "c">]><Stray><Text>&b;</Text></Stray>',
    lambda: b'<message xmlns="urn:of-somebody-else"><to>nobody</to></message>',
    lambda: b"<Stray><Text>" + b"x" * LONG + b"</Text></Stray>",
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
}
