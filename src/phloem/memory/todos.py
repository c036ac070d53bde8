"""Todos: what a conversation watches for, and whom it nudges once it has come.

Decides which message raises which eyebrow, who sees it, and what of it a failed attempt
takes back. A watcher belongs to the thread it was registered on and goes with it. Never
looks at payloads, clocks or queues, and draws no ids: its caller, the pump, gives them.
One book belongs to one conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

from phloem.messages import TODO_COMPLETE

from .threads import Thread

__all__ = ["TodoWatcher", "Todos", "format_nudge"]

NUDGE: Final = "[SYSTEM NOTE: The following todos appear complete:]"


@final
@dataclass(frozen=True, slots=True)
class TodoWatcher:
    """A todo, as it was when it was asked for. ``created_at``: ISO 8601, UTC.

    ``from_listener`` is empty where anyone will do; ``triggered_from`` says whose message raised it.
    """

    id: str
    thread_id: str
    issuer: str
    wait_for: str
    from_listener: str
    description: str
    eyebrow_raised: bool
    triggered_from: str | None
    created_at: str


@final
class _Todo:
    """A watcher as the book keeps it. ``key``: its issuer's, which twins do not share."""

    __slots__ = (
        "closed_by",
        "created_at",
        "description",
        "from_listener",
        "id",
        "issuer",
        "key",
        "opened_by",
        "thread",
        "triggered_from",
        "wait_for",
    )

    def __init__(
        self, id: str, thread: Thread, key: str, issuer: str, wait_for: str, from_listener: str
    ) -> None:
        self.id, self.thread, self.key, self.issuer = id, thread, key, issuer
        self.wait_for, self.from_listener = wait_for, from_listener
        self.description = self.created_at = ""
        self.triggered_from: str | None = None
        self.opened_by: object = None  # the attempt that may still take it back
        self.closed_by: object = None  # the attempt that closed it, and may still fail

    @property
    def shown(self) -> TodoWatcher:
        return TodoWatcher(
            self.id,
            self.thread.id,
            self.issuer,
            self.wait_for,
            self.from_listener,
            self.description,
            self.triggered_from is not None,
            self.triggered_from,
            self.created_at,
        )


