"""Listeners that make messages flow: they forward, call themselves, fan out, wait for each other.

Each maker gives a fresh handler or listener that keeps nothing between two organisms, save what
the test hands in to be filled. For the tests of threads, pruning and budgets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phloem.config import ListenerConfig
from phloem.messages import HandlerMetadata, HandlerResponse, Outcome
from phloem.organism import Organism

from .listeners import Ask, Handle, Reply, listener


@dataclass
class Aside:
    text: str


def passes_on(to: str | None, seen: list[HandlerMetadata] | None = None) -> Handle:
    """Forwards what it is asked, and responds with what it is answered."""

    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        if seen is not None:
            seen.append(metadata)
        if isinstance(payload, Ask):
            return HandlerResponse(payload, to=to)
        return HandlerResponse.respond(payload)

    return front


def asks_each(*names: str, answers: list[str], enough: int | None = None) -> Handle:
    """Asks all of them; responds when it has enough answers, or never."""

    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return [HandlerResponse(Ask(name), to=name) for name in names]
        answers.append(payload.text)
        return HandlerResponse.respond(payload) if len(answers) == enough else None

    return front


def step(name: str, to: str, **more: Any) -> ListenerConfig:
    """A listener that passes on."""
    return listener(name, [Ask, Reply], passes_on(to), **more)


def down(name: str = "down") -> ListenerConfig:
    """Calls itself as many times as it is told to, then responds all the way up."""

    async def go(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        left = int(payload.text)
        if isinstance(payload, Ask) and left > 1:
            return HandlerResponse(Ask(str(left - 1)), to=name)
        return HandlerResponse.respond(Reply(payload.text))

    return listener(name, [Ask, Reply], go)


def fan(to: str, count: int, **more: Any) -> ListenerConfig:
    """Tells ``to`` as many numbers at once, and never responds."""

    async def spread(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(Reply(str(n)), to=to) for n in range(count)]

    return listener("fan", Ask, spread, **more)


def looping(times: int, to: str) -> Handle:
    """Asks again and again, as many times as it is told to; then responds with their number."""
    done = 0

    async def loop(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        nonlocal done
        if isinstance(payload, Reply):
            done += 1
        if done == times:
            return HandlerResponse.respond(Reply(str(done)))
        return HandlerResponse(Ask("again"), to=to)

    return loop


async def outcome_of(organism: Organism, payload: Any, to: str, **more: Any) -> Outcome:
    return await organism.wait(await organism.send(payload, to=to, **more))
