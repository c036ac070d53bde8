"""What tests of the pipeline share: an organism with one, watched, and what its steps told and saw.

It asserts nothing, save what every watched organism does. A step that shows what one test is about
belongs into that test.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import trio

from phloem.config import ListenerConfig, OrganismConfig
from phloem.messages import Cause, HandlerMetadata, HandlerResponse
from phloem.organism import Organism
from phloem.pump.pipeline import STEPS, Pipeline
from phloem.pump.ready_made import Deadline, Limit, Pace, Rate, tap
from phloem.testing import open_watched_organism

from .listeners import Ask, Reply, listener
from .sweeping import Recorder

__all__ = [
    "ASK",
    "DEFAULT",
    "GATES",
    "PLACES",
    "Seen",
    "Told",
    "counts",
    "everywhere",
    "open_piped",
    "quick",
    "timed",
]

DEFAULT: Final = Pipeline.default()
GATES: Final = (Limit, Pace, Rate, Deadline)
PLACES: Final = [(row.name, before) for row in STEPS for before in (True, False)]
ASK: Final = "<Ask><Text>x</Text></Ask>"


class Told(Recorder):
    """An observer that remembers, besides, what was raised and by whom: the traceback goes with it."""

    def __init__(self) -> None:
        super().__init__()
        self.raised_by: list[tuple[str, BaseException]] = []
        self.causes: list[tuple[str, Cause | None]] = []

    def raised(self, delivery: Any, error: BaseException) -> None:
        self.raised_by.append((delivery.listener.key, error))

    def step_raised(self, step: str, error: BaseException) -> None:
        self.raised_by.append((step, error))

    def ended(self, delivery: Any, cause: Cause | None) -> None:
        super().ended(delivery, cause)
        self.causes.append((f"{delivery.listener.key} {delivery.ending}", cause))


class Seen:
    """What taps saw: (place, what the test looks at)."""

    def __init__(self) -> None:
        self.items: list[tuple[str, Any]] = []

    def at(self, place: str) -> Any:
        return lambda item: self.items.append((place, item))

    @property
    def places(self) -> list[str]:
        return [place for place, _ in self.items]

    def of(self, place: str) -> list[Any]:
        return [item for found, item in self.items if found == place]


def everywhere(seen: Seen) -> Pipeline:
    """A tap before and after each of phloem's own steps."""
    pipeline = DEFAULT
    for name, before in PLACES:
        place = f"{'before' if before else 'after'} {name}"
        edit = pipeline.before if before else pipeline.after
        pipeline = edit(name, tap(seen.at(place)), name=f"seen {place}")
    return pipeline


def open_piped(
    pipeline: Pipeline, *listeners: ListenerConfig, observer: Any = None, ports: Any = None, **settings: Any
) -> AbstractAsyncContextManager[Organism]:
    """An organism with that pipeline, watched: what its pump breaks is an error."""
    config = OrganismConfig("organism", listeners, **settings)
    return open_watched_organism(config, observer=observer, pipeline=pipeline, **(ports or {}))


def counts(organism: Organism, name: str) -> dict[str, int]:
    """What a step has counted, without what is 0."""
    found: dict[str, int] = organism.statistics()["pipeline"][name]
    return {key: count for key, count in found.items() if count}


def timed(log: list[tuple[str, float]], seconds: float = 0.0) -> Any:
    """A handler that notes when it was entered, takes so long, and answers."""

    async def handle(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        log.append((payload.text, round(trio.current_time(), 6)))
        await trio.sleep(seconds)
        return HandlerResponse.respond(Reply(payload.text))

    return handle


def quick(log: list[tuple[str, float]], seconds: float = 0.0, **more: Any) -> ListenerConfig:
    """``back``, with such a handler."""
    return listener("back", Ask, timed(log, seconds), **more)
