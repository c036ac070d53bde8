"""A topology as text for people, as Graphviz and as Mermaid.

Decides how much of a node is told, and that no name can become syntax: in drawings nodes
are called ``n1``, ``n2``, and names stand in labels and comments only, escaped. Never looks
at a configuration; ``topology`` does. The order is the file's. For ``graph``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import MappingProxyType
from typing import Final

from rich.cells import cell_len

from .shell import counted
from .topology import Cycle, Edge, Kind, Node, Topology

__all__ = ["DRAWINGS", "draw_dot", "draw_mermaid", "draw_text"]

_WIDTH: Final = 80  # columns of the text; a longer name stands on a line of its own
_CLASSES: Final = 3  # told of one edge; a label of four lines hides the drawing
_LONGEST_CLASS: Final = 30  # characters of a class in a label
_LONGEST_WAY: Final = 12  # names of one cycle; one of a thousand is no sentence
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_JOINERS: Final = "\u200c\u200d"  # unseen as well, but part of words and emoji
_PLAIN: Final = re.compile(r"[\w.@/+:-]+(?: [\w.@/+:-]+)*")
_HARMLESS: Final = re.compile(r"[(,]|(?<=[^\W\d_])\)|(?<=[^\W_])[-.](?=[^\W_])")  # begins no list of Markdown


def draw_text(topology: Topology) -> str:
    """Paragraphs of at most 80 columns, one per name; then what is worth a remark."""
    count = sum(node.listeners for node in topology.nodes if node.kind is Kind.LISTENER)
    lines = [f"{_plain(topology.name)}: {counted(count, 'listener')}"]
    outside = set(topology.out_of_reach)
    targets = _targets(topology)
    for index, node in enumerate(topology.nodes):
        if node.kind is not Kind.LISTENER:
            continue
        marks = [*_marks(node), *(["only strangers reach it"] if index in outside else [])]
        lines += ["", _plain(node.name) + (f" ({', '.join(marks)})" if marks else "")]
        lines += _listed("  takes: ", [_seen(name) for name in node.takes])
        if node.responds_with:
            lines += _listed("  responds with: ", [_seen(name) for name in node.responds_with])
        reached = [_reached(topology.nodes[target]) for target in targets[index]]
        reached += ["anyone"] if node.anyone else []
        lines += _listed("  may address: ", reached or ["nobody"])
    if remarks := list(_remarks_in_text(topology)):
        lines += ["", *remarks]
    return "\n".join(lines) + "\n"


def _remarks_in_text(topology: Topology) -> Iterator[str]:
    names = [_plain(node.name) for node in topology.nodes]
    if topology.out_of_reach:
        yield from _listed("Only strangers can address: ", [names[index] for index in topology.out_of_reach])
    unknown = [index for index, node in enumerate(topology.nodes) if node.kind is Kind.UNREGISTERED]
    if unknown:
        yield from _listed("Not registered: ", [names[index] for index in unknown])
    for cycle in topology.cycles:
        yield from _listed("A cycle without a budget: ", _way(cycle, names), " -> ")
        if others := _aside(cycle, names):
            yield from _listed("  on it as well: ", others)
    if topology.cycles:
        yield f"  Only the defaults end such a cycle: {_defaults(topology)}."
    free = ["who may address anyone"] if any(node.anyone for node in topology.nodes) else []
    free += ["services"] if any(node.service for node in topology.nodes) else []
    if free:
        yield f"Cycles are looked for along peers, not through {' or '.join(free)}."


def _reached(node: Node) -> str:
    if node.kind is Kind.UNREGISTERED:
        return f"{_plain(node.name)} (not registered)"
    return f"{_plain(node.name)} ({_cut(node.takes)})"


def _listed(head: str, items: Sequence[str], joint: str = ", ") -> Iterator[str]:
    """Lines within the width, broken between items only."""
    line = head
    for number, item in enumerate(items, 1):
        end = joint.rstrip() if number < len(items) else ""
        if line.strip() and cell_len(line + item + end) > _WIDTH:
            yield line.rstrip()
            line = "    "
        line += item + (joint if end else "")
    yield line


# -- Graphviz ------------------------------------------------------------------------------------


def draw_dot(topology: Topology) -> str:
    """A ``digraph`` for Graphviz."""
    lines = [f"// {remark}" for remark in _remarks(topology, _dot)]
    lines += [
        "digraph organism {",
        f'  graph [label="{_dot(topology.name)}", labelloc=t, rankdir=LR];',
        "  node [shape=box];",
    ]
    outside = set(topology.out_of_reach)
    for index, node in enumerate(topology.nodes):
        label = "\\n".join(_dot(line) for line in _label(node, index in outside))
        attributes = [f'label="{label}"', *_dot_looks(node, index in outside)]
        lines.append(f"  n{index + 1} [{', '.join(attributes)}];")
    for edge in topology.edges:
        takes = _cut(topology.nodes[edge.target].takes)
        attributes = [f'label="{_dot(takes)}"'] if takes else []
        attributes += ["color=red", "penwidth=2"] if edge.unbounded else []
        looks = f" [{', '.join(attributes)}]" if attributes else ""
        lines.append(f"  {_ends(edge, '->')}{looks};")
    return "\n".join([*lines, "}"]) + "\n"


def _dot_looks(node: Node, outside: bool) -> Iterator[str]:
    if node.kind is not Kind.LISTENER:
        yield "style=dashed" if node.kind is Kind.UNREGISTERED else "style=dotted"
    elif node.is_agent:
        yield "style=rounded"
    if node.broadcast:
        yield "peripheries=2"
    if outside:
        yield "color=blue"
        yield "penwidth=2"


def _dot(text: str) -> str:
    """As it stands between double quotes. Graphviz reads ``&lt;`` and ``\\N`` even there."""
    return _seen(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


# -- Mermaid -------------------------------------------------------------------------------------


def draw_mermaid(topology: Topology) -> str:
    """A ``flowchart`` for Mermaid."""
    lines = [f"%% {remark}" for remark in _remarks(topology, _mermaid)]
    lines.append("flowchart LR")
    outside = set(topology.out_of_reach)
    for index, node in enumerate(topology.nodes):
        label = "<br/>".join(_mermaid(line) for line in _label(node, index in outside))
        opening, closing = ("([", "])") if node.is_agent else ("[", "]")
        lines.append(f'  n{index + 1}{opening}"{label}"{closing}')
    for edge in topology.edges:
        takes = _cut(topology.nodes[edge.target].takes)
        arrow = f'-->|"{_mermaid(takes)}"|' if takes else "-->"
        lines.append(f"  {_ends(edge, arrow)}")
    for name, looks, chosen in (
        ("broadcast", "stroke-width:4px", [node.broadcast for node in topology.nodes]),
        ("system", "stroke-dasharray:1 3", [node.kind is Kind.SYSTEM for node in topology.nodes]),
        ("unregistered", "stroke-dasharray:5 5", [node.kind is Kind.UNREGISTERED for node in topology.nodes]),
        ("outside", "stroke:blue", [index in outside for index in range(len(topology.nodes))]),
    ):
        if any(chosen):
            members = ",".join(f"n{number}" for number, is_one in enumerate(chosen, 1) if is_one)
            lines += [f"  classDef {name} {looks}", f"  class {members} {name}"]
    if unbounded := [str(number) for number, edge in enumerate(topology.edges) if edge.unbounded]:
        lines.append(f"  linkStyle {','.join(unbounded)} stroke:red,stroke-width:3px")
    return "\n".join(lines) + "\n"


def _mermaid(text: str) -> str:
    """As it stands between double quotes: every sign by its number, for Mermaid reads Markdown there.

    A ``%%{`` would be read even in a comment, a ``:`` after the word style even in a label.
    """
    seen = _seen(text)
    kept = {match.start() for match in _HARMLESS.finditer(seen)}
    return "".join(
        sign
        if (sign == " " and index) or sign.isalnum() or index in kept or unicodedata.category(sign)[0] == "M"
        else f"#{ord(sign)};"
        for index, sign in enumerate(seen)
    )


# -- what the drawings share -----------------------------------------------------------------------

DRAWINGS: Final = MappingProxyType({"text": draw_text, "mermaid": draw_mermaid, "dot": draw_dot})


def _remarks(topology: Topology, escape: Callable[[str], str]) -> Iterator[str]:
    """What is pointed out, one line each; names are between quotes."""
    names = [f'"{escape(node.name)}"' for node in topology.nodes]
    for index in topology.out_of_reach:
        yield f"only strangers can address: {names[index]}"
    for index, node in enumerate(topology.nodes):
        if node.kind is Kind.UNREGISTERED:
            yield f"not registered: {names[index]}"
    for cycle in topology.cycles:
        way = " -> ".join(_way(cycle, names))
        more = f"; on it as well: {', '.join(others)}" if (others := _aside(cycle, names)) else ""
        yield f"a cycle without a budget: {way}{more}; only the defaults end it, {_defaults(topology)}"


def _label(node: Node, outside: bool) -> Iterator[str]:
    """The lines of a node."""
    yield node.name
    if marks := _marks(node):
        yield f"({', '.join(marks)})"
    if node.takes:
        yield f"takes {_cut(node.takes)}"
    if node.responds_with:
        yield f"responds with {_cut(node.responds_with)}"
    if node.anyone:
        yield "may address anyone"
    if outside:
        yield "only strangers reach it"


def _marks(node: Node) -> list[str]:
    marks = ["agent"] if node.is_agent else []
    marks += ["broadcast"] if node.broadcast else []
    marks += ["service: anyone may address it"] if node.service else []
    marks += ["egress"] if node.egress else []
    marks += [counted(node.listeners, "listener")] if node.listeners > 1 else []
    marks += ["not registered"] if node.kind is Kind.UNREGISTERED else []
    return marks + (["of phloem"] if node.kind is Kind.SYSTEM else [])


def _ends(edge: Edge, arrow: str) -> str:
    return f"n{edge.source + 1} {arrow} n{edge.target + 1}"


def _targets(topology: Topology) -> list[list[int]]:
    targets: list[list[int]] = [[] for _ in topology.nodes]
    for edge in topology.edges:
        targets[edge.source].append(edge.target)
    return targets


def _way(cycle: Cycle, names: Sequence[str]) -> list[str]:
    way = [names[index] for index in cycle.way]
    if len(way) <= _LONGEST_WAY:
        return way
    return [*way[: _LONGEST_WAY - 2], f"({len(way) - _LONGEST_WAY + 1:,} more)", way[-1]]


def _aside(cycle: Cycle, names: Sequence[str]) -> list[str]:
    """Who is on a cycle, and not on the shortest way round."""
    on_the_way = set(cycle.way)
    return [names[index] for index in cycle.members if index not in on_the_way]


def _defaults(topology: Topology) -> str:
    return f"{topology.messages:,} messages and {topology.hops:,} hops"


def _cut(classes: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    told = len(classes) if len(classes) <= _CLASSES + 1 else _CLASSES
    shown = [_shortened(name) for name in classes[:told]]
    return ", ".join([*shown, f"{len(classes) - told} more"] if told < len(classes) else shown)


def _shortened(name: str) -> str:
    return _seen(name if len(name) <= _LONGEST_CLASS else name[: _LONGEST_CLASS - 1] + "…")


def _seen(text: str) -> str:
    """What would move the cursor, turn the line or be no UTF-8 is told by its number."""
    return "".join(_signs(text))


def _signs(text: str) -> Iterable[str]:
    for sign in text:
        hidden = unicodedata.category(sign) in _UNSEEN and sign not in _JOINERS
        yield f"\\u{{{ord(sign):x}}}" if hidden else sign


def _plain(name: str) -> str:
    """A name within a sentence: quoted where it could be taken for more than one."""
    return name if _PLAIN.fullmatch(name) else json.dumps(_seen(name), ensure_ascii=False)
