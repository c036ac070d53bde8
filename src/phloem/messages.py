"""What everyone in the house speaks of, and the ports an organism is given.

Decides the shapes that cross every border: what handlers see and return, what a
caller gets back, what a shutdown reports. Holds no behaviour beyond reading these
shapes, imports nothing of phloem, and may be imported by every ring.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol, final

__all__ = [
    "AbandonedMessage",
    "Cause",
    "Clock",
    "ConversationState",
    "DeadLetter",
    "Ending",
    "Fault",
    "Faults",
    "HandlerMetadata",
    "HandlerResponse",
    "Host",
    "Huh",
    "HuhCode",
    "Ids",
    "Outcome",
    "Random",
    "Receipt",
    "ShutdownReport",
    "SystemError",
    "folded",
    "iso_time",
]

SYSTEM: Final = "system"  # the one sender that is nobody's: faults, boot
BOOT: Final = "system.boot"
TODO: Final = "system.todo"
TODO_COMPLETE: Final = "system.todo-complete"
SERVICES: Final = (TODO, TODO_COMPLETE)  # the listeners phloem brings that every agent may address


class HuhCode(StrEnum):
    """The standard reasons for refusing a message. An application may add its own words."""

    NO_PAYLOAD = "no-payload"
    TRUNCATED = "truncated"
    MISSING_END_TAG = "missing-end-tag"
    MISMATCHED_END_TAG = "mismatched-end-tag"
    STRAY_TEXT = "stray-text"
    UNEXPECTED_ELEMENT = "unexpected-element"
    MISSING_ELEMENT = "missing-element"
    DUPLICATE_ELEMENT = "duplicate-element"
    ATTRIBUTE = "attribute"
    ENVELOPE = "envelope"
    BAD_CHAR = "bad-char"
    TYPE = "type"
    ENUM = "enum"
    FACET = "facet"
    UNION = "union"
    TOO_LARGE = "too-large"
    FULL = "full"
    DTD_REFUSED = "dtd-refused"
    AMBIGUOUS_PAYLOAD = "ambiguous-payload"
    ROUTING = "routing"


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one message: where it is, what was found, what was expected.

    ``path`` is an element path such as ``/Order/Lines/Line[2]/Amount`` for XML, or
    ``line 3, column 7`` where there is no tree yet.
    """

    code: str
    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}, expected {self.expected}"


@dataclass(frozen=True)
class Huh:
    """phloem's answer to a message it could not accept; always about the sender's own message.

    ``original`` is the beginning of what was sent (at most 2,000 characters), and
    ``attempts_left`` says how many more tries the sender has on this thread.
    """

    code: str
    path: str
    found: str
    expected: str
    attempts_left: int
    original: str


@dataclass(frozen=True)
class SystemError:  # the reference's name; shadows the builtin only where it is imported
    """A fault told to a listener: code ``routing``, ``validation`` or ``handler``."""

    code: str
    message: str
    retry_allowed: bool = True


@final
@dataclass(slots=True)  # made anew for each dispatch, so not frozen: that triples what making one costs
class HandlerMetadata:
    """What a handler is told beside its payload. ``own_name`` is None unless an agent runs.

    Handlers are at-least-once where retries are declared: ``message_id`` stays the same
    over the attempts of one delivery, ``attempt`` counts them from 1. ``mends``: what was repaired in
    the text of the model that wrote this message, and where.
    """

    thread_id: str
    from_id: str
    own_name: str | None = None
    is_self_call: bool = False
    usage_instructions: str = ""
    todo_nudge: str = ""
    message_id: str = ""
    conversation: str = ""
    attempt: int = 1
    mends: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class HandlerResponse:
    """One message a handler sends: a forward to ``to``, or (``respond``) an answer to its caller.

    ``to=None`` forwards to whoever takes the payload.
    """

    payload: Any
    to: str | None = None
    is_response: bool = field(default=False, kw_only=True)

    @classmethod
    def respond(cls, payload: Any) -> HandlerResponse:
        """Answer the caller. Ends this thread and everything below it."""
        return cls(payload, None, is_response=True)


class ConversationState(StrEnum):
    """How a conversation ended."""

    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    OUT_OF_BUDGET = "out_of_budget"
    DRAINED = "drained"


