"""What a handler has of the event bus: the bus as seen from its listener and its conversation.

Decides that subscribers stand outside of the dispatch that subscribes them, and end with its
conversation. Finds the running dispatch as ``within`` does; holds nothing global. Called by handlers;
sync, never a checkpoint.
"""

from __future__ import annotations

from typing import Any, Final, cast, final

from phloem.events import EventBus, ScopedBus

from .conversation import Conversation
from .dispatch import callers_context
from .within import Here

__all__ = ["get_event_bus"]

SWEEP_AT: Final = 64  # ids that a conversation keeps before it looks, at every doubling, which have ended


def get_event_bus() -> ScopedBus:
    """The organism's bus, for the handler that calls. Raises NoDispatch.

    What is published through it names the organism, the listener and the conversation, and follows
    from the message being handled; later, too, as from a task that was left behind. ``emit`` never
    waits; ``publish`` and ``deliver`` wait for slow subscribers on the time of this handler. What is
    read is of this conversation alone. Subscribing raises NoDispatch once the attempt is over. A
    subscription is not undone with its attempt: it ends with the conversation, whose end it still
    hears of, and its handler stands outside of any dispatch. An expectation that is never met is
    kept until it is disarmed: use ``with``.
    """
    here = Here()
    delivery, conversation = here.delivery, here.conversation
    core: Any = conversation.core
    bus: EventBus = core.events

    def subscribed(id: str) -> None:
        _keep(here.conversation, id, bus)

    return ScopedBus(
        cast("EventBus", _FromOutside(bus, conversation)),
        stream_id=core.organism,
        node_id=delivery.listener.key,
        execution_id=conversation.id,
        correlation_id=delivery.id,
        cause_id=delivery.id,
        subscribed=subscribed,
    )


@final
class _FromOutside:
    """The bus itself, but whoever subscribes is entered as if by the conversation's own caller."""

    __slots__ = ("_bus", "_conversation")

    def __init__(self, bus: EventBus, conversation: Conversation) -> None:
        self._bus, self._conversation = bus, conversation

    def subscribe(self, *args: Any, **settings: Any) -> str:
        return callers_context().run(self._bus.subscribe, *args, **settings)

    def unsubscribe(self, id: str) -> bool:
        if self._conversation.subscriptions is not None:
            self._conversation.subscriptions.pop(id, None)
        return self._bus.unsubscribe(id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)


def _keep(conversation: Conversation, id: str, bus: EventBus) -> None:
    """Note what is to end with the conversation; forget now and then what has ended by itself."""
    kept = conversation.subscriptions
    if kept is None:
        kept = conversation.subscriptions = {}
    kept[id] = None
    if len(kept) >= SWEEP_AT and len(kept).bit_count() == 1:
        live = {subscription.id for subscription in bus.subscriptions}
        for ended in kept.keys() - live:
            del kept[ended]
