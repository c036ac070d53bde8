"""The same organism inside any anyio program: on Trio, on asyncio, on uvloop.

The public ``open_organism``. Decides on which side its caller is: on Trio's there is nothing between
(and nothing of asyncio is loaded); in an event loop the organism runs as a Trio guest in the loop's
own thread, and every await of it crosses. Never looks into an organism.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import trio

from phloem.config import ListenerConfig, OrganismConfig
from phloem.messages import Clock, Faults, Host, Ids, Random
from phloem.organism import Organism
from phloem.organism import open_organism as _open_organism
from phloem.pump.calling import on_host
from phloem.pump.observer import Observer
from phloem.pump.pipeline import Pipeline

__all__ = ["on_host", "open_organism"]


@asynccontextmanager
async def open_organism(
    config: OrganismConfig | str | os.PathLike[str],
    *,
    listeners: Sequence[ListenerConfig] = (),
    clock: Clock | None = None,
    ids: Ids | None = None,
    random: Random | None = None,
    observer: Observer | None = None,
    faults: Faults | None = None,
    host: Host | None = None,
    pipeline: Pipeline | None = None,
) -> AsyncIterator[Organism]:
    """A running organism, from a configuration or the path of an organism.yaml.

    ``listeners`` come in addition to the configured ones. ``clock`` is read for timestamps;
    deadlines are on Trio's own (a ``trio.testing.MockClock`` moves them). What an ``observer``
    raises ends the organism. ``faults`` let handlers, subscribers and threads fail on purpose.
    ``host`` is the event loop around, for handlers that run there. ``pipeline`` takes the place of the
    one that a file or configuration declares.
    Left normally it drains for ``shutdown_grace`` seconds, and its bus delivers what is pending
    for ``events.grace`` more; left by an error or cancelled it drops what is in flight, and
    ``organism.report`` says what. Raises ConfigurationError with all faults.
    Checkpoint.

    Under asyncio (and uvloop) it runs on Trio in the loop's thread, handlers included, and may be used
    in that loop only; ``host`` is that loop, unless one is given. An error that comes in a group with one
    leaf arrives as that leaf, with the group as its cause. If the organism ends before its block, the
    body is cancelled and the block raises why. Raises ForeignGuest for a thread with another Trio run,
    and HostGone if the loop ends first.
    """
    if _on_trio():
        async with _open_organism(
            config,
            listeners=listeners,
            clock=clock,
            ids=ids,
            random=random,
            observer=observer,
            faults=faults,
            host=host,
            pipeline=pipeline,
        ) as organism:
            yield organism
        return

    from .crossing import Block  # loads asyncio
    from .facing import facing
    from .guests import open_guest
    from .hosting import EmbeddingHost

    async with open_guest() as guest:
        opened = _open_organism(
            config,
            listeners=listeners,
            clock=clock,
            ids=ids,
            random=random,
            observer=observer,
            faults=faults,
            host=EmbeddingHost(guest) if host is None else host,
            pipeline=pipeline,
        )
        async with cast("Block", facing(guest, opened)) as organism:
            yield organism


def _on_trio() -> bool:
    """True in a task of Trio's; not if that task runs an event loop, which does not go on meanwhile."""
    if not trio.lowlevel.in_trio_task():
        return False
    asyncio = sys.modules.get("asyncio")
    return asyncio is None or not _has_task(asyncio)


def _has_task(asyncio: object) -> bool:
    from .loops import in_task

    return in_task()
