"""``python -m phloem.testing.sim``: can this Trio be simulated, and is a seed the same run here as elsewhere?

Prints the versions and a digest, which is the same wherever this file is; raises SimulationUnsupported.
"""

from __future__ import annotations

import platform
import sys

import trio

from .running import simulate
from .seam import check_seam

__all__ = ()


async def _program() -> list[int]:
    """Something of each kind that has to be the same in every Trio: channels, scopes, limiters, threads."""
    found = list[int]()
    limiter = trio.CapacityLimiter(2)
    send, receive = trio.open_memory_channel[int](1)

    async def worker(inbox: trio.MemoryReceiveChannel[int]) -> None:
        async with inbox:
            async for number in inbox:
                async with limiter:
                    with trio.move_on_after(number / 2):
                        await trio.sleep(1)
                found.append(await trio.to_thread.run_sync(abs, -number))

    async with trio.open_nursery() as nursery, send, receive:
        for _ in range(3):
            nursery.start_soon(worker, receive.clone())
        for number in range(9):
            await send.send(number)
    return found


def main() -> None:
    """Say it on one line, whose last word is the digest."""
    check_seam()
    digests = [simulate(_program, seed=seed).digest for seed in range(9)]
    versions = f"Python {platform.python_version()}, Trio {trio.__version__}"
    sys.stdout.write(f"simulation on {versions}: {'-'.join(each[:4] for each in digests)}\n")


if __name__ == "__main__":
    main()
