"""Claims of testing/sim/searching.py: when two failures are one, and what is said of how they were had."""

from __future__ import annotations

import itertools
import re

import pytest
import trio

from phloem.errors import ScheduleFailure
from phloem.testing.sim import current_run, explore, searching, simulate


def ensure(holds: bool, what: str) -> None:
    """A helper that asserts for everybody."""
    if not holds:
        raise AssertionError(what)


async def fails_in_two_ways() -> None:
    """Under some schedules an order is wrong, under some an update is lost, under some both."""
    counts, order = [0], list[int]()

    async def adds() -> None:
        read = counts[0]
        await trio.lowlevel.checkpoint()
        counts[0] = read + 1

    async def notes(number: int) -> None:
        await trio.lowlevel.checkpoint()
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(adds)
            nursery.start_soon(notes, number)
    ensure(order == [0, 1], "an order")
    ensure(counts[0] == 2, "an update")


def test_one_line_of_a_helper_called_from_two_lines_is_two_failures() -> None:
    report = explore(fails_in_two_ways, runs=100, keep_going=True)
    assert {str(told.failure) for told in report.failures} == {"an order", "an update"}


def test_shrinking_stays_with_the_failure_that_was_found() -> None:
    for seed in range(0, 60, 6):
        first: list[str] = []

        async def main(first: list[str] = first) -> None:
            try:
                await fails_in_two_ways()
            except AssertionError as error:
                first.append(str(error))
                raise

        with pytest.raises(ScheduleFailure) as raised:
            explore(main, runs=100, seed=seed)
        assert str(raised.value.failure) == first[0]


async def one_order_in_six() -> None:
    order: list[int] = []

    async def notes(number: int) -> None:
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(notes, number)
    assert order != [2, 0, 1]


def test_the_seed_of_a_shuffle_that_has_it_too_is_one_that_has_it() -> None:
    with pytest.raises(ScheduleFailure) as raised:
        explore(one_order_in_six, strategy="walk")
    (seed,) = re.findall(
        r"fair batches: yes, with strategy shuffle and seed (\d+)$", str(raised.value), re.MULTILINE
    )
    assert isinstance(simulate(one_order_in_six, strategy="shuffle", seed=int(seed)).failure, AssertionError)


def test_a_failure_that_comes_again_by_another_way_is_not_called_reproduced() -> None:
    count = itertools.count()

    async def main() -> None:
        run = current_run()
        assert run is not None
        run.note(f"call {next(count)}")
        raise ValueError("each time")

    with pytest.raises(ScheduleFailure) as raised:
        explore(main, runs=3)
    assert "NOT REPRODUCED" in str(raised.value)


def test_there_is_an_end_to_the_steps_that_make_a_failure_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    def runs_with(most: int) -> int:
        count = itertools.count()

        async def main() -> None:
            next(count)
            await fails_in_two_ways()

        monkeypatch.setattr(searching, "SHRINK_STEPS", most)
        with pytest.raises(ScheduleFailure) as raised:
            explore(main, runs=100, strategy="walk")
        assert "NOT REPRODUCED" not in str(raised.value)
        return next(count)

    assert runs_with(0) < runs_with(100_000) - 5
