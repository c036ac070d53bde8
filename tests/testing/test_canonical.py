"""Claims of testing/sim/result.py on values: their text is alike in every process, and costs little."""

from __future__ import annotations

import functools
import random
import time
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.testing.sim.result import PARTS, canonical


class Pair(NamedTuple):
    left: object
    right: object


class Colour(Enum):
    RED = "red"


@dataclass
class Node:
    name: object
    next: Any = None
    hidden: object = field(default=None, repr=False)


@dataclass(slots=True)
class Slotted:
    value: int
    unset: int = field(init=False)


@dataclass
class Own:
    key: str

    def __repr__(self) -> str:
        return "<a key>"


@dataclass(repr=False)
class Unshown:
    value: object


class Plain:
    def method(self) -> None: ...


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class NoText:
    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]


class Word(str):
    __slots__ = ()


class Worded:
    def __repr__(self) -> str:
        return Word("worded at 0xdeadbeef")


class Endless:
    def __repr__(self) -> str:
        return repr(self)


class Tags(set[str]):
    pass


class Stranger(set[str]):
    def __repr__(self) -> str:
        return "strange"


@dataclass
class Falling:
    value: int

    def __getattribute__(self, name: str) -> Any:
        if name == "value":
            raise ValueError(name)
        return super().__getattribute__(name)


# -- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (7, "7"),
        (True, "True"),
        ("a'b", '"a\'b"'),
        (b"\0", "b'\\x00'"),
        (1.0, "1.0"),
        ([1, "a"], "list(1, 'a')"),
        ((), "tuple()"),
        ((1,), "tuple(1)"),
        ({"b": 1, "a": 2}, "{'b': 1, 'a': 2}"),
        ({"b", "a"}, "set({'a', 'b'})"),
        (frozenset({2, 1}), "frozenset({1, 2})"),
        (set[int](), "set({})"),
        ([{"b", "a"}], "list(set({'a', 'b'}))"),
        ({"k": {2, 1}}, "{'k': set({1, 2})}"),
        ({frozenset({2, 1}): 0}, "{frozenset({1, 2}): 0}"),
        (deque([{2, 1}], 5), "deque(set({1, 2}))"),
        (defaultdict(set, a={2, 1}), "defaultdict{'a': set({1, 2})}"),
        (OrderedDict(a={2, 1}), "OrderedDict{'a': set({1, 2})}"),
        (MappingProxyType({1: {2}}), "mappingproxy{1: set({2})}"),
        (Counter("aab"), "Counter{'a': 2, 'b': 1}"),
        (Pair({2, 1}, 3), "Pair(set({1, 2}), 3)"),
        (Tags({"b", "a"}), "Tags({'a', 'b'})"),
        (Stranger(), "strange"),
        (Colour.RED, "<Colour.RED: 'red'>"),
        (Node({2, 1}), "Node(name=set({1, 2}), next=None)"),
        (Node(1, hidden="secret"), "Node(name=1, next=None)"),
        (Slotted(1), "Slotted(value=1, unset=None)"),
        (Own("secret"), "<a key>"),
        (Unshown({2, 1}), "Unshown(value=set({1, 2}))"),
        (Node, f"<class '{__name__}.Node'>"),
        (Plain(), f"<{__name__}.Plain object>"),
        (print, "<built-in function print>"),
        (len, "<built-in function len>"),
        (Broken(), "<Broken whose repr raised RuntimeError>"),
        ([Broken()], "list(<Broken whose repr raised RuntimeError>)"),
        ({Broken: Broken()}, f"{{<class '{__name__}.Broken'>: <Broken whose repr raised RuntimeError>}}"),
        (NoText(), "<NoText whose repr raised TypeError>"),
        (Worded(), "worded"),
        (Endless(), "<Endless whose repr raised RecursionError>"),
        (Falling(1), "<Falling whose repr raised ValueError>"),
        ("0xfeedfacecafe", "'0x…'"),
        ("\ud800", "'\\ud800'"),
        (0xFEEDFACE, "4277009102"),
    ],
)
def test_a_value_is_its_repr_without_what_differs_between_processes(value: object, text: str) -> None:
    assert canonical(value) == text


