"""The end of a run that was held alive: contexts are left, tasks cancelled, and what remains is named."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from phloem.errors import NotSimulated, ResourceLeft
from phloem.testing.sim import simulate
from phloem.testing.sim.holding import HeldRun

STRATEGIES = ["walk", "shuffle", "calm", "pct3"]


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


async def give(value: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return value


@asynccontextmanager
async def thing(log: list[str], name: str = "thing") -> AsyncIterator[str]:
    await trio.sleep(1)
    log.append(f"{name} up")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            yield name
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            log.append(f"{name} down")


# -- contexts -------------------------------------------------------------------------------------
def test_contexts_are_entered_and_left_by_one_task_in_reverse_order() -> None:
    log: list[str] = []
    with HeldRun() as run:
        assert run.enter(thing(log, "a")) == "a"
        run.enter(thing(log, "b"))
        assert log == ["a up", "b up"]
        run.do(nothing)
    assert log == ["a up", "b up", "b down", "a down"]


def test_what_leaves_a_context_at_the_end_is_not_cancelled() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def polite() -> AsyncIterator[None]:
        yield
        await trio.sleep(1)  # no shield
        log.append("goodbye")

    with HeldRun() as run:
        run.enter(polite())
    assert log == ["goodbye"]


def test_a_context_can_be_left_before_the_end() -> None:
    log: list[str] = []
    with HeldRun() as run:
        value = run.enter(thing(log))
        run.leave(value)
        assert log == ["thing up", "thing down"]
        with pytest.raises(LookupError, match="no context held"):
            run.leave(value)


def test_what_entering_or_leaving_raises_is_raised() -> None:
    @asynccontextmanager
    async def bad(where: str) -> AsyncIterator[str]:
        if where == "in":
            raise LookupError(where)
        yield where
        raise LookupError(where)

    with HeldRun() as run:
        with pytest.raises(LookupError, match="in"):
            run.enter(bad("in"))
        run.enter(bad("out"))
        with pytest.raises(LookupError, match="out"):
            run.leave("out")


# -- the end --------------------------------------------------------------------------------------
def test_the_end_cancels_what_is_left_and_waits_for_its_cleanup() -> None:
    ended: list[str] = []

    async def stay() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
            ended.append("cleaned up")

    with HeldRun() as run:
        run.start(stay)
        run.settle()
    assert ended == ["cleaned up"]
    assert run.time == 5


def test_a_block_left_by_an_error_keeps_that_error_and_leaves_no_context_in_order() -> None:
    log: list[str] = []

    def held() -> None:
        with HeldRun() as run:
            run.enter(thing(log))
            raise LookupError("the test's own")

    with pytest.raises(LookupError, match="the test's own"):
        held()
    assert log == ["thing up", "thing down"]
    trio.run(nothing)


def test_a_task_that_does_not_end_is_named_and_ended_by_force(capfd: pytest.CaptureFixture[str]) -> None:
    async def stay() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

    def held(error: Exception | None = None) -> None:
        with HeldRun() as run:
            run.start(stay)
            run.settle()
            if error is not None:
                raise error

    with pytest.raises(ResourceLeft, match=r"a task that does not end: .*stay"):
        held()
    with pytest.raises(LookupError) as caught:
        held(LookupError("mine"))
    assert "a task that does not end" in caught.value.__notes__[0]
    gc.collect()
    assert capfd.readouterr().err == ""
    assert simulate(nothing).failure is None


def test_tokens_channels_and_generators_that_remain_are_named() -> None:
    async def generate() -> AsyncGenerator[int]:
        yield 1
        yield 2

    kept: list[Any] = []

    async def leave() -> None:
        limiter = trio.CapacityLimiter(1)
        limiter.acquire_on_behalf_of_nowait("somebody")
        send, _ = trio.open_memory_channel[int](3)
        send.send_nowait(7)
        generator = generate()
        await anext(generator)
        kept.append(generator)

    def held(**settings: Any) -> None:
        with HeldRun(**settings) as run:
            run.do(leave)

    with pytest.raises(ResourceLeft) as caught:
        held()
    told = str(caught.value)
    assert "borrowed" in told
    assert "unread" in told
    assert "generate" in told
    kept.clear()
    with pytest.raises(ResourceLeft) as caught:
        held(resources=False)
    assert "borrowed" not in str(caught.value)
    kept.clear()
    gc.collect()


def test_one_that_ended_takes_no_more_calls() -> None:
    with HeldRun() as run:
        pass
    for call in (run.settle, lambda: run.do(nothing), lambda: run.start(nothing), lambda: run.advance(1)):
        with pytest.raises(NotSimulated, match="a held run that has ended"):
            call()


async def test_within_a_trio_run_it_is_refused() -> None:
    with pytest.raises(NotSimulated, match="within a Trio run"):
        HeldRun().__enter__()


def test_two_at_a_time_are_refused_and_the_first_goes_on() -> None:
    with HeldRun() as run:
        with pytest.raises(NotSimulated), HeldRun():
            pass
        assert run.do(give, 1) == 1


def test_a_strategy_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="strategy: found 'wlak'"):
        HeldRun(strategy="wlak")


def test_nothing_is_left_of_a_hundred_runs() -> None:
    hooks = sys.get_asyncgen_hooks()
    for seed in range(100):
        with HeldRun(seed=seed) as run:
            run.start(trio.sleep_forever)
            run.do(give, seed)
    assert sys.get_asyncgen_hooks() == hooks
    assert trio.lowlevel.in_trio_run() is False
