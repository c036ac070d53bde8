"""What feeds an organism in tests: a stream that does what it is told, and a listener that writes down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import trio

from phloem.messages import ConversationState, HandlerMetadata

from .listeners import Ask, listener

STATES: Final = [state.value for state in ConversationState if state is not ConversationState.REJECTED]


class Log:
    """A listener that writes down what it gets, and from whom."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.senders: set[str] = set()
        self.listener = listener("log", Ask, self.take)

    async def take(self, payload: Ask, metadata: HandlerMetadata) -> None:
        self.texts.append(payload.text)
        self.senders.add(metadata.from_id)


class Chunks:
    """An async iterable that gives what it is told to, and counts how often it was asked.

    It raises an exception in its place, and at None it waits for ever.
    """

    def __init__(self, *chunks: Any) -> None:
        self.chunks, self.asked = list(chunks), 0

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        self.asked += 1
        if not self.chunks:
            raise StopAsyncIteration
        chunk = self.chunks.pop(0)
        if isinstance(chunk, BaseException):
            raise chunk
        if chunk is None:
            await trio.sleep_forever()
        return chunk


def counts(source: Any) -> tuple[int, ...]:
    """(accepted, rejected, waiting, in flight) of a source, whose figures add up."""
    statistics = source.statistics()
    assert statistics["accepted"] == statistics["in_flight"] + sum(statistics[state] for state in STATES)
    return tuple(statistics[key] for key in ("accepted", "rejected", "waiting", "in_flight"))


def sent(attached: Any) -> tuple[int, ...]:
    """(messages, accepted, rejected, unsent) of an attached stream, whose figures add up."""
    statistics = attached.statistics()
    found = tuple(statistics[key] for key in ("messages", "accepted", "rejected", "unsent"))
    assert found[0] == sum(found[1:])
    return found


def envelope(to: str) -> bytes:
    """An ``Ask("x")`` on its way."""
    return (
        '<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>boss</from>'
        f'<to>{to}</to></meta><Ask xmlns=""><Text>x</Text></Ask></message>'
    ).encode()
