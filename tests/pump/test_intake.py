"""Claims of pump/intake.py, without a pump: who waits at the gate."""

from __future__ import annotations

import trio

from phloem.config import OrganismConfig, WireLimits
from phloem.loading import resolve, running_listeners
from phloem.memory.threads import Census
from phloem.pump.intake import Intake
from phloem.pump.pipeline import Pipeline
from phloem.pump.slots import Slots
from support.gates import settled
from support.listeners import BACK


def intake_of(census: Census, seats: int = 9) -> Intake:
    listeners = running_listeners(resolve(OrganismConfig("one", [BACK])))
    pipeline, slots = Pipeline(listeners, WireLimits()), Slots(listeners, handlers=9, pipelines=9, threads=2)
    return Intake(pipeline, slots, lambda: None, census, seats=seats, limits=WireLimits())


async def test_whoever_was_told_of_room_that_is_gone_again_waits_on() -> None:
    census, came_in = Census(2), list[str]()
    intake = intake_of(census)

    async def enters() -> None:
        await intake.take_seat(may_wait=True)
        came_in.append("came in")

    census.live = 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(enters)
        await settled()
        for _ in range(3):
            census.left(1)
            census.live += 1  # a running conversation opens a thread in the same stretch
            await settled()
            assert (came_in, intake.waiting) == ([], 1)
        census.left(1)
    assert (came_in, intake.waiting, intake.free_seats) == (["came in"], 0, 8)
