"""The events of one conversation -> the rows that a trace has, for its tree.

Decides nothing about the drawing, which is ``trace_tree``'s. Pure; whatever is no longer remembered is
left out, and said by ``whole``. ``console_commands`` draws the tree of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from phloem.events import AgentEvent, EventType
from phloem.pump.telling import PumpEvent

from .trace_lines import Row, TraceFile

__all__ = ["TRACED", "traced"]

TRACED: Final = (
    EventType.EXECUTION_STARTED,
    EventType.EXECUTION_COMPLETED,
    EventType.EXECUTION_FAILED,
    EventType.NODE_LOOP_STARTED,
    EventType.NODE_LOOP_ITERATION,
    EventType.NODE_LOOP_COMPLETED,
    PumpEvent.MESSAGE_REJECTED,
    PumpEvent.MESSAGE_ABANDONED,
)


def traced(conversation: str, events: Iterable[AgentEvent]) -> tuple[TraceFile, bool]:
    """The rows, from events in their order, and whether the conversation's beginning is among them."""
    trace = TraceFile(conversation, {})
    head: Row = {
        "at": None,
        "conversation": conversation,
        "from": "?",
        "ended": None,
        "state": None,
        "why": None,
    }
    messages: dict[str, Row] = {}
    begin: datetime | None = None
    whole = False
    for event in events:
        begin = begin or event.timestamp
        at, data = (event.timestamp - begin).total_seconds(), event.data
        message = event.correlation_id
        match event.type:
            case EventType.EXECUTION_STARTED:
                whole = True
                head |= {"at": at, "from": data["sender"], "state": "open"}
            case EventType.EXECUTION_COMPLETED | EventType.EXECUTION_FAILED:
                head |= {"ended": at, "state": data["state"], "why": data.get("error")}
            case PumpEvent.MESSAGE_REJECTED:
                refusal = {"at": at, "refused": data["code"], "path": data["path"], "from": data["sender"]}
                trace.refusals.append((0, {**refusal, **_place(conversation, event)}))
            case _ if message is not None:
                row = messages.get(message)
                if row is None:
                    row = messages[message] = _message(conversation, event, at)
                _happened(row, event.type, data, at)
            case _:
                pass
    trace.conversations.append((0, head))
    trace.messages += [(0, row) for row in messages.values()]
    return trace, whole


def _place(conversation: str, event: AgentEvent) -> Row:
    return {"conversation": conversation, "parent": event.cause_id}


def _message(conversation: str, event: AgentEvent, at: float) -> Row:
    return {
        **_place(conversation, event),
        "at": at,
        "message": event.correlation_id,
        "from": event.data.get("from", "?"),
        "to": event.node_id or "?",
        "listener": event.node_id or "?",
        "payload": "",
        "attempts": 0,
        "started": None,
        "ended": None,
        "ending": None,
        "why": None,
    }


def _happened(row: Row, kind: str, data: Mapping[str, Any], at: float) -> None:
    """What one more event says of a message."""
    if (tag := data.get("payload")) is not None:
        row["payload"] = f"<{tag}>"
    if kind == EventType.NODE_LOOP_STARTED:
        row["started"] = at
    elif kind == EventType.NODE_LOOP_ITERATION:
        row["attempts"] = data["iteration"]
    elif kind == EventType.NODE_LOOP_COMPLETED:
        row |= {"ended": at, "ending": data["ending"], "why": data["reason"]}
    elif kind == PumpEvent.MESSAGE_ABANDONED:
        row |= {"ended": at, "ending": "abandoned", "why": data["error"] or data["reason"]}
