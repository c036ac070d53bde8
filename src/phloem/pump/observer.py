"""What the pump tells whoever watches it.

Decides the list of happenings worth telling. The pump calls these from sync code, so an
observer never waits, and what it raises is a bug of ours: an observer that runs user code
guards it. ``LoggingObserver`` writes them to the standard logging tree, ``Observers`` tells two.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol, final

from phloem.memory.threads import Thread
from phloem.messages import Cause, DeadLetter, Fault, Huh, Outcome
from phloem.wire.repair import Mend

from .conversation import Conversation, Delivery

__all__ = ["LoggingObserver", "Observer", "Observers"]


class Observer(Protocol):
    """Watches one pump. Every call is made in a sync stretch: return soon, never wait."""

    def conversation_started(self, conversation: Conversation) -> None:
        """It has a seat; its first messages are booked in the same sync stretch."""
        ...

    def conversation_ended(self, conversation: Conversation, outcome: Outcome) -> None:
        """Nothing of it is in flight any more; once for each conversation."""
        ...

    def dispatched(self, delivery: Delivery) -> None:
        """Its handler is about to be entered."""
        ...

    def ended(self, delivery: Delivery, cause: Cause | None) -> None:
        """``delivery.ending`` says how."""
        ...

    def call_started(self, delivery: Delivery, called: Delivery) -> None:
        """An agent without a handler has sent ``called`` to a peer; ``delivery`` is what it was given."""
        ...

    def call_ended(self, conversation: Conversation, thread: Thread) -> None:
        """The thread of such a call has ended; ``thread.call`` says how."""
        ...

    def refused(
        self, conversation: Conversation, sender: str, huh: Huh, detail: str, sent_by: Delivery | None
    ) -> None:
        """A message was answered with a ``huh``, or nobody takes it; ``detail`` is not for the sender.

        ``sent_by``: the dispatch that sent it; None for a stranger's.
        """
        ...

    def buried(self, letter: DeadLetter, cause_id: str | None) -> None:
        """A message ended undelivered, or its handler failed for good. ``cause_id``: what led to it."""
        ...

    def raised(self, delivery: Delivery, error: BaseException) -> None:
        """A handler raised; for the traceback."""
        ...

    def step_raised(self, step: str, error: BaseException) -> None:
        """A user's step of the pipeline raised before a message was in the books; for the traceback."""
        ...

    def retrying(self, delivery: Delivery, cause: Cause, delay: float) -> None:
        """An attempt failed; the next one comes after ``delay`` seconds."""
        ...

    def budget_warning(
        self,
        conversation: Conversation,
        budget: str,
        used: float,
        limit: float,
        level: str,
        listener: str | None,
    ) -> None:
        """Four fifths of a budget are spent; once for each ``level``: conversation, call or listener.

        Or, at the level ``reservation``, a listener's call of a model used more than was set aside for it.
        """
        ...

    def repeating(self, delivery: Delivery, taker: str, count: int) -> None:
        """Two agents have sent each other so many messages without anything new: the turn is about to end."""
        ...

    def claim_ignored(self, sender: str, claimed: str) -> None:
        """An envelope from ``sender`` claims to be from somebody else, or to be on a thread."""
        ...

    def mended(self, sender: str, mends: Sequence[Mend], sent_by: Delivery | None = None) -> None:
        """What was repaired in a document of a stranger or in a handler's bytes (of ``sent_by``)."""
        ...

    def unread(self, sender: str, fault: Fault) -> None:
        """Something in the stream that ``sender`` attached is no message; it is in no conversation."""
        ...

    def broke(self, sender: str, error: BaseException) -> None:
        """The stream that ``sender`` attached raised, and is not read any more."""
        ...

    def waiting(self, sender: str, what: str, count: int) -> None:
        """A stranger begins to wait for a ``seat``, or with one for ``threads`` to end; one of ``count``."""
        ...

    def overslept(self, delivery: Delivery, seconds: float, limit: float) -> None:
        """A handler came back long after its deadline: it shields itself, or never checkpoints."""
        ...

    def held_up(self, listeners: Sequence[str]) -> None:
        """Stopping waits for handlers of these listeners (or sources), cancelled, which do not leave."""
        ...

    def phase(self, name: str) -> None:
        """The pump is ``open``, ``draining``, ``stopping`` or ``closed``."""
        ...


