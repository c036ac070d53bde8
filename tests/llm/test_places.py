"""Claims of llm/places.py: nobody waits for a place that he himself, or who waits for him, holds."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import trio
import trio.testing

from phloem.errors import NoBackend
from phloem.llm.places import Crowd, Places
from phloem.llm.requests import LLMRequest
from phloem.llm.router import Router
from phloem.messages import ConversationState
from support.asking import HELLO, Ask, Held, ask, here, open_asker
from support.llm_fakes import Fake, StreamingFake, asked, at_rest, routing

SAYS = "every place is held by streams of tasks that wait for a place, as this one would"


def one(seconds: float = 0.0, **keys: Any) -> dict[str, Any]:
    """A backend of one place whose streams have two pieces."""
    backend = StreamingFake(["a", "b"])
    backend.seconds = seconds
    backend.complete = Fake(seconds=seconds).complete  # type: ignore[method-assign]
    return {"provider": backend, "max_concurrent": 1, **keys}


async def test_who_holds_the_only_place_is_refused_at_once_and_reads_on(autojump_clock: Any) -> None:
    async with routing(one()) as router:
        async with router.stream(asked()) as deltas:
            with pytest.raises(NoBackend, match=SAYS):
                await router.complete(asked())
            with pytest.raises(NoBackend, match="or raise max_concurrent: 'a' 1"):
                async with router.stream(asked()):
                    pass
            with pytest.raises(NoBackend, match=SAYS):
                await router.probe("a", "m")
            assert [delta.text async for delta in deltas] == ["a", "b"]
        assert (await router.complete(asked())).content == "yes"
        assert (router.backends[0].attempts, router.backends[0].failures) == (2, 0)
        assert at_rest(router)
    assert trio.current_time() == 0


async def test_a_handler_that_asks_beside_its_stream_does_not_hang(autojump_clock: Any) -> None:
    async def work() -> None:
        llm, _ = here()
        async with llm.stream(LLMRequest(HELLO)) as deltas:
            await ask(50)
            async for _ in deltas:
                pass

    async with open_asker(work, {"provider": Held(), "max_concurrent": 1}) as organism:
        outcome = await organism.wait(await organism.send(Ask("x")))
        assert outcome.state is ConversationState.FAILED
        assert outcome.cause is not None
        assert SAYS in outcome.cause.text
        assert organism.llm.lines._lines == {}
    assert trio.current_time() < 5


async def test_another_backend_that_has_room_takes_it(autojump_clock: Any) -> None:
    async with routing(one(), one()) as router:
        async with router.stream(asked()):
            assert (await router.complete(asked())).backend == "b"
            async with router.stream(asked()):
                with pytest.raises(NoBackend, match="'a' 1, 'b' 1"):
                    await router.complete(asked())
        assert at_rest(router)


async def test_one_that_is_out_is_waited_for_where_the_others_are_stuck(autojump_clock: Any) -> None:
    async with routing(one(), one()) as router:
        router._gateways[1].outage.until = trio.current_time() + 7
        async with router.stream(asked()) as deltas:
            assert (await router.complete(asked())).backend == "b"
            assert trio.current_time() == 7
            assert [delta.text async for delta in deltas] == ["a", "b"]


async def hold(router: Router, first: str, second: str, begin: float, told: list[str]) -> None:
    """Open a stream of one model, and a second and ``begin`` later ask another within it."""
    async with router.stream(asked(first)):
        await trio.sleep(1 + begin)
        try:
            await router.complete(asked(second))
            told.append(f"{trio.current_time():g} answered")
        except NoBackend:
            told.append(f"{trio.current_time():g} refused")


@pytest.mark.parametrize(
    ("backends", "models"),
    [([{"max_concurrent": 2}], ("a/m", "a/m")), ([{}, {}], ("a/m", "b/m"))],
    ids=["two of one place's", "each at the other's"],
)
async def test_two_who_would_wait_for_each_other_are_the_first_that_waits_and_one_that_is_refused(
    backends: list[dict[str, Any]], models: tuple[str, str], autojump_clock: Any
) -> None:
    told: list[str] = []
    async with routing(*[one(2.0, **keys) for keys in backends]) as router:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, router, models[0], models[1], 0.0, told)
            nursery.start_soon(hold, router, models[1], models[0], 0.5, told)
        assert at_rest(router)
    assert told == ["1.5 refused", "3.5 answered"]


async def test_one_who_holds_a_place_waits_for_calls_that_end(autojump_clock: Any) -> None:
    told: list[str] = []
    async with routing(one(9.0), one(2.0)) as router, trio.open_nursery() as nursery:
        nursery.start_soon(hold, router, "a/m", "b/m", 0.0, told)
        for _ in range(3):  # until 6
            nursery.start_soon(router.complete, asked("b/m"))
    assert told == ["8 answered"]


async def test_many_plain_calls_wait_as_ever(autojump_clock: Any) -> None:
    async with routing(one(1.0)) as router, trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(router.complete, asked())
    assert trio.current_time() == 50


async def test_one_that_is_cut_while_it_waits_leaves_nothing(autojump_clock: Any) -> None:
    crowd = Crowd()
    places = Places(1, crowd)

    async def waits(scope: trio.CancelScope) -> None:
        with scope:
            async with places.taken():
                pass

    async with trio.open_nursery() as nursery, places.taken() as taken:
        assert taken
        scope = trio.CancelScope()
        nursery.start_soon(waits, scope)
        await trio.testing.wait_all_tasks_blocked()
        assert len(crowd.waiting) == 1
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert scope.cancelled_caught
        assert crowd.waiting == {}
        assert places.stuck
        async with places.taken() as again:
            assert not again
    assert (crowd.holding, places._holders, places._limiter.borrowed_tokens) == ({}, [], 0)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with places.taken():
            raise AssertionError("a checkpoint lets nobody by who is cancelled")
    assert (crowd.waiting, crowd.holding, places._limiter.borrowed_tokens) == ({}, {}, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_no_crowd_ever_hangs_and_only_holders_are_refused(seed: int, autojump_clock: Any) -> None:
    chance = random.Random(seed)
    crowd = Crowd()
    every = [Places(chance.randrange(1, 4), crowd) for _ in range(chance.randrange(1, 4))]
    refused = 0

    async def nested(depth: int) -> None:
        nonlocal refused
        async with chance.choice(every).taken() as taken:
            if not taken:
                assert crowd.holding[trio.lowlevel.current_task()] > 0
                refused += 1
                return
            await trio.sleep(chance.random())
            if depth:
                await nested(depth - 1)
                await trio.sleep(chance.random())

    async def again() -> None:
        for _ in range(20):
            with trio.move_on_after(chance.choice((0.5, math.inf))):
                await nested(chance.randrange(4))

    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(again)
    assert refused
    assert (crowd.waiting, crowd.holding) == ({}, {})
    assert all(places._limiter.borrowed_tokens == 0 for places in every)
