"""Planted: a limiter's token that is acquired before the ``try`` which gives it back, an await between them.

A cancel that lands on that await keeps the token for ever. The program has no oracle of its own:
that a token is still borrowed when everything is over is for the simulation to see.
"""

from __future__ import annotations

import trio

from .pausing import pause


class Gate:
    """Lets two callers at a time through to something expensive."""

    def __init__(self) -> None:
        self.limiter = trio.CapacityLimiter(2)
        self.log: list[str] = []

    async def call(self, caller: str) -> None:
        await self.limiter.acquire_on_behalf_of(caller)
        await self.tell(f"{caller} begins")  # planted: the token has no owner yet
        try:
            await pause(2)
        finally:
            self.limiter.release_on_behalf_of(caller)

    async def tell(self, line: str) -> None:
        await pause(1)
        self.log.append(line)


class CarefulGate(Gate):
    """Nothing stands between the token and its ``try``."""

    async def call(self, caller: str) -> None:
        await self.limiter.acquire_on_behalf_of(caller)
        try:
            await self.tell(f"{caller} begins")
            await pause(2)
        finally:
            self.limiter.release_on_behalf_of(caller)


async def scenario(gate: Gate) -> None:
    async with trio.open_nursery() as nursery:
        for caller in ("ann", "bob", "cid"):
            nursery.start_soon(gate.call, caller, name=caller)


async def main() -> None:
    await scenario(Gate())


async def main_fixed() -> None:
    await scenario(CarefulGate())
