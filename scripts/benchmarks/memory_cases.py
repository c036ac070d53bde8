"""What remembering costs: the same hops with and without it, and whether memory stays flat under use.

The organism without memory is ours with its memory's calls taken out, so that the difference is
what they cost and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any, Final
from unittest import mock

import trio

from phloem import (
    Budgets,
    HandlerMetadata,
    HandlerResponse,
    ListenerConfig,
    MemoryLimits,
    OrganismConfig,
    get_context_buffer,
    get_todo_registry,
    open_organism,
)
from phloem.pump.remembering import Remembering

from . import phloem_cases
from .measuring import Hops, Stopwatch, resident_bytes
from .payloads import Ball

CONVERSATION: Final = 250  # rounds of four messages; then the next conversation begins


@contextmanager
def without_memory() -> Iterator[None]:
    """Organisms opened in here neither remember a message nor look for todos."""

    def nothing(*_: Any, **__: Any) -> str:
        return ""

    with ExitStack() as patches:
        for name in ("accepted", "entering", "ended", "settle", "answered", "forget"):
            patches.enter_context(mock.patch.object(Remembering, name, nothing))
        yield


def cost(rounds: int, hops: int) -> float:
    """CPU seconds that memory costs a hop where no handler uses it.

    The median over pairs of rounds, one with and one without, side by side: both best rounds may
    come from moments in which the machine had another pace.
    """
    differences: list[float] = []
    for _ in range(rounds):
        remembering = phloem_cases.hops(1, hops).cpu
        with without_memory():
            differences.append(remembering - phloem_cases.hops(1, hops).cpu)
    return median(differences)


async def _used(messages: int) -> Hops:
    """Every fourth message registers a todo, reads the thread's history and closes what was raised."""
    memory: list[int] = []
    handled = 0

    async def agent(ball: Ball, metadata: HandlerMetadata) -> HandlerResponse:
        nonlocal handled
        handled += 4
        if handled > messages // 5 and not memory:
            memory.append(resident_bytes())
        registry = get_todo_registry()
        for watcher in registry.get_raised_for(metadata.thread_id, metadata.own_name):
            registry.close(watcher.id)
        len(get_context_buffer().get_thread())
        if ball.left <= 1:
            return HandlerResponse.respond(ball)
        registry.register(metadata.thread_id, metadata.own_name, "Ball", "relay", "the ball is back")
        return HandlerResponse(Ball(ball.left - 1), to="relay")

    async def relay(ball: Ball, metadata: HandlerMetadata) -> HandlerResponse:
        if metadata.from_id == "agent":
            return HandlerResponse(ball, to="end")
        return HandlerResponse.respond(ball)

    async def end(ball: Ball, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(ball)

    listeners = [
        ListenerConfig("agent", Ball, agent, "Remembers.", is_agent=True, peers=["relay"]),
        ListenerConfig("relay", Ball, relay, "Asks end."),
        ListenerConfig("end", Ball, end, "Answers."),
    ]
    config = OrganismConfig(
        name="memory",
        listeners=listeners,
        budgets=Budgets(messages=messages, hops=messages),
        memory=MemoryLimits(max_slots_per_thread=100),
    )
    async with open_organism(config) as organism:
        watch = Stopwatch()
        while handled < messages:
            async with organism.open_conversation() as conversation:
                for _ in range(2):
                    await conversation.ask(Ball(CONVERSATION), to="agent")
        assert memory, "too few messages to see what grows"
        measured = watch.hops(organism.report.handled, resident_bytes() - memory[0])
        assert organism.todos == ()
    return measured


def used(messages: int) -> Hops:
    """About so many messages of agents that use context and todos, through many conversations."""
    return trio.run(_used, messages)
