"""Planted: a service that says it is closed only after its nursery has, when nobody answers any more.

A caller in between finds it open, asks, and waits for ever. Callers need far fewer steps than pass
before the stop, so in fair batches each has its answer by then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import trio

from .pausing import pause

ANSWERING: Final = 2  # tasks; each ends at a None


@dataclass
class Question:
    """What is asked, and the event of its answer."""

    number: int
    answer: int = 0
    answered: trio.Event = field(default_factory=trio.Event)


class Service:
    """Squares numbers until it is stopped; what was asked before that is still answered."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[Question | None](8)  # room for all
        self.open = True

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(ANSWERING):
                nursery.start_soon(self.answer, name=f"answering {number}")
        await pause(1)  # writes its last line
        self.open = False  # planted: who asked since the stop is not answered

    async def answer(self) -> None:
        async for question in self.receive:
            if question is None:
                return
            await pause(1)
            question.answer = question.number**2
            question.answered.set()

    def stop(self) -> None:
        for _ in range(ANSWERING):
            self.send.send_nowait(None)

    async def ask(self, number: int) -> int | None:
        """The answer, or None where the service is closed."""
        if not self.open:
            return None
        question = Question(number)
        self.send.send_nowait(question)
        await question.answered.wait()
        return question.answer


class CarefulService(Service):
    """Is closed from the step on in which it is stopped."""

    def stop(self) -> None:
        self.open = False
        super().stop()


async def call(service: Service, number: int) -> None:
    await pause(2)
    assert await service.ask(number) in (None, number**2)


async def scenario(service: Service) -> None:
    with service.send, service.receive:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.run, name="service")
            nursery.start_soon(call, service, 2, name="ann")
            nursery.start_soon(call, service, 3, name="bob")
            await pause(12)
            service.stop()


async def main() -> None:
    await scenario(Service())


async def main_fixed() -> None:
    await scenario(CarefulService())
