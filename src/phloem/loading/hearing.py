"""What an agent without handler hears beside its payload classes: its peers' answers, and phloem's words.

Decides whose answers those are, and that of one tag there is one class: an element that comes to the agent
has one meaning. Builds no contract that others have not and says nothing to a model. ``running`` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from phloem.contract import Contract, contract_of
from phloem.pump.routing import Listener

from .report import quoted

__all__ = ["Heard", "Hearing"]


@final
@dataclass(frozen=True, slots=True)
class Heard:
    """``heard``: answers, by address. ``told``: phloem's own words. ``clashes``: (found, expected)."""

    heard: tuple[Contract, ...]
    told: tuple[Contract, ...]
    clashes: tuple[tuple[str, str], ...]


@final
class Hearing:
    """The listeners of one organism, as those whose answers may be heard."""

    def __init__(self, running: Sequence[Listener], words: Sequence[type]) -> None:
        self._words = tuple(contract_of(cls) for cls in words)
        self._by_name: dict[str, list[Listener]] = {}
        for listener in running:
            if not listener.private:
                self._by_name.setdefault(listener.name.casefold(), []).append(listener)

    def of(self, agent: Listener) -> Heard:
        """What that agent hears.

        Who is within everyone's reach without being a peer is heard as well, unless a tag of its answers
        means another class already: the agent is told of its peers only.
        """
        taken: dict[str, tuple[Contract, str]] = {}
        clashes: list[tuple[str, str]] = []
        heard: list[Contract] = []

        def take(contract: Contract, whose: str) -> bool:
            """True for one that is new; a second class of its tag is a clash."""
            before = taken.setdefault(contract.tag.casefold(), (contract, whose))
            if before[0].payload_class is not contract.payload_class:
                first = f"{_named(before[0])} {before[1]}"
                found = f"{_named(contract)} {whose}, which is <{contract.tag}>, as {first} is"
                clashes.append((found, "one class for each tag that an agent hears"))
            return before == (contract, whose)

        for contract in agent.contracts:
            take(contract, "that it takes")
        told = [contract for contract in self._words if take(contract, "of phloem's own")]
        peers = dict.fromkeys(name.casefold() for name in agent.peers or ())
        for name in peers:
            for answer in self._answers(name):
                if take(answer, f"that {quoted(self._by_name[name][0].name)} answers with"):
                    heard.append(answer)
        for name, twins in self._by_name.items():
            if any(twin.for_all for twin in twins):
                for answer in self._answers(name):
                    if answer.tag.casefold() not in taken:
                        take(answer, f"that {quoted(twins[0].name)} answers with")
                        heard.append(answer)
        return Heard(tuple(heard), tuple(told), tuple(dict.fromkeys(clashes)))

    def _answers(self, name: str) -> Sequence[Contract]:
        """Of all who share that name, each class once."""
        twins = self._by_name.get(name, ())
        return tuple(dict.fromkeys(answer for twin in twins for answer in twin.responds_with or ()))


def _named(contract: Contract) -> str:
    cls = contract.payload_class
    return f"{cls.__module__}.{cls.__qualname__}"
