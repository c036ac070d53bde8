"""Claims of pump/routing.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from phloem.contract import contract_of
from phloem.pump.routing import Listener, Miss, Routes, twin_keys


@dataclass
class Ask:
    text: str


@dataclass
class Tell:
    text: str


async def handler(payload: Any, metadata: Any) -> None:
    return None


def listener(name: str, *classes: type, key: str = "", **options: Any) -> Listener:
    contracts = tuple(contract_of(cls) for cls in classes)
    return Listener(key=key or name, name=name, contracts=contracts, handler=handler, **options)


def names(found: Sequence[Listener] | Miss) -> list[str]:
    assert not isinstance(found, Miss), found.detail
    return [each.key for each in found]


def test_an_address_and_a_tag_are_compared_without_case() -> None:
    routes = Routes([listener("Greeter", Ask)])
    assert names(routes.find("ASK", "gREETER", None)) == ["Greeter"]


def test_an_address_that_does_not_take_the_tag_is_a_miss() -> None:
    routes = Routes([listener("a", Ask), listener("b", Tell)])
    assert isinstance(routes.find("Tell", "a", None), Miss)


def test_without_address_the_only_taker_is_found() -> None:
    routes = Routes([listener("a", Ask), listener("b", Tell)])
    assert names(routes.find("Tell", None, None)) == ["b"]


def test_without_address_several_takers_are_found_only_if_all_are_broadcast() -> None:
    both = [listener("a", Ask, broadcast=True), listener("b", Ask, broadcast=True)]
    assert names(Routes(both).find("Ask", None, None)) == ["a", "b"]
    assert isinstance(Routes([*both, listener("c", Ask)]).find("Ask", None, None), Miss)


def test_twins_share_an_address_and_their_keys_are_none() -> None:
    keys = twin_keys(["x", "y", "X"])
    assert keys == ["x", "y", "X#2"]
    routes = Routes([listener("x", Ask, broadcast=True), listener("x", Ask, key="x#2", broadcast=True)])
    assert names(routes.find("Ask", "x", None)) == ["x", "x#2"]
    assert isinstance(routes.find("Ask", "x#2", None), Miss)


def test_only_the_twins_that_take_the_tag_are_found() -> None:
    routes = Routes(
        [listener("x", Ask, broadcast=True), listener("x", Tell, key="x#2", broadcast=True)],
    )
    assert names(routes.find("Tell", "x", None)) == ["x#2"]


@pytest.mark.parametrize("to", ["b", None])
def test_an_agent_without_peers_may_address_nobody_but_itself(to: str | None) -> None:
    agent = listener("agent", Ask, is_agent=True)
    routes = Routes([agent, listener("b", Tell)])
    assert isinstance(routes.find("Tell", to, agent), Miss)
    assert names(routes.find("Ask", "agent", agent)) == ["agent"]


def test_declared_peers_bind_whoever_declares_them() -> None:
    for is_agent in (True, False):
        one = listener("one", Ask, peers=("B",), is_agent=is_agent)
        routes = Routes([one, listener("b", Tell), listener("c", Tell)])
        assert names(routes.find("Tell", "b", one)) == ["b"]
        assert isinstance(routes.find("Tell", "c", one), Miss)
        assert names(routes.find("Tell", None, one)) == ["b"], "takers are first cut to its peers"


def test_a_listener_that_declares_no_peers_may_address_anyone() -> None:
    one = listener("one", Ask)
    assert names(Routes([one, listener("b", Tell)]).find("Tell", "b", one)) == ["b"]


def test_the_table_has_the_reference_s_keys() -> None:
    greeter = listener("Greeter", Ask, Tell)
    assert Routes([greeter]).table == {"greeter.ask": [greeter], "greeter.tell": [greeter]}
    assert greeter.root_tag == "greeter.ask"
    assert greeter.payload_class is Ask
