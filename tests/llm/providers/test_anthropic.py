"""Anthropic's messages: what a request looks like, and what odd answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from phloem.config import MAX_TOKENS
from phloem.llm.providers.anthropic import AnthropicMessages
from phloem.llm.providers.failures import Told, Unreadable
from phloem.llm.providers.sse import ServerEvent
from phloem.llm.requests import LLMMessage, LLMRequest, LLMResponse, StopReason, TokenUsage, ToolCall
from support.llm_provided import ask

FORM = AnthropicMessages()


def body_of(*messages: tuple[str, str], **more: Any) -> dict[str, Any]:
    stream = more.pop("stream", False)
    request = LLMRequest([LLMMessage(*each) for each in messages], more.pop("model", "claude-x"), **more)
    return FORM.body(request, stream=stream)


def answer(*content: Any, **more: Any) -> LLMResponse:
    told = {"type": "message", "content": list(content), "stop_reason": "end_turn", **more}
    return FORM.answer(told, ask(model="claude-x"))


def streamed(*events: Any) -> tuple[list[tuple[str, str]], Any]:
    assembly = FORM.assembly(ask(model="claude-x"))
    deltas = [assembly.take(ServerEvent("", json.dumps(each))) for each in events]
    return [(each.text, each.reasoning) for each in deltas if each.text or each.reasoning], assembly


def delta(kind: str, index: int = 0, **told: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **told}}


# -- requests --------------------------------------------------------------------------------------


def test_system_messages_are_joined_in_one_field() -> None:
    body = body_of(("system", "One."), ("user", "Grow."), ("system", "Two."), ("developer", "Three."))
    assert body == {
        "model": "claude-x",
        "max_tokens": MAX_TOKENS,
        "system": "One.\n\nTwo.\n\nThree.",
        "messages": [{"role": "user", "content": "Grow."}],
    }


def test_max_tokens_is_always_there() -> None:
    assert body_of(("user", "Grow."), max_tokens=9)["max_tokens"] == 9
    assert body_of(("user", "Grow."))["max_tokens"] == MAX_TOKENS


def test_messages_of_one_role_stay_apart_and_empty_ones_are_left_out() -> None:
    body = body_of(("user", "a"), ("user", "b"), ("assistant", " \n"), ("system", ""), ("user", "c"))
    assert [each["content"] for each in body["messages"]] == ["a", "b", "c"]
    assert "system" not in body


def test_a_history_that_begins_with_an_answer_gets_a_user_before_it() -> None:
    body = body_of(("system", "S"), ("assistant", "a"), ("user", "b"))
    assert [each["role"] for each in body["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-3-5-haiku-20241022", True),
        ("claude-sonnet-4-20250514", True),
        ("claude-sonnet-4-5-20250929", True),
        ("claude-opus-4-6", True),
        ("claude-haiku-4-5", True),
        ("claude-opus-4-7", False),
        ("claude-opus-4-8-20260601", False),
        ("claude-sonnet-5", False),
        ("Claude-Fable-5-2", False),
        ("claude-haiku-10", False),
        ("claude-instant", True),
        ("oak", True),
    ],
)
def test_a_temperature_goes_only_to_models_that_take_one(model: str, takes: bool) -> None:
    assert ("temperature" in body_of(("user", "a"), model=model, temperature=0.7)) is takes


def test_tools_and_streaming_are_said() -> None:
    body = body_of(("user", "a"), tools=[{"name": "dig"}], stream=True)
    assert (body["tools"], body["stream"]) == ([{"name": "dig"}], True)


def test_the_headers_hold_the_key_and_the_version() -> None:
    assert FORM.headers("k") == {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    assert FORM.headers("") == {"anthropic-version": "2023-06-01"}


# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "stop"),
    [
        ("end_turn", StopReason.STOP),
        ("stop_sequence", StopReason.STOP),
        ("max_tokens", StopReason.LENGTH),
        ("model_context_window_exceeded", StopReason.LENGTH),
        ("tool_use", StopReason.TOOL_CALLS),
        ("refusal", StopReason.CONTENT_FILTER),
        ("pause_turn", StopReason.OTHER),
        (None, StopReason.STOP),
        ({}, StopReason.OTHER),
    ],
)
def test_stop_reasons_are_mapped(told: Any, stop: StopReason) -> None:
    assert answer(stop_reason=told).finish_reason is stop


def test_blocks_are_text_thoughts_and_calls_and_the_rest_is_left_out() -> None:
    found = answer(
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "t", "name": "dig", "input": {"deep": 2}},
        {"type": "something_new", "text": "no"},
        {"type": "text", "text": "b"},
    )
    assert (found.content, found.reasoning) == ("ab", "hm")
    assert found.tool_calls == (ToolCall("t", "dig", '{"deep": 2}'),)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, TokenUsage()),
        ({"input_tokens": 3, "output_tokens": 4}, TokenUsage(3, 4)),
        (
            {
                "input_tokens": 3,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 20,
                "cache_creation": {"ephemeral_5m_input_tokens": 20},
                "output_tokens": 4,
            },
            TokenUsage(123, 4, cached_tokens=100),
        ),
        ({"input_tokens": -3, "output_tokens": "4", "cache_read_input_tokens": None}, TokenUsage()),
    ],
)
def test_usage_counts_what_the_cache_gave_as_prompt(usage: Any, expected: TokenUsage) -> None:
    assert answer(usage=usage).usage == expected


@pytest.mark.parametrize(
    "found",
    [None, [], "x", {}, {"content": "x"}, {"content": ["x"]}, {"content": [{"type": "text", "text": 7}]}],
)
def test_json_of_another_shape_is_no_answer(found: Any) -> None:
    with pytest.raises(Unreadable):
        FORM.answer(found, ask())


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("permission_error", 403),
        ("request_too_large", 413),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("timeout_error", 504),
        ("overloaded_error", 529),
        ("something_new", 500),
    ],
)
def test_a_failure_inside_a_success_is_told(kind: str, status: int) -> None:
    told = {"type": "error", "error": {"type": kind, "message": "words"}}
    for take in (lambda: FORM.answer(told, ask()), lambda: streamed(told)):
        with pytest.raises(Told, match="words") as caught:
            take()
        assert caught.value.status == status


# -- streams ---------------------------------------------------------------------------------------


def test_a_stream_is_put_together_from_its_blocks() -> None:
    deltas, assembly = streamed(
        {
            "type": "message_start",
            "message": {"model": "claude-y", "usage": {"input_tokens": 9, "output_tokens": 1}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        delta("thinking_delta", thinking="hm"),
        delta("signature_delta", signature="s"),
        {"type": "ping"},
        {"type": "something_new", "delta": 7},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "a"}},
        delta("text_delta", 1, text="b"),
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "t", "name": "dig", "input": {}},
        },
        delta("input_json_delta", 2, partial_json=""),
        delta("input_json_delta", 2, partial_json='{"deep"'),
        delta("input_json_delta", 2, partial_json=": 2}"),
        {
            "type": "content_block_start",
            "index": 3,
            "content_block": {"type": "tool_use", "id": "u", "name": "rest"},
        },
        {"type": "content_block_stop", "index": 3},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 40, "input_tokens": None},
        },
    )
    assert deltas == [("", "hm"), ("a", ""), ("b", "")]
    assert (assembly.whole, assembly.ended) == (True, False)
    assembly.take(ServerEvent("message_stop", '{"type": "message_stop"}'))
    assert assembly.ended
    assert assembly.response() == LLMResponse(
        "ab",
        "claude-y",
        TokenUsage(9, 40),
        StopReason.TOOL_CALLS,
        reasoning="hm",
        tool_calls=(ToolCall("t", "dig", '{"deep": 2}'), ToolCall("u", "rest", "{}")),
    )


def test_a_stream_without_a_stop_reason_is_not_whole() -> None:
    _, assembly = streamed({"type": "message_start", "message": {}}, delta("text_delta", text="a"))
    assert not assembly.whole


@pytest.mark.parametrize(
    "event", [7, {"type": "message_start"}, delta("text_delta", text=7), {"type": "content_block_start"}]
)
def test_an_event_of_another_shape_is_no_answer(event: Any) -> None:
    with pytest.raises(Unreadable):
        streamed(event)
