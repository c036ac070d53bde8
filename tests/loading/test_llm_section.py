"""``llm``: its keys, its backends and their scripts, in files and from Python."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from phloem.config import OrganismConfig
from phloem.errors import ConfigurationError
from phloem.llm.backend_settings import KEY_VARIABLES, PROVIDERS, SCRIPTED
from phloem.llm.choosing import Strategy
from phloem.llm.requests import StopReason, TokenUsage
from phloem.llm.script_reading import _OF_A_RULE, _OF_AN_ANSWER, _OF_WHEN
from phloem.llm.settings import _KEYS
from phloem.loading import llm, llm_keys, load_config, resolve

if TYPE_CHECKING:
    from .conftest import Folder

MODULE = """
class Maker:
    async def complete(self, request): ...
def make(**keys): return Maker()
def answer(request): return "x"
THERE = Maker()
NUMBER = 7
"""


def backend(keys: str) -> str:
    return f"llm: {{backends: [{{provider: {keys}}}]}}\n"


def faults_of(section: Any) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        resolve(replace(OrganismConfig(), llm_config=section))
    return [(fault.where, fault.found) for fault in caught.value.faults]


# -- what a file may say -----------------------------------------------------------------------
def test_every_key_of_a_file_is_kept_as_it_is_written(folder: Folder) -> None:
    config = folder.load(
        """
        llm:
          strategy: least-loaded
          retries: 0
          retry_base_delay: 0
          retry_max_delay: 2.5
          default_model: fast/llama3
          defaults: {temperature: 0, max_tokens: 50}
          max_history_tokens: 1_000
          prices:
            "grok*": {input: 3, output: 15, cached: 0.75}
            llama3: {input: 0, output: 0}
          backends:
            - {provider: xai, name: far, api_key_env: A_KEY, optional: true, headers: {X-Team: "a b", X: ""}}
            - {provider: ollama, name: fast, base_url: "http://localhost:11434", supported_models: [llama3]}
        """
    )
    assert config.llm_config == {
        "strategy": "least-loaded",
        "retries": 0,
        "retry_base_delay": 0.0,
        "retry_max_delay": 2.5,
        "default_model": "fast/llama3",
        "defaults": {"temperature": 0.0, "max_tokens": 50},
        "max_history_tokens": 1000,
        "prices": {
            "grok*": {"input": 3.0, "output": 15.0, "cached": 0.75},
            "llama3": {"input": 0.0, "output": 0.0},
        },
        "backends": [
            {
                "provider": "xai",
                "name": "far",
                "api_key_env": "A_KEY",
                "headers": {"X-Team": "a b", "X": ""},
                "optional": True,
            },
            {
                "provider": "ollama",
                "name": "fast",
                "base_url": "http://localhost:11434",
                "supported_models": ("llama3",),
            },
        ],
    }
    assert resolve(config) == config


CASES = [
    ("llm: {defaults: {temperature: ^2.1}}", "2.1 as temperature", "a number from 0 to 2"),
    ("llm: {defaults: {max_tokens: ^0}}", "0 as max_tokens", "a whole number, at least 1"),
    ("llm: {^temperature: 1}", "the unknown key 'temperature'", "it belongs under defaults:"),
    ("llm: {^provider: xai}", "the unknown key 'provider'", "it belongs to a backend in backends:"),
    ("llm: {^model: x}", "the unknown key 'model'", "it is default_model here"),
    ("llm: {max_history_tokens: ^0}", "0 as max_history_tokens", "a whole number, at least 1"),
    ("llm: {default_model: ^''}", "an empty text as default_model", "a model's name"),
    ("llm: {default_model: ^x}", "'x' without a backend", "backends: that take it"),
    ("llm: {prices: ^[]}", "a list as prices", "a mapping of models' names to prices"),
    ("llm: {prices: {a: ^5}}", "the number 5 as a", "a mapping with input, output, cached"),
    ("llm: {prices: {a: ^{input: 1}}}", "no output", "output: money per million tokens, 0 or more"),
    ("llm: {prices: {a: {input: ^-1, output: 1}}}", "-1.0 as input", "money per million tokens, 0 or more"),
    ("llm: {prices: {a: {input: ^x, output: 1}}}", "the text 'x' as input", "money per million tokens"),
    ("llm: {prices: {a: {input: 1, output: 1, ^cache: 1}}}", "the unknown key 'cache'", "'cached'"),
    (
        "llm: {prices: {a: {input: 1, output: 1}, A: ^{input: 1, output: 1}}}",
        "'A' a second time",
        "each name once, in any case",
    ),
    (backend("xai, name: ^a/b"), "the text 'a/b' as name", "backend/model means a model of one backend"),
    (backend("xai, name: ^' a'"), "the text ' a' as name", "a name without / and spaces around it"),
    (backend("xai, name: ^''"), "an empty text as name", "a name without /"),
    (backend("xai, optional: ^1"), "the number 1 as optional", "true or false"),
    (backend("xai, ^api_key: sk-x"), "the unknown key 'api_key'", "api_key_env names a variable"),
    (
        backend("xai, ^script: [x]"),
        "the unknown key 'script'",
        "it belongs to a backend of provider: scripted",
    ),
    (backend("xai, ^transport: x"), "the unknown key 'transport'", "one of provider, name"),
    (backend("^scriptd"), "the text 'scriptd' as provider", "did you mean 'scripted'?"),
    (backend("^m.make"), "no 'make' in module 'm'", "did you mean 'maker'?"),
    ("llm: {backends: [^{provider: scripted}]}", "no script", "a list of answers"),
    (
        backend("scripted, script: ^made:NUMBER"),
        "'made:NUMBER', 7 that cannot be called",
        "a function of the",
    ),
    (backend("scripted, script: ^made:Maker"), "'made:Maker', a class", "a function of the request"),
    (backend("scripted, script: ^hello"), "'hello' as an import path", "an import path"),
    (backend("scripted, script: [x], repeat: ^1"), "the number 1 as repeat", "true or false"),
    (backend("scripted, script: [^7]"), "the number 7 as script", "a text, or a mapping with text"),
    (backend("scripted, script: [{^dely: 1}]"), "the unknown key 'dely'", "did you mean 'delay'?"),
    (backend("scripted, script: [{status: ^200}]"), "200 as status", "a whole number from 400 to 599"),
    (backend("scripted, script: [{stop_reason: ^x}]"), "the text 'x' as stop_reason", "one of stop, length"),
    (backend("scripted, script: [{when: {^agnt: x}, text: x}]"), "the unknown key 'agnt'", "'agent'"),
    (backend("scripted, script: [{when: x, answers: [{cut: ^-1}]}]"), "-1 as cut", "at least 0"),
    (backend("^made:NUMBER"), "'made:NUMBER', 7 that cannot be called", "a function that makes a backend"),
    (backend("made:make, size: ^0x10"), "what YAML 1.1 reads as a number", "a number in decimal"),
    (backend("made:make, deep: [{a: ^yes}]"), "what YAML 1.1 reads as a truth", "a text like this in quotes"),
    (backend("made:make, timeout: ^x"), "the text 'x' as timeout", "seconds, more than 0"),
    (backend("xai, base_url: ^'http://a b'"), "'http://a b' as base_url", "an address that begins with http"),
]


@pytest.mark.parametrize(("marked", "found", "expected"), CASES)
def test_a_fault_of_the_section_is_told_where_it_stands(
    folder: Folder, marked: str, found: str, expected: str
) -> None:
    folder.write("made.py", MODULE)
    folder.write("m.py", "maker = 1\n")
    before, _, after = marked.partition("^")
    where, said, wanted = folder.one(before + after)
    assert where == f"organism.yaml:1:{len(before) + 1}"
    assert said.startswith(found)
    assert expected in wanted


def test_a_name_given_twice_in_any_case_is_told_at_the_second(folder: Folder) -> None:
    text = "llm:\n  backends:\n    - {provider: xai, name: one}\n    - {provider: ollama, name: One}\n"
    found = "the name 'One' a second time (first: backend number 1)"
    assert folder.places(text) == [("4:32", found)]


def test_backends_of_one_provider_need_no_names(folder: Folder) -> None:
    folder.load("llm: {backends: [{provider: xai}, {provider: xai}]}\n")


# -- headers -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("headers", "column", "found"),
    [
        ("'Authorization: sk-secret'", 10, "a text as headers"),
        ("[sk-secret]", 10, "a list as headers"),
        ("{sk-secret x: a}", 11, "what cannot be the name of an HTTP header"),
        ("{'': sk-secret}", 11, "what cannot be the name of an HTTP header"),
        ("{'X-Ä': sk-secret}", 11, "what cannot be the name of an HTTP header"),
        ('{X: "sk-secret\\nY: z"}', 14, "what cannot be the value of an HTTP header"),
        ("{X: 'sk-secretä'}", 14, "what cannot be the value of an HTTP header"),
        ("{X: ' sk-secret'}", 14, "what cannot be the value of an HTTP header"),
        ("{X: 75}", 14, "what YAML 1.1 reads as a number as a header's value"),
        ("{X: [sk-secret]}", 14, "a list as a header's value"),
        ("{X: }", 11, "nothing as a header's value"),
        ("{X: sk-secret, x: sk-secret}", 25, "the same header a second time"),
        ("{Content-Length: sk-secret}", 11, "the header content-length"),
    ],
)
def test_what_is_no_header_is_told_without_a_word_of_it(
    folder: Folder, headers: str, column: int, found: str
) -> None:
    text = f"llm:\n  backends:\n  - provider: xai\n    headers: {headers}\n"
    fault = folder.one(text)
    assert fault[:2] == (f"organism.yaml:4:{column + 4}", found)
    assert "sk-secret" not in "".join(fault)
    assert "75" not in fault[2]


@pytest.mark.parametrize(
    "headers", [{"X": 1}, {1: "sk-secret"}, {"X": b"sk-secret"}, "sk-secret", {"X": "\r"}]
)
def test_nor_is_it_from_python(headers: Any) -> None:
    ((where, found),) = faults_of({"backends": [{"provider": "xai", "headers": headers}]})
    assert where == "backend number 1"
    assert "sk-secret" not in found


def test_an_address_with_a_password_is_not_quoted(folder: Folder) -> None:
    fault = folder.one(backend('xai, base_url: "https://me:sk-secret@x.ai"'))
    assert fault[1] == "an address with a user or password as base_url"
    assert "sk-secret" not in "".join(fault)


# -- import paths ------------------------------------------------------------------------------
def test_factories_backends_and_scripts_are_imported(folder: Folder) -> None:
    folder.write("made.py", MODULE)
    config = folder.load(
        """
        llm:
          default_model: m
          backends:
            - {provider: "made:make", size: 16, deep: [{a: true, b: null, c: 1.5}], rate_limit_tpm: 5}
            - {provider: made.Maker}
            - {provider: "made:THERE", name: there}
            - {provider: scripted, script: "made:answer", repeat: true}
            - {provider: scripted, script: [a, {text: b, delay: none, chunks: [b]}, {when: c, answers: [d]}]}
        """
    )
    made, maker, there, function, listed = config.llm_config["backends"]
    assert (made.pop("provider").__name__, maker["provider"].__name__) == ("make", "Maker")
    assert made == {"size": 16, "deep": [{"a": True, "b": None, "c": 1.5}], "rate_limit_tpm": 5}
    assert type(there["provider"]).__name__ == "Maker"
    assert function["script"](None) == "x"
    assert listed["script"][1] == {"text": "b", "delay": float("inf"), "chunks": ("b",)}
    assert listed["script"][2] == {"when": "c", "answers": ["d"]}


def test_a_factory_that_raises_as_it_is_imported_is_told_where_it_did(folder: Folder) -> None:
    folder.write("broken.py", "1 / 0\n")
    assert "which raised ZeroDivisionError" in folder.one(backend("broken:make"))[1]


# -- from Python -------------------------------------------------------------------------------
class Answers:
    """A backend of somebody's own."""

    async def complete(self, request: Any) -> Any:
        raise NotImplementedError


