"""Where a todo registry can be had: by a running handler, in its own conversation, in Trio's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import NoDispatch
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.pump.within import TodoRegistry, get_todo_registry
from support.auditing import running
from support.listeners import BACK, Ask, Note, listener
from support.sweeping import assert_nothing_is_remembered


def ids(watchers: Any) -> list[str]:
    return [watcher.id for watcher in watchers]


async def test_there_is_none_outside_of_a_handler() -> None:
    with pytest.raises(NoDispatch, match="expected"):
        get_todo_registry()
    async with running(BACK) as organism:
        await organism.ask(Ask("x"), to="back")
        with pytest.raises(NoDispatch):
            get_todo_registry()


def test_there_is_none_where_nothing_runs() -> None:
    with pytest.raises(NoDispatch):
        get_todo_registry()


async def test_there_is_none_in_a_worker_thread_but_one_may_come_back_for_it() -> None:
    found: list[Any] = []

    async def handler(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        todos = get_todo_registry()

        def aside() -> None:
            for call in (get_todo_registry, lambda: todos.register(wait_for="Reply")):
                try:
                    found.append(call())
                except NoDispatch as error:
                    found.append(type(error))
            found.append(trio.from_thread.run_sync(lambda: todos.register(wait_for="Reply")))

        await trio.to_thread.run_sync(aside)
        found.append(ids(todos.get_pending_for()))
        return HandlerResponse.respond(payload)

    async with running(listener("x", Note, handler)) as organism:
        await organism.ask(Note("x"), to="x")
    assert found[:2] == [NoDispatch, NoDispatch]
    assert found[3] == [found[2]]


async def test_a_handlers_own_tasks_may_use_it() -> None:
    found: list[str] = []

    async def child() -> None:
        await trio.lowlevel.checkpoint()
        found.append(get_todo_registry().register(wait_for="Reply"))

    async def handler(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(child)
        assert set(ids(get_todo_registry().get_pending_for())) == set(found)
        return HandlerResponse.respond(payload)

    async with running(listener("x", Note, handler)) as organism:
        await organism.ask(Note("x"), to="x")
    assert len(found) == 2


USES: tuple[Callable[[TodoRegistry], Any], ...] = (
    lambda todos: todos.register(wait_for="Reply"),
    lambda todos: todos.get_raised_for(),
    lambda todos: todos.get_pending_for(),
    lambda todos: todos.close("x"),
    lambda todos: todos.close_all_for_thread(),
)


@pytest.mark.parametrize("use", USES)
async def test_it_ends_with_its_attempt(
    autojump_clock: trio.testing.MockClock, use: Callable[[TodoRegistry], Any]
) -> None:
    """After the handler's return, and in a later attempt of the same delivery as well."""
    kept: list[TodoRegistry] = []
    used: list[Any] = []

    async def handler(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        for todos in kept:
            try:
                used.append(use(todos))
            except NoDispatch:
                used.append("refused")
        kept.append(get_todo_registry())
        if metadata.attempt == 1:
            raise ValueError("once")
        return HandlerResponse.respond(payload)

    async with (
        running(listener("x", Note, handler, retries=1)) as organism,
        organism.open_conversation() as block,
    ):
        await block.ask(Note("x"), to="x")
        await block.ask(Note("x"), to="x")
        for todos in kept:
            with pytest.raises(NoDispatch):
                use(todos)
        assert organism.todos == ()
    assert set(used) == {"refused"}


async def test_a_task_that_outlives_its_handler_cannot_use_it() -> None:
    found: list[Any] = []
    async with trio.open_nursery() as nursery:

        async def later() -> None:
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(NoDispatch):
                get_todo_registry()
            found.append("refused")

        async def handler(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
            nursery.start_soon(later)
            return HandlerResponse.respond(payload)

        async with running(listener("x", Note, handler)) as organism:
            await organism.ask(Note("x"), to="x")
            await organism.ask(Note("x"), to="x")
    assert found == ["refused", "refused"]


async def test_an_organism_within_a_handler_has_todos_of_its_own() -> None:
    """Boot and all: each handler finds the conversation that it works in, and no other."""
    seen: list[Any] = []

    async def inner(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append(ids(get_todo_registry().get_pending_for()))
        get_todo_registry().register(wait_for="Inner")
        return HandlerResponse.respond(payload)

    async def outer(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        id = get_todo_registry().register(wait_for="Outer")
        async with running(listener("own", Note, inner)) as within:
            await within.ask(payload, to="own")
            await within.ask(payload, to="own")
            seen.append(ids(get_todo_registry().get_pending_for()) == [id])
        seen.append(get_todo_registry().close(id))
        return HandlerResponse.respond(payload)

    async with running(listener("own", Note, outer)) as organism:
        await organism.ask(Note("x"), to="own")
        assert_nothing_is_remembered(organism)
    assert seen == [[], [], True, True]


async def test_a_conversation_begun_by_a_handler_does_not_see_that_handlers_todos() -> None:
    seen: list[int] = []

    async def handler(payload: Note, metadata: HandlerMetadata) -> None:
        todos = get_todo_registry()
        seen.append(len(todos.get_pending_for()))
        todos.register(wait_for="Never")
        if payload.text == "first":
            await organism.send(Note("second"), to="own")

    async with running(listener("own", Note, handler)) as organism:
        await organism.send(Note("first"), to="own")
        await organism.wait_idle()
    assert seen == [0, 0]
