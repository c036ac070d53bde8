"""What an operator may read of a running organism, from outside of any handler.

Decides nothing: looks up, and hands out what is safe to hold. Called by the front door.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any, final

from phloem.contract.prompts import fingerprint
from phloem.errors import AccessRefused
from phloem.memory.history import History
from phloem.memory.todos import TodoWatcher
from phloem.messages import Ending
from phloem.wire.parsing import quoted

from .accounts import Account, money
from .core import Core
from .pump import Pump

__all__ = ["ContextView", "ThreadView", "count_todos", "statistics_of", "threads_of", "todos_of"]


def todos_of(core: Core) -> tuple[TodoWatcher, ...]:
    """All open todos, oldest conversation first."""
    return tuple(
        watcher
        for conversation in core.conversations.values()
        if conversation.todos is not None
        for watcher in conversation.todos
    )


def count_todos(core: Core) -> int:
    """How many todos are open."""
    return sum(len(each.todos) for each in core.conversations.values() if each.todos is not None)


@final
class ContextView:
    """The histories of one organism. Each is as it was when it was asked for."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    def conversations(self) -> tuple[str, ...]:
        """The ids of those that can be read: ended ones that are kept, then live ones, oldest first."""
        return (*self._core.memory.finished_ids, *self._core.conversations)

    def get_conversation(self, id: str) -> History:
        """A conversation in causal order, live or ended. Raises AccessRefused if there is none to read."""
        id = str(id)
        conversation = self._core.conversations.get(id)
        if conversation is not None:
            return self._core.memory.conversation(conversation, past=True)
        history = self._core.memory.finished(id)
        if history is None:
            raise AccessRefused(
                f"found the conversation {quoted(id)}, expected one that lives or is kept (keep_finished)"
            )
        return history

    def get_thread(self, id: str) -> History:
        """A live thread. Raises AccessRefused if there is none of that id."""
        for conversation in self._core.conversations.values():
            thread = conversation.threads.lookup(id)
            if thread is not None:
                return self._core.memory.thread(conversation, thread)
        raise AccessRefused(f"found the thread {quoted(str(id))}, expected a live one")

    def thread_exists(self, id: str) -> bool:
        """Whether a live thread has that id."""
        return any(each.threads.lookup(id) is not None for each in self._core.conversations.values())

    def get_stats(self) -> dict[str, int]:
        """``thread_count``, ``total_slots``, ``total_bytes`` of live conversations; ``finished``: kept."""
        memories = [each.memory for each in self._core.conversations.values() if each.memory is not None]
        return {
            "thread_count": self._core.memory.census.live,
            "total_slots": sum(len(memory) for memory in memories),
            "total_bytes": sum(memory.size for memory in memories),
            "finished": len(self._core.memory.finished_ids),
        }


@final
@dataclasses.dataclass(frozen=True, slots=True)
class ThreadView:
    """A live thread, as it was when it was asked for. ``state``: idle, queued or running."""

    id: str
    conversation: str
    listener: str
    chain: tuple[str, ...]
    state: str


def threads_of(core: Core) -> tuple[ThreadView, ...]:
    """The live threads, oldest conversation first."""
    return tuple(
        ThreadView(thread.id, conversation.id, thread.listener, thread.chain, _state(thread.occupant))
        for conversation in core.conversations.values()
        for thread in conversation.threads
    )


def statistics_of(pump: Pump, context: ContextView) -> dict[str, Any]:
    """Counts for an operator: messages, conversations, seats, queue, what models spent, each listener's."""
    core, slots = pump.core, pump.slots
    running = Counter(d.listener.key for turn in core.live_turns() for d in turn.live if d.handled)
    oldest = next(iter(core.conversations.values()), None)
    return {
        "messages": {
            "accepted": core.ledger.accepted,
            "in_flight": core.ledger.in_flight,
            **{ending.value: count for ending, count in core.ledger.endings.items()},
            "abandoned_by": dict(core.ledger.abandoned_by),
        },
        "conversations": {
            "live": len(core.conversations),
            "oldest_seconds": 0.0 if oldest is None else core.clock.monotonic() - oldest.started,
            **{state.value: count for state, count in core.ended.items()},
        },
        "seats": {"free": pump.intake.free_seats, "waiting": pump.intake.waiting},
        **({} if pump.flow is None else {"pipeline": pump.flow.counts()}),
        "sources": {name: feed.statistics() for name, feed in pump.sources.feeds.items()},
        "queued": core.ledger.in_flight - sum(running.values()),
        "handlers_running": slots.handlers.borrowed_tokens,
        "memory": {**context.get_stats(), "todos": count_todos(core)},
        "spending": _spending(core.ledger.spending),
        "listeners": {
            key: {
                "running": running[key],
                **{e.value: core.ledger.by_listener.get(key, {}).get(e, 0) for e in Ending},
                **({"usage_hash": fingerprint(own.usage_instructions)} if own.is_agent else {}),
            }
            for key, own in core.listeners.items()
        },
    }


def _spending(account: Account) -> dict[str, float]:
    """Tokens and money of all calls of models, and what is set aside for those under way."""
    return {
        "tokens": account.tokens,
        "cost": money(account.cost),
        "reserved_tokens": account.reserved_tokens,
        "reserved_cost": money(account.reserved_cost),
    }


def _state(occupant: Any) -> str:
    if occupant is None:
        return "idle"
    return "running" if occupant.handled else "queued"
