"""The three renderings of a topology: what they tell, and that no name becomes syntax."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from phloem.cli.drawing import DRAWINGS, draw_dot, draw_mermaid, draw_text
from phloem.cli.topology import Topology, topology_of
from phloem.config import Budgets, ListenerConfig, OrganismConfig

# -- small readers of the two languages, strict about what we may write ---------------------

STRING = r'"(?:[^"\\\n]|\\.)*"'
ATTRIBUTE = rf"[a-z]+=(?:{STRING}|[a-zA-Z0-9]+)"
ATTRIBUTES = rf"\[({ATTRIBUTE}(?:, {ATTRIBUTE})*)\]"
DOT_NODE = re.compile(rf"  n([0-9]+) {ATTRIBUTES};")
DOT_EDGE = re.compile(rf"  n([0-9]+) -> n([0-9]+)(?: {ATTRIBUTES})?;")
DOT_HEAD = re.compile(rf"digraph organism {{\n  graph {ATTRIBUTES};\n  node {ATTRIBUTES};")

LABEL = r'"((?:[^"#;<>&`*_\\\[\]{}|\n]|<br/>|#[0-9]+;)*)"'
MERMAID_NODE = re.compile(rf"  n([0-9]+)(?:\[{LABEL}\]|\(\[{LABEL}\]\))")
MERMAID_EDGE = re.compile(rf"  n([0-9]+) -->(?:\|{LABEL}\|)? n([0-9]+)")
MERMAID_LOOKS = re.compile(
    r"  (?:classDef ([a-z]+) [a-z:0-9 -]+|class (n[0-9]+(?:,n[0-9]+)*) ([a-z]+)"
    r"|linkStyle ([0-9]+(?:,[0-9]+)*) stroke:red,stroke-width:3px)"
)


@dataclass
class Drawn:
    """What a drawing says: labels by node, labels by edge, looks, remarks."""

    nodes: dict[int, list[str]] = field(default_factory=dict)
    edges: dict[tuple[int, int], str] = field(default_factory=dict)
    red: list[tuple[int, int]] = field(default_factory=list)
    looks: dict[int, set[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    title: str = ""

    @property
    def names(self) -> list[str]:
        return [lines[0] for lines in self.nodes.values()]


def read_dot(text: str) -> Drawn:
    """As Graphviz's lexer and its labels read it."""
    drawn = Drawn()
    lines = text.split("\n")
    while lines[0].startswith("//"):
        drawn.remarks.append(lines.pop(0).removeprefix("// "))
    head = DOT_HEAD.fullmatch("\n".join(lines[:3]))
    assert head
    drawn.title = "\n".join(dot_label(dot_attributes(head[1])["label"]))
    assert lines[-2:] == ["}", ""]
    for line in lines[3:-2]:
        if node := DOT_NODE.fullmatch(line):
            attributes = dot_attributes(node[2])
            drawn.nodes[int(node[1])] = dot_label(attributes.pop("label"))
            drawn.looks[int(node[1])] = {f"{key}={value}" for key, value in attributes.items()}
        else:
            edge = DOT_EDGE.fullmatch(line)
            assert edge, line
            attributes = dot_attributes(edge[3] or "")
            ends = int(edge[1]), int(edge[2])
            drawn.edges[ends] = "\n".join(dot_label(attributes.get("label", '""')))
            if "color" in attributes:
                drawn.red.append(ends)
    return drawn


def dot_attributes(text: str) -> dict[str, str]:
    return {found.partition("=")[0]: found.partition("=")[2] for found in re.findall(ATTRIBUTE, text)}


def dot_label(quoted: str) -> list[str]:
    lines = [""]
    for piece in re.findall(r"\\.|[^\\]", html.unescape(quoted[1:-1])):
        if piece == "\\n":
            lines.append("")
        else:
            assert piece[0] != "\\" or piece[1] in '\\"', piece  # others are \\N, \\G, \\L and the like
            lines[-1] += piece[-1]
    return lines


