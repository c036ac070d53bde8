"""Ten thousand embedded calls, a third of them cancelled: the ledger adds up, and no task is left."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
import trio

from phloem import ConversationFailed, Organism
from phloem.messages import HandlerMetadata, HandlerResponse
from support.auditing import assert_adds_up, report_of
from support.embedded import LOOPS, opened, run
from support.listeners import Ask, Reply, listener

CALLS = 10_000
AT_ONCE = 500


async def uneven(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    for _ in range(int(payload.text) % 4):
        await trio.lowlevel.checkpoint()
    return HandlerResponse.respond(Reply(payload.text))


async def trios_tasks() -> int:
    """All that live in the Trio run, but the task that counts."""
    await trio.lowlevel.checkpoint()
    return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.parametrize("backend", LOOPS)
def test_ten_thousand_calls_of_which_a_third_are_cancelled(backend: str) -> None:
    chance = random.Random(7)
    ends: Counter[str] = Counter()

    async def call(organism: Organism, number: int) -> None:
        try:
            answer = await organism.ask(Ask(str(number)), to="uneven")
        except asyncio.CancelledError:
            ends["cancelled"] += 1
            raise
        except ConversationFailed:
            ends["failed"] += 1
        else:
            assert answer == Reply(str(number))
            ends["answered"] += 1

    async def caller(organism: Organism, numbers: list[int]) -> None:
        for number in numbers:
            task = asyncio.create_task(call(organism, number))
            if number % 3 == 0:
                for _ in range(chance.randrange(8)):
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait([task])
            ends["ended"] += 1

    async def main() -> None:
        from phloem.embedding.crossing import cross

        async with opened(listener("uneven", Ask, uneven)) as organism:
            guest: Any = organism._guest  # type: ignore[attr-defined]
            before = (len(asyncio.all_tasks()), await cross(guest, trios_tasks))
            async with asyncio.TaskGroup() as tasks:
                for first in range(AT_ONCE):
                    tasks.create_task(caller(organism, list(range(first, CALLS, AT_ONCE))))
            await organism.wait_idle()
            assert (len(asyncio.all_tasks()), await cross(guest, trios_tasks)) == before
            assert len(guest.crossings) == 1  # the organism's own block
            report = report_of(organism)
            assert_adds_up(report)
            assert report.in_flight == 0
            assert report.accepted <= CALLS
            assert report.handled >= ends["answered"]
            assert report.failed == ends["failed"] == 0
            assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight
        assert ends["ended"] == CALLS
        # One that is cancelled before its first step ends without a trace; the others are all accounted for.
        assert ends["answered"] >= CALLS * 2 // 3
        assert 0 < ends["cancelled"] <= CALLS // 3 + 1

    run(backend, main)
