"""A batch on a virtual clock: one simulated run of an organism, its results written afterwards.

Decides what is real in it: the input, read whole before, and the output, written after; all between
happens under the simulation's seam, where a seed decides ids, chance and order, and hours of waiting end
at once. Two runs with one seed write the same bytes. ``run`` calls it for ``--virtual`` and ``--seed``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, final

import trio

from phloem.config import OrganismConfig
from phloem.feeding.batches import BatchResult
from phloem.framing.lines import Piece, Unreadable
from phloem.testing.organisms import open_simulated_organism
from phloem.testing.sim import simulate

from .batch import Batch, BatchEnd, tell_at_once
from .source import Source
from .writing import ResultWriter

__all__ = ["run_scripted"]

_ORDER: Final = "shuffle"  # Trio's own batches in an order that the seed decides: the cheapest of them


def run_scripted(
    config: OrganismConfig,
    source: Source,
    writer: ResultWriter,
    *,
    seed: int,
    window: int,
    ordered: bool,
    grace: float | None,
) -> BatchEnd:
    """Read all of the input, run it, write the results. Not async: it runs Trio itself.

    Raises what opening the organism raises, and what a simulated run ends with: a Deadlock, NotSimulated
    for a handler that wants a real socket or process.
    """
    held = _Held()
    trio.run(held.read, source)
    patience = config.shutdown_grace if grace is None else grace
    batch = Batch(
        held, writer, window=window, ordered=ordered, grace=patience, tell=tell_at_once, virtual=True
    )
    batch.end.read_failure = held.failure

    async def program() -> Sequence[BatchResult]:
        async with open_simulated_organism(config) as organism:
            return await batch.gather(organism, config.wire)

    program.__module__, program.__qualname__ = config.name, "batch"  # as reports name it
    results = simulate(program, seed=seed, strategy=_ORDER, max_steps=sys.maxsize).unwrap()
    trio.run(batch.write_all, results)
    return batch.end


@final
class _Held:
    """A source that was read before."""

    def __init__(self) -> None:
        self._pieces: list[Piece | Unreadable] | None = []
        self.is_xml = False
        self.consumed = 0
        self.failure: OSError | None = None

    async def read(self, source: Source) -> None:
        """All that a source has. What it raises is in ``failure``, and what came before is kept."""
        assert self._pieces is not None
        try:
            while (pieces := await source.receive()) is not None:
                self._pieces += pieces
        except OSError as error:
            self.failure = error
        self.is_xml, self.consumed = source.is_xml, source.consumed

    async def receive(self) -> Sequence[Piece | Unreadable] | None:
        """As in ``Source``. Checkpoint."""
        await trio.lowlevel.checkpoint()
        pieces, self._pieces = self._pieces, None
        return pieces
