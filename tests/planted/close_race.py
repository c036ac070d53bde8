"""Planted: a mailbox that closes its channel while somebody who found it open is about to send.

Closing takes longer than posting, so in fair batches whoever found it open has sent by then.
"""

from __future__ import annotations

import trio

from .pausing import pause


class Mailbox:
    """Takes letters until it closes; then says no."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[str](16)  # more than the scenario posts
        self.closing = False
        self.read: list[str] = []

    async def post(self, letter: str) -> bool:
        """Whether the letter was taken: a closed mailbox takes none."""
        if self.closing:
            return False
        await pause(1)  # stamps it; planted: the mailbox may be closed meanwhile
        await self.send.send(letter)
        return True

    async def close(self) -> None:
        self.closing = True
        await pause(3)  # says goodbye to the readers
        self.send.close()

    async def run(self) -> None:
        async for letter in self.receive:
            self.read.append(letter)


class CarefulMailbox(Mailbox):
    """A letter that comes too late is refused, however late."""

    async def post(self, letter: str) -> bool:
        try:
            return await super().post(letter)
        except trio.ClosedResourceError:
            return False


async def write(mailbox: Mailbox, writer: str, taken: list[str]) -> None:
    for number in range(3):
        await pause(1)  # thinks
        letter = f"{writer} {number}"
        if await mailbox.post(letter):
            taken.append(letter)


async def scenario(mailbox: Mailbox) -> None:
    taken: list[str] = []
    with mailbox.send, mailbox.receive:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailbox.run, name="reader")
            for writer in ("ann", "bob"):
                nursery.start_soon(write, mailbox, writer, taken, name=writer)
            await pause(12)  # the day passes; a writer needs nine steps
            await mailbox.close()
    assert sorted(mailbox.read) == sorted(taken)


async def main() -> None:
    await scenario(Mailbox())


async def main_fixed() -> None:
    await scenario(CarefulMailbox())
