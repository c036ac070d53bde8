"""phloem in an anyio program, which runs on Trio and on asyncio alike.

    pip install phloem
    python anyio_script.py trio
    python anyio_script.py asyncio

On Trio the organism is part of the program's own run; on asyncio it is a guest in the loop. The program
is the same.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

import anyio

from phloem import HandlerMetadata, HandlerResponse, ListenerConfig, Organism, OrganismConfig, open_organism


@dataclass
class Order:
    """What a guest may ask for. phloem derives a contract from it, and checks every message."""

    dish: str
    minutes: float


@dataclass
class Plate:
    """What the cook answers."""

    text: str


async def cook(payload: Order, metadata: HandlerMetadata) -> HandlerResponse:
    """A handler always runs on Trio; there, too, anyio works."""
    await anyio.sleep(payload.minutes * 60)
    return HandlerResponse.respond(Plate(f"{payload.dish} after {payload.minutes} minutes"))


KITCHEN: Final = OrganismConfig(
    name="kitchen",
    listeners=[ListenerConfig("cook", Order, cook, "Cooks what is ordered.", responds_with=Plate)],
)


async def guest(organism: Organism, order: Order, seconds: float) -> None:
    """Orders, and leaves after so many seconds: whoever is not waited for any more is not cooked for."""
    with anyio.move_on_after(seconds):
        plate = await organism.ask(order, to="cook")
        print(plate.text)
        return
    print(f"no {order.dish} within {seconds} s")


async def main() -> None:
    async with open_organism(KITCHEN) as organism, anyio.create_task_group() as guests:
        guests.start_soon(guest, organism, Order("soup", 0.0), 10)
        guests.start_soon(guest, organism, Order("tea", 0.001), 10)
        guests.start_soon(guest, organism, Order("roast", 90.0), 0.5)
    print("every message accounted for:", organism.report)


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
