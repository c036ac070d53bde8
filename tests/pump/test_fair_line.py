"""Claims of pump/fair_line.py."""

from __future__ import annotations

from itertools import count

import trio

from phloem.pump.fair_line import FairLine
from phloem.pump.origin import Origin
from support.gates import settled

# -- the line itself -------------------------------------------------------------------------------


async def test_a_line_serves_its_sources_in_turn_and_each_in_order() -> None:
    line, order = FairLine[int](count(1)), list[str]()
    a, b = Origin("a"), Origin("b")

    async def wait(origin: Origin | None, name: str) -> None:
        order.append(f"{name}{await line.wait(origin)}")

    async with trio.open_nursery() as nursery:
        for origin, name in ((a, "a1"), (a, "a2"), (a, "a3"), (None, "s1"), (b, "b1"), (b, "b2")):
            nursery.start_soon(wait, origin, name)
            await settled()
        assert (len(line), line.waiting(a), bool(line)) == (6, 3, True)
        for number in range(6):
            assert line.serve(number)
            await settled()
    assert order == ["a10", "s11", "b12", "a23", "b24", "a35"]
    assert not line.serve(9)
    assert (len(line), bool(line)) == (0, False)


async def test_a_source_whose_tasks_have_given_up_has_no_turn_and_no_old_place() -> None:
    line, order = FairLine[None](count(1)), list[str]()
    a, b = Origin("a"), Origin("b")

    async def wait(origin: Origin, scope: trio.CancelScope) -> None:
        with scope:
            await line.wait(origin)
            order.append(origin.name)

    async with trio.open_nursery() as nursery:
        given_up = trio.CancelScope()
        nursery.start_soon(wait, a, given_up)
        await settled()
        nursery.start_soon(wait, b, trio.CancelScope())
        await settled()
        given_up.cancel()
        assert line.serve(None)  # before the one that was cancelled has run
        nursery.start_soon(wait, a, trio.CancelScope())
        await settled()
        assert line.serve(None)
    assert order == ["b", "a"]


async def test_a_line_that_is_closed_tells_everybody_and_takes_nobody_any_more() -> None:
    line, told = FairLine[None](count(1)), list[str]()

    async def wait(origin: Origin | None) -> None:
        try:
            await line.wait(origin)
        except trio.ClosedResourceError:
            told.append("closed")

    async with trio.open_nursery() as nursery:
        for origin in (None, Origin("a"), Origin("b", urgent=True)):
            nursery.start_soon(wait, origin)
        await settled()
        line.close()
        nursery.start_soon(wait, None)
    assert told == ["closed"] * 4
    assert not line.serve(None)
