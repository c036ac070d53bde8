"""What goes to a model and what comes back, the same for every provider.

Decides the shapes of a call: messages, a request, an answer, pieces of an answer on their way, and
what a call has used. Frozen; knows no provider and no wire format. Everyone in this package speaks in
these, and so does whoever writes a backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, cast, final

from phloem.config import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE

__all__ = [
    "Backend",
    "Deltas",
    "LLMDelta",
    "LLMMessage",
    "LLMRequest",
    "LLMResponse",
    "Role",
    "StopReason",
    "StreamingBackend",
    "TokenUsage",
    "ToolCall",
]


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class StopReason(StrEnum):
    """Why a model stopped, in one vocabulary for all providers. ``other``: for a reason phloem does not know,
    so nothing says that its answer is whole.
    """

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"


@final
@dataclass(frozen=True, slots=True)
class LLMMessage:
    """One message of a call. ``role`` is one of ``Role``, or a provider's own word."""

    role: str
    content: str


@final
@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that a model asks for; ``arguments`` as it wrote them, JSON mostly."""

    id: str
    name: str
    arguments: str


@final
@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of a call. ``cached_tokens`` are among the prompt's; ``total_tokens`` 0 means their sum."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0

    def __post_init__(self) -> None:
        if not self.total_tokens:
            object.__setattr__(self, "total_tokens", self.prompt_tokens + self.completion_tokens)


@final
@dataclass(frozen=True, slots=True)
class LLMRequest:
    """One call of a model. ``messages`` may be given as mappings with ``role`` and ``content``.

    ``model``: a name, or ``backend/name``; empty for the default. ``tools`` go to the provider as they
    are. ``agent`` and ``conversation`` say whose usage it is, and leave no organism: a call of a running
    handler has its own there, and one of a program is no agent's. Raises ValueError for a ``max_tokens`` that
    is no count.
    """

    messages: Sequence[LLMMessage] = field(repr=False)  # prompts and what people wrote
    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    stream: bool = False
    agent: str = ""
    conversation: str = ""

    def __post_init__(self) -> None:
        given = cast("Sequence[LLMMessage | Mapping[str, Any]]", self.messages)
        messages = tuple(
            each if isinstance(each, LLMMessage) else LLMMessage(str(each["role"]), str(each["content"]))
            for each in given
        )
        object.__setattr__(self, "messages", messages)
        most: object = self.max_tokens
        if most is not None and (type(most) is not int or most < 0):  # less than nothing would free a budget
            raise ValueError(f"max_tokens: found {most!r}, expected a whole number from 0, or None")

    @property
    def prompt_tokens(self) -> int:
        """About how many tokens its messages are: an estimate for rates, not a bound."""
        return -(-self._bytes // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * len(self.messages)

    @property
    def most_prompt_tokens(self) -> int:
        """More than its messages can be: no tokenizer makes two tokens of one byte. For budgets."""
        return self._bytes + TOKENS_PER_MESSAGE * len(self.messages)

    @property
    def _bytes(self) -> int:
        tools = len(repr(tuple(self.tools)).encode()) if self.tools else 0
        return tools + sum(len(each.content.encode("utf-8", "replace")) for each in self.messages)


@final
@dataclass(frozen=True, slots=True)
class LLMResponse:
    """A model's whole answer. ``backend``: who gave it. ``raw``: what the provider sent, as decoded JSON.

    ``reasoning`` is what a model thought aloud, where its provider tells it apart.
    """

    content: str
    model: str = ""
    usage: TokenUsage = TokenUsage()
    finish_reason: StopReason = StopReason.STOP
    raw: Any = field(default=None, repr=False)
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    backend: str = ""


@final
@dataclass(frozen=True, slots=True)
class LLMDelta:
    """A piece of an answer on its way."""

    text: str = ""
    reasoning: str = ""


class Backend(Protocol):
    """Whatever answers a request. What it raises of ``BackendError`` says whether to try again."""

    async def complete(self, request: LLMRequest, /) -> LLMResponse:
        """The whole answer. Raises BackendError."""
        ...


class Deltas(Protocol):
    """An answer on its way. ``response`` is there once iterating has ended by itself, and not before."""

    @property
    def response(self) -> LLMResponse:
        """The whole answer. Raises RuntimeError while it is not whole."""
        ...

    def __aiter__(self) -> Deltas: ...

    async def __anext__(self) -> LLMDelta:
        """The next piece. Raises TruncatedError, with what had arrived, if the answer breaks off."""
        ...


class StreamingBackend(Backend, Protocol):
    """A backend that can tell its answer as it comes."""

    def stream(self, request: LLMRequest, /) -> AbstractAsyncContextManager[Deltas]:
        """``async with backend.stream(request) as deltas: async for delta in deltas``."""
        ...
