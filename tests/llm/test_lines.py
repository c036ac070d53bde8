"""Lines: first come, first served in each conversation, and nobody is left behind."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from phloem.llm.lines import Lines


async def test_lines_of_two_conversations_do_not_meet() -> None:
    lines = Lines()
    assert await lines.enter("a", "first", lambda: 1) == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines.enter, "a", "third", lambda: None)
        await trio.testing.wait_all_tasks_blocked()
        assert await lines.enter("b", "second", lambda: 2) == 2
        assert [lines.may_wait(each, "third") for each in "abc"] == [True, True, False]
        assert lines.waiting == 1
        nursery.cancel_scope.cancel()
    lines.leave("a", "first")
    lines.leave("b", "second")
    assert lines._lines == {}


async def test_an_attempt_that_raises_lets_the_next_one_try() -> None:
    lines, room, got = Lines(), [False], list[str]()

    def fails() -> str | None:
        if room[0]:
            raise LookupError("no")
        return None

    async def first() -> None:
        with pytest.raises(LookupError):
            await lines.enter("a", "first", fails)

    async def second() -> None:
        got.append(await lines.enter("a", "second", lambda: "here" if room[0] else None))

    await lines.enter("a", "held", lambda: 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        room[0] = True
        lines.leave("a", "held")
    assert got == ["here"]


async def test_a_cancelled_one_has_entered_nothing() -> None:
    lines = Lines()
    await lines.enter("a", "held", lambda: 1)
    with trio.move_on_after(0):
        await lines.enter("a", "cancelled", lambda: None)
    assert lines.waiting == 0
    lines.leave("a", "held")
    assert lines._lines == {}


async def test_who_holds_one_call_open_waits_for_nobody() -> None:
    lines, room = Lines(), [True]

    def attempt(holder: str) -> str | None:
        return "here" if room[0] else None if lines.may_wait("a", holder) else "refused"

    assert await lines.enter("a", "first", lambda: attempt("first")) == "here"
    room[0] = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines.enter, "a", "second", lambda: attempt("second"))
        await trio.testing.wait_all_tasks_blocked()
        assert await lines.enter("a", "first", lambda: attempt("first")) == "refused", (
            "though one stands first"
        )
        lines.leave("a", "first")
        await trio.testing.wait_all_tasks_blocked()
        assert lines.waiting == 1, "his other call goes on"
        lines.leave("a", "first")
    lines.leave("a", "second")
    assert lines._lines == {}


@given(st.integers(), st.integers(1, 4))
def test_any_crowd_is_served_in_its_order(seed: int, most: int) -> None:
    chance, served, held = random.Random(seed), list[int](), 0

    async def one(lines: Lines, number: int, size: int) -> None:
        nonlocal held

        def attempt() -> bool | None:
            nonlocal held
            if held + size > most:
                return None
            held += size
            return True

        with trio.move_on_after(chance.randrange(1, 40)):
            await lines.enter("a", number, attempt)
            try:
                served.append(number)
                await trio.sleep(chance.randrange(5))
            finally:
                held -= size
                lines.leave("a", number)

    async def main() -> None:
        lines = Lines()
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(one, lines, number, chance.randrange(1, most + 1))
                await trio.testing.wait_all_tasks_blocked()
        assert lines._lines == {}

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert served == sorted(served)
    assert held == 0
