"""What the pump tells the event bus: each of its happenings as one event, or two.

Decides the type, the place and the data of each. Names, tags, counts, reasons and texts of at most
2,000 characters go into an event, and never a payload: of its contents no more than what a fault quotes
of them (60 characters), or an exception says. Never waits, and keeps nothing but the phase. The pump
calls it, as the first of its observers; a message costs it three events, so nothing is built here that
an event does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, final

from phloem.config import MAX_NAME
from phloem.events import EventType
from phloem.guarding import said
from phloem.memory.threads import Thread
from phloem.messages import (
    Cause,
    ConversationState,
    DeadLetter,
    Ending,
    Fault,
    Huh,
    HuhCode,
    Outcome,
    ShutdownReport,
)
from phloem.wire.repair import Mend

from .conversation import Conversation, Delivery

__all__ = ["PumpEvent", "Telling"]

MOST_TEXT: Final = 2_000  # characters of one text; what a Huh says has as many
MOST_SHARED: Final = 1_024  # mappings; of listeners among themselves there are far fewer
MOST_LISTED: Final = 20  # names or mends in one event; all are counted


class PumpEvent(StrEnum):
    """What an organism tells that a bus as such knows no word for."""

    MESSAGE_REJECTED = "message_rejected"
    MESSAGE_MENDED = "message_mended"
    MESSAGE_ABANDONED = "message_abandoned"
    RETRY_SCHEDULED = "retry_scheduled"
    DEAD_LETTER = "dead_letter"
    SOURCE_FAILED = "source_failed"
    BUDGET_WARNING = "budget_warning"


# Plain texts, and below data as flat tuples: rows of the history then hold nothing that the garbage
# collector has to follow, and it lets go of them at its first look. Else the three rows that a message
# makes bring about full collections, and these cost more than the rows.
_STARTED: Final = EventType.EXECUTION_STARTED.value
_COMPLETED: Final = EventType.EXECUTION_COMPLETED.value
_FAILED: Final = EventType.EXECUTION_FAILED.value
_LOOP_STARTED: Final = EventType.NODE_LOOP_STARTED.value
_ITERATION: Final = EventType.NODE_LOOP_ITERATION.value
_LOOP_COMPLETED: Final = EventType.NODE_LOOP_COMPLETED.value
_VIOLATION: Final = EventType.CONSTRAINT_VIOLATION.value
_STALLED: Final = EventType.NODE_STALLED.value
_BLOCKED: Final = EventType.NODE_INPUT_BLOCKED.value
_STATE: Final = EventType.STATE_CHANGED.value
_OPENED: Final = EventType.STREAM_STARTED.value
_CLOSED: Final = EventType.STREAM_STOPPED.value
_FIRST: Final = ("iteration", 1)
_CALLED: Final = EventType.TOOL_CALL_STARTED.value
_ANSWERED: Final = EventType.TOOL_CALL_COMPLETED.value
_REJECTED: Final = PumpEvent.MESSAGE_REJECTED.value
_MENDED: Final = PumpEvent.MESSAGE_MENDED.value
_ABANDONED: Final = PumpEvent.MESSAGE_ABANDONED.value
_RETRY: Final = PumpEvent.RETRY_SCHEDULED.value
_BURIED: Final = PumpEvent.DEAD_LETTER.value
_BROKE: Final = PumpEvent.SOURCE_FAILED.value
_NEAR: Final = PumpEvent.BUDGET_WARNING.value


@final
class Telling:
    """An observer that records on a bus. ``record`` is the bus's, ``books`` gives the ledger's report.

    Every event's stream is ``stream``, its node a listener's key, its execution a conversation. Of an
    event that is about one message the correlation is that message, the cause the one that led to it.
    """

    def __init__(
        self,
        record: Callable[..., None],
        stream: str,
        books: Callable[[], ShutdownReport],
    ) -> None:
        self._record, self._stream, self._books = record, stream, books
        self._phase: str | None = None
        self._begun: dict[tuple[str, str, str], tuple[Any, ...]] = {}  # data that events share
        self._done: dict[tuple[int, Ending | None, str | None], tuple[Any, ...]] = {}

    def _share(self, shared: dict[Any, tuple[Any, ...]], key: Any, data: tuple[Any, ...]) -> None:
        """Use it again for what says the same."""
        if len(shared) < MOST_SHARED:  # strangers may have many names
            shared[key] = data

    # -- conversations --------------------------------------------------------------------------

    def conversation_started(self, conversation: Conversation) -> None:
        """execution_started: input (always None), sender, lasting (it is an ``open_conversation``)."""
        data = {"input": None, "sender": conversation.sender, "lasting": conversation.lasting}
        self._record(_STARTED, self._stream, None, conversation.id, data)

    def conversation_ended(self, conversation: Conversation, outcome: Outcome) -> None:
        """execution_completed: output, answers, state; or execution_failed: error, state and its cause.

        ``output`` names the classes of the first twenty payloads answered at the root, ``answers``
        counts all. A lasting conversation has none: its turns had.
        """
        state = outcome.state
        if state is ConversationState.COMPLETED:
            payloads = outcome.payloads
            output = tuple([type(payload).__name__ for payload in payloads[:MOST_LISTED]])
            data: dict[str, Any] = {"output": output, "answers": len(payloads), "state": state.value}
            self._record(_COMPLETED, self._stream, None, conversation.id, data)
            return
        cause = outcome.cause
        if cause is None:
            cause = Cause(state.value, state.value)
        error = _short(cause.text)
        data = {
            "error": error,
            "state": state.value,
            "reason": cause.reason,
            "listener": cause.listener,
            "exception": cause.exception,
        }
        self._record(_FAILED, self._stream, None, conversation.id, data, weight=len(error))

    # -- messages -------------------------------------------------------------------------------

    def dispatched(self, delivery: Delivery) -> None:
        """node_loop_started, once: max_iterations, payload (its tag), from.

        And node_loop_iteration, at each attempt: iteration.
        """
        listener, execution = delivery.listener, delivery.conversation.id
        node, id, cause_id = listener.key, delivery.id, delivery.cause_id
        record, stream = self._record, self._stream
        if delivery.entered == 1:
            tag, sender = delivery.contract.tag, delivery.sender
            begun = self._begun.get((node, tag, sender))
            if begun is None:
                begun = ("max_iterations", listener.retries + 1, "payload", tag, "from", sender)
                self._share(self._begun, (node, tag, sender), begun)
            record(_LOOP_STARTED, stream, node, execution, begun, id, cause_id)
        attempt = delivery.attempt
        data = _FIRST if attempt == 1 else ("iteration", attempt)
        record(_ITERATION, stream, node, execution, data, id, cause_id)

    def ended(self, delivery: Delivery, cause: Cause | None) -> None:
        """node_loop_completed: iterations, ending, reason (None if it was handled).

        Or message_abandoned, of one that no handler was entered with: payload, from, thread, reason,
        error.
        """
        node, execution = delivery.listener.key, delivery.conversation.id
        reason = None if cause is None else cause.reason
        if delivery.entered:
            way = (delivery.entered, delivery.ending, reason)
            done = self._done.get(way)
            if done is None:
                assert delivery.ending is not None
                ending = delivery.ending.value
                done = ("iterations", delivery.entered, "ending", ending, "reason", reason)
                self._share(self._done, way, done)
            self._record(_LOOP_COMPLETED, self._stream, node, execution, done, delivery.id, delivery.cause_id)
            return
        error = "" if cause is None else _short(cause.text)
        data = {
            "payload": delivery.contract.tag,
            "from": delivery.sender,
            "thread": delivery.thread.id,
            "reason": reason,
            "error": error,
        }
        id, cause_id = delivery.id, delivery.cause_id
        self._record(_ABANDONED, self._stream, node, execution, data, id, cause_id, len(error))

    def call_started(self, delivery: Delivery, called: Delivery) -> None:
        """tool_call_started, of an agent that phloem drives: tool_use_id (the call's thread), tool_name (the
        peer), tool_input (the payload's tag).
        """
        data = {
            "tool_use_id": called.thread.id,
            "tool_name": called.listener.key,
            "tool_input": called.contract.tag,
        }
        node, execution = delivery.listener.key, delivery.conversation.id
        self._record(_CALLED, self._stream, node, execution, data, called.id, delivery.id)

    def call_ended(self, conversation: Conversation, thread: Thread) -> None:
        """tool_call_completed, once for each that started: tool_use_id, tool_name, result (the tag of what
        was answered, or the reason why nothing was), is_error.
        """
        call, caller = thread.call, thread.parent
        data = {
            "tool_use_id": thread.id,
            "tool_name": call.tool,
            "result": call.result or call.error,
            "is_error": bool(call.error),
        }
        node = None if caller is None else caller.listener
        self._record(_ANSWERED, self._stream, node, conversation.id, data)

    def refused(
        self, conversation: Conversation, sender: str, huh: Huh, detail: str, sent_by: Delivery | None
    ) -> None:
        """message_rejected: sender, code, path, found, expected, attempts_left.

        Or, of a listener's message that nobody takes whom it may address, constraint_violation:
        constraint_id (``peers``), description. The cause is the message that was being handled.
        """
        node, cause_id = (None, None) if sent_by is None else (sent_by.listener.key, sent_by.id)
        if sent_by is not None and huh.code == HuhCode.ROUTING:
            self._violated(node, conversation.id, "peers", detail, cause_id)
            return
        data = {
            "sender": sender,
            "code": huh.code,
            "path": huh.path,
            "found": huh.found,
            "expected": huh.expected,
            "attempts_left": huh.attempts_left,
        }
        weight = len(huh.path) + len(huh.found) + len(huh.expected)
        self._record(_REJECTED, self._stream, node, conversation.id, data, None, cause_id, weight)

    def buried(self, letter: DeadLetter, cause_id: str | None) -> None:
        """dead_letter: from, to, reason, error. Its node is its taker; where it is misrouted, its sender."""
        node = letter.from_listener if letter.reason == "routing" else letter.to_listener
        error = _short(letter.cause.text)
        data = {
            "from": letter.from_listener,
            "to": _short(letter.to_listener, MAX_NAME),
            "reason": letter.reason,
            "error": error,
        }
        id, weight = letter.message_id, len(error)
        self._record(_BURIED, self._stream, node, letter.conversation, data, id, cause_id, weight)

    def raised(self, delivery: Delivery, error: BaseException) -> None:
        """Nothing: the traceback is for the log, and what was raised is in the events that follow."""

    def step_raised(self, step: str, error: BaseException) -> None:
        """Nothing: as of what a handler raised."""

    def retrying(self, delivery: Delivery, cause: Cause, delay: float) -> None:
        """retry_scheduled: attempt (the one that failed), delay (seconds), reason, error."""
        error = _short(cause.text)
        data = {"attempt": delivery.attempt, "delay": delay, "reason": cause.reason, "error": error}
        node, execution = delivery.listener.key, delivery.conversation.id
        id, cause_id = delivery.id, delivery.cause_id
        self._record(_RETRY, self._stream, node, execution, data, id, cause_id, len(error))

    # -- budgets --------------------------------------------------------------------------------

    def budget_warning(
        self,
        conversation: Conversation,
        budget: str,
        used: float,
        limit: float,
        level: str,
        listener: str | None,
    ) -> None:
        """budget_warning, once for each budget and level: budget, used, limit, level, listener.

        Money for ``cost``, seconds for ``seconds``. Of ``level`` reservation, once for each call of a model
        that used more than its ``limit``; perhaps after its conversation's end.
        """
        data = {"budget": budget, "used": used, "limit": limit, "level": level, "listener": listener}
        self._record(_NEAR, self._stream, listener, conversation.id, data)

    def repeating(self, delivery: Delivery, taker: str, count: int) -> None:
        """node_stalled: reason (``repeats``), listener (whom it has nothing new for), repeats."""
        data = {"reason": "repeats", "listener": taker, "repeats": count}
        node, execution = delivery.listener.key, delivery.conversation.id
        self._record(_STALLED, self._stream, node, execution, data, delivery.id, delivery.cause_id)

    # -- documents ------------------------------------------------------------------------------

    def claim_ignored(self, sender: str, claimed: str) -> None:
        """constraint_violation: constraint_id (``sender``), description. In no conversation yet."""
        said = f"an envelope from {sender} claims {_short(claimed, MAX_NAME)!r} as its sender or thread"
        self._violated(None, None, "sender", said, None)

    def mended(self, sender: str, mends: Sequence[Mend], sent_by: Delivery | None = None) -> None:
        """message_mended: sender, mends (the first twenty: what, and where), count. Of a stranger's
        document it is in no conversation yet.
        """
        told = tuple([_short(f"{mend.what} at {mend.path}", MAX_NAME) for mend in mends[:MOST_LISTED]])
        data = {"sender": sender, "mends": told, "count": len(mends)}
        weight = sum(map(len, told))
        if sent_by is None:
            self._record(_MENDED, self._stream, None, None, data, weight=weight)
            return
        node, execution = sent_by.listener.key, sent_by.conversation.id
        self._record(_MENDED, self._stream, node, execution, data, None, sent_by.id, weight)

    # -- sources --------------------------------------------------------------------------------

    def unread(self, sender: str, fault: Fault) -> None:
        """message_rejected, of what was no message in an attached stream: as of any, attempts_left 0.

        In no conversation.
        """
        data: dict[str, Any] = {
            "sender": sender,
            "code": fault.code,
            "path": _short(fault.path),
            "found": _short(fault.found, MAX_NAME),
            "expected": _short(fault.expected),
            "attempts_left": 0,
        }
        weight = len(data["path"]) + len(data["found"]) + len(data["expected"])
        self._record(_REJECTED, self._stream, None, None, data, weight=weight)

    def broke(self, sender: str, error: BaseException) -> None:
        """source_failed: sender, error, exception. Its node is the source."""
        text = _short(said(error))
        data = {"sender": sender, "error": text, "exception": type(error).__name__}
        self._record(_BROKE, self._stream, sender, None, data, weight=len(text))

    # -- the organism ---------------------------------------------------------------------------

    def waiting(self, sender: str, what: str, count: int) -> None:
        """node_input_blocked: prompt (empty), sender, reason (``seat``, ``threads``), waiting (how many)."""
        data = {"prompt": "", "sender": sender, "reason": what, "waiting": count}
        self._record(_BLOCKED, self._stream, None, None, data)

    def overslept(self, delivery: Delivery, seconds: float, limit: float) -> None:
        """node_stalled: reason (``overslept``), seconds, limit. Once its handler has left, so perhaps
        after its conversation's end.
        """
        data = {"reason": "overslept", "seconds": seconds, "limit": limit}
        node, execution = delivery.listener.key, delivery.conversation.id
        self._record(_STALLED, self._stream, node, execution, data, delivery.id, delivery.cause_id)

    def held_up(self, listeners: Sequence[str]) -> None:
        """node_stalled, for each of them, again and again while it lasts: reason (``held_up``)."""
        for key in listeners:
            self._record(_STALLED, self._stream, key, None, {"reason": "held_up"})

    def phase(self, name: str) -> None:
        """state_changed: key (``phase``), old_value, new_value, scope (``organism``).

        Besides stream_started as it opens and stream_stopped once it is closed, with the books:
        accepted, handled, rejected, undeliverable, failed, abandoned.
        """
        old, self._phase = self._phase, name
        data = {"key": "phase", "old_value": old, "new_value": name, "scope": "organism"}
        if name == "open":
            self._record(_OPENED, self._stream, None, None, {})
        self._record(_STATE, self._stream, None, None, data)
        if name == "closed":
            books = self._books()
            counts = {
                "accepted": books.accepted,
                "handled": books.handled,
                "rejected": books.rejected,
                "undeliverable": books.undeliverable,
                "failed": books.failed,
                "abandoned": books.abandoned,
            }
            self._record(_CLOSED, self._stream, None, None, counts)

    def _violated(
        self, node: str | None, execution: str | None, constraint: str, description: str, cause_id: str | None
    ) -> None:
        said = _short(description)
        data = {"constraint_id": constraint, "description": said}
        self._record(_VIOLATION, self._stream, node, execution, data, None, cause_id, len(said))


def _short(text: str, most: int = MOST_TEXT) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
