"""Routes against a naive model, filters of what users give, and that nobody is asked in vain."""

from __future__ import annotations

import itertools
import random
import sys
import weakref
from collections.abc import Callable, Sequence
from enum import Enum, StrEnum
from typing import Any

import pytest

from phloem.errors import InvalidEvent
from phloem.events.routes import QUERY, Filters, Routes, filters

KNOWN = {name: name for name in ("custom", "node_stalled", "llm_text_delta", "mine")}
TYPES = [None, frozenset("a"), frozenset("b"), frozenset("ab"), frozenset("abc"), frozenset[str]()]
FIELDS = [None, "x", "y"]
EVERY_FILTER = [Filters(*each) for each in itertools.product(TYPES, FIELDS, FIELDS, FIELDS)]
EVENTS = list(itertools.product("abz", ["x", "z"], [None, "x", "y"], [None, "x", "y", ""]))


class Sink:
    """Something that wants events. All are equal and none can be hashed: only identity tells them apart."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def same(found: Sequence[Sink], expected: Sequence[Sink]) -> bool:
    return [id(each) for each in found] == [id(each) for each in expected]


def made(
    event_types: object = None, stream: object = None, node: object = None, execution: object = None
) -> Filters:
    return filters(event_types, stream, node, execution, KNOWN)


def is_empty(routes: Routes[Any]) -> bool:
    return len(routes) == 0 and not routes.tables and not routes._numbers


# Filters


def test_every_filter_matches_what_its_fields_say() -> None:
    for each, event in itertools.product(EVERY_FILTER, EVENTS):
        type, stream, node, execution = event
        expected = (
            each.types in (None, each.types if type in (each.types or ()) else ...)
            and each.stream_id in (None, stream)
            and each.node_id in (None, node)
            and each.execution_id in (None, execution)
        )
        assert each.match(*event) is expected


# filters()


class Kind(StrEnum):
    CUSTOM = "custom"
    NODE_STALLED = "node_stalled"


class OldKind(str, Enum):  # noqa: UP042 - as users of older Pythons wrote it
    CUSTOM = "custom"


@pytest.mark.parametrize(
    "given", ["custom", Kind.CUSTOM, OldKind.CUSTOM, ["custom"], ("custom", Kind.CUSTOM)]
)
def test_a_type_is_a_name_or_a_member(given: object) -> None:
    types = made(given).types
    assert types == frozenset({"custom"})
    assert {type(each) for each in types or ()} == {str}


@pytest.mark.parametrize(
    "given",
    [
        Kind,
        ["node_stalled", "custom"],
        {"custom", "node_stalled"},
        {"custom": 1, "node_stalled": 2},
        iter(["custom", "node_stalled", "custom"]),
        (each for each in ("custom", "node_stalled")),
    ],
)
def test_types_are_any_iterable_of_them(given: object) -> None:
    assert made(given).types == frozenset({"custom", "node_stalled"})


def test_none_means_any_everywhere() -> None:
    assert made() == Filters()
    assert made("mine", "s", "n", "e") == Filters(frozenset(["mine"]), "s", "n", "e")
    assert made(["custom", "mine"], node="n") == made({"mine", "custom"}, node="n")


def test_a_known_type_becomes_the_text_that_rows_carry() -> None:
    carried = "".join(["cus", "tom"])
    found = filters("custom", None, None, None, {"custom": carried}).types
    assert [each is carried for each in found or ()] == [True]


@pytest.mark.parametrize("given", [[], (), set(), {}, iter([]), frozenset()])
def test_an_empty_iterable_of_types_is_refused(given: object) -> None:
    with pytest.raises(InvalidEvent, match=r"^event_types: found an empty \w+, expected .*at least one$"):
        made(given)


@pytest.mark.parametrize(
    "given", [7, 1.5, b"custom", bytearray(b"custom"), object(), lambda event: None, True]
)
def test_types_that_are_neither_texts_nor_iterable_are_refused(given: object) -> None:
    with pytest.raises(InvalidEvent, match=r"^event_types: found a value of type .*, expected None"):
        made(given)


@pytest.mark.parametrize("given", [[None], ["custom", 5], [b"custom"], [["custom"]]])
def test_what_is_no_text_among_types_is_refused(given: object) -> None:
    with pytest.raises(InvalidEvent, match=r"^event_types: found a value of type .*, expected an event type"):
        made(given)


@pytest.mark.parametrize("given", ["", "Custom", " custom", "no_such", ["custom", "no_such"]])
def test_an_unknown_type_is_refused_and_told_how_to_become_known(given: object) -> None:
    name = given if isinstance(given, str) else "no_such"
    expected = rf"^event_types: found the unknown type '{name}', expected .*bus\.register_type\(name\)"
    with pytest.raises(InvalidEvent, match=expected):
        made(given)


def test_a_slip_of_the_pen_is_shown_what_was_meant() -> None:
    with pytest.raises(InvalidEvent, match="did you mean 'node_stalled'"):
        made("node_staled")


@pytest.mark.parametrize("value", ["", 5, 0, False, b"s", ["s"], object()])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_filter_that_is_empty_or_no_text_is_refused(place: int, value: object) -> None:
    fields: list[object] = [None, None, None]
    fields[place] = value
    name = ("filter_stream", "filter_node", "filter_execution")[place]
    with pytest.raises(
        InvalidEvent, match=f"^{name}: found .*, expected None .any. or a text that is not empty"
    ):
        made("custom", *fields)


def test_a_query_is_told_its_own_argument_names() -> None:
    for place, name in enumerate(QUERY):
        types, stream, node, execution = (5 if each == place else None for each in range(4))
        with pytest.raises(InvalidEvent, match=f"^{name}: "):
            filters(types, stream, node, execution, KNOWN, QUERY)


class Nasty:
    def __repr__(self) -> str:
        raise SystemExit("asked for its text")


class NastyText(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("asked whether it is equal")

    def __hash__(self) -> int:
        raise RuntimeError("asked for its hash")

    def __repr__(self) -> str:
        raise RuntimeError("asked for its text")

    __str__ = __repr__


def test_a_users_own_methods_are_not_asked() -> None:
    for given in (Nasty(), [Nasty()], NastyText("no_such"), [NastyText("no_such")]):
        with pytest.raises(InvalidEvent):
            made(given)
    found = made(NastyText("custom"), NastyText("s"), NastyText("n"), NastyText("e"))
    assert found == Filters(frozenset(["custom"]), "s", "n", "e")
    assert {type(each) for each in (found.stream_id, found.node_id, found.execution_id)} == {str}


@pytest.mark.parametrize(
    "given", ["x" * 10_000_000, "'\"" * 50, "\x00" * 500, type("X" * 500, (), {})(), ["é\n" * 99]]
)
def test_what_was_found_is_told_in_at_most_60_characters_on_one_line(given: object) -> None:
    with pytest.raises(InvalidEvent) as raised:
        made(given)
    text = str(raised.value)
    found = text[text.index("found ") + len("found ") : text.index(", expected")]
    assert len(found) <= 60
    assert "\n" not in text


# Routes


@pytest.mark.parametrize("seed", range(30))
def test_routes_find_what_asking_each_would_find_in_order_of_addition(seed: int) -> None:
    rng = random.Random(seed)
    routes: Routes[Sink] = Routes()
    there: list[tuple[Filters, Sink]] = []
    choices = EVERY_FILTER if seed % 2 else rng.sample(EVERY_FILTER, 4)
    for _ in range(150):
        if there and rng.random() < (0.2, 0.5, 0.7)[seed % 3]:
            each, sink = there.pop(rng.randrange(len(there)))
            assert routes.remove(each, sink)
        else:
            there.append((rng.choice(choices), Sink()))
            routes.add(*there[-1])
        assert len(routes) == len(there)
        for event in rng.sample(EVENTS, 5):
            assert same(routes.matching(*event), [sink for each, sink in there if each.match(*event)])
    for each, sink in rng.sample(there, len(there)):
        assert routes.remove(each, sink)
    assert is_empty(routes)


@pytest.mark.parametrize("each", EVERY_FILTER)
def test_one_sink_is_found_by_its_events_only_and_leaves_nothing_behind(each: Filters) -> None:
    routes: Routes[Sink] = Routes()
    sink = Sink()
    for _ in range(2):
        routes.add(each, sink)
        for event in EVENTS:
            assert same(routes.matching(*event), [sink] if each.match(*event) else [])
        assert routes.remove(each, sink)
        assert is_empty(routes)
        assert not any(routes.matching(*event) for event in EVENTS)


def test_fields_do_not_get_mixed_up() -> None:
    routes: Routes[str] = Routes()
    routes.add(Filters(stream_id="q"), "stream")
    routes.add(Filters(node_id="q"), "node")
    routes.add(Filters(execution_id="q"), "execution")
    routes.add(Filters(stream_id="q", node_id="r"), "stream and node")
    routes.add(Filters(node_id="q", execution_id="r"), "node and execution")
    assert list(routes.matching("a", "q", "r", None)) == ["stream", "stream and node"]
    assert list(routes.matching("a", "r", "q", "r")) == ["node", "node and execution"]
    assert list(routes.matching("a", "r", "r", "q")) == ["execution"]
    assert list(routes.matching("a", "q", "q", "q")) == ["stream", "node", "execution"]


def test_a_sink_of_several_types_is_found_once_for_each_event() -> None:
    routes: Routes[str] = Routes()
    routes.add(Filters(frozenset("abcdef")), "several")
    routes.add(Filters(), "any")
    assert all(list(routes.matching(type, "s", None, None)) == ["several", "any"] for type in "abcdef")


def test_a_sink_with_two_filters_is_there_for_each() -> None:
    routes: Routes[Sink] = Routes()
    sink = Sink()
    one, two = Filters(stream_id="x"), Filters(frozenset("a"))
    routes.add(one, sink)
    routes.add(two, sink)
    assert len(routes) == 2
    assert same(routes.matching("a", "x", None, None), [sink, sink])
    assert routes.remove(one, sink)
    assert same(routes.matching("a", "x", None, None), [sink])


def test_the_same_sink_under_the_same_filters_is_refused_and_its_equal_is_not() -> None:
    routes: Routes[Sink] = Routes()
    sink, equal = Sink(), Sink()
    routes.add(Filters(frozenset("ab"), "s"), sink)
    with pytest.raises(ValueError, match="found Sink under its filters already"):
        routes.add(Filters(frozenset("ba"), "s"), sink)
    routes.add(Filters(frozenset("ab"), "s"), equal)
    assert same(routes.matching("a", "s", None, None), [sink, equal])
    assert routes.remove(Filters(frozenset("ab"), "s"), equal)
    assert same(routes.matching("a", "s", None, None), [sink])


def test_removing_what_is_not_there_changes_nothing() -> None:
    routes: Routes[Sink] = Routes()
    sink = Sink()
    routes.add(Filters(node_id="n"), sink)
    assert not routes.remove(Filters(node_id="n"), Sink())
    assert not routes.remove(Filters(node_id="m"), sink)
    assert same(routes.matching("a", "s", "n", None), [sink])
    assert routes.remove(Filters(node_id="n"), sink)
    assert not routes.remove(Filters(node_id="n"), sink)


FOUND_BY: list[Callable[[int], Filters]] = [
    lambda number: Filters(),
    lambda number: Filters(frozenset("a")),
    lambda number: Filters(execution_id="e"),
    lambda number: (Filters(), Filters(frozenset("a")), Filters(stream_id="s"))[number % 3],
]


@pytest.mark.parametrize("filters_of", FOUND_BY)
def test_what_was_found_stays_as_it_was_while_sinks_come_and_go(filters_of: Callable[[int], Filters]) -> None:
    routes: Routes[str] = Routes()
    there = [f"sink {number}" for number in range(9)]
    for number, sink in enumerate(there):
        routes.add(filters_of(number), sink)
    seen: list[str] = []
    found = routes.matching("a", "s", None, "e")
    for number, sink in enumerate(found):
        seen.append(sink)
        routes.add(filters_of(number), f"late {number}")
        assert routes.remove(filters_of(number), there[number])
        assert list(routes.matching("a", "s", None, "e"))[-1] == f"late {number}"
    assert seen == there
    assert sorted(routes.matching("a", "s", None, "e")) == [f"late {number}" for number in range(9)]


def test_a_removed_sink_is_held_by_nobody() -> None:
    class Owner:
        pass

    routes: Routes[Owner] = Routes()
    routes.add(Filters(), Owner())
    stays, goes = Owner(), Owner()
    watched = weakref.ref(goes)
    mine = Filters(frozenset("ab"), execution_id="e")
    routes.add(mine, stays)
    routes.add(mine, goes)
    assert len(routes.matching("a", "s", None, "e")) == len(routes.matching("b", "s", None, "e")) == 3
    assert routes.remove(mine, goes)
    del goes
    assert watched() is None


def test_coming_and_going_leaves_thetables_as_large_as_they_were() -> None:
    routes: Routes[Sink] = Routes()
    stays, goes = Sink(), Sink()
    routes.add(Filters(frozenset("ab"), node_id="n"), stays)
    sizes: list[int] = []
    for number in range(20_000):
        each = Filters(
            frozenset(("a", f"t{number}")), f"s{number}", "n", f"e{number}" if number % 2 else None
        )
        routes.add(each, goes)
        assert routes.remove(each, goes)
        sizes.append(sum(sys.getsizeof(held) for held in (routes.tables, routes._numbers)))
    assert max(sizes[100:]) <= max(sizes[:100])
    assert set(routes.tables) == {"a", "b"}
    assert [list(table.indexes) for table in routes.tables.values()] == [[(1,)], [(1,)]]
    assert routes.remove(Filters(frozenset("ab"), node_id="n"), stays)
    assert is_empty(routes)


class Counted(str):
    """A text of an event that counts whom it is compared with."""

    __slots__ = ("compared",)

    def __eq__(self, other: object) -> bool:
        self.compared: list[object]
        self.compared.append(other)
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


SHAPES: list[Callable[[str], Filters]] = [
    lambda text: Filters(frozenset("a"), execution_id=text),
    lambda text: Filters(frozenset("a"), node_id=text),
    lambda text: Filters(frozenset("a"), stream_id=text),
    lambda text: Filters(execution_id=text),
    lambda text: Filters(frozenset("a"), "s", "n", text),
    lambda text: Filters(frozenset("a"), "s", text, "e"),  # the same conversation, other nodes
    lambda text: Filters(frozenset("a"), text, "n", "e"),
    lambda text: Filters(frozenset((text, "other"))),
]


@pytest.mark.parametrize("filters_of", SHAPES)
def test_a_thousand_sinks_that_do_not_match_are_not_visited(filters_of: Callable[[str], Filters]) -> None:
    routes: Routes[str] = Routes()
    for number in range(1_000):
        routes.add(filters_of(f"x{number}"), f"sink {number}")
    mine = filters_of("x7")
    type = "x7" if "other" in (mine.types or ()) else "a"
    event = [
        Counted(each) for each in (type, mine.stream_id or "s", mine.node_id or "n", mine.execution_id or "e")
    ]
    for each in event:
        each.compared = []
    type, stream, node, execution = event
    assert list(routes.matching(type, stream, node, execution)) == ["sink 7"]
    # one look for the type, one for the fields, and a rare neighbour in the dict with the same hash
    assert sum(len(each.compared) for each in event) <= 6
