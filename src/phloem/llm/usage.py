"""What calls have used: by agent, conversation, model and backend.

Decides what is summed and how long a conversation is told apart: the newest ones are, and what older ones
used stays in every sum. Prices nothing and bounds nothing: budgets are the ledger's. Written by ``calls``
as each attempt ends that used something; read by operators.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from phloem.config import KEEP_USAGE
from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.wire.text import shown

from .requests import TokenUsage

__all__ = ["AgentUsage", "Usage", "UsageRow"]

_KEYS: Final = ("agent", "conversation", "model", "backend")
_PICOS: Final = 1_000_000_000_000  # costs are whole trillionths inside: a sum of floats would drift
_Key = tuple[str, str, str, str]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What some calls have used together. A key that the row does not speak of is empty.

    ``agent`` is also empty for calls of programs, and ``conversation`` for those and for what conversations
    used that are no longer told apart. ``requests``: those that got an answer, whole or in part; one that was
    tried again after a part is two. ``cached_tokens`` are among ``prompt_tokens``. ``cost``: in the
    currency of the prices, of those requests that have one; None if none has. ``unpriced``: how many have
    none.
    """

    agent: str = ""
    conversation: str = ""
    model: str = ""
    backend: str = ""
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = None
    unpriced: int = 0


@final
@dataclass(frozen=True, slots=True)
class AgentUsage:
    """What one agent has used since it was last reset."""

    total_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    request_count: int = 0


@final
class _Sum:
    """Counts that grow."""

    __slots__ = ("cached", "completion", "picos", "prompt", "requests", "total", "unpriced")

    def __init__(self) -> None:
        self.requests = self.prompt = self.completion = self.total = self.cached = 0
        self.picos = self.unpriced = 0

    def count(self, usage: TokenUsage, picos: int | None) -> None:
        self.requests += 1
        self.prompt += usage.prompt_tokens
        self.completion += usage.completion_tokens
        self.total += usage.total_tokens
        self.cached += usage.cached_tokens
        if picos is None:
            self.unpriced += 1
        else:
            self.picos += picos

    def add(self, other: _Sum) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def row(self, key: _Key) -> UsageRow:
        return UsageRow(
            agent=key[0],
            conversation=key[1],
            model=key[2],
            backend=key[3],
            requests=self.requests,
            prompt_tokens=self.prompt,
            completion_tokens=self.completion,
            total_tokens=self.total,
            cached_tokens=self.cached,
            cost=self.picos / _PICOS if self.requests > self.unpriced else None,
            unpriced=self.unpriced,
        )


@final
class Usage:
    """The sums of one organism. ``keep``: so many conversations are told apart, and so many models."""

    def __init__(self, keep: int = KEEP_USAGE) -> None:
        self._keep = keep
        self._sums: dict[str, dict[_Key, _Sum]] = {}  # by conversation; the least recently used first
        self._models: set[str] = set()
        self._agents: dict[str, _Sum] = {}

    def count(
        self, agent: str, conversation: str, model: str, backend: str, usage: TokenUsage, picos: int | None
    ) -> None:
        """One answer, or what came of one. ``picos``: what it cost, in trillionths; None without a price."""
        if model not in self._models and len(self._models) >= self._keep:
            model = ""  # a program that names its models anew each time
        self._models.add(model)
        sums = self._sums.pop(conversation, {})
        self._sums[conversation] = sums
        sums.setdefault((agent, conversation, model, backend), _Sum()).count(usage, picos)
        self._agents.setdefault(agent, _Sum()).count(usage, picos)
        if len(self._sums) - ("" in self._sums) > self._keep:
            self._fold(next(name for name in self._sums if name))

    def rows(self, by: str | None = None) -> list[UsageRow]:
        """A row for each value of ``by``, or for each combination of all four; sorted by their keys.

        Raises ConfigurationError for what is none of the four.
        """
        if by is not None and by not in _KEYS:
            fault = ConfigurationFault("usage(by=…)", shown(by), f"None or one of {', '.join(_KEYS)}")
            raise ConfigurationError([fault])
        return [total.row(key) for key, total in sorted(self._grouped((by,) if by else _KEYS).items())]

    @property
    def total(self) -> UsageRow:
        """All of it."""
        return self._grouped(()).get(("", "", "", ""), _Sum()).row(("", "", "", ""))

    def agent(self, name: str) -> AgentUsage:
        """What that agent has used since it was last reset; zeros if nothing."""
        found = self._agents.get(name)
        return AgentUsage() if found is None else _agent_usage(found)

    def agents(self) -> dict[str, AgentUsage]:
        """The same of all that have used something, by name."""
        return {name: _agent_usage(each) for name, each in sorted(self._agents.items()) if name}

    def reset(self, name: str | None = None) -> None:
        """Begin an agent's own count anew, or every agent's. Rows go on."""
        if name is None:
            self._agents.clear()
        else:
            self._agents.pop(name, None)

    def _grouped(self, names: Iterable[str]) -> dict[_Key, _Sum]:
        kept = [name in names for name in _KEYS]
        grouped: dict[_Key, _Sum] = {}
        for sums in self._sums.values():
            for key, each in sums.items():
                agent, conversation, model, backend = (
                    part if keep else "" for part, keep in zip(key, kept, strict=True)
                )
                grouped.setdefault((agent, conversation, model, backend), _Sum()).add(each)
        return grouped

    def _fold(self, conversation: str) -> None:
        """What it used joins that of no conversation."""
        into = self._sums.setdefault("", {})
        for (agent, _, model, backend), each in self._sums.pop(conversation).items():
            into.setdefault((agent, "", model, backend), _Sum()).add(each)


def _agent_usage(found: _Sum) -> AgentUsage:
    return AgentUsage(found.total, found.prompt, found.completion, found.requests)
