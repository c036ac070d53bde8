"""The registry as handlers have it: who may register, see and close what, when, and from where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import ListenerConfig, MemoryLimits
from phloem.errors import AccessRefused, TooManyTodos
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.pump.within import TodoRegistry, get_todo_registry
from support.auditing import running
from support.listeners import BACK, Ask, Note, Reply, listener
from support.watching import unfit

Look = Callable[[TodoRegistry, HandlerMetadata], Any]


def looking(look: Look, **more: Any) -> ListenerConfig:
    """A listener whose handler looks around once; what it raises, its caller hears."""

    async def handler(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Reply(repr(look(get_todo_registry(), metadata))))

    return listener("looker", Note, handler, **more)


async def looked(look: Look, *others: ListenerConfig, **settings: Any) -> Any:
    """What a handler's look at its registry returns or raises, and that nothing is left of it."""
    found: list[Any] = []

    def caught(todos: TodoRegistry, metadata: HandlerMetadata) -> None:
        try:
            found.append(look(todos, metadata))
        except Exception as error:
            found.append(error)

    async with running(looking(caught), BACK, *others, **settings) as organism:
        await organism.ask(Note("x"), to="looker")
        assert unfit(organism) == []
        assert organism.todos == ()
        assert await organism.ask(Ask("still here"), to="back") == Reply("still here")
    (one,) = found
    return one


def ids(watchers: Any) -> list[str]:
    return [watcher.id for watcher in watchers]


# -- as the reference has it -------------------------------------------------------------------


async def test_it_takes_arguments_as_the_reference_does() -> None:
    def look(todos: TodoRegistry, metadata: HandlerMetadata) -> Any:
        id = todos.register(metadata.thread_id, "looker", "ShoutedResponse", "shouter", "print it")
        (watcher,) = todos.get_pending_for(metadata.thread_id, "looker")
        assert todos.get_raised_for(metadata.thread_id, "looker") == []
        assert watcher.id == id
        return watcher

    watcher = await looked(look)
    shown = (watcher.issuer, watcher.wait_for, watcher.from_listener, watcher.description)
    assert shown == ("looker", "ShoutedResponse", "shouter", "print it")
    assert (watcher.eyebrow_raised, watcher.triggered_from) == (False, None)
    assert watcher.created_at.endswith("Z")


async def test_whom_and_where_may_be_left_out() -> None:
    def look(todos: TodoRegistry, metadata: HandlerMetadata) -> Any:
        todos.register(wait_for="Reply")
        todos.register(None, None, "Reply", None)
        return [(each.thread_id == metadata.thread_id, each.issuer) for each in todos.get_pending_for()]

    assert await looked(look) == [(True, "looker"), (True, "looker")]


async def test_closing_counts_at_once_and_only_once() -> None:
    def look(todos: TodoRegistry, metadata: HandlerMetadata) -> Any:
        first, second, third = (todos.register(wait_for="Reply") for _ in range(3))
        closed = [todos.close(first), todos.close(first), todos.close("no such"), todos.close("")]
        assert ids(todos.get_pending_for()) == [second, third]
        return closed, todos.close_all_for_thread(metadata.thread_id), todos.close_all_for_thread()

    assert await looked(look) == ([True, False, False, False], 2, 0)


async def test_it_formats_a_nudge_as_the_metadata_would_have_it() -> None:
    def look(todos: TodoRegistry, metadata: HandlerMetadata) -> Any:
        id = todos.register(wait_for="Reply")
        return id in todos.format_nudge(todos.get_pending_for()), todos.format_nudge([])

    assert await looked(look) == (True, "")


# -- whose it may be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "look",
    [
        lambda todos, metadata: todos.register(issuer="back", wait_for="Reply"),
        lambda todos, metadata: todos.register("made-up", None, "Reply"),
        lambda todos, metadata: todos.register("", None, "Reply"),
        lambda todos, metadata: todos.get_raised_for(None, "back"),
        lambda todos, metadata: todos.get_pending_for(metadata.thread_id, ""),
        lambda todos, metadata: todos.get_pending_for("made-up"),
        lambda todos, metadata: todos.close_all_for_thread("made-up"),
        lambda todos, metadata: todos.close_all_for_thread(metadata.conversation + "-0"),  # the root
    ],
)
async def test_another_issuer_or_thread_is_refused(look: Look) -> None:
    assert isinstance(await looked(look), AccessRefused)


async def test_its_own_name_is_its_own_in_any_case() -> None:
    assert isinstance(await looked(lambda todos, _: todos.register(None, "LOOKER", "Reply")), str)


async def test_a_listener_named_like_one_of_ours_does_not_act_for_its_caller() -> None:
    """Only phloem's own services register on their caller's thread."""
    found: list[Any] = []

    def look(todos: TodoRegistry, metadata: HandlerMetadata) -> None:
        root = metadata.conversation + "-0"
        for thread, issuer in ((root, None), (None, metadata.from_id)):
            with pytest.raises(AccessRefused):
                todos.register(thread, issuer, "Reply")
        found.append(True)

    async with running(looking(look)) as organism:
        await organism.ask(Note("x"), to="looker")
    assert found == [True]


async def test_another_threads_id_of_the_same_listener_is_refused_but_its_todos_are_seen() -> None:
    found: list[Any] = []

    async def twice(payload: Note, metadata: HandlerMetadata) -> Any:
        todos = get_todo_registry()
        if payload.text == "first":
            found.append((metadata.thread_id, todos.register(wait_for="Never")))
            return HandlerResponse(Note("second"), to="twice")
        ((other, id),) = found
        with pytest.raises(AccessRefused):
            todos.register(other, None, "Reply")
        with pytest.raises(AccessRefused):
            todos.close_all_for_thread(other)
        found[:] = [ids(todos.get_pending_for()) == [id], todos.close(id)]
        return None

    async with running(listener("twice", Note, twice)) as organism:
        await organism.send(Note("first"), to="twice")
        await organism.wait_idle()
    assert found == [True, True]


