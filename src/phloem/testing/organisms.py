"""The production organism within a simulation: the run's time, ids, chance and faults; scripted handlers.

Decides where an organism's ports come from while it is simulated, and what a script of results is:
a handler that gives them back one after the other. Changes nothing else about the organism, which is
``phloem.organism``'s own. Called by tests, within a run; without pytest too.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, final

import trio

from phloem.config import AnyHandler, ListenerConfig, OrganismConfig
from phloem.errors import ConfigurationError, ConfigurationFault, NotSimulated
from phloem.loading import importable, load_config
from phloem.messages import HandlerMetadata
from phloem.organism import Organism
from phloem.pump.observer import Observer
from phloem.pump.pipeline import Pipeline
from phloem.pump.ports import SeededIds
from phloem.pump.routing import twin_keys

from .invariants import open_watched_organism
from .sim.context import Run, current_run

__all__ = ["open_simulated_organism"]

Script = Sequence[Any]


@asynccontextmanager
async def open_simulated_organism(
    config: OrganismConfig | str | os.PathLike[str],
    *,
    handlers: Mapping[str, AnyHandler | Script] | None = None,
    listeners: Sequence[ListenerConfig] = (),
    observer: Observer | None = None,
    pipeline: Pipeline | None = None,
    backends: Sequence[Any] | None = None,
) -> AsyncIterator[Organism]:
    """As ``open_watched_organism``, with the simulation's clock, ids, chance and faults: its seed decides.

    ``handlers`` takes the place of handlers, by the keys of ``organism.listeners``: a handler,
    or a list of results. Of a list each call takes the next one at a checkpoint of its own, and raises
    it if it is an exception; every block begins at its beginning. A call too many raises
    AssertionError in that handler, and once more when the block is left. A configuration that is read
    from a file imports its modules in the first run, where they bind what the simulation has patched:
    ``load_config`` it before the run if they import functions such as ``time.time`` by name.

    Raises NotSimulated outside of a run, ConfigurationError for keys and scripts that are none, and
    what ``open_organism`` raises. Checkpoint.
    """
    run = current_run()
    if run is None:
        raise NotSimulated(
            "open_simulated_organism: found no simulation running, expected to be called within simulate, "
            "explore, sweep or a test marked sim; open_organism is for everywhere else"
        )
    folder: AbstractContextManager[None] = nullcontext()
    if not isinstance(config, OrganismConfig):
        folder = importable(Path(config).resolve().parent)  # noqa: ASYNC240 - as short as reading the file
        config = load_config(config, listeners=listeners, keys=True, backends=backends)
        listeners = ()
    scripted, scripts = _scripted((*config.listeners, *listeners), handlers or {})
    config = replace(config, listeners=scripted)
    with folder:
        try:
            async with open_watched_organism(
                config,
                clock=_SimulatedClock(run),
                ids=SeededIds(run.random.randbytes(16)),
                random=random.Random(run.random.getrandbits(64)),
                observer=observer,
                faults=run.faults,
                pipeline=pipeline,
                backends=backends,
            ) as organism:
                yield organism
        except Exception as error:
            for script in scripts:
                if script.spent:
                    error.add_note(script.spent)
            raise
    spent = [script.spent for script in scripts if script.spent]
    if spent:
        raise AssertionError("; ".join(spent))


@final
class _SimulatedClock:
    """The run's virtual time, and its wall clock."""

    def __init__(self, run: Run) -> None:
        self.monotonic, self.wall = trio.current_time, run.wall


@final
class _Scripted:
    """A handler that gives back one result after the other."""

    def __init__(self, listener: str, results: Script) -> None:
        self._listener, self._results = listener, tuple(results)
        self._calls = 0

    @property
    def spent(self) -> str:
        """What to say of calls after the last result; empty if there were none."""
        count = len(self._results)
        if self._calls <= count:
            return ""
        return (
            f"the script of listener {self._listener!r}: found {self._calls} calls, expected at most "
            f"{count}, which is how many results it has"
        )

    async def __call__(self, payload: Any, metadata: HandlerMetadata) -> Any:
        """The next result. Checkpoint. Cancelled means: none was taken."""
        await trio.lowlevel.checkpoint()
        self._calls += 1
        if self.spent:
            raise AssertionError(self.spent)
        result = self._results[self._calls - 1]
        if isinstance(result, BaseException):
            raise result.with_traceback(None)  # the same one may have been raised in an earlier run
        if isinstance(result, type) and issubclass(result, BaseException):
            raise result
        return cast("Any", result)


def _scripted(
    listeners: Sequence[ListenerConfig], handlers: Mapping[str, AnyHandler | Script]
) -> tuple[list[ListenerConfig], list[_Scripted]]:
    """The listeners with their handlers replaced, and the scripts among these."""
    if not isinstance(cast("object", handlers), Mapping):
        found, expected = f"a {type(handlers).__name__}", "a mapping from a listener's key to its handler"
        raise ConfigurationError([ConfigurationFault("handlers", found, expected)])
    keys = twin_keys([str(getattr(own, "name", "")) for own in listeners])
    wrong = [
        ConfigurationFault(
            f"handlers[{key!r}]", "no listener of that name", f"one of {', '.join(map(repr, keys)) or 'none'}"
        )
        for key in handlers
        if key not in keys
    ]
    replaced, scripts = list[ListenerConfig](), list[_Scripted]()
    for key, own in zip(keys, listeners, strict=True):
        given = cast("Any", handlers.get(key))
        if isinstance(given, (list, tuple)):
            given = _Scripted(key, cast("Script", given))
            scripts.append(given)
        elif key in handlers and not callable(given):
            wrong.append(
                ConfigurationFault(
                    f"handlers[{key!r}]",
                    f"a {type(given).__name__}",
                    "a handler, or a list of results",
                )
            )
        replaced.append(own if given is None else replace(own, handler=given))
    if wrong:
        raise ConfigurationError(wrong)
    return replaced, scripts
