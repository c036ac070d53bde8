"""What calls have used, summed by whatever is asked for, in bounded memory."""

from __future__ import annotations

import random

import pytest

from phloem.errors import ConfigurationError
from phloem.llm.requests import TokenUsage
from phloem.llm.usage import AgentUsage, Usage, UsageRow


def counted(keep: int = 100) -> Usage:
    usage = Usage(keep)
    usage.count("ada", "c1", "m", "b", TokenUsage(10, 5, cached_tokens=4), 2_500_000_000_000)
    usage.count("ada", "c2", "m", "b", TokenUsage(1, 2), 500_000_000_000)
    usage.count("bo", "c2", "n", "b2", TokenUsage(3, 4, 9), None)
    return usage


def test_a_row_for_each_value_of_what_is_asked_for() -> None:
    assert counted().rows("agent") == [
        UsageRow(
            agent="ada",
            requests=2,
            prompt_tokens=11,
            completion_tokens=7,
            total_tokens=18,
            cached_tokens=4,
            cost=3.0,
        ),
        UsageRow(agent="bo", requests=1, prompt_tokens=3, completion_tokens=4, total_tokens=9, unpriced=1),
    ]
    assert [(row.conversation, row.total_tokens) for row in counted().rows("conversation")] == [
        ("c1", 15),
        ("c2", 12),
    ]
    assert [(row.model, row.requests) for row in counted().rows("model")] == [("m", 2), ("n", 1)]
    assert [(row.backend, row.requests) for row in counted().rows("backend")] == [("b", 2), ("b2", 1)]


def test_without_a_word_there_is_a_row_for_each_combination() -> None:
    assert [(row.agent, row.conversation, row.model, row.backend) for row in counted().rows()] == [
        ("ada", "c1", "m", "b"),
        ("ada", "c2", "m", "b"),
        ("bo", "c2", "n", "b2"),
    ]


def test_a_cost_is_none_only_where_nothing_has_a_price() -> None:
    total = counted().total
    assert (total.cost, total.unpriced, total.requests) == (3.0, 1, 3)
    assert Usage().total == UsageRow()


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="found 'thread', expected None or one of agent"):
        counted().rows("thread")


def test_old_conversations_stay_in_every_sum() -> None:
    usage = Usage(keep=3)
    for number in range(50):
        usage.count("ada", f"c{number}", "m", "b", TokenUsage(1, 1), 1_000_000_000_000)
    assert [row.conversation for row in usage.rows("conversation")] == ["", "c47", "c48", "c49"]
    assert usage.rows("conversation")[0].requests == 47
    assert len(usage.rows()) == 4
    assert usage.total.requests == 50
    assert usage.total.cost == 50.0
    assert usage.rows("agent")[0].total_tokens == 100


def test_a_conversation_that_goes_on_is_a_new_one() -> None:
    usage = Usage(keep=2)
    for name in ("c1", "c2", "c1", "c3"):
        usage.count("ada", name, "m", "b", TokenUsage(1, 1), None)
    assert [row.conversation for row in usage.rows("conversation")] == ["", "c1", "c3"]


def test_models_that_are_named_anew_each_time_do_not_fill_memory() -> None:
    usage = Usage(keep=4)
    for number in range(200):
        usage.count("", "", f"m{number}", "b", TokenUsage(1, 1), None)
    assert len(usage.rows()) == 5
    assert usage.total.requests == 200


def test_sums_of_any_order_agree() -> None:
    chance = random.Random(5)
    usage, told = Usage(keep=7), 0
    for _ in range(500):
        tokens = chance.randrange(1000)
        told += tokens
        usage.count(f"a{chance.randrange(4)}", f"c{chance.randrange(30)}", "m", "b", TokenUsage(tokens, 0), 3)
    for by in (None, "agent", "conversation", "model", "backend"):
        assert sum(row.prompt_tokens for row in usage.rows(by)) == told
        assert sum(row.requests for row in usage.rows(by)) == 500


def test_an_agent_is_counted_anew_once_it_is_reset_and_rows_go_on() -> None:
    usage = counted()
    assert usage.agent("ada") == AgentUsage(18, 11, 7, 2)
    usage.reset("ada")
    assert usage.agent("ada") == AgentUsage()
    assert usage.agents() == {"bo": AgentUsage(9, 3, 4, 1)}
    usage.reset()
    assert usage.agents() == {}
    assert usage.total.requests == 3
