"""A resolved configuration -> the listeners that a pump runs, with what each agent is told.

Decides what a listener inherits from its organism, and which of its peers' contracts an
agent's usage instructions speak of. Reads no file and starts nothing; a peer whose contract
has no example is a fault of the configuration, and so is a handler for a host that is not there.
``organism`` and ``cli`` call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from phloem.config import Budgets, ListenerConfig, OrganismConfig, Usage
from phloem.contract import Contract, contract_of
from phloem.contract.prompts import Peer, usage_instructions
from phloem.errors import ConfigurationError, ConfigurationFault, ContractError
from phloem.pump.calling import Calling
from phloem.pump.routing import Listener, twin_keys

from .report import listener_place

__all__ = ["peer_of", "running_listeners"]

_HOSTLESS: Final = "a handler that runs on the host (runs_on: host, or @on_host) in an organism without one"
_WITH_HOST: Final = "a program whose event loop phloem is embedded in, or a handler that runs on Trio"


def running_listeners(
    config: OrganismConfig,
    boot: Sequence[ListenerConfig] = (),
    services: Sequence[ListenerConfig] = (),
    calling: Calling | None = None,
) -> list[Listener]:
    """The configured listeners, then phloem's own. Raises ConfigurationError with every fault.

    ``services`` may be addressed by everyone, ``boot`` by nobody but phloem. Without ``calling`` they
    have their handlers as these were declared: to be read of, not to be run.
    """
    every = [*config.listeners, *boot, *services]
    keys = twin_keys([own.name for own in every])
    running = [
        _listener(key, own, config, private=own in boot, service=own in services)
        for key, own in zip(keys, every, strict=True)
    ]
    faults: list[ConfigurationFault] = []
    told: list[Listener] = []
    for number, (listener, own) in enumerate(zip(running, every, strict=True), 1):
        where = listener_place(own.name, number)
        if calling is not None and not calling.can_call(listener.handler, own.runs_on):
            faults.append(ConfigurationFault(where, _HOSTLESS, _WITH_HOST))
            continue
        try:
            told.append(_told(_called(listener, own, calling), own.usage or config.usage, running))
        except ContractError as error:
            faults.append(
                ConfigurationFault(where, f"a peer that takes what has no example: {error}", "one that does")
            )
    if faults:
        raise ConfigurationError(faults)
    return told


def _listener(
    key: str, own: ListenerConfig, config: OrganismConfig, *, private: bool, service: bool
) -> Listener:
    return Listener(
        key=key,
        name=own.name,
        contracts=_contracts(own.payload_class),
        handler=own.handler,  # type: ignore[arg-type] # resolved
        description=own.description,
        is_agent=own.is_agent,
        peers=None if own.peers is None else tuple(own.peers),
        broadcast=own.broadcast,
        prompt=own.prompt,
        responds_with=None if own.responds_with is None else _contracts(own.responds_with),
        max_concurrent=own.max_concurrent or (config.max_concurrent_per_agent if own.is_agent else None),
        retries=own.retries,
        retry_base_delay=own.retry_base_delay,
        retry_max_delay=own.retry_max_delay,
        handler_timeout=config.handler_timeout if own.handler_timeout is None else own.handler_timeout,
        budgets=own.budgets or Budgets(),
        private=private,
        service=service,
        for_all=service or own.service,
        egress=own.name.casefold() in {name.casefold() for name in config.egress},
    )


def _called(listener: Listener, own: ListenerConfig, calling: Calling | None) -> Listener:
    """The same, with what the pump calls for its handler."""
    if calling is None:
        return listener
    handler = calling.call_of(listener.handler, listener.key, own.runs_on)
    return listener if handler is listener.handler else replace(listener, handler=handler)


def _told(listener: Listener, usage: str, running: Sequence[Listener]) -> Listener:
    """The same, with its usage instructions if it is an agent."""
    if not listener.is_agent:
        return listener
    peers: list[Peer] = []
    for name in listener.peers or ():
        twins = [each for each in running if each.name.casefold() == name.casefold() and not each.private]
        unknown = Peer(name=name, description="", contracts=(), registered=False)
        peers.append(peer_of(twins) if twins else unknown)
    text = usage_instructions(listener.name, listener.description, peers, xsd=usage == Usage.XSD)
    return replace(listener, usage_instructions=text)


def peer_of(twins: Sequence[Listener]) -> Peer:
    """What others are told of the listeners of one name (one at least), who speak as one."""
    answers = dict.fromkeys(contract for each in twins for contract in each.responds_with or ())
    return Peer(
        name=twins[0].name,
        description=" ".join(dict.fromkeys(each.description for each in twins if each.description)),
        contracts=tuple(dict.fromkeys(contract for each in twins for contract in each.contracts)),
        responds_with=tuple(answers) or None,
    )


def _contracts(classes: Any) -> tuple[Contract, ...]:
    return tuple(contract_of(cls) for cls in ((classes,) if isinstance(classes, type) else classes))