def read_mermaid(text: str) -> Drawn:
    """As Mermaid reads it, every sign of a name that means something being a number."""
    drawn = Drawn()
    lines = text.split("\n")
    while lines[0].startswith("%%"):
        assert not re.search("[{}]", lines[0])
        drawn.remarks.append(mermaid_label(lines.pop(0).removeprefix("%% "))[0])
    assert (lines[0], lines[-1]) == ("flowchart LR", "")
    order: list[tuple[int, int]] = []
    for line in lines[1:-1]:
        assert not re.search(r"style.*:\S*#.*;", line)  # Mermaid takes the last ";" away there
        if node := MERMAID_NODE.fullmatch(line):
            square, round_ = node[2], node[3]
            drawn.nodes[int(node[1])] = mermaid_label(square if square is not None else round_)
            drawn.looks[int(node[1])] = set() if square is not None else {"agent"}
        elif edge := MERMAID_EDGE.fullmatch(line):
            ends = int(edge[1]), int(edge[3])
            drawn.edges[ends] = "\n".join(mermaid_label(edge[2] or ""))
            order.append(ends)
        else:
            looks = MERMAID_LOOKS.fullmatch(line)
            assert looks, line
            for name in (looks[2] or "").split(",") if looks[2] else ():
                drawn.looks[int(name[1:])].add(looks[3])
            drawn.red += [order[int(number)] for number in (looks[4] or "").split(",") if number]
    return drawn


def mermaid_label(text: str) -> list[str]:
    lines = text.split("<br/>")
    for line in lines:
        assert not re.match(r"\s|[-+] |[0-9]+[.)] ", line), line  # a list or a block of code to Markdown
    return [re.sub(r"#([0-9]+);", lambda found: chr(int(found[1])), line) for line in lines]


READERS = {"dot": (draw_dot, read_dot), "mermaid": (draw_mermaid, read_mermaid)}
both = pytest.mark.parametrize("form", sorted(READERS))


def drawn_as(form: str, topology: Topology) -> Drawn:
    draw, read = READERS[form]
    return read(draw(topology))


# -- what is drawn -------------------------------------------------------------------------


class Order: ...


class Reserve: ...


def listener(name: str, *peers: str, takes: Any = Order, **more: Any) -> ListenerConfig:
    return ListenerConfig(name, takes, peers=peers, **more)


def found(*listeners: ListenerConfig, name: str = "shop", **more: Any) -> Topology:
    return topology_of(
        OrganismConfig(name=name, listeners=listeners, **more), [ListenerConfig("system.todo", Reserve)]
    )


def shop(**more: Any) -> Topology:
    return found(
        listener("clerk", "stock", "ghost", "system.todo", is_agent=True, responds_with=Reserve),
        listener("stock", "clerk", takes=(Order, Reserve), broadcast=True),
        listener("Stock", broadcast=True),
        listener("shop window", "clerk"),
        listener("loop", "loop"),
        **more,
    )


TEXT = """\
shop: 5 listeners

clerk (agent)
  takes: Order
  responds with: Reserve
  may address: stock (Order, Reserve), ghost (not registered),
    system.todo (Reserve)

stock (broadcast, 2 listeners)
  takes: Order, Reserve
  may address: clerk (Order)

shop window (only strangers reach it)
  takes: Order
  may address: clerk (Order)

loop (only strangers reach it)
  takes: Order
  may address: loop (Order)

Only strangers can address: shop window, loop
Not registered: ghost
A cycle without a budget: clerk -> stock -> clerk
A cycle without a budget: loop -> loop
  Only the defaults end such a cycle: 10,000 messages and 1,000 hops.
"""


def test_the_text_of_a_shop() -> None:
    assert draw_text(shop()) == TEXT


def test_the_text_says_who_may_address_anyone_and_what_is_not_looked_for() -> None:
    text = draw_text(found(ListenerConfig("a", Order), listener("b", is_agent=True)))
    assert "  may address: anyone\n" in text
    assert "  may address: nobody\n" in text
    assert text.endswith("Cycles are looked for along peers, not through who may address anyone.\n")


