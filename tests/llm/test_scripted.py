"""The scripted backend: which answer a request gets, what befalls it, what it has used."""

from __future__ import annotations

import math
import re
from typing import Any, cast

import hypothesis.strategies as st
import pytest
import trio
import trio.testing
from hypothesis import given

from phloem.errors import (
    AuthenticationError,
    BackendError,
    ConfigurationError,
    ProviderError,
    RateLimitError,
    TruncatedError,
)
from phloem.llm.requests import LLMMessage, LLMRequest, LLMResponse, StopReason, TokenUsage, ToolCall
from phloem.llm.scripted import Rule, Scripted, ScriptedBackend


def asking(text: str = "go on", *, agent: str = "", max_tokens: int | None = None) -> LLMRequest:
    return LLMRequest([LLMMessage("user", text)], "model-1", agent=agent, max_tokens=max_tokens)


async def told(backend: ScriptedBackend, *texts: str, agent: str = "") -> list[str]:
    return [(await backend.complete(asking(text, agent=agent))).content for text in texts]


async def streamed(backend: ScriptedBackend, request: LLMRequest) -> tuple[list[str], LLMResponse]:
    async with backend.stream(request) as deltas:
        pieces = [delta.text async for delta in deltas if delta.text]
        return pieces, deltas.response


async def read_all(
    backend: ScriptedBackend, request: LLMRequest
) -> tuple[list[str], TruncatedError | None, LLMResponse | None]:
    """The pieces that came, and how it ended."""
    seen = list[str]()
    async with backend.stream(request) as deltas:
        try:
            async for delta in deltas:
                seen.append(delta.text)
        except TruncatedError as error:
            return seen, error, None
        return seen, None, deltas.response


# -- which answer --------------------------------------------------------------------------


async def test_a_list_is_taken_in_order_and_requests_are_recorded() -> None:
    backend = ScriptedBackend(["one", LLMResponse("two"), Scripted("three")])
    assert await told(backend, "a", "b", "c") == ["one", "two", "three"]
    assert backend.calls == 3
    assert [request.messages[0].content for request in backend.requests] == ["a", "b", "c"]


async def test_a_call_too_many_says_whose_it_was_and_how_many_there_are() -> None:
    backend = ScriptedBackend(["one"], name="mine")
    await told(backend, "a")
    with pytest.raises(AssertionError) as caught:
        await told(backend, "b", agent="buyer")
    assert str(caught.value) == (
        "the script of backend 'mine': found call 2 (agent 'buyer'), expected at most 1, which is how many "
        "answers it has"
    )
    assert backend.calls == 2
    assert backend.running == 0


async def test_repeat_begins_again_at_the_end() -> None:
    backend = ScriptedBackend(["one", "two"], repeat=True)
    assert await told(backend, *"abcde") == ["one", "two", "one", "two", "one"]


async def test_an_empty_list_is_spent_at_once_even_if_it_repeats() -> None:
    for repeat in (False, True):
        with pytest.raises(AssertionError, match="expected at most 0"):
            await told(ScriptedBackend([], repeat=repeat), "a")


async def test_a_function_answers_each_request_and_may_wait() -> None:
    async def slowly(request: LLMRequest) -> str:
        await trio.lowlevel.checkpoint()
        return request.messages[-1].content.upper()

    assert await told(ScriptedBackend(lambda request: request.messages[-1].content * 2), "a") == ["aa"]
    assert await told(ScriptedBackend(slowly), "a", "b") == ["A", "B"]
    assert await told(ScriptedBackend(["one", slowly]), "a", "b") == ["one", "B"]


async def test_a_function_that_answers_nothing_is_told_what_an_answer_is() -> None:
    backend = ScriptedBackend(cast("Any", lambda request: 7))
    with pytest.raises(ConfigurationError) as caught:
        await told(backend, "a")
    assert str(caught.value) == (
        "backend 'scripted', answer to call 1: found 7, expected a text, an LLMResponse, a Scripted or an "
        "exception"
    )
    with pytest.raises(ConfigurationError, match="a function"):
        await told(ScriptedBackend(cast("Any", lambda request: told)), "a")


