"""Planted: a letter that is neither in the inbox nor in the ledger while its route is looked up.

A cancel that lands between ``receive()`` and the booking loses it. No schedule does.
"""

from __future__ import annotations

import trio

from .pausing import pause


class Pump:
    """Takes letters from an inbox and books each in a ledger."""

    def __init__(self) -> None:
        self.send, self.inbox = trio.open_memory_channel[str](4)  # more than the scenario posts
        self.accepted: list[str] = []
        self.booked: list[str] = []

    async def accept(self, letter: str) -> None:
        await self.send.send(letter)
        self.accepted.append(letter)

    async def run(self) -> None:
        async for letter in self.inbox:
            await self.dispatch(letter)

    async def dispatch(self, letter: str) -> None:
        await pause(1)  # looks the route up; planted: the letter exists in this frame only
        self.booked.append(letter)
        await pause(1)  # hands it over

    def lost(self) -> set[str]:
        """What was accepted and is nowhere. Empties the inbox."""
        waiting: list[str] = []
        try:
            while True:
                waiting.append(self.inbox.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return set(self.accepted) - set(self.booked) - set(waiting)


class CarefulPump(Pump):
    """Books first, and looks the route up afterwards."""

    async def dispatch(self, letter: str) -> None:
        self.booked.append(letter)
        await pause(2)


async def scenario(pump: Pump) -> None:
    with pump.send, pump.inbox:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pump.run, name="pump")
                for letter in ("first", "second", "third"):
                    await pump.accept(letter)
                pump.send.close()
        finally:
            lost = pump.lost()
            assert not lost, f"lost: {sorted(lost)}"


async def main() -> None:
    await scenario(Pump())


async def main_fixed() -> None:
    await scenario(CarefulPump())