@pytest.mark.parametrize("form", sorted(DRAWINGS))
def test_a_budget_of_the_organism_takes_the_remark_away(form: str) -> None:
    assert "without a budget" in DRAWINGS[form](shop())
    assert "without a budget" not in DRAWINGS[form](shop(budgets=Budgets(hops=100)))


@both
def test_a_drawing_tells_what_the_text_tells(form: str) -> None:
    drawn = drawn_as(form, shop())
    assert drawn.nodes == {
        1: ["clerk", "(agent)", "takes Order", "responds with Reserve"],
        2: ["stock", "(broadcast, 2 listeners)", "takes Order, Reserve"],
        3: ["shop window", "takes Order", "only strangers reach it"],
        4: ["loop", "takes Order", "only strangers reach it"],
        5: ["ghost", "(not registered)"],
        6: ["system.todo", "(of phloem)", "takes Reserve"],
    }
    assert drawn.edges == {
        (1, 2): "Order, Reserve",
        (1, 5): "",
        (1, 6): "Reserve",
        (2, 1): "Order",
        (3, 1): "Order",
        (4, 4): "Order",
    }
    assert drawn.red == [(1, 2), (2, 1), (4, 4)]
    assert drawn.remarks == [
        'only strangers can address: "shop window"',
        'only strangers can address: "loop"',
        'not registered: "ghost"',
        'a cycle without a budget: "clerk" -> "stock" -> "clerk"; '
        "only the defaults end it, 10,000 messages and 1,000 hops",
        'a cycle without a budget: "loop" -> "loop"; '
        "only the defaults end it, 10,000 messages and 1,000 hops",
    ]


def test_kinds_of_nodes_differ_in_their_looks() -> None:
    looks = drawn_as("dot", shop()).looks
    assert looks[1] == {"style=rounded"}
    assert looks[2] == {"peripheries=2"}
    assert looks[3] == {"color=blue", "penwidth=2"}
    assert (looks[5], looks[6]) == ({"style=dashed"}, {"style=dotted"})
    looks = drawn_as("mermaid", shop()).looks
    assert looks[1] == {"agent"}
    assert looks[2] == {"broadcast"}
    assert looks[3] == {"outside"}
    assert (looks[5], looks[6]) == ({"unregistered"}, {"system"})


@both
def test_who_may_address_anyone_is_said_and_not_drawn(form: str) -> None:
    drawn = drawn_as(form, found(ListenerConfig("a", Order), ListenerConfig("b", Order)))
    assert drawn.nodes[1] == ["a", "takes Order", "may address anyone"]
    assert drawn.edges == {}


@pytest.mark.parametrize("form", sorted(DRAWINGS))
def test_an_organism_without_listeners_can_be_drawn(form: str) -> None:
    text = DRAWINGS[form](found())
    assert form == "text" or not drawn_as(form, found()).nodes
    assert form != "text" or text == "shop: 0 listeners\n"


@both
def test_a_label_names_few_classes_and_cuts_long_ones(form: str) -> None:
    many = tuple(type(f"Class{number}", (), {}) for number in range(6))
    long = type("L" * 200, (), {})
    drawn = drawn_as(form, found(listener("a", "b", "c", "d"), *map(listener, "bcd")))
    assert drawn.edges[1, 2] == "Order"
    drawn = drawn_as(
        form,
        found(
            listener("a", "b", "c", "d"),
            listener("b", takes=many),
            listener("c", takes=many[:4]),
            listener("d", takes=long),
        ),
    )
    assert drawn.edges[1, 2] == "Class0, Class1, Class2, 3 more"
    assert drawn.edges[1, 3] == "Class0, Class1, Class2, Class3"
    assert drawn.edges[1, 4] == "L" * 29 + "…"


