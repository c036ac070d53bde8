"""What an agent has heard and said: its thread's history as a dialogue, and what it still waits for.

Decides how far each sender is trusted, and in which words an agent's own messages come back to it. Reads
what ``remembering`` keeps; never writes, waits or asks a model. The calls of models are made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, final
from xml.sax.saxutils import quoteattr

from phloem.memory.history import Record
from phloem.messages import SYSTEM

from .conversation import Conversation, Delivery
from .core import Core
from .steps import Passed, Refused

__all__ = ["Heard", "Trust", "heard", "joined", "said_of", "unanswered"]

_OURS = SYSTEM + "."  # the names of the listeners that phloem brings begin so


class Trust(StrEnum):
    """Who speaks: somebody from outside, a listener without a model, one with a model, or phloem."""

    STRANGER = "stranger"
    TOOL = "tool"
    AGENT = "agent"
    SYSTEM = "system"


@final
@dataclass(frozen=True, slots=True)
class Heard:
    """One message that an agent was given. ``xml``: its payload, canonical; ``nudge`` came with it.

    ``answer``: what the agent sent then, as it would write it; empty if that was nothing.
    """

    sender: str
    trust: Trust
    tag: str
    xml: str
    nudge: str = ""
    answer: str = ""


def heard(delivery: Delivery) -> tuple[int, list[Heard], Heard]:
    """(how many older ones are forgotten, this thread's history from the oldest on, the message at hand)."""
    core: Core = delivery.conversation.core  # type: ignore[assignment] # it is kept as an object: no circle
    conversation = delivery.conversation
    forgotten, records = core.memory.records(conversation, delivery.thread)
    history = [_heard(core, conversation, record) for record in records]
    trust = _trust(core, conversation, delivery.sender)
    now = Heard(delivery.sender, trust, delivery.contract.tag, delivery.text, delivery.nudge)
    return forgotten, history, now


def unanswered(delivery: Delivery) -> list[tuple[str, str]]:
    """(listener, payload) of what the agent sent in this turn and has not heard of yet, oldest first.

    The payload is empty of what stands in line for it already, and so is the name of whoever is no listener:
    a stranger's is his own words, and nothing that the agent could have asked.
    """
    thread, turn, conversation = delivery.thread, delivery.turn, delivery.conversation
    core: Core = conversation.core  # type: ignore[assignment] # it is kept as an object: no circle
    answered = [
        (_asked(core, conversation, each.sender), "") for each in thread.line or () if each.turn is turn
    ]
    return answered + [
        (core.listeners[child.listener].name, "" if child.call is None else child.call.payload)
        for child in thread.children.values()
        if child.turn == turn.number
    ]


def said_of(items: Sequence[Passed | Refused], *, responds: bool) -> str:
    """Messages that one dispatch sent, as an agent writes them: each in its frame."""
    said: dict[str, None] = {}  # twins get the same one
    for item in items:
        if isinstance(item, Refused):
            said[item.text] = None
        elif responds:
            said[f"<respond>{item.text}</respond>"] = None
        else:
            said[f"<send to={quoteattr(item.listener.name)}>{item.text}</send>"] = None
    return "\n".join(said)


def joined(said: str, more: str) -> str:
    """Two parts of what one dispatch said."""
    return f"{said}\n{more}" if said and more else said or more


def _heard(core: Core, conversation: Conversation, record: Record) -> Heard:
    trust = _trust(core, conversation, record.from_id)
    return Heard(record.from_id, trust, record.type, record.text, record.nudge, record.said)


def _asked(core: Core, conversation: Conversation, sender: str) -> str:
    """The sender of an answer; empty for others."""
    return sender if _trust(core, conversation, sender) in (Trust.TOOL, Trust.AGENT) else ""


def _trust(core: Core, conversation: Conversation, sender: str) -> Trust:
    if sender == SYSTEM or sender.startswith(_OURS):
        return Trust.SYSTEM
    named: Any = core.steps.routes.named(sender)
    if not named:
        return Trust.STRANGER
    return Trust.AGENT if any(each.is_agent for each in named) else Trust.TOOL
