"""An OrganismConfig -> who may address whom, who is out of reach, and which cycles have no budget.

Decides what counts as reachable and as a cycle without a budget. Pure: takes a resolved
configuration, reads no file, draws nothing. For ``graph``; ``drawing`` shows what is found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import cast, final

from phloem.config import DEFAULT_BUDGETS, ListenerConfig, OrganismConfig

__all__ = ["Cycle", "Edge", "Kind", "Node", "Topology", "topology_of"]

Arrows = Sequence[Sequence[int]]


class Kind(Enum):
    """Whose a node is."""

    LISTENER = auto()  # the configuration's
    SYSTEM = auto()  # phloem's own, where it stands in somebody's peers
    UNREGISTERED = auto()  # a name in somebody's peers that nobody has


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """All listeners of one name; several only if they are broadcast twins.

    ``takes`` and ``responds_with`` are names of classes. ``anyone``: it may address every
    listener, which draws no edges. ``has_budget``: each of them has a budget of messages of its own.
    ``service``: every listener may address it, which draws none either. ``branched``: the pipeline
    sends it what meets a condition. ``egress``: what it takes leaves the organism.
    """

    name: str
    kind: Kind = Kind.LISTENER
    listeners: int = 1
    takes: tuple[str, ...] = ()
    responds_with: tuple[str, ...] = ()
    is_agent: bool = False
    broadcast: bool = False
    anyone: bool = False
    service: bool = False
    branched: bool = False
    egress: bool = False
    has_budget: bool = False


@final
@dataclass(frozen=True, slots=True)
class Edge:
    """``source`` has ``target`` among its peers; both are indices of nodes."""

    source: int
    target: int
    unbounded: bool  # on a cycle without a budget


@final
@dataclass(frozen=True, slots=True)
class Cycle:
    """Nodes that can keep a message among them, and the shortest way round from the first to itself.

    One that has itself among its peers is a cycle of its own, beside any that it shares.
    """

    members: tuple[int, ...]
    way: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What is to be drawn, all in the order of the file.

    ``out_of_reach``: nodes that no other listener may address and no branch leads to; only strangers can.
    ``cycles``: those in which nothing but the organism's defaults ends a message that goes
    round, ``messages`` deliveries and ``hops`` of them.
    """

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    out_of_reach: tuple[int, ...]
    cycles: tuple[Cycle, ...]
    messages: int
    hops: int


def topology_of(config: OrganismConfig, system: Iterable[ListenerConfig] = ()) -> Topology:
    """The topology of a resolved configuration. ``system``: the listeners that phloem brings."""
    own: dict[str, list[ListenerConfig]] = {}
    for listener in config.listeners:
        own.setdefault(listener.name.casefold(), []).append(listener)
    brought = {listener.name.casefold(): listener for listener in system}
    branched = {str(step.arguments["to"]).casefold() for step in config.pipeline if step.kind == "branch"}
    outgoing = {name.casefold() for name in config.egress}
    nodes = [
        replace(_node(listeners), branched=name in branched, egress=name in outgoing)
        for name, listeners in own.items()
    ]
    indices = {name: index for index, name in enumerate(own)}
    arrows: list[list[int]] = []
    for listeners in own.values():
        there: dict[int, None] = {}
        for peer in (peer for listener in listeners for peer in listener.peers or ()):
            name = peer.casefold()
            if name not in indices:
                indices[name] = len(nodes)
                nodes.append(_other(peer, brought.get(name)))
            there[indices[name]] = None
        arrows.append(list(there))
    arrows += [[] for _ in range(len(nodes) - len(arrows))]
    bounds = config.budgets.over(DEFAULT_BUDGETS)
    declared = config.budgets.messages is not None or config.budgets.hops is not None
    cycles = () if declared else _cycles(nodes, arrows)
    alone = {cycle.members[0] for cycle in cycles if len(cycle.members) == 1}
    shared = {
        member: number
        for number, cycle in enumerate(cycles)
        if len(cycle.members) > 1
        for member in cycle.members
    }

    def is_unbounded(source: int, target: int) -> bool:
        if source == target:
            return source in alone
        return source in shared and shared[source] == shared.get(target)

    return Topology(
        name=config.name,
        nodes=tuple(nodes),
        edges=tuple(
            Edge(source, target, is_unbounded(source, target))
            for source, targets in enumerate(arrows)
            for target in targets
        ),
        out_of_reach=_out_of_reach(nodes, arrows),
        cycles=cycles,
        messages=cast("int", bounds.messages),  # the defaults leave none open
        hops=cast("int", bounds.hops),
    )


