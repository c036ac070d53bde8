"""The cases on the pipeline: what a hop costs with the default one, and with steps of users in it.

All are measured in turn, round by round, so that what changes on the machine changes for all of them; each
is told at its quickest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import trio

from phloem import Budgets, OrganismConfig, Pipeline, open_organism, pace, tap, transform

from .measuring import Hops, Stopwatch
from .payloads import Ball
from .phloem_cases import BOOT, players

DEFAULT: Final = Pipeline.default()
STEPS: Final = tuple(line.split()[0] for line in str(DEFAULT).splitlines())
ROUNDS: Final = 12
SHORT_PAUSE: Final = 1e-9  # seconds: a gate that is always open costs what asking it costs


def nothing(item: Any) -> None:
    """Looks at nothing."""


def same(payload: Any) -> Any:
    return payload


def taps_everywhere() -> Pipeline:
    """A tap before and after each step."""
    pipeline = DEFAULT
    for step in STEPS:
        pipeline = pipeline.before(step, tap(nothing)).after(step, tap(nothing))
    return pipeline


PIPELINES: Final[Mapping[str, Pipeline]] = MappingProxyType(
    {
        "the default pipeline": DEFAULT,
        "one tap before dispatch": DEFAULT.before("dispatch", tap(nothing)),
        "one tap before route": DEFAULT.before("route", tap(nothing)),
        "one transform": DEFAULT.before("dispatch", transform(same)),
        "a pace that never waits": DEFAULT.before("dispatch", pace(SHORT_PAUSE)),
        f"taps at all {2 * len(STEPS)} places": taps_everywhere(),
    }
)


async def _hops(pipeline: Pipeline, hops: int) -> Hops:
    budgets = Budgets(messages=2 * hops + 10, hops=2 * hops + 10)
    config = OrganismConfig(name="table", listeners=players(), budgets=budgets)
    async with open_organism(config, pipeline=pipeline) as organism:
        watch = Stopwatch()
        await organism.ask(Ball(hops | 1), to="ping")
        measured = watch.hops(hops | 1, 0)
    assert organism.report.handled == (hops | 1) + BOOT, organism.report
    return measured


def hops(count: int, rounds: int = ROUNDS) -> Mapping[str, Hops]:
    """Each pipeline's quickest round of a ping-pong of so many hops."""
    measured: dict[str, list[Hops]] = {name: [] for name in PIPELINES}
    for _ in range(rounds):
        for name, pipeline in PIPELINES.items():
            measured[name].append(trio.run(_hops, pipeline, count))
    return {name: quickest(found) for name, found in measured.items()}


def quickest(measured: Sequence[Hops]) -> Hops:
    return min(measured, key=lambda each: each.cpu)
