"""Planted: two read-modify-writes far apart, of two copies of one number; only losing in both does harm.

The shop keeps its count twice and believes the higher copy, so one lost sale of each copy at the
same time is needed. The second customer comes a little later, so in fair batches neither is hit.
"""

from __future__ import annotations

import trio

from .pausing import pause


class Shop:
    """Counts what was sold, in the till and in the book."""

    def __init__(self) -> None:
        self.till = 0
        self.book = 0

    async def sell(self) -> None:
        await self.ring_up()
        await pause(4)  # wraps it
        await self.write_down()

    async def ring_up(self) -> None:
        sold = self.till
        await pause(1)  # planted: the drawer opens
        self.till = sold + 1

    async def write_down(self) -> None:
        sold = self.book
        await pause(1)  # planted: the ink dries
        self.book = sold + 1

    def sold(self) -> int:
        return max(self.till, self.book)


class CarefulShop(Shop):
    """Reads and writes in one step."""

    async def ring_up(self) -> None:
        await pause(1)
        self.till += 1

    async def write_down(self) -> None:
        await pause(1)
        self.book += 1


async def buy(shop: Shop, choosing: int) -> None:
    await pause(choosing)
    await shop.sell()


async def scenario(shop: Shop) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buy, shop, 0, name="ann")
        nursery.start_soon(buy, shop, 3, name="bob")
    assert shop.sold() == 2, f"two were sold, and counted: {shop.sold()}"


async def main() -> None:
    await scenario(Shop())


async def main_fixed() -> None:
    await scenario(CarefulShop())
