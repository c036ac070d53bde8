"""The ``emit_*`` as the reference has them, as data; and a bus that only writes down what it is told."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Final

from phloem.events.emitting import Emitters
from phloem.events.types import AgentEvent

REFERENCE: Final = """
execution_started | execution_id, input_data=None, correlation_id=None | input
execution_completed | execution_id, output=None, correlation_id=None | output
execution_failed | execution_id, error, correlation_id=None | error
goal_progress | progress, criteria_status | progress, criteria_status
constraint_violation | execution_id, constraint_id, description | constraint_id, description
state_changed | execution_id, key, old_value, new_value, scope | key, old_value, new_value, scope
node_loop_started | node_id, execution_id=None, max_iterations=None | max_iterations
node_loop_iteration | node_id, iteration, execution_id=None | iteration
node_loop_completed | node_id, iterations, execution_id=None | iterations
llm_text_delta | node_id, content, snapshot, execution_id=None | content, snapshot
llm_reasoning_delta | node_id, content, execution_id=None | content
tool_call_started | node_id, tool_use_id, tool_name, tool_input=None, execution_id=None \
| tool_use_id, tool_name, tool_input
tool_call_completed | node_id, tool_use_id, tool_name, result="", is_error=False, execution_id=None \
| tool_use_id, tool_name, result, is_error
client_output_delta | node_id, content, snapshot, execution_id=None | content, snapshot
client_input_requested | node_id, prompt="", execution_id=None | prompt
node_internal_output | node_id, content, execution_id=None | content
node_stalled | node_id, reason="", execution_id=None | reason
node_input_blocked | node_id, prompt="", execution_id=None | prompt
"""
PLACE: Final = ("stream_id", "node_id", "execution_id")  # where it happens: what a scope may set


@dataclass(frozen=True)
class Emit:
    """One row: the parameters in order with their defaults (``Parameter.empty``: none), the data keys."""

    type: str
    parameters: Mapping[str, object]
    keys: tuple[str, ...]

    @property
    def method(self) -> str:
        return f"emit_{self.type}"

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name, default in self.parameters.items() if default is Parameter.empty)

    @property
    def place(self) -> tuple[str, ...]:
        """What of its parameters a scope may set."""
        return tuple(name for name in self.parameters if name in PLACE)

    def of(self, emitters: object) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(emitters, self.method)
        return found

    def data(self, given: Mapping[str, object]) -> dict[str, object]:
        """The data of an event for which these arguments were given."""
        called = {"input": "input_data"}  # the one key with another name than its parameter
        names = {key: called.get(key, key) for key in self.keys}
        return {key: given.get(name, self.parameters[name]) for key, name in names.items()}


def _read(row: str) -> Emit:
    type, parameters, keys = (cell.strip() for cell in row.split("|"))
    pairs = [cell.partition("=") for cell in ("stream_id, " + parameters).split(", ")]
    return Emit(
        type,
        {name: ast.literal_eval(text) if eq else Parameter.empty for name, eq, text in pairs},
        tuple(keys.split(", ")),
    )


TABLE: Final = tuple(_read(row) for row in REFERENCE.strip().splitlines())


def arguments(*names: str) -> dict[str, object]:
    """A value for each parameter that is told apart from all others."""
    values: dict[str, object] = {
        "progress": 0.25,
        "criteria_status": {"fast": "met"},
        "max_iterations": 7,
        "iteration": 3,
        "iterations": 5,
        "is_error": True,
        "old_value": None,
        "new_value": [1, {"two": 2}],
    }
    return {name: values.get(name, f"the {name}") for name in names}


class Recorder(Emitters):
    """A bus's front without a bus: what was emitted, in order."""

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []

    def emit(self, event: AgentEvent) -> AgentEvent:
        self.events.append(event)
        return event

    @property
    def only(self) -> AgentEvent:
        (event,) = self.events
        return event
