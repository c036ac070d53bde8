"""One outcome -> one line of NDJSON, and its dead letters. Pure.

Decides what a result line says: ``id``, ``conversation``, ``state``, ``payloads`` (``type``,
``fields``, ``xml``), ``error``, ``ms``; ``dead_letters`` where there were any. An ``error``
has a ``code``; where the message was rejected ``path``, ``found``, ``expected`` and the
input's ``line``, else ``text``. Never counts and never writes. For ``batch``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, final

from phloem.contract import encode
from phloem.framing.fields import FieldTable
from phloem.framing.requests import MessageId, Refused
from phloem.messages import Cause, ConversationState, Fault, Huh, Outcome

__all__ = ["STOPPED", "ResultLines", "refused_outcome", "unfinished_outcome"]

_MORE: Final = 20  # further rejections shown in one line; a document with more is wrong as a whole
STOPPED: Final = Cause(
    "stopped", "the run was stopped at once; how this message would have ended is not known"
)


@final
class ResultLines:
    """Writes result lines. One per run."""

    def __init__(self, table: FieldTable) -> None:
        self._table = table

    def result(self, name: MessageId, outcome: Outcome, seconds: float | None, *, at_line: int = 0) -> bytes:
        """The result line of one message, with its line end. ``at_line``: where in the input it begins."""
        line: dict[str, Any] = {
            "id": name,
            "conversation": outcome.conversation or None,
            "state": outcome.state,
            "payloads": [self._payload(payload) for payload in outcome.payloads],
            "error": _error(outcome, at_line),
            "ms": None if seconds is None else round(seconds * 1000, 3),
        }
        if outcome.dead_letters:
            line["dead_letters"] = len(outcome.dead_letters)
        return _json_line(line)

    def dead_letters(self, name: MessageId, outcome: Outcome) -> bytes:
        """A line for each dead letter of one message."""
        return b"".join(
            _json_line(
                {
                    "id": name,
                    "conversation": letter.conversation,
                    "message_id": letter.message_id,
                    "from": letter.from_listener,
                    "to": letter.to_listener,
                    "reason": letter.reason,
                    "error": _told(letter.cause),
                    "xml": letter.payload_xml,
                }
            )
            for letter in outcome.dead_letters
        )

    def _payload(self, payload: object) -> dict[str, Any]:
        return {
            "type": type(payload).__name__,
            "fields": self._table.write(payload),
            "xml": encode(payload),
        }


def refused_outcome(refused: Refused) -> Outcome:
    """A line that never became a message, as an outcome like any other's."""
    return Outcome("", ConversationState.REJECTED, rejections=tuple(_huhs(refused.faults, refused.original)))


def unfinished_outcome(cause: Cause, conversation: str = "") -> Outcome:
    """A message that was not accepted, or whose end is not known."""
    return Outcome(conversation, ConversationState.CANCELLED, cause)


def _huhs(faults: Iterable[Fault], original: str) -> Iterable[Huh]:
    return (Huh(each.code, each.path, each.found, each.expected, 0, original) for each in faults)


def _error(outcome: Outcome, at_line: int) -> dict[str, Any] | None:
    if outcome.rejections and outcome.state in (ConversationState.REJECTED, ConversationState.COMPLETED):
        first, *more = outcome.rejections
        error: dict[str, Any] = _rejection(first)
        if at_line:
            error["line"] = at_line
        if more:
            error["more"] = [_rejection(huh) for huh in more[:_MORE]]
        return error
    return None if outcome.cause is None else _told(outcome.cause)


def _rejection(huh: Huh) -> dict[str, Any]:
    return {"code": huh.code, "path": huh.path, "found": huh.found, "expected": huh.expected}


def _told(cause: Cause) -> dict[str, Any]:
    told = {"code": cause.reason, "text": cause.text}
    if cause.listener is not None:
        told["listener"] = cause.listener
    if cause.exception is not None:
        told["exception"] = cause.exception
    return told


def _json_line(line: dict[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"
