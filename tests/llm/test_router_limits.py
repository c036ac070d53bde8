"""Claims of llm/gateway.py: tokens a minute, places, and how backends are made and closed."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import UNMETERED_TPM
from phloem.errors import BackendError, ConfigurationError, NoBackend
from phloem.llm.requests import LLMRequest, LLMResponse
from phloem.llm.router import open_router
from phloem.llm.settings import read_settings
from support.llm_fakes import Dice, Fake, Watch, answer, asked, at_rest, routing


# -- tokens a minute --------------------------------------------------------------------------------
async def test_tokens_a_minute_are_kept_to_the_second(autojump_clock: Any) -> None:
    fake = Fake(answer(tokens=600))
    async with routing({"provider": fake, "rate_limit_tpm": 1_200}) as router:
        async with trio.open_nursery() as nursery:
            for _ in range(7):
                nursery.start_soon(router.complete, asked(tokens=600))
                await trio.testing.wait_all_tasks_blocked()
        assert at_rest(router)
        assert router.backends[0].tokens == 7 * 600
    assert fake.times == [0.0, 0.0, 30.0, 60.0, 90.0, 120.0, 150.0]


async def test_the_real_usage_counts_once_it_is_known(autojump_clock: Any) -> None:
    fake = Fake(answer(tokens=100))  # of 600 reserved
    async with routing({"provider": fake, "rate_limit_tpm": 600}) as router:
        for _ in range(8):
            await router.complete(asked(tokens=600))
    assert fake.times == [10.0 * number for number in range(8)]


async def test_a_backend_that_tells_no_usage_is_counted_by_estimate(autojump_clock: Any) -> None:
    async with routing(Fake(LLMResponse("x" * 40))) as router:
        await router.complete(asked(tokens=600))
        assert router.backends[0].tokens == 16 + 10
        assert router.backends[0].available == UNMETERED_TPM - 26
        await router.complete(asked(tokens=20))
        assert router.backends[0].tokens == 26 + 20, "and never as more than was reserved"


async def test_a_failed_attempt_gives_its_reservation_back(autojump_clock: Any) -> None:
    fake = Fake(BackendError("down"), answer(tokens=600))
    async with routing({"provider": fake, "rate_limit_tpm": 600}, dice=Dice(1.0)) as router:
        await router.complete(asked(tokens=600))
    assert fake.times == [0.0, 1.0]


async def test_a_request_larger_than_the_bucket_fails_at_once(autojump_clock: Any) -> None:
    fake = Fake()
    async with routing({"provider": fake, "rate_limit_tpm": 600}) as router:
        with pytest.raises(
            NoBackend, match=r"about 601 tokens .16 asked, at most 585 answered.*rate_limit_tpm.*'a' 600"
        ):
            await router.complete(asked(tokens=601))
        with pytest.raises(NoBackend):
            async with router.stream(asked(tokens=601)):
                pass
        await router.complete(asked(tokens=600))
    assert fake.times == [0.0]


@pytest.mark.parametrize("strategy", ["failover", "round-robin", "least-loaded"])
async def test_a_backend_with_a_larger_bucket_is_chosen_instead(strategy: str, autojump_clock: Any) -> None:
    small, large = {"provider": Fake(), "rate_limit_tpm": 600}, {"provider": Fake(), "rate_limit_tpm": 601}
    async with routing(small, large, strategy=strategy) as router:
        for _ in range(3):
            assert (await router.complete(asked(tokens=601))).backend == "b"


async def test_who_waits_for_tokens_holds_no_place(autojump_clock: Any) -> None:
    """One place; one call waits a minute for its tokens, a small one behind it, and nobody is running."""
    fake = Fake(answer(tokens=600), answer(tokens=600), answer())
    async with routing({"provider": fake, "rate_limit_tpm": 600, "max_concurrent": 1}) as router:
        await router.complete(asked(tokens=600))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.complete, asked(tokens=600))
            await trio.sleep(30)
            (view,) = router.backends
            assert (view.running, view.waiting, view.reserved, view.available) == (0, 1, 0, 300.0)
    assert fake.times == [0.0, 60.0]


# -- places -----------------------------------------------------------------------------------------
async def test_no_more_calls_run_at_once_than_there_are_places(autojump_clock: Any) -> None:
    fake = Fake(seconds=3.0)
    async with routing({"provider": fake, "max_concurrent": 4}) as router:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(router.complete, asked())
            await trio.testing.wait_all_tasks_blocked()
            assert (router.backends[0].running, router.backends[0].waiting) == (4, 6)
        assert at_rest(router)
    assert (fake.most, fake.times) == (4, [0.0] * 4 + [3.0] * 4 + [6.0] * 2)


async def test_one_task_may_have_two_calls_one_in_the_other() -> None:
    async def nested(request: LLMRequest) -> LLMResponse:
        return answer("outer") if request.agent else await router.complete(asked(agent="inner"))

    async with routing({"provider": Fake(nested), "max_concurrent": 2}) as router:
        assert (await router.complete(asked())).content == "outer"


# -- made and closed --------------------------------------------------------------------------------
async def test_a_factory_gets_the_entrys_keys_as_they_are_written() -> None:
    got: list[dict[str, Any]] = []

    def make(**keys: Any) -> Fake:
        got.append(keys)
        return Fake()

    async with routing({"provider": make, "region": "eu", "timeout": 3, "name": "mine"}) as router:
        assert (await router.complete(asked("mine/x"))).backend == "mine"
    assert got == [{"region": "eu", "timeout": 3, "name": "mine"}]


async def test_the_scripted_backend_is_made_of_its_script() -> None:
    entry = {"provider": "scripted", "script": ["one", "two"], "priority": 3}
    async with routing(entry) as router:
        answers = [(await router.complete(asked(tokens=100))).content for _ in range(2)]
        assert answers == ["one", "two"]


def explodes(**_: Any) -> Fake:
    raise OSError("no disk")


async def coroutine(**_: Any) -> Fake:
    return Fake()


async def test_all_backends_that_cannot_be_made_are_said_at_once() -> None:
    entries = (
        {"provider": explodes},
        {"provider": lambda: 3},
        {"provider": lambda **_: 3},
        {"provider": coroutine},
    )
    with pytest.raises(ConfigurationError) as caught:
        async with routing(*entries):
            raise AssertionError("it opened")
    assert [fault.where for fault in caught.value.faults] == [f"backend '{name}'" for name in "abcd"]
    first, second, third, fourth = [fault.found for fault in caught.value.faults]
    assert first == "OSError: no disk"
    assert "unexpected keyword argument 'name'" in second
    assert (third, fourth) == ("3 of its factory", "an async function")


class Closing(Fake):
    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.closing, self.closed = seconds, 0

    async def aclose(self) -> None:
        await trio.sleep(self.closing)
        self.closed += 1


class Entered(Closing):
    inside = False

    async def __aenter__(self) -> Entered:
        self.inside = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.inside = False


async def test_backends_are_closed_with_the_router(autojump_clock: Any) -> None:
    plain, entered, slow = Closing(), Entered(), Closing(seconds=3_600)
    async with routing(plain, entered, slow) as router:
        await router.complete(asked())
        assert entered.inside
        assert plain.closed == 0
    assert (plain.closed, entered.inside, entered.closed, slow.closed) == (1, False, 0, 0)
    assert trio.current_time() == 2.0, "nobody waits longer for one that does not close"


async def test_they_are_closed_also_where_all_is_cancelled_or_one_cannot_be_made(autojump_clock: Any) -> None:
    backend = Closing(seconds=1.0)
    with trio.CancelScope() as scope:
        async with routing(backend):
            scope.cancel()
            await trio.sleep_forever()
    assert (backend.closed, trio.current_time()) == (1, 1.0)
    with pytest.raises(ConfigurationError):
        async with routing(backend, {"provider": explodes}):
            pass
    assert backend.closed == 2


async def test_a_router_without_backends_opens_and_says_so_when_asked() -> None:
    async with open_router(read_settings({}, {}), random=Dice(), clock=Watch()) as router:
        assert router.statistics() == {}
        with pytest.raises(NoBackend, match="none is configured"):
            await router.complete(asked())
