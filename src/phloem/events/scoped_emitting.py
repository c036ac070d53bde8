"""The ``emit_*`` conveniences in a scope: where the event happens need not be said again.

Decides what stays to be said. Each takes what its namesake in ``emitting`` takes; what a scope may set
(stream, node, execution) is asked for by keyword only, and only where the scope leaves it open. So are
``correlation_id`` and ``is_error``: then no call made for a whole bus, by position, is a call here, and
a stream's name never ends up as somebody's input. Keeps no keys and no types of events: these are
``emitting``'s. Called by handlers, through ``ScopedBus``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, final

from .emitting import Committed, Emitters
from .scope import Scope
from .types import AgentEvent

__all__ = ["Publishes", "ScopedEmitters"]


class Publishes(Protocol):
    """What emitting in a scope needs of a bus."""

    def emit(self, event: AgentEvent) -> AgentEvent:
        """Publish at once, without waiting; the event as it was stamped."""
        ...


@final
class Stamping(Emitters):
    """A bus's ``emit_*``, each event with what the scope sets."""

    __slots__ = ("_bus", "_scope")

    def __init__(self, bus: Publishes, scope: Scope) -> None:
        self._bus, self._scope = bus, scope

    def emit(self, event: AgentEvent) -> AgentEvent:
        """As the bus's."""
        return self._bus.emit(self._scope.stamped(event))


class ScopedEmitters:
    """A scope's ``emit_*``. Each commits when it is called, never waits, and may be awaited.

    Each raises AccessRefused for a stream, node or execution other than the scope's, InvalidEvent for
    one that its event needs and nobody says, and what the bus's ``emit`` raises.
    """

    __slots__ = ("_scope", "_stamping")

    def __init__(self, bus: Publishes, scope: Scope) -> None:
        self._scope, self._stamping = scope, Stamping(bus, scope)

    def emit(self, event: AgentEvent) -> AgentEvent:
        """Publish at once, without waiting; the event as it was stamped."""
        return self._stamping.emit(event)

    # an execution, by whoever runs it

    def emit_execution_started(
        self,
        input_data: object = None,
        *,
        correlation_id: str | None = None,
        stream_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From whoever runs an execution, before its first step."""
        stream, execution = self._scope.in_execution(stream_id, execution_id)
        return self._stamping.emit_execution_started(stream, execution, input_data, correlation_id)

    def emit_execution_completed(
        self,
        output: object = None,
        *,
        correlation_id: str | None = None,
        stream_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From whoever runs an execution, once it has done what it was for."""
        stream, execution = self._scope.in_execution(stream_id, execution_id)
        return self._stamping.emit_execution_completed(stream, execution, output, correlation_id)

    def emit_execution_failed(
        self,
        error: str,
        *,
        correlation_id: str | None = None,
        stream_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From whoever runs an execution, once it has ended in any other way; ``error`` says which."""
        stream, execution = self._scope.in_execution(stream_id, execution_id)
        return self._stamping.emit_execution_failed(stream, execution, error, correlation_id)

    # goals and rules, by whoever judges

    def emit_goal_progress(
        self, progress: float, criteria_status: Mapping[str, object], *, stream_id: str | None = None
    ) -> Committed:
        """From whoever judges a goal, when it has measured anew how near it is (0 to 1), by criterion."""
        stream = self._scope.in_stream(stream_id)
        return self._stamping.emit_goal_progress(stream, progress, criteria_status)

    def emit_constraint_violation(
        self,
        constraint_id: str,
        description: str,
        *,
        stream_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From whoever holds a rule, when an execution has broken it."""
        stream, execution = self._scope.in_execution(stream_id, execution_id)
        return self._stamping.emit_constraint_violation(stream, execution, constraint_id, description)

    def emit_state_changed(
        self,
        key: str,
        old_value: object,
        new_value: object,
        scope: str,
        *,
        stream_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From whoever keeps state, after a value has changed; ``scope`` says whose state it is."""
        stream, execution = self._scope.in_execution(stream_id, execution_id)
        return self._stamping.emit_state_changed(stream, execution, key, old_value, new_value, scope)

    # a node that loops, by the node

    def emit_node_loop_started(
        self,
        max_iterations: int | None = None,
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From a node that loops, before its first round."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_node_loop_started(stream, node, execution, max_iterations)

    def emit_node_loop_iteration(
        self,
        iteration: int,
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From a node that loops, at each round."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_node_loop_iteration(stream, node, iteration, execution)

    def emit_node_loop_completed(
        self,
        iterations: int,
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From a node that loops, after its last round."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_node_loop_completed(stream, node, iterations, execution)

    # a model's words, by the node that asked it

    def emit_llm_text_delta(
        self,
        content: str,
        snapshot: str,
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From the node that asked a model, at each piece of its answer; ``snapshot`` is all so far."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_llm_text_delta(stream, node, content, snapshot, execution)

    def emit_llm_reasoning_delta(
        self,
        content: str,
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From the node that asked a model, at each piece of its thinking."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_llm_reasoning_delta(stream, node, content, execution)

    # tools, by the node that uses them

    def emit_tool_call_started(
        self,
        tool_use_id: str,
        tool_name: str,
        tool_input: object = None,
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From the node that uses a tool, before it calls it."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_tool_call_started(
            stream, node, tool_use_id, tool_name, tool_input, execution
        )

    def emit_tool_call_completed(
        self,
        tool_use_id: str,
        tool_name: str,
        result: object = "",
        *,
        is_error: bool = False,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From the node that uses a tool, once the tool has answered or failed."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_tool_call_completed(
            stream, node, tool_use_id, tool_name, result, is_error, execution
        )

    # a client and its node

    def emit_client_output_delta(
        self,
        content: str,
        snapshot: str,
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From a node that speaks to a client, at each piece; ``snapshot`` is all so far."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_client_output_delta(stream, node, content, snapshot, execution)

    def emit_client_input_requested(
        self,
        prompt: str = "",
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From a node that speaks to a client, when it cannot go on without an answer."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_client_input_requested(stream, node, prompt, execution)

    # a node that clients do not hear

    def emit_node_internal_output(
        self,
        content: str,
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From a node that no client hears, when it has something to say."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_node_internal_output(stream, node, content, execution)

    def emit_node_stalled(
        self,
        reason: str = "",
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From whoever watches a node, when it no longer gets anywhere."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_node_stalled(stream, node, reason, execution)

    def emit_node_input_blocked(
        self,
        prompt: str = "",
        *,
        stream_id: str | None = None,
        node_id: str | None = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From a node that no client hears, when it would need a client's answer and cannot have one."""
        stream, node, execution = self._scope.at_node(stream_id, node_id, execution_id)
        return self._stamping.emit_node_input_blocked(stream, node, prompt, execution)