@final
class Todos:
    """The open todos of one conversation.

    ``attempt`` is whatever stands for one attempt of one dispatch. What an attempt registered or
    closed counts at once, and is undone unless ``settle`` keeps it; a todo that an attempt closed
    goes on watching meanwhile, so that nothing is missed if it fails.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Todo] = {}
        self._by_name: dict[str, dict[str, _Todo]] = {}  # what is awaited, without case -> by id
        self._by_key: dict[str, dict[str, _Todo]] = {}  # whose -> by id
        self._unsettled: dict[object, dict[str, _Todo]] = {}  # attempt -> what it did, by id
        self._closed: dict[object, int] = {}  # attempt that may still fail -> how many it closed
        self._nudges: dict[str, str] = {}  # by key, until something changes: slots share them

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open) - sum(self._closed.values())

    def taken(self, attempt: object) -> int:
        """How many places are taken, for an attempt that asks for one.

        What it closed itself makes room; what others closed does not, for it comes back if they fail.
        """
        return len(self._open) - self._closed.get(attempt, 0)

    def __iter__(self) -> Iterator[TodoWatcher]:
        return (todo.shown for todo in self._open.values() if todo.closed_by is None)

    def register(
        self,
        id: str,
        thread: Thread,
        key: str,
        issuer: str,
        wait_for: str,
        from_listener: str,
        description: str,
        created_at: str,
        attempt: object,
    ) -> None:
        """Watch for a payload called ``wait_for``, from ``from_listener`` or (empty) from anyone."""
        name = wait_for.casefold()
        todo = _Todo(id, thread, key, issuer, wait_for, from_listener)
        todo.description, todo.created_at, todo.opened_by = description, created_at, attempt
        self._open[id] = todo
        self._by_name.setdefault(name, {})[id] = todo
        self._by_key.setdefault(key, {})[id] = todo
        self._unsettled.setdefault(attempt, {})[id] = todo
        thread.todos += 1

    def check(self, names: Iterable[str], sender: str) -> None:
        """A payload has come, known by these names (without case): raise the eyebrows that wait for it."""
        for name in names:
            for todo in self._by_name.get(name, {}).values():
                wanted = todo.from_listener
                if todo.triggered_from is None and (not wanted or wanted.casefold() == sender.casefold()):
                    todo.triggered_from = sender
                    self._nudges.pop(todo.key, None)

    def nudge(self, key: str) -> str:
        """What an issuer is told at its dispatch; the same object as long as nothing changes."""
        if key not in self._by_key:
            return ""
        nudge = self._nudges.get(key)
        if nudge is None:
            nudge = self._nudges[key] = format_nudge(self.raised_for(key))
        return nudge

    def raised_for(self, key: str) -> list[TodoWatcher]:
        """Those of one issuer whose message has come, oldest first."""
        return [todo.shown for todo in self._of(key) if todo.triggered_from is not None]

    def pending_for(self, key: str) -> list[TodoWatcher]:
        """Those of one issuer that still wait, oldest first."""
        return [todo.shown for todo in self._of(key) if todo.triggered_from is None]

    def close(self, id: str, key: str, attempt: object) -> TodoWatcher | None:
        """End one; None if that issuer has no such todo."""
        todo = self._open.get(id)
        if todo is None or todo.key != key or todo.closed_by is not None:
            return None
        shown = todo.shown
        self._nudges.pop(key, None)
        if todo.opened_by is attempt:  # it never was, whether that attempt is kept or undone
            del self._unsettled[attempt][id]
            self._forget(todo)
        else:
            todo.closed_by = attempt
            self._closed[attempt] = self._closed.get(attempt, 0) + 1
            self._unsettled.setdefault(attempt, {})[id] = todo
        return shown

    def close_all(self, thread: Thread, key: str, attempt: object) -> int:
        """End all of one issuer on one thread; how many there were."""
        mine = [todo.id for todo in self._of(key) if todo.thread is thread]
        return sum(self.close(id, key, attempt) is not None for id in mine)

    def settle(self, attempt: object, *, keep: bool) -> list[Thread]:
        """An attempt is over: keep what it did, or undo it. The threads that have lost their last todo."""
        idle: list[Thread] = []
        self._closed.pop(attempt, None)
        for todo in self._unsettled.pop(attempt, {}).values():
            if todo.id not in self._open:
                continue  # gone with its thread
            if (todo.closed_by if keep else todo.opened_by) is attempt:
                self._forget(todo)
                if not todo.thread.todos:
                    idle.append(todo.thread)
            elif keep:
                todo.opened_by = None
            else:
                todo.closed_by = None
                self._nudges.pop(todo.key, None)
        return idle

    def drop(self, threads: Iterable[Thread]) -> None:
        """Their threads have ended, and they with them."""
        ended = {thread for thread in threads if thread.todos}
        if ended:
            for todo in [todo for todo in self._open.values() if todo.thread in ended]:
                self._forget(todo)

    def _of(self, key: str) -> Iterator[_Todo]:
        return (todo for todo in self._by_key.get(key, {}).values() if todo.closed_by is None)

    def _forget(self, todo: _Todo) -> None:
        del self._open[todo.id]
        for index, key in ((self._by_name, todo.wait_for.casefold()), (self._by_key, todo.key)):
            del index[key][todo.id]
            if not index[key]:
                del index[key]
        self._nudges.pop(todo.key, None)
        todo.thread.todos -= 1
        if todo.closed_by in self._closed:
            self._closed[todo.closed_by] -= 1


def format_nudge(watchers: Sequence[TodoWatcher]) -> str:
    """What an issuer is told of its raised todos; empty if there are none."""
    if not watchers:
        return ""
    lines = [NUDGE]
    for watcher in watchers:
        what, whose = _line(watcher.description), watcher.triggered_from or watcher.from_listener
        lines += [
            f"- {_line(watcher.wait_for)} from {_line(whose) or 'anyone'}{f': {what}' if what else ''}",
            f"  todo {watcher.id}; close it with this message to {TODO_COMPLETE}:",
            f"  <TodoComplete><Id>{watcher.id}</Id></TodoComplete>",
        ]
    return "\n".join(lines)


def _line(text: str) -> str:
    """In one line: nobody's name or words may pose as a line of ours."""
    return " ".join(text.split())
