"""Claims of llm/router.py: which backend a request goes to, what is filled in, what strategies do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import UNMETERED_TPM
from phloem.errors import BackendError, ConfigurationError, NoBackend, ProviderError
from phloem.llm.requests import LLMMessage, LLMRequest, LLMResponse, TokenUsage
from phloem.llm.router import Router, open_router
from phloem.llm.settings import read_settings
from support.llm_fakes import Dice, Fake, Watch, answer, asked, at_rest, routing


async def who(router: Router, count: int, request: LLMRequest | None = None) -> list[str]:
    """Who answers so many calls, one after the other."""
    return [(await router.complete(request or asked())).backend for _ in range(count)]


# -- what goes out and what comes back -------------------------------------------------------------
async def test_what_a_request_leaves_open_is_filled_in() -> None:
    fake = Fake()
    defaults = {"temperature": 0.25, "max_tokens": 77}
    async with routing(fake, default_model="a/house", defaults=defaults) as router:
        await router.complete(LLMRequest([LLMMessage("user", "x")]))
        await router.complete(
            LLMRequest([LLMMessage("user", "x")], "other", 0.0, 1, ({"name": "t"},), True, "me", "c-1")
        )
    first, second = fake.requests
    assert (first.model, first.temperature, first.max_tokens) == ("house", 0.25, 77)
    assert (second.model, second.temperature, second.max_tokens) == ("other", 0.0, 1)
    assert (second.tools, second.agent, second.conversation) == (({"name": "t"},), "me", "c-1")
    assert not second.stream, "whoever wants it whole does not ask for pieces"


async def test_the_answer_says_who_gave_it_and_under_which_name() -> None:
    given = LLMResponse("yes", "house-2031-05-17", TokenUsage(1, 2), raw={"id": 1}, backend="liar")
    async with routing(Fake(given)) as router:
        got = await router.complete(asked("a/house"))
    assert (got.backend, got.model, got.content, got.raw) == ("a", "house", "yes", {"id": 1})


async def test_without_a_model_and_a_default_it_is_the_configuration_that_is_wrong() -> None:
    async with routing(Fake()) as router:
        with pytest.raises(ConfigurationError, match=r"llm\.default_model"):
            await router.complete(asked(""))
        with pytest.raises(ConfigurationError, match=r"llm\.default_model"):
            async with router.stream(asked("")):
                pass


async def test_a_model_that_nobody_takes_is_said_with_what_each_takes() -> None:
    one, two = (
        {"provider": Fake(), "supported_models": ["llama*"]},
        {"provider": Fake(), "supported_models": ["q"]},
    )
    async with routing(one, two) as router:
        with pytest.raises(NoBackend, match=r"'grok-4': 'a' takes llama\*; 'b' takes q") as caught:
            await router.complete(asked("grok-4"))
    assert caught.value.model == "grok-4"


async def test_without_any_backend_those_that_were_left_out_are_named() -> None:
    left_out = {"provider": "xai", "name": "a", "optional": True}
    settings = read_settings({"backends": [left_out]}, {})
    async with open_router(settings, random=Dice(), clock=Watch()) as router:
        with pytest.raises(
            NoBackend, match=r"none is configured; 'a' was left out, for XAI_API_KEY is not set"
        ):
            await router.complete(asked("grok-4"))


async def test_a_backend_by_its_name_gets_the_bare_model_and_no_other_is_tried() -> None:
    first, second = Fake(), Fake(ProviderError("no", status_code=500))
    async with routing(first, second, retries=0) as router:
        with pytest.raises(ProviderError):
            await router.complete(asked("B/some/model"))
    assert (first.calls, second.requests[0].model) == ([], "some/model")


async def test_who_takes_a_model_by_its_name_goes_before_who_takes_any(autojump_clock: Any) -> None:
    anything, named = Fake(), Fake(BackendError("down"), answer())
    entries = ({"provider": anything, "priority": -9}, {"provider": named, "supported_models": ["grok*"]})
    async with routing(*entries) as router:
        assert await who(router, 1, asked("grok-4")) == ["a"], "the other one is down for a moment"
        assert (len(named.calls), len(anything.calls)) == (1, 1)
        await trio.sleep(1)
        assert await who(router, 2, asked("grok-4")) == ["b", "b"]
        assert await who(router, 1, asked("llama")) == ["a"]


async def test_a_404_of_who_takes_any_model_does_not_end_what_others_are_named_for(
    autojump_clock: Any,
) -> None:
    anything = Fake(ProviderError("no such model", status_code=404))
    named = Fake(BackendError("down"), answer())
    entries = (anything, {"provider": named, "supported_models": ["grok*"]})
    async with routing(*entries, dice=Dice(0.5)) as router:
        assert await who(router, 1, asked("grok-4")) == ["b"]
        assert (anything.times, named.times) == ([0.0], [0.0, 0.5])
        with pytest.raises(ProviderError):
            await router.complete(asked("llama"))
    async with routing(
        anything, {"provider": Fake(BackendError("down")), "supported_models": ["g"]}
    ) as router:
        with pytest.raises(BackendError, match="down") as caught:
            await router.complete(asked("g"))
    assert type(caught.value) is BackendError
    assert "attempt 2: a: no such model" in caught.value.__notes__[0]


# -- strategies -------------------------------------------------------------------------------------
async def test_failover_goes_by_priority_then_by_the_order_of_the_file(autojump_clock: Any) -> None:
    fakes = [Fake(*([BackendError("down")] * 9)) for _ in range(4)]
    last, first, second, third = [
        {"provider": fake, "priority": priority} for fake, priority in zip(fakes, (7, 1, 2, 2), strict=True)
    ]
    async with routing(last, first, second, third, dice=Dice(1.0)) as router:
        with pytest.raises(BackendError) as caught:
            await router.complete(asked())
        assert caught.value.backend == "a"
        assert caught.value.__notes__ == [
            "attempt 1: b: down\nattempt 2: c: down\nattempt 3: d: down\nattempt 4: a: down"
        ]
        assert [fake.times for fake in fakes] == [[0.0]] * 4, "nobody waits while another is free"


async def test_failover_comes_back_to_the_first_once_it_is_up(autojump_clock: Any) -> None:
    first = Fake(BackendError("down"), answer())
    async with routing(first, Fake(), dice=Dice(1.0)) as router:
        assert await who(router, 2) == ["b", "b"]
        await trio.sleep(1)
        assert await who(router, 2) == ["a", "a"]


async def test_round_robin_is_exactly_even() -> None:
    async with routing(Fake(), Fake(), Fake(), strategy="round-robin") as router:
        assert await who(router, 7) == ["a", "b", "c", "a", "b", "c", "a"]
        async with trio.open_nursery() as nursery:
            for _ in range(299):
                nursery.start_soon(router.complete, asked())
        assert [view.attempts for view in router.backends] == [102, 102, 102]


async def test_round_robin_is_even_over_the_backends_of_each_model() -> None:
    def entry(*models: str) -> dict[str, Any]:
        return {"provider": Fake(), "supported_models": models}

    async with routing(entry("x", "y"), entry("x"), entry("y"), strategy="round-robin") as router:
        got = [(await router.complete(asked(model))).backend for model in "xyxyxyxy"]
    assert got[::2] == ["a", "b", "a", "b"]
    assert got[1::2] == ["a", "c", "a", "c"]


async def test_round_robin_passes_over_who_is_out_and_stays_even(autojump_clock: Any) -> None:
    broken = Fake(ProviderError("down", status_code=503), answer())
    async with routing(Fake(), broken, Fake(), strategy="round-robin", dice=Dice(1.0)) as router:
        assert await who(router, 4) == ["a", "c", "a", "c"]
        await trio.sleep(1)
        assert await who(router, 4) == ["a", "b", "c", "a"]


async def test_least_loaded_splits_by_what_runs_and_waits(autojump_clock: Any) -> None:
    slow, fast = Fake(seconds=9.0), Fake(seconds=1.0)
    async with routing(slow, fast, strategy="least-loaded") as router, trio.open_nursery() as nursery:
        for second in range(20):
            nursery.start_soon(router.complete, asked())
            await trio.sleep_until(second + 0.5)
    # The first goes to a, then b is free each second but where both have none: at 9.0 (+ 0.5), twice.
    assert Counter(time // 1 for time in slow.times) == Counter({0.0: 1, 9.0: 1, 18.0: 1})
    assert len(slow.calls) + len(fast.calls) == 20


async def test_least_loaded_counts_those_that_wait(autojump_clock: Any) -> None:
    narrow = {"provider": Fake(seconds=5.0), "max_concurrent": 1}
    wide = Fake(seconds=5.0)
    async with routing(narrow, wide, strategy="least-loaded") as router, trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(router.complete, asked())
        await trio.testing.wait_all_tasks_blocked()
        one, two = router.backends
        assert (one.running, one.waiting, two.running, two.waiting) == (1, 3, 4, 0)


async def test_least_loaded_takes_the_first_in_rank_of_equals() -> None:
    async with routing(
        {"provider": Fake(), "priority": 2}, Fake(), Fake(), strategy="least-loaded"
    ) as router:
        assert await who(router, 3) == ["b", "b", "b"]


# -- readings and probes ----------------------------------------------------------------------------
async def test_statistics_tell_of_each_backend(autojump_clock: Any) -> None:
    failing = Fake(ProviderError("down", status_code=529))
    limited = {"provider": Fake(answer(tokens=30), seconds=2.0), "rate_limit_tpm": 600}
    async with routing(failing, limited, dice=Dice(1.0), retry_base_delay=8.0) as router:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.complete, asked(tokens=100))
            await trio.sleep(1)
            assert router.statistics() == {
                "a": {
                    "name": "a",
                    "provider": "custom",
                    "up": False,
                    "out_for": 7.0,
                    "running": 0,
                    "waiting": 0,
                    "attempts": 1,
                    "failures": 1,
                    "tokens": 0,
                    "reserved": 0,
                    "available": float(UNMETERED_TPM),
                },
                "b": {
                    "name": "b",
                    "provider": "custom",
                    "up": True,
                    "out_for": 0.0,
                    "running": 1,
                    "waiting": 0,
                    "attempts": 1,
                    "failures": 0,
                    "tokens": 0,
                    "reserved": 100,
                    "available": 510.0,
                },
            }
        assert router.statistics()["b"]["tokens"] == 30
        assert router.statistics()["b"]["reserved"] == 0
        await trio.sleep(6)
        assert router.statistics()["a"]["up"]
        assert [view.name for view in router.backends] == ["a", "b"]


async def test_a_probe_asks_one_backend_once(autojump_clock: Any) -> None:
    first, second = Fake(), Fake(BackendError("down"), answer())
    async with routing(first, second, dice=Dice(1.0)) as router:
        with pytest.raises(BackendError, match="down"):
            await router.probe("B", "m")
        with pytest.raises(NoBackend, match="backend 'b' is out for 1 s"):
            await router.probe("b", "m")
        await trio.sleep(1)
        assert (await router.probe("b", "m")).backend == "b"
        with pytest.raises(NoBackend, match="found the backend 'c', expected one of: 'a', 'b'"):
            await router.probe("c", "m")
    (request, _), none = second.requests, first.requests
    assert none == []
    assert (request.model, request.max_tokens) == ("m", 1)
    assert [each.content for each in request.messages] == ["ping"]


async def test_a_probe_finds_a_model_that_the_configuration_names() -> None:
    fakes = [Fake(), Fake(), Fake()]
    entries = (
        {"provider": fakes[0], "supported_models": ["x*", "xyz"]},
        {"provider": fakes[1], "supported_models": ["house", "y"]},
        fakes[2],
    )
    async with routing(*entries, default_model="b/house") as router:
        for name in "abc":
            await router.probe(name)
    assert [fake.requests[0].model for fake in fakes] == ["xyz", "house", "c"]


async def test_a_probe_waits_for_its_tokens_as_any_call(autojump_clock: Any) -> None:
    fake = Fake(answer(tokens=60))
    async with routing({"provider": fake, "rate_limit_tpm": 60}) as router:
        await router.probe("a")
        await router.probe("a")
        assert at_rest(router)
    assert fake.times == [0.0, 18.0], "17 + 1 of 60 a minute"
