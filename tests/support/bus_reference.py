"""A small program on a bus alone, for simulations: order, atomicity, counts, and no wake-up lost.

Mailboxes of one or two events and one place for two handlers that want to run; handlers that publish to
each other and into themselves; streams that lose, and one that publishers wait for; strangers that
expect an answer before they ask, and one that waits for what may come too late. ``Witness`` says what
has to hold of the rest, whatever is cut.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from phloem.events import open_event_bus

from .bus_scenarios import Run, Witness

PLACES: Final = 2
SLOW_AFTER: Final = 1.0
ROUNDS: Final = 2
LIMIT: Final = 0.05  # seconds; about when what is waited for comes


def _subscribe(w: Witness) -> None:
    async def answer(run: Run) -> None:
        depth: int = run.event.data["depth"]
        if depth < ROUNDS:
            await w.publish(w.event("answers", depth, run.event.node_id), run)

    async def echo(run: Run) -> None:
        depth: int = run.event.data["depth"]
        if depth == 0:
            await w.publish(w.event("asks", ROUNDS), run)  # into whoever published this one

    async def look(run: Run) -> None:
        await trio.sleep(run.event.seq % 2 / 100)

    async def late(run: Run) -> None:
        await trio.sleep({"a": LIMIT - 0.01, "b": LIMIT}.get(run.event.node_id or "", LIMIT + 0.01))
        w.emit(w.event("late", ROUNDS))

    w.subscribe("answer", answer, "asks", buffer=1)
    w.subscribe("echo", echo, "answers", buffer=1)
    w.subscribe("look", look, buffer=2)
    w.subscribe("keyed", look, "asks", buffer=2, key=lambda event: event.node_id)
    w.subscribe("once", late, "asks", once=True)


def _strangers(w: Witness, came: list[str]) -> dict[str, Callable[[], Awaitable[None]]]:
    async def ask(name: str) -> None:
        for depth in range(ROUNDS):
            with w.bus.expect("custom", "answers", name) as expected:
                await w.publish(w.event("asks", depth, name))
                answer = await expected  # for ever, were a wake-up lost
            w.check(answer.node_id == name, "an expectation was met by what it did not wait for")

    async def wait_briefly() -> None:
        before = w.bus.latest("custom", "late")
        event = await w.bus.wait_for("custom", "late", timeout=LIMIT)
        there = w.bus.latest("custom", "late")
        w.check(before is not None or (event is None) == (there is None), "wait_for missed what came in time")
        came.append("too late" if event is None else "in time")

    async def deliver() -> None:
        await w.deliver(w.event("asks", ROUNDS, "deliver"))

    async def impatient() -> None:
        with trio.move_on_after(0.01):
            await w.publish(w.event("asks", ROUNDS))
            await w.publish(w.event("answers", ROUNDS))

    return {
        "a": lambda: ask("a"),
        "b": lambda: ask("b"),
        "wait briefly": wait_briefly,
        "deliver": deliver,
        "impatient": impatient,
    }


async def bus_reference() -> dict[str, int]:
    """The whole program; what came of each attempt to publish and of waiting, counted."""
    witnesses: list[Witness] = []
    came: list[str] = []
    try:
        async with open_event_bus(10_000, PLACES, slow_after=SLOW_AFTER, id="x") as bus:
            w = Witness(bus, PLACES, SLOW_AFTER)
            witnesses.append(w)
            _subscribe(w)
            async with trio.open_nursery() as readers:
                readers.start_soon(lambda: w.read("block", 0.01, "asks", buffer=1))
                readers.start_soon(lambda: w.read("latest", 0.02, buffer=1, overflow="latest"))
                async with trio.open_nursery() as nursery:
                    for name, call in _strangers(w, came).items():
                        nursery.start_soon(call, name=name)
                await bus._pool.quiet()
                await trio.lowlevel.checkpoint_if_cancelled()
                w.rest()
                readers.cancel_scope.cancel()
    finally:
        for witness in witnesses:  # none, if it was cut before its bus was open
            witness.end()
            assert witness.broken == []
    outcomes = [*(outcome for witness in witnesses for outcome in witness.attempts.values()), *came]
    return {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
