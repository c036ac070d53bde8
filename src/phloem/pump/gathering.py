"""Agents that hear all answers at once: what is in flight below their threads.

Decides when a message counts as below, and when what a thread holds back comes forward. Sync and
pure; ``core`` calls it as it books the beginning and the end of each message.
"""

from __future__ import annotations

from phloem.memory.threads import Gathering, Thread

from .conversation import Delivery
from .routing import Listener
from .run_queues import RunQueues

__all__ = ["begun", "ended", "is_last"]


def begun(thread: Thread, listener: Listener) -> None:
    """A message for ``listener`` is in flight on ``thread`` from here on."""
    if listener.gathers and thread.gathering is None:
        thread.gathering = Gathering(thread, thread.above)
    if thread.above is not None:
        thread.above.entered()


def ended(thread: Thread, queue: RunQueues[Delivery]) -> None:
    """One on ``thread`` is in flight no more."""
    if thread.above is not None:
        for idle in thread.above.left():
            queue.gathered(idle)


def is_last(delivery: Delivery) -> bool:
    """False if more of what its agent waited for stands behind it: the last one makes the call.

    The last one of its turn: who asks meanwhile, in another turn of the conversation, is to be answered too.
    """
    thread = delivery.thread
    if thread.gathering is None or not thread.line:
        return True
    return all(each.turn is not delivery.turn for each in thread.line)
