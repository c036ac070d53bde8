"""What an agent's model wrote -> the messages it sends.

Decides whom each payload of an answer is for: what stands in a frame goes where the frame says, and a
bare payload to the one peer that takes it, or to the caller if it is one of the agent's responses. What
could be either is refused, never guessed. Checks no payload (``steps`` does) and books nothing.
``planning`` calls it when phloem's own handler has returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode
from phloem.wire.answers import Answer, AnswerPart, Way
from phloem.wire.parsing import Element, canonical, printable
from phloem.wire.text import quoted

from .routing import Listener
from .steps import ORIGINAL, Refused, Steps, cut

__all__ = ["Spoken", "Uttered", "mixed", "uttered"]


@final
class Spoken:
    """An answer as phloem's own handler returns it: read, or (``faults``) refused as a whole."""

    __slots__ = ("answer", "faults", "text")

    def __init__(self, text: str, answer: Answer | None, faults: Sequence[Fault] = ()) -> None:
        self.text, self.answer, self.faults = text, answer, tuple(faults)


@final
@dataclass(frozen=True, slots=True)
class Uttered:
    """One payload, and whom it is for. ``kind``: its class, of a response at the root."""

    element: Element
    tag: str
    text: str
    to: str | None
    is_response: bool
    kind: type | None = None


def uttered(spoken: Spoken, sender: Listener, steps: Steps, *, at_root: bool) -> list[Uttered | Refused]:
    """Each payload with its way. Never a checkpoint."""
    if spoken.answer is None:
        return [Refused(spoken.faults, printable(spoken.text, ORIGINAL), tag="the answer")]
    return [_uttered(part, sender, steps, at_root=at_root) for part in spoken.answer.parts]


def mixed(spoken: Spoken) -> Refused:
    """An answer that responds and sends: responding ends what would be sent."""
    fault = Fault(
        HuhCode.AMBIGUOUS_PAYLOAD,
        "/",
        "a response and messages to peers in one answer",
        "either: a response ends your part, and whoever you would still be waiting for",
    )
    return Refused([fault], printable(spoken.text, ORIGINAL), tag="the answer")


def _uttered(part: AnswerPart, sender: Listener, steps: Steps, *, at_root: bool) -> Uttered | Refused:
    tag = str(part.element.tag)
    try:
        text = canonical(part.element)
    except InvalidMessage as invalid:
        return Refused(invalid.faults, f"<{tag}>", tag=tag, to=part.to)
    way, to = part.way, part.to
    if way is Way.BARE:
        names = _peers_for(tag, sender, steps)
        if len(names) + _may_respond(tag, sender) > 1:
            return _several(tag, text, names, sender)
        if names or not _may_respond(tag, sender):
            return Uttered(part.element, tag, text, names[0] if names else None, is_response=False)
        way = Way.RESPOND
    if way is Way.SEND:
        return Uttered(part.element, tag, text, to, is_response=False)
    if not at_root or sender.responds_with is not None:
        return Uttered(part.element, tag, text, None, is_response=True)
    kind = steps.class_of(tag)
    if kind is None:
        found = f"{cut(tag)}, which is not the payload of exactly one class here"
        fault = Fault(HuhCode.UNEXPECTED_ELEMENT, f"/{cut(tag)}", found, "a payload that this organism knows")
        return Refused([fault], text, tag=tag, outbound=True)
    return Uttered(part.element, tag, text, None, is_response=True, kind=kind)


def _peers_for(tag: str, sender: Listener, steps: Steps) -> list[str]:
    """The names of those it may address who take such payloads; without itself."""
    takers = steps.routes.takers(tag, sender)
    return list(dict.fromkeys(taker.name for taker in takers if taker.name != sender.name))


def _may_respond(tag: str, sender: Listener) -> bool:
    return any(own.tag.casefold() == tag.casefold() for own in sender.responds_with or ())


def _several(tag: str, text: str, names: Iterable[str], sender: Listener) -> Refused:
    ways = [f'<send to="{name}">' for name in names]
    ways += ["<respond>"] * _may_respond(tag, sender)
    fault = Fault(
        HuhCode.AMBIGUOUS_PAYLOAD,
        f"/{cut(tag)}",
        f"a bare <{cut(tag)}> that may be meant for several",
        quoted(f"one of these around it: {', '.join(ways)}", 200),
    )
    return Refused([fault], text, tag=tag)
