"""(to, payload, peers) -> listeners.

Decides who takes a message, and why nobody does. Pure: a table built once, no clock, no
queue. The reason of a miss is for the log; senders are told the same words for unknown
and forbidden, and those words are not written here. Called by the pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from phloem.config import Budgets, Handler
from phloem.contract import Contract
from phloem.wire.parsing import quoted

__all__ = ["Listener", "Miss", "Routes"]


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Listener:
    """A listener as it runs: its contracts, its handler, its limits.

    ``key`` names it in the ledger and is unique; it differs from ``name`` for broadcast
    twins only (``x``, ``x#2``). ``peers`` None: may address anyone. ``max_concurrent``
    None: bounded by the organism's handler slots alone. One ``for_all`` may be addressed by
    everyone, whatever their peers; a ``service`` of phloem's own acts for its caller as well,
    and is content if that takes no answer; a ``private`` one hears from phloem alone. The handler
    of an ``egress`` is given envelopes as bytes.

    A ``driven`` one is an agent without a handler of its own. ``heard`` is what its peers answer with:
    it takes that by address, and is never the taker of a payload without one. ``told`` is phloem's own
    words to it (notices, services' answers), which nobody else may send. ``gathers``: it hears all
    answers once nothing below it is in flight.
    """

    key: str
    name: str
    contracts: tuple[Contract, ...]
    handler: Handler
    description: str = ""
    is_agent: bool = False
    peers: tuple[str, ...] | None = None
    broadcast: bool = False
    prompt: str = field(default="", repr=False)  # of an organism that runs it is empty: its models have it
    usage_instructions: str = ""
    responds_with: tuple[Contract, ...] | None = None
    max_concurrent: int | None = None
    retries: int = 0
    retry_base_delay: float = 0.0
    retry_max_delay: float = 0.0
    handler_timeout: float = 0.0
    budgets: Budgets = field(default_factory=Budgets)
    service: bool = False
    private: bool = False
    for_all: bool = False
    egress: bool = False
    driven: bool = False
    heard: tuple[Contract, ...] = ()
    told: tuple[Contract, ...] = ()
    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    max_history_tokens: int | None = None
    gathers: bool = False
    streams: bool = False
    early: bool = False
    idempotent: bool = False
    max_attempts: int | None = None
    by_tag: dict[str, Contract] = field(init=False, repr=False)
    taken: frozenset[str] = field(init=False, repr=False)  # tags of what others may send or respond to it
    allowed: frozenset[str] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        peers = () if self.peers is None and self.is_agent else self.peers
        allowed = None if peers is None else frozenset(name.casefold() for name in (*peers, self.name))
        every = (*self.told, *self.heard, *self.contracts)  # one class for each tag: loading has seen to it
        object.__setattr__(self, "by_tag", {contract.tag.casefold(): contract for contract in every})
        taken = frozenset(contract.tag.casefold() for contract in (*self.heard, *self.contracts))
        object.__setattr__(self, "taken", taken)
        object.__setattr__(self, "allowed", allowed)

    def hears(self, tag: str, responder: Listener | None) -> bool:
        """Whether it takes such a payload as a response of that listener; None: as phloem's own notice."""
        ours = responder is None or responder.service
        return tag.casefold() in (self.by_tag if ours else self.taken)

    @property
    def payload_class(self) -> type:
        """The first class it takes; ``contracts`` has all."""
        return self.contracts[0].payload_class

    @property
    def schema(self) -> str:
        """The first class's XSD."""
        return self.contracts[0].xsd_text

    @property
    def root_tag(self) -> str:
        """``listener.payload`` in lower case, as the reference's routing table has it."""
        return f"{self.name.lower()}.{self.contracts[0].tag.lower()}"


@final
@dataclass(frozen=True, slots=True)
class Miss:
    """Nobody takes it. ``detail`` is for the log and the bus, never for the sender."""

    detail: str


@final
class Routes:
    """The routing table of one organism."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._names: dict[str, tuple[Listener, ...]] = {}
        self._pairs: dict[tuple[str, str], tuple[Listener, ...]] = {}
        self._takers: dict[str, tuple[Listener, ...]] = {}
        self._for_all = frozenset(listener.name.casefold() for listener in listeners if listener.for_all)
        self.table: dict[str, list[Listener]] = {}
        for listener in listeners:
            name = listener.name.casefold()
            own = dict.fromkeys(contract.tag.casefold() for contract in listener.contracts)
            addressed = own | dict.fromkeys(contract.tag.casefold() for contract in listener.heard)
            for tag in addressed:
                self.table.setdefault(f"{name}.{tag}", []).append(listener)
            if listener.private:
                continue
            self._names[name] = (*self._names.get(name, ()), listener)
            for tag in addressed:
                self._pairs[name, tag] = (*self._pairs.get((name, tag), ()), listener)
            for tag in own:
                self._takers[tag] = (*self._takers.get(tag, ()), listener)

    def find(self, tag: str, to: str | None, sender: Listener | None) -> tuple[Listener, ...] | Miss:
        """Who takes a payload of that tag, sent by that listener (None: a stranger)."""
        allowed = None if sender is None else sender.allowed
        if to is None:
            return self._by_tag(tag, allowed)
        name = to.casefold()
        if allowed is not None and name not in allowed and name not in self._for_all:
            return Miss(f"{quoted(to)} is not among its peers")
        found = self._pairs.get((name, tag.casefold()))
        if found is None:
            there = name in self._names
            return Miss(f"{quoted(to)} does not take {quoted(tag)}" if there else f"there is no {quoted(to)}")
        return found

    def takers(self, tag: str, sender: Listener) -> tuple[Listener, ...]:
        """Those that ``sender`` may address and that take such payloads without being named."""
        return self._allowed_takers(tag, sender.allowed)

    def addressed_by(self, sender: Listener) -> tuple[Listener, ...]:
        """All that ``sender`` may address, itself included."""
        every = dict.fromkeys(listener for twins in self._names.values() for listener in twins)
        if sender.allowed is None:
            return tuple(every)
        return tuple(each for each in every if each.for_all or each.name.casefold() in sender.allowed)

    def named(self, name: str) -> tuple[Listener, ...]:
        """The listeners of that name: several if they are twins, none if it is a stranger's."""
        return self._names.get(name.casefold(), ())

    def _allowed_takers(self, tag: str, allowed: frozenset[str] | None) -> tuple[Listener, ...]:
        takers = self._takers.get(tag.casefold(), ())
        if allowed is not None:
            takers = tuple(taker for taker in takers if taker.for_all or taker.name.casefold() in allowed)
        return tuple(taker for taker in takers if not taker.service) or takers  # a user's class comes first

    def _by_tag(self, tag: str, allowed: frozenset[str] | None) -> tuple[Listener, ...] | Miss:
        takers = self._allowed_takers(tag, allowed)
        if not takers:
            return Miss(f"nobody takes {quoted(tag)}")
        if len(takers) > 1 and not all(taker.broadcast for taker in takers):
            names = ", ".join(sorted({taker.name for taker in takers}))
            return Miss(f"{names} all take {tag}: it needs an address")
        return takers


def twin_keys(names: Sequence[str]) -> list[str]:
    """A unique key for each listener: its name, and ``name#2``, ``name#3`` for its twins."""
    seen: dict[str, int] = {}
    keys: list[str] = []
    for name in names:
        count = seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
        keys.append(name if count == 1 else f"{name}#{count}")
    return keys
