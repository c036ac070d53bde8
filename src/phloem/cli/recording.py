"""Writes down a run's conversations and messages, for its trace.

Decides what is kept of a message: where it came from, whom it went to, when, and how it ended; of its
payload the beginning. An observer, so it never waits and changes nothing. ``simulation`` gives one to the
run that is written to a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, final

import trio

from phloem.messages import Cause, Huh, Outcome
from phloem.pump.conversation import Conversation, Delivery

from .trace_lines import Row

__all__ = ["Recorder"]

PAYLOAD: Final = 500  # characters: enough to know it again, and a trace of some hundred messages stays small


@final
class Recorder:
    """Times are the run's virtual seconds. ``rows`` are what the file has beside the events."""

    def __init__(self) -> None:
        self._conversations: dict[str, Row] = {}
        self._messages: dict[str, Row] = {}
        self._refusals: list[Row] = []

    def rows(self) -> Iterator[Row]:
        """All, in the order in which they were first heard of."""
        yield from self._conversations.values()
        yield from self._messages.values()
        yield from self._refusals

    def conversation_started(self, conversation: Conversation) -> None:
        """A row, until its end without one."""
        self._conversations[conversation.id] = {
            "at": trio.current_time(),
            "conversation": conversation.id,
            "from": conversation.sender,
            "ended": None,
            "state": None,
            "why": None,
        }

    def conversation_ended(self, conversation: Conversation, outcome: Outcome) -> None:
        """Its state, and why if it has a cause."""
        if (row := self._conversations.get(conversation.id)) is not None:
            row["ended"], row["state"] = trio.current_time(), str(outcome.state)
            row["why"] = None if outcome.cause is None else outcome.cause.text

    def dispatched(self, delivery: Delivery) -> None:
        """Its handler is entered: ``started`` is the first time, ``attempts`` counts them."""
        row = self._row(delivery)
        row["attempts"] = delivery.attempt
        if row["started"] is None:
            row["started"] = trio.current_time()

    def ended(self, delivery: Delivery, cause: Cause | None) -> None:
        """How, and why if it has a cause."""
        row = self._row(delivery)
        row["ended"], row["ending"] = trio.current_time(), str(delivery.ending)
        row["why"] = None if cause is None else cause.text

    def refused(
        self, conversation: Conversation, sender: str, huh: Huh, detail: str, sent_by: Delivery | None
    ) -> None:
        """A message that never became one."""
        self._refusals.append(
            {
                "at": trio.current_time(),
                "refused": str(huh.code),
                "path": huh.path,
                "conversation": conversation.id,
                "parent": None if sent_by is None else sent_by.id,
                "from": sender,
            }
        )

    def unseen(self, *_: object, **__: object) -> None:
        """Is in no trace."""

    unread = broke = unseen
    call_started = call_ended = budget_warning = repeating = unseen
    buried = raised = retrying = claim_ignored = mended = waiting = overslept = held_up = step_raised = (
        phase
    ) = unseen

    def _row(self, delivery: Delivery) -> dict[str, Any]:
        row = self._messages.get(delivery.id)
        if row is None:
            text = delivery.text
            row = self._messages[delivery.id] = {
                "at": trio.current_time(),
                "message": delivery.id,
                "conversation": delivery.conversation.id,
                "parent": delivery.cause_id,
                "from": delivery.sender,
                "to": delivery.listener.name,
                "listener": delivery.listener.key,
                "payload": text if len(text) <= PAYLOAD else f"{text[: PAYLOAD - 1]}…",
                "attempts": 0,
                "started": None,
                "ended": None,
                "ending": None,
                "why": None,
            }
        return row
