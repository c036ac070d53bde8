"""Claims of pump/intake.py, without a pump: who waits at the gate."""

from __future__ import annotations

import pytest
import trio

from phloem.config import OrganismConfig, WireLimits
from phloem.loading import resolve, running_listeners
from phloem.memory.threads import Census
from phloem.pump.intake import Intake
from phloem.pump.slots import Slots
from phloem.pump.steps import Steps
from support.gates import settled
from support.listeners import BACK


def intake_of(census: Census, seats: int = 9) -> Intake:
    listeners = running_listeners(resolve(OrganismConfig("one", [BACK])))
    steps, slots = Steps(listeners, WireLimits()), Slots(listeners, handlers=9, pipelines=9, threads=2)
    return Intake(steps, slots, lambda: None, census, seats=seats, limits=WireLimits())


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


async def test_what_the_word_of_a_waiting_raises_leaves_the_seat_and_the_gate_as_they_were() -> None:
    census = Census(2)
    intake = intake_of(census, seats=1)

    def tell(what: str, count: int) -> None:
        told.append((what, count))
        raise ZeroDivisionError

    told = list[tuple[str, int]]()
    census.live = 2
    with pytest.raises(ZeroDivisionError):
        await intake.take_seat(may_wait=True, tell=tell)
    assert (told.pop(), intake.waiting, intake.free_seats) == (("threads", 1), 0, 1)
    census.left(2)
    await intake.take_seat(may_wait=True, tell=tell)
    with pytest.raises(ZeroDivisionError):
        await intake.take_seat(may_wait=True, tell=tell)
    assert (told, intake.waiting, intake.free_seats) == ([("seat", 1)], 0, 0)
    intake.give_back()
    assert intake.free_seats == 1
