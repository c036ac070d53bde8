"""Planted: a connection that registers itself after the shutdown's sweep has passed, and stays open.

The dialler looks whether the pool is open before it dials, not afterwards. Shutdown grants more
steps of grace than dialling takes, so in fair batches nobody is late.
"""

from __future__ import annotations

import trio

from .pausing import pause


class Connection:
    """Open until closed."""

    def __init__(self) -> None:
        self.open = True


class Pool:
    """Dials, remembers what it dialled, and closes all of it at the end."""

    def __init__(self) -> None:
        self.closing = False
        self.dialled: list[Connection] = []  # the far ends: what really is open
        self.registered: list[Connection] = []

    async def dial(self) -> Connection:
        connection = Connection()
        self.dialled.append(connection)
        await pause(2)  # shakes hands
        return connection

    async def connect(self) -> bool:
        """Whether there is a connection: a pool that closes gives none."""
        if self.closing:
            return False
        connection = await self.dial()
        self.registered.append(connection)  # planted: the sweep may have passed
        return True

    async def close(self) -> None:
        self.closing = True
        await pause(4)  # grace for those who dial
        for connection in self.registered:
            connection.open = False


class CarefulPool(Pool):
    """Looks again once it has dialled."""

    async def connect(self) -> bool:
        if self.closing:
            return False
        connection = await self.dial()
        if self.closing:
            connection.open = False
            return False
        self.registered.append(connection)
        return True


async def use(pool: Pool) -> None:
    for _ in range(2):
        await pause(2)
        await pool.connect()


async def scenario(pool: Pool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(use, pool, name="ann")
        nursery.start_soon(use, pool, name="bob")
        await pause(12)
        await pool.close()
    still_open = [connection for connection in pool.dialled if connection.open]
    assert not still_open, f"{len(still_open)} connections left open"


async def main() -> None:
    await scenario(Pool())


async def main_fixed() -> None:
    await scenario(CarefulPool())
