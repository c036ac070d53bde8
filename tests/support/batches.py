"""What tests of batches need: a handler that takes its time, endless sources, and reading to the end.

It opens a batch and nothing else, and asserts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import trio

from phloem.feeding.batches import BatchResult, BatchResults
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism

from .listeners import Reply, listener


@dataclass
class Wait:
    seconds: float


async def wait(payload: Wait, metadata: HandlerMetadata) -> HandlerResponse:
    await trio.sleep(payload.seconds)
    return HandlerResponse.respond(Reply(str(payload.seconds)))


WAIT: Final = listener("wait", Wait, wait)


class Counted:
    """An endless source of messages that take so long, and how many have been taken of it."""

    def __init__(self, seconds: float = 1) -> None:
        self.seconds, self.taken = seconds, 0

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.taken += 1
            yield Wait(self.seconds)


async def all_of(organism: Organism, source: Any, **options: Any) -> list[BatchResult]:
    async with organism.open_batch(source, **options) as results:
        return [result async for result in results]


async def read_into(got: list[BatchResult], results: BatchResults) -> None:
    async for result in results:
        got.append(result)


def numbers(results: list[BatchResult]) -> list[int]:
    return [result.number for result in results]


def answers(results: list[BatchResult]) -> list[str]:
    return [payload.text for result in results for payload in result.outcome.payloads]
