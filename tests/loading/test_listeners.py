"""Payload classes, answers and handlers: what may be one."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.loading import resolve


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
        (plain, "'plain', a plain function"),
        (lambda payload, metadata: None, "a plain function"),
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
    assert fault.expected.startswith("async def handler(payload, metadata)")


def test_a_plain_function_is_told_to_become_async() -> None:
    assert fault_of(handler=plain).expected == "async def handler(payload, metadata); make it async"


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
