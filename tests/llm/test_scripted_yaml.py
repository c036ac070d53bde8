"""Scripts as organism.yaml has them: what they are read as, and what is told of one that is none."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from phloem.errors import ConfigurationError, RateLimitError, TruncatedError
from phloem.llm.requests import LLMMessage, LLMRequest, LLMResponse, StopReason, TokenUsage
from phloem.llm.scripted import Rule, Scripted, ScriptedBackend, scripted_backend


def of_yaml(text: str) -> ScriptedBackend:
    return scripted_backend(**yaml.safe_load(text))


async def asked(backend: ScriptedBackend, text: str = "go on", agent: str = "") -> Any:
    return await backend.complete(LLMRequest([LLMMessage("user", text)], "model-1", agent=agent))


def faults_of(script: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        scripted_backend(name="mine", script=script)
    return [str(fault) for fault in caught.value.faults]


async def test_texts_and_mappings_are_answers() -> None:
    backend = of_yaml(
        """
        provider: scripted
        name: mine
        priority: 2
        script:
          - one
          - text: two
            reasoning: hm
            stop_reason: content_filter
            usage: {prompt_tokens: 3, completion_tokens: 4}
          - {status: 429, retry_after: 7, text: slow down}
          - {text: abcdef, cut: 3}
          - {chunks: [a, b]}
        """
    )
    assert (await asked(backend)).content == "one"
    two = await asked(backend)
    assert (two.content, two.reasoning, two.finish_reason, two.usage, two.backend) == (
        "two",
        "hm",
        StopReason.CONTENT_FILTER,
        TokenUsage(3, 4),
        "mine",
    )
    with pytest.raises(RateLimitError, match="slow down") as limited:
        await asked(backend)
    assert limited.value.retry_after == 7
    with pytest.raises(TruncatedError):
        await asked(backend)
    assert (await asked(backend)).content == "ab"


async def test_when_makes_a_rule() -> None:
    backend = of_yaml(
        r"""
        repeat: true
        script:
          - {when: weather, text: rain}
          - {when: {pattern: '\d+'}, text: a number}
          - {when: {agent: PRO}, answers: [yes!, {text: indeed}]}
          - {when: {agent: con, text: hm}, text: both}
          - else
        """
    )
    asks = [
        ("weather 7", ""),
        ("7", "pro"),
        ("x", "pro"),
        ("x", "pro"),
        ("x", "pro"),
        ("hm", "con"),
        ("x", "con"),
    ]
    answers = [(await asked(backend, text, agent)).content for text, agent in asks]
    assert answers == ["rain", "a number", "yes!", "indeed", "yes!", "both", "else"]


async def test_a_function_is_a_script() -> None:
    backend = scripted_backend(
        script=lambda request: request.messages[-1].content.upper(), supported_models=["*"]
    )
    assert (await asked(backend, "abc")).content == "ABC"


async def test_python_may_mix_objects_in() -> None:
    script = ["a", {"text": "b"}, Scripted("c"), LLMResponse("d"), Rule("x", answer="y"), lambda request: "e"]
    backend = scripted_backend(script=script)
    assert [(await asked(backend, text)).content for text in "-x----"] == ["a", "y", "b", "c", "d", "e"]
    told = faults_of([Scripted("c", cut=-1), Rule("", answer=["a", Scripted("b", delay=-1)])])
    assert [each.split(": found")[0] for each in told] == [
        "backend 'mine': script[0].cut",
        "backend 'mine': script[1].when",
        "backend 'mine': script[1].answer[1].delay",
    ]


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (
            "handlers.script",
            "backend 'mine': script: found 'handlers.script', expected a list of answers, or the import path "
            "of a function of the request",
        ),
        ([], "backend 'mine': script: found an empty list, expected at least one answer"),
        (
            [7],
            "backend 'mine': script[0]: found 7, expected a text, or a mapping with text, reasoning, delay, ",
        ),
        (["a", {}], "backend 'mine': script[1]: found no text, expected text, chunks or status"),
        (
            [{"text": "a", "dellay": 1}],
            "backend 'mine': script[0].dellay: found an unknown key, expected one of text, reasoning, delay,",
        ),
        ([{"text": "a", "delay": "soon"}], "backend 'mine': script[0].delay: found 'soon', expected seconds"),
        ([{"text": 7}], "backend 'mine': script[0].text: found 7, expected a text"),
        ([{"text": "a", "usage": 7}], "backend 'mine': script[0].usage: found 7, expected a TokenUsage"),
        (
            [{"text": "a", "usage": {"prompt_tokens": "x", "tokens": 1}}],
            "backend 'mine': script[0].usage.tokens: found an unknown key",
        ),
        ([{"when": "x"}], "backend 'mine': script[0]: found no text, expected text, chunks or status"),
        (
            [{"when": "", "text": "a"}],
            "backend 'mine': script[0].when: found '', expected a text of the last",
        ),
        ([{"when": {}, "text": "a"}], "backend 'mine': script[0].when: found a dict, expected a text of"),
        ([{"when": {"who": "x"}, "text": "a"}], "backend 'mine': script[0].when.who: found an unknown key"),
        (
            [{"when": {"pattern": "("}, "text": "a"}],
            "backend 'mine': script[0].when.pattern: found '(', which is no pattern: missing ), unterminated",
        ),
        (
            [{"when": {"pattern": "a", "text": "b"}, "text": "a"}],
            "backend 'mine': script[0].when: found text and pattern, expected one of them",
        ),
        (
            [{"when": {"agent": 7}, "text": "a"}],
            "backend 'mine': script[0].when.agent: found 7, expected the",
        ),
        ([{"when": {"text": ""}, "text": "a"}], "backend 'mine': script[0].when.text: found ''"),
        (
            [{"when": "x", "answers": []}],
            "backend 'mine': script[0].answers: found an empty list, expected a",
        ),
        ([{"when": "x", "answers": "a"}], "backend 'mine': script[0].answers: found 'a', expected a list of"),
        (
            [{"when": "x", "answers": ["a", {"cut": -1}]}],
            "backend 'mine': script[0].answers[1]: found no text, expected text, chunks or status",
        ),
        (
            [{"when": "x", "answers": ["a"], "text": "b"}],
            "backend 'mine': script[0].text: found an unknown key, expected when and answers, or when",
        ),
        (
            [{"answers": ["a"]}],
            "backend 'mine': script[0]: found no when, expected when: whom the answers are",
        ),
        (
            [{"when": "x", "answers": [{"when": "y", "text": "a"}]}],
            "backend 'mine': script[0].answers[0].when: found an unknown key",
        ),
    ],
)
def test_what_is_no_script_is_told_with_its_number(script: Any, fault: str) -> None:
    assert faults_of(script)[0].startswith(fault)


def test_all_faults_of_a_script_are_told_at_once() -> None:
    told = faults_of([7, {"text": "a", "cut": -1, "x": 1}, "fine", {"when": 7, "text": "a", "status": 3}])
    assert [each.split(": found")[0] for each in told] == [
        "backend 'mine': script[0]",
        "backend 'mine': script[1].x",
        "backend 'mine': script[1].cut",
        "backend 'mine': script[3].status",
        "backend 'mine': script[3].when",
    ]


def test_repeat_that_is_no_flag_is_told() -> None:
    with pytest.raises(
        ConfigurationError, match="backend 'mine': repeat: found 'often', expected true or false"
    ):
        scripted_backend(name="mine", script=["a"], repeat="often")


def test_a_key_that_no_backend_has_is_told() -> None:
    with pytest.raises(
        ConfigurationError, match="backend 'mine': repeet: found an unknown key, expected one of"
    ):
        scripted_backend(name="mine", script=["a"], repeet=True, timeout=3, provider="scripted")


def test_without_a_script_it_says_what_one_is() -> None:
    with pytest.raises(ConfigurationError, match="script: found an empty list, expected at least one answer"):
        scripted_backend(name="mine")
