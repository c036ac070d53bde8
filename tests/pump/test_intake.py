"""Claims of pump/intake.py, without a pump: who waits at the gate."""

from __future__ import annotations

import pytest
import trio

from phloem.config import OrganismConfig, WireLimits
from phloem.errors import OrganismClosed
from phloem.loading import resolve, running_listeners
from phloem.memory.threads import Census
from phloem.pump.intake import Intake
from phloem.pump.origin import Origin
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


@pytest.mark.parametrize("attempt", range(10))  # which of two tasks Trio runs first is chance
@pytest.mark.parametrize("room", [1, 2])
async def test_an_urgent_one_passes_the_gate_first_and_lets_the_others_look_again(
    attempt: int, room: int
) -> None:
    census, came_in = Census(2), list[str]()
    intake = intake_of(census)
    calm, urgent = Origin("calm"), Origin("urgent", urgent=True)

    async def enters(origin: Origin) -> None:
        await intake.take_seat(may_wait=True, origin=origin)
        came_in.append(origin.name)
        census.live += 1

    census.live = 2
    async with trio.open_nursery() as nursery:
        for origin in (calm, urgent):
            nursery.start_soon(enters, origin)
            await settled()
        assert (calm.at_the_gate, urgent.at_the_gate, intake.waiting_of(urgent)) == (1, 1, 1)
        census.left(room)
        await settled()
        assert came_in == ["urgent", "calm"][:room], "each looks once more when the other has passed"
        census.left(1)
    assert came_in == ["urgent", "calm"]
    assert (calm.at_the_gate, urgent.at_the_gate, intake.free_seats) == (0, 0, 7)


async def test_a_seat_handed_to_a_source_that_is_closed_at_once_goes_to_the_next() -> None:
    intake = intake_of(Census(9), seats=1)
    source, came_in = Origin("closed"), list[str]()

    async def enters(origin: Origin | None, name: str) -> None:
        try:
            await intake.take_seat(may_wait=True, origin=origin)
            came_in.append(name)
        except OrganismClosed as error:
            came_in.append(str(error))

    await intake.take_seat(may_wait=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(enters, source, "the closed one")
        await settled()
        nursery.start_soon(enters, None, "the next one")
        await settled()
        intake.give_back()
        intake.close_source(source)
    assert came_in == ["the source 'closed' has been closed and takes no more messages", "the next one"]
    assert intake.free_seats == 0
