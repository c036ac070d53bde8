"""Handlers that the host awaits, and what is put around a handler of any kind."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from phloem.config import ListenerConfig
from phloem.errors import ConfigurationError
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import open_organism
from phloem.pump.calling import Around, Calling, on_host, wants_host
from support.callables import ASYNC, Awaited, here, here_async
from support.held import config_of, one
from support.listeners import Ask, Reply

# -- on the host ----------------------------------------------------------------------------------


class FakeHost:
    """A host whose loop is Trio's own; notes what it was asked to await."""

    def __init__(self) -> None:
        self.called: list[Any] = []

    async def call(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        self.called.append(function)
        return await function(*args)


def marked() -> list[Any]:
    async def function(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return here(payload, metadata)

    class Marked:
        @on_host
        async def method(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
            return here(payload, metadata)

    on_host(function)
    return [
        function,
        functools.partial(function),
        functools.wraps(function)(lambda payload, metadata: function(payload, metadata)),
        Marked().method,
        on_host(Awaited().method),
        on_host(Awaited()),
    ]


@pytest.mark.parametrize("handler", marked())
async def test_a_marked_handler_is_awaited_by_the_host(handler: Any) -> None:
    host = FakeHost()
    async with open_organism(one(handler), host=host) as organism:
        assert await organism.ask(Ask("x")) == Reply(str(threading.get_ident()))
    assert host.called == [handler]


@pytest.mark.parametrize("handler", ASYNC)
async def test_so_is_one_that_is_declared_to_be(handler: Any) -> None:
    host = FakeHost()
    async with open_organism(one(handler, runs_on="host"), host=host) as organism:
        assert await organism.ask(Ask("x")) == Reply(str(threading.get_ident()))
    assert host.called == [handler]


async def test_the_others_are_not() -> None:
    host = FakeHost()
    config = config_of(ListenerConfig("a", Ask, here_async), ListenerConfig("b", Ask, here))
    async with open_organism(config, host=host) as organism:
        for name in "ab":
            await organism.ask(Ask("x"), to=name)
    assert host.called == []


def test_a_mark_changes_nothing_else() -> None:
    async def function() -> str: ...  # type: ignore[empty-body]

    assert on_host(function) is function
    assert not wants_host(here_async, "trio")
    assert wants_host(here_async, "host")


async def test_without_a_host_every_such_handler_is_a_fault_with_its_place() -> None:
    config = config_of(
        ListenerConfig("a", Ask, here_async, runs_on="host"),
        ListenerConfig("b", Ask, here_async),
        ListenerConfig("c", Ask, marked()[0]),
    )
    with pytest.raises(ConfigurationError) as caught:
        async with open_organism(config):
            raise AssertionError("it opened")
    assert [fault.where for fault in caught.value.faults] == ["listener 'a'", "listener 'c'"]
    assert {fault.found for fault in caught.value.faults} == {
        "a handler that runs on the host (runs_on: host, or @on_host) in an organism without one"
    }


async def test_cancelling_an_ask_cancels_the_call_of_the_host() -> None:
    ended: list[str] = []
    began = trio.Event()

    @on_host
    async def stays(payload: Ask, metadata: HandlerMetadata) -> None:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.append(payload.text)

    async with open_organism(one(stays), host=FakeHost()) as organism:
        receipt = await organism.send(Ask("x"))
        await began.wait()
        await organism.kill(receipt.conversation)
        assert ended == ["x"]


# -- something around it --------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [here, here_async, marked()[0]])
async def test_what_is_around_a_handler_is_around_the_thread_and_the_host_too(handler: Any) -> None:
    told: list[str] = []

    def noting(inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def noted(payload: Any, metadata: HandlerMetadata) -> Any:
            told.append(f"in, {threading.get_ident()}")
            try:
                return await inner(payload, metadata)
            finally:
                told.append(f"out, {threading.get_ident()}")

        return noted

    async with open_organism(one(Around(handler, noting)), host=FakeHost()) as organism:
        await organism.ask(Ask("x"))
    assert told == [f"in, {threading.get_ident()}", f"out, {threading.get_ident()}"]


async def test_it_can_be_called_without_an_organism() -> None:
    wrapped = Around(here_async, lambda inner: inner)
    answer = await wrapped(Ask("x"), HandlerMetadata("t", "f"))
    assert answer == HandlerResponse.respond(Reply(str(threading.get_ident())))
    calling = Calling(1)
    assert calling.call_of(wrapped, "one", "trio") is here_async