@pytest.mark.parametrize("form", sorted(DRAWINGS))
def test_a_cycle_of_a_thousand_is_told_by_its_ends(form: str) -> None:
    text = DRAWINGS[form](
        found(*(listener(f"l{number}", f"l{(number + 1) % 1000}") for number in range(1000)))
    )
    flat = re.sub(r"\s+", " ", text).replace('"', "").replace("    ", " ")
    assert "l0 -> l1 -> l2 -> l3 -> l4 -> l5 -> l6 -> l7 -> l8 -> l9 -> (990 more) -> l0" in flat


def test_everyone_on_a_cycle_is_named() -> None:
    topology = found(listener("a", "b", "c"), listener("b", "a"), listener("c", "a"))
    assert "A cycle without a budget: a -> b -> a\n  on it as well: c\n" in draw_text(topology)
    for form in READERS:
        [remark] = drawn_as(form, topology).remarks
        assert 'a cycle without a budget: "a" -> "b" -> "a"; on it as well: "c"; ' in remark


def test_the_text_stays_within_eighty_columns_and_breaks_no_name() -> None:
    names = [f"listener number {number:03} 日本" for number in range(60)]
    text = draw_text(found(listener("hub", *names), *(listener(name, "hub") for name in names)))
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert all(f"{name} (Order)" in text for name in names)


@both
def test_the_same_topology_is_the_same_text(form: str) -> None:
    assert DRAWINGS[form](shop()) == DRAWINGS[form](shop())


# -- names are no syntax -------------------------------------------------------------------

HOSTILE = (
    "end",
    "graph",
    "subgraph",
    "click n1 call",
    'a "quoted" name',
    "back\\",
    "\\N\\G\\l",
    "&lt;b&gt; #35; #quot; &amp;",
    "<script>alert(1)</script>",
    '"]; n1 -> n2; x ["',
    '"])',
    "|x|",
    "a --> b",
    '%%{init: {"theme": "dark"}}%%',
    "// # /* */",
    "style:x#a;y",
    "1. first",
    "1) first",
    "- dash",
    "+ plus",
    "`code` *b* __init__",
    "http://example.org/?a=b",
    "日本語",
    "\ufb02°°35¶ß",
    "मानक",
    "𝔘😀",
    "a,b (c)",
)
PEERS = ("line\nbreak", "tab\there", "\u202eright to left", "\ud800", "\u2028", "    indented", "a\r")


@both
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_label_and_nothing_else(form: str, name: str) -> None:
    drawn = drawn_as(form, found(listener(name, "b", is_agent=True), listener("b", name), name=name))
    assert drawn.names == [name, "b"]
    assert list(drawn.edges) == [(1, 2), (2, 1)]
    assert form == "mermaid" or drawn.title == name


@pytest.mark.parametrize("form", sorted(DRAWINGS))
@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_that_is_no_name_turns_no_line(form: str, peer: str) -> None:
    topology = found(listener("a", peer), allow_unknown_peers=True)
    text = DRAWINGS[form](topology)
    assert len(text.splitlines()) == len(text.split("\n")) - 1
    text.encode()
    assert "\u202e" not in text
    if form != "text":
        drawn = drawn_as(form, topology)
        assert (len(drawn.names), list(drawn.edges)) == (2, [(1, 2)])


def test_a_name_that_reads_as_several_is_quoted_in_the_text() -> None:
    text = draw_text(found(listener("a, b", "x (agent)"), listener("x (agent)")))
    assert '\n"a, b" (only strangers reach it)\n' in text
    assert '  may address: "x (agent)" (Order)\n' in text


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4, unique_by=str.casefold))
def test_no_text_at_all_breaks_a_drawing(names: list[str]) -> None:
    topology = found(*(listener(name, *names) for name in names), name=names[0])
    assert len(draw_text(topology).splitlines()) == draw_text(topology).count("\n")
    for form in READERS:
        drawn = drawn_as(form, topology)
        assert len(drawn.names) == len(names)
        assert len(drawn.edges) == len(names) ** 2
        assert all(
            shown == name for shown, name in zip(drawn.names, names, strict=True) if name.isprintable()
        )