def make(**keys: Any) -> Answers:
    return Answers()


@pytest.mark.parametrize(
    "backend",
    [
        Answers(),
        {"provider": Answers()},
        {"provider": make, "anything": object()},
        {"provider": Answers, "priority": 2},
        {"provider": "xai", "transport": SimpleNamespace()},
        {"provider": "openai", "api_key": SimpleNamespace()},
        {"provider": "scripted", "script": lambda request: "x"},
        {"provider": "scripted", "script": [object(), "x"]},
    ],
)
def test_objects_stand_for_backends_and_for_what_makes_them(backend: Any) -> None:
    config = replace(OrganismConfig(), llm_config={"backends": [backend]})
    assert resolve(config) == config
    assert resolve(config).llm_config["backends"][0] is backend


@pytest.mark.parametrize(
    ("backend", "found"),
    [
        (Answers, "a type as backends"),
        (SimpleNamespace(), "a SimpleNamespace as backends"),
        ({"provider": 7}, "7 as provider"),
        ({"provider": SimpleNamespace()}, "a SimpleNamespace as provider"),
        ({"provider": "xai", "api_key": "sk-secret"}, "the unknown key 'api_key'"),
        ({"provider": "xai", "priority": "1"}, "the text '1' as priority"),
        ({"provider": "xai", 7: 1}, "the unknown key '7'"),
        ({"provider": "scripted", "script": 7}, "7 as script"),
        ({"provider": "scripted", "script": ""}, "an empty text as script"),
    ],
)
def test_what_is_no_backend_is_told_by_its_number(backend: Any, found: str) -> None:
    there = {"provider": "ollama"}
    ((where, said),) = faults_of({"backends": [there, backend]})
    assert said == found
    assert where == ("backend number 2" if isinstance(backend, dict) else where)
    assert "sk-secret" not in said


