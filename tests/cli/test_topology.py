"""Who may address whom, who is out of reach, which cycles have no budget."""

from __future__ import annotations

import sys
import time
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.cli.topology import Kind, Topology, topology_of
from phloem.config import Budgets, ListenerConfig, OrganismConfig, StepConfig


class Order: ...


class Reserve: ...


class Todo: ...


SYSTEM = [ListenerConfig("system.todo", Todo, responds_with=Order)]
MESSAGES = Budgets(messages=5)


def listener(name: str, *peers: str, takes: Any = Order, **more: Any) -> ListenerConfig:
    return ListenerConfig(name, takes, peers=peers, **more)


def found(*listeners: ListenerConfig, **more: Any) -> Topology:
    return topology_of(OrganismConfig(listeners=listeners, **more), SYSTEM)


def edges(topology: Topology, *, unbounded: bool = False) -> list[str]:
    names = [node.name for node in topology.nodes]
    return [
        f"{names[edge.source]}-{names[edge.target]}"
        for edge in topology.edges
        if edge.unbounded or not unbounded
    ]


def outside(topology: Topology) -> list[str]:
    return [topology.nodes[index].name for index in topology.out_of_reach]


def cycles(topology: Topology) -> list[str]:
    return ["".join(topology.nodes[index].name for index in cycle.members) for cycle in topology.cycles]


def ways(topology: Topology) -> list[str]:
    return ["".join(topology.nodes[index].name for index in cycle.way) for cycle in topology.cycles]


# -- nodes and edges -----------------------------------------------------------------------


def test_nodes_and_edges_stand_in_the_order_of_the_file() -> None:
    topology = found(listener("b", "c", "a"), listener("c"), listener("a", "b"))
    assert [node.name for node in topology.nodes] == ["b", "c", "a"]
    assert edges(topology) == ["b-c", "b-a", "a-b"]


def test_a_node_knows_its_classes() -> None:
    [node] = found(listener("a", takes=(Order, Reserve), responds_with=Reserve, is_agent=True)).nodes
    assert (node.takes, node.responds_with, node.is_agent) == (("Order", "Reserve"), ("Reserve",), True)


def test_peers_are_found_without_case_and_drawn_once() -> None:
    topology = found(listener("A", "STRASSE", "straße"), listener("Straße"))
    assert [node.name for node in topology.nodes] == ["A", "Straße"]
    assert edges(topology) == ["A-Straße"]


def test_who_may_address_anyone_has_no_edges_for_it() -> None:
    topology = found(*(ListenerConfig(f"l{number}", Order) for number in range(50)))
    assert topology.edges == ()
    assert all(node.anyone for node in topology.nodes)


def test_an_agent_without_peers_and_a_listener_with_none_may_not_address_anyone() -> None:
    topology = found(ListenerConfig("agent", Order, is_agent=True), listener("shut"))
    assert [node.anyone for node in topology.nodes] == [False, False]


def test_twins_are_one_node_that_takes_and_addresses_what_any_of_them_does() -> None:
    topology = found(
        listener("x", "y", broadcast=True),
        listener("y"),
        listener("X", "z", "y", takes=(Order, Reserve), broadcast=True),
        listener("z"),
    )
    x, *_ = topology.nodes
    assert (x.name, x.listeners, x.broadcast, x.takes) == ("x", 2, True, ("Order", "Reserve"))
    assert edges(topology) == ["x-y", "x-z"]


def test_a_peer_that_is_not_registered_is_one_node_for_all_who_name_it() -> None:
    topology = found(listener("a", "ghost"), listener("b", "Ghost"), allow_unknown_peers=True)
    assert [(node.name, node.kind) for node in topology.nodes[2:]] == [("ghost", Kind.UNREGISTERED)]
    assert edges(topology) == ["a-ghost", "b-ghost"]


def test_what_phloem_brings_is_drawn_only_where_it_is_somebody_s_peer() -> None:
    assert len(found(listener("a")).nodes) == 1
    [_, todo] = found(listener("a", "System.Todo")).nodes
    assert (todo.name, todo.kind, todo.takes) == ("system.todo", Kind.SYSTEM, ("Todo",))
    assert not todo.anyone


def test_an_organism_without_listeners_is_nothing() -> None:
    topology = found()
    assert (topology.nodes, topology.edges, topology.out_of_reach, topology.cycles) == ((), (), (), ())


# -- out of reach --------------------------------------------------------------------------


def test_out_of_reach_is_whom_no_other_listener_may_address() -> None:
    assert outside(found(listener("a", "b"), listener("b"), listener("c", "c"))) == ["a", "c"]


def test_one_that_may_address_anyone_reaches_all_but_itself() -> None:
    free = ListenerConfig("free", Order)
    assert outside(found(listener("a"), free, listener("b"))) == ["free"]
    assert outside(found(listener("a", "free"), free)) == []
    assert outside(found(free, ListenerConfig("too", Order))) == []


def test_twins_do_not_bring_one_another_within_reach() -> None:
    twins = [ListenerConfig(name, Order, broadcast=True) for name in ("x", "X")]
    assert outside(found(*twins)) == ["x"]


def test_a_service_is_within_reach_of_any_other_listener() -> None:
    clock = listener("clock", service=True)
    assert outside(found(clock, listener("a", is_agent=True))) == ["a"]
    assert outside(found(clock)) == ["clock"]
    assert [node.service for node in found(clock).nodes] == [True]
    assert edges(found(clock, listener("a", is_agent=True))) == []


def test_where_a_branch_leads_is_within_reach_and_what_leaves_is_known() -> None:
    to_audit = StepConfig(
        edit="before", at="route", kind="branch", arguments={"predicate": bool, "to": "AUDIT"}
    )
    topology = found(
        listener("audit", is_agent=True), listener("a", is_agent=True), pipeline=[to_audit], egress=["A"]
    )
    assert outside(topology) == ["a"]
    assert [(node.branched, node.egress) for node in topology.nodes] == [(True, False), (False, True)]


