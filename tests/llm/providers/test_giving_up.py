"""Calls that are cancelled: the provider sees it at once, and no connection is lost by it."""

from __future__ import annotations

import random
from functools import partial
from statistics import median
from typing import Final

import pytest
import trio

from phloem.llm.requests import StreamingBackend
from phloem.llm.router import Router, open_router
from phloem.llm.settings import read_settings
from support.backend_conformance import Plan
from support.llm_provided import FORMATS, KEY, Provided, WallClock, ask, open_provided
from support.llm_server import Reply, open_llm_server

AT_ONCE: Final = 0.05  # seconds
CONNECTIONS: Final = 8
CALLS: Final = 600

both_formats = pytest.mark.parametrize("form", FORMATS)


async def call(backend: StreamingBackend | Router, *, stream: bool) -> str:
    if not stream:
        return (await backend.complete(ask())).content
    async with backend.stream(ask(stream=True)) as deltas:
        return "".join([delta.text async for delta in deltas])


@both_formats
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reply", [Reply(delay=1000), Plan(pause=True)], ids=["before", "midway"])
async def test_the_server_sees_a_cancelled_call_within_50_ms(
    form: str, stream: bool, reply: Reply | Plan
) -> None:
    if isinstance(reply, Plan) and not stream:
        reply = Reply([b'{"choices": ['], headers={"content-type": "application/json"}, then="silence")
    took: list[float] = []
    async with open_provided(form) as provided:
        for _ in range(5):
            provided.server.prepare(reply)
            before = len(provided.server.gone)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(call, provided.backend, stream=stream))
                await provided.server.until_asked(before + 1)
                await trio.sleep(0.02)  # until what is said has arrived
                cancelled = trio.current_time()
                nursery.cancel_scope.cancel(reason="the test gives up")
            with trio.fail_after(5):
                await provided.server.until_gone(before + 1)
            took.append(provided.server.gone[-1] - cancelled)
    assert median(took) < AT_ONCE, took  # one alone may have met a machine that was busy elsewhere


@both_formats
async def test_the_server_sees_a_deadline_within_50_ms(form: str) -> None:
    async with open_provided(form) as provided:
        took: list[float] = []
        for number in range(1, 6):
            provided.server.prepare(Reply(delay=1000))
            with trio.move_on_after(0.1) as scope:
                await call(provided.backend, stream=False)
            assert scope.cancelled_caught
            with trio.fail_after(5):
                await provided.server.until_gone(number)
            took.append(provided.server.gone[-1] - scope.deadline)
        assert median(took) < AT_ONCE, took


@both_formats
async def test_the_server_sees_a_stream_left_early_within_50_ms(form: str) -> None:
    took: list[float] = []
    async with open_provided(form) as provided:
        for number in range(1, 6):
            provided.server.prepare(Plan(pause=True))
            async with provided.backend.stream(ask(stream=True)) as deltas:
                await deltas.__anext__()
                left = trio.current_time()
            with trio.fail_after(5):
                await provided.server.until_gone(number)
            took.append(provided.server.gone[-1] - left)
    assert median(took) < AT_ONCE, took


class Everywhere(trio.abc.Instrument):
    """Cancels a scope when a task is about to make its n-th step: a cancel at every point there is."""

    def __init__(self, scope: trio.CancelScope, task: trio.lowlevel.Task, step: int) -> None:
        self.scope, self.task, self.left = scope, task, step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if not self.left:
                self.scope.cancel(reason="the test cancels at every step")


@both_formats
@pytest.mark.parametrize("stream", [False, True])
async def test_cancelled_at_every_step_a_call_leaves_no_connection_behind(form: str, stream: bool) -> None:
    async with open_provided(form, max_concurrent=1) as provided:
        provided.server.otherwise = Plan()
        for step in range(1, 100):
            scope = trio.CancelScope()
            instrument = Everywhere(scope, trio.lowlevel.current_task(), step)
            with scope:
                trio.lowlevel.add_instrument(instrument)
                try:
                    answer = await call(provided.backend, stream=stream)
                finally:
                    trio.lowlevel.remove_instrument(instrument)
                assert answer == Plan().text
            with trio.fail_after(5):  # the one connection there may be
                assert await call(provided.backend, stream=stream) == Plan().text
                assert await call(provided.backend, stream=not stream) == Plan().text
            if instrument.left > 0:
                break
        else:
            pytest.fail("a call of a hundred steps")
        assert step > 5, "the call was cancelled at no step worth the name"


async def half_of_them_cancelled(backend: StreamingBackend | Router, seed: int) -> list[str]:
    """600 calls, half of them streams, half of them cancelled at a random moment; those that were not."""
    chance = random.Random(seed)
    doomed = set(chance.sample(range(CALLS), CALLS // 2))
    answers: list[str] = []
    cancelled = 0

    async def one(number: int, begin: float, end: float) -> None:
        nonlocal cancelled
        await trio.sleep(begin)
        with trio.CancelScope() as scope:
            if number in doomed:
                scope.deadline = trio.current_time() + end
            answers.append(await call(backend, stream=number % 2 == 0))
        cancelled += scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        for number in range(CALLS):
            nursery.start_soon(one, number, chance.uniform(0, 0.5), chance.uniform(0, 0.15))
    assert cancelled + len(answers) == CALLS
    assert cancelled > CALLS // 10, "too few were cancelled on their way for this to say anything"
    assert len(answers) >= CALLS // 2
    return answers


async def no_slot_is_lost(backend: StreamingBackend | Router) -> None:
    """As many calls at once as there are connections, several times over."""
    for _ in range(3):
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for number in range(CONNECTIONS):
                    nursery.start_soon(partial(call, backend, stream=number % 2 == 0))


@both_formats
async def test_600_calls_half_of_them_cancelled_leave_no_connection_behind(form: str) -> None:
    async with open_provided(form, max_concurrent=CONNECTIONS) as provided:
        provided.server.otherwise = Plan()
        assert set(await half_of_them_cancelled(provided.backend, seed=8)) == {Plan().text}
        await no_slot_is_lost(provided.backend)
        in_use, idle = pool_of(provided)
        assert in_use == 0
        assert idle <= CONNECTIONS


def pool_of(provided: Provided) -> tuple[int, int]:
    """How many connections of the pool are in use, and how many are not. By httpcore2's own books."""
    pool = provided.backend._client._client._transport._pool  # type: ignore[attr-defined]
    idle = sum(each.is_idle() for each in pool.connections)
    return len(pool.connections) - idle + len(pool._requests), idle


@both_formats
async def test_600_calls_through_the_router_half_of_them_cancelled_leave_no_slot_behind(form: str) -> None:
    async with open_llm_server() as server:
        server.otherwise = Plan()
        backend = {
            "provider": form,
            "name": "tree",
            "base_url": server.url,
            "api_key_env": "TREE_KEY",
            "max_concurrent": CONNECTIONS,
            "rate_limit_tpm": 10**9,
            "supported_models": ["model-1"],
        }
        settings = read_settings({"backends": [backend]}, {"TREE_KEY": KEY})
        async with open_router(settings, random=random.Random(8), clock=WallClock()) as router:
            assert set(await half_of_them_cancelled(router, seed=9)) == {Plan().text}
            await no_slot_is_lost(router)
            (view,) = router.backends
            assert (view.running, view.waiting, view.reserved, view.failures) == (0, 0, 0, 0)
