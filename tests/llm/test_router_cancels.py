"""Claims of llm/router.py: wherever it is cut, nothing is reserved, no place is taken, no stream is open.

The scenario has calls that wait for tokens, for places and for backends that are out, that are tried again,
time out and overtake each other, and streams that are read, broken off and left.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from phloem.errors import BackendError, RateLimitError
from phloem.llm.requests import LLMResponse
from phloem.llm.router import Router
from phloem.testing.faults import POINTS, PROVIDER, FaultPlan, Point, current
from phloem.testing.sim import explore, sweep
from support.llm_fakes import Dice, Fake, StreamingFake, answer, asked, at_rest, routing


def check(router: Router, *fakes: Fake) -> None:
    """What holds whenever nobody calls any more."""
    assert at_rest(router), router.statistics()
    for gateway in router._gateways:
        assert gateway.bucket.waiting == 0
        places = gateway._places
        assert (places._limiter.borrowed_tokens, places._holders) == (0, [])
        assert (places._crowd.waiting, places._crowd.holding) == ({}, {})
        assert gateway.bucket.available <= gateway.bucket.capacity
    assert [fake.running for fake in fakes] == [0] * len(fakes)
    assert [fake.open for fake in fakes if isinstance(fake, StreamingFake)] == [0] * sum(
        isinstance(fake, StreamingFake) for fake in fakes
    )


async def whole(router: Router, tokens: int) -> None:
    try:
        await router.complete(asked(tokens=tokens))
    except BackendError:
        pass


async def read(router: Router, pieces: int) -> None:
    try:
        async with router.stream(asked("s", tokens=100)) as deltas:
            async for _ in deltas:
                pieces -= 1
                if not pieces:
                    break
    except BackendError:
        pass


async def scenario() -> None:
    first = Fake(RateLimitError("x", retry_after=9), BackendError("x"), answer(tokens=90), seconds=2.0)
    second = Fake(BackendError("x"), answer(tokens=300), LLMResponse("z"), seconds=1.0)
    third = StreamingFake(
        [1, "a", 1, "b"], [BackendError("x")], ["a", 1, BackendError("x")], [99, "a"], ["a", "b"]
    )
    entries = (
        {
            "provider": first,
            "supported_models": ["m"],
            "max_concurrent": 1,
            "rate_limit_tpm": 600,
            "timeout": 3,
        },
        {"provider": second, "supported_models": ["m"], "max_concurrent": 2, "rate_limit_tpm": 400},
        {"provider": third, "supported_models": ["s"], "max_concurrent": 2, "timeout": 5},
    )
    async with routing(*entries, dice=Dice(0.5), faults=current()) as router:
        try:
            async with trio.open_nursery() as nursery:
                for tokens in (400, 100, 600, 200):
                    nursery.start_soon(whole, router, tokens)
                for pieces in (2, 9, 1, 9):
                    nursery.start_soon(read, router, pieces)
        finally:
            check(router, first, second, third)
        with trio.fail_after(1_000):  # and all of it is of use again
            await whole(router, 300)
            await read(router, 9)
        check(router, first, second, third)


def test_cut_before_each_of_its_steps_it_leaves_nothing() -> None:
    report = sweep(scenario, max_steps=20_000)
    assert report.passed, report
    assert report.runs > 100


def test_cut_at_each_of_its_deadlines_it_leaves_nothing() -> None:
    report = sweep(scenario, cancel="every-site", timeouts=True, max_steps=20_000)
    assert report.passed, report


@pytest.mark.parametrize("strategy", ["walk", "pct"])
def test_under_faults_at_the_provider_and_any_schedule_it_leaves_nothing(strategy: str) -> None:
    base = POINTS[PROVIDER]
    plan = FaultPlan({PROVIDER: Point(base.kinds, 1.0, 0.3, base.slow, base.garbage, base.raises)})
    report = explore(scenario, runs=150, faults=plan, strategy=strategy, max_steps=50_000)
    assert report.passed, report


@pytest.mark.parametrize("after", [0.0, 0.5, 1.0, 2.5, 30.0, 59.0])
async def test_a_call_that_is_cut_while_it_waits_makes_way_for_the_next(
    after: float, autojump_clock: Any
) -> None:
    fake = Fake(answer(tokens=600), seconds=1.0)
    async with routing({"provider": fake, "rate_limit_tpm": 600, "max_concurrent": 1}) as router:
        await router.complete(asked(tokens=600))
        with trio.move_on_after(after):
            await router.complete(asked(tokens=600))
        check(router, fake)
        assert len(fake.calls) == 1
        await router.complete(asked(tokens=100))
        assert fake.times[1] == max(10.0, 1.0 + after)


async def test_600_calls_of_which_half_are_cut_leak_no_place(autojump_clock: Any) -> None:
    fake = Fake(answer(), seconds=1.0)
    chance = random.Random(7)

    async def one(patience: float) -> None:
        with trio.move_on_after(patience):
            await router.complete(asked(tokens=100))

    async with routing({"provider": fake, "max_concurrent": 20}) as router:
        async with trio.open_nursery() as nursery:
            for number in range(600):
                nursery.start_soon(one, chance.random() * 20 if number % 2 else 1e9)
        check(router, fake)
    assert fake.most == 20
