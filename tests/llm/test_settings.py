"""Claims of llm/settings.py and what it reads with: defaults, names, keys, prices, all faults at once."""

from __future__ import annotations

import copy
import pickle
import pprint
from collections.abc import Mapping
from dataclasses import asdict, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.config import UNMETERED_TPM
from phloem.errors import ConfigurationError
from phloem.llm.prices import per_million
from phloem.llm.requests import LLMRequest, LLMResponse, TokenUsage
from phloem.llm.settings import LLMSettings, Price, Secret, Strategy, read_settings

KEY = "sk-do-not-show-me"


class Mine:
    async def complete(self, request: LLMRequest, /) -> LLMResponse:
        raise NotImplementedError


def read(*backends: Any, environ: Mapping[str, str] | None = None, **section: Any) -> LLMSettings:
    return read_settings({"backends": list(backends), **section}, environ or {})


def faults(*backends: Any, environ: Mapping[str, str] | None = None, **section: Any) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        read(*backends, environ=environ, **section)
    assert KEY not in str(caught.value)
    return [(fault.where, fault.found) for fault in caught.value.faults]


def test_an_empty_section_has_the_references_defaults() -> None:
    own = read_settings({}, {})
    assert (own.strategy, own.retries, own.retry_base_delay, own.retry_max_delay) == (
        "failover",
        3,
        1.0,
        60.0,
    )
    assert (own.backends, own.default_model, own.prices) == ((), "", {})
    assert (own.temperature, own.max_tokens, own.max_history_tokens) == (0.7, 1_024, 32_000)


def test_a_backend_has_the_references_defaults() -> None:
    (own,) = read({"provider": "ollama"}).backends
    assert (own.name, own.kind, own.priority, own.rate_limit_tpm) == ("ollama", "ollama", 1, 100_000)
    assert (own.max_concurrent, own.timeout, own.supported_models, own.optional) == (20, 120.0, (), False)


def test_what_is_written_is_kept() -> None:
    transport = object()
    entry = {
        "provider": "openai",
        "name": "Groq",
        "api_key_env": "GROQ_KEY",
        "base_url": "https://api.groq.com/openai/v1",
        "priority": -2,
        "rate_limit_tpm": 7,
        "max_concurrent": 3,
        "supported_models": ["llama*"],
        "timeout": 5,
        "headers": {"X-Title": "phloem"},
        "optional": True,
        "transport": transport,
    }
    section = {
        "strategy": "least-loaded",
        "retries": 0,
        "retry_base_delay": 0,
        "retry_max_delay": 5,
        "default_model": "llama3",
        "max_history_tokens": 10,
        "defaults": {"temperature": 0, "max_tokens": 5},
    }
    own = read(entry, environ={"GROQ_KEY": KEY}, **section)
    (backend,) = own.backends
    assert own.strategy is Strategy.LEAST_LOADED
    assert (own.retries, own.retry_base_delay, own.retry_max_delay) == (0, 0.0, 5.0)
    assert (own.temperature, own.max_tokens, own.max_history_tokens) == (0.0, 5, 10)
    assert own.default_model == "llama3"
    assert (backend.name, backend.priority, backend.rate_limit_tpm) == ("Groq", -2, 7)
    assert (backend.max_concurrent, backend.timeout) == (3, 5.0)
    assert backend.supported_models == ("llama*",)
    assert backend.headers == {"X-Title": "phloem"}
    assert backend.api_key is not None
    assert backend.api_key.reveal() == KEY
    assert backend.options == {key: value for key, value in entry.items() if key != "provider"}


def test_a_temperature_of_none_is_left_to_the_provider() -> None:
    assert read(defaults={"temperature": None}).temperature is None


# -- names ------------------------------------------------------------------------------------------
def test_names_are_the_providers_and_numbered_where_they_would_be_one() -> None:
    local = {"provider": "openai", "base_url": "http://localhost:8000/v1"}
    named = {**local, "name": "OpenAI-2"}
    own = read(local, named, local, Mine(), {"provider": Mine}, {"provider": "scripted"})
    names = [each.name for each in own.backends]
    assert names == ["openai", "OpenAI-2", "openai-3", "custom", "custom-2", "scripted"]


