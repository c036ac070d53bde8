"""The cases on phloem, through its front door. Each returns one plain number; mirrors `obvious_cases`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import trio

from phloem import (
    Budgets,
    HandlerMetadata,
    HandlerResponse,
    ListenerConfig,
    Organism,
    OrganismConfig,
    open_organism,
)

from .measuring import Hops, Stopwatch, resident_bytes
from .payloads import Ball

BOOT: Final = 1  # the message that every run begins with
GRACE: Final = 60.0  # seconds; no case may lose a message to the end of its block


def nobody(left: int) -> None:
    """Watches nothing."""


def players(seen: Callable[[int], None] = nobody) -> list[ListenerConfig]:
    """Ping forwards to pong, pong responds: two hops, and the thread tree stays two deep."""

    async def ping(ball: Ball, metadata: HandlerMetadata) -> HandlerResponse:
        seen(ball.left)
        if ball.left <= 1:
            return HandlerResponse.respond(Ball(0))
        return HandlerResponse(Ball(ball.left - 1), to="pong")

    async def pong(ball: Ball, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Ball(ball.left - 1))

    return [
        ListenerConfig("ping", Ball, ping, "Sends the ball on."),
        ListenerConfig("pong", Ball, pong, "Sends the ball back."),
    ]


async def _hops(conversations: int, hops: int) -> Hops:
    memory: list[int] = []

    def seen(left: int) -> None:
        if left in (hops * 4 // 5, hops * 4 // 5 - 1) and not memory:
            memory.append(resident_bytes())

    async def play(organism: Organism) -> None:
        # Odd, so that ping has the last hit and the answer goes to the root.
        await organism.ask(Ball(hops | 1), to="ping")

    budgets = Budgets(messages=2 * hops + 10, hops=2 * hops + 10)
    config = OrganismConfig(name="table", listeners=players(seen), budgets=budgets)
    async with open_organism(config) as organism:
        watch = Stopwatch()
        if conversations == 1:
            await play(organism)
        else:
            async with trio.open_nursery() as nursery:
                for _ in range(conversations):
                    nursery.start_soon(play, organism)
        count = conversations * (hops | 1)
        measured = watch.hops(count, resident_bytes() - memory[0])
    assert organism.report.handled == count + BOOT, organism.report
    return measured


def hops(conversations: int, hops: int) -> Hops:
    """So many conversations at once, of so many hops each."""
    return trio.run(_hops, conversations, hops)


async def _mixed(rounds: int) -> Hops:
    """Everything a dispatch may do to the thread tree, over and over in one conversation."""
    memory: list[int] = []

    async def hub(ball: Ball, metadata: HandlerMetadata) -> HandlerResponse | list[HandlerResponse]:
        if ball.left == rounds * 4 // 5 and not memory:
            memory.append(resident_bytes())
        if ball.left <= 0:
            return HandlerResponse.respond(ball)
        return [HandlerResponse(ball, to="log"), HandlerResponse(Ball(ball.left - 1), to="relay")]

    async def log(ball: Ball, metadata: HandlerMetadata) -> None:
        """Sends nothing: its thread is never answered and must go all the same."""

    async def relay(ball: Ball, metadata: HandlerMetadata) -> HandlerResponse:
        if metadata.from_id == "hub":
            return HandlerResponse(ball, to="deep")
        return HandlerResponse.respond(ball)  # the answer of deep, passed on

    async def deep(ball: Ball, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse.respond(ball)]

    listeners = [
        ListenerConfig("hub", Ball, hub, "Sends each ball two ways."),
        ListenerConfig("log", Ball, log, "Listens."),
        ListenerConfig("relay", Ball, relay, "Asks deep."),
        ListenerConfig("deep", Ball, deep, "Answers."),
    ]
    budgets = Budgets(messages=10 * rounds + 10, hops=10 * rounds + 10)
    async with open_organism(OrganismConfig(name="mixed", listeners=listeners, budgets=budgets)) as organism:
        watch = Stopwatch()
        await organism.ask(Ball(rounds), to="hub")
        measured = watch.hops(organism.report.handled - BOOT, resident_bytes() - memory[0])
    assert organism.report.handled == 5 * rounds + 1 + BOOT, organism.report
    return measured


def mixed(hops: int) -> Hops:
    """About so many hops of forwards, responds and silence in one conversation."""
    return trio.run(_mixed, hops // 5)


async def _broadcast(listeners: int, seconds: float) -> float:
    async def hear(ball: Ball, metadata: HandlerMetadata) -> None:
        await trio.sleep(seconds)

    crowd = [ListenerConfig("crowd", Ball, hear, "Listens.", broadcast=True) for _ in range(listeners)]
    async with open_organism(OrganismConfig(name="square", listeners=crowd)) as organism:
        started = time.perf_counter()
        await organism.wait(await organism.send(Ball(1), to="crowd"))
        took = time.perf_counter() - started
    assert organism.report.handled == listeners + BOOT, organism.report
    return took


def broadcast(listeners: int, seconds: float) -> float:
    """Seconds until all listeners have heard."""
    return trio.run(_broadcast, listeners, seconds)


async def _delay(messages: int, seconds: float) -> float:
    async def slow(ball: Ball, metadata: HandlerMetadata) -> None:
        await trio.sleep(seconds)

    async def idle(ball: Ball, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(ball)

    agents = [
        ListenerConfig("slow", Ball, slow, "Takes its time.", is_agent=True, peers=[]),
        ListenerConfig("idle", Ball, idle, "Answers at once.", is_agent=True, peers=[]),
    ]
    config = OrganismConfig(name="office", listeners=agents, shutdown_grace=GRACE)
    async with open_organism(config) as organism:
        for _ in range(messages):
            await organism.send(Ball(1), to="slow")
        await trio.sleep(seconds / 5)
        started = time.perf_counter()
        await organism.ask(Ball(1), to="idle")
        took = time.perf_counter() - started
    assert organism.report.handled == messages + 1 + BOOT, organism.report
    return took


def delay(messages: int, seconds: float) -> float:
    """Seconds an idle listener waits behind slow messages for another."""
    return trio.run(_delay, messages, seconds)


async def _limit(messages: int, seconds: float, limit: int) -> float:
    async def work(ball: Ball, metadata: HandlerMetadata) -> None:
        await trio.sleep(seconds)

    worker = ListenerConfig("worker", Ball, work, "Works.", max_concurrent=limit)
    config = OrganismConfig(name="yard", listeners=[worker], shutdown_grace=GRACE)
    async with open_organism(config) as organism:
        started = time.perf_counter()
        for _ in range(messages):
            await organism.send(Ball(1), to="worker")
        await organism.wait_idle()
        took = time.perf_counter() - started
    assert organism.report.handled == messages + BOOT, organism.report
    return took


def limit(messages: int, seconds: float, limit: int) -> float:
    """Seconds until all are done, so many at once."""
    return trio.run(_limit, messages, seconds, limit)
