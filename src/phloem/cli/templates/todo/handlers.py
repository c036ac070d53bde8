"""What each listener takes, does and answers; the assistant reminds itself by a todo."""

from dataclasses import dataclass
from typing import Annotated

from phloem import (
    Doc,
    HandlerMetadata,
    HandlerResponse,
    Pattern,
    get_context_buffer,
    get_todo_registry,
)

Item = Annotated[str, Pattern(r"\S.{0,59}"), Doc("one thing, in at most 60 characters")]


@dataclass
class Errand:
    item: Item
    then: Annotated[str, Pattern(r"\S.{0,199}"), Doc("what is to be done once the item is here")]


@dataclass
class Fetch:
    item: Item


@dataclass
class Fetched:
    item: Item


@dataclass
class Done:
    text: str


async def assist(payload: Errand | Fetched, metadata: HandlerMetadata) -> HandlerResponse:
    """Leaves a todo with the errand; ``metadata.todo_nudge`` speaks of it once the item has come."""
    todos = get_todo_registry()
    if isinstance(payload, Errand):
        todos.register(wait_for="Fetched", from_listener="runner", description=payload.then)
        return HandlerResponse(Fetch(payload.item), to="runner")
    history = [str(slot.payload) for slot in get_context_buffer().get_thread()]
    text = model(history, metadata.todo_nudge)
    for todo in todos.get_raised_for():
        todos.close(todo.id)
    return HandlerResponse.respond(Done(text))


async def fetch(payload: Fetch, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Fetched(payload.item))


def model(history: list[str], nudge: str) -> str:
    """Stands in for a language model, which reads the same: what happened, and the reminder."""
    reminders = [line for line in nudge.splitlines() if line.startswith("- ")]
    return "\n".join([*history, *reminders])
