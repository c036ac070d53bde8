"""The ``emit_*`` conveniences: for each happening of an agent's life, one call with its own words.

Decides which arguments such a call takes and under which keys of ``data`` they travel; nothing else
in phloem writes these keys. Never stamps, keeps or delivers an event: that is what the ``emit`` of
the class does that inherits from here. Called by applications, through a bus or a scope of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from typing import Any, Final, final

import trio

from .types import AgentEvent, EventType

__all__ = ["COMMITTED", "Committed", "Emitters"]


@final
class Committed:
    """What an ``emit_*`` returns: the event is published already, and awaiting this is a courtesy.

    Each ``await`` is one checkpoint and gives None, as often as one likes; cancelling it takes no event
    back. It is no coroutine, so leaving it alone is no mistake.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        """Checkpoint."""
        yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105 - no coroutine may be left

    def __repr__(self) -> str:
        return "<committed>"


COMMITTED: Final = Committed()  # it holds nothing, so one serves every event


class Emitters(ABC):
    """A bus's ``emit_*``. Each commits when it is called, never waits, and may be awaited.

    What is given for ``object`` parameters travels as data, so it must be what data may hold. Each
    raises what ``emit`` raises.
    """

    __slots__ = ()

    @abstractmethod
    def emit(self, event: AgentEvent) -> AgentEvent:
        """Publish at once, without waiting; the event as it was stamped."""

    def _tell(
        self,
        type: EventType,
        stream_id: str,
        node_id: str | None,
        execution_id: str | None,
        data: Mapping[str, object],
        correlation_id: str | None = None,
    ) -> Committed:
        """Where all of them meet. ``data`` is made for this call, and is flat but for its values."""
        self.emit(AgentEvent(type, stream_id, node_id, execution_id, data, correlation_id=correlation_id))
        return COMMITTED

    # an execution, by whoever runs it

    def emit_execution_started(
        self,
        stream_id: str,
        execution_id: str,
        input_data: object = None,
        correlation_id: str | None = None,
    ) -> Committed:
        """From whoever runs an execution, before its first step."""
        data = {"input": input_data}
        return self._tell(EventType.EXECUTION_STARTED, stream_id, None, execution_id, data, correlation_id)

    def emit_execution_completed(
        self,
        stream_id: str,
        execution_id: str,
        output: object = None,
        correlation_id: str | None = None,
    ) -> Committed:
        """From whoever runs an execution, once it has done what it was for."""
        data = {"output": output}
        return self._tell(EventType.EXECUTION_COMPLETED, stream_id, None, execution_id, data, correlation_id)

    def emit_execution_failed(
        self, stream_id: str, execution_id: str, error: str, correlation_id: str | None = None
    ) -> Committed:
        """From whoever runs an execution, once it has ended in any other way; ``error`` says which."""
        data = {"error": error}
        return self._tell(EventType.EXECUTION_FAILED, stream_id, None, execution_id, data, correlation_id)

    # goals and rules, by whoever judges

    def emit_goal_progress(
        self, stream_id: str, progress: float, criteria_status: Mapping[str, object]
    ) -> Committed:
        """From whoever judges a goal, when it has measured anew how near it is (0 to 1), by criterion."""
        data = {"progress": progress, "criteria_status": criteria_status}
        return self._tell(EventType.GOAL_PROGRESS, stream_id, None, None, data)

    def emit_constraint_violation(
        self, stream_id: str, execution_id: str, constraint_id: str, description: str
    ) -> Committed:
        """From whoever holds a rule, when an execution has broken it."""
        data = {"constraint_id": constraint_id, "description": description}
        return self._tell(EventType.CONSTRAINT_VIOLATION, stream_id, None, execution_id, data)

    def emit_state_changed(
        self, stream_id: str, execution_id: str, key: str, old_value: object, new_value: object, scope: str
    ) -> Committed:
        """From whoever keeps state, after a value has changed; ``scope`` says whose state it is."""
        data = {"key": key, "old_value": old_value, "new_value": new_value, "scope": scope}
        return self._tell(EventType.STATE_CHANGED, stream_id, None, execution_id, data)

    # a node that loops, by the node

    def emit_node_loop_started(
        self,
        stream_id: str,
        node_id: str,
        execution_id: str | None = None,
        max_iterations: int | None = None,
    ) -> Committed:
        """From a node that loops, before its first round."""
        data = {"max_iterations": max_iterations}
        return self._tell(EventType.NODE_LOOP_STARTED, stream_id, node_id, execution_id, data)

    def emit_node_loop_iteration(
        self, stream_id: str, node_id: str, iteration: int, execution_id: str | None = None
    ) -> Committed:
        """From a node that loops, at each round."""
        data = {"iteration": iteration}
        return self._tell(EventType.NODE_LOOP_ITERATION, stream_id, node_id, execution_id, data)

    def emit_node_loop_completed(
        self, stream_id: str, node_id: str, iterations: int, execution_id: str | None = None
    ) -> Committed:
        """From a node that loops, after its last round."""
        data = {"iterations": iterations}
        return self._tell(EventType.NODE_LOOP_COMPLETED, stream_id, node_id, execution_id, data)

    # a model's words, by the node that asked it

    def emit_llm_text_delta(
        self, stream_id: str, node_id: str, content: str, snapshot: str, execution_id: str | None = None
    ) -> Committed:
        """From the node that asked a model, at each piece of its answer; ``snapshot`` is all so far."""
        data = {"content": content, "snapshot": snapshot}
        return self._tell(EventType.LLM_TEXT_DELTA, stream_id, node_id, execution_id, data)

    def emit_llm_reasoning_delta(
        self, stream_id: str, node_id: str, content: str, execution_id: str | None = None
    ) -> Committed:
        """From the node that asked a model, at each piece of its thinking."""
        data = {"content": content}
        return self._tell(EventType.LLM_REASONING_DELTA, stream_id, node_id, execution_id, data)

    # tools, by the node that uses them

    def emit_tool_call_started(
        self,
        stream_id: str,
        node_id: str,
        tool_use_id: str,
        tool_name: str,
        tool_input: object = None,
        execution_id: str | None = None,
    ) -> Committed:
        """From the node that uses a tool, before it calls it."""
        data = {"tool_use_id": tool_use_id, "tool_name": tool_name, "tool_input": tool_input}
        return self._tell(EventType.TOOL_CALL_STARTED, stream_id, node_id, execution_id, data)

    def emit_tool_call_completed(
        self,
        stream_id: str,
        node_id: str,
        tool_use_id: str,
        tool_name: str,
        result: object = "",
        is_error: bool = False,
        execution_id: str | None = None,
    ) -> Committed:
        """From the node that uses a tool, once the tool has answered or failed."""
        data = {"tool_use_id": tool_use_id, "tool_name": tool_name, "result": result, "is_error": is_error}
        return self._tell(EventType.TOOL_CALL_COMPLETED, stream_id, node_id, execution_id, data)

    # a client and its node

    def emit_client_output_delta(
        self, stream_id: str, node_id: str, content: str, snapshot: str, execution_id: str | None = None
    ) -> Committed:
        """From a node that speaks to a client, at each piece; ``snapshot`` is all so far."""
        data = {"content": content, "snapshot": snapshot}
        return self._tell(EventType.CLIENT_OUTPUT_DELTA, stream_id, node_id, execution_id, data)

    def emit_client_input_requested(
        self, stream_id: str, node_id: str, prompt: str = "", execution_id: str | None = None
    ) -> Committed:
        """From a node that speaks to a client, when it cannot go on without an answer."""
        data = {"prompt": prompt}
        return self._tell(EventType.CLIENT_INPUT_REQUESTED, stream_id, node_id, execution_id, data)

    # a node that clients do not hear

    def emit_node_internal_output(
        self, stream_id: str, node_id: str, content: str, execution_id: str | None = None
    ) -> Committed:
        """From a node that no client hears, when it has something to say."""
        data = {"content": content}
        return self._tell(EventType.NODE_INTERNAL_OUTPUT, stream_id, node_id, execution_id, data)

    def emit_node_stalled(
        self, stream_id: str, node_id: str, reason: str = "", execution_id: str | None = None
    ) -> Committed:
        """From whoever watches a node, when it no longer gets anywhere."""
        data = {"reason": reason}
        return self._tell(EventType.NODE_STALLED, stream_id, node_id, execution_id, data)

    def emit_node_input_blocked(
        self, stream_id: str, node_id: str, prompt: str = "", execution_id: str | None = None
    ) -> Committed:
        """From a node that no client hears, when it would need a client's answer and cannot have one."""
        data = {"prompt": prompt}
        return self._tell(EventType.NODE_INPUT_BLOCKED, stream_id, node_id, execution_id, data)
