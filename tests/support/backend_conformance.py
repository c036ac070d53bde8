"""What every backend must do, whatever is behind it: one suite for each wire format and for the script.

For whoever has a backend to hold to it. A *world* is a backend together with its other side, which the
test controls:

    class World(Protocol):
        backend     what is tested; it streams
        asked       how many requests have reached the other side, answered or not
        prepare(*plans)         the next requests meet these, one each and in this order
        async until_asked(n)    returns as soon as ``asked`` is n or more
        async until_gone(n)     returns as soon as the other side knows that n of its callers hung up

and a ``Plan`` says what one request meets. A file runs the suite so, with a fixture of its own:

    @pytest.mark.parametrize("case", CASES, ids=[case.__name__ for case in CASES])
    async def test_conforms(case: Case, world: World) -> None:
        await case(world)

Nothing here waits for time: under virtual time a world may take all it wants, on a real server the cases
end as fast as it answers. Each case has the world for itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import pytest
import trio

from phloem.errors import (
    AuthenticationError,
    BackendError,
    ProviderError,
    RateLimitError,
    TruncatedError,
)
from phloem.llm.requests import (
    Deltas,
    LLMDelta,
    LLMMessage,
    LLMRequest,
    LLMResponse,
    StopReason,
    StreamingBackend,
    TokenUsage,
)

__all__ = ["CASES", "Case", "Plan", "World"]

USED: Final = TokenUsage(12, 5)
PIECES: Final = ("Sap ", "rises – ", "\n<leaf>", "🍁</leaf>")
MODEL: Final = "model-1"


@dataclass(frozen=True)
class Plan:
    """What one request meets. A request that streams gets ``chunks``, any other one ``text``.

    ``status``: it fails so, and says ``said``. ``retry_after``: seconds, with 429. ``silent``: it is taken
    and never answered. ``cut``: breaks off after the chunks, and before any end. ``pause``: after the
    chunks the other side says nothing more, and does not hang up.
    """

    chunks: tuple[str, ...] = PIECES
    reasoning: str = ""
    usage: TokenUsage = USED
    stop: StopReason = StopReason.STOP
    status: int = 200
    said: str = ""
    retry_after: float | None = None
    silent: bool = False
    cut: bool = False
    pause: bool = False

    @property
    def text(self) -> str:
        return "".join(self.chunks)


class World(Protocol):
    """A backend and its other side."""

    @property
    def backend(self) -> StreamingBackend: ...

    @property
    def asked(self) -> int: ...

    def prepare(self, *plans: Plan) -> None: ...

    async def until_asked(self, number: int) -> None: ...

    async def until_gone(self, number: int) -> None: ...


Case: TypeAlias = Callable[[World], Awaitable[None]]


def request(*, stream: bool = False) -> LLMRequest:
    messages = [LLMMessage("system", "You are a tree."), LLMMessage("user", "Grow.")]
    return LLMRequest(messages, MODEL, temperature=0.5, max_tokens=64, stream=stream)


async def streamed(world: World) -> tuple[list[LLMDelta], LLMResponse]:
    async with world.backend.stream(request(stream=True)) as deltas:
        pieces = [delta async for delta in deltas]
        return pieces, deltas.response


async def kept(deltas: Deltas, seen: list[str]) -> None:
    async for delta in deltas:
        seen.append(delta.text)


async def asked_both_ways(world: World, plan: Plan, error: type[BackendError]) -> list[BackendError]:
    """The errors with which a call and a stream meet that plan."""
    world.prepare(plan, plan)
    with pytest.raises(error) as of_call:
        await world.backend.complete(request())
    with pytest.raises(error) as of_stream:
        await streamed(world)
    assert type(of_call.value) is type(of_stream.value) is error
    return [of_call.value, of_stream.value]


# -- what is answered ----------------------------------------------------------------------------


async def an_answer_comes_back_whole(world: World) -> None:
    world.prepare(Plan(reasoning="roots first"))
    response = await world.backend.complete(request())
    assert (response.content, response.reasoning) == ("".join(PIECES), "roots first")
    assert response.usage == USED
    assert response.finish_reason is StopReason.STOP
    assert response.model == MODEL


async def a_stream_says_the_same_in_pieces(world: World) -> None:
    world.prepare(Plan(reasoning="roots first"))
    deltas, response = await streamed(world)
    assert "".join(delta.text for delta in deltas) == response.content == "".join(PIECES)
    assert "".join(delta.reasoning for delta in deltas) == response.reasoning == "roots first"
    assert all(delta.text or delta.reasoning for delta in deltas)
    assert (response.usage, response.finish_reason, response.model) == (USED, StopReason.STOP, MODEL)


async def an_empty_answer_is_one(world: World) -> None:
    world.prepare(Plan(chunks=()), Plan(chunks=()))
    assert (await world.backend.complete(request())).content == ""
    deltas, response = await streamed(world)
    assert (deltas, response.content) == ([], "")


async def a_stop_reason_is_told(world: World) -> None:
    for stop in (StopReason.LENGTH, StopReason.CONTENT_FILTER, StopReason.TOOL_CALLS):
        world.prepare(Plan(stop=stop), Plan(stop=stop))
        assert (await world.backend.complete(request())).finish_reason is stop
        _, response = await streamed(world)
        assert response.finish_reason is stop


async def a_stream_has_no_response_before_its_end(world: World) -> None:
    world.prepare(Plan())
    async with world.backend.stream(request(stream=True)) as deltas:
        with pytest.raises(RuntimeError):
            _ = deltas.response
        await deltas.__anext__()
        with pytest.raises(RuntimeError):
            _ = deltas.response


async def an_ended_stream_stays_ended(world: World) -> None:
    world.prepare(Plan())
    async with world.backend.stream(request(stream=True)) as deltas:
        assert [delta async for delta in deltas]
        assert [delta async for delta in deltas] == []
        assert deltas.response.content == "".join(PIECES)


# -- what fails ----------------------------------------------------------------------------------


async def too_many_requests_say_when_to_come_back(world: World) -> None:
    for error in await asked_both_ways(world, Plan(status=429, retry_after=7, said="slow"), RateLimitError):
        assert isinstance(error, RateLimitError)
        assert error.retry_after == 7
    for error in await asked_both_ways(world, Plan(status=429), RateLimitError):
        assert isinstance(error, RateLimitError)
        assert error.retry_after is None


async def a_key_that_is_refused_is_its_own_error(world: World) -> None:
    for status in (401, 403):
        await asked_both_ways(world, Plan(status=status, said="who are you?"), AuthenticationError)


async def a_status_of_failure_is_kept_with_what_was_said(world: World) -> None:
    for status in (400, 404, 408, 413, 500, 503, 529):
        plan = Plan(status=status, said=f"sap does not flow ({status})")
        for error in await asked_both_ways(world, plan, ProviderError):
            assert isinstance(error, ProviderError)
            assert error.status_code == status
            assert plan.said in str(error)


async def a_cut_answer_is_never_whole(world: World) -> None:
    world.prepare(Plan(cut=True))
    with pytest.raises(TruncatedError):
        await world.backend.complete(request())


async def a_cut_stream_carries_what_had_arrived(world: World) -> None:
    world.prepare(Plan(cut=True))
    seen: list[str] = []
    async with world.backend.stream(request(stream=True)) as deltas:
        with pytest.raises(TruncatedError) as caught:
            await kept(deltas, seen)
        with pytest.raises(RuntimeError):
            _ = deltas.response
    assert caught.value.partial == "".join(seen) == "".join(PIECES)


async def after_each_failure_the_next_call_works(world: World) -> None:
    for plan in (Plan(status=429), Plan(status=500), Plan(cut=True)):
        world.prepare(plan, plan, Plan(), Plan())
        with pytest.raises(BackendError):
            await world.backend.complete(request())
        with pytest.raises(BackendError):
            await streamed(world)
        assert (await world.backend.complete(request())).content == "".join(PIECES)
        assert (await streamed(world))[1].content == "".join(PIECES)


# -- what is given up ----------------------------------------------------------------------------


async def a_cancelled_call_hangs_up(world: World) -> None:
    world.prepare(Plan(silent=True), Plan())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.backend.complete, request())
        await world.until_asked(1)
        nursery.cancel_scope.cancel(reason="the test gives up")
    await world.until_gone(1)
    assert (await world.backend.complete(request())).content == "".join(PIECES)
    assert world.asked == 2


async def a_stream_cancelled_before_its_first_piece_hangs_up(world: World) -> None:
    world.prepare(Plan(silent=True), Plan())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(streamed, world)
        await world.until_asked(1)
        nursery.cancel_scope.cancel(reason="the test gives up")
    await world.until_gone(1)
    assert (await streamed(world))[1].content == "".join(PIECES)


async def a_stream_cancelled_on_its_way_hangs_up(world: World) -> None:
    world.prepare(Plan(pause=True), Plan())
    seen = ""
    with trio.CancelScope() as scope:
        async with world.backend.stream(request(stream=True)) as deltas:
            async for delta in deltas:
                seen += delta.text
                if seen == "".join(PIECES):
                    scope.cancel(reason="the test has seen enough")
    assert scope.cancelled_caught
    await world.until_gone(1)
    assert (await streamed(world))[1].content == "".join(PIECES)


async def a_stream_left_early_hangs_up(world: World) -> None:
    world.prepare(Plan(pause=True), Plan())
    async with world.backend.stream(request(stream=True)) as deltas:
        assert (await deltas.__anext__()).text
    await world.until_gone(1)
    assert (await streamed(world))[1].content == "".join(PIECES)


async def a_call_that_begins_cancelled_is_not_made(world: World) -> None:
    world.prepare(Plan())
    with trio.CancelScope() as scope:
        scope.cancel(reason="before it began")
        await world.backend.complete(request())
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel(reason="before it began")
        await streamed(world)
    assert scope.cancelled_caught
    assert world.asked == 0
    assert (await world.backend.complete(request())).content == "".join(PIECES)


async def many_run_at_once(world: World) -> None:
    world.prepare(*[Plan() for _ in range(20)])
    answers: list[str] = []

    async def call() -> None:
        answers.append((await world.backend.complete(request())).content)

    async def stream() -> None:
        answers.append((await streamed(world))[1].content)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(call)
            nursery.start_soon(stream)
    assert answers == ["".join(PIECES)] * 20


CASES: Final[tuple[Case, ...]] = (
    an_answer_comes_back_whole,
    a_stream_says_the_same_in_pieces,
    an_empty_answer_is_one,
    a_stop_reason_is_told,
    a_stream_has_no_response_before_its_end,
    an_ended_stream_stays_ended,
    too_many_requests_say_when_to_come_back,
    a_key_that_is_refused_is_its_own_error,
    a_status_of_failure_is_kept_with_what_was_said,
    a_cut_answer_is_never_whole,
    a_cut_stream_carries_what_had_arrived,
    after_each_failure_the_next_call_works,
    a_cancelled_call_hangs_up,
    a_stream_cancelled_before_its_first_piece_hangs_up,
    a_stream_cancelled_on_its_way_hangs_up,
    a_stream_left_early_hangs_up,
    a_call_that_begins_cancelled_is_not_made,
    many_run_at_once,
)
