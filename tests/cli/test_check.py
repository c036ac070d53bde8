"""``phloem check`` finds what else only ``phloem run`` would: the rest of it is in test_commands."""

from __future__ import annotations

from typing import Any


def test_check_tells_a_branch_of_dead_letters_to_one_who_takes_none(phloem: Any) -> None:
    listener = "listeners: [{name: a, payload_class: handlers.Say, handler: handlers.echo}]\n"
    edit = "pipeline:\n  - {after: dispatch, branch: {predicate: os.path.exists, to: a}}\n"
    (phloem.folder / "organism.yaml").write_text(edit + listener)
    done = phloem("check", "--quiet", "organism.yaml")
    assert done.code == 2
    assert "found 'a', which takes no DeadLetter" in done.err


def test_check_tells_every_source_that_run_could_not_read(phloem: Any) -> None:
    (phloem.folder / "pair.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Pair:\n    left: str\n    right: str\n"
    )
    (phloem.folder / "organism.yaml").write_text(
        """
        sources:
          - {name: feed, path: x.txt, framing: lines, to: two}
          - {name: good, path: x.txt, framing: lines, to: one}
          - {name: more, path: x.txt, framing: lines, to: two}
        listeners:
          - {name: one, payload_class: handlers.Say, handler: handlers.echo}
          - {name: two, payload_class: pair.Pair, handler: handlers.echo}
        """
    )
    done = phloem("check", "organism.yaml")
    assert done.code == 2
    assert done.err.count("found 'two', which takes Pair, expected a listener with one payload class") == 2
    assert "source feed, to: " in done.err
    assert "source more, to: " in done.err


# -- agents without handler, and models ---------------------------------------------------------
DRIVEN = """
organism: {name: driven}
llm:
  strategy: round-robin
  default_model: m
  prices: {"*": {input: 3, output: 15}}
  backends:
    - {provider: scripted, name: told, script: [hello], priority: 2}
    - {provider: ollama, supported_models: [llama3], headers: {X-Secret: sk-secret}}
    - {provider: "pair:make", name: own, token: sk-secret}
    - {provider: xai, api_key_env: PHLOEM_TEST_KEY, optional: true}
budgets: {cost: 2.5, on_short: shrink}
listeners:
  - name: clerk
    payload_class: handlers.Say
    agent: true
    peers: [helper, echo]
    wait: all
    accept_early: true
    temperature: 0.5
    max_attempts: 1
    budgets: {tokens: 100, cost: none}
  - {name: helper, payload_class: pair.Pair, agent: true, model: told/x, responds_with: handlers.Count}
  - {name: own, payload_class: handlers.Say, handler: handlers.echo, agent: true, idempotent: true}
  - {name: echo, payload_class: handlers.Count, handler: handlers.echo, responds_with: handlers.Say}
"""
PAIR = """
from dataclasses import dataclass
@dataclass
class Pair:
    left: str
@dataclass
class Count:
    other: str
class Makes:
    async def complete(self, request): ...
def make(**keys): return Makes()
"""


def driven(phloem: Any, text: str = DRIVEN, **env: str) -> Any:
    (phloem.folder / "pair.py").write_text(PAIR)
    (phloem.folder / "organism.yaml").write_text(text)
    return phloem("check", "organism.yaml", COLUMNS="300", **env)


def test_check_shows_who_is_driven_by_which_model_and_the_backends_but_no_secret(phloem: Any) -> None:
    done = driven(phloem)
    assert (done.code, done.err) == (0, "")
    rows = {row.split()[0]: " ".join(row.split()) for row in done.out.splitlines() if row.split()}
    kinds = "agent without handler, waits for all answers, streams, accepts early, model: m"
    assert rows["clerk"].startswith(f"clerk ({kinds}) Say helper, echo")
    assert "1 attempt, temperature: 0.5, 100 tokens, cost: none" in rows["clerk"]
    assert "helper (agent without handler, model: told/x)" in rows["helper"]
    assert rows["told"] == "told scripted, priority 2"
    assert rows["ollama"] == "ollama ollama, priority 1, for llama3"
    assert rows["xai"] == "xai left out: PHLOEM_TEST_KEY is not set"
    assert rows["strategy"] == "strategy round-robin, default model m"
    assert "own make, priority 1" in " ".join(done.out.split())
    assert "own (agent, idempotent, model: m)" in done.out
    assert "budget: cost 2.5" in " ".join(done.out.split())
    assert "budget: on_short shrink" in " ".join(done.out.split())
    assert "sk-secret" not in done.out
    assert "llm: checked and kept" not in done.out


def test_check_never_shows_a_key(phloem: Any) -> None:
    done = driven(phloem, PHLOEM_TEST_KEY="sk-secret")
    assert done.code == 0
    assert "xai, priority 1" in " ".join(done.out.split())
    assert "sk-secret" not in done.out + done.err


def test_check_tells_which_variable_a_backend_wants_and_where_it_was_looked_for(phloem: Any) -> None:
    done = driven(phloem, DRIVEN.replace(", optional: true", ""))
    assert done.code == 2
    assert "organism.yaml:11:36: found PHLOEM_TEST_KEY, which is not set, for the key of xai" in done.err
    assert f"in the environment or in {phloem.folder / '.env'} (no such file), or optional: true" in done.err


def test_check_tells_models_that_no_backend_takes(phloem: Any) -> None:
    only = 'llm: {backends: [{provider: ollama, supported_models: [a]}], default_model: "a"}\n'
    text = only + DRIVEN[DRIVEN.index("listeners:") :].replace(", cost: none", "")
    done = driven(phloem, text)
    assert done.code == 2
    assert "listener 'helper': found the model 'told/x', which no backend takes" in done.err
    assert "clerk" not in done.err
    done = driven(phloem, text.replace('"a"', "b"))
    assert "found 'b', which no backend takes" in done.err


def test_check_tells_two_answers_of_one_tag(phloem: Any) -> None:
    done = driven(phloem, DRIVEN.replace("responds_with: handlers.Say", "responds_with: pair.Count"))
    assert done.code == 2
    assert "listener 'clerk': found pair.Count that 'echo' answers with, which is <Count>" in done.err


def test_check_tells_a_script_that_could_not_be_played(phloem: Any) -> None:
    wrong = "script: [{when: {pattern: '['}, text: x}, {cut: 1, stall: 1, text: y}]"
    done = driven(phloem, DRIVEN.replace("script: [hello]", wrong))
    assert done.code == 2
    assert "backend told, script[0].when.pattern" in done.err
    assert "backend told, script[1].stall" in done.err


def test_what_agents_without_handler_are_told_and_who_they_reach_is_shown(phloem: Any) -> None:
    driven(phloem)
    told = phloem("schema", "organism.yaml", "clerk", "--prompt")
    assert (told.code, "# helper" in told.out) == (0, True)
    taken = phloem("schema", "organism.yaml", "helper")
    assert "Takes Pair" in taken.out
    drawn = phloem("graph", "organism.yaml")
    assert (drawn.code, drawn.err) == (0, "")
    assert "helper" in drawn.out