async def test_neither_another_listener_nor_another_conversation_sees_or_closes_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    known: list[str] = []
    refused: list[Any] = []

    async def opens(payload: Note, metadata: HandlerMetadata) -> Any:
        known.append(get_todo_registry().register(wait_for="Never"))
        return HandlerResponse(payload, to="thief")

    async def steals(payload: Note, metadata: HandlerMetadata) -> Any:
        todos = get_todo_registry()
        refused.append([todos.close(id) for id in known] + todos.get_pending_for())
        await trio.sleep(1)
        return HandlerResponse.respond(Reply("x"))

    async with running(
        listener("opener", [Note, Reply], opens), listener("thief", [Note], steals)
    ) as organism:
        await organism.send(Note("x"), to="opener")
        await organism.send(Note("x"), to="thief")
        await trio.testing.wait_all_tasks_blocked()
        assert ids(organism.todos) == known
        await organism.send(Note("x"), to="thief")
        await trio.testing.wait_all_tasks_blocked()
        assert ids(organism.todos) == known
        await organism.shutdown(0)
    assert refused[-1] == [False]


# -- what it takes -----------------------------------------------------------------------------

NO_TEXT: tuple[Any, ...] = (["Reply"], ("Reply",), b"Reply", {"Reply": 1}, 7, Reply, object())


@pytest.mark.parametrize("what", ["wait_for", "from_listener", "description"])
@pytest.mark.parametrize("value", NO_TEXT, ids=lambda value: type(value).__name__)
async def test_what_is_no_text_is_refused_and_changes_nothing(what: str, value: Any) -> None:
    """A handler's slip must stay that handler's: not half a todo, and no error in the pump."""

    def look(todos: TodoRegistry, metadata: HandlerMetadata) -> Any:
        with pytest.raises((TypeError, ValueError), match=f"{what}.*expected"):
            todos.register(**({"wait_for": "Reply"} | {what: value}))
        return todos.get_pending_for(), todos.get_raised_for()

    assert await looked(look) == ([], [])


@pytest.mark.parametrize("what", ["wait_for", "from_listener", "description"])
async def test_a_text_that_is_no_unicode_is_refused(what: str) -> None:
    """Half a surrogate pair could neither be sent nor be measured."""
    texts = {"wait_for": "Reply"} | {what: "\ud800"}
    assert isinstance(await looked(lambda todos, _: todos.register(**texts)), ValueError)


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"wait_for": ""},
        {"wait_for": "x" * 129},
        {"wait_for": "x", "from_listener": "x" * 129},
        {"wait_for": "x", "description": "x" * 2_001},
    ],
)
async def test_texts_that_are_too_short_or_too_long_are_refused(texts: dict[str, str]) -> None:
    error = await looked(lambda todos, _: todos.register(**texts))
    assert isinstance(error, ValueError)
    assert "found" in str(error)
    assert "expected" in str(error)
    assert len(str(error)) < 300


async def test_the_longest_texts_are_taken() -> None:
    look: Look = lambda todos, _: todos.register(None, None, "x" * 128, "y" * 128, "z" * 2_000)  # noqa: E731
    assert isinstance(await looked(look), str)


async def test_todos_in_one_conversation_are_bounded() -> None:
    def look(todos: TodoRegistry, metadata: HandlerMetadata) -> Any:
        for _ in range(3):
            todos.register(wait_for="Reply")
        with pytest.raises(TooManyTodos, match=r"3.*max_todos"):
            todos.register(wait_for="Reply")
        return len(todos.get_pending_for())

    assert await looked(look, memory=MemoryLimits(max_todos=3)) == 3


async def test_closing_one_makes_room_at_once() -> None:
    def look(todos: TodoRegistry, metadata: HandlerMetadata) -> Any:
        for _ in range(10):
            todos.close(todos.register(wait_for="Reply"))
        return len([todos.register(wait_for="Reply") for _ in range(3)])

    assert await looked(look, memory=MemoryLimits(max_todos=3)) == 3


async def test_closing_one_of_an_earlier_attempt_makes_room_at_once() -> None:
    counts: list[int] = []

    async def handler(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        todos = get_todo_registry()
        if todos.get_pending_for():
            todos.close(todos.get_pending_for()[0].id)
        while len(todos.get_pending_for()) < 3:
            todos.register(wait_for="Reply")
        counts.append(len(todos.get_pending_for()))
        return HandlerResponse.respond(payload)

    limits = MemoryLimits(max_todos=3)
    async with (
        running(listener("x", Note, handler), memory=limits) as organism,
        organism.open_conversation() as block,
    ):
        for _ in range(3):
            await block.ask(Note("x"), to="x")
            assert len(organism.todos) == 3
            assert unfit(organism) == []
    assert counts == [3, 3, 3]


async def test_the_bound_is_each_conversations_own(autojump_clock: trio.testing.MockClock) -> None:
    async def handler(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        get_todo_registry().register(wait_for="Never")
        await trio.sleep(1)
        return HandlerResponse.respond(payload)

    limits = MemoryLimits(max_todos=1)
    async with (
        running(listener("x", Note, handler), memory=limits) as organism,
        trio.open_nursery() as nursery,
    ):
        for _ in range(5):
            nursery.start_soon(organism.ask, Note("x"), "x")
        await trio.testing.wait_all_tasks_blocked()
        assert len(organism.todos) == 5
