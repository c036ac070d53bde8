"""What a scope of a bus says of every event that is published through it, and of every reader.

Decides what is filled in, what contradicts the scope and is refused, and what somebody must still
say himself. Pure: it publishes and reads nothing. Called by ``scoped`` and ``scoped_emitting``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar, cast, final

from phloem.errors import AccessRefused, InvalidEvent

from .freezing import shown
from .types import AgentEvent

__all__ = ["Scope"]

Given = TypeVar("Given", bound="str | None")


@final
@dataclass(frozen=True, slots=True)
class Scope:
    """Where events happen (stream, node, execution) and what they follow from. None: anything.

    Raises InvalidEvent for a field that is neither None nor a text with something in it.
    """

    stream_id: str | None = None
    node_id: str | None = None
    execution_id: str | None = None
    correlation_id: str | None = None
    cause_id: str | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            found = getattr(self, name)
            if found is not None and not (isinstance(found, str) and found):
                raise InvalidEvent(
                    f"{name} of a scope: found {shown(found)}, expected a text of one character or more, or "
                    "None for any"
                )

    def narrowed(self, stream_id: str | None, node_id: str | None, execution_id: str | None) -> Scope:
        """This scope, and more of it set. Raises AccessRefused for what it sets otherwise."""
        return replace(
            self,
            stream_id=_settled("stream_id", self.stream_id, stream_id),
            node_id=_settled("node_id", self.node_id, node_id),
            execution_id=_settled("execution_id", self.execution_id, execution_id),
        )

    def stamped(self, event: AgentEvent) -> AgentEvent:
        """The event with what this scope sets.

        Where it happens must be what the scope says, or None; raises AccessRefused otherwise. What it
        follows from is the publisher's to say, and the scope's where he does not. Raises InvalidEvent
        for what is no event.
        """
        if not isinstance(cast("object", event), AgentEvent):
            raise InvalidEvent(f"event: found {shown(event)}, expected an AgentEvent")
        return AgentEvent(  # all fields by hand: ``replace`` takes twice as long, and this is for every event
            event.type,
            _settled("stream_id", self.stream_id, event.stream_id),
            _settled("node_id", self.node_id, event.node_id),
            _settled("execution_id", self.execution_id, event.execution_id),
            event.data,
            event.timestamp,
            self.correlation_id if event.correlation_id is None else event.correlation_id,
            id=event.id,
            seq=event.seq,
            cause_id=self.cause_id if event.cause_id is None else event.cause_id,
        )

    def readable(self, stream_id: str | None, execution_id: str | None) -> tuple[str | None, str | None]:
        """The stream and the execution that a reader is held to; AccessRefused if it asks for others.

        Not the node: a node reads what its neighbours in the same execution say.
        """
        return (
            _settled("stream_id", self.stream_id, stream_id),
            _settled("execution_id", self.execution_id, execution_id),
        )

    # what one must know to emit: the scope's, or else what is given; AccessRefused for a contradiction,
    # InvalidEvent if nobody says

    def in_stream(self, stream_id: str | None) -> str:
        """The stream of an event."""
        return _needed("stream_id", self.stream_id, stream_id)

    def in_execution(self, stream_id: str | None, execution_id: str | None) -> tuple[str, str]:
        """The stream and the execution of an event that cannot do without either."""
        return self.in_stream(stream_id), _needed("execution_id", self.execution_id, execution_id)

    def at_node(
        self, stream_id: str | None, node_id: str | None, execution_id: str | None
    ) -> tuple[str, str, str | None]:
        """The stream, the node and, if anybody says, the execution of an event of a node."""
        return (
            self.in_stream(stream_id),
            _needed("node_id", self.node_id, node_id),
            _settled("execution_id", self.execution_id, execution_id),
        )


def _settled(field: str, own: str | None, given: Given) -> str | Given:
    """The scope's own if it has one: equal to it is not yet the same, for a class of text may lie."""
    if own is None:
        return given
    if given is None or given == own:
        return own
    raise AccessRefused(f"{field}: found {shown(given)}, expected {shown(own)}, which the scope sets")


def _needed(field: str, own: str | None, given: str | None) -> str:
    settled = _settled(field, own, given)
    if settled is None:
        raise InvalidEvent(
            f"{field}: found none, expected one from the scope, which sets none, or as {field}=…"
        )
    return settled
