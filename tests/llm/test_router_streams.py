"""Claims of llm/streaming.py: an answer on its way, begun again only while nothing of it was handed out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, final

import pytest
import trio

from phloem.errors import AuthenticationError, BackendError, ProviderError, RateLimitError, TruncatedError
from phloem.llm.requests import Deltas, LLMDelta, LLMRequest, LLMResponse
from phloem.llm.router import Router
from support.faulty import Port, gives, hangs, once, raises
from support.llm_fakes import Dice, Fake, StreamingFake, Telling, answer, asked, at_rest, routing


async def told(router: Router, **keywords: Any) -> tuple[list[str], LLMResponse]:
    async with router.stream(asked(**keywords)) as deltas:
        texts = [delta.text async for delta in deltas]
        return texts, deltas.response


async def into(got: list[str], deltas: Deltas, each: float = 0.0) -> None:
    """Read on to the end, with so many seconds of work for each piece."""
    async for delta in deltas:
        await trio.sleep(each)
        got.append(delta.text)


async def test_pieces_come_as_they_are_told_and_the_whole_at_the_end(autojump_clock: Any) -> None:
    fake = StreamingFake([1, "Hel", 2, LLMDelta(reasoning="hm"), 3, "lo"])
    times = []
    async with routing(fake) as router, router.stream(asked()) as deltas:
        assert trio.current_time() == 1.0, "entered once the first piece is there"
        with pytest.raises(RuntimeError, match="not whole"):
            _ = deltas.response
        got = []
        async for delta in deltas:
            got.append(delta)
            times.append(trio.current_time())
        assert got == [LLMDelta("Hel"), LLMDelta(reasoning="hm"), LLMDelta("lo")]
        assert times == [1.0, 3.0, 6.0]
        whole = deltas.response
        assert (whole.content, whole.backend, whole.model) == ("Hello", "a", "m")
        assert router.backends[0].running == 1, "its place is given back when it is left"
        with pytest.raises(StopAsyncIteration):
            await deltas.__anext__()
    assert fake.requests[0].stream
    assert (fake.open, router.backends[0].tokens) == (0, 30)


async def test_pieces_with_nothing_in_them_are_not_told() -> None:
    async with routing(StreamingFake(["", LLMDelta(), "a", "", "b", ""])) as router:
        texts, whole = await told(router)
    assert (texts, whole.content) == (["a", "b"], "ab")


async def test_an_answer_without_a_piece_is_whole_too() -> None:
    async with routing(StreamingFake([])) as router:
        texts, whole = await told(router)
    assert (texts, whole.content) == ([], "")


async def test_a_backend_that_cannot_stream_gives_one_piece() -> None:
    given = LLMResponse("all of it", reasoning="thought")
    async with routing(Fake(given, LLMResponse(""))) as router:
        async with router.stream(asked()) as deltas:
            assert [delta async for delta in deltas] == [LLMDelta("all of it", "thought")]
            assert deltas.response.content == "all of it"
        assert (await told(router))[0] == []
        assert at_rest(router)


# -- before the first piece -------------------------------------------------------------------------
@pytest.mark.parametrize(
    "begins",
    [
        ProviderError("x", status_code=503),
        [ProviderError("x", status_code=503)],
        [1, BackendError("x")],
        [1, TruncatedError("x", partial="")],
        ["", LLMDelta(), BackendError("x")],
        [StopAsyncIteration],
        [b"no delta"],
    ],
)
async def test_until_the_first_piece_another_attempt_is_made(begins: Any, autojump_clock: Any) -> None:
    first, second = StreamingFake(begins), StreamingFake(["a", "b"])
    async with routing(first, second) as router:
        assert (await told(router))[0] == ["a", "b"]
        assert (first.open, len(first.calls), len(second.calls)) == (0, 1, 1)
        assert at_rest(router)


async def test_the_same_delays_and_refusals_hold_as_for_whole_answers(autojump_clock: Any) -> None:
    fake = StreamingFake([RateLimitError("x", retry_after=5)], ["a"], AuthenticationError("no"))
    async with routing(fake) as router:
        assert (await told(router))[0] == ["a"]
        with pytest.raises(AuthenticationError):
            await told(router)
    assert fake.times == [0.0, 5.0, 5.0]
    fake = StreamingFake(BackendError("down"))
    async with routing(fake, dice=Dice(1.0)) as router:
        with pytest.raises(BackendError, match="down"):
            await told(router)
    assert [time - 5.0 for time in fake.times] == [0.0, 1.0, 3.0, 7.0]


@pytest.mark.parametrize(
    "slow", [StreamingFake(["a"], entering=50.0), StreamingFake([50, "a"]), Fake(seconds=50.0)]
)
async def test_a_first_piece_that_does_not_come_in_time_is_a_time_out(
    slow: Fake, autojump_clock: Any
) -> None:
    async with routing({"provider": slow, "timeout": 7.0}, StreamingFake(["b"])) as router:
        assert (await told(router))[0] == ["b"]
        assert trio.current_time() == 7.0
        assert at_rest(router)
        assert router.backends[0].failures == 1


@final
class AtTheLastMoment(Telling):
    """Its first piece is there in the very step in which the time-out fires: nothing cuts the wait for it."""

    async def __anext__(self) -> LLMDelta:
        if not self.told:
            with trio.CancelScope(shield=True):  # as a task is that its socket has woken just before
                await trio.sleep(7.0)
            self.told.append(LLMDelta("a"))
            return self.told[0]
        return await super().__anext__()


class Late(StreamingFake):
    @asynccontextmanager
    async def stream(self, request: LLMRequest) -> AsyncIterator[Any]:
        async with super().stream(request):
            yield AtTheLastMoment(["a"])


async def test_a_time_out_at_the_first_piece_is_one_and_cuts_nobody_who_reads_on(autojump_clock: Any) -> None:
    late = Late([])
    async with routing({"provider": late, "timeout": 7.0}, StreamingFake(["b"])) as router:
        assert (await told(router))[0] == ["b"]
        assert router.backends[0].failures == 1
        assert at_rest(router)
    assert late.open == 0


# -- after it ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "ends",
    [
        [BackendError("reset")],
        [TruncatedError("cut", partial="unseen and seen")],
        [ProviderError("overloaded", status_code=529)],
        [AuthenticationError("no more")],
        [StopAsyncIteration],
        [b"no delta"],
    ],
)
async def test_what_breaks_off_carries_all_that_was_handed_out_and_is_not_tried_again(
    ends: list[Any], autojump_clock: Any
) -> None:
    first, second = StreamingFake(["Hel", LLMDelta(reasoning="hm"), "lo", *ends]), StreamingFake(["b"])
    got: list[str] = []
    async with routing(first, second) as router:
        async with router.stream(asked()) as deltas:
            with pytest.raises(TruncatedError, match="broke off after 5 characters") as caught:
                await into(got, deltas)
            with pytest.raises(RuntimeError, match="not whole"):
                _ = deltas.response
            with pytest.raises(TruncatedError):
                await deltas.__anext__()
        assert at_rest(router)
        assert router.backends[0].failures == 1
    assert caught.value.partial == "".join(got) == "Hello"
    assert (caught.value.backend, caught.value.model) == ("a", "m")
    assert (first.open, second.calls) == (0, [])


async def test_the_time_out_is_for_the_whole_stream(autojump_clock: Any) -> None:
    fake = StreamingFake(["a", 4, "b", 4, "c", 4, "d"])
    async with routing({"provider": fake, "timeout": 10.0}) as router:
        with pytest.raises(TruncatedError, match="no whole answer within 10 s") as caught:
            await told(router)
        assert trio.current_time() == 10.0
        assert at_rest(router)
    assert (caught.value.partial, fake.open) == ("abc", 0)


async def test_it_does_not_fire_in_the_callers_own_code(autojump_clock: Any) -> None:
    async with routing({"provider": StreamingFake(["a", "b", 1, "c"]), "timeout": 10.0}) as router:
        got: list[str] = []
        async with router.stream(asked()) as deltas:
            with pytest.raises(TruncatedError) as caught:
                await into(got, deltas, 11.0)
        assert got == ["a"], "nor does it hold the time of a caller that is slow for free"
        assert caught.value.partial == "a"


async def test_what_had_come_is_counted_when_nobody_reads_on(autojump_clock: Any) -> None:
    fake = StreamingFake(["x" * 40, LLMDelta(reasoning="y" * 40), 100, "z"])
    async with routing(fake) as router:
        async with router.stream(asked(tokens=1_000)) as deltas:
            await deltas.__anext__()
            await deltas.__anext__()
        assert (router.backends[0].tokens, router.backends[0].failures) == (16 + 20, 0)
        assert at_rest(router)
        with pytest.raises(KeyError, match="the caller's"):
            async with router.stream(asked()):
                raise KeyError("the caller's")
        assert at_rest(router)
    assert fake.open == 0


# -- faults on purpose ------------------------------------------------------------------------------
@pytest.mark.parametrize("act", [hangs, gives(42), raises(lambda: BackendError("x"))])
@pytest.mark.parametrize("kind", [Fake, lambda: StreamingFake(["yes"])])
async def test_a_fault_before_the_first_piece_costs_an_attempt(
    act: Any, kind: Any, autojump_clock: Any
) -> None:
    fake, port = kind(), Port({"provider": once(act)})
    async with routing(fake, faults=port) as router:
        assert (await told(router))[0] == ["yes"]
        assert at_rest(router)
    assert port.visits == [("provider", "a")] * 2
    assert fake.running == 0


async def test_an_answer_that_a_fault_makes_of_a_stream_is_told_as_one_piece() -> None:
    fake = StreamingFake(["yes"])
    async with routing(fake, faults=Port({"provider": gives(answer("other"))})) as router:
        assert (await told(router))[0] == ["other"]
    assert fake.open == 0