def test_prices_may_be_decimals_and_must_be_numbers() -> None:
    good = {"prices": {"m": {"input": Decimal("0.0375"), "output": 1}}}
    assert resolve(replace(OrganismConfig(), llm_config=good)).llm_config == good
    for wrong in (Decimal("NaN"), Decimal("Infinity"), Decimal(-1), float("inf"), True):
        ((_, found),) = faults_of({"prices": {"m": {"input": wrong, "output": 1}}})
        assert found.endswith("as input")


def test_backends_beside_a_file_take_the_place_of_its_own(folder: Folder) -> None:
    text = "llm: {default_model: m, backends: [{provider: xai, api_key_env: NO_SUCH_KEY}]}\n"
    own = Answers()
    for written in (text, "llm: {default_model: m}\n"):
        file = folder.write("organism.yaml", written)
        assert load_config(file, keys=True, backends=[own]).llm_config["backends"] == [own]
    with pytest.raises(ConfigurationError, match="7 as provider"):
        load_config(folder.path / "organism.yaml", backends=[{"provider": 7}])


# -- in step with who reads it next ------------------------------------------------------------
def test_the_tables_are_those_of_the_router_and_of_scripts() -> None:
    assert set(llm_keys.LLM) == set(_KEYS)
    assert (*PROVIDERS, SCRIPTED) == llm_keys.PROVIDERS
    assert llm_keys.LLM["strategy"].rule.expected == f"one of {', '.join(Strategy)}"
    assert set(llm_keys._ANSWER) == set(_OF_AN_ANSWER)
    assert set(llm_keys._RULE) == {*_OF_AN_ANSWER, *_OF_A_RULE}
    assert tuple(llm_keys._WHEN) == _OF_WHEN
    assert llm_keys._ANSWER["stop_reason"].rule.expected == f"one of {', '.join(StopReason)}"
    assert set(llm_keys._USAGE) == set(TokenUsage.__dataclass_fields__)
    assert llm.KEY_VARIABLES == KEY_VARIABLES