async def test_rules_come_before_the_list_and_do_not_use_it_up() -> None:
    backend = ScriptedBackend(
        [
            "one",
            Rule("weather", answer="rain"),
            Rule(re.compile(r"\d{3}"), answer="a number"),
            Rule(lambda request: request.max_tokens == 5, answer="five"),
            Rule(agent="buyer", answer=["first", "second"]),
            "two",
        ]
    )
    assert await told(backend, "the weather?", "x", "room 101", "weather 101") == [
        "rain",
        "one",
        "a number",
        "rain",
    ]
    assert (await backend.complete(asking(max_tokens=5))).content == "five"
    assert await told(backend, "x", "x", "x", agent="buyer") == ["first", "second", "two"]
    with pytest.raises(AssertionError, match=r"agent 'buyer'\), expected one that a rule takes: its 2 other"):
        await told(backend, "x", agent="buyer")


async def test_a_rule_with_two_conditions_holds_where_both_do() -> None:
    backend = ScriptedBackend([Rule("x", agent="a", answer="both"), *["other"] * 3])
    assert await told(backend, "x", "y", agent="a") == ["both", "other"]
    assert await told(backend, "x", agent="b") == ["other"]


async def test_a_rule_s_text_is_looked_for_in_the_last_message_only() -> None:
    backend = ScriptedBackend([Rule("secret", answer="found"), "not found", "nothing said"])
    request = LLMRequest([LLMMessage("system", "secret"), LLMMessage("user", "hello")])
    assert (await backend.complete(request)).content == "not found"
    assert (await backend.complete(LLMRequest([]))).content == "nothing said"


async def test_a_rule_s_list_repeats_with_the_others() -> None:
    backend = ScriptedBackend([Rule(agent="a", answer=["1", "2"])], repeat=True)
    assert await told(backend, *"xxx", agent="a") == ["1", "2", "1"]


async def test_streams_and_calls_take_from_the_same_list() -> None:
    backend = ScriptedBackend(["one", "two", "three"])
    assert await told(backend, "a") == ["one"]
    assert (await streamed(backend, asking()))[0] == ["two"]
    assert await told(backend, "a") == ["three"]


# -- what befalls it -----------------------------------------------------------------------


async def test_exceptions_are_raised_as_they_are() -> None:
    error = RateLimitError("enough", retry_after=3)
    backend = ScriptedBackend([error, LookupError, Scripted("fine")])
    with pytest.raises(RateLimitError) as caught:
        await told(backend, "a")
    assert caught.value is error
    with pytest.raises(LookupError):
        await streamed(backend, asking())
    assert await told(backend, "a") == ["fine"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ProviderError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (429, RateLimitError),
        (500, ProviderError),
        (529, ProviderError),
    ],
)
async def test_a_status_fails_as_a_provider_with_it(status: int, kind: type[BackendError]) -> None:
    backend = ScriptedBackend([Scripted("said so", status=status)] * 2, name="mine")
    for call in (backend.complete(asking()), streamed(backend, asking())):
        with pytest.raises(kind, match=f"{status}.*said so") as caught:
            await call
        assert type(caught.value) is kind
        assert (caught.value.backend, caught.value.model) == ("mine", "model-1")
        if isinstance(caught.value, ProviderError):
            assert caught.value.status_code == status


async def test_a_delay_is_waited_for_before_an_answer_and_before_a_failure(autojump_clock: Any) -> None:
    backend = ScriptedBackend([Scripted("late", delay=3), Scripted(status=500, delay=4), Scripted(delay=5)])
    began = trio.current_time()
    await told(backend, "a")
    assert trio.current_time() - began == 3
    with pytest.raises(ProviderError):
        await told(backend, "a")
    assert trio.current_time() - began == 7
    async with backend.stream(asking()):
        assert trio.current_time() - began == 12


