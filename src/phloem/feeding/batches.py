"""Many messages from one source through an organism: exactly one result for each, in the order of the source.

Decides how a batch is opened and left: what leaving early does to what is in flight, and how long that
is waited for. Reads no file and writes no line. ``Organism.open_batch`` calls it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final, cast

import trio

from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.guarding import holds_cancelled
from phloem.pump.door import Door
from phloem.pump.pump import Pump

from .batch_results import CLEANUP, NOT_SENT, BatchMessage, BatchResult, BatchResults, Messages, Unread

__all__ = ["NOT_SENT", "BatchMessage", "BatchResult", "BatchResults", "Messages", "Unread", "open_batch"]

MAX_READ_AHEAD: Final = 1_000  # messages ahead of the slowest: as many as have seats by default


@asynccontextmanager
async def open_batch(
    door: Door,
    pump: Pump,
    source: Messages,
    *,
    ordered: bool,
    max_in_flight: int | None,
    sender: str,
) -> AsyncIterator[BatchResults]:
    """As ``Organism.open_batch``, which says the rest."""
    door.refuse_inside("open_batch")
    door.check_sender(sender)
    results = BatchResults(door, pump, sender, _checked(source, max_in_flight), ordered=ordered)
    failed: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(results._read, source, nursery, name="batch")
            try:
                yield results
            except BaseException as error:  # noqa: ASYNC103 - kept, and raised below
                if holds_cancelled(error):
                    raise  # some scope waits for it
                failed = error
            finally:
                results._leave()
                nursery.cancel_scope.cancel(reason="the batch is left")
        await results._gone()
    except BaseException:
        with trio.move_on_after(CLEANUP, shield=True):
            await results._gone()
        if failed is not None:
            raise failed  # noqa: ASYNC104, B904 - what else went wrong is its context
        raise
    if failed is not None:
        raise failed


def _checked(source: object, max_in_flight: object) -> int:
    """How many places the window has. Raises ConfigurationError."""
    faults: list[ConfigurationFault] = []
    if isinstance(source, str | bytes) or not isinstance(source, Iterable | AsyncIterable):
        found = type(source).__name__
        faults.append(ConfigurationFault("source", f"a {found}", "an iterable or async iterable of messages"))
    if max_in_flight is None:
        max_in_flight = MAX_READ_AHEAD
    if not isinstance(max_in_flight, int) or isinstance(max_in_flight, bool) or max_in_flight < 1:
        faults.append(ConfigurationFault("max_in_flight", repr(max_in_flight), "a whole number, 1 or more"))
    if faults:
        raise ConfigurationError(faults)
    return cast("int", max_in_flight)
