"""A resolved configuration -> the listeners that a pump runs, with what each agent is told.

Decides what a listener inherits from its organism, which of its peers' contracts an
agent's usage instructions speak of, and who handles for an agent without handler. Reads no file and
starts nothing; a peer whose contract has no example is a fault of the configuration, and so are a handler
for a host that is not there and a model that nobody takes. ``organism`` and ``cli`` call it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

from phloem.config import Budgets, Handler, ListenerConfig, OrganismConfig, Usage, Wait
from phloem.contract import Contract, contract_of
from phloem.contract.prompts import Peer, usage_instructions
from phloem.errors import ConfigurationError, ConfigurationFault, ContractError
from phloem.messages import HandlerMetadata
from phloem.pump.calling import Calling
from phloem.pump.routing import Listener, twin_keys

from .agents import is_driven
from .hearing import Hearing
from .report import listener_place, quoted

__all__ = ["Driver", "peer_of", "running_listeners"]

_HOSTLESS: Final = "a handler that runs on the host (runs_on: host, or @on_host) in an organism without one"
_WITH_HOST: Final = "a program whose event loop phloem is embedded in, or a handler that runs on Trio"
_TAKEN: Final = "a model that one does"


async def _nobody(payload: Any, metadata: HandlerMetadata) -> None:  # noqa: ASYNC124 - all handlers are
    """Stands where nothing runs."""
    raise RuntimeError(f"{metadata.own_name} has no handler here: its organism was read, not opened")


@final
@dataclass(frozen=True, slots=True)
class Driver:
    """What agents without handler share; without ``handler`` they are to be read of, not to be run.

    ``hears``: phloem's own words to them, notices and answers. ``takes``: whether some backend takes a
    model of that name; without it every name passes.
    """

    handler: Handler = _nobody
    hears: Sequence[type] = ()
    takes: Callable[[str], bool] | None = None


def running_listeners(
    config: OrganismConfig,
    boot: Sequence[ListenerConfig] = (),
    services: Sequence[ListenerConfig] = (),
    calling: Calling | None = None,
    driver: Driver | None = None,
) -> list[Listener]:
    """The configured listeners, then phloem's own. Raises ConfigurationError with every fault.

    ``services`` may be addressed by everyone, ``boot`` by nobody but phloem. Without ``calling`` they
    have their handlers as these were declared, and without ``driver`` agents without handler have one
    that nobody may call: to be read of, not to be run.
    """
    driver = Driver() if driver is None else driver
    every = [*config.listeners, *boot, *services]
    keys = twin_keys([own.name for own in every])
    running = [
        _listener(key, own, config, driver, private=own in boot, service=own in services)
        for key, own in zip(keys, every, strict=True)
    ]
    faults: list[ConfigurationFault] = []
    hearing = Hearing(running, driver.hears)
    told: list[Listener] = []
    for number, (listener, own) in enumerate(zip(running, every, strict=True), 1):
        where = listener_place(own.name, number)
        faults += _model_faults(own.model, where, driver)
        if calling is not None and not calling.can_call(listener.handler, own.runs_on):
            faults.append(ConfigurationFault(where, _HOSTLESS, _WITH_HOST))
            continue
        try:
            whole = _told(_called(listener, own, calling), own.usage or config.usage, running)
        except ContractError as error:
            faults.append(
                ConfigurationFault(where, f"a peer that takes what has no example: {error}", "one that does")
            )
            continue
        if whole.driven:
            heard = hearing.of(whole)
            faults += (ConfigurationFault(where, found, expected) for found, expected in heard.clashes)
            whole = replace(whole, heard=heard.heard, told=heard.told)
        told.append(whole)
    if faults:
        raise ConfigurationError(faults)
    return told


def _model_faults(model: str, where: str, driver: Driver) -> list[ConfigurationFault]:
    if not model or driver.takes is None or driver.takes(model):
        return []
    return [ConfigurationFault(where, f"the model {quoted(model)}, which no backend takes", _TAKEN)]


def _listener(
    key: str, own: ListenerConfig, config: OrganismConfig, driver: Driver, *, private: bool, service: bool
) -> Listener:
    driven = is_driven(own)
    return Listener(
        key=key,
        name=own.name,
        contracts=_contracts(own.payload_class),
        handler=driver.handler if driven else own.handler,  # type: ignore[arg-type] # resolved
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
        driven=driven,
        model=own.model,
        temperature=own.temperature,
        max_tokens=own.max_tokens,
        max_history_tokens=own.max_history_tokens,
        gathers=driven and own.wait == Wait.ALL,
        streams=driven and (own.stream or own.accept_early),
        early=driven and own.accept_early,
        idempotent=own.idempotent,
        max_attempts=own.max_attempts,
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
