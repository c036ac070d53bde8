"""Planted: a journal that is written in ``finally`` without a shield, so a cancel loses its last record.

Its first await in the cleanup raises ``Cancelled`` again, before the record is down.
"""

from __future__ import annotations

import trio

from .pausing import pause


class Journal:
    """What began and what ended."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.unwritten: list[str] = []  # what the disk was too slow for, told at least

    async def write(self, records: list[str], record: str) -> None:
        await pause(1)  # the disk
        records.append(record)

    async def run(self, job: str) -> None:
        await self.write(self.begun, job)
        try:
            await pause(2)
        finally:
            await self.last_words(job)  # noqa: ASYNC102 - how it is done decides: that is the bug

    async def last_words(self, job: str) -> None:
        await self.write(self.ended, job)  # planted


class CarefulJournal(Journal):
    """The last record has its own short clock, and no cancel but that; then it is told as unwritten."""

    async def last_words(self, job: str) -> None:
        with trio.move_on_after(2, shield=True) as grace:
            await self.write(self.ended, job)
        if grace.cancelled_caught:
            self.unwritten.append(job)


async def scenario(journal: Journal) -> None:
    try:
        async with trio.open_nursery() as nursery:
            for job in ("bake", "brew"):
                nursery.start_soon(journal.run, job, name=job)
    finally:
        missing = set(journal.begun) - set(journal.ended) - set(journal.unwritten)
        assert not missing, f"never ended: {sorted(missing)}"


async def main() -> None:
    await scenario(Journal())


async def main_fixed() -> None:
    await scenario(CarefulJournal())
