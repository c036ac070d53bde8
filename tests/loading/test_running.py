"""Claims of loading/running.py: what listeners inherit, and what agents are told of their peers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.loading import resolve, running_listeners
from phloem.messages import BOOT, SERVICES, TODO
from phloem.primitives import BOOT_LISTENER, SERVICE_LISTENERS
from phloem.pump.routing import Listener
from support.listeners import BACK, Ask, Note, Reply, drop, listener


@dataclass
class Endless:
    """Takes an Endless, which takes an Endless …: nothing that ends fits it."""

    more: Endless


@dataclass
class Bottomless:
    """The same under another name."""

    more: Bottomless


def run(*listeners: ListenerConfig, ours: bool = True, **settings: Any) -> list[Listener]:
    config = resolve(OrganismConfig("org", listeners, **settings))
    return (
        running_listeners(config, (BOOT_LISTENER,), SERVICE_LISTENERS) if ours else running_listeners(config)
    )


def agent(name: str, peers: Sequence[str], **more: Any) -> ListenerConfig:
    return listener(name, Reply, drop, is_agent=True, peers=peers, **more)


def told(listeners: list[Listener], key: str = "agent") -> str:
    (found,) = [each for each in listeners if each.key == key]
    return found.usage_instructions


def faults(*listeners: ListenerConfig) -> list[ConfigurationFault]:
    with pytest.raises(ConfigurationError) as caught:
        run(*listeners)
    return list(caught.value.faults)


# -- who runs ----------------------------------------------------------------------------------
def test_phloems_own_come_last_each_with_its_part() -> None:
    listeners = run(BACK)
    assert [each.key for each in listeners] == ["back", BOOT, *SERVICES]
    assert [each.private for each in listeners] == [False, True, False, False]
    assert [each.service for each in listeners] == [False, False, True, True]
    assert [each.key for each in run(BACK, ours=False)] == ["back"]


def test_a_listeners_own_settings_go_before_the_organisms() -> None:
    plain, own, instant = run(
        BACK,
        listener("own", Note, drop, handler_timeout=3.0, max_concurrent=5),
        agent("agent", [], handler_timeout=4.0),
        ours=False,
        handler_timeout=9.0,
        max_concurrent_per_agent=2,
    )
    assert (plain.handler_timeout, plain.max_concurrent) == (9.0, None), "the bound of agents is none of its"
    assert (own.handler_timeout, own.max_concurrent) == (3.0, 5)
    assert (instant.handler_timeout, instant.max_concurrent) == (4.0, 2)


# -- what agents are told ----------------------------------------------------------------------
@pytest.mark.parametrize("peers", [None, [], ["back"], ["back", TODO]])
def test_a_listener_that_is_no_agent_is_told_nothing(peers: list[str] | None) -> None:
    listeners = run(listener("plain", Note, drop, peers=peers), BACK)
    assert [each.usage_instructions for each in listeners] == [""] * len(listeners)


def test_an_agent_is_told_of_its_peers_and_of_nobody_else() -> None:
    text = told(run(agent("agent", ["BACK"]), BACK, listener("other", Note, drop)))
    assert "# back: Is back." in text, "under the name it has, however the peer is spelt"
    assert "Takes Ask" in text
    assert "other" not in text
    assert "system." not in text


def test_an_agent_without_peers_is_told_that_it_has_none() -> None:
    assert "You have no peers" in told(run(agent("agent", [])))


def test_a_service_among_the_peers_is_described() -> None:
    text = told(run(agent("agent", [TODO])))
    assert f"# {TODO}: " in text
    assert "Takes TodoUntil" in text
    assert "Answers with TodoRegistered" in text


@pytest.mark.parametrize("name", [BOOT, BOOT.upper(), "nobody"])
def test_who_may_not_be_addressed_is_as_unknown_as_who_is_not_there(name: str) -> None:
    unchecked = OrganismConfig("org", [agent("agent", [name])])  # a check would refuse phloem's names
    text = told(running_listeners(unchecked, (BOOT_LISTENER,), SERVICE_LISTENERS))
    assert f"# {name} (not registered)" in text
    assert "Takes" not in text
    assert "OrganismName" not in text


def test_broadcast_twins_are_told_as_one_peer() -> None:
    twins = [
        ListenerConfig("twin", Ask, drop, words, broadcast=True, responds_with=answers)
        for words, answers in (("Left.", Reply), ("Right.", None), ("Left.", [Reply, Note]))
    ]
    text = told(run(agent("agent", ["twin"]), *twins))
    assert text.count("# twin: Left. Right.\n") == 1
    assert text.count("Takes Ask") == 1
    assert "Answers with Reply (Text) or Note (Text)." in text


# -- cards or XSDs -----------------------------------------------------------------------------
@pytest.mark.parametrize("organisms", ["cards", "xsd"])
def test_an_agents_own_usage_goes_before_the_organisms_and_is_none_of_its_neighbours(organisms: str) -> None:
    listeners = run(
        *(agent(name, ["back"], usage=usage) for name, usage in (("x", "xsd"), ("c", "cards"), ("o", None))),
        BACK,
        usage=organisms,
    )
    assert ["XSD:" in told(listeners, name) for name in "xco"] == [True, False, organisms == "xsd"]


# -- faults ------------------------------------------------------------------------------------
def test_every_agent_whose_peers_have_no_example_is_a_fault_at_once() -> None:
    takers = [listener("deep", Endless, drop), listener("deeper", Bottomless, drop)]
    found = faults(
        agent("first", ["deep"]), agent("well", ["back"]), agent("second", ["deeper"]), BACK, *takers
    )
    assert [fault.where for fault in found] == ["listener 'first'", "listener 'second'"]
    assert ["Endless" in fault.found for fault in found] == [True, False]
    assert ["Bottomless" in fault.found for fault in found] == [False, True]
    assert all("no example" in fault.found for fault in found)


def test_what_has_no_example_hurts_nobody_who_is_not_to_be_told_of_it() -> None:
    plain = listener("plain", Note, drop, peers=["deep"])
    assert run(plain, agent("agent", ["plain"]), listener("deep", Endless, drop))
