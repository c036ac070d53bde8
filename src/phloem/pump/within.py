"""What a handler may ask for while it runs: its conversation's todos and its context.

Decides who may see and change what: the running handler, its own conversation. Nothing here
is global: the functions find the running dispatch through the context variable that the
pump has set for it. Called by handlers; sync, never a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import get_ident
from typing import Any, cast, final

from phloem.config import MAX_NAME, MAX_TODO_DESCRIPTION
from phloem.errors import AccessRefused, NoDispatch, TooManyTodos
from phloem.memory.history import History
from phloem.memory.threads import Thread
from phloem.memory.todos import Todos, TodoWatcher, format_nudge
from phloem.messages import iso_time
from phloem.wire.parsing import first_bad_char, quoted
from phloem.wire.text import shown

from .conversation import Conversation, Delivery
from .dispatch import running_delivery
from .remembering import Remembering

__all__ = ["ContextBuffer", "TodoRegistry", "get_context_buffer", "get_todo_registry"]


def get_todo_registry() -> TodoRegistry:
    """The todos of the conversation that the calling handler works in. Raises NoDispatch."""
    return TodoRegistry(Here())


def get_context_buffer() -> ContextBuffer:
    """The history of the conversation that the calling handler works in. Raises NoDispatch."""
    return ContextBuffer(Here())


@final
class Here:
    """One attempt of one dispatch, for as long as it runs."""

    def __init__(self) -> None:
        found = running_delivery()
        if found is None or not found.stamp or not _in_its_thread(found):
            raise NoDispatch("found no running handler, expected to be called by one, in its own thread")
        self._delivery, self._stamp = found, found.stamp

    @property
    def delivery(self) -> Delivery:
        own = self._delivery
        if own.stamp != self._stamp or running_delivery() is not own or not _in_its_thread(own):
            raise NoDispatch(
                f"found the dispatch of {own.id} over, another handler or another thread; expected to be "
                "used by its own handler while it runs"
            )
        return own

    @property
    def conversation(self) -> Conversation:
        return self.delivery.conversation

    @property
    def memory(self) -> Remembering:
        return _memory_of(self.delivery)

    def thread(self, id: str | None) -> Thread:
        """The live thread of that id, in this conversation; None for the running one."""
        delivery = self.delivery
        if id is None:
            return delivery.thread
        thread = delivery.conversation.threads.lookup(id)
        if thread is None:
            raise AccessRefused(f"found the thread {quoted(str(id))}, expected one of this conversation")
        return thread


def _memory_of(delivery: Delivery) -> Remembering:
    core: Any = delivery.conversation.core
    memory: Remembering = core.memory
    return memory


def _in_its_thread(delivery: Delivery) -> bool:
    """Memory is read and written between checkpoints, so never from another thread."""
    return get_ident() == _memory_of(delivery).os_thread


@final
class TodoRegistry:
    """The todos that the running listener has open in its conversation.

    Each method raises NoDispatch once the attempt is over that asked for it. A listener of phloem's
    own acts for whoever called it. Where a ``thread_id`` or an issuer is
    taken, it is there for code that was written for the reference: it must be the handler's own.
    """

    def __init__(self, here: Here) -> None:
        self._here = here

    def register(
        self,
        thread_id: str | None = None,
        issuer: str | None = None,
        wait_for: str = "",
        from_listener: str | None = None,
        description: str = "",
    ) -> str:
        """Watch for a payload of the class ``wait_for``, from ``from_listener`` or anyone; the todo's id.

        Without case. Undone if this attempt fails. Raises AccessRefused for another's thread or
        name, TooManyTodos, ValueError for a name that is none.
        """
        here = self._here
        thread, key, name = self._owner(thread_id, issuer)
        if here.delivery.cut is not None or not thread.alive:
            raise NoDispatch(f"found the dispatch of {here.delivery.id} cut, expected one that goes on")
        sender = from_listener or ""
        for what, text, least, most in (
            ("wait_for", wait_for, 1, MAX_NAME),
            ("from_listener", sender, 0, MAX_NAME),
            ("description", description, 0, MAX_TODO_DESCRIPTION),
        ):
            given = cast("object", text)  # code without types hands in anything
            if (
                not isinstance(given, str)
                or not least <= len(given) <= most
                or first_bad_char(given) is not None
            ):
                raise ValueError(
                    f"{what}: found {shown(given)}, expected a text of {least} to {most} characters "
                    "that XML allows"
                )
        if wait_for.split() != [wait_for]:
            raise ValueError(f"wait_for: found {shown(wait_for)}, expected a class's name")
        memory, conversation = here.memory, here.conversation
        todos = memory.todos_of(conversation)
        taken = todos.taken(here.delivery)
        if taken >= memory.max_todos:
            raise TooManyTodos(
                f"found {taken} open todos in this conversation, expected at most {memory.max_todos} "
                "(max_todos); close some"
            )
        id = conversation.next_id()
        todos.register(
            id, thread, key, name, wait_for, sender, description, iso_time(memory.now), here.delivery
        )
        return id

    def get_raised_for(self, thread_id: str | None = None, agent: str | None = None) -> list[TodoWatcher]:
        """Those whose message has come, oldest first; on whichever thread they were registered."""
        _, key, _ = self._owner(thread_id, agent)
        todos = self._todos
        return [] if todos is None else todos.raised_for(key)

    def get_pending_for(self, thread_id: str | None = None, agent: str | None = None) -> list[TodoWatcher]:
        """Those that still wait, oldest first; on whichever thread they were registered."""
        _, key, _ = self._owner(thread_id, agent)
        todos = self._todos
        return [] if todos is None else todos.pending_for(key)

    def close(self, id: str) -> bool:
        """End one; False if this listener has no such todo here. Undone if this attempt fails."""
        return self.closed(id) is not None

    def closed(self, id: str) -> TodoWatcher | None:
        """As ``close``; the todo as it was."""
        _, key, _ = self._owner(None, None)
        todos = self._todos
        return None if todos is None else todos.close(str(id), key, self._here.delivery)

    def close_all_for_thread(self, thread_id: str | None = None) -> int:
        """End all that this listener has open on a thread; how many there were."""
        thread, key, _ = self._owner(thread_id, None)
        todos = self._todos
        return 0 if todos is None else todos.close_all(thread, key, self._here.delivery)

    def format_nudge(self, watchers: Sequence[TodoWatcher]) -> str:
        """What ``metadata.todo_nudge`` says of these."""
        return format_nudge(watchers)

    @property
    def _todos(self) -> Todos | None:
        return self._here.conversation.todos

    def _owner(self, thread_id: str | None, issuer: str | None) -> tuple[Thread, str, str]:
        """(thread, key, name) that todos are kept under. Raises AccessRefused if another was named."""
        delivery = self._here.delivery
        thread, key, name = delivery.thread, delivery.listener.key, delivery.listener.name
        own = {thread.id}
        caller = thread.parent
        if delivery.listener.service and caller is not None:
            thread, key, name = caller, caller.listener, delivery.sender
            own.add(caller.id)
        if issuer is not None and str(issuer).casefold() != name.casefold():
            raise AccessRefused(f"found the issuer {quoted(str(issuer))}, expected {quoted(name)}")
        if thread_id is not None and str(thread_id) not in own:
            raise AccessRefused(f"found the thread {quoted(str(thread_id))}, expected this handler's own")
        return thread, key, name


@final
class ContextBuffer:
    """What the running handler's conversation remembers, the message being handled included.

    A history is as it was when it was asked for, and safe to hold. Each method raises NoDispatch
    once the attempt is over that asked for it.
    """

    def __init__(self, here: Here) -> None:
        self._here = here

    def get_thread(self, thread_id: str | None = None) -> History:
        """A thread of this conversation, by default the handler's own. Raises AccessRefused."""
        thread = self._here.thread(thread_id)
        return self._here.memory.thread(self._here.conversation, thread)

    def get_conversation(self) -> History:
        """All live threads of this conversation, in causal order."""
        return self._here.memory.conversation(self._here.conversation)

    def thread_exists(self, thread_id: str) -> bool:
        """Whether such a thread lives in this conversation."""
        return self._here.conversation.threads.lookup(thread_id) is not None

    def get_stats(self) -> dict[str, int]:
        """``thread_count``, ``total_slots`` and ``total_bytes`` of this conversation."""
        conversation = self._here.conversation
        memory = conversation.memory
        return {
            "thread_count": len(conversation.threads),
            "total_slots": 0 if memory is None else len(memory),
            "total_bytes": 0 if memory is None else memory.size,
        }
