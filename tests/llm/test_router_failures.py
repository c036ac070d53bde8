"""Claims of llm/router.py: what a failure means, how long is waited for whom, and what the caller is told."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from phloem.errors import (
    AuthenticationError,
    BackendError,
    NoBackend,
    ProviderError,
    RateLimitError,
    TruncatedError,
)
from phloem.llm.requests import LLMResponse
from phloem.testing.faults import ANSWERS
from support.faulty import Port, gives, hangs, once, raises
from support.llm_fakes import Dice, Fake, answer, asked, at_rest, routing

DOWN = [BackendError("connection refused")]


@pytest.mark.parametrize("status", [500, 502, 503, 529, 408, 425])
async def test_a_servers_fault_is_backed_off_from_with_full_jitter(status: int, autojump_clock: Any) -> None:
    fake, dice = Fake(*[ProviderError("x", status_code=status)] * 3, answer()), Dice(0.5, 0.75, 0.125)
    async with routing(fake, dice=dice) as router:
        assert (await router.complete(asked())).content == "yes"
        assert at_rest(router)
    assert fake.times == [0.0, 0.5, 0.5 + 1.5, 2.0 + 0.5]
    assert dice.rolled == 3


async def test_the_backoff_has_a_bound(autojump_clock: Any) -> None:
    fake = Fake(*DOWN * 6, answer())
    async with routing(fake, dice=Dice(1.0), retries=6, retry_base_delay=2, retry_max_delay=5) as router:
        await router.complete(asked())
    assert fake.times == [0.0, 2.0, 6.0, 11.0, 16.0, 21.0, 26.0]


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_there_are_as_many_attempts_as_retries_and_one_over_all_backends(
    retries: int, autojump_clock: Any
) -> None:
    fakes = [Fake(*DOWN), Fake(*DOWN)]
    async with routing(*fakes, retries=retries) as router:
        with pytest.raises(BackendError, match="connection refused"):
            await router.complete(asked())
        assert at_rest(router)
    assert sum(len(fake.calls) for fake in fakes) == retries + 1


@pytest.mark.parametrize(
    "error",
    [
        ProviderError("bad request", status_code=400),
        ProviderError("no such model", status_code=404),
        AuthenticationError("refused"),
        NoBackend("of its own"),
    ],
)
async def test_any_other_refusal_is_final_and_holds_back_nobody(error: BackendError) -> None:
    first, second = Fake(error, answer()), Fake()
    async with routing(first, second) as router:
        with pytest.raises(type(error)) as caught:
            await router.complete(asked())
        assert caught.value is error
        assert (error.backend, error.model) == ("a", "m")
        assert (await router.complete(asked())).backend == "a"
    assert second.calls == []


async def test_a_cut_answer_is_asked_for_again(autojump_clock: Any) -> None:
    fake = Fake(TruncatedError("cut", partial="x" * 400), answer(tokens=7))
    async with routing(fake) as router:
        assert (await router.complete(asked(tokens=1_000))).content == "yes"
        assert router.statistics()["a"]["tokens"] == 16 + 100 + 7, "what had arrived was paid for"


@pytest.mark.parametrize("given", [None, 42, "yes", LLMResponse(None), LLMResponse("x", usage=None)])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def test_an_answer_that_is_none_is_asked_for_again(given: Any, autojump_clock: Any) -> None:
    fake = Fake(given, answer())
    async with routing(fake) as router:
        assert (await router.complete(asked())).content == "yes"
    fake = Fake(given)
    async with routing(fake, retries=0) as router:
        with pytest.raises(BackendError, match="backend 'a' gave"):
            await router.complete(asked())


async def test_what_else_a_backend_raises_goes_to_the_caller_and_nothing_is_kept(autojump_clock: Any) -> None:
    fake = Fake(KeyError("a bug"))
    async with routing(fake, Fake()) as router:
        with pytest.raises(KeyError, match="a bug"):
            await router.complete(asked())
        assert at_rest(router)
        assert router.backends[0].up
        assert (router.backends[0].attempts, router.backends[0].failures) == (1, 1)


# -- rate limits ------------------------------------------------------------------------------------
async def test_a_wait_that_is_asked_for_is_waited_to_the_second(autojump_clock: Any) -> None:
    fake, dice = Fake(RateLimitError("slow down", retry_after=17.25), answer()), Dice(1.0)
    async with routing(fake, dice=dice) as router:
        await router.complete(asked())
    assert (fake.times, dice.rolled) == ([0.0, 17.25], 0)


async def test_meanwhile_the_others_are_asked(autojump_clock: Any) -> None:
    first, second = Fake(RateLimitError("x", retry_after=30), answer()), Fake()
    async with routing(first, second) as router:
        for _ in range(5):
            await router.complete(asked())
            await trio.sleep(10)
    assert (first.times, second.times) == ([0.0, 30.0, 40.0], [0.0, 10.0, 20.0])


async def test_one_that_asks_for_more_than_the_longest_delay_is_out_and_the_next_one_is_asked(
    autojump_clock: Any,
) -> None:
    first, second = Fake(RateLimitError("x", retry_after=3_600), answer()), Fake(*DOWN, answer())
    async with routing(first, second, dice=Dice(1.0)) as router:
        assert (await router.complete(asked())).backend == "b"
        assert second.times == [0.0, 1.0], "the earliest of both"
        await trio.sleep_until(3_599.5)
        assert (await router.complete(asked())).backend == "b"
        await trio.sleep(0.5)
        assert (await router.complete(asked())).backend == "a"


# -- all down ---------------------------------------------------------------------------------------
async def test_when_all_are_down_the_earliest_is_waited_for(autojump_clock: Any) -> None:
    first, second = (
        Fake(RateLimitError("x", retry_after=9), answer()),
        Fake(RateLimitError("x", retry_after=4), answer()),
    )
    async with routing(first, second) as router:
        assert (await router.complete(asked())).backend == "b"
    assert second.times == [0.0, 4.0]


async def test_a_backend_that_is_back_too_late_is_not_waited_for(autojump_clock: Any) -> None:
    fake = Fake(RateLimitError("slow down", retry_after=30.0), answer())
    async with routing(fake) as router:
        with trio.fail_after(20), pytest.raises(RateLimitError, match="slow down"):
            await router.complete(asked())
        assert trio.current_time() == 0.0, "it says so at once"
        with (
            trio.fail_after(20),
            pytest.raises(NoBackend, match="before the caller's deadline; out are 'a' for 30 s"),
        ):
            await router.complete(asked())
        assert trio.current_time() == 0.0
        with trio.fail_after(31):
            await router.complete(asked())
    assert fake.times == [0.0, 30.0]


async def test_only_the_callers_own_deadline_counts_not_one_behind_a_shield(autojump_clock: Any) -> None:
    async with routing(Fake(RateLimitError("x", retry_after=30.0), answer())) as router:
        with trio.move_on_after(5), trio.CancelScope(shield=True):
            await router.complete(asked())
        assert trio.current_time() == 30.0


async def test_in_a_scope_that_is_cancelled_it_is_cancelled_and_no_backend_is_blamed(
    autojump_clock: Any,
) -> None:
    async with routing(Fake(RateLimitError("x", retry_after=30.0), answer()), retries=0) as router:
        with pytest.raises(RateLimitError):
            await router.complete(asked())
        with trio.CancelScope() as scope:
            scope.cancel()
            await router.complete(asked())
        assert scope.cancelled_caught


async def test_a_delay_of_nothing_still_gives_the_other_its_turn() -> None:
    first, second = Fake(*DOWN, answer()), Fake()
    async with routing(first, second, dice=Dice(0.0)) as router:
        assert (await router.complete(asked())).backend == "b"


async def test_who_waited_for_its_turn_at_a_backend_that_went_out_asks_another(autojump_clock: Any) -> None:
    """It waits for a place at a; a is then told to slow down; b takes it, and no attempt was made."""

    async def slow_down(request: Any) -> LLMResponse:
        await trio.sleep(2)
        raise RateLimitError("x", retry_after=100)

    first, second = Fake(slow_down), Fake()
    async with routing({"provider": first, "max_concurrent": 1}, second, retries=1) as router:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(router.complete, asked())
        assert at_rest(router)
        assert router.backends[0].attempts == 1
    assert (first.times, second.times) == ([0.0], [2.0, 2.0, 2.0])


async def test_failures_side_by_side_make_one_backoff(autojump_clock: Any) -> None:
    async def fails(request: Any) -> LLMResponse:
        await trio.sleep(1)
        raise BackendError("down")

    fake = Fake(*[fails] * 20, answer())
    async with routing(fake, dice=Dice(1.0), retries=1) as router, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(router.complete, asked())
    assert fake.times == [0.0] * 20 + [2.0] * 20


# -- one deadline for each attempt ------------------------------------------------------------------
async def test_an_attempt_ends_at_its_time_out_and_another_one_follows(autojump_clock: Any) -> None:
    async def silent(request: Any) -> LLMResponse:
        await trio.sleep_forever()
        raise AssertionError

    first, second = Fake(silent), Fake(seconds=1.0)
    async with routing({"provider": first, "timeout": 7.5}, second) as router:
        assert (await router.complete(asked())).backend == "b"
        assert trio.current_time() == 8.5
        assert at_rest(router)
    async with routing({"provider": Fake(silent), "timeout": 3.0}, retries=0) as router:
        with pytest.raises(BackendError, match=r"backend 'a' gave no whole answer within 3 s") as caught:
            await router.complete(asked())
    assert (type(caught.value), caught.value.backend) == (BackendError, "a")


async def test_the_time_out_counts_from_where_the_call_goes_out_not_from_where_it_waits(
    autojump_clock: Any,
) -> None:
    fake = Fake(seconds=4.0)
    async with routing({"provider": fake, "max_concurrent": 1, "timeout": 5.0}, retries=0) as router:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(router.complete, asked())
        assert trio.current_time() == 20.0


async def test_the_callers_own_deadline_goes_first(autojump_clock: Any) -> None:
    async with routing({"provider": Fake(seconds=50.0), "timeout": 40.0}) as router:
        with trio.move_on_after(10) as scope:
            await router.complete(asked())
        assert scope.cancelled_caught
        assert at_rest(router)
        assert (router.backends[0].failures, router.backends[0].up) == (0, True)


# -- faults on purpose ------------------------------------------------------------------------------
async def test_each_attempt_goes_through_the_fault_point_provider() -> None:
    port = Port({"provider": once(raises(lambda: BackendError("injected")))})
    async with routing(Fake(), Fake(), faults=port) as router:
        assert (await router.complete(asked())).backend == "b"
    assert port.visits == [("provider", "a"), ("provider", "b")]


@pytest.mark.parametrize("act", [hangs, gives(42), gives(None), raises(lambda: BackendError("x"))])
async def test_whatever_happens_there_another_attempt_is_made(act: Any, autojump_clock: Any) -> None:
    port = Port({"provider": once(act)})
    async with routing(Fake(), faults=port) as router:
        assert (await router.complete(asked())).content == "yes"
        assert at_rest(router)


@pytest.mark.parametrize("number", range(len(ANSWERS)))
async def test_what_the_plan_has_for_an_answer_is_taken_as_one_or_asked_for_again(
    number: int, autojump_clock: Any
) -> None:
    garbage = ANSWERS[number]()
    is_one = isinstance(garbage, LLMResponse)
    content, usage = getattr(garbage, "content", None), getattr(garbage, "usage", None)
    fits = is_one and content is not None and usage is not None
    async with routing(Fake(), faults=Port({"provider": once(gives(garbage))})) as router:
        assert (await router.complete(asked())).content == (content if fits else "yes")
        assert at_rest(router)


async def test_the_last_error_keeps_its_cause_and_tells_of_those_before(autojump_clock: Any) -> None:
    error = BackendError("down")
    error.__cause__ = OSError("reset")
    async with routing(Fake(ProviderError("busy", status_code=503), error), retries=1) as router:
        with pytest.raises(BackendError) as caught:
            await router.complete(asked())
    assert caught.value is error
    assert isinstance(error.__cause__, OSError)
    assert error.__notes__ == ["attempt 1: a: busy\nattempt 2: a: down"]
