"""The error tree, by who is to blame: the sender, the caller, the world, or us.

Decides what is raised to whom. Holds the faults an error carries, never a traceback
to format or a message to route. Any ring but ``messages`` may import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from .messages import Fault, Huh, Outcome, folded

__all__ = [
    "AccessRefused",
    "AuthenticationError",
    "BackendError",
    "CallerError",
    "ConfigurationError",
    "ConfigurationFault",
    "ContractError",
    "ConversationFailed",
    "Deadlock",
    "EventBusClosed",
    "EventDropped",
    "ForeignGuest",
    "HostGone",
    "InternalError",
    "InvalidEvent",
    "InvalidMessage",
    "InvalidToken",
    "JournalError",
    "Livelock",
    "MessageRejected",
    "NeverReached",
    "NoBackend",
    "NoDispatch",
    "NoResponse",
    "NotConfluent",
    "NotDeterministic",
    "NotSimulated",
    "OrganismClosed",
    "OutcomeForgotten",
    "PhloemError",
    "ProviderError",
    "PublishCircle",
    "RateLimitError",
    "ResourceLeft",
    "ScheduleFailure",
    "SenderError",
    "SenderRefused",
    "SimulationError",
    "SimulationUnsupported",
    "StreamOverflowed",
    "TooManyTodos",
    "TruncatedError",
    "WorldError",
    "WouldDeadlock",
]

LONGEST_TEXT: Final = 2_000  # str(MessageRejected): a paragraph one still reads


class PhloemError(Exception):
    """The root of everything phloem raises."""


class SenderError(PhloemError):
    """What was sent is not what was agreed."""


class CallerError(PhloemError):
    """The program that embeds phloem asked for something that cannot be."""


class WorldError(PhloemError):
    """Nobody here did wrong: a handler failed, a limit was met, no answer came."""


class InternalError(PhloemError):
    """A bug of phloem. It stops the organism."""


@final
class InvalidMessage(SenderError):
    """Bytes, an element or an object that its contract (or the wire) does not allow.

    Carries every fault that was found, in document order; never empty.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__(str(folded(self.faults)))


@final
class MessageRejected(SenderError):
    """Nothing of the message went on. ``huh`` says what was wrong, ``outcome`` how it was booked."""

    def __init__(self, huh: Huh, outcome: Outcome | None = None) -> None:
        self.huh, self.outcome = huh, outcome
        text = f"message rejected ({huh.code}) at {huh.path}: found {huh.found}, expected {huh.expected}"
        text = " ".join(text.split())
        super().__init__(text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…")


@final
class SenderRefused(CallerError, ValueError):
    """The name a stranger was to speak under is a listener's, phloem's, an open source's, or none."""


@final
class ContractError(CallerError, TypeError):
    """A class cannot be a payload; says which field, and what to use instead."""


@final
@dataclass(frozen=True, slots=True)
class ConfigurationFault:
    """One fault of a configuration. ``where`` is ``file:line:column``, or the name of what is at fault."""

    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}, expected {self.expected}"


@final
class ConfigurationError(CallerError):
    """The organism cannot be built. All faults at once."""

    def __init__(self, faults: Sequence[ConfigurationFault]) -> None:
        self.faults: tuple[ConfigurationFault, ...] = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


@final
class OrganismClosed(CallerError):
    """The organism no longer takes messages."""


@final
class WouldDeadlock(CallerError):
    """A handler would wait for work that may need its own place to run. Forward instead."""


@final
class NoDispatch(CallerError, RuntimeError):
    """What only a running handler has was asked for outside of one, in another thread, or too late."""


@final
class AccessRefused(CallerError, LookupError):
    """A handler named a thread or an issuer that is not its own, or a place outside of its bus's scope.

    The same words if there is none.
    """


@final
class TooManyTodos(CallerError):
    """The conversation has as many open todos as it may (``max_todos``)."""


@final
class ForeignGuest(CallerError):
    """Somebody else's Trio run (or a simulation) is in this thread; none of ours can start beside it."""


@final
class EventBusClosed(CallerError):
    """The bus no longer takes events, subscriptions or streams."""


@final
class InvalidEvent(CallerError, ValueError):
    """An event, a type or a filter that a bus does not take."""


@final
class PublishCircle(CallerError):
    """A handler's publish would wait for itself, in a mailbox that holds twice its bound already."""

    def __init__(self, subscriptions: Sequence[str]) -> None:
        self.subscriptions: tuple[str, ...] = tuple(subscriptions)
        super().__init__(
            f"found a circle of {', '.join(self.subscriptions)}, in which twice the bound waits; expected "
            "handlers that publish less than they take in, or a larger buffer"
        )


@final
class OutcomeForgotten(CallerError, LookupError):
    """The outcome is older than the newest ``keep_outcomes``, or was never known here."""


