"""What of a simulated run breaks a promise, besides what the pump itself is watched for.

Decides which endings of messages are violations: a handler that raised for good, an answer that is none,
time that ran out. What was injected, or cut by the simulation, is nobody's fault. Keeps a book for each
run; changes nothing that an organism does. For ``simulating``.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final, cast, final

import trio

from phloem.config import AnyHandler, Handler
from phloem.errors import WouldDeadlock
from phloem.guarding import said
from phloem.messages import SYSTEM, Cause, ConversationState, Ending, HandlerMetadata, Outcome
from phloem.pump.calling import Around
from phloem.pump.conversation import Conversation, Delivery
from phloem.testing.faults import InjectedBaseException, InjectedFault
from phloem.testing.sim import Result

__all__ = ["BadAnswer", "Book", "HandlerRaised", "Overdue", "is_deadlock"]

TOLD: Final = 5  # happenings in one text; the first says most, and all are counted
_Raised = tuple[BaseException, TracebackType | None]


class HandlerRaised(AssertionError):
    """A handler raised, and nothing of phloem's or of a fault plan made it."""

    def __init__(self, text: str, errors: Sequence[BaseException]) -> None:
        super().__init__(text)
        self.errors: tuple[BaseException, ...] = tuple(errors)


class BadAnswer(AssertionError):
    """A handler gave back what is no answer."""


class Overdue(AssertionError):
    """A handler or a conversation came to its time limit: while time is virtual, all else waited as well."""


@final
class Book:
    """One run's observer: how messages ended that should not have ended so."""

    def __init__(self, entered: set[str], states: set[str]) -> None:
        """Adds to ``entered`` keys of listeners that had a message, to ``states`` how conversations ended."""
        self._entered, self._states = entered, states
        self._raised: dict[str, _Raised] = {}  # message -> what its last attempt raised
        self._failed: list[tuple[str, str]] = []
        self._errors: list[_Raised] = []
        self._bad: list[tuple[str, str]] = []
        self._overdue: list[tuple[str, str]] = []

    def around(self, handler: AnyHandler) -> AnyHandler:
        """The same handler; what it raises itself is seen, and what a fault point raises round it is not."""
        return Around(handler, self._seen)

    def _seen(self, handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def seen(payload: Any, metadata: HandlerMetadata) -> Any:
            id = metadata.message_id  # now: the handler may write to its metadata
            self._raised.pop(id, None)
            try:
                return await handler(payload, metadata)
            except BaseException as error:
                if (own := _own(error)) is not None:
                    trace = error.__traceback__
                    self._raised[id] = own, None if trace is None else trace.tb_next  # without this frame
                raise

        return seen

    def dispatched(self, delivery: Delivery) -> None:
        """A listener has a message."""
        self._entered.add(delivery.listener.key)

    def ended(self, delivery: Delivery, cause: Cause | None) -> None:
        """Note what ended by its handler's fault. A failed attempt that was mended by another is none."""
        raised = self._raised.pop(delivery.id, None)
        if raised is not None and delivery.ending in (Ending.FAILED, Ending.ABANDONED):
            text = f"listener {delivery.listener.key} raised {_told(raised[0])}"
            self._failed.append((text, f"message {delivery.id}"))
            self._errors.append(raised)
        elif delivery.ending is Ending.FAILED and cause is not None and cause.reason == "deadline":
            self._overdue.append((cause.text, f"message {delivery.id}"))
        elif delivery.ending is Ending.FAILED and cause is not None and cause.reason == "handler":
            self._bad.append((cause.text, f"message {delivery.id}"))

    def conversation_ended(self, conversation: Conversation, outcome: Outcome) -> None:
        """Note those whose time was over."""
        if conversation.sender == SYSTEM:
            return
        self._states.add(outcome.state)
        if outcome.state is ConversationState.TIMED_OUT:
            text = "its time was over" if outcome.cause is None else outcome.cause.text
            self._overdue.append((text, f"conversation {conversation.id}"))

    def unseen(self, *_: object, **__: object) -> None:
        """Breaks no promise by itself."""

    unread = broke = unseen
    call_started = call_ended = budget_warning = repeating = unseen
    conversation_started = refused = buried = raised = retrying = claim_ignored = mended = unseen
    waiting = overslept = held_up = step_raised = phase = unseen

    def judge(self, result: Result, *, deadlines: bool) -> None:
        """Raises HandlerRaised, BadAnswer or Overdue; ``deadlines``: whether the last is a violation.

        Where a deadline was made to fire, handlers may raise what they like; where faults were fired or
        the scenario was cancelled, answers and times are not what they would have been.
        """
        if self._failed and not any(cut.kind == "timeout" for cut in result.cuts):
            raised = HandlerRaised(_several(self._failed), [error for error, _ in self._errors])
            # With the handler's own traceback: its last line tells one such violation from another.
            raise raised.with_traceback(self._errors[0][1])
        if result.faults or result.cuts:
            return
        if self._bad:
            raise BadAnswer(_several(self._bad))
        if self._overdue and deadlines:
            why = "time is virtual: nothing else could end the wait, or the limit is shorter than the work"
            raise Overdue(f"{_several(self._overdue)}; {why}")


def is_deadlock(failure: BaseException) -> bool:
    """True for what ends a command as a deadlock does: waiting for itself, or until time was over."""
    if isinstance(failure, HandlerRaised):
        return any(isinstance(each, WouldDeadlock) for error in failure.errors for each in _leaves(error))
    return isinstance(failure, Overdue)


def _own(error: BaseException) -> BaseException | None:
    """What of it is the handler's: no cancellation, and nothing that was injected."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        error_ = group.split((trio.Cancelled, KeyboardInterrupt))[1]
        return error_ if error_ is not None and not all(map(_injected, _leaves(error_))) else None
    if isinstance(error, trio.Cancelled | KeyboardInterrupt) or _injected(error):
        return None
    return error


def _injected(error: BaseException) -> bool:
    """It was injected, or raised because of one that was."""
    seen = set[int]()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, InjectedFault | InjectedBaseException):
            return True
        left += [each.__cause__, each.__context__]
    return False


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(each)
    else:
        yield error


def _told(error: BaseException) -> str:
    return "; ".join(f"{type(each).__name__}: {said(each)}".removesuffix(": ") for each in _leaves(error))


def _several(happened: Sequence[tuple[str, str]]) -> str:
    """Each text once, with the first that it is said of."""
    firsts = dict(reversed(happened))
    counts = Counter(text for text, _ in happened)
    texts = [
        f"{text} ({firsts[text]}{f' and {count - 1:,} more' if count > 1 else ''})"
        for text, count in counts.items()
    ]
    more = len(texts) - TOLD
    return "; ".join([*texts[:TOLD], *([f"and {more:,} other texts"] if more > 0 else ())])
