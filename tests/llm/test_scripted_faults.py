"""What is no script: the backend says which answer, what was found, what was expected."""

from __future__ import annotations

import math
import re
from typing import Any, cast

import pytest

from phloem.errors import ConfigurationError
from phloem.llm.requests import LLMResponse, TokenUsage
from phloem.llm.script import Script
from phloem.llm.scripted import Rule, Scripted, ScriptedBackend


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("one text", "answers: found 'one text', expected a list of answers and rules, or a function"),
        (None, "answers: found a NoneType, expected a list"),
        (
            [7],
            r"answers\[0\]: found 7, expected a text, an LLMResponse, a Scripted or an exception, or a func",
        ),
        (["a", Scripted], r"answers\[1\]: found a type"),
        ([Scripted("a", delay=-1)], r"answers\[0\]\.delay: found -1, expected seconds, a number from 0 on"),
        ([Scripted("a", pause=math.nan)], r"answers\[0\]\.pause: found nan"),
        ([Scripted("a", delay=True)], r"answers\[0\]\.delay: found True"),
        ([Scripted("a", status=200)], r"\.status: found 200, expected a status of failure, 400 to 599"),
        ([Scripted("a", status=500, retry_after=3)], r"\.retry_after: found no status 429"),
        ([Scripted("a", cut=-1)], r"\.cut: found -1"),
        ([Scripted("a", cut=1, stall=1)], r"\.stall: found a cut beside it"),
        ([Scripted("a", chunks=0)], r"\.chunks: found 0"),
        ([Scripted("abc", chunks=["a", "c"])], r"\.chunks: found 'ac', expected pieces of 'abc'"),
        ([Scripted("abc", chunks=cast("Any", ["a", 7]))], r"\.chunks: found 7, expected a list of texts"),
        (
            [Scripted("a", stop_reason=cast("Any", "end"))],
            r"\.stop_reason: found 'end', expected one of stop,",
        ),
        ([Scripted("a", usage=cast("Any", 7))], r"\.usage: found 7, expected a TokenUsage"),
        ([Scripted("a", usage=TokenUsage(-1))], r"\.usage\.prompt_tokens: found -1"),
        ([Scripted("a", response=LLMResponse("b"))], r"\.response: found text beside it"),
        ([Scripted(cast("Any", 7))], r"\.text: found 7, expected a text"),
        ([Rule(answer="a")], r"answers\[0\]: found a rule for everybody"),
        ([Rule("", answer="a")], r"answers\[0\]\.when: found an empty text"),
        ([Rule(cast("Any", 7), answer="a")], r"answers\[0\]\.when: found 7"),
        ([Rule(cast("Any", re.compile(b"a")), answer="a")], r"\.when: found a pattern of bytes"),
        ([Rule("a", agent="", answer="a")], r"answers\[0\]\.agent: found ''"),
        ([Rule("a", answer=["a", cast("Any", 7)])], r"answers\[0\]\.answer\[1\]: found 7"),
        ([Rule("a", answer=[])], r"answers\[0\]\.answer: found an empty list"),
    ],
)
def test_what_is_no_script_is_told(script: Any, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        ScriptedBackend(cast("Script", script))


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ScriptedBackend(cast("Any", [1, Scripted("a", delay=-1, cut=-1), "fine", None]))
    wheres = [fault.where for fault in caught.value.faults]
    assert wheres == ["answers[0]", "answers[1].delay", "answers[1].cut", "answers[3]"]


def test_a_long_value_is_shown_short() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ScriptedBackend(cast("Any", "x" * 10_000))
    assert len(str(caught.value)) < 200
