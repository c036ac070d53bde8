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
    """Leaves a todo for the time when the item is here; then its nudge says what was to be done."""
    todos = get_todo_registry()
    if isinstance(payload, Errand):
        todos.register(wait_for="Fetched", from_listener="runner", description=payload.then)
        return HandlerResponse(Fetch(payload.item), to="runner")
    for todo in todos.get_raised_for():
        todos.close(todo.id)
    thread = get_context_buffer().get_thread()
    history = [f"{slot.metadata.payload_type} from {slot.metadata.from_id}" for slot in thread]
    return HandlerResponse.respond(Done(model(history, metadata.todo_nudge)))


async def fetch(payload: Fetch, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Fetched(payload.item))


def model(history: list[str], nudge: str) -> str:
    """Stands in for a language model, which would read the same: what has happened, and the nudge."""
    reminders = [line.partition(": ")[2] for line in nudge.splitlines() if line.startswith("- ")]
    return f"{', '.join(history)}; now {' and '.join(reminders) or 'nothing'}"