class Ending(StrEnum):
    """How one entry of the ledger ended: in exactly one of these."""

    HANDLED = "handled"
    REJECTED = "rejected"
    UNDELIVERABLE = "undeliverable"
    FAILED = "failed"
    ABANDONED = "abandoned"

    __hash__ = str.__hash__  # Enum's own is Python code, and each message is counted by its ending


@final
@dataclass(frozen=True, slots=True)
class Cause:
    """Why something ended as it did: a short reason, a sentence, and an exception's name if one did it."""

    reason: str
    text: str
    listener: str | None = None
    exception: str | None = None

    def __str__(self) -> str:
        return self.text


@final
@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that ended undelivered or whose handler failed for good.

    ``attempts``: what was wrong with each that its listener sent in answer, where these were spent.
    """

    message_id: str
    conversation: str
    from_listener: str
    to_listener: str
    reason: str
    cause: Cause
    payload_xml: str
    attempts: tuple[Huh, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Receipt:
    """Names what was accepted: the conversation, its root thread, and the turn within it."""

    conversation: str
    thread: str
    turn: int = 1


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """How a conversation (or one turn of it) ended, and everything it answered at its root."""

    conversation: str
    state: ConversationState
    cause: Cause | None = None
    payloads: tuple[Any, ...] = ()
    rejections: tuple[Huh, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class AbandonedMessage:
    """A message that shutdown cut; ``state`` is ``queued`` or ``running``."""

    id: str
    listener: str
    payload: str
    state: str


@final
@dataclass(frozen=True, slots=True)
class ShutdownReport:
    """Every message accepted, by how it ended; at the end the five add up to ``accepted``.

    ``in_flight`` is above 0 only in a reading taken while the organism still runs.
    ``abandoned_threads`` has the key of a listener for each thread in which a plain handler still ran
    when this was read, though its dispatch had ended: at its deadline, or cut.
    """

    accepted: int
    handled: int
    rejected: int
    undeliverable: int
    failed: int
    abandoned: int
    abandoned_messages: tuple[AbandonedMessage, ...] = ()
    in_flight: int = 0
    abandoned_threads: tuple[str, ...] = ()


class Clock(Protocol):
    """Where an organism takes its time from."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; for how long a conversation has lived."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        ...


class Ids(Protocol):
    """Where an organism takes its conversation ids from."""

    def conversation(self, number: int) -> str:
        """The id of the ``number``-th conversation (from 1): at most 40 characters, unique.

        Number 0 names the organism's own bus, before any conversation: its events' ids begin with it.
        """
        ...


class Random(Protocol):
    """Where an organism takes chance from (jitter). ``random.Random`` is one."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


class Faults(Protocol):
    """Where an organism and a bus let things go wrong on purpose, at the boundaries they name.

    Points and names: ``handler`` and a listener's key; ``bus subscriber`` and a subscription's
    name; ``thread`` and what it is for (``parse``, ``journal``, ``replay``); ``provider`` and the name
    of a model's backend. Without this port, which is how one runs in production, no boundary does
    more than look whether it is there.
    """

    async def visit(self, point: str, name: str, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Await ``function(*args)`` and give back what it gave; or misbehave in its stead.

        It may raise, never come back until it is cancelled, take its time, or give back something
        else: whatever a handler, a subscriber or a thread may do. ``Cancelled`` goes on. A checkpoint
        where the function is one.
        """
        ...


class Host(Protocol):
    """The event loop around an organism, for handlers that need it."""

    async def call(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Await ``function(*args)`` in the host's loop, in the caller's context.

        Checkpoint. Cancelled means: it was cancelled there, and has ended.
        """
        ...


def iso_time(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, to the microsecond: ``2031-05-17T09:30:00.000000Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def folded(faults: Sequence[Fault]) -> Fault:
    """The first fault, the next nine folded into its expectation and the rest counted there."""
    head, *rest = faults
    if not rest:
        return head
    more = "; ".join(f"{fault.path}: expected {fault.expected}, found {fault.found}" for fault in rest[:9])
    left = f"; and {len(rest) - 9} more" if len(rest) > 9 else ""
    return Fault(head.code, head.path, head.found, f"{head.expected}; also {more}{left}")