def _node(listeners: Sequence[ListenerConfig]) -> Node:
    return Node(
        name=listeners[0].name,
        listeners=len(listeners),
        takes=_names(listener.payload_class for listener in listeners),
        responds_with=_names(listener.responds_with for listener in listeners),
        is_agent=any(listener.is_agent for listener in listeners),
        broadcast=any(listener.broadcast for listener in listeners),
        service=any(listener.service for listener in listeners),
        anyone=any(listener.peers is None and not listener.is_agent for listener in listeners),
        has_budget=all(
            listener.budgets is not None and listener.budgets.messages is not None for listener in listeners
        ),
    )


def _other(name: str, brought: ListenerConfig | None) -> Node:
    if brought is None:
        return Node(name=name, kind=Kind.UNREGISTERED)
    return Node(
        name=brought.name,
        kind=Kind.SYSTEM,
        takes=_names([brought.payload_class]),
        responds_with=_names([brought.responds_with]),
    )


def _names(given: Iterable[type | Sequence[type] | None]) -> tuple[str, ...]:
    """Of each class once, in order."""
    found: dict[type, str] = {}
    for classes in given:
        for cls in () if classes is None else (classes,) if isinstance(classes, type) else classes:
            found[cls] = cls.__name__
    return tuple(found.values())


def _out_of_reach(nodes: Sequence[Node], arrows: Arrows) -> tuple[int, ...]:
    """Every listener may address itself, which brings nobody in from elsewhere."""
    reached = {target for source, targets in enumerate(arrows) for target in targets if target != source}
    free = [index for index, node in enumerate(nodes) if node.anyone]
    others = sum(node.kind is Kind.LISTENER for node in nodes) > 1
    return tuple(
        index
        for index, node in enumerate(nodes)
        if node.kind is Kind.LISTENER
        and index not in reached
        and not (node.branched or (node.service and others))
        and not any(other != index for other in free[:2])
    )


def _cycles(nodes: Sequence[Node], arrows: Arrows) -> tuple[Cycle, ...]:
    """What is still a cycle once those with a budget are taken out: it cannot be gone round through them."""
    bounded = [node.has_budget for node in nodes]
    # One with a budget keeps no arrows of its own, and so is on no way round.
    left = [
        [] if bounded[source] else [target for target in targets if target != source]
        for source, targets in enumerate(arrows)
    ]
    found = [Cycle(part, _way_round(part[0], left)) for part in _strong_parts(left) if len(part) > 1]
    found += [
        Cycle((index,), (index, index))
        for index, targets in enumerate(arrows)
        if index in targets and not bounded[index]
    ]
    return tuple(sorted(found, key=lambda cycle: cycle.members))


def _strong_parts(arrows: Arrows) -> list[tuple[int, ...]]:
    """The strongly connected parts (Tarjan), each sorted. On a stack of its own: a chain may be long."""
    number: dict[int, int] = {}  # in the order in which nodes are met
    lowest: dict[int, int] = {}
    waiting: list[int] = []  # met, and not yet in a part
    is_waiting: set[int] = set()
    parts: list[tuple[int, ...]] = []
    for start in range(len(arrows)):
        if start in number:
            continue
        walk = [(start, iter(arrows[start]))]
        number[start] = lowest[start] = len(number)
        waiting.append(start)
        is_waiting.add(start)
        while walk:
            node, targets = walk[-1]
            for target in targets:
                if target not in number:
                    number[target] = lowest[target] = len(number)
                    waiting.append(target)
                    is_waiting.add(target)
                    walk.append((target, iter(arrows[target])))
                    break
                if target in is_waiting:
                    lowest[node] = min(lowest[node], number[target])
            else:
                walk.pop()
                if walk:
                    lowest[walk[-1][0]] = min(lowest[walk[-1][0]], lowest[node])
                if lowest[node] == number[node]:
                    part: list[int] = []
                    while node not in part[-1:]:
                        part.append(waiting.pop())
                    is_waiting.difference_update(part)
                    parts.append(tuple(sorted(part)))
    return parts


def _way_round(start: int, arrows: Arrows) -> tuple[int, ...]:
    """The shortest way from a node on a cycle back to itself; it stands at both ends."""
    came_from: dict[int, int] = {}
    ahead = deque([start])
    while start not in came_from:
        node = ahead.popleft()
        for target in arrows[node]:
            if target not in came_from:
                came_from[target] = node
                ahead.append(target)
    way = [start, came_from[start]]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return tuple(reversed(way))
