"""Claims of llm/bucket.py: so many tokens a minute, in order, to the second."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from phloem.llm.bucket import Bucket, Reservation


async def take(bucket: Bucket, tokens: int, log: list[tuple[float, int]], used: int | None = None) -> None:
    reservation = await bucket.reserve(tokens)
    log.append((trio.current_time(), tokens))
    reservation.settle(tokens if used is None else used)


async def all_of(bucket: Bucket, *sizes: int, used: int | None = None) -> list[tuple[float, int]]:
    """When each of these went, having come in this order at once."""
    log: list[tuple[float, int]] = []
    async with trio.open_nursery() as nursery:
        for size in sizes:
            nursery.start_soon(take, bucket, size, log, used)
            await trio.testing.wait_all_tasks_blocked()
    return log


async def test_a_full_bucket_goes_at_once_and_the_rest_by_the_minute(autojump_clock: Any) -> None:
    log = await all_of(Bucket(6_000), 6_000, 600, 600, 3_000)
    assert log == [(0.0, 6_000), (6.0, 600), (12.0, 600), (42.0, 3_000)]


async def test_a_small_request_does_not_pass_a_large_one_that_came_before(autojump_clock: Any) -> None:
    assert await all_of(Bucket(600), 600, 600, 1) == [(0.0, 600), (60.0, 600), (60.1, 1)]


async def test_it_holds_no_more_than_its_capacity_however_long_nobody_comes(autojump_clock: Any) -> None:
    bucket = Bucket(600)
    await trio.sleep(10_000)
    assert bucket.available == 600
    assert await all_of(bucket, 600, 60) == [(10_000.0, 600), (10_006.0, 60)]


async def test_what_was_used_beyond_the_reservation_is_waited_for(autojump_clock: Any) -> None:
    bucket = Bucket(600)
    (await bucket.reserve(100)).settle(900)
    assert bucket.available == -300
    assert await all_of(bucket, 100) == [(40.0, 100)]


async def test_what_was_not_used_goes_to_who_waits_at_once(autojump_clock: Any) -> None:
    bucket, log = Bucket(600), list[tuple[float, int]]()
    first = await bucket.reserve(600)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, bucket, 500, log)
        await trio.sleep(1)
        first.settle(50)  # 560 are there now
    assert log == [(1.0, 500)]


async def test_a_late_settlement_does_not_save_up_what_flowed_over_meanwhile(autojump_clock: Any) -> None:
    bucket = Bucket(600)
    held = await bucket.reserve(600)
    await trio.sleep(600)
    held.settle(1_200)  # 600 more than reserved, from a bucket that has long been full
    assert bucket.available == 0
    held = await bucket.reserve(0)
    held.settle(0)
    assert bucket.available == 0


async def test_giving_back_what_has_flowed_in_again_does_not_fill_it_beyond_its_brim(
    autojump_clock: Any,
) -> None:
    bucket = Bucket(600)
    held = await bucket.reserve(600)
    await trio.sleep(59)
    held.release()
    assert bucket.available == 600
    assert bucket.reserved == 0
    assert await all_of(bucket, 600, 10) == [(59.0, 600), (60.0, 10)]


async def test_a_reservation_ends_once(autojump_clock: Any) -> None:
    bucket = Bucket(600)
    held = await bucket.reserve(200)
    assert bucket.reserved == 200
    assert held.settle(100)
    assert not held.settle(600)
    held.release()
    assert (bucket.available, bucket.reserved) == (500, 0)


async def test_more_than_it_holds_is_refused_and_nobody_waits_behind_it(autojump_clock: Any) -> None:
    bucket = Bucket(600)
    for tokens in (601, -1):
        with pytest.raises(ValueError, match="expected at most 600"):
            await bucket.reserve(tokens)
    assert await all_of(bucket, 600) == [(0.0, 600)]


async def test_a_cancelled_first_lets_the_next_go_at_once_where_it_can(autojump_clock: Any) -> None:
    bucket, log = Bucket(600), list[tuple[float, int]]()
    (await bucket.reserve(600)).settle(600)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient, bucket, 600, 20)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(take, bucket, 100, log)
    assert log == [(20.0, 100)]
    assert (bucket.reserved, bucket.waiting) == (0, 0)


async def impatient(bucket: Bucket, tokens: int, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await bucket.reserve(tokens)


async def test_a_cancelled_one_in_the_middle_holds_up_nobody(autojump_clock: Any) -> None:
    bucket, log = Bucket(600), list[tuple[float, int]]()
    (await bucket.reserve(600)).settle(600)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, bucket, 300, log)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await bucket.reserve(600)
        nursery.start_soon(take, bucket, 60, log)
    assert log == [(30.0, 300), (36.0, 60)]


async def test_cancelled_before_it_begins_nothing_is_taken(autojump_clock: Any) -> None:
    bucket = Bucket(600)
    with trio.CancelScope() as scope:
        scope.cancel()
        await bucket.reserve(1)
    assert scope.cancelled_caught
    assert (bucket.available, bucket.reserved) == (600, 0)


async def test_to_reserve_is_a_checkpoint(autojump_clock: Any) -> None:
    bucket = Bucket(600)
    with trio.testing.assert_checkpoints():
        await bucket.reserve(1)


async def test_waiting_costs_no_wake_ups_but_ones_own(autojump_clock: Any) -> None:
    """A hundred in line: each task runs a few steps in all, not some at each change."""

    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: Any) -> None:
            self.count += 1

    bucket, steps = Bucket(600), Steps()
    trio.lowlevel.add_instrument(steps)
    log = list[tuple[float, int]]()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(take, bucket, 600, log)
    trio.lowlevel.remove_instrument(steps)
    assert [time for time, _ in log] == [60.0 * number for number in range(100)]
    assert steps.count < 500


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_is_cancelled_and_settled_order_and_rate_hold(seed: int, autojump_clock: Any) -> None:
    chance = random.Random(seed)
    bucket, order = Bucket(997), list[int]()
    spent: list[tuple[float, int]] = []

    async def one(number: int, size: int, patience: float, held_for: float, used: int) -> None:
        with trio.move_on_after(patience):
            reservation = await bucket.reserve(size)
            order.append(number)
            spent.append((trio.current_time(), size))
            try:
                await trio.sleep(held_for)
                reservation.settle(used)
                spent.append((trio.current_time(), used - size))
            finally:
                if reservation.settle(0):
                    spent.append((trio.current_time(), -size))

    async with trio.open_nursery() as nursery:
        for number in range(60):
            size = chance.randrange(998)
            used = chance.randrange(size + 1)
            nursery.start_soon(one, number, size, chance.choice([3, 70, 1e9]), chance.random() * 9, used)
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(chance.random() * 5)
    assert order == sorted(order)
    assert (bucket.reserved, bucket.waiting) == (0, 0)
    kept = trio.current_time() * 997 / 60 + 997
    assert sum(size for _, size in spent) <= kept + 1e-6
    await trio.sleep(120)
    assert bucket.available == 997


@pytest.mark.parametrize("capacity", [1, 7, 997, 100_000, 1_000_003])
async def test_no_capacity_makes_a_wait_that_rounding_never_ends(capacity: int, autojump_clock: Any) -> None:
    bucket = Bucket(capacity)
    await trio.sleep(1e6 / 3)
    ends: list[Callable[[], None]] = []
    with trio.fail_after(60 * 40 + 1):
        for _ in range(40):
            held: Reservation = await bucket.reserve(capacity)
            ends.append(held.release)
    for end in ends:
        end()
    assert bucket.reserved == 0
