"""The scripted backend behind the router, as any other: tried again, waited for, simulated."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import trio

from phloem.errors import AuthenticationError, BackendError, TruncatedError
from phloem.llm.requests import LLMMessage, LLMRequest
from phloem.llm.router import open_router
from phloem.llm.scripted import Scripted, ScriptedBackend
from phloem.llm.settings import read_settings
from phloem.pump.ports import TrioClock
from phloem.testing import simulate


def asking(text: str = "go on") -> LLMRequest:
    return LLMRequest([LLMMessage("user", text)], agent="buyer")


def routed(*backends: Any, **more: Any) -> Any:
    section = {"backends": list(backends), "default_model": "m", **more}
    return open_router(read_settings(section, {}), random=Random(7), clock=TrioClock())


async def test_what_passes_is_tried_again_and_each_attempt_takes_an_answer(autojump_clock: Any) -> None:
    backend = ScriptedBackend(
        [Scripted(status=529), Scripted(status=429, retry_after=7), Scripted("abc", cut=1), "fine"]
    )
    async with routed(backend, retry_base_delay=0) as router:
        response = await router.complete(asking())
    assert (response.content, response.backend, response.model) == ("fine", "scripted", "m")
    assert backend.calls == 4
    assert {request.model for request in backend.requests} == {"m"}
    assert backend.requests[0].agent == "buyer"
    assert trio.current_time() >= 7


async def test_what_is_final_takes_one_answer(autojump_clock: Any) -> None:
    backend = ScriptedBackend([Scripted("who?", status=401), "never"])
    async with routed(backend) as router:
        with pytest.raises(AuthenticationError, match=r"'scripted': answered 401: who\?"):
            await router.complete(asking())
    assert backend.calls == 1


async def test_a_spent_script_is_not_tried_again(autojump_clock: Any) -> None:
    backend = ScriptedBackend([])
    async with routed(backend) as router:
        with pytest.raises(AssertionError, match=r"found call 1 \(agent 'buyer'\)"):
            await router.complete(asking())
        assert router.backends[0].running == 0
    assert backend.calls == 1


async def test_an_answer_that_never_comes_meets_the_backend_s_timeout(autojump_clock: Any) -> None:
    entry = {"provider": "scripted", "script": [{"text": "abc", "stall": 1}], "timeout": 30}
    async with routed(entry, retries=0) as router:
        with pytest.raises(BackendError, match="within 30 s"):
            await router.complete(asking())
    assert trio.current_time() == 30


async def test_a_stream_comes_through_piece_by_piece_and_breaks_off_with_what_had_come(
    autojump_clock: Any,
) -> None:
    entry = {
        "provider": "scripted",
        "script": [{"chunks": ["ab", "cd"], "pause": 5}, {"text": "abcd", "chunks": 2, "cut": 3}],
    }
    async with routed(entry) as router:
        async with router.stream(asking()) as deltas:
            assert [delta.text async for delta in deltas] == ["ab", "cd"]
            assert deltas.response.content == "abcd"
        async with router.stream(asking()) as deltas:
            assert [(await deltas.__anext__()).text for _ in range(2)] == ["ab", "c"]
            with pytest.raises(TruncatedError) as caught:
                await deltas.__anext__()
    assert caught.value.partial == "abc"


async def test_a_factory_of_one_is_a_provider_too() -> None:
    def factory(*, words: str, **others: Any) -> ScriptedBackend:
        return ScriptedBackend([words])

    async with routed({"provider": factory, "words": "mine"}) as router:
        assert (await router.complete(asking())).content == "mine"


def test_a_simulation_has_it_in_virtual_time_and_always_the_same() -> None:
    answers: list[list[str]] = []

    async def main() -> None:
        entry = {
            "provider": "scripted",
            "script": [
                {"when": {"agent": "buyer"}, "text": "a", "delay": 100},
                {"status": 500},
                {"text": "b", "delay": 1},
            ],
            "repeat": True,
        }
        told: list[str] = []

        async def call(agent: str) -> None:
            request = LLMRequest([LLMMessage("user", "x")], agent=agent)
            content = (await router.complete(request)).content
            told.append(f"{content} {agent} {trio.current_time():.6f}")

        async with routed(entry, retries=9) as router, trio.open_nursery() as nursery:
            for agent in ("buyer", "a", "b", "c"):
                nursery.start_soon(call, agent)
        assert {line[0] for line in told} == {"a", "b"}
        assert router.backends[0].running == 0
        answers.append(told)

    first, again = simulate(main, seed=3), simulate(main, seed=3)
    assert (first.failure, again.failure) == (None, None)
    assert first.virtual_seconds >= 100
    assert first.digest == again.digest
    assert answers[0] == answers[1]
