"""Chat completions: what a request looks like, and what odd answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from phloem.llm.providers.chat import ChatCompletions
from phloem.llm.providers.failures import Told, Unreadable
from phloem.llm.providers.sse import ServerEvent
from phloem.llm.requests import LLMResponse, StopReason, TokenUsage, ToolCall
from support.llm_provided import ask

FORM = ChatCompletions(reasoners=True)


def answer(message: Any, **more: Any) -> LLMResponse:
    choice = {"index": 0, "message": message, "finish_reason": more.pop("finish_reason", "stop")}
    return FORM.answer({"choices": [choice], **more}, ask(model="oak"))


def streamed(*chunks: Any) -> tuple[list[tuple[str, str]], Any]:
    assembly = FORM.assembly(ask(model="oak"))
    deltas = [
        assembly.take(ServerEvent("", chunk if isinstance(chunk, str) else json.dumps(chunk)))
        for chunk in chunks
    ]
    return [(each.text, each.reasoning) for each in deltas], assembly


def chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


# -- requests --------------------------------------------------------------------------------------


def test_a_request_says_what_is_set_and_nothing_else() -> None:
    assert FORM.body(ask("Grow.", model="oak"), stream=False) == {
        "model": "oak",
        "messages": [{"role": "user", "content": "Grow."}],
    }
    tools = [{"type": "function", "function": {"name": "dig"}}]
    full = ask("Grow.", model="oak", temperature=0.0, max_tokens=9, tools=tools, agent="a", conversation="c")
    assert FORM.body(full, stream=True) == {
        "model": "oak",
        "messages": [{"role": "user", "content": "Grow."}],
        "temperature": 0.0,
        "max_tokens": 9,
        "tools": tools,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    "model", ["o1", "o3-mini", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5.2", "ft:o4-mini:us:1"]
)
def test_openais_models_that_reason_are_asked_as_they_want(model: str) -> None:
    body = FORM.body(ask(model=model, temperature=0.7, max_tokens=9), stream=False)
    assert body["max_completion_tokens"] == 9
    assert not {"temperature", "max_tokens"} & set(body)
    elsewhere = ChatCompletions().body(ask(model=model, temperature=0.7, max_tokens=9), stream=False)
    assert (elsewhere["temperature"], elsewhere["max_tokens"]) == (0.7, 9)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo", "gpt-oss-20b", "chatgpt-4o-latest", "oak"]
)
def test_other_models_get_a_temperature(model: str) -> None:
    body = FORM.body(ask(model=model, temperature=0.7, max_tokens=9), stream=False)
    assert (body["temperature"], body["max_tokens"]) == (0.7, 9)


def test_half_a_pair_in_a_message_does_not_break_the_request() -> None:
    body = FORM.body(ask("a\ud83cb"), stream=False)
    assert body["messages"][0]["content"] == "a\ufffdb"


# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "stop"),
    [
        ("stop", StopReason.STOP),
        ("length", StopReason.LENGTH),
        ("model_length", StopReason.LENGTH),
        ("max_tokens", StopReason.LENGTH),
        ("tool_calls", StopReason.TOOL_CALLS),
        ("function_call", StopReason.TOOL_CALLS),
        ("content_filter", StopReason.CONTENT_FILTER),
        ("eos_token", StopReason.OTHER),
        (None, StopReason.STOP),
        (["stop"], StopReason.OTHER),
    ],
)
def test_stop_reasons_are_mapped(told: Any, stop: StopReason) -> None:
    assert answer({"content": "x"}, finish_reason=told).finish_reason is stop


@pytest.mark.parametrize("told", ["error", "insufficient_system_resource"])
def test_an_answer_that_its_server_broke_off_is_none(told: str) -> None:
    with pytest.raises(Told, match=f"has broken off, for it says {told!r}") as caught:
        answer({"content": "<Reply><Text>as if whole</Text></Reply>"}, finish_reason=told)
    assert caught.value.status == 503, "worth another attempt"
    with pytest.raises(Told, match="broken off"):
        streamed(chunk({"content": "<Reply/>"}), chunk({}, told), "[DONE]")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("", ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([], ""),
        ("\ud83c\udf41", "🍁"),
        ("\ud83c", "\ufffd"),
    ],
)
def test_content_may_be_null_or_parts(content: Any, text: str) -> None:
    assert answer({"content": content}).content == text


def test_of_several_choices_the_first_is_taken() -> None:
    choices = [{"message": {"content": each}, "finish_reason": "stop"} for each in "ab"]
    assert FORM.answer({"choices": choices}, ask()).content == "a"
    chunks = [{"choices": [{"index": n, "delta": {"content": str(n)}} for n in (1, 0)]}]
    assert streamed(*chunks)[0] == [("0", "")]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_told_apart(name: str) -> None:
    found = answer({"content": "x", name: "thought"})
    assert (found.content, found.reasoning) == ("x", "thought")
    assert streamed(chunk({name: "thought", "content": ""}))[0] == [("", "thought")]


def test_a_refusal_is_a_filters() -> None:
    found = answer({"content": None, "refusal": "I will not."})
    assert (found.content, found.finish_reason) == ("I will not.", StopReason.CONTENT_FILTER)
    deltas, assembly = streamed(chunk({"refusal": "I will "}), chunk({"refusal": "not."}, "stop"))
    assert deltas == [("I will ", ""), ("not.", "")]
    assert assembly.response().finish_reason is StopReason.CONTENT_FILTER


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, TokenUsage()),
        ({}, TokenUsage()),
        ({"prompt_tokens": 3, "completion_tokens": 4}, TokenUsage(3, 4, 7)),
        ({"prompt_tokens": 3.0, "completion_tokens": True, "total_tokens": -1}, TokenUsage(3, 0, 3)),
        ({"prompt_tokens": "3", "completion_tokens": None}, TokenUsage()),
        # xAI: thoughts are in the total only
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}, TokenUsage(32, 103, 135)),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}},
            TokenUsage(9, 1, 10, 8),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 80}},
            TokenUsage(9, 1, 10, 9),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": None}, TokenUsage(9, 1, 10)),
    ],
)
def test_usage_is_read_as_far_as_it_makes_sense(usage: Any, expected: TokenUsage) -> None:
    assert answer({"content": "x"}, usage=usage).usage == expected


def test_tool_calls_are_kept_in_every_shape_they_come_in() -> None:
    calls = [
        {"id": "1", "function": {"name": "dig", "arguments": '{"deep": 2}'}},
        {"id": None, "function": {"name": "dig", "arguments": {"deep": 2}}},
        {"id": "3", "function": {"name": "rest"}},
    ]
    found = answer(
        {"content": None, "tool_calls": calls, "function_call": {"name": "old", "arguments": "{}"}}
    )
    assert found.tool_calls == (
        ToolCall("1", "dig", '{"deep": 2}'),
        ToolCall("", "dig", '{"deep": 2}'),
        ToolCall("3", "rest", "{}"),
        ToolCall("", "old", "{}"),
    )


def test_pieces_of_tool_calls_are_put_together_by_their_index() -> None:
    def piece(index: int, **told: Any) -> Any:
        return chunk({"tool_calls": [{"index": index, **told}]})

    _, assembly = streamed(
        piece(1, id="b", function={"name": "rest", "arguments": ""}),
        piece(0, id="a", function={"name": "dig", "arguments": ""}),
        piece(0, function={"arguments": '{"deep"'}),
        piece(0, function={"arguments": ": 2}"}),
        chunk({}, "tool_calls"),
        "[DONE]",
    )
    assert assembly.response().tool_calls == (ToolCall("a", "dig", '{"deep": 2}'), ToolCall("b", "rest", ""))
    assert assembly.response().finish_reason is StopReason.TOOL_CALLS


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        "x",
        7,
        {},
        {"choices": []},
        {"choices": None},
        {"choices": {}},
        {"choices": ["x"]},
        {"choices": [{}]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"content": 7}}]},
        {"choices": [{"message": {"content": ["x"]}}]},
        {"choices": [{"message": {"content": "x", "tool_calls": "x"}}]},
        {"choices": [{"message": {"content": "x", "tool_calls": [{"function": 7}]}}]},
        {"choices": [{"message": {"content": "x"}}], "usage": "x"},
    ],
)
def test_json_of_another_shape_is_no_answer(found: Any) -> None:
    with pytest.raises(Unreadable):
        FORM.answer(found, ask())


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        ({"message": "slow", "type": "requests", "code": "rate_limit_exceeded"}, 429, "slow"),
        ({"message": "slow", "type": "rate_limit_error"}, 429, "slow"),
        ({"message": "who", "code": "invalid_api_key"}, 401, "who"),
        ({"message": "bad", "code": 400}, 400, "bad"),
        ({"message": "oops", "code": 7, "type": "server_error"}, 500, "oops"),
        ("model runner crashed", 500, "model runner crashed"),
    ],
)
def test_a_failure_inside_a_success_is_told(failure: Any, status: int, said: str) -> None:
    for take in (lambda: FORM.answer({"error": failure}, ask()), lambda: streamed({"error": failure})):
        with pytest.raises(Told, match=said) as caught:
            take()
        assert caught.value.status == status


# -- streams ---------------------------------------------------------------------------------------


def test_a_stream_is_whole_once_it_says_why_it_stopped() -> None:
    _, assembly = streamed(chunk({"role": "assistant"}), chunk({"content": "x"}))
    assert (assembly.whole, assembly.ended) == (False, False)
    assembly.take(ServerEvent("", json.dumps(chunk({}, "length"))))
    assert (assembly.whole, assembly.ended) == (True, False)
    assembly.take(ServerEvent("", " [DONE]"))
    assert (assembly.whole, assembly.ended) == (True, True)
    assert assembly.response().finish_reason is StopReason.LENGTH


def test_the_last_usage_counts_wherever_it_stands() -> None:
    growing = [chunk({"content": "x"}, usage={"prompt_tokens": 3, "completion_tokens": n}) for n in (1, 2)]
    _, assembly = streamed(*growing, chunk({}, "stop", usage=None), {"choices": [], "usage": None}, "[DONE]")
    assert assembly.response().usage == TokenUsage(3, 2)


def test_a_pair_split_over_two_pieces_is_one_character() -> None:
    deltas, assembly = streamed(
        '{"choices":[{"index":0,"delta":{"content":"a\\ud83c"}}]}',
        '{"choices":[{"index":0,"delta":{"content":"\\udf41b"}}]}',
    )
    assert deltas == [("a", ""), ("🍁b", "")]
    assert assembly.text == "a🍁b"


@pytest.mark.parametrize(
    "data", ["", "{", "7", '{"choices": [{"delta": 7}]}', '{"choices": "x"}', "[" * 9999]
)
def test_an_event_of_another_shape_is_no_answer(data: str) -> None:
    with pytest.raises(Unreadable):
        streamed(data)