@final
class LoggingObserver:
    """Tells the ``phloem`` logger: faults as warnings, the ordinary at debug level."""

    def __init__(self, organism: str) -> None:
        self._log = logging.getLogger("phloem")
        self._organism = organism

    def conversation_started(self, conversation: Conversation) -> None:
        self._log.debug("%s: %s opened by %s", self._organism, conversation.id, conversation.sender)

    def conversation_ended(self, conversation: Conversation, outcome: Outcome) -> None:
        self._log.debug("%s: %s %s: %s", self._organism, conversation.id, outcome.state, outcome.cause)

    def dispatched(self, delivery: Delivery) -> None:
        """Told by what it ends as."""

    def ended(self, delivery: Delivery, cause: Cause | None) -> None:
        """Counted by the ledger; faults are told by the calls that know more."""

    def call_started(self, delivery: Delivery, called: Delivery) -> None:
        self._log.debug("%s calls %s", delivery.listener.key, called.listener.key)

    def call_ended(self, conversation: Conversation, thread: Thread) -> None:
        """Told by what its messages end as."""

    def refused(
        self, conversation: Conversation, sender: str, huh: Huh, detail: str, sent_by: Delivery | None
    ) -> None:
        self._log.info("%s: a message of %s was refused (%s): %s", conversation.id, sender, huh.code, detail)

    def buried(self, letter: DeadLetter, cause_id: str | None) -> None:
        self._log.warning(
            "dead letter %s from %s to %s: %s",
            letter.message_id,
            letter.from_listener,
            letter.to_listener or "?",  # it died before anybody was found for it
            letter.cause.text,
        )

    def raised(self, delivery: Delivery, error: BaseException) -> None:
        info = (type(error), error, error.__traceback__)
        self._log.error("%s raised on %s", delivery.listener.key, delivery.id, exc_info=info)

    def step_raised(self, step: str, error: BaseException) -> None:
        self._log.error("%s raised", step, exc_info=(type(error), error, error.__traceback__))

    def retrying(self, delivery: Delivery, cause: Cause, delay: float) -> None:
        self._log.info("%s: attempt %d failed, the next in %.2f s", delivery.id, delivery.attempt, delay)

    def budget_warning(
        self,
        conversation: Conversation,
        budget: str,
        used: float,
        limit: float,
        level: str,
        listener: str | None,
    ) -> None:
        whose = level if listener is None else f"{level} of {listener}"
        self._log.warning("%s: budget (%s): %g of %g, %s", conversation.id, budget, used, limit, whose)

    def repeating(self, delivery: Delivery, taker: str, count: int) -> None:
        key, id = delivery.listener.key, delivery.conversation.id
        self._log.warning("%s: %s and %s have had nothing new for %d messages", id, key, taker, count)

    def claim_ignored(self, sender: str, claimed: str) -> None:
        self._log.info("an envelope from %s claims %r as its sender or thread: ignored", sender, claimed)

    def mended(self, sender: str, mends: Sequence[Mend], sent_by: Delivery | None = None) -> None:
        told = "; ".join(f"{mend.what} at {mend.path}" for mend in mends)
        self._log.info("mended in a document of %s: %s", sender, told)

    def unread(self, sender: str, fault: Fault) -> None:
        self._log.warning("no message in the stream of %s (%s): %s", sender, fault.code, fault)

    def broke(self, sender: str, error: BaseException) -> None:
        info = (type(error), error, error.__traceback__)
        self._log.error("the stream of %s is not read any more", sender, exc_info=info)

    def waiting(self, sender: str, what: str, count: int) -> None:
        self._log.debug("%s: %s waits for %s, one of %d", self._organism, sender, what, count)

    def overslept(self, delivery: Delivery, seconds: float, limit: float) -> None:
        self._log.warning(
            "%s held on for %.1f s with a limit of %.1f s: it shields itself or never checkpoints",
            delivery.listener.key,
            seconds,
            limit,
        )

    def held_up(self, listeners: Sequence[str]) -> None:
        self._log.warning("stopping waits for cancelled handlers of %s", ", ".join(listeners))

    def phase(self, name: str) -> None:
        self._log.debug("%s: %s", self._organism, name)


