"""One delivery, handled: a nursery of its own, a deadline, and a verdict.

Decides how a handler is entered and how it came back; what that means for the books is
``settling``'s. The handler runs directly in the nursery's body: a task more would cost two
checkpoints a hop and protect nothing. Called by the pump's carriers only.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final, final

import trio

from phloem.guarding import Raised, guarded
from phloem.messages import HandlerMetadata

from .conversation import Delivery
from .meters import Meter

__all__ = ["OVERRAN", "Running", "current_dispatch", "dispatch"]


@final
class _Overran:
    """The verdict on a handler that was cancelled at its deadline."""


OVERRAN: Final = _Overran()


@final
class Running:
    """What the context variable holds inside a dispatch: whose it is, and of which pump."""

    __slots__ = ("delivery", "pump")

    def __init__(self, pump: object, delivery: Delivery) -> None:
        self.pump, self.delivery = pump, delivery


_running: ContextVar[Running | None] = ContextVar("phloem_dispatch", default=None)


def current_dispatch(pump: object) -> Delivery | None:
    """The delivery that the calling code is handling for ``pump``, or None outside of one."""
    running = _running.get()
    if running is None or running.pump is not pump or running.delivery.ending is not None:
        return None
    return running.delivery


async def dispatch(pump: object, delivery: Delivery, timeout: float, meter: Meter | None) -> Any:
    """Enter the handler. Its result, ``Raised``, or ``OVERRAN``; after a cut, any of them. Checkpoint.

    Cancelled from outside means: the handler was cancelled, and ``Cancelled`` goes on.
    """
    listener = delivery.listener
    context = delivery.conversation.context.copy()
    context.run(_running.set, Running(pump, delivery))
    # A carrier handles one delivery after the other. Each must see its own caller's context
    # variables and none that an earlier handler set: Trio runs the next step of a task in
    # whatever its `context` is, so from the checkpoint below on it is this one.
    trio.lowlevel.current_task().context = context
    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope
        scope.deadline = trio.current_time() + timeout
        delivery.scope = scope
        if delivery.cut is not None:
            scope.cancel(reason=delivery.cut.text)
        if meter is not None:
            meter.start(scope, trio.current_time())
        try:
            await trio.lowlevel.checkpoint()
            return await guarded(
                listener.handler,
                delivery.payload,
                HandlerMetadata(
                    delivery.thread.id,
                    delivery.sender,
                    listener.name if listener.is_agent else None,
                    delivery.sender == listener.name,
                    listener.usage_instructions,
                    "",
                    delivery.id,
                    delivery.conversation.id,
                    delivery.attempt,
                ),
            )
        finally:
            if meter is not None:
                meter.stop(scope, trio.current_time())
    return OVERRAN


def why(verdict: Raised | _Overran, delivery: Delivery, timeout: float) -> tuple[str, str | None]:
    """(a sentence, the exception's class) for a verdict that is a failure."""
    key = delivery.listener.key
    if isinstance(verdict, _Overran):
        return f"{key} overran its deadline of {timeout:g} s", None
    name = type(verdict.error).__name__
    text = " ".join(str(verdict.error).split())[:500]
    return f"{key} raised {name}: {text}" if text else f"{key} raised {name}", name
