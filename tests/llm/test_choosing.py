"""Claims of llm/choosing.py: which backends a model goes to, and whose turn it is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from phloem.llm.choosing import Chooser, Strategy, matches, route


@dataclass(frozen=True)
class Known:
    name: str
    kind: str
    supported_models: tuple[str, ...] = ()


@dataclass
class Stand:
    rank: tuple[int, int]
    load: int = 0


XAI, ANTHROPIC, OPENAI = Known("xai", "xai"), Known("anthropic", "anthropic"), Known("openai", "openai")
OLLAMA, OWN = Known("ollama", "ollama"), Known("own", "custom")
ALL = (OLLAMA, XAI, ANTHROPIC, OPENAI, OWN)


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("grok-4", 1),
        ("GROK-3-mini", 1),
        ("claude-sonnet-4", 2),
        ("eu.anthropic.claude-x", 2),
        ("us.anthropic.opus", 2),
        ("gpt-4o", 3),
        ("ChatGPT-4o-latest", 3),
        ("ft:gpt-4o:me", 3),
        ("o1", 3),
        ("O3-mini", 3),
        ("o4-mini", 3),
    ],
)
def test_a_model_goes_to_its_provider_and_after_it_to_who_takes_any(model: str, place: int) -> None:
    way = route(model, ALL)
    assert (way.model, way.named, way.any) == (model, (place,), (0, 4))


@pytest.mark.parametrize(
    "model", ["llama3", "qwen-pro1", "my-grok", "proto3", "mistral/large", "/", "a/", "/b"]
)
def test_a_name_of_no_provider_goes_to_who_takes_any(model: str) -> None:
    assert route(model, ALL).named == ()
    assert route(model, ALL).any == (0, 4)
    assert route(model, (XAI, OPENAI)) == route(model, ())


def test_supported_models_are_all_that_a_backend_takes_and_count_as_its_own() -> None:
    groq = Known("groq", "openai", ("llama-3*", "Mixtral-8x7b"))
    local = Known("local", "ollama", ("qwen*coder",))
    everyone = (OLLAMA, groq, local)
    assert route("LLAMA-3-70b", everyone).named == (1,)
    assert route("mixtral-8x7B", everyone).named == (1,)
    assert route("gpt-4o", everyone).named == ()
    assert route("qwen2-coder", everyone).named == (2,)
    assert route("qwen2-coder-7b", everyone).named == ()
    assert route("qwen2-coder", everyone).any == (0,)


def test_a_backend_can_be_named_and_gets_the_bare_model() -> None:
    way = route("OpenAI/llama", ALL)
    assert (way.model, way.named, way.any) == ("llama", (3,), ())
    way = route("own/openai/gpt-4o", ALL)
    assert (way.model, way.named) == ("openai/gpt-4o", (4,))


def test_a_named_backend_still_takes_only_what_it_supports() -> None:
    way = route("groq/gpt-4o", (Known("groq", "openai", ("llama*",)), OLLAMA))
    assert (way.named, way.any) == ((), ())


@pytest.mark.parametrize(
    ("name", "pattern", "does"),
    [
        ("abc", "*", True),
        ("", "*", True),
        ("abc", "ABC", True),
        ("abc", "a*c", True),
        ("abcd", "a*c", False),
        ("a.c", "a.c", True),
        ("abc", "a.c", False),
        ("a[b]", "a[b]", True),
        ("ab", "a[b]", False),
        ("a?", "a?", True),
        ("ab", "a?", False),
        ("a\nb", "a*b", True),
        ("STRASSE", "straße", True),
    ],
)
def test_only_a_star_stands_for_anything(name: str, pattern: str, does: bool) -> None:
    assert matches(name, pattern) is does


def test_many_stars_take_no_time() -> None:
    assert not matches("a" * 60, "*a" * 12 + "b")


GROUP = [Stand((1, 0)), Stand((1, 1)), Stand((2, 2))]


def places(chooser: Chooser, times: int, *out: Stand) -> list[int]:
    picked = [chooser.pick(GROUP, lambda each: all(each is not one for one in out)) for _ in range(times)]
    return [-1 if each is None else each.rank[1] for each in picked]


def test_failover_takes_the_first_that_is_free() -> None:
    chooser = Chooser(Strategy.FAILOVER)
    assert places(chooser, 2) == [0, 0]
    assert places(chooser, 2, GROUP[0]) == [1, 1]
    assert places(chooser, 1, *GROUP) == [-1]


def test_round_robin_is_even_also_where_one_was_out_and_for_each_group_by_itself() -> None:
    chooser = Chooser(Strategy.ROUND_ROBIN)
    assert places(chooser, 7) == [0, 1, 2, 0, 1, 2, 0]
    assert chooser.pick(GROUP[:2], lambda _: True) is GROUP[0], "another model's backends"
    assert places(chooser, 2, GROUP[1]) == [2, 0]
    assert places(chooser, 3) == [1, 2, 0]
    assert places(chooser, 2, *GROUP) == [-1, -1]
    assert places(chooser, 1) == [1]


def test_least_loaded_takes_the_fewest_and_of_equals_the_first_in_rank() -> None:
    chooser = Chooser(Strategy.LEAST_LOADED)
    group = [Stand((1, 0), 2), Stand((1, 1), 1), Stand((2, 2), 1)]
    assert chooser.pick(group, lambda _: True) is group[1]
    group[1].load = 2
    assert chooser.pick(group, lambda _: True) is group[2]
    assert chooser.pick(group, lambda each: each is not group[2]) is group[0]
