"""A script as organism.yaml has it -> answers and rules; every fault of it at once, by the answer's number.

Decides the keys of an answer and of ``when``. Reads no file and imports nothing: where the script is an
import path, it comes here as the function. For ``scripted``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard, cast, final

from phloem.errors import ConfigurationFault

from .requests import LLMResponse, TokenUsage
from .script import (
    Answer,
    Rule,
    Script,
    Scripted,
    answer_faults,
    is_exception,
    is_function,
    is_list,
    rule_faults,
    shown,
)

__all__ = ["read_script"]

_OF_A_RULE: Final = ("when", "answers")
_OF_AN_ANSWER: Final = (
    "text",
    "reasoning",
    "delay",
    "pause",
    "chunks",
    "status",
    "retry_after",
    "cut",
    "stall",
    "stop_reason",
    "usage",
)
_OF_WHEN: Final = ("text", "pattern", "agent")
_OF_USAGE: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens")
_ENTRY: Final = "a text, or a mapping"


def read_script(script: object, where: str, faults: list[ConfigurationFault]) -> Script:
    """The answers and rules of a script, or the function that it is; ``faults`` takes what is wrong."""
    if is_function(script):
        return script
    reading = _Reading(faults)
    if not is_list(script):
        expected = "a list of answers, or the import path of a function of the request"
        faults.append(ConfigurationFault(where, shown(script), expected))
        return ()
    if not script:
        faults.append(ConfigurationFault(where, "an empty list", "at least one answer"))
    return [reading.entry(each, f"{where}[{index}]") for index, each in enumerate(script)]


def _is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(value, Mapping)


@final
class _Reading:
    """What has been found wrong so far. What is wrong is read as something harmless meanwhile."""

    def __init__(self, faults: list[ConfigurationFault]) -> None:
        self.faults = faults

    def entry(self, value: object, where: str) -> Answer | Rule:
        if _is_mapping(value) and any(key in value for key in _OF_A_RULE):
            return self._rule(value, where)
        if isinstance(value, Rule):
            self.faults += rule_faults(value, where)
            return value
        return self._answer(value, where)

    def _answer(self, value: object, where: str) -> Answer:
        if isinstance(value, (str, Scripted, LLMResponse)) or is_exception(value) or is_function(value):
            self.faults += answer_faults(value, where)  # of objects, which only Python hands in
            return value
        if not _is_mapping(value):
            expected = f"{_ENTRY} with {', '.join(_OF_AN_ANSWER)}, when"
            self.faults.append(ConfigurationFault(where, shown(value), expected))
            return ""
        self._unknown(value, _OF_AN_ANSWER, where)
        given: dict[str, Any] = {str(key): own for key, own in value.items() if key in _OF_AN_ANSWER}
        if not any(key in given for key in ("text", "chunks", "status")):
            self.faults.append(ConfigurationFault(where, "no text", "text, chunks or status"))
        if isinstance(given.get("usage"), Mapping):
            given["usage"] = self._usage(given["usage"], f"{where}.usage")
        scripted = Scripted(**given)
        self.faults += answer_faults(scripted, where)
        return scripted

    def _usage(self, usage: Mapping[object, object], where: str) -> TokenUsage:
        self._unknown(usage, _OF_USAGE, where)
        given: dict[str, Any] = {str(key): own for key, own in usage.items() if key in _OF_USAGE}
        wrong = next((key for key, own in given.items() if not isinstance(own, int)), None)
        if wrong is not None:  # their sum is made at once
            found, expected = shown(given[wrong]), "a whole number of tokens, at least 0"
            self.faults.append(ConfigurationFault(f"{where}.{wrong}", found, expected))
            return TokenUsage()
        return TokenUsage(**given)

    def _rule(self, keys: Mapping[object, object], where: str) -> Rule:
        answer: Answer | Sequence[Answer]
        if "answers" in keys:
            answer = self._answers(keys["answers"], f"{where}.answers")
            self._unknown(keys, _OF_A_RULE, where, "when and answers, or when and the keys of one answer")
        else:
            answer = self._answer({key: own for key, own in keys.items() if key != "when"}, where)
        if "when" not in keys:
            self.faults.append(ConfigurationFault(where, "no when", "when: whom the answers are for"))
            return Rule(answer=answer)
        return self._when(keys["when"], f"{where}.when", answer)

    def _answers(self, value: object, where: str) -> Sequence[Answer]:
        if not is_list(value) or not value:
            found = "an empty list" if is_list(value) else shown(value)
            self.faults.append(ConfigurationFault(where, found, "a list of answers"))
            return ()
        return [self._answer(each, f"{where}[{index}]") for index, each in enumerate(value)]

    def _when(self, value: object, where: str, answer: Answer | Sequence[Answer]) -> Rule:
        """``when`` is a text of the last message, or a mapping of conditions that must all hold."""
        if isinstance(value, str) and value:
            return Rule(value, answer=answer)
        if not _is_mapping(value) or not value:
            expected = f"a text of the last message, or a mapping with {', '.join(_OF_WHEN)}"
            self.faults.append(ConfigurationFault(where, shown(value), expected))
            return Rule(answer=answer)
        self._unknown(value, _OF_WHEN, where)
        text, pattern, agent = (value.get(key) for key in _OF_WHEN)
        if text is not None and pattern is not None:
            self.faults.append(ConfigurationFault(where, "text and pattern", "one of them"))
        when = text
        if isinstance(pattern, str) and pattern:
            try:
                when = re.compile(pattern)
            except re.error as error:
                found = f"{shown(pattern)}, which is no pattern: {error}"
                self.faults.append(ConfigurationFault(f"{where}.pattern", found, "a regular expression"))
        elif pattern is not None:
            self.faults.append(ConfigurationFault(f"{where}.pattern", shown(pattern), "a regular expression"))
        if not (text is None or (isinstance(text, str) and text)):
            self.faults.append(ConfigurationFault(f"{where}.text", shown(text), "a text of the last message"))
        if not (agent is None or (isinstance(agent, str) and agent)):
            self.faults.append(ConfigurationFault(f"{where}.agent", shown(agent), "the name of an agent"))
        return Rule(cast("Any", when), answer=answer, agent=cast("Any", agent))

    def _unknown(
        self, keys: Mapping[object, object], known: Sequence[str], where: str, expected: str = ""
    ) -> None:
        for key in keys:
            if key not in known:
                told = expected or f"one of {', '.join(known)}"
                self.faults.append(ConfigurationFault(f"{where}.{key}", "an unknown key", told))