@final
class ConversationFailed(WorldError):
    """The conversation ended in any way but completed or rejected."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        why = f": {outcome.cause.text}" if outcome.cause else ""
        super().__init__(f"conversation {outcome.conversation} ended {outcome.state}{why}")


@final
class NoResponse(WorldError):
    """The conversation completed, and nobody responded at its root."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(f"conversation {outcome.conversation} completed without a response")


@final
class HostGone(WorldError):
    """The event loop around an organism was closed while the organism was still open."""


@final
class EventDropped(WorldError):
    """An event left a mailbox undelivered: it was full, or its subscription ended."""


@final
class StreamOverflowed(WorldError):
    """A stream of overflow ``error`` was read too slowly; ``lost`` events did not fit any more."""

    def __init__(self, lost: int) -> None:
        self.lost = lost
        super().__init__(f"the stream's buffer was full: {lost} events were lost")


@final
class JournalError(WorldError, ValueError):
    """A journal cannot be written, or a line of one is no event; says which file and line."""


class BackendError(WorldError):
    """A call of a model failed; the texts never hold a key. ``backend`` is empty where none was asked.

    Itself: a connection that could not be made or broke, an answer that is none, a time-out.
    """

    def __init__(self, text: str, *, backend: str = "", model: str = "") -> None:
        self.backend, self.model = backend, model
        super().__init__(text)


@final
class RateLimitError(BackendError):
    """A backend had enough for now (429). ``retry_after``: seconds that it asked for, or None."""

    def __init__(
        self, text: str, *, retry_after: float | None = None, backend: str = "", model: str = ""
    ) -> None:
        self.retry_after = retry_after
        super().__init__(text, backend=backend, model=model)


@final
class ProviderError(BackendError):
    """A backend answered with a status of failure, and the text says what it said."""

    def __init__(self, text: str, *, status_code: int, backend: str = "", model: str = "") -> None:
        self.status_code = status_code
        super().__init__(text, backend=backend, model=model)


@final
class AuthenticationError(BackendError):
    """A backend refused the key (401, 403)."""


@final
class TruncatedError(BackendError):
    """An answer broke off on its way; ``partial`` is the text that had arrived."""

    def __init__(self, text: str, *, partial: str, backend: str = "", model: str = "") -> None:
        self.partial = partial
        super().__init__(text, backend=backend, model=model)


@final
class NoBackend(BackendError):
    """No backend takes that model, or a request of that size; or none is up before the caller's deadline; or
    the task would wait in vain for a place that it holds itself.
    """


class SimulationError(PhloemError):
    """What a simulation found, or why there cannot be one."""


@final
class SimulationUnsupported(SimulationError):
    """This Trio does not have the private names that a simulation stands on, or they mean something else."""


@final
class NotSimulated(SimulationError, RuntimeError):
    """The program asked for something real within a run: a socket, a signal, a process, a thread."""


@final
class InvalidToken(SimulationError, ValueError):
    """A replay token that is none, or one of another program."""


@final
class Deadlock(SimulationError):
    """No task can run and no timer is armed. ``tasks`` has a paragraph for each that waits."""

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks: tuple[str, ...] = tuple(tasks)
        head = f"deadlock: {len(self.tasks)} tasks wait, and no timer is armed"
        super().__init__("\n".join((head, *self.tasks)))


@final
class Livelock(SimulationError):
    """The run took more steps than it may (``max_steps``)."""


@final
class ResourceLeft(SimulationError):
    """The program is over, and something of it is not: a token, a task, an item, a channel, a generator."""

    def __init__(self, left: Sequence[str]) -> None:
        self.left: tuple[str, ...] = tuple(left)
        super().__init__("left behind: " + "; ".join(self.left))


@final
class NeverReached(SimulationError):
    """Not one run came to a state that ``sometimes`` names."""

    def __init__(self, names: Sequence[str], runs: int) -> None:
        self.names: tuple[str, ...] = tuple(names)
        super().__init__(f"never reached in {runs} runs: {', '.join(map(repr, self.names))}")


@final
class NotDeterministic(SimulationError):
    """The same program under the same seed did two different things; says where they part."""


@final
class NotConfluent(SimulationError):
    """Another schedule gave other results; says which message is the first to differ."""


@final
class ScheduleFailure(SimulationError):
    """A run that failed, with all that is needed to have it again. ``str()`` is the report for people."""

    def __init__(
        self,
        text: str,
        *,
        seed: int,
        token: str,
        schedule: tuple[int, ...],
        failure: BaseException,
        result: Any,
    ) -> None:
        self.seed, self.token, self.schedule = seed, token, schedule
        self.failure, self.result = failure, result
        super().__init__(text)
