"""Claims of testing/sim/world.py on the standard library's side roads to the clock and to chance."""

from __future__ import annotations

import calendar
import email.utils
import os
import random
import secrets
import tempfile
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import trio

from phloem.testing.sim import simulate

UTC_AT_100 = (2000, 1, 1, 0, 1, 40)  # a run's wall clock begins at 2000-01-01 UTC


def at_100(function: Callable[[], Any], seed: int = 0) -> Any:
    """What ``function`` gives a hundred virtual seconds into a run."""

    async def main() -> Any:
        await trio.sleep(100)
        return function()

    return simulate(main, seed=seed).unwrap()


# -- the calendar -----------------------------------------------------------------------------------


def test_gmtime_without_a_time_is_the_virtual_one() -> None:
    assert at_100(lambda: time.gmtime()[:6]) == UTC_AT_100
    assert at_100(lambda: time.gmtime(None)[:6]) == UTC_AT_100


def test_localtime_without_a_time_is_the_virtual_one() -> None:
    wanted = time.localtime(calendar.timegm((*UTC_AT_100, 0, 0, 0)))
    assert at_100(time.localtime) != wanted  # bound before the run, so real
    assert at_100(lambda: time.localtime()) == wanted
    assert at_100(lambda: time.localtime(None)) == wanted


def test_ctime_asctime_and_strftime_without_a_time_tell_the_virtual_one() -> None:
    wanted = time.localtime(calendar.timegm((*UTC_AT_100, 0, 0, 0)))
    text = time.asctime(wanted)
    assert at_100(lambda: (time.ctime(), time.ctime(None), time.asctime())) == (text, text, text)
    assert at_100(lambda: time.strftime("%Y-%m-%d %H:%M:%S")) == time.strftime("%Y-%m-%d %H:%M:%S", wanted)


def test_a_time_that_is_given_is_the_one_that_is_told() -> None:
    told = at_100(
        lambda: (
            time.gmtime(86_400)[:3],
            time.localtime(0.5),
            time.ctime(7),
            time.asctime(time.gmtime(7)),
            time.strftime("%Y", time.gmtime(0)),
        )
    )
    assert told == ((1970, 1, 2), time.localtime(0.5), time.ctime(7), "Thu Jan  1 00:00:07 1970", "1970")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: time.asctime(None),  # type: ignore[arg-type]
        lambda: time.strftime("%Y", None),  # type: ignore[arg-type]
        lambda: time.gmtime("x"),  # type: ignore[arg-type]
        lambda: time.asctime((1, 2)),  # type: ignore[arg-type]
        lambda: time.clock_gettime(987_654),
        lambda: random.seed(1, 2, 3),  # type: ignore[call-arg]
    ],
)
def test_what_is_wrong_outside_is_wrong_in_the_same_way_inside(wrong: Callable[[], object]) -> None:
    with pytest.raises((TypeError, OSError)) as outside:
        wrong()
    with pytest.raises(outside.type):
        at_100(wrong)


# -- clocks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["process_time", "thread_time"])
def test_a_processors_time_is_the_virtual_one(name: str) -> None:
    assert at_100(lambda: getattr(time, name)()) == 100.0
    assert at_100(lambda: getattr(time, f"{name}_ns")()) == 100_000_000_000


@pytest.mark.skipif(not hasattr(time, "clock_gettime"), reason="needs a platform with clock_gettime")
@pytest.mark.parametrize(
    ("clock", "epoch"),
    [
        ("CLOCK_MONOTONIC", 0),
        ("CLOCK_MONOTONIC_RAW", 0),
        ("CLOCK_PROCESS_CPUTIME_ID", 0),
        ("CLOCK_THREAD_CPUTIME_ID", 0),
        ("CLOCK_REALTIME", calendar.timegm((2000, 1, 1, 0, 0, 0))),
    ],
)
def test_each_clock_of_the_system_is_virtual(clock: str, epoch: int) -> None:
    number = getattr(time, clock)
    assert at_100(lambda: time.clock_gettime(number)) == epoch + 100.0
    assert at_100(lambda: time.clock_gettime_ns(number)) == (epoch + 100) * 1_000_000_000


# -- chance -----------------------------------------------------------------------------------------


class _Own(random.Random):
    """A generator with a beginning of its own."""

    def __init__(self) -> None:
        super().__init__()


class _Seeding(random.Random):
    def seed(self, a: Any = None, version: int = 2) -> None:
        super().seed(a, version)


def reseeded() -> float:
    random.seed()
    return random.random()


def by_hand() -> float:
    generator = random.Random(1)
    generator.seed()
    return generator.random()


ROADS: dict[str, Callable[[], object]] = {
    "getrandom": lambda: os.getrandom(8),
    "random.seed without a number": reseeded,
    "Random.seed without a number": by_hand,
    "an unseeded generator": lambda: random.Random().random(),
    "a subclass": lambda: _Own().random(),
    "a subclass that seeds": lambda: _Seeding().random(),
    "SystemRandom": lambda: (random.SystemRandom().random(), random.SystemRandom().getrandbits(99)),
    "secrets": lambda: (secrets.token_hex(), secrets.randbelow(10**9), secrets.token_urlsafe(5)),
    "uuid4": uuid.uuid4,
    "uuid1": lambda: uuid.uuid1(),
    "a temporary name": lambda: tempfile.mktemp(),
    "a message's id": lambda: email.utils.make_msgid(domain="example.org"),
}


@pytest.mark.skipif(not hasattr(os, "getrandom"), reason="needs Linux, for os.getrandom")
@pytest.mark.parametrize("road", ROADS)
def test_each_road_to_chance_begins_at_the_seed(road: str) -> None:
    first = at_100(ROADS[road])
    assert at_100(ROADS[road]) == first
    assert at_100(ROADS[road], seed=1) != first


def test_what_is_seeded_by_a_number_is_as_it_is_outside() -> None:
    def drawn() -> tuple[float, float]:
        random.seed(5)
        return random.random(), random.Random(6).random()

    state = random.getstate()
    try:
        outside = drawn()
    finally:
        random.setstate(state)
    assert at_100(drawn) == outside


def test_after_a_run_all_of_it_is_real_again() -> None:
    names: list[tuple[Any, str]] = [
        *((time, name) for name in dir(time)), *((os, name) for name in dir(os)),
        *((random, name) for name in dir(random)), (random.Random, "seed"),
        (tempfile, "_name_sequence"), (tempfile, "tempdir"),
    ]  # fmt: skip
    tempfile.gettempdir()
    next(tempfile._get_candidate_names())  # type: ignore[attr-defined]
    before = [getattr(holder, name) for holder, name in names]
    at_100(lambda: [road() for road in ROADS.values()])
    assert all(getattr(holder, name) == was for (holder, name), was in zip(names, before, strict=True))
    assert tempfile._name_sequence is before[-2]  # type: ignore[attr-defined]
    assert abs(time.mktime(time.localtime()) - time.time()) < 5
