"""``phloem graph`` as it is typed. What it finds and draws: test_topology and test_drawing."""

from __future__ import annotations

from typing import Any

import pytest

ORGANISM = """\
organism: {name: ring, port: 99}
allow_unknown_peers: true
listeners:
  - {name: end, payload_class: handlers.Say, handler: handlers.boom, agent: true, peers: [echo, ghost]}
  - {name: Echo, payload_class: handlers.Count, handler: handlers.boom, peers: [END, system.todo]}
  - {name: door, payload_class: handlers.Say, handler: handlers.boom, peers: [end], broadcast: true}
"""


@pytest.fixture
def ring(phloem: Any) -> Any:
    (phloem.folder / "organism.yaml").write_text(ORGANISM)
    return phloem


def test_graph_tells_everything_as_text(ring: Any) -> None:
    done = ring("graph", "organism.yaml")
    assert done.code == 0
    assert done.out == (
        "ring: 3 listeners\n"
        "\n"
        "end (agent)\n"
        "  takes: Say\n"
        "  may address: Echo (Count), ghost (not registered)\n"
        "\n"
        "Echo\n"
        "  takes: Count\n"
        "  may address: end (Say), system.todo (TodoUntil)\n"
        "\n"
        "door (broadcast, only strangers reach it)\n"
        "  takes: Say\n"
        "  may address: end (Say)\n"
        "\n"
        "Only strangers can address: door\n"
        "Not registered: ghost\n"
        "A cycle without a budget: end -> Echo -> end\n"
        "  Only the defaults end such a cycle: 10,000 messages and 1,000 hops.\n"
    )


def test_graph_marks_services_and_what_leaves_and_looks_for_no_cycle_through_services(phloem: Any) -> None:
    (phloem.folder / "organism.yaml").write_text(
        "egress: [A]\n"
        "listeners:\n"
        "  - {name: a, payload_class: handlers.Say, handler: handlers.boom, agent: true}\n"
        "  - {name: b, payload_class: handlers.Say, handler: handlers.boom, peers: [], service: true}\n"
    )
    out = phloem("graph", "organism.yaml").out
    assert "\na (agent, egress, only strangers reach it)\n" in out
    assert "\nb (service: anyone may address it)\n" in out
    assert out.endswith("Cycles are looked for along peers, not through services.\n")


@pytest.mark.parametrize(("form", "first"), [("mermaid", "flowchart LR"), ("dot", "digraph organism {")])
def test_graph_draws_what_other_tools_read(ring: Any, form: str, first: str) -> None:
    done = ring("graph", "organism.yaml", "--format", form)
    assert done.code == 0
    lines = [line for line in done.out.splitlines() if not line.startswith(("//", "%%"))]
    assert lines[0] == first
    assert "\x1b" not in done.out
    assert done.out == ring("graph", "organism.yaml", "--format", form.upper(), "--quiet").out


def test_the_format_can_be_given_in_the_environment(ring: Any) -> None:
    assert "\nflowchart LR\n" in ring("graph", "organism.yaml", PHLOEM_GRAPH_FORMAT="mermaid").out


def test_notes_are_on_stderr_and_quiet_takes_them_away(ring: Any) -> None:
    assert "port: checked and kept, not used" in ring("graph", "organism.yaml").err
    assert ring("graph", "organism.yaml", "--quiet").err == ""


@pytest.mark.parametrize("declared", ["budgets: {messages: 9}", "budgets: {hops: 9}"])
def test_a_declared_budget_is_enough(ring: Any, declared: str) -> None:
    (ring.folder / "organism.yaml").write_text(ORGANISM + declared)
    assert "without a budget" not in ring("graph", "organism.yaml").out


def test_what_a_module_prints_at_import_is_not_in_the_drawing(ring: Any) -> None:
    handlers = ring.folder / "handlers.py"
    handlers.write_text(handlers.read_text() + 'print("hello")\n')
    done = ring("graph", "organism.yaml", "--format", "dot")
    assert "hello" not in done.out
    assert "hello\n" in done.err


def test_the_drawing_is_utf_8_wherever_it_goes(ring: Any) -> None:
    (ring.folder / "organism.yaml").write_text(ORGANISM.replace("door", "Tür"), "utf-8")
    process = ring.start("graph", "organism.yaml", PYTHONIOENCODING="ascii")
    out = process.stdout.buffer.read()
    assert process.wait(timeout=60) == 0
    assert "Tür" in out.decode("utf-8")


def test_an_unknown_format_is_told_the_known_ones(ring: Any) -> None:
    done = ring("graph", "organism.yaml", "--format", "svg")
    assert (done.code, done.out) == (2, "")
    assert "'svg' is not one of 'text', 'mermaid', 'dot'" in done.err


def test_the_formats_offered_are_those_there_are() -> None:
    from phloem.cli.drawing import DRAWINGS
    from phloem.cli.graph import command

    [choice] = [param.type for param in command.params if param.name == "format"]
    assert sorted(choice.choices) == sorted(DRAWINGS)  # type: ignore[attr-defined]


def test_a_faulty_organism_is_not_drawn(ring: Any) -> None:
    (ring.folder / "organism.yaml").write_text(ORGANISM.replace("handlers.Count", "handlers.Cont"))
    done = ring("graph", "organism.yaml")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'Count'" in done.err or "found no 'Cont'" in done.err


@pytest.mark.parametrize("arguments", [("graph", "organism.yaml"), ("schema", "organism.yaml", "echo")])
def test_who_closes_stdout_gets_no_traceback(phloem: Any, arguments: tuple[str, ...]) -> None:
    process = phloem.start(*arguments)
    process.stdout.close()
    assert process.wait(timeout=60) == 2
    assert process.stderr.read() == ""


@pytest.mark.parametrize("command", ["graph", "schema"])
def test_both_commands_are_listed_and_have_help(phloem: Any, command: str) -> None:
    assert f"  {command} " in phloem("--help").out
    assert "--log-level" in phloem(command, "--help").out