def test_an_address_is_nowhere() -> None:
    values = [
        Plain(),
        Plain().method,
        lambda: 0,
        functools.partial(print, Plain()),
        SimpleNamespace(a=Plain()),
    ]
    assert "0x" not in canonical(values).replace("0x…", "")
    assert canonical(values) == canonical(list(values))


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False)
hashables = st.recursive(
    scalars, lambda inner: st.frozensets(inner, max_size=3) | st.tuples(inner, inner), max_leaves=5
)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.sets(hashables, max_size=3)
        | st.dictionaries(hashables, inner, max_size=3)
        | st.builds(Node, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=6,
)


def reordered(value: Any, chance: random.Random) -> Any:
    """An equal value whose sets were filled in another order."""
    if isinstance(value, (set, frozenset)):
        parts = [reordered(each, chance) for each in value]
        chance.shuffle(parts)
        others = [object() for _ in range(chance.randrange(50))]  # for a table of another size
        return type(value)([*others, *parts]) - frozenset(others)
    if isinstance(value, Node):
        return Node(reordered(value.name, chance), reordered(value.next, chance))
    if isinstance(value, Pair):
        return Pair(*(reordered(each, chance) for each in value))
    if isinstance(value, (list, tuple)):
        return type(value)(reordered(each, chance) for each in value)
    if isinstance(value, dict):
        return {key: reordered(each, chance) for key, each in value.items()}
    return value


@given(values, st.randoms(use_true_random=False))
def test_the_order_of_a_set_is_nowhere(value: object, chance: random.Random) -> None:
    """True, 1 and 1.0 are one member, whichever came first: so the same objects in another order."""
    assert canonical(reordered(value, chance)) == canonical(value)


@given(st.dictionaries(st.integers(), st.integers(), min_size=2))
def test_the_order_of_a_dict_is_told_for_it_is_the_programs(value: dict[int, int]) -> None:
    assert canonical(dict(reversed(value.items()))) != canonical(value)


# -- large, deep, endless ------------------------------------------------------------------------


def test_what_contains_itself_comes_to_an_end() -> None:
    node, many, table = Node(1), list[Any](), dict[str, Any]()
    node.next = node
    many.append(many)
    table["self"] = table
    for value in (node, many, table):
        assert 1 <= canonical(value).count("…") <= 2


def test_what_branches_and_contains_itself_comes_to_an_end() -> None:
    @dataclass
    class Wide:
        a: Any = None
        b: Any = None
        c: Any = None
        d: Any = None
        e: Any = None
        f: Any = None

    wide = Wide()
    for name in "abcdef":
        setattr(wide, name, [wide] * 6)
    assert len(canonical(wide)) < 100 * PARTS


@pytest.mark.parametrize(
    "value",
    [[0] * 10_000_000, range(10**9), set(range(1_000_000)), "x" * 10_000_000, [[0]] * 1_000_000],
    ids=["list", "range", "set", "text", "lists"],
)
def test_a_huge_value_costs_little(value: Any) -> None:
    started = time.process_time()
    canonical(value)
    assert time.process_time() - started < 3


def test_of_a_huge_value_the_rest_is_counted() -> None:
    assert canonical([0] * 1_000_000).endswith(f"0, … {1_000_000 - PARTS + 1} more)")
    assert canonical(set(range(PARTS + 7))) == f"set({{… {PARTS + 7} more}})"


def test_a_huge_set_of_unlike_parts_is_the_same_in_any_order() -> None:
    parts = [frozenset(range(each, each + each % 700)) for each in range(1_000)]
    assert canonical(set(parts)) == canonical(reordered(set(parts), random.Random(1)))
    assert "more" in canonical(set(parts))


def test_a_set_leaves_something_for_what_comes_after_it() -> None:
    assert canonical([{1, 2}, [3, 4], 5]) == "list(set({1, 2}), list(3, 4), 5)"
