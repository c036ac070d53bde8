"""What must hold of an organism's todos and threads whenever nobody is in the middle of changing them.

It opens nothing and waits for nothing; for tests that look from inside of handlers, or after each act.
"""

from __future__ import annotations

from collections import Counter

from phloem.organism import Organism


def unfit(organism: Organism) -> list[str]:
    """What is wrong with the books of todos, in words; nothing, if all is well."""
    found: list[str] = []
    for conversation in organism._core.conversations.values():
        todos = conversation.todos
        kept = [] if todos is None else list(todos._open.values())
        counts = Counter(todo.thread for todo in kept)
        found += [f"{todo.id} watches on a dead thread" for todo in kept if not todo.thread.alive]
        for thread in conversation.threads:
            held = thread.children or thread.occupant or thread.lasting or thread.todos
            if not held:
                found.append(f"{thread} is kept by nothing")
            if thread.todos != counts[thread]:
                found.append(f"{thread} counts {thread.todos} todos and has {counts[thread]}")
        if todos is None:
            continue
        named = {id for by_id in todos._by_name.values() for id in by_id}
        if named != set(todos._open) or not all(todos._by_name.values()):
            found.append("what is awaited is not what is open")
        live = {delivery for turn in conversation.turns.values() for delivery in turn.live}
        if not set(todos._unsettled) <= live:
            found.append("an attempt that is over is not settled")
    lost = {todo.thread_id for todo in organism.todos} - {thread.id for thread in organism.threads}
    return found + [f"a todo on {id}, which is no live thread" for id in sorted(lost)]
