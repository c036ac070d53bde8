"""A port of faults that does as a test says, and an organism whose books are checked while it does.

It asserts what always holds (the books, and that everything is given back), and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from phloem.config import ListenerConfig, OrganismConfig
from phloem.messages import Outcome
from phloem.organism import Organism, open_organism

from .auditing import Auditor, assert_all_was_told, assert_nothing_is_left
from .listeners import BACK

Act = Callable[..., Awaitable[Any]]


class Port:
    """Does as it is told at some points, and notes every visit."""

    def __init__(self, acts: dict[str, Act] | None = None) -> None:
        self.acts = acts or {}
        self.visits: list[tuple[str, str]] = []

    async def visit(self, point: str, name: str, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        self.visits.append((point, name))
        act = self.acts.get(point)
        return await (function(*args) if act is None else act(function, *args))


def raises(error: Callable[[], BaseException]) -> Act:
    """Without calling anything."""

    async def act(function: Any, *args: Any) -> Any:
        raise error()

    return act


async def hangs(function: Any, *args: Any) -> Any:
    await trio.sleep_forever()


def gives(value: Any) -> Act:
    """Once it has called what stands there."""

    async def act(function: Any, *args: Any) -> Any:
        await function(*args)
        return value

    return act


def once(act: Act) -> Act:
    """The first visit only; the others are let through."""
    left = [act]

    async def first(function: Any, *args: Any) -> Any:
        return await (left.pop()(function, *args) if left else function(*args))

    return first


@asynccontextmanager
async def audited(
    port: Any, *listeners: ListenerConfig, outcomes: list[Outcome] | None = None, **settings: Any
) -> AsyncIterator[Organism]:
    """With the port at its boundaries; its books are checked at every event and at the end."""
    auditor = Auditor([] if outcomes is None else outcomes)
    config = OrganismConfig("audited", listeners or [BACK], **settings)
    async with open_organism(config, observer=auditor, faults=port) as organism:
        auditor.organism = organism
        yield organism
    assert_nothing_is_left(organism)
    assert_all_was_told(organism)
