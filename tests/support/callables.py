"""Handlers of every kind that a callable can be, each of which answers with the thread it runs in."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable
from typing import Any, Final

from phloem.messages import HandlerMetadata, HandlerResponse

from .listeners import Ask, Reply


def here(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    """Answers with the thread it runs in."""
    return HandlerResponse.respond(Reply(str(threading.get_ident())))


async def here_async(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    return here(payload, metadata)


@functools.wraps(here_async)
def handing_on(*args: Any) -> Awaitable[HandlerResponse]:
    return here_async(*args)


@functools.wraps(here)
async def awaiting(*args: Any) -> HandlerResponse:
    return here(*args)


def with_one_more(more: int, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    return here(payload, metadata)


class Plain:
    def method(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return here(payload, metadata)

    @staticmethod
    def static(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return here(payload, metadata)

    @classmethod
    def of_class(cls, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return here(payload, metadata)

    def __call__(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return here(payload, metadata)


class Awaited:
    async def method(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return here(payload, metadata)

    @staticmethod
    async def static(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return here(payload, metadata)

    @classmethod
    async def of_class(cls, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return here(payload, metadata)

    async def __call__(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return here(payload, metadata)


ASYNC: Final = (
    here_async,
    handing_on,
    awaiting,
    Awaited(),
    Awaited().method,
    Awaited.static,
    Awaited.of_class,
    functools.partial(here_async),
    functools.partial(Awaited()),
    functools.partial(functools.partial(Awaited().method)),
)
PLAIN: Final = (
    here,
    lambda payload, metadata: here(payload, metadata),
    Plain(),
    Plain().method,
    Plain.static,
    Plain.of_class,
    functools.partial(with_one_more, 1),
    functools.partial(Plain()),
)