def test_only_listeners_of_the_file_are_ever_out_of_reach() -> None:
    assert outside(found(listener("a", "ghost", "system.todo"))) == ["a"]


# -- cycles --------------------------------------------------------------------------------


def test_two_who_may_address_each_other_are_a_cycle() -> None:
    topology = found(listener("a", "b"), listener("b", "a", "c"), listener("c"))
    assert (cycles(topology), ways(topology)) == (["ab"], ["aba"])
    assert edges(topology, unbounded=True) == ["a-b", "b-a"]
    assert (topology.messages, topology.hops) == (10_000, 1_000)


def test_a_listener_among_its_own_peers_is_a_cycle_and_one_that_is_not_is_none() -> None:
    topology = found(listener("a", "a"), listener("b"))
    assert (cycles(topology), ways(topology)) == (["a"], ["aa"])
    assert edges(topology, unbounded=True) == ["a-a"]


@pytest.mark.parametrize("budgets", [Budgets(messages=1), Budgets(hops=1), Budgets(messages=10_000)])
def test_a_budget_of_the_organism_bounds_every_cycle(budgets: Budgets) -> None:
    topology = found(listener("a", "a"), budgets=budgets)
    assert topology.cycles == ()
    assert edges(topology, unbounded=True) == []


@pytest.mark.parametrize("budgets", [Budgets(seconds=5), Budgets(depth=5)])
def test_a_budget_of_neither_messages_nor_hops_bounds_none(budgets: Budgets) -> None:
    assert cycles(found(listener("a", "a"), budgets=budgets)) == ["a"]


def test_one_listener_with_a_budget_of_messages_bounds_the_cycles_through_it_only() -> None:
    bounded = listener("c", "a", budgets=MESSAGES)
    assert cycles(found(listener("a", "b"), listener("b", "c"), bounded)) == []
    assert cycles(found(listener("a", "b"), listener("b", "a", "c"), bounded)) == ["ab"]
    assert cycles(found(listener("a", "a", budgets=Budgets(seconds=1)))) == ["a"]


def test_twins_have_a_budget_if_each_of_them_has() -> None:
    one = listener("x", "x", broadcast=True, budgets=MESSAGES)
    assert cycles(found(one, listener("x", broadcast=True))) == ["x"]
    assert cycles(found(one, listener("x", broadcast=True, budgets=MESSAGES))) == []


def test_cycles_that_meet_are_one_and_the_shortest_way_round_is_told() -> None:
    topology = found(
        listener("a", "b"),
        listener("b", "c", "d"),
        listener("c", "d"),
        listener("d", "a"),
        listener("e", "e"),
    )
    assert (cycles(topology), ways(topology)) == (["abcd", "e"], ["abda", "ee"])


def test_a_listener_among_its_own_peers_is_a_cycle_beside_those_it_shares() -> None:
    topology = found(listener("a", "a", "b"), listener("b", "a"))
    assert (cycles(topology), ways(topology)) == (["a", "ab"], ["aa", "aba"])
    assert edges(topology, unbounded=True) == ["a-a", "a-b", "b-a"]


def test_an_edge_between_two_cycles_is_on_neither() -> None:
    topology = found(listener("a", "a", "b"), listener("b", "b"))
    assert edges(topology, unbounded=True) == ["a-a", "b-b"]


def test_who_may_address_anyone_makes_no_cycle() -> None:
    assert cycles(found(listener("a", "b"), ListenerConfig("b", Order))) == []


@pytest.mark.parametrize("closed", [True, False])
def test_a_chain_of_thousands_needs_no_recursion(closed: bool) -> None:
    count = 10 * sys.getrecursionlimit()
    last = ["0"] if closed else []
    chain = [listener(str(number), str(number + 1)) for number in range(count - 1)]
    began = time.perf_counter()
    topology = found(*chain, listener(str(count - 1), *last))
    assert time.perf_counter() - began < 10  # what costs squares takes minutes here
    assert [len(cycle.way) for cycle in topology.cycles] == ([count + 1] if closed else [])
    assert len(topology.out_of_reach) == (0 if closed else 1)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6))), st.sets(st.integers(0, 6)))
def test_cycles_are_those_that_following_every_arrow_finds(
    arrows: list[tuple[int, int]], bounded: set[int]
) -> None:
    topology = found(
        *(
            listener(
                str(number),
                *(str(target) for source, target in arrows if source == number),
                budgets=MESSAGES if number in bounded else None,
            )
            for number in range(7)
        )
    )
    reaches = {pair for pair in arrows if bounded.isdisjoint(pair)}
    for middle, source, target in product(range(7), repeat=3):
        if (source, middle) in reaches and (middle, target) in reaches:
            reaches.add((source, target))
    groups = {
        tuple(other for other in range(7) if {(one, other), (other, one)} <= reaches)
        for one in range(7)
        if (one, one) in reaches
    }
    groups = {group for group in groups if len(group) > 1}
    groups |= {(one,) for one, other in arrows if one == other and one not in bounded}
    assert [cycle.members for cycle in topology.cycles] == sorted(groups)
    for cycle in topology.cycles:
        assert cycle.way[0] == cycle.way[-1] == cycle.members[0]
        assert set(cycle.way) <= set(cycle.members)
        assert set(zip(cycle.way, cycle.way[1:], strict=False)) <= set(arrows)
    unbounded = {(edge.source, edge.target) for edge in topology.edges if edge.unbounded}
    assert unbounded == {(a, b) for a, b in arrows if bounded.isdisjoint((a, b)) and (b, a) in reaches}
