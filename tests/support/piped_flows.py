"""An organism with a step of every kind at every place, most of them async: what is searched for schedules.

``everything`` is one run of it, with strangers of every sort; it asserts what must hold in any run,
and its books are looked at by ``open_watched_organism``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from phloem.config import Budgets, OrganismConfig
from phloem.errors import PhloemError
from phloem.messages import DeadLetter, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import Organism
from phloem.pump.pipeline import Pipeline
from phloem.pump.ready_made import (
    branch,
    deadline,
    drop_if,
    expand,
    limit,
    pace,
    rate,
    reject_if,
    sample,
    tap,
    transform,
)
from phloem.testing import open_watched_organism, sometimes

from .listeners import Ask, Note, Reply, listener
from .pipelines import PLACES

__all__ = ["TEXTS", "config", "everything", "full_pipeline", "patient_pipeline", "sends_and_asks"]

TEXTS: Final = ("fine", "dropped", "refused", "several", "broken", "lost", "slow", "failing")


async def wait(item: Any) -> None:
    await trio.lowlevel.checkpoint()


def patient_pipeline() -> Pipeline:
    """An async tap at every place, and nothing else."""
    pipeline = Pipeline.default()
    for at, before in PLACES:
        pipeline = (pipeline.before if before else pipeline.after)(at, tap(wait))
    return pipeline


def text(item: Any) -> str:
    return str(item.xml)


def is_ask(item: Any) -> bool:
    return bool(item.tag == "Ask")


async def dropped(item: Any) -> bool:
    await trio.lowlevel.checkpoint()
    return is_ask(item) and "dropped" in text(item)


async def refused(item: Any) -> bool:
    await trio.lowlevel.checkpoint()
    return is_ask(item) and "refused" in text(item)


async def breaks(item: Any) -> None:
    await trio.lowlevel.checkpoint()
    if item.tag == "Note" and "broken" in text(item):
        raise ValueError("a step that breaks")


def several(part: Any) -> list[Any]:
    (word,) = (word for word in TEXTS if word in text(part))
    kind = {"Ask": Ask, "Note": Note, "Reply": Reply}[part.tag]
    return [kind(word)] * (2 if word == "several" and part.tag == "Note" else 1)


def full_pipeline() -> Pipeline:
    """All kinds, with an async tap at every place besides."""
    return (
        patient_pipeline()
        .before("admit", rate(100, 3))
        .before("admit", deadline(60))
        .before("admit", limit(2))
        .before("parse", limit(1))
        .before("route", expand(several))
        .after("route", tap(breaks))
        .before("validate", drop_if(dropped))
        .before("decode", reject_if(refused, "no"))
        .after("decode", transform(lambda payload: payload))
        .before("dispatch", deadline(30))
        .before("dispatch", pace(0.01))
        .before("dispatch", limit(2))
        .before("dispatch", sample(0.5, wait))
        .after("dispatch", branch(lambda letter: True, to="grave"))
        .replace("dispatch", around)
    )


async def around(message: Any, call: Callable[[], Awaitable[Any]]) -> Any:
    await trio.lowlevel.checkpoint()
    return await call()


async def front(payload: Any, metadata: HandlerMetadata) -> Any:
    if isinstance(payload, Ask):
        if payload.text == "slow":
            await trio.sleep(1)
        return [HandlerResponse(Note(payload.text), to="nobody" if payload.text == "lost" else "bench")]
    found = payload.text if isinstance(payload, Reply) else type(payload).__name__
    return HandlerResponse.respond(Reply(found))


async def bench(payload: Any, metadata: HandlerMetadata) -> Any:
    await trio.lowlevel.checkpoint()
    if payload.text == "failing":
        raise ValueError("x")
    if payload.text == "slow":
        return b"Well: <Reply><text>slow</text></Reply>"
    return HandlerResponse.respond(Reply(payload.text))


async def grave(payload: Any, metadata: HandlerMetadata) -> Any:
    await trio.lowlevel.checkpoint()


def config(**settings: Any) -> OrganismConfig:
    listeners = [
        listener("front", [Ask, Reply, Huh, SystemError], front),
        listener("bench", Note, bench, max_concurrent=1, retries=1),
        listener("grave", DeadLetter, grave),
    ]
    return OrganismConfig("organism", listeners, max_in_flight=3, **settings)


async def ask(organism: Organism, word: str) -> str:
    try:
        answer = await organism.ask(Ask(word), budgets=Budgets(seconds=100))
    except PhloemError as error:
        return type(error).__name__
    return str(answer.text)


async def sends_and_asks(organism: Organism) -> dict[str, str]:
    """Every word asked and injected at once, by as many strangers; one is killed, one gives up."""
    answers: dict[str, str] = {}

    async def one(word: str) -> None:
        answers[word] = await ask(organism, word)

    async def raw(word: str) -> None:
        receipt = await organism.inject(f"<Ask><text>{word}</Text></Ask>")  # there is something to mend
        if word == "slow":
            await organism.kill(receipt.conversation)

    async with trio.open_nursery() as nursery:
        for word in TEXTS:
            nursery.start_soon(one, word, name=f"asks {word}")
        for word in ("several", "slow", "failing"):
            nursery.start_soon(raw, word, name=f"injects {word}")
        with trio.move_on_after(0.05):
            await organism.ask(Ask("slow"))
    return answers


async def everything(pipeline: Callable[[], Pipeline] = full_pipeline) -> dict[str, str]:
    """One run. What everyone was answered."""
    async with open_watched_organism(config(), pipeline=pipeline()) as organism:
        answers = await sends_and_asks(organism)
        await organism.wait_idle()
        statistics = organism.statistics()
        assert statistics["seats"] == {"free": 3, "waiting": 0}
        assert organism._pump.slots.borrowed() == 0
    assert organism.report.in_flight == 0
    sometimes(statistics["messages"]["abandoned_by"].get("killed"), "one was killed")
    return answers
