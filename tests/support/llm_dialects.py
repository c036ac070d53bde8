"""A conformance suite's plan in the words of each wire format: as a provider would write it.

For ``llm_server``. Written from what the providers document and send, not from our reader of it.
"""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from phloem.llm.requests import StopReason

from .backend_conformance import Plan

__all__ = ["Dialect", "anthropic", "chat", "dialect_of"]


class Dialect(Protocol):
    """One format, as its provider speaks it."""

    def whole(self, plan: Plan, model: str) -> dict[str, Any]: ...

    def events(self, plan: Plan, model: str) -> list[bytes]:
        """Each one write of the provider."""
        ...

    def said(self, plan: Plan) -> int:
        """How many of the events it takes until all text has been said."""
        ...

    def failure(self, plan: Plan) -> dict[str, Any]: ...


class Chat:
    """OpenAI's."""

    STOPS: Final = {
        StopReason.STOP: "stop",
        StopReason.LENGTH: "length",
        StopReason.TOOL_CALLS: "tool_calls",
        StopReason.CONTENT_FILTER: "content_filter",
        StopReason.OTHER: "eos",
    }

    def usage(self, plan: Plan) -> dict[str, Any]:
        used = plan.usage
        return {
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
            "total_tokens": used.total_tokens,
            "prompt_tokens_details": {"cached_tokens": used.cached_tokens, "audio_tokens": 0},
        }

    def whole(self, plan: Plan, model: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": plan.text, "refusal": None}
        if plan.reasoning:
            message["reasoning_content"] = plan.reasoning
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.STOPS[plan.stop]}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [choice],
            "usage": self.usage(plan),
        }

    def events(self, plan: Plan, model: str) -> list[bytes]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if plan.reasoning:
            deltas.append({"reasoning_content": plan.reasoning})
        deltas += [{"content": chunk} for chunk in plan.chunks]
        choices: list[dict[str, Any]] = [
            {"index": 0, "delta": delta, "finish_reason": None} for delta in deltas
        ]
        choices.append({"index": 0, "delta": {}, "finish_reason": self.STOPS[plan.stop]})
        base: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": model,
        }
        chunks: list[dict[str, Any]] = [{**base, "choices": [choice], "usage": None} for choice in choices]
        chunks.append({**base, "choices": [], "usage": self.usage(plan)})
        return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"]

    def said(self, plan: Plan) -> int:
        return 1 + bool(plan.reasoning) + len(plan.chunks)

    def failure(self, plan: Plan) -> dict[str, Any]:
        return {"error": {"message": plan.said, "type": "some_error", "param": None, "code": None}}


class Anthropic:
    """Anthropic's."""

    STOPS: Final = {
        StopReason.STOP: "end_turn",
        StopReason.LENGTH: "max_tokens",
        StopReason.TOOL_CALLS: "tool_use",
        StopReason.CONTENT_FILTER: "refusal",
        StopReason.OTHER: "pause_turn",
    }

    def usage(self, plan: Plan) -> dict[str, Any]:
        used = plan.usage
        return {
            "input_tokens": used.prompt_tokens - used.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": used.cached_tokens,
            "output_tokens": used.completion_tokens,
        }

    def message(self, plan: Plan, model: str) -> dict[str, Any]:
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**self.usage(plan), "output_tokens": 1},
        }

    def whole(self, plan: Plan, model: str) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": plan.text}] if plan.chunks else []
        if plan.reasoning:
            content.insert(0, {"type": "thinking", "thinking": plan.reasoning, "signature": "c2ln"})
        return {
            **self.message(plan, model),
            "content": content,
            "stop_reason": self.STOPS[plan.stop],
            "usage": self.usage(plan),
        }

    def events(self, plan: Plan, model: str) -> list[bytes]:
        told: list[dict[str, Any]] = [{"type": "message_start", "message": self.message(plan, model)}]
        if plan.reasoning:
            told += self.block(0, "thinking", "thinking_delta", [plan.reasoning])
        told.append({"type": "ping"})
        if plan.chunks:
            told += self.block(bool(plan.reasoning), "text", "text_delta", plan.chunks)
        delta: dict[str, Any] = {"stop_reason": self.STOPS[plan.stop], "stop_sequence": None}
        used = {"output_tokens": plan.usage.completion_tokens}
        told += [{"type": "message_delta", "delta": delta, "usage": used}, {"type": "message_stop"}]
        return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in told]

    def block(self, index: int, kind: str, delta: str, pieces: Any) -> list[dict[str, Any]]:
        start = {"type": "content_block_start", "index": index, "content_block": {"type": kind, kind: ""}}
        deltas = [
            {"type": "content_block_delta", "index": index, "delta": {"type": delta, kind: piece}}
            for piece in pieces
        ]
        return [start, *deltas, {"type": "content_block_stop", "index": index}]

    def said(self, plan: Plan) -> int:
        return 2 + 3 * bool(plan.reasoning) + (1 + len(plan.chunks) if plan.chunks else 0)

    def failure(self, plan: Plan) -> dict[str, Any]:
        return {"type": "error", "error": {"type": "some_error", "message": plan.said}, "request_id": "req_1"}


def chat() -> Dialect:
    return Chat()


def anthropic() -> Dialect:
    return Anthropic()


def dialect_of(path: str) -> Dialect:
    return anthropic() if path.endswith("/messages") else chat()
