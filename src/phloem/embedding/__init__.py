"""The same organism inside any anyio program: on Trio, on asyncio, on uvloop.

The public ``open_organism``. Decides on which side its caller is: on Trio's there is nothing between
(and nothing of asyncio is loaded); in an event loop the organism runs as a Trio guest in the loop's
own thread, and every await of it crosses. Never looks into an organism.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, final

import trio

from phloem.config import ListenerConfig, OrganismConfig
from phloem.messages import Clock, Faults, Host, Ids, Random
from phloem.organism import Organism
from phloem.organism import open_organism as _open_organism
from phloem.pump.calling import on_host
from phloem.pump.observer import Observer
from phloem.pump.pipeline import Pipeline

__all__ = ["on_host", "open_organism"]


def open_organism(
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
    backends: Sequence[Any] | None = None,
) -> AbstractAsyncContextManager[Organism]:
    """A running organism, from a configuration or the path of an organism.yaml.

    ``listeners`` come in addition to the configured ones. ``clock`` is read for timestamps;
    deadlines are on Trio's own (a ``trio.testing.MockClock`` moves them). What an ``observer``
    raises ends the organism. ``faults`` let handlers, subscribers and threads fail on purpose.
    ``host`` is the event loop around, for handlers that run there. ``pipeline`` takes the place of the
    one that a file or configuration declares, ``backends`` that of the ``llm`` section's: objects with
    ``async complete(request)``, such as a ``ScriptedBackend``, or mappings as a file has them.
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
    return _Opening(
        partial(
            _open_organism,
            config,
            listeners=listeners,
            clock=clock,
            ids=ids,
            random=random,
            observer=observer,
            faults=faults,
            pipeline=pipeline,
            backends=backends,
        ),
        host,
    )


@final
class _Opening:
    """What ``open_organism`` gives: only the block's task knows where it runs."""

    def __init__(
        self, opens: Callable[..., AbstractAsyncContextManager[Organism]], host: Host | None
    ) -> None:
        self._opens, self._host = opens, host
        self._block: AbstractAsyncContextManager[Organism]

    async def __aenter__(self) -> Organism:
        if _on_trio():
            self._block = self._opens(host=self._host or _host_around())
        else:
            from .facing import Embedded  # loads asyncio

            self._block = Embedded(self._opens, self._host)
        return await self._block.__aenter__()

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"found an organism that has not been opened, asked for {name!r}; expected async with "
            "open_organism(…) as organism"
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, traceback)  # noqa: ASYNC102


def _on_trio() -> bool:
    """True in a task of Trio's; not if that task runs an event loop, which does not go on meanwhile."""
    if not trio.lowlevel.in_trio_task():
        return False
    asyncio = sys.modules.get("asyncio")
    return asyncio is None or not _has_task(asyncio)


def _host_around() -> Host | None:
    """The loop that this Trio run is a guest of, for an organism that is opened in a handler of another."""
    if "asyncio" not in sys.modules:
        return None
    from .loops import running_loop

    if running_loop() is None:
        return None
    from .facing import host_around

    return host_around()


def _has_task(asyncio: object) -> bool:
    from .loops import in_task

    return in_task()