async def test_pauses_lie_between_pieces_and_a_call_takes_as_long_as_its_stream(autojump_clock: Any) -> None:
    backend = ScriptedBackend([Scripted("abcdef", delay=1, chunks=2, pause=10)] * 2)
    began, times = trio.current_time(), list[float]()
    async with backend.stream(asking()) as deltas:
        async for _ in deltas:
            times.append(trio.current_time() - began)
    assert times == [1, 11, 21]
    await told(backend, "a")
    assert trio.current_time() - began == 42


async def test_chunks_are_pieces_or_a_size() -> None:
    backend = ScriptedBackend(
        [Scripted("abcde", chunks=2), Scripted(chunks=["x", "", "yz"]), Scripted("whole"), Scripted("")]
    )
    pieces = [(await streamed(backend, asking()))[0] for _ in range(4)]
    assert pieces == [["ab", "cd", "e"], ["x", "yz"], ["whole"], []]


@given(
    st.lists(st.text(max_size=4), max_size=6),
    st.none() | st.integers(0, 12),
    st.none() | st.integers(0, 24),
)
def test_pieces_are_the_text_however_it_is_cut(
    chunks: list[str], max_tokens: int | None, cut: int | None
) -> None:
    whole = "".join(chunks)

    async def run() -> None:
        backend = ScriptedBackend([Scripted(chunks=chunks, cut=cut)] * 2)
        request = asking(max_tokens=max_tokens)
        seen, error, response = await read_all(backend, request)
        if error is not None:
            assert cut is not None
            assert error.partial == "".join(seen)
            assert len(error.partial) <= cut
            with pytest.raises(TruncatedError):
                await backend.complete(request)
            return
        assert response is not None
        assert cut is None
        assert all(seen)
        assert "".join(seen) == response.content == (await backend.complete(request)).content
        assert whole.startswith(response.content)
        assert (response.finish_reason is StopReason.LENGTH) == (response.content != whole)
        if max_tokens is not None:
            assert response.usage.completion_tokens <= max_tokens

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_cut_answer_carries_what_had_arrived_and_is_never_whole() -> None:
    backend = ScriptedBackend(
        [Scripted("abcdef", cut=4, chunks=3), Scripted("abcdef", cut=4), Scripted("ab", cut=9)]
    )
    async with backend.stream(asking()) as deltas:
        assert [(await deltas.__anext__()).text for _ in range(2)] == ["abc", "d"]
        with pytest.raises(TruncatedError) as caught:
            await deltas.__anext__()
        with pytest.raises(TruncatedError):
            await deltas.__anext__()
        with pytest.raises(RuntimeError, match="still on its way"):
            _ = deltas.response
    assert caught.value.partial == "abcd"
    with pytest.raises(TruncatedError, match="after 4 characters") as of_call:
        await told(backend, "a")
    assert of_call.value.partial == "abcd"
    with pytest.raises(TruncatedError, match="after 2 characters"):
        await told(backend, "a")


async def test_an_answer_that_stalls_says_no_more_until_it_is_given_up(autojump_clock: Any) -> None:
    backend = ScriptedBackend([Scripted("abcdef", stall=2), "next"])
    seen = ""
    with trio.move_on_after(100) as scope:
        async with backend.stream(asking()) as deltas:
            async for delta in deltas:
                seen += delta.text
    assert scope.cancelled_caught
    assert (seen, trio.current_time(), backend.running) == ("ab", 100, 0)
    assert await told(backend, "a") == ["next"]


async def test_malformed_xml_is_a_text_as_any_other() -> None:
    text = "```xml\n<Order><Item>7</Order"
    assert await told(ScriptedBackend([text]), "a") == [text]


# -- what is told with it ------------------------------------------------------------------


async def test_usage_is_computed_where_none_is_given() -> None:
    backend = ScriptedBackend(["five!" * 4, "é" * 4, "", LLMResponse("abcdefgh"), Scripted(reasoning="abcd")])
    request = asking("x" * 40)
    used = [(await backend.complete(request)).usage for _ in range(5)]
    assert {usage.prompt_tokens for usage in used} == {request.prompt_tokens}
    assert [usage.completion_tokens for usage in used] == [5, 2, 0, 2, 1]


