"""Prompts are registered once, stay as they are, and show as hashes."""

from __future__ import annotations

import copy
import dataclasses
from hashlib import sha256

import pytest

from phloem.errors import AccessRefused, ConfigurationError
from phloem.llm.prompts import PromptRegistry

SECRET = "You are the keeper of the blue door."


def registry() -> PromptRegistry:
    found = PromptRegistry()
    found.register("keeper", SECRET, "# peers: " + SECRET, "# answers: " + SECRET)
    found.register("keeper#2", "another")
    found.freeze()
    return found


def test_a_record_has_the_prompt_its_hash_and_the_peers() -> None:
    record = registry().record("keeper")
    assert record is not None
    assert (record.agent_name, record.system_prompt) == ("keeper", SECRET)
    assert record.prompt_hash == sha256(SECRET.encode()).hexdigest()
    assert record.peer_schemas == "# peers: " + SECRET
    assert registry().record("nobody") is None


def test_nothing_changes_once_frozen() -> None:
    found = registry()
    with pytest.raises(AccessRefused, match="once prompts are frozen"):
        found.register("late", "x")
    found.freeze()
    assert found.frozen
    record = found.record("keeper")
    assert record is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.system_prompt = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.hashes["keeper"] = "x"  # type: ignore[index]


def test_an_agent_has_one_prompt() -> None:
    found = PromptRegistry()
    found.register("keeper", "a")
    with pytest.raises(ConfigurationError, match="a second one"):
        found.register("keeper", "b")
    record = found.record("keeper")
    assert record is not None
    assert record.system_prompt == "a"


def test_nothing_that_is_printed_shows_a_prompt() -> None:
    found = registry()
    shown = [repr(found), repr(found.record("keeper")), repr(found.hashes), str(copy.copy(found.hashes))]
    assert not any("blue door" in text for text in shown)
    assert dict(found.hashes) == {
        "keeper": sha256(SECRET.encode()).hexdigest(),
        "keeper#2": sha256(b"another").hexdigest(),
    }
