"""Payload classes, answers and handlers: what may be one."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from phloem.config import ListenerConfig, OrganismConfig, RunsOn
from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.loading import resolve
from phloem.pump.calling import on_host

if TYPE_CHECKING:
    from .conftest import Folder


@dataclass
class Ping:
    text: str


@dataclass
class Reply:
    text: str


def twin_of_ping() -> type:
    @dataclass
    class PING:
        text: str

    return PING


class NoPayload:
    pass


async def pong(payload: Any, metadata: Any) -> None:
    return None


def plain(payload: Any, metadata: Any) -> None:
    return None


def plainly_yields(payload: Any, metadata: Any) -> Iterator[int]:
    yield 1


def plainly_takes_one(payload: Any) -> None:
    return None


async def takes_one(payload: Any) -> None:
    return None


async def takes_three(payload: Any, metadata: Any, more: Any) -> None:
    return None


async def needs_a_keyword(payload: Any, metadata: Any, *, more: Any) -> None:
    return None


async def yields(payload: Any, metadata: Any) -> AsyncIterator[int]:
    yield 1


async def with_a_default(payload: Any, metadata: Any, more: int = 1) -> None:
    return None


async def with_everything(*args: Any, **kwargs: Any) -> None:
    return None


@functools.wraps(pong)
def wrapped(*args: Any) -> Awaitable[None]:
    return pong(*args)


class Methods:
    async def method(self, payload: Any, metadata: Any) -> None:
        return None

    async def __call__(self, payload: Any, metadata: Any) -> None:
        return None


class PlainMethods:
    def method(self, payload: Any, metadata: Any) -> None:
        return None

    @staticmethod
    def without_self(payload: Any, metadata: Any) -> None:
        return None

    @classmethod
    def of_the_class(cls, payload: Any, metadata: Any) -> None:
        return None

    def __call__(self, payload: Any, metadata: Any) -> None:
        return None


def fault_of(**fields: Any) -> ConfigurationFault:
    whole: dict[str, Any] = {"name": "x", "payload_class": Ping, "handler": pong, **fields}
    config = OrganismConfig(listeners=[ListenerConfig(**whole)])
    with pytest.raises(ConfigurationError) as caught:
        resolve(config)
    (fault,) = caught.value.faults
    assert fault.where == "listener 'x'"
    return fault


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        (plainly_yields, "'plainly_yields', a generator"),
        (plainly_takes_one, "'plainly_takes_one', which takes (payload: 'Any') -> 'None'"),
        (functools.partial(yields), "'partial', an async generator"),
        (takes_one, "'takes_one', which takes (payload: 'Any') -> 'None'"),
        (takes_three, "'takes_three', which takes (payload: 'Any', metadata: 'Any', more: 'Any')"),
        (needs_a_keyword, "'needs_a_keyword', which takes (payload"),
        (yields, "'yields', an async generator"),
        (Methods, "'Methods', a class"),
        (Methods.method, "'Methods.method', which takes (self"),
        (7, "'int', 7 that cannot be called"),
    ],
)
def test_what_is_no_handler_is_told_why(handler: Any, found: str) -> None:
    fault = fault_of(handler=handler)
    assert found in fault.found
    assert fault.expected.startswith("async def or def handler(payload, metadata)")


@pytest.mark.parametrize(
    "declared",
    [
        {"handler": plain, "runs_on": "host"},
        {"handler": lambda payload, metadata: None, "runs_on": RunsOn.HOST},
        {"handler": on_host(functools.partial(plain))},
        {"handler": PlainMethods(), "runs_on": "host"},
    ],
)
def test_a_plain_function_cannot_run_on_the_host(declared: dict[str, Any]) -> None:
    fault = fault_of(**declared)
    assert fault.found.endswith(", a plain function that is to run on the host")
    assert fault.expected == (
        "async def handler(payload, metadata), which is awaited there; without it, a worker thread runs it"
    )


@pytest.mark.parametrize("runs_on", ["", "asyncio", "Trio", None, 7])
def test_a_place_to_run_is_trio_or_the_host(runs_on: Any) -> None:
    fault = fault_of(runs_on=runs_on)
    assert fault.found.endswith("as runs_on")
    assert fault.expected.startswith("one of trio, host")


def test_client_facing_is_true_or_false() -> None:
    fault = fault_of(client_facing="yes")
    assert (fault.found, fault.expected) == ("the text 'yes' as client_facing", "true or false")


def test_a_file_says_where_handlers_run_and_who_watches_them(folder: Folder) -> None:
    config = folder.load(
        "max_sync_handlers: 3\n"
        "listeners:\n"
        "  - {name: a, payload_class: hello.Greeting, handler: hello.greet, runs_on: host}\n"
        "  - {name: b, payload_class: hello.Greeting, handler: hello.greet, client_facing: true}\n"
    )
    assert config.max_sync_handlers == 3
    assert [(own.runs_on, own.client_facing) for own in config.listeners] == [("host", False), ("trio", True)]


@pytest.mark.parametrize(
    ("text", "where", "found"),
    [
        ("max_sync_handlers: 0\nlisteners: []\n", "1:20", "0 as max_sync_handlers"),
        ("organism: {max_sync_handlers: 3}\nlisteners: []\n", "1:12", "the unknown key 'max_sync_handlers'"),
    ],
)
def test_a_file_is_told_where_it_says_so_wrongly(folder: Folder, text: str, where: str, found: str) -> None:
    ((place, said),) = folder.places(text)
    assert place == where
    assert said.startswith(found)


@pytest.mark.parametrize(
    "handler",
    [
        pong,
        with_a_default,
        with_everything,
        wrapped,
        Methods().method,
        Methods(),
        functools.partial(takes_three, 1),
    ],
)
def test_every_async_callable_of_two_is_a_handler(handler: Callable[..., Any]) -> None:
    for runs_on in RunsOn:
        config = resolve(OrganismConfig(listeners=[ListenerConfig("x", Ping, handler, runs_on=runs_on)]))
        assert config.listeners[0].handler == handler


@pytest.mark.parametrize(
    "handler",
    [
        plain,
        lambda payload, metadata: None,
        PlainMethods().method,
        PlainMethods.without_self,
        PlainMethods.of_the_class,
        PlainMethods(),
        functools.partial(plain),
        functools.partial(PlainMethods().method),
        max,
    ],
)
def test_so_is_every_plain_one(handler: Callable[..., Any]) -> None:
    config = resolve(OrganismConfig(listeners=[ListenerConfig("x", Ping, handler)]))
    assert config.listeners[0].handler == handler


@pytest.mark.parametrize("field", ["payload_class", "responds_with"])
@pytest.mark.parametrize(
    ("given", "found"),
    [
        (NoPayload, "'NoPayload', which cannot be a payload: "),
        (pong, "a function"),
        (7, "7"),
        ([Ping, Ping], "'Ping' a second time"),
        ([Ping, 7], "7"),
    ],
)
def test_what_is_no_payload_class_is_told_why(field: str, given: Any, found: str) -> None:
    assert fault_of(**{field: given}).found.startswith(found)


@pytest.mark.parametrize("field", ["payload_class", "responds_with"])
def test_two_classes_of_one_tag_are_a_fault_whatever_its_case(field: str) -> None:
    fault = fault_of(**{field: [Ping, twin_of_ping()]})
    assert "which is <PING> on the wire" in fault.found
    assert fault.expected == "classes whose tags differ by more than case"


@pytest.mark.parametrize("field", ["payload_class", "responds_with"])
def test_an_empty_list_of_classes_is_a_fault(field: str) -> None:
    assert fault_of(**{field: []}).found == f"an empty list as {field}"


def test_several_classes_keep_their_order() -> None:
    config = resolve(
        OrganismConfig(listeners=[ListenerConfig("x", [Reply, Ping], pong, responds_with=(Ping, Reply))])
    )
    listener = config.listeners[0]
    assert (listener.payload_class, listener.responds_with) == ((Reply, Ping), (Ping, Reply))


def test_without_responds_with_there_is_none() -> None:
    assert (
        resolve(OrganismConfig(listeners=[ListenerConfig("x", Ping, pong)])).listeners[0].responds_with
        is None
    )


def test_different_listeners_may_take_the_same_class() -> None:
    config = resolve(
        OrganismConfig(listeners=[ListenerConfig("x", Ping, pong), ListenerConfig("y", Ping, pong)])
    )
    assert [listener.payload_class for listener in config.listeners] == [(Ping,), (Ping,)]