def test_one_that_is_left_out_keeps_its_name_from_the_others() -> None:
    optional = {"provider": "xai", "optional": True}
    own = read(optional, {"provider": "xai", "api_key_env": "OTHER"}, environ={"OTHER": KEY})
    assert [each.name for each in own.backends] == ["xai-2"]
    assert own.left_out == {"xai": "XAI_API_KEY"}


def test_an_object_that_has_a_name_is_called_by_it() -> None:
    mine = Mine()
    mine.name = "stub"  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    assert [each.name for each in read(mine, mine).backends] == ["stub", "stub-2"]


def test_two_names_that_differ_in_case_only_are_one() -> None:
    first, second = {"provider": "ollama", "name": "a"}, {"provider": "ollama", "name": "A"}
    assert faults(first, second) == [
        ("llm.backends[1].name", "the text 'A' a second time, after backends[0]")
    ]


# -- keys -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("provider", "variable"),
    [("xai", "XAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("openai", "OPENAI_API_KEY")],
)
def test_a_provider_has_a_variable_of_its_own(provider: str, variable: str) -> None:
    (own,) = read({"provider": provider}, environ={variable: f" {KEY}\n"}).backends
    assert own.api_key is not None
    assert own.api_key.reveal() == KEY
    with pytest.raises(ConfigurationError) as caught:
        read({"provider": provider})
    (fault,) = caught.value.faults
    assert fault.where == "llm.backends[0].api_key_env"
    assert variable in fault.found
    assert "not set" in fault.found
    assert variable in fault.expected
    assert ".env beside organism.yaml" in fault.expected


def test_openais_key_is_sent_to_nobody_else_unasked() -> None:
    there = {"provider": "openai", "base_url": "http://localhost:8000/v1"}
    environ = {"OPENAI_API_KEY": KEY}
    assert read(there, environ=environ).backends[0].api_key is None
    assert read({**there, "base_url": "https://api.openai.com/v1"}, environ=environ).backends[0].api_key
    assert read({**there, "api_key_env": "OPENAI_API_KEY"}, environ=environ).backends[0].api_key


def test_a_variable_that_is_empty_is_not_set() -> None:
    assert faults({"provider": "xai"}, environ={"XAI_API_KEY": " "}) == [
        ("llm.backends[0].api_key_env", "XAI_API_KEY, which is set to nothing, for the key of xai")
    ]


def test_what_is_no_key_and_what_names_no_variable_is_not_quoted() -> None:
    ((where, found),) = faults({"provider": "xai"}, environ={"XAI_API_KEY": f"{KEY} {KEY}"})
    assert (where, found) == ("llm.backends[0].api_key_env", "XAI_API_KEY with characters that no key has")
    assert faults({"provider": "xai", "api_key_env": KEY}) == [
        ("llm.backends[0].api_key_env", "something that cannot name a variable")
    ]
    assert faults({"provider": "xai", "api_key": KEY})[0] == ("llm.backends[0].api_key", "a str")


def test_python_may_hand_in_a_secret() -> None:
    secret = Secret(KEY)
    assert read({"provider": "xai", "api_key": secret}).backends[0].api_key is secret


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(KEY)
    (own,) = read(
        {"provider": "xai", "api_key": secret, "headers": {"Authorization": KEY}, "timeout": 3}
    ).backends
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", "%s %r" % (secret, secret)]  # noqa: UP031
    shown += [repr(own), repr(LLMSettings(backends=(own,))), pprint.pformat(own), repr(vars(type(secret)))]
    shown += [repr([getattr(secret, name) for name in dir(secret) if name != "reveal"])]
    shown += [repr(asdict(replace(own, headers={}, options={})))]
    assert not any(KEY in text for text in shown)
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(secret, protocol)


# -- prices -----------------------------------------------------------------------------------------
def test_prices_are_trillionths_for_one_token_rounded_up() -> None:
    prices = {
        "m": {"input": 0.1, "output": 15, "cached": Decimal("0.0000001")},
        "n": {"input": 3, "output": 0},
    }
    own = read(prices=prices)
    assert own.prices == {"m": Price(100_000, 15_000_000, 1), "n": Price(3_000_000, 0, 3_000_000)}


@given(st.floats(0, 1e6))
def test_no_price_is_less_than_what_is_written(amount: float) -> None:
    exact = Fraction(repr(amount)) * 10**6
    assert exact <= per_million(amount) < exact + 1


def test_a_call_costs_what_its_tokens_do() -> None:
    price = Price(input=10, output=100, cached=1)
    assert price.of(TokenUsage(5, 2, cached_tokens=3)) == 2 * 10 + 3 * 1 + 2 * 100
    assert price.of(TokenUsage(5, 2, total_tokens=10)) == 5 * 10 + 5 * 100, "what it thought is answered too"
    assert price.of(TokenUsage(5, 2, cached_tokens=9)) == 5 * 1 + 2 * 100
    assert price.at_most(5, 2) == 5 * 10 + 2 * 100
    assert Price(input=1, output=1, cached=10).at_most(5, 2) == 52


@given(*[st.integers(0, 50)] * 5, st.integers(0, 50), st.integers(0, 50))
def test_no_call_within_its_bounds_costs_more_than_was_said(
    a: int, b: int, c: int, asked: int, cached: int, answered: int, spare: int
) -> None:
    price = Price(a, b, c)
    usage = TokenUsage(asked, answered, cached_tokens=min(cached, asked))
    assert price.of(usage) <= price.at_most(asked + spare, answered + spare)


def test_a_price_is_found_by_name_then_by_the_longest_pattern() -> None:
    def price(number: int) -> dict[str, int]:
        return {"input": number, "output": 0}

    names = ["*", "gpt-*", "gpt-4*", "gpt-4o", "local/gpt-4o", "loc*"]
    own = read(
        {"provider": "ollama", "name": "local"},
        {"provider": "ollama", "name": "far"},
        prices={name: price(place) for place, name in enumerate(names)},
    )

    def found(model: str, backend: str = "") -> int:
        each = own.price(model, backend)
        assert each is not None
        return each.input // 10**6

    assert [found(m) for m in ("x", "gpt-3", "GPT-4-turbo", "gpt-4O")] == [0, 1, 2, 3]
    assert found("gpt-4o", "Local") == found("LOCAL/gpt-4o") == 4
    assert found("far/gpt-4o") == 3
    assert found("local/zzz") == 5
    assert found("elsewhere/gpt-4o") == 0, "that is no backend: the whole is the model's name"
    assert read().price("gpt-4o") is None


# -- faults -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("section", "where", "found"),
    [
        ({"strategy": "fail-over"}, "llm.strategy", "the text 'fail-over'"),
        ({"strategy": None}, "llm.strategy", "None"),
        ({"retries": -1}, "llm.retries", "-1"),
        ({"retries": True}, "llm.retries", "True"),
        ({"retries": 1.0}, "llm.retries", "1.0"),
        ({"retry_base_delay": -0.1}, "llm.retry_base_delay", "-0.1"),
        ({"retry_base_delay": "1"}, "llm.retry_base_delay", "the text '1'"),
        ({"retry_max_delay": float("inf")}, "llm.retry_max_delay", "inf"),
        ({"retry_max_delay": float("nan")}, "llm.retry_max_delay", "nan"),
        ({"backends": {"provider": "xai"}}, "llm.backends", "a dict"),
        ({"backends": "xai"}, "llm.backends", "the text 'xai'"),
        ({"backends": None}, "llm.backends", "None"),
        ({"default_model": 4}, "llm.default_model", "4"),
        ({"defaults": {"temperature": 2.1}}, "llm.defaults.temperature", "2.1"),
        ({"defaults": {"max_tokens": 0}}, "llm.defaults.max_tokens", "0"),
        ({"defaults": {"tokens": 0}}, "llm.defaults", "the unknown key 'tokens'"),
        ({"defaults": []}, "llm.defaults", "a list"),
        ({"max_history_tokens": 0}, "llm.max_history_tokens", "0"),
        ({"retires": 3}, "llm", "the unknown key 'retires'"),
        ({3: 3}, "llm", "the unknown key 3"),
        ({"prices": []}, "llm.prices", "a list"),
        ({"prices": {"m": 3}}, "llm.prices['m']", "3"),
        ({"prices": {"m": {"input": 3}}}, "llm.prices['m'].output", "nothing"),
        ({"prices": {"m": {"input": -1, "output": 0}}}, "llm.prices['m'].input", "-1"),
        (
            {"prices": {"": {"input": 1, "output": 0}}},
            "llm.prices['']",
            "no name, or one for the second time",
        ),
    ],
)
def test_a_fault_of_the_section_says_where_and_what(section: dict[Any, Any], where: str, found: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(section, {})
    assert [(fault.where, fault.found) for fault in caught.value.faults] == [(where, found)]


@pytest.mark.parametrize(
    ("entry", "where", "found"),
    [
        (7, "", "7"),
        ("ollama", "", "the text 'ollama'"),
        (Mine, "", "a type"),
        ({}, ".provider", "nothing"),
        ({"provider": "olama"}, ".provider", "the text 'olama'"),
        ({"provider": 7}, ".provider", "7"),
        ({"provider": "ollama", "name": ""}, ".name", "an empty text"),
        ({"provider": "ollama", "name": "a/b"}, ".name", "the text 'a/b'"),
        ({"provider": "ollama", "name": " a"}, ".name", "the text ' a'"),
        ({"provider": "ollama", "name": 3}, ".name", "3"),
        ({"provider": "ollama", "priority": "1"}, ".priority", "the text '1'"),
        ({"provider": "ollama", "rate_limit_tpm": 0}, ".rate_limit_tpm", "0"),
        ({"provider": "ollama", "max_concurrent": 0}, ".max_concurrent", "0"),
        ({"provider": "ollama", "timeout": 0}, ".timeout", "0"),
        ({"provider": "ollama", "timeout": None}, ".timeout", "None"),
        ({"provider": "ollama", "optional": 1}, ".optional", "1"),
        ({"provider": "ollama", "supported_models": "m"}, ".supported_models", "the text 'm'"),
        ({"provider": "ollama", "supported_models": ["m", 3]}, ".supported_models[1]", "3"),
        ({"provider": "ollama", "base_url": "localhost"}, ".base_url", "the text 'localhost'"),
        (
            {"provider": "ollama", "base_url": f"http://u:{KEY}@h"},
            ".base_url",
            "an address with a user or password",
        ),
        ({"provider": "ollama", "headers": [KEY]}, ".headers", "a list"),
        ({"provider": "ollama", "headers": {KEY + ":": "x"}}, ".headers", "a name that no header has"),
        ({"provider": "ollama", "headers": {"A": KEY + "\n"}}, ".headers['A']", "what no header holds"),
        ({"provider": "ollama", "headers": {"A": 3}}, ".headers['A']", "what no header holds"),
        ({"provider": "ollama", "tiemout": 3}, "", "the unknown key 'tiemout'"),
        ({"provider": Mine(), "url": 3}, "", "the unknown key 'url'"),
    ],
)
def test_a_fault_of_a_backend_says_where_and_what(entry: Any, where: str, found: str) -> None:
    assert faults(entry) == [("llm.backends[0]" + where, found)]


def test_a_factory_has_keys_of_its_own() -> None:
    (own,) = read({"provider": lambda **_: Mine(), "region": "eu", "timeout": 3}).backends
    assert own.options == {"region": "eu", "timeout": 3}


def test_all_faults_are_told_at_once() -> None:
    bad = {"provider": "xai", "timeout": -1}
    assert len(faults(bad, {"provider": "x"}, 3, retries=-1, prices={"m": {}})) == 7


def test_a_default_model_that_nobody_takes_is_a_fault() -> None:
    assert faults({"provider": "ollama", "supported_models": ["llama*"]}, default_model="grok-4") == [
        ("llm.default_model", "'grok-4', which no backend takes")
    ]
    left_out = {"provider": "xai", "optional": True}
    assert read(left_out, default_model="grok-4").backends == ()
    assert read(default_model="grok-4").default_model == "grok-4"


def test_a_stand_in_is_there_only_where_no_other_backend_is() -> None:
    real = {"provider": "anthropic", "api_key_env": "K", "optional": True}
    section = {"backends": [real, {"provider": "scripted", "script": ["x"], "stand_in": True}]}
    assert [each.name for each in read_settings(section, {"K": "key"}).backends] == ["anthropic"]
    assert [each.name for each in read_settings(section, {}).backends] == ["scripted"]


def test_tokens_a_minute_are_counted_where_a_provider_counts_them() -> None:
    section = {"backends": [{"provider": "ollama"}, {"provider": "scripted", "script": ["x"]}, Mine()]}
    ours, script, own = read_settings(section, {}).backends
    assert ours.rate_limit_tpm == 100_000
    assert script.rate_limit_tpm == own.rate_limit_tpm == UNMETERED_TPM
