"""Whatever a payload class is like: its card names all there is, its example is a message of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field, make_dataclass
from typing import Annotated, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.config import WireLimits
from phloem.contract import Contract, Doc, Peer, card, contract_of, peer_words
from phloem.contract.plans import Choice, Leaf, Many, OneOf, Plan, Record, Row, Table
from phloem.wire.parsing import Parser
from phloem.wire.text import is_xml_text
from support.contracts import TYPES, Typed, records

PARSER = Parser(WireLimits())
WORDS = st.text(st.one_of(st.sampled_from(" \n#-—:`é"), st.characters(categories=["L", "N"])), max_size=30)


@st.composite
def documented(draw: st.DrawFn) -> Contract:
    """A random class, some of whose fields have documentation and defaults."""
    typed: list[Typed] = draw(st.lists(TYPES, max_size=4))
    spec: list[Any] = []
    for number, each in enumerate(typed):
        hint: Any = Annotated[each.hint, Doc(draw(WORDS))] if draw(st.booleans()) else each.hint
        if (
            isinstance(each.hint, type)
            and not hasattr(each.hint, "__dataclass_fields__")
            and draw(st.booleans())
        ):
            spec.append((f"f_{number}_x", hint, field(default=draw(each.values), kw_only=True)))
        else:
            spec.append((f"f_{number}_x", hint))
    return contract_of(make_dataclass("Payload", [*spec, ("rest", draw(records(TYPES)).hint)]))


Tree = list[tuple[str, list[str], Any]]


def read_card(text: str) -> Tree:
    """Back from the card: (tag, what is said of it, what stands inside it)."""
    root: Tree = []
    open_: list[tuple[int, Tree]] = [(-1, root)]
    for line in text.splitlines()[1:]:
        found = re.fullmatch(r"( *)- (\S+?)(?: \(.*?\))?: (.*)", line)
        assert found, line
        while open_[-1][0] >= len(found[1]):
            open_.pop()
        inside: Tree = []
        open_[-1][1].append((found[2], line.split(" — "), inside))
        open_.append((len(found[1]), inside))
    return root


def expected(plan: Plan, seen: set[type]) -> Iterator[tuple[str, Plan | None, Any]]:
    match plan:
        case Record():
            if plan.cls in seen:
                return
            seen.add(plan.cls)
            for each in plan.fields:
                yield each.tag, each.plan, list(expected(each.plan, seen))
        case Many():
            yield plan.item.tag, plan.item, list(expected(plan.item, seen))
        case Table():
            value = list(expected(plan.value, seen))
            yield "Item", None, [("Key", plan.key, []), ("Val", plan.value, value)]
        case Row():
            for tag, item in zip(plan.tags, plan.items, strict=True):
                yield tag, item, list(expected(item, seen))
        case OneOf():
            for tag, member in plan.members.items():
                yield tag, member, list(expected(member, seen))
        case _:
            return


def asked_of(plan: Plan | None) -> Iterator[str]:
    match plan:
        case Leaf():
            for word in plan.facets.words():
                yield word.replace("matching ", "matching `")
        case Choice():
            yield from map(repr, plan.values)
        case Many() | Table():
            if plan.least:
                yield f"length at least {plan.least}"
            if plan.most is not None:
                yield f"length at most {plan.most}"
        case _:
            return


def check(shown: Tree, wanted: list[tuple[str, Plan | None, Any]]) -> None:
    assert [tag for tag, _, _ in shown] == [tag for tag, _, _ in wanted]
    for (_, said, inside), (_, plan, below) in zip(shown, wanted, strict=True):
        assert all(word in said[0] for word in asked_of(plan))
        check(inside, below)


@settings(deadline=None, max_examples=150)
@given(documented())
def test_a_card_names_every_field_and_constraint_where_it_stands(contract: Contract) -> None:
    text = card(contract)
    assert contract._record is not None
    check(read_card(text), list(expected(contract._record, set())))
    heads = [line for line in text.splitlines() if line.startswith("- ")]
    for line, each in zip(heads, contract.fields, strict=True):
        assert line.startswith(f"- {each.tag} ({'required' if each.required else 'optional'}")
        assert line.endswith(" ".join(each.doc.split()))
    assert text == card(contract)


@settings(deadline=None, max_examples=150)
@given(documented())
def test_the_example_shown_passes_the_xsd_and_comes_back_the_same(contract: Contract) -> None:
    text = peer_words(Peer(name="a", description="", contracts=(contract,)))
    (shown,) = [line.removeprefix("Example: ") for line in text.splitlines() if line.startswith("Example: ")]
    assert contract.encode(contract.read(PARSER.parse(shown))) == contract.example()
    assert is_xml_text(text)
