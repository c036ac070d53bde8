"""The prompts of an organism's agents: written at its start, then read by calls alone.

Decides who has which prompt, and that it stays so. An operator sees names and hashes; a prompt itself goes
into calls and nowhere else: no ``repr``, no event and no public name that a handler can reach leads to it.
Filled by ``facade`` as the organism opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import final

from phloem.errors import AccessRefused, ConfigurationError, ConfigurationFault
from phloem.wire.parsing import quoted

__all__ = ["PromptHashes", "PromptRecord", "PromptRegistry"]


@final
@dataclass(frozen=True, slots=True)
class PromptRecord:
    """What an agent is told in each call. ``prompt_hash``: the sha256 of ``system_prompt``, in hex."""

    agent_name: str
    system_prompt: str = field(repr=False)
    prompt_hash: str
    peer_schemas: str = field(default="", repr=False)
    answering: str = field(default="", repr=False)  # how to write an answer, if no code writes it


@final
class PromptRegistry:
    """Prompts by agent: of broadcast twins each has its own, under its key (``x``, ``x#2``)."""

    __slots__ = ("_frozen", "_records")

    def __init__(self) -> None:
        self._records: dict[str, PromptRecord] = {}
        self._frozen = False

    def register(self, agent: str, system_prompt: str, peer_schemas: str = "", answering: str = "") -> None:
        """Give an agent its prompt. Raises ConfigurationError for a second one, AccessRefused once frozen."""
        if self._frozen:
            raise AccessRefused(f"found a prompt for {quoted(agent)}, expected none once prompts are frozen")
        if agent in self._records:
            fault = ConfigurationFault(f"prompt of {quoted(agent)}", "a second one", "one for each agent")
            raise ConfigurationError([fault])
        digest = sha256(system_prompt.encode("utf-8", "surrogatepass")).hexdigest()
        self._records[agent] = PromptRecord(agent, system_prompt, digest, peer_schemas, answering)

    def freeze(self) -> None:
        """From here on nothing is registered. Idempotent."""
        self._frozen = True

    @property
    def frozen(self) -> bool:
        """Whether what is here stays as it is."""
        return self._frozen

    @property
    def hashes(self) -> PromptHashes:
        """What an operator sees of it."""
        return PromptHashes({name: record.prompt_hash for name, record in self._records.items()})

    def record(self, agent: str) -> PromptRecord | None:
        """What that agent is told; None if it has no prompt here. For calls."""
        return self._records.get(agent)

    def __repr__(self) -> str:
        return f"<PromptRegistry of {len(self._records)}{', frozen' if self._frozen else ''}>"


@final
class PromptHashes(Mapping[str, str]):
    """The sha256 of each agent's prompt, in hex, by the agent's key: tells whether two runs say the same."""

    __slots__ = ("_hashes",)

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = dict(hashes)

    def __getitem__(self, agent: str) -> str:
        return self._hashes[agent]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hashes)

    def __len__(self) -> int:
        return len(self._hashes)

    def __repr__(self) -> str:
        return f"PromptHashes({self._hashes!r})"
