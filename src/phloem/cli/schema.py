"""``phloem schema``: what others are told of a listener, its XSD, an example, or an agent's whole prompt.

Decides which listeners and classes are meant, and nothing of the words: ``contract.prompts``
has those. Runs no handler.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from .printing import print_from
from .shell import Settings, common_options, pass_settings

if TYPE_CHECKING:
    from phloem.config import OrganismConfig
    from phloem.contract import Contract
    from phloem.pump.routing import Listener

__all__ = ["command"]

_NAMED: Final = 20  # listeners named in one complaint


@click.command("schema", short_help="Show what a listener takes, as others are told.")
@click.argument("file", type=click.Path())
@click.argument("listener")
@click.option("--xsd", is_flag=True, help="The XSD of its payload.")
@click.option("--example", is_flag=True, help="A message for it, or one a line where it takes several.")
@click.option("--prompt", is_flag=True, help="All that an agent's model is told: its prompt, then its peers.")
@click.option("--type", metavar="CLASS", help="With --xsd and --example: of this class only.")
@common_options
@pass_settings
def command(
    settings: Settings, file: str, listener: str, xsd: bool, example: bool, prompt: bool, type: str | None
) -> int:
    """Show what others are told of LISTENER in FILE: what it takes, an example, what it answers.

    \b
    --xsd is one whole schema, to be written to a file; a listener of several classes
    needs --type for it. An example is XML as phloem send takes it:
      phloem schema FILE LISTENER --example | phloem send FILE LISTENER -
    Imports the modules that FILE names; runs no handler.
    """
    chosen = [name for name, is_on in (("xsd", xsd), ("example", example), ("prompt", prompt)) if is_on]
    if len(chosen) > 1:
        flags = " and ".join(f"--{name}" for name in chosen)
        raise click.UsageError(f"{flags} exclude each other: give one", click.get_current_context())
    if type is not None and chosen not in (["xsd"], ["example"]):
        raise click.UsageError("--type needs --xsd or --example", click.get_current_context())

    def shown(config: OrganismConfig) -> str:
        twins = _found(config, listener)
        if prompt:
            return _prompt(settings, twins)
        if xsd:
            return _ended(_only(twins, type).xsd_text)
        if example:
            contracts = _contracts(twins) if type is None else (_only(twins, type),)
            return "".join(_ended(_in_one_line(contract.example())) for contract in contracts)
        return _words(config, twins)

    print_from(file, settings, shown)
    return 0


def _found(config: OrganismConfig, name: str) -> list[Listener]:
    """Whom a name means, without case: one, or all broadcast twins. ``x#2`` is the second of them alone."""
    from difflib import get_close_matches

    from phloem.loading.running import running_listeners
    from phloem.primitives import BOOT_LISTENER, SERVICE_LISTENERS

    every = running_listeners(config, (BOOT_LISTENER,), SERVICE_LISTENERS)
    folded = name.casefold()
    found = [each for each in every if each.name.casefold() == folded]
    found = found or [each for each in every if each.key.casefold() == folded]
    if found:
        return found
    names: dict[str, str] = {}
    for each in every:
        names.setdefault(each.name.casefold(), each.name)
    hints = [f"did you mean {names[near]!r}?" for near in get_close_matches(folded, names, n=1)]
    more = ", …" if len(names) > _NAMED else ""
    hints.append(f"There are {', '.join([*names.values()][:_NAMED])}{more}.")
    raise click.BadParameter(f"no listener {_cut(name)!r}; {' '.join(hints)}", param_hint="LISTENER")


def _words(config: OrganismConfig, twins: Sequence[Listener]) -> str:
    from phloem.config import Usage
    from phloem.contract.prompts import peer_words
    from phloem.loading import peer_of

    return _ended(peer_words(peer_of(twins), xsd=config.usage == Usage.XSD))


def _contracts(twins: Sequence[Listener]) -> tuple[Contract, ...]:
    return tuple(dict.fromkeys(contract for each in twins for contract in each.contracts))


def _only(twins: Sequence[Listener], kind: str | None) -> Contract:
    """The contract of a class, by its name, its tag or its full path; without one the only one."""
    contracts = _contracts(twins)
    found = [each for each in contracts if kind is None or kind == _path(each)]
    if kind is not None and not found:
        folded = kind.casefold()
        found = [each for each in contracts if folded in _short(each)]
    if len(found) == 1:
        return found[0]
    several = found or contracts
    names = {each: each.payload_class.__name__ for each in several}
    if len({name.casefold() for name in names.values()}) < len(several):
        names = {each: _path(each) for each in several}
    told = ", ".join(names.values())
    if kind is None:
        problem = f"{twins[0].name!r} takes several classes; give --type with one of {told}"
    elif found:
        problem = f"--type {_cut(kind)!r} means several classes; give one of {told}"
    else:
        problem = f"--type {_cut(kind)!r}: {twins[0].name!r} does not take it, but {told}"
    raise click.UsageError(problem)


def _short(contract: Contract) -> tuple[str, str]:
    return contract.payload_class.__name__.casefold(), contract.tag.casefold()


def _path(contract: Contract) -> str:
    return f"{contract.payload_class.__module__}.{contract.payload_class.__qualname__}"


def _prompt(settings: Settings, twins: Sequence[Listener]) -> str:
    agents = [each for each in twins if each.is_agent]
    if not agents:
        raise click.UsageError(
            f"--prompt: {twins[0].name!r} is no agent (agent: true), so no model is told anything"
        )
    agent, *others = agents
    if others:
        names = ", ".join(each.key for each in others)
        settings.note(f"phloem: this is what {agent.key!r} is told; its broadcast twins: {names}")
    told = [agent.prompt, agent.usage_instructions]
    if agent.driven:
        from phloem.llm.instructions import answer_instructions

        told.append(answer_instructions(agent.responds_with, gathers=agent.gathers))
    return "\n".join(_ended(each) for each in told if each)


def _in_one_line(xml: str) -> str:
    """The same document: what ends a line stands in its texts only, and may be a reference there."""
    return re.sub("[\r\n\x85\u2028\u2029]", lambda found: f"&#{ord(found[0])};", xml)


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
