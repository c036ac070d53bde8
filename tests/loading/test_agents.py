"""Agents without handler: what they need, what only they may say, and bounds of cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from phloem.config import Budgets, ListenerConfig, OrganismConfig, RunsOn, Wait
from phloem.errors import ConfigurationError
from phloem.loading import load_config, resolve
from support.listeners import Ask

if TYPE_CHECKING:
    from .conftest import Folder

LLM = "llm: {default_model: m, backends: [{provider: ollama}]}\n"
AGENT = "listeners:\n  - name: a\n    payload_class: hello.Greeting\n    agent: true\n"
HANDLED = AGENT + "    handler: hello.greet\n"
SECTION: dict[str, Any] = {"default_model": "m", "backends": [{"provider": "ollama"}]}


def refused(agent: ListenerConfig, **more: Any) -> list[tuple[str, str]]:
    config = replace(OrganismConfig(listeners=[agent], llm_config=SECTION), **more)
    with pytest.raises(ConfigurationError) as caught:
        resolve(config)
    return [(fault.where, fault.found) for fault in caught.value.faults]


# -- what they need ----------------------------------------------------------------------------
def test_an_agent_needs_no_handler_where_a_model_may_answer(folder: Folder) -> None:
    config = folder.load(LLM + AGENT)
    (agent,) = config.listeners
    assert (agent.handler, agent.is_agent, agent.model) == (None, True, "")
    assert resolve(config) == config


def test_every_key_of_such_an_agent_is_kept(folder: Folder) -> None:
    (agent,) = folder.load(
        LLM + AGENT + "    model: fast/x\n    temperature: 0\n    max_tokens: 9\n    max_history_tokens: 8\n"
        "    wait: all\n    stream: true\n    accept_early: on\n    max_attempts: 2\n    idempotent: true\n"
        "    budgets: {messages: 1, seconds: 2, tokens: 3, cost: none}\n"
    ).listeners
    assert (agent.model, agent.temperature, agent.max_tokens, agent.max_history_tokens) == (
        "fast/x",
        0.0,
        9,
        8,
    )
    assert (agent.wait, agent.stream, agent.accept_early) == (Wait.ALL, True, True)
    assert (agent.max_attempts, agent.idempotent) == (2, True)
    assert agent.budgets == Budgets(messages=1, seconds=2.0, tokens=3, cost=float("inf"))


@pytest.mark.parametrize(
    ("section", "found", "expected"),
    [
        ("", "an agent without handler, and no backend for its model", "a handler, or an llm section with a"),
        ("llm: {backends: []}\n", "an agent without handler, and no backend for its model", "a handler, or"),
        (
            "llm: {backends: [{provider: ollama}]}\n",
            "an agent without handler and model",
            "model, or default_",
        ),
    ],
)
def test_without_a_backend_or_a_model_it_is_a_fault_at_the_listener(
    folder: Folder, section: str, found: str, expected: str
) -> None:
    line = section.count("\n") + 2
    where, said, wanted = folder.one(section + AGENT)
    assert (where, said) == (f"organism.yaml:{line}:5", found)
    assert wanted.startswith(expected)


def test_its_own_model_is_enough(folder: Folder) -> None:
    folder.load("llm: {backends: [{provider: ollama}]}\n" + AGENT + "    model: x\n")


@pytest.mark.parametrize(
    "section",
    ["llm: []\n", "llm: {backend: []}\n", "llm: {backends: x}\n", "llm: {backends: [x], default_model: 7}\n"],
)
def test_nothing_follows_from_a_section_that_is_broken(folder: Folder, section: str) -> None:
    assert all(where.startswith("1:") for where, _ in folder.places(section + AGENT + "    model: x\n"))
    assert not any("backend for" in found for _, found in folder.places(section + AGENT))


def test_whoever_is_no_agent_needs_a_handler(folder: Folder) -> None:
    where, found, expected = folder.one(LLM + AGENT.replace("true", "false"))
    assert (where, found) == ("organism.yaml:3:5", "no handler")
    assert expected.endswith("or agent: true, which lets a model answer")


def test_whether_it_needs_one_is_not_known_where_agent_is_broken(folder: Folder) -> None:
    assert folder.places(LLM + AGENT.replace("true", "7")) == [("5:12", "the number 7 as agent")]


@pytest.mark.parametrize("handler", ["''", "", "~"])
def test_an_empty_handler_is_no_handler_left_out(folder: Folder, handler: str) -> None:
    ((_, found),) = folder.places(LLM + AGENT + f"    handler: {handler}\n")
    assert found.endswith("as handler")


def test_a_misspelt_handler_is_told_once(folder: Folder) -> None:
    assert folder.places(LLM + AGENT + "    handlr: hello.greet\n") == [("6:5", "the unknown key 'handlr'")]


def test_python_may_leave_it_out_as_well() -> None:
    agent = ListenerConfig("a", Ask, is_agent=True)
    config = OrganismConfig(listeners=[agent], llm_config=SECTION)
    assert resolve(config).listeners[0].handler is None
    assert resolve(resolve(config)) == resolve(config)
    none = "an agent without handler, and no backend for its model"
    assert refused(agent, llm_config={}) == [("listener 'a'", none)]
    assert refused(ListenerConfig("a", Ask)) == [("listener 'a'", "no handler")]


def test_backends_beside_a_file_are_backends(folder: Folder) -> None:
    file = folder.write("organism.yaml", AGENT + "    model: m\n")
    assert load_config(file, backends=[{"provider": "ollama"}]).listeners[0].handler is None


# -- what only they may say --------------------------------------------------------------------
@pytest.mark.parametrize("line", ["wait: all", "stream: true", "accept_early: true"])
def test_what_only_phloems_handler_reads_is_a_fault_beside_another(folder: Folder, line: str) -> None:
    key, _, value = line.partition(": ")
    where, found, expected = folder.one(LLM + HANDLED + f"    {line}\n")
    assert where == f"organism.yaml:7:{len(key) + 7}", value
    assert found == f"{key} on a listener with a handler"
    assert expected.startswith("an agent without handler")


@pytest.mark.parametrize(
    "line",
    [
        "model: x",
        "temperature: 1",
        "max_tokens: 5",
        "max_history_tokens: 5",
        "max_attempts: 1",
        "idempotent: on",
    ],
)
def test_what_complete_and_the_pump_read_is_for_every_listener(folder: Folder, line: str) -> None:
    folder.load(HANDLED.replace("agent: true", "agent: false") + f"    {line}\n")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"runs_on": RunsOn.HOST}, "runs_on: host on an agent without handler"),
        ({"wait": "some"}, "the text 'some' as wait"),
        ({"wait": None}, "None as wait"),
        ({"stream": 1}, "1 as stream"),
        ({"model": 7}, "7 as model"),
    ],
)
def test_values_that_do_not_fit_such_an_agent(change: dict[str, Any], found: str) -> None:
    agent = ListenerConfig("a", Ask, is_agent=True, **change)
    assert refused(agent) == [("listener 'a'", found)]


def test_it_is_no_egress_for_nobody_would_take_the_bytes() -> None:
    agent = ListenerConfig("a", Ask, is_agent=True)
    assert refused(agent, egress=["A"]) == [("listener 'a'", "an agent without handler as an egress")]


# -- bounds of cost ----------------------------------------------------------------------------
def test_a_bound_of_cost_without_prices_is_told_where_it_stands(folder: Folder) -> None:
    text = LLM + "budgets: {cost: 5}\n" + AGENT + "    budgets: {cost: 1.5}\n"
    found = "cost without prices"
    assert folder.places(text) == [("2:17", found), ("7:21", found)]
    folder.load(text.replace("5}", "none}").replace("1.none", "none"))


@pytest.mark.parametrize("prices", ["{m: %s}", "{'M*': %s}", "{'*': %s}"])
def test_a_price_may_be_of_a_pattern_and_of_any_case(folder: Folder, prices: str) -> None:
    priced = LLM.replace("{default", f"{{prices: {prices % '{input: 1, output: 1}'}, default")
    folder.load(priced + "budgets: {cost: 5}\n" + AGENT)
    folder.load(priced + "budgets: {cost: 5}\n" + AGENT + "    model: ollama/m\n")


def test_a_model_without_a_price_could_cost_anything_and_is_a_fault(folder: Folder) -> None:
    priced = LLM.replace("{default", "{prices: {x: {input: 1, output: 1}}, default")
    own = AGENT + "    model: y\n    budgets: {cost: 1}\n"
    assert folder.places(priced + own) == [("6:12", "'y' without a price")]
    folder.load(priced + own.replace("{cost: 1}", "{tokens: 1}"))
    at_the_default = ("1:58", "'m' without a price")
    assert folder.places(priced + "budgets: {cost: 5}\n") == [at_the_default]
    assert folder.places(priced + own.replace("model: y", "description: z")) == [at_the_default]
    folder.load(priced + own.replace("model: y", "model: X"))
