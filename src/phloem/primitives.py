"""The listeners that phloem brings: boot, todo, todo-complete.

Decides what they take, answer and say. They use nothing but what any listener may use: a
payload class each, an async handler, and the todos of the conversation they work in. The
organism adds them to every configuration; a todo listener acts for whoever called it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, Final, final

from phloem.config import MAX_NAME, MAX_TODO_DESCRIPTION, ListenerConfig
from phloem.contract import Doc, Pattern, xmlify
from phloem.messages import BOOT, TODO, TODO_COMPLETE, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.pump.within import get_todo_registry

__all__ = [
    "BOOT_LISTENER",
    "DRIVEN_HEAR",
    "SERVICE_LISTENERS",
    "Boot",
    "TodoClosed",
    "TodoComplete",
    "TodoRegistered",
    "TodoUntil",
]


@final
@dataclass(frozen=True, slots=True)
class _Length:
    """How long a text may be; contracts read constraints by their attributes, whoever brings them."""

    min_length: int
    max_length: int


@xmlify
@dataclass(frozen=True)
class Boot:
    """The first message of every run."""

    organism_name: Annotated[str, Doc("the organism's name, e.g. hello-world")]
    timestamp: Annotated[str, Doc("when the run began, ISO 8601, UTC, e.g. 2031-05-17T09:30:00.000000Z")]
    listener_count: Annotated[int, Doc("all listeners, phloem's own included")]


@xmlify
@dataclass(frozen=True)
class TodoUntil:
    """Be reminded once a message of a certain kind has come."""

    wait_for: Annotated[
        str, Pattern(r"\S+"), _Length(1, MAX_NAME), Doc("the awaited payload's name, e.g. ShoutedResponse")
    ]
    from_listener: Annotated[
        str, _Length(0, MAX_NAME), Doc("whom it must come from, if not from anyone, e.g. shouter")
    ] = ""
    description: Annotated[
        str, _Length(0, MAX_TODO_DESCRIPTION), Doc("what to do then, e.g. pass the shout on")
    ] = ""


@xmlify
@dataclass(frozen=True)
class TodoRegistered:
    """A todo is open; its id closes it."""

    id: str
    wait_for: str
    description: str


@xmlify
@dataclass(frozen=True)
class TodoComplete:
    """Close a todo."""

    id: Annotated[
        str, Doc("the todo's id, from TodoRegistered or the note, e.g. 6f1b5c2e0d4a4b7e9c358a2f41-3")
    ]


@xmlify
@dataclass(frozen=True)
class TodoClosed:
    """A todo is closed; whether its message had come. False as well if there was no such todo."""

    id: str
    was_raised: bool


async def boot(payload: Boot, metadata: HandlerMetadata) -> None:  # noqa: ASYNC124 - all handlers are
    """Tells the log. Not a checkpoint."""
    logging.getLogger("phloem").info(
        "%s is up since %s, with %d listeners",
        payload.organism_name,
        payload.timestamp,
        payload.listener_count,
    )


async def todo(payload: TodoUntil, metadata: HandlerMetadata) -> HandlerResponse:  # noqa: ASYNC124
    """Registers a todo for whoever asks. Not a checkpoint."""
    id = get_todo_registry().register(
        metadata.thread_id, metadata.from_id, payload.wait_for, payload.from_listener, payload.description
    )
    return HandlerResponse.respond(TodoRegistered(id, payload.wait_for, payload.description))


async def todo_complete(payload: TodoComplete, metadata: HandlerMetadata) -> HandlerResponse:  # noqa: ASYNC124
    """Closes a todo of whoever asks. Not a checkpoint."""
    watcher = get_todo_registry().closed(payload.id)
    return HandlerResponse.respond(TodoClosed(payload.id, watcher is not None and watcher.eyebrow_raised))


BOOT_LISTENER: Final = ListenerConfig(BOOT, Boot, boot, "Hears that the organism is up.")
SERVICE_LISTENERS: Final = (
    ListenerConfig(
        TODO,
        TodoUntil,
        todo,
        "Reminds you, whenever you are called again, once a payload you wait for has come.",
        responds_with=TodoRegistered,
    ),
    ListenerConfig(
        TODO_COMPLETE,
        TodoComplete,
        todo_complete,
        "Closes a todo, so that you are no longer reminded of it.",
        responds_with=TodoClosed,
    ),
)
# What agents that phloem drives take beside what they are declared to.
DRIVEN_HEAR: Final = (Huh, SystemError, TodoRegistered, TodoClosed)
