"""Payloads, handlers and listeners that most tests of a running organism need.

It opens nothing and asserts nothing. Any test may use it; a handler that shows what one test is
about belongs into that test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import trio

from phloem.config import ListenerConfig
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism

Handle = Callable[[Any, HandlerMetadata], Awaitable[Any]]


@dataclass
class Ask:
    text: str


@dataclass
class Reply:
    text: str


@dataclass
class Note:
    text: str


@dataclass
class Ping:
    text: str


def listener(name: str, takes: Any, handler: Any, **more: Any) -> ListenerConfig:
    return ListenerConfig(name, takes, handler, f"Is {name}.", **more)


async def answer(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Reply(payload.text))


async def echo(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


async def drop(payload: Any, metadata: HandlerMetadata) -> None:
    return None


async def hang(payload: Any, metadata: HandlerMetadata) -> None:
    await trio.sleep_forever()


async def fall(payload: Any, metadata: HandlerMetadata) -> None:
    raise ValueError("x")


async def slow(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    await trio.sleep(5)
    return HandlerResponse.respond(Reply(payload.text))


BACK: Final = listener("back", Ask, answer)
HANG: Final = listener("hang", Ask, hang)
SLOW: Final = listener("slow", Ask, slow)
ONE: Final = listener("one", Ask, hang, max_concurrent=1)

# The ways in, each for a stranger with one message for BACK.
SENDERS: Final[dict[str, Callable[[Organism], Awaitable[Any]]]] = {
    "send": lambda organism: organism.send(Ask("x"), to="back"),
    "inject": lambda organism: organism.inject("<Ask><Text>x</Text></Ask>"),
    "ask": lambda organism: organism.ask(Ask("x"), to="back"),
}
