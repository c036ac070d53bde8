"""Single values: each key's type and range, in files and from Python alike."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from phloem.config import (
    Budgets,
    EventLimits,
    ListenerConfig,
    MemoryLimits,
    OnFull,
    OrganismConfig,
    Usage,
    WireLimits,
)
from phloem.errors import ConfigurationError
from phloem.loading import resolve
from support.listeners import Ping, drop

if TYPE_CHECKING:
    from .conftest import Folder

LISTENER = "listeners:\n  - name: a\n    payload_class: hello.Greeting\n    handler: hello.greet\n    "


def refused(config: OrganismConfig) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        resolve(config)
    return [(fault.where, fault.found) for fault in caught.value.faults]


def placed(marked: str, found: str, expected: str) -> tuple[str, str, str, str]:
    """A case whose ``^`` marks where the fault is to be told; the file has none there."""
    before, _, after = marked.partition("^")
    row, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return before + after, f"{row}:{column}", found, expected


VALUES = [
    # text
    ("organism: {name: ^yes}", "yes, which YAML 1.1 reads as true, as name", 'write "yes" in quotes'),
    ("organism: {name: ^Off}", "Off, which YAML 1.1 reads as false, as name", 'write "Off" in quotes'),
    ("organism: {name: ^true}", "true as name", "a name; if that"),
    ("organism: {name: ^5}", "the number 5 as name", 'write "5" in quotes'),
    ("organism: {name: ^1.5}", "the number 1.5 as name", "a name"),
    ("organism: {name: ^010}", "010, which YAML 1.1 reads as the octal number 8, as name", '"010"'),
    ("organism: {name: ^1:30}", "1:30, which YAML 1.1 reads as the base 60 number 90, as name", "a"),
    ("organism: {name: ^2024-01-01}", "2024-01-01, which YAML 1.1 reads as a date, as name", "a"),
    ("organism: {name: ^~}", "~, which is nothing, as name", "a name"),
    ("organism: {name: ^[x]}", "a list as name", "a name"),
    ("organism:\n  ^name:\n", "nothing as name", "a name"),
    ("organism: {identity: ^''}", "an empty text as identity", "the path of a key file"),
    # whole numbers
    ("organism: {port: ^65536}", "65536 as port", "a whole number from 0 to 65535"),
    ("organism: {port: ^'80'}", "the text '80' as port", "a whole number from 0 to 65535"),
    ("max_in_flight: ^0", "0 as max_in_flight", "a whole number, at least 1"),
    ("max_in_flight: ^-3", "-3 as max_in_flight", "a whole number, at least 1"),
    ("max_in_flight: ^1.5", "the number 1.5 as max_in_flight", "a whole number, at least 1"),
    ("max_in_flight: ^yes", "yes, which YAML 1.1 reads as true, as max_in_flight", "a whole number"),
    ("max_attempts: ^010", "010, which YAML 1.1 reads as the octal number 8, as max_attempts", "8"),
    ("max_attempts: ^0x1F", "0x1F, which YAML 1.1 reads as the hexadecimal number 31", "that is 31"),
    ("max_attempts: ^1:30", "1:30, which YAML 1.1 reads as the base 60 number 90", "that is 90"),
    ("keep_outcomes: ^" + "9" * 5000, "a number of 5000 digits as keep_outcomes", "a whole number"),
    ("max_concurrent_pipelines: ^0", "0 as max_concurrent_pipelines", "at least 1"),
    ("max_concurrent_handlers: ^0", "0 as max_concurrent_handlers", "at least 1"),
    ("max_concurrent_per_agent: ^0", "0 as max_concurrent_per_agent", "at least 1"),
    # seconds
    ("handler_timeout: ^0", "0.0 as handler_timeout", "seconds, more than 0, or none for no bound"),
    ("handler_timeout: ^soon", "the text 'soon' as handler_timeout", "seconds, more than 0"),
    ("handler_timeout: ^'5'", "the text '5' as handler_timeout", "seconds, more than 0"),
    ("handler_timeout: ^1:30", "1:30, which YAML 1.1 reads as the base 60 number 90", "that is 90"),
    ("handler_timeout: ^.nan", "the number .nan as handler_timeout", "seconds, more than 0"),
    ("shutdown_grace: ^none", "the text 'none' as shutdown_grace", "seconds, 0 or more"),
    ("shutdown_grace: ^-1", "-1.0 as shutdown_grace", "seconds, 0 or more"),
    ("shutdown_grace: ^1e999", "the text '1e999' as shutdown_grace", "seconds, 0 or more"),
    ("handler_timeout: ^1e999", "the text '1e999' as handler_timeout", "seconds, more than 0"),
    ("max_attempts: ^0x_", "0x_, which YAML 1.1 reads as a hexadecimal number", "a whole"),
    # choices
    ("thread_scheduling: ^depth_first", "the text 'depth_first'", "did you mean 'depth-first'?"),
    ("thread_scheduling: ^1", "the number 1 as thread_scheduling", "one of breadth-first, depth-"),
    ("usage: ^card", "the text 'card' as usage", "one of cards, xsd; did you mean 'cards'?"),
    ("usage: ^XSD", "the text 'XSD' as usage", "one of cards, xsd; did you mean 'xsd'?"),
    ("usage: ^~", "~, which is nothing, as usage", "one of cards, xsd"),
    ("usage: ^[cards, xsd]", "a list as usage", "one of cards, xsd"),
    ("^usage:\n", "nothing as usage", "one of cards, xsd"),
    # truths
    ("allow_unknown_peers: ^'true'", "the text 'true' as allow_unknown_peers", "true or false"),
    ("allow_unknown_peers: ^1", "the number 1 as allow_unknown_peers", "true or false"),
    ("allow_unknown_peers: ^[x]", "a list as allow_unknown_peers", "true or false"),
    (
        "^allow_unknown_peer: true",
        "the unknown key 'allow_unknown_peer'",
        "did you mean 'allow_unknown_peers'?",
    ),
    # sections
    ("^default_model: x", "the unknown key 'default_model'", "it belongs under llm:"),
    ("^prices: {}", "the unknown key 'prices'", "it belongs under llm:"),
    ("^base_url: x", "the unknown key 'base_url'", "it belongs to a backend in backends: of llm:"),
    ("^repeats: 3", "the unknown key 'repeats'", "it belongs under budgets:"),
    ("budgets: ^5", "the number 5 as budgets", "a mapping with messages, hops, tokens …"),
    ("budgets: {hops: ^0}", "0 as hops", "a whole number, at least 1"),
    ("budgets: {seconds: ^0}", "0.0 as seconds", "seconds, more than 0, or none for no bound"),
    ("budgets: {^message: 1}", "the unknown key 'message'", "did you mean 'messages'?"),
    ("limits: {^max_byte: 1}", "the unknown key 'max_byte'", "did you mean 'max_bytes'?"),
    ("limits: {max_depth: ^257}", "257 as max_depth", "a whole number from 1 to 256"),
    ("limits: {max_text: ^10000001}", "10000001 as max_text", "from 1 to 10000000"),
    ("limits: {thread_parse_bytes: ^0}", "0 as thread_parse_bytes", "at least 1"),
    ("memory: ^5", "the number 5 as memory", "a mapping with max_slots_per_thread, on_full …"),
    ("^memory:\n", "nothing as memory", "a mapping with max_slots_per_thread"),
    ("memory: {max_slots_per_thread: ^0}", "0 as max_slots_per_thread", "at least 1"),
    ("memory: {max_slots_per_conversation: ^0}", "0 as max_slots_per_conversation", "at least 1"),
    ("memory: {max_bytes_per_conversation: ^0}", "0 as max_bytes_per_conversation", "at least 1"),
    ("memory: {max_bytes_per_conversation: ^4M}", "the text '4M' as max_bytes_per_", "a whole number"),
    ("memory: {max_threads: ^1}", "1 as max_threads", "a whole number, at least 2"),
    ("memory: {max_todos: ^-1}", "-1 as max_todos", "a whole number, at least 0"),
    ("memory: {max_todos: ^none}", "the text 'none' as max_todos", "a whole number, at least 0"),
    ("memory: {keep_finished: ^-1}", "-1 as keep_finished", "a whole number, at least 0"),
    ("memory: {on_full: ^forget-oldest}", "the text 'forget-oldest'", "did you mean 'forget_oldest'?"),
    ("memory: {on_full: ^off}", "off, which YAML 1.1 reads as false, as on_full", "one of forget_oldest,"),
    ("memory: {^on_ful: refuse}", "the unknown key 'on_ful'", "did you mean 'on_full'?"),
    ("memory: {^max_bytes: 1}", "the unknown key 'max_bytes'", "it belongs under limits:"),
    ("limits: {^max_threads: 9}", "the unknown key 'max_threads'", "it belongs under memory:"),
    ("memory: {max_todos: 1, ^max_todos: 2}", "the key 'max_todos' a second time", ""),
    ("events: ^5", "the number 5 as events", "a mapping with max_history, buffer …"),
    ("^events:\n", "nothing as events", "a mapping with max_history, buffer …"),
    ("events: {max_history: ^-1}", "-1 as max_history", "a whole number, at least 0"),
    ("events: {max_history: ^none}", "the text 'none' as max_history", "a whole number, at least 0"),
    ("events: {max_history_bytes: ^0}", "0 as max_history_bytes", "a whole number, at least 1"),
    ("events: {max_concurrent_handlers: ^0}", "0 as max_concurrent_handlers", "at least 1"),
    ("events: {buffer: ^0}", "0 as buffer", "a whole number, at least 1"),
    ("events: {buffer: ^1e3}", "the text '1e3' as buffer", "a whole number, at least 1"),
    ("events: {slow_after: ^0}", "0.0 as slow_after", "seconds, more than 0"),
    ("events: {grace: ^-1}", "-1.0 as grace", "seconds, 0 or more"),
    ("events: {grace: ^none}", "the text 'none' as grace", "seconds, 0 or more"),
    ("events: {^max_histroy: 5}", "the unknown key 'max_histroy'", "did you mean 'max_history'?"),
    ("events: {^max_bytes: 1}", "the unknown key 'max_bytes'", "it belongs under limits:"),
    ("events: {^max_todos: 1}", "the unknown key 'max_todos'", "it belongs under memory:"),
    ("memory: {^max_history: 9}", "the unknown key 'max_history'", "it belongs under events:"),
    ("limits: {^buffer: 9}", "the unknown key 'buffer'", "it belongs under events:"),
    ("events: {grace: 1, ^grace: 2}", "the key 'grace' a second time", ""),
    ("listeners: ^{a: 1}", "a mapping as listeners", "a list of listeners"),
    ("^listeners:\n", "nothing as listeners", "a list of listeners"),
    ("listeners: [^5]", "the number 5 as listeners", "a mapping with name, payload_class, handler"),
    # the model section
    ("llm: ^[]", "a list as llm", "a mapping with strategy, backends …"),
    ("llm: {strategy: ^fail-over}", "the text 'fail-over'", "did you mean 'failover'?"),
    ("llm: {retries: ^-1}", "-1 as retries", "a whole number, at least 0"),
    ("llm: {retry_max_delay: ^x}", "the text 'x' as retry_max_delay", "seconds, 0 or more"),
    ("llm: {^backend: []}", "the unknown key 'backend'", "did you mean 'backends'?"),
    ("llm: {backends: ^{}}", "a mapping as backends", "a list of backends"),
    ("llm: {backends: [^{}]}", "no provider", "provider: one of xai, anthropic, openai, ollama"),
    ("llm: {backends: [{provider: ^grok}]}", "the text 'grok' as provider", "one of xai,"),
    ("llm: {backends: [{provider: xai, timeout: ^0}]}", "0.0 as timeout", "seconds, more than 0"),
    ("llm: {backends: [{provider: xai, rate_limit_tpm: ^0}]}", "0 as rate_limit_tpm", "at least 1"),
    ("llm: {backends: [{provider: xai, base_url: ^x.ai}]}", "'x.ai' as base_url", "http://"),
    ("llm: {backends: [{provider: xai, supported_models: ^x}]}", "the text 'x'", "a list of models'"),
    ("llm: {backends: [{provider: xai, ^key: x}]}", "the unknown key 'key'", "one of provider"),
]


@pytest.mark.parametrize(("line", "place", "found", "expected"), [placed(*case) for case in VALUES])
def test_a_value_that_does_not_fit_is_told_where_it_stands(
    folder: Folder, line: str, place: str, found: str, expected: str
) -> None:
    where, said, wanted = folder.one(line + "\n")
    assert where == f"organism.yaml:{place}"
    assert said.startswith(found)
    assert expected in wanted


@pytest.mark.parametrize(
    ("line", "column", "found", "expected"),
    [
        ("description: 2024-01-01", 18, "2024-01-01, which YAML 1.1 reads as a date, as description", "text"),
        ("prompt: on", 13, "on, which YAML 1.1 reads as true, as prompt", "text"),
        ("agent: 1", 12, "the number 1 as agent", "true or false"),
        ("agent: 'yes'", 12, "the text 'yes' as agent", "true or false"),
        ("broadcast: maybe", 16, "the text 'maybe' as broadcast", "true or false"),
        ("peers: b", 12, "the text 'b' as peers", "a list of listeners' names"),
        ("peers: [no]", 13, "no, which YAML 1.1 reads as false, as peers", "text"),
        ("peers: ['']", 13, "an empty text as peers", "text"),
        ("peers:", 5, "nothing as peers", "a list of listeners' names"),
        ("max_concurrent: 0", 21, "0 as max_concurrent", "a whole number, at least 1"),
        ("retries: -1", 14, "-1 as retries", "a whole number, at least 0"),
        ("retry_base_delay: -1", 23, "-1.0 as retry_base_delay", "seconds, 0 or more"),
        ("retry_max_delay: x", 22, "the text 'x' as retry_max_delay", "seconds, 0 or more"),
        ("handler_timeout: 0", 22, "0.0 as handler_timeout", "seconds, more than 0, or none for no bound"),
        ("budgets: {hops: 3}", 15, "the unknown key 'hops'", "one of messages, seconds"),
        ("budgets: {messages: 0}", 25, "0 as messages", "a whole number, at least 1"),
        ("responds_with: 7", 20, "the number 7 as responds_with", "an import path"),
        ("usage: all", 12, "the text 'all' as usage", "one of cards, xsd"),
        ("usage: ~", 12, "~, which is nothing, as usage", "one of cards, xsd"),
        ("allow_unknown_peers: true", 5, "the unknown key 'allow_unknown_peers'", "it belongs at the top"),
        ("memory: {max_todos: 1}", 5, "the unknown key 'memory'", "it belongs at the top of the file"),
        ("events: {grace: 1}", 5, "the unknown key 'events'", "it belongs at the top of the file"),
    ],
)
def test_a_value_of_a_listener_that_does_not_fit_is_told_where_it_stands(
    folder: Folder, line: str, column: int, found: str, expected: str
) -> None:
    where, said, wanted = folder.one(LISTENER + line + "\n")
    assert where == f"organism.yaml:5:{column}"
    assert said == found
    assert wanted.startswith(expected)


def test_what_names_a_variable_is_never_quoted(folder: Folder) -> None:
    fault = folder.one("llm: {backends: [{provider: xai, api_key_env: sk-abc-123}]}\n")
    assert fault[0] == "organism.yaml:1:47"
    assert "sk-abc" not in "".join(fault)


@pytest.mark.parametrize("word", ["true", "True", "yes", "on"])
def test_where_only_a_truth_can_be_meant_every_yaml_word_for_it_is_taken(folder: Folder, word: str) -> None:
    assert folder.load(LISTENER + f"agent: {word}\n").listeners[0].is_agent is True


@pytest.mark.parametrize("text", ["none", "None", ".inf"])
def test_none_is_no_bound_of_time(folder: Folder, text: str) -> None:
    config = folder.load(f"handler_timeout: {text}\nbudgets: {{seconds: {text}}}\n")
    assert (config.handler_timeout, config.budgets.seconds) == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5.0), ("0.25", 0.25), ("1_000", 1000.0), ("2e3", 2000.0)]
)
def test_numbers_of_seconds_read_as_they_look(folder: Folder, text: str, seconds: float) -> None:
    assert folder.load(f"handler_timeout: {text}\n").handler_timeout == seconds


@pytest.mark.parametrize(
    ("key", "home"),
    [
        ("port", "it belongs under organism:"),
        ("handler", "it belongs under a listener in listeners:"),
        ("max_bytes", "it belongs under limits:"),
        ("hops", "it belongs under budgets:"),
        ("max_todos", "it belongs under memory:"),
        ("on_full", "it belongs under memory:"),
        ("max_history", "it belongs under events:"),
        ("grace", "it belongs under events:"),
    ],
)
def test_a_key_in_the_wrong_place_is_told_the_right_one(folder: Folder, key: str, home: str) -> None:
    assert folder.one(f"{key}: 1\n") == ("organism.yaml:1:1", f"the unknown key '{key}'", home)


@pytest.mark.parametrize(
    "key", ["listeners", "memory", "events", "usage", "handler_timeout", "allow_unknown_peers"]
)
def test_a_key_of_the_top_under_organism_is_told_so(folder: Folder, key: str) -> None:
    _, found, expected = folder.one(f"organism:\n  {key}: []\n")
    assert found == f"the unknown key '{key}'"
    assert expected == "it belongs at the top of the file, not under organism:"


@pytest.mark.parametrize(
    ("text", "place", "meant"),
    [
        ("listner: []\n", "1:1", "listeners"),
        ("Max_In_Flight: 3\n", "1:1", "max_in_flight"),
        ("organism:\n  nam: x\n", "2:3", "name"),
        (LISTENER + "retrys: 2\n", "5:5", "retries"),
        (LISTENER + "payload: x\n", "5:5", "payload_class"),
    ],
)
def test_an_unknown_key_comes_with_the_closest_known_one(
    folder: Folder, text: str, place: str, meant: str
) -> None:
    where, _, expected = folder.one(text)
    assert where == f"organism.yaml:{place}"
    assert expected.endswith(f"; did you mean '{meant}'?")


def test_an_unknown_key_that_is_close_to_none_lists_them(folder: Folder) -> None:
    known = "one of messages, hops, depth, seconds, tokens, cost, repeats, on_short"
    assert folder.one("budgets:\n  xyz: 1\n")[2] == known


def test_what_is_quoted_of_a_file_is_at_most_60_characters(folder: Folder) -> None:
    _, found, _ = folder.one("x" * 500 + ": 1\n")
    assert found == f"the unknown key '{'x' * 59}…'"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"name": 5}, "5 as name"),
        ({"port": True}, "True as port"),
        ({"max_in_flight": "3"}, "the text '3' as max_in_flight"),
        ({"max_in_flight": 10**400}, None),
        ({"handler_timeout": math.nan}, "nan as handler_timeout"),
        ({"handler_timeout": None}, "None as handler_timeout"),
        ({"handler_timeout": math.inf}, None),
        ({"shutdown_grace": math.inf}, "inf as shutdown_grace"),
        ({"shutdown_grace": 0}, None),
        ({"thread_scheduling": "sideways"}, "the text 'sideways' as thread_scheduling"),
        ({"budgets": Budgets(hops=0)}, "0 as hops"),
        ({"budgets": {"hops": 1}}, "a dict as budgets"),
        ({"wire": WireLimits(max_depth=0)}, "0 as max_depth"),
        ({"memory": MemoryLimits(max_threads=1)}, "1 as max_threads"),
        ({"memory": MemoryLimits(max_todos=-1)}, "-1 as max_todos"),
        ({"memory": MemoryLimits(keep_finished=True)}, "True as keep_finished"),
        ({"memory": MemoryLimits(max_slots_per_thread=math.inf)}, "inf as max_slots_per_thread"),  # type: ignore[arg-type]
        ({"memory": MemoryLimits(on_full="drop")}, "the text 'drop' as on_full"),
        ({"memory": MemoryLimits(on_full=None)}, "None as on_full"),  # type: ignore[arg-type]
        ({"memory": MemoryLimits(max_threads=2, max_todos=0, on_full="refuse")}, None),
        ({"memory": MemoryLimits(on_full=OnFull.REFUSE)}, None),
        ({"memory": WireLimits()}, "a WireLimits as memory"),
        ({"memory": None}, "None as memory"),
        ({"events": EventLimits(max_history=-1)}, "-1 as max_history"),
        ({"events": EventLimits(max_history=0)}, None),
        ({"events": EventLimits(max_history=True)}, "True as max_history"),
        ({"events": EventLimits(max_history_bytes=0)}, "0 as max_history_bytes"),
        ({"events": EventLimits(max_concurrent_handlers=0)}, "0 as max_concurrent_handlers"),
        ({"events": EventLimits(buffer=math.inf)}, "inf as buffer"),  # type: ignore[arg-type]
        ({"events": EventLimits(slow_after=0)}, "0 as slow_after"),
        ({"events": EventLimits(slow_after=math.nan)}, "nan as slow_after"),
        ({"events": EventLimits(grace=math.inf)}, "inf as grace"),
        ({"events": EventLimits(grace=0)}, None),
        ({"events": MemoryLimits()}, "a MemoryLimits as events"),
        ({"events": None}, "None as events"),
        ({"usage": "xsd"}, None),
        ({"usage": Usage.XSD}, None),
        ({"usage": None}, "None as usage"),
        ({"usage": "all"}, "the text 'all' as usage"),
        ({"allow_unknown_peers": 1}, "1 as allow_unknown_peers"),
        ({"llm_config": 7}, "7 as llm"),
        ({"llm_config": {"strategi": "failover"}}, "the unknown key 'strategi'"),
        ({"listeners": 7}, "7 as listeners"),
    ],
)
def test_values_from_python_are_checked_alike(change: dict[str, Any], found: str | None) -> None:
    config = replace(OrganismConfig(), **change)
    if found is None:
        assert resolve(config) == config
        return
    assert refused(config) == [("organism", found)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"max_concurrent": 0}, "0 as max_concurrent"),
        ({"retries": -1}, "-1 as retries"),
        ({"is_agent": 1}, "1 as agent"),
        ({"peers": "ping"}, "the text 'ping' as peers"),
        ({"peers": [5]}, "5 as peers"),
        ({"description": None}, "None as description"),
        ({"handler_timeout": 0}, "0 as handler_timeout"),
        ({"budgets": Budgets(depth=3)}, "depth in a listener's budgets"),
        ({"budgets": Budgets(seconds=0)}, "0 as seconds"),
        ({"is_agent": True, "usage": "all"}, "the text 'all' as usage"),
        ({"is_agent": True, "usage": 7}, "7 as usage"),
        ({"usage": "cards"}, "usage on a listener that is no agent"),
        ({"usage": "all"}, "the text 'all' as usage"),
        ({"usage": "cards", "is_agent": 0}, "0 as agent"),
    ],
)
def test_values_of_listeners_from_python_are_checked_alike(change: dict[str, Any], found: str) -> None:
    config = OrganismConfig(listeners=[replace(ListenerConfig("ping", Ping, drop), **change)])
    assert refused(config) == [("listener 'ping'", found)]


def test_what_is_no_listener_is_a_fault() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(OrganismConfig(listeners=["ping"]))  # type: ignore[list-item]
    (fault,) = caught.value.faults
    assert (fault.where, fault.found) == ("listener number 1", "the text 'ping' as a listener")