async def test_usage_that_is_given_stays_even_none_at_all() -> None:
    own = TokenUsage(7, 9, cached_tokens=3)
    backend = ScriptedBackend(
        [Scripted("a", usage=own), Scripted("a", usage=TokenUsage()), LLMResponse("a", usage=own)]
    )
    used = [(await backend.complete(asking())).usage for _ in range(3)]
    assert used == [own, TokenUsage(), own]


async def test_a_text_longer_than_max_tokens_is_cut_and_says_so() -> None:
    backend = ScriptedBackend(["abcdefgh" * 2, "abcdefgh", "ü" * 8, Scripted("abcd" * 3, reasoning="wxyz")])
    short, fits, bytewise, thought = [
        await backend.complete(asking(max_tokens=tokens)) for tokens in (2, 2, 1, 2)
    ]
    assert (short.content, short.finish_reason) == ("abcdefgh", StopReason.LENGTH)
    assert (fits.content, fits.finish_reason) == ("abcdefgh", StopReason.STOP)
    assert (bytewise.content, bytewise.usage.completion_tokens) == ("üü", 1)
    assert (thought.reasoning, thought.content) == ("wxyz", "abcd")
    assert thought.finish_reason is StopReason.LENGTH


async def test_a_response_is_given_as_it_is_but_for_who_gave_it() -> None:
    whole = LLMResponse(
        "longer than a token",
        finish_reason=StopReason.TOOL_CALLS,
        usage=TokenUsage(1, 2),
        reasoning="because",
        tool_calls=(ToolCall("1", "look", "{}"),),
        raw={"id": 7},
    )
    backend = ScriptedBackend([whole, LLMResponse("x", model="other", backend="proxy")], name="mine")
    response = await backend.complete(asking(max_tokens=1))
    assert (response.model, response.backend, response.raw) == ("model-1", "mine", {"id": 7})
    assert (response.content, response.finish_reason, response.usage) == (
        whole.content,
        whole.finish_reason,
        whole.usage,
    )
    assert response.tool_calls == whole.tool_calls
    other = await backend.complete(asking())
    assert (other.model, other.backend) == ("other", "proxy")


async def test_reasoning_streams_before_the_text() -> None:
    backend = ScriptedBackend([Scripted("yes", reasoning="hm", stop_reason=StopReason.OTHER)])
    async with backend.stream(asking()) as deltas:
        told_so = [(delta.reasoning, delta.text) async for delta in deltas]
        assert told_so == [("hm", ""), ("", "yes")]
        assert (deltas.response.reasoning, deltas.response.finish_reason) == ("hm", StopReason.OTHER)


# -- cancelling ----------------------------------------------------------------------------


async def test_a_call_cancelled_before_it_began_has_taken_nothing() -> None:
    backend = ScriptedBackend(["one"])
    with trio.CancelScope() as scope:
        scope.cancel(reason="before")
        await told(backend, "a")
    assert scope.cancelled_caught
    assert backend.calls == 0
    assert await told(backend, "a") == ["one"]


async def test_a_call_cancelled_in_its_delay_has_taken_its_answer(autojump_clock: Any) -> None:
    backend = ScriptedBackend([Scripted("one", delay=math.inf), "two"])
    with trio.move_on_after(5) as scope:
        await told(backend, "a")
    assert scope.cancelled_caught
    assert backend.running == 0
    assert await told(backend, "a") == ["two"]


async def test_a_piece_whose_wait_was_cancelled_is_not_lost(autojump_clock: Any) -> None:
    backend = ScriptedBackend([Scripted("abcd", chunks=2, pause=10)])
    async with backend.stream(asking()) as deltas:
        assert (await deltas.__anext__()).text == "ab"
        with trio.move_on_after(1) as scope:
            await deltas.__anext__()
        assert scope.cancelled_caught
        assert [delta.text async for delta in deltas] == ["cd"]


async def test_every_read_is_a_checkpoint() -> None:
    backend = ScriptedBackend([Scripted("ab", chunks=1)])
    async with backend.stream(asking()) as deltas:
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                await deltas.__anext__()
        with trio.testing.assert_checkpoints(), pytest.raises(StopAsyncIteration):
            await deltas.__anext__()
