"""Whoever pays for a call is told once of each attempt that used something, and asked before the next one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from phloem.errors import BackendError, ProviderError, TruncatedError
from phloem.llm.requests import LLMDelta, LLMRequest, LLMResponse, TokenUsage
from phloem.llm.router import UNPAID
from support.llm_fakes import Fake, StreamingFake, answer, asked, at_rest, routing


class Purse:
    """Notes what it is told, and affords so many attempts after the first."""

    def __init__(self, attempts: int = 99) -> None:
        self.attempts = attempts
        self.told: list[tuple[str, int, int] | tuple[str, None]] = []
        self.asked = 0

    def spent(self, backend: str, usage: TokenUsage | None, /) -> None:
        self.told.append(
            (backend, None) if usage is None else (backend, usage.prompt_tokens, usage.completion_tokens)
        )

    def affords(self) -> bool:
        self.asked += 1
        return self.asked <= self.attempts


class Late:
    """Its only piece comes after 5 seconds, whoever is cancelled."""

    response = answer(tokens=9)

    def __init__(self) -> None:
        self.steps = 0

    def __aiter__(self) -> Late:
        return self

    async def __anext__(self) -> LLMDelta:
        self.steps += 1
        if self.steps > 1:
            raise StopAsyncIteration
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        return LLMDelta("x" * 8)


class Slow(Fake):
    @asynccontextmanager
    async def stream(self, request: LLMRequest) -> AsyncIterator[Late]:
        self._begin(request)
        yield Late()


async def test_a_whole_answer_is_told_as_its_provider_does_and_nobody_is_asked() -> None:
    purse = Purse()
    async with routing(Fake(answer(tokens=7), LLMResponse("who knows"))) as router:
        await router.complete(asked(), purse)
        await router.complete(asked(), purse)
    assert purse.told == [("a", 7, 0), ("a", None)]
    assert purse.asked == 0


async def test_each_attempt_of_which_something_came_is_told(autojump_clock: Any) -> None:
    purse = Purse()
    acts = [TruncatedError("x", partial="y" * 40), BackendError("no"), answer(tokens=7)]
    async with routing(Fake(*acts)) as router:
        await router.complete(asked(tokens=100), purse)
        assert router.backends[0].tokens == 16 + 10 + 7
    assert (purse.told, purse.asked) == ([("a", 16, 10), ("a", 7, 0)], 2)


@pytest.mark.parametrize("last", [0, 1, 2])
async def test_what_cannot_be_afforded_is_not_tried(last: int, autojump_clock: Any) -> None:
    purse, fake = Purse(last), Fake(BackendError("no"))
    async with routing(fake, retries=9) as router:
        with pytest.raises(BackendError, match="no") as raised:
            await router.complete(asked(), purse)
        assert at_rest(router)
    assert len(fake.calls) == last + 1
    assert raised.value.__notes__[0] == UNPAID


async def test_nobody_is_asked_about_an_attempt_that_is_not_made(autojump_clock: Any) -> None:
    purse = Purse()
    async with routing(Fake(ProviderError("bad", status_code=400), BackendError("no")), retries=1) as router:
        with pytest.raises(ProviderError):
            await router.complete(asked(), purse)
        assert purse.asked == 0
        with pytest.raises(BackendError):
            await router.complete(asked(), purse)
    assert (purse.asked, purse.told) == (1, [])


async def test_a_stream_is_told_once_however_it_ends(autojump_clock: Any) -> None:
    piece, thought = "x" * 40, LLMDelta(reasoning="y" * 20)
    whole, purse = [piece, thought], Purse()
    fake = StreamingFake(whole, whole, [piece, thought, 100, "z"], [piece, BackendError("gone")])
    async with routing({"provider": fake, "timeout": 10}) as router:
        async with router.stream(asked(tokens=100), purse) as deltas:
            async for _ in deltas:
                pass
        assert purse.told == [("a", 0, 20)]
        async with router.stream(asked(tokens=100), purse):
            pass
        assert purse.told[1:] == [("a", 16, 10)], "its first piece"
        for _ in range(2):
            async with router.stream(asked(tokens=100), purse) as deltas:
                with pytest.raises(TruncatedError):
                    [delta async for delta in deltas]
        assert purse.told[2:] == [("a", 16, 15), ("a", 16, 10)]
        assert purse.asked == 0
        assert router.backends[0].tokens == 20 + 26 + 31 + 26


async def test_a_piece_that_comes_with_the_time_out_is_told_and_the_next_afforded(
    autojump_clock: Any,
) -> None:
    purse, fake = Purse(1), Slow()
    async with routing({"provider": fake, "timeout": 5}, retries=9) as router:
        with pytest.raises(BackendError, match="within 5 s"):
            async with router.stream(asked(tokens=100), purse):
                pass
    assert (purse.told, purse.asked, len(fake.calls)) == ([("a", 16, 2)] * 2, 2, 2)
