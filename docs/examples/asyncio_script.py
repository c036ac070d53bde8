"""phloem in a plain asyncio program.

    pip install phloem
    python asyncio_script.py

phloem runs on Trio, as a guest in the loop that ``asyncio.run`` made, in the same thread. Seen from here
its calls are like any other: await them, gather them, give them a timeout, cancel them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Literal

import trio

from phloem import (
    HandlerMetadata,
    HandlerResponse,
    ListenerConfig,
    MessageRejected,
    OrganismConfig,
    on_host,
    open_organism,
)


@dataclass
class Order:
    """What a guest may ask for. phloem derives a contract from it: what breaks it never reaches a cook."""

    dish: Literal["soup", "roast"]
    portions: int


@dataclass
class Wine:
    """What the cook asks the cellar for."""

    dish: str


@dataclass
class Bottle:
    """What the cellar answers."""

    name: str


@dataclass
class Plate:
    """What the cook answers."""

    text: str


async def cook(payload: Order | Bottle, metadata: HandlerMetadata) -> HandlerResponse:
    """A handler runs on Trio, so what it awaits is Trio's (or anyio's)."""
    if isinstance(payload, Bottle):  # the cellar's answer comes back to who asked, on the same thread
        return HandlerResponse.respond(Plate(f"soup, with a {payload.name}"))
    if payload.dish == "roast":
        await trio.sleep(3600)
    return HandlerResponse(Wine(payload.dish), to="cellar")


@on_host
async def cellar(payload: Wine, metadata: HandlerMetadata) -> HandlerResponse:
    """Unless it says ``@on_host``: then it runs in the asyncio loop, and may use what needs one.

    A database driver, an HTTP client; here, for want of one, a future of the loop.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()
    loop.call_later(0.01, found.set_result, "Riesling")
    return HandlerResponse.respond(Bottle(await found))


KITCHEN: Final = OrganismConfig(
    name="kitchen",
    listeners=[
        ListenerConfig("cook", [Order, Bottle], cook, "Cooks what is ordered.", responds_with=Plate),
        ListenerConfig("cellar", Wine, cellar, "Knows what to drink.", responds_with=Bottle),
    ],
)


async def main() -> None:
    async with open_organism(KITCHEN) as organism:
        print(await organism.ask(Order("soup", 1), to="cook"))

        async with asyncio.TaskGroup() as guests:  # several at once
            tasks = [guests.create_task(organism.ask(Order("soup", n), to="cook")) for n in range(1, 4)]
        print(len([task.result() for task in tasks]), "soups more")

        try:
            await organism.ask(Order("pizza", 1), to="cook")  # type: ignore[arg-type]  # on purpose
        except MessageRejected as error:
            print(f"{error.huh.path}: expected {error.huh.expected}")

        try:
            async with asyncio.timeout(0.5):
                await organism.ask(Order("roast", 1), to="cook")
        except TimeoutError:  # the cook's sleep was cancelled, across the border between the two libraries
            print("no roast today")
    print("every message accounted for:", organism.report)


if __name__ == "__main__":
    asyncio.run(main())  # or uvloop.run(main())
