"""Delegations side by side, for simulations with faults: whoever is asked asks two others, three deep.

Each stranger has a budget that is about what its delegation needs, so that many come to its brink; some
go, some are killed, and with faults handlers raise, hang and answer nonsense. Whatever comes of it, the
watch over the organism holds every budget to account.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import trio

from phloem.config import Budgets, ListenerConfig, OrganismConfig
from phloem.errors import ConversationFailed, MessageRejected, NoResponse, OrganismClosed
from phloem.messages import HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import Organism
from phloem.testing import faults
from phloem.testing.invariants import open_watched_organism
from phloem.testing.sim import current_run

STRANGERS: Final = 6
DEPTH: Final = 3  # of a delegation: 1 + 2 + 4 are asked, and 6 of them answer another
NEEDED: Final = 13  # messages of a whole one, undisturbed


@dataclass
class Task:
    depth: int


@dataclass
class Answer:
    count: int


async def delegate(payload: Any, metadata: HandlerMetadata) -> Any:
    """Ask two, and answer with the first of them who does; at the bottom answer at once."""
    await trio.sleep(0.1)
    match payload:
        case Task(depth) if depth > 1:
            return [HandlerResponse(Task(depth - 1), to="delegate") for _ in range(2)]
        case Task():
            return HandlerResponse.respond(Answer(1))
        case Answer(count) if metadata.from_id == "delegate" and count % 2:
            return HandlerResponse.respond(Answer(count + 2))
        case _:
            return None


async def _stranger(organism: Organism, number: int, results: list[str]) -> None:
    budgets = Budgets(messages=NEEDED - 2 + number % 4, hops=2 * DEPTH - 2 + number % 2, seconds=1.2)
    result = "gone"
    run = current_run()
    patience = 5.0 if run is None else run.random.choice([0.15, 0.35, 5.0, 5.0, 5.0, 5.0])
    with trio.move_on_after(patience):
        try:
            if number == 0:
                receipt = await organism.send(Task(DEPTH), to="delegate", budgets=budgets)
                await trio.sleep(0.25)
                await organism.kill(receipt.conversation)
                result = str((await organism.wait(receipt)).state)
            else:
                result = repr(await organism.ask(Task(DEPTH), to="delegate", budgets=budgets))
        except ConversationFailed as error:
            result = str(error.outcome.state)
        except (NoResponse, MessageRejected, OrganismClosed) as error:
            result = type(error).__name__
    results.append(result)


async def delegations() -> list[str]:
    """What each stranger came to, in the order of coming back."""
    takes = [Task, Answer, SystemError, Huh]
    config = OrganismConfig(
        "delegations",
        [
            ListenerConfig(
                "delegate",
                takes,
                delegate,
                "asks others",
                max_concurrent=5,
                retries=1,
                budgets=Budgets(messages=NEEDED + 1, seconds=2.5),
            )
        ],
        max_in_flight=STRANGERS - 2,
        handler_timeout=1.0,
        shutdown_grace=0.2,
    )
    results: list[str] = []
    async with (
        open_watched_organism(config, faults=faults.current()) as organism,
        trio.open_nursery() as nursery,
    ):
        for number in range(STRANGERS):
            nursery.start_soon(partial(_stranger, organism, number, results), name=f"stranger {number}")
    return results
