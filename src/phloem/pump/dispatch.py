"""How a handler is entered, in which context, and what its coming back means.

Decides the verdict on one dispatch; the carrier owns the dispatch's nursery, and what a
verdict means for the books is ``settling``'s. Called by the pump's carriers only.
"""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Final, final

import trio

from phloem.guarding import Raised, guarded, said
from phloem.messages import Faults, HandlerMetadata

from .conversation import Delivery
from .egress import envelope_of
from .flow import Flow
from .observer import Observer
from .remembering import Remembering
from .stages import StepRaised

__all__ = [
    "OVERRAN",
    "callers_context",
    "context_for",
    "current_dispatch",
    "enter",
    "running_delivery",
    "why",
]


@final
class _Overran:
    """The verdict on a handler that was cancelled at its deadline."""


FOREIGN: Final = "unrecognized yield message"  # how Trio puts it
HOSTS: Final = (
    "it awaits what belongs to another event loop (asyncio's, mostly); a handler that needs its program's "
    "loop is marked with @on_host, or runs_on: host"
)
OVERRAN: Final = _Overran()


_running: ContextVar[Delivery | None] = ContextVar("phloem_dispatch", default=None)


def current_dispatch(core: object) -> Delivery | None:
    """The delivery that the calling code is handling for the pump of ``core``, or None outside of one."""
    delivery = _running.get()
    if delivery is None or delivery.conversation.core is not core or delivery.ending is not None:
        return None
    return delivery


def running_delivery() -> Delivery | None:
    """The delivery that the calling code is handling, whichever pump's; None outside of one."""
    return _running.get()


def callers_context() -> Context:
    """What a conversation keeps of its caller's context: all but the dispatch that it may stand in.

    A chain of conversations, each begun by a handler of the last, would else keep them all alive.
    """
    context = copy_context()
    context.run(_running.set, None)
    return context


def context_for(delivery: Delivery) -> Context:
    """The context that a delivery's handler runs in: its caller's, and what ``current_dispatch`` reads.

    A copy for each dispatch, so that a handler sees its own caller's context variables and
    none that an earlier handler set.
    """
    context = delivery.conversation.context.copy()
    context.run(_running.set, delivery)
    return context


async def enter(
    delivery: Delivery,
    memory: Remembering,
    observer: Observer,
    faults: Faults | None = None,
    flow: Flow | None = None,
) -> Any:
    """The handler's result, or ``Raised``. Cancelled goes on, also before the handler is entered.

    ``faults`` stand between the pump and handlers that users wrote: phloem's own do not fail.
    ``flow``: what users have put around dispatches.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    nudge = memory.entering(delivery)
    delivery.entered += 1
    observer.dispatched(delivery)
    listener, sender = delivery.listener, delivery.sender
    metadata = HandlerMetadata(
        delivery.thread.id,
        sender,
        listener.name if listener.is_agent else None,
        sender == listener.name,
        listener.usage_instructions,
        nudge,
        delivery.id,
        delivery.conversation.id,
        delivery.attempt,
    )
    if delivery.mends:
        metadata.mends = tuple([f"{mend.what} at {mend.path}" for mend in delivery.mends])
    payload = envelope_of(delivery) if listener.egress else delivery.payload
    if flow is not None and not listener.private:
        if faults is None or listener.service:
            return await flow.dispatch(delivery, partial(listener.handler, payload, metadata))
        visit = partial(faults.visit, "handler", listener.key, listener.handler, payload, metadata)
        return await flow.dispatch(delivery, visit)
    if faults is None or listener.service or listener.private:
        return await guarded(listener.handler, payload, metadata)
    return await guarded(faults.visit, "handler", listener.key, listener.handler, payload, metadata)


def why(verdict: Raised | _Overran, delivery: Delivery, timeout: float) -> tuple[str, str | None]:
    """(a sentence, the exception's class) for a verdict that is a failure."""
    key = delivery.listener.key
    if isinstance(verdict, _Overran):
        return f"{key} overran its deadline of {timeout:g} s", None
    if isinstance(verdict.error, StepRaised):
        return str(verdict.error), type(verdict.error.__cause__).__name__
    name = type(verdict.error).__name__
    text = " ".join(said(verdict.error).split())[:500]
    if FOREIGN in text:
        return f"{key} raised {name}: {HOSTS}", name
    return f"{key} raised {name}: {text}" if text else f"{key} raised {name}", name
