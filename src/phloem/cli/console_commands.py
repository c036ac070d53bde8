"""What the commands that only look say: listeners, status, threads, todos, the trace of a conversation.

Decides the words. Reads what an organism shows at the moment, so that none of them ever waits for it;
changes nothing. ``console_session`` calls it; what ends something is there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any, Final, get_type_hints

from phloem.events import EventBus
from phloem.memory.todos import TodoWatcher
from phloem.messages import ConversationState, Ending
from phloem.pump.reading import ThreadView
from phloem.pump.routing import Listener

from .console_trace import TRACED, traced
from .shell import counted
from .terminal.harmless import clipped, harmless, one_line
from .trace_tree import tree_lines

__all__ = ["listener_lines", "status_lines", "thread_lines", "todo_lines", "trace_lines"]

MOST: Final = 100  # lines of one command; of threads there may be 20,000
WIDE: Final = 200  # columns of one line


def listener_lines(listeners: Iterable[Listener], facing: Collection[str]) -> Iterator[str]:
    """Each listener, what it takes with its fields, and its description."""
    shown = [each for each in listeners if not each.private]
    for each in sorted(shown, key=lambda each: each.service):  # phloem's own after the organism's
        marks = [
            mark for mark, is_so in (("agent", each.is_agent), ("speaks to you", each.key in facing)) if is_so
        ]
        told = f" ({', '.join(marks)})" if marks else ""
        yield _line(f"@{each.key}{told}  {' | '.join(_shape(c.payload_class) for c in each.contracts)}")
        if each.description:
            yield _line(f"    {each.description}")


def status_lines(statistics: Mapping[str, Any], talks: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    """The organism's counts, then who is talked to: listener, conversation, messages unanswered."""
    messages, conversations = statistics["messages"], statistics["conversations"]
    ended = _counts(messages, (each.value for each in Ending))
    yield f"messages: {messages['accepted']:,} accepted{ended}, {messages['in_flight']:,} in flight"
    states = _counts(conversations, (each.value for each in ConversationState))
    yield f"conversations: {conversations['live']:,} live{states}"
    waiting = statistics["seats"]["waiting"]
    running = f"{statistics['handlers_running']:,} handlers run, {statistics['queued']:,} messages queued"
    yield f"{running}, {waiting:,} wait for a seat" if waiting else running
    for listener, conversation, unanswered in talks:
        where = f"conversation {conversation}" if conversation else "waiting for a seat"
        yield _line(f"@{listener}: {where}, {counted(unanswered, 'message')} unanswered")


def thread_lines(threads: Collection[ThreadView]) -> Iterator[str]:
    """Each thread: state, chain, conversation."""
    rows = (f"{each.state:<8}{' > '.join(each.chain)}  ({each.conversation})" for each in threads)
    yield from _some(rows, len(threads), "no live thread")


def todo_lines(todos: Collection[TodoWatcher]) -> Iterator[str]:
    """Each open todo: its id, who waits for what, and whether it has come."""
    rows = (
        f"{each.id}  {each.issuer} waits for {each.wait_for}"
        f"{f' from {each.from_listener}' if each.from_listener else ''}: {each.description}"
        f"{f' (raised by {each.triggered_from})' if each.eyebrow_raised else ''}"
        for each in todos
    )
    yield from _some(rows, len(todos), "no open todo")


def trace_lines(conversation: str, events: EventBus, most: int) -> Iterator[str]:
    """A conversation's messages as a tree, as far as the ``most`` events of the history go back."""
    found = events.get_history(TRACED, execution_id=conversation, limit=most)[::-1]
    if not found:
        yield f"nothing of conversation {conversation} is remembered (events: max_history: {most:,})"
        return
    trace, whole = traced(conversation, found)
    if not whole:
        yield f"its beginning is forgotten (events: max_history: {most:,})"
    lines = list(tree_lines(trace, [row for _, row in trace.conversations]))
    if len(lines) > MOST:  # of a long conversation the end is of interest
        yield lines[0]
        yield f"… {len(lines) - MOST:,} lines before"
        lines = lines[-MOST + 1 :]
    yield from map(_line, lines)


def _some(rows: Iterable[str], count: int, none: str) -> Iterator[str]:
    if not count:
        yield none
    for _, row in zip(range(MOST), rows, strict=False):
        yield _line(row)
    if count > MOST:
        yield f"and {count - MOST:,} more"


def _counts(counts: Mapping[str, int], names: Iterable[str]) -> str:
    return "".join(f", {counts[name]:,} {name.replace('_', ' ')}" for name in names if counts.get(name))


def _shape(payload_class: type) -> str:
    """``Greeting(name: str, times: int = …)``"""
    try:
        hints = get_type_hints(payload_class)
        members = [
            f"{each.name}: {_type(hints[each.name])}"
            + ("" if each.default is MISSING and each.default_factory is MISSING else " = …")
            for each in fields(payload_class)
            if each.init
        ]
    except (NameError, TypeError):  # it resolves from inside only; phloem schema shows all
        return payload_class.__name__
    return f"{payload_class.__name__}({', '.join(members)})"


def _type(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not hasattr(hint, "__args__") else str(hint)


def _line(text: str) -> str:
    return clipped(one_line(harmless(text)), WIDE)