@final
class Observers:
    """Tells two of everything, the ``first`` first: what the second one raises, the first has heard."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self._first, self._second = first, second

    def conversation_started(self, conversation: Conversation) -> None:
        self._first.conversation_started(conversation)
        self._second.conversation_started(conversation)

    def conversation_ended(self, conversation: Conversation, outcome: Outcome) -> None:
        self._first.conversation_ended(conversation, outcome)
        self._second.conversation_ended(conversation, outcome)

    def dispatched(self, delivery: Delivery) -> None:
        self._first.dispatched(delivery)
        self._second.dispatched(delivery)

    def ended(self, delivery: Delivery, cause: Cause | None) -> None:
        self._first.ended(delivery, cause)
        self._second.ended(delivery, cause)

    def call_started(self, delivery: Delivery, called: Delivery) -> None:
        self._first.call_started(delivery, called)
        self._second.call_started(delivery, called)

    def call_ended(self, conversation: Conversation, thread: Thread) -> None:
        self._first.call_ended(conversation, thread)
        self._second.call_ended(conversation, thread)

    def refused(
        self, conversation: Conversation, sender: str, huh: Huh, detail: str, sent_by: Delivery | None
    ) -> None:
        self._first.refused(conversation, sender, huh, detail, sent_by)
        self._second.refused(conversation, sender, huh, detail, sent_by)

    def buried(self, letter: DeadLetter, cause_id: str | None) -> None:
        self._first.buried(letter, cause_id)
        self._second.buried(letter, cause_id)

    def raised(self, delivery: Delivery, error: BaseException) -> None:
        self._first.raised(delivery, error)
        self._second.raised(delivery, error)

    def step_raised(self, step: str, error: BaseException) -> None:
        self._first.step_raised(step, error)
        self._second.step_raised(step, error)

    def retrying(self, delivery: Delivery, cause: Cause, delay: float) -> None:
        self._first.retrying(delivery, cause, delay)
        self._second.retrying(delivery, cause, delay)

    def budget_warning(
        self,
        conversation: Conversation,
        budget: str,
        used: float,
        limit: float,
        level: str,
        listener: str | None,
    ) -> None:
        self._first.budget_warning(conversation, budget, used, limit, level, listener)
        self._second.budget_warning(conversation, budget, used, limit, level, listener)

    def repeating(self, delivery: Delivery, taker: str, count: int) -> None:
        self._first.repeating(delivery, taker, count)
        self._second.repeating(delivery, taker, count)

    def claim_ignored(self, sender: str, claimed: str) -> None:
        self._first.claim_ignored(sender, claimed)
        self._second.claim_ignored(sender, claimed)

    def mended(self, sender: str, mends: Sequence[Mend], sent_by: Delivery | None = None) -> None:
        self._first.mended(sender, mends, sent_by)
        self._second.mended(sender, mends, sent_by)

    def unread(self, sender: str, fault: Fault) -> None:
        self._first.unread(sender, fault)
        self._second.unread(sender, fault)

    def broke(self, sender: str, error: BaseException) -> None:
        self._first.broke(sender, error)
        self._second.broke(sender, error)

    def waiting(self, sender: str, what: str, count: int) -> None:
        self._first.waiting(sender, what, count)
        self._second.waiting(sender, what, count)

    def overslept(self, delivery: Delivery, seconds: float, limit: float) -> None:
        self._first.overslept(delivery, seconds, limit)
        self._second.overslept(delivery, seconds, limit)

    def held_up(self, listeners: Sequence[str]) -> None:
        self._first.held_up(listeners)
        self._second.held_up(listeners)

    def phase(self, name: str) -> None:
        self._first.phase(name)
        self._second.phase(name)
