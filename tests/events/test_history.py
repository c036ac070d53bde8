"""History against a naive model: what is kept, what gives way, what a reader is told is missing."""

from __future__ import annotations

import random
import weakref
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.events.history import History
from phloem.events.routes import Filters
from phloem.events.types import Row

ANY = Filters()
PLENTY = 1 << 40  # more bytes than any test has


def a_row(seq: int, type: str = "a", size: int = 1, *, data: Any = None, **fields: str | None) -> Row:
    stream, node, execution = fields.get("stream", "s"), fields.get("node"), fields.get("execution")
    data = MappingProxyType({}) if data is None else data
    return (seq, type, stream or "", node, execution, data, 0.0, None, None, "i", size)


def filled(max_rows: int, max_bytes: int, types: str, size: int = 1) -> History:
    history = History(max_rows, max_bytes)
    for seq, type in enumerate(types, 1):
        history.append(a_row(seq, type, size))
    return history


def held(history: History, filters: Filters = ANY) -> list[int]:
    return [row[0] for row in history.since(filters, 0)[0]]


class Model:
    """The rules, told in the plainest way: every look goes over all rows."""

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self.max_rows, self.max_bytes = max_rows, max_bytes
        self.rows: list[Row] = []
        self.all: list[Row] = []

    def append(self, row: Row) -> None:
        self.all.append(row)
        if row[10] > self.max_bytes or not self.max_rows:
            return
        self.rows.append(row)
        while len(self.rows) > self.max_rows:
            self.evict(row, lambda each: 1)
        while sum(each[10] for each in self.rows) > self.max_bytes:
            self.evict(row, lambda each: each[10])

    def evict(self, new: Row, measure: Any) -> None:
        def share(type: str) -> tuple[int, bool, int]:
            rows = [each for each in self.rows if each[1] == type]
            return sum(map(measure, rows)), type == new[1], -rows[0][0]

        able = {each[1] for each in self.rows if each is not new}  # the newest row itself never goes
        loser = max(able, key=share)
        self.rows.remove(next(each for each in self.rows if each[1] == loser))

    def gone(self) -> list[Row]:
        return [row for row in self.all if row not in self.rows]

    def matching(self, filters: Filters, rows: list[Row]) -> list[Row]:
        return [row for row in rows if filters.match(row[1], row[2], row[3], row[4])]


def agree(history: History, model: Model, filters: Filters, seq: int, limit: int) -> None:
    rows = model.matching(filters, model.rows)
    assert history.newest(filters, limit) == rows[::-1][:limit]
    found, missing = history.since(filters, seq)
    assert found == [row for row in rows if row[0] > seq]
    gone = [row[0] for row in model.matching(Filters(filters.types), model.gone()) if row[0] > seq]
    assert missing == max(gone, default=0)


FIELDS = st.none() | st.sampled_from("xy")
FILTERS = st.builds(
    Filters,
    types=st.none() | st.frozensets(st.sampled_from("abcd?")),
    stream_id=FIELDS,
    node_id=FIELDS,
    execution_id=FIELDS,
)
ROWS = st.tuples(st.sampled_from("abcd"), st.integers(0, 9), st.sampled_from("xy"), FIELDS, FIELDS)


@given(
    max_rows=st.integers(0, 9),
    max_bytes=st.sampled_from([0, 1, 5, 8, 20, 40, PLENTY]),
    given_rows=st.lists(ROWS, max_size=40),
    filters=FILTERS,
    seq=st.integers(0, 40),
    limit=st.integers(0, 12),
)
def test_history_does_what_the_plain_rules_say(
    max_rows: int, max_bytes: int, given_rows: list[Any], filters: Filters, seq: int, limit: int
) -> None:
    history, model = History(max_rows, max_bytes), Model(max_rows, max_bytes)
    for number, (type, size, stream, node, execution) in enumerate(given_rows, 1):
        row = a_row(number, type, size, stream=stream, node=node, execution=execution)
        history.append(row)
        model.append(row)
        assert held(history) == [each[0] for each in model.rows]
        assert len(history) == len(model.rows) <= max_rows
        assert history.bytes == sum(each[10] for each in model.rows) <= max_bytes
        assert history.evicted == len(model.gone())
    agree(history, model, filters, seq, limit)


@pytest.mark.parametrize("seed", range(12))
def test_a_long_life_with_bursts_follows_the_plain_rules(seed: int) -> None:
    rng = random.Random(seed)
    limits = rng.choice([3, 10, 23, 60]), rng.choice([20, 100, 500, PLENTY])
    history, model = History(*limits), Model(*limits)
    seq = 0
    while seq < 500:
        weights = [rng.choice([0, 1, 5, 50]) + 0.01 for _ in "abcdefg"]
        sizes = rng.choice([(1, 1), (0, 3), (1, 12), (5, 5), (0, 120)])
        for type in rng.choices("abcdefg", weights, k=rng.randint(1, 60)):
            seq += rng.choice([1, 1, 1, 4])  # a sequence with holes is no trouble
            row = a_row(seq, type, rng.randint(*sizes), stream=rng.choice("xy"), execution=rng.choice("xy"))
            history.append(row)
            model.append(row)
        assert held(history) == [each[0] for each in model.rows]
        types = rng.choice([None, frozenset("a"), frozenset("bcz"), frozenset("abcdefg")])
        filters = Filters(types, stream_id=rng.choice([None, "x"]), execution_id=rng.choice([None, "y"]))
        agree(history, model, filters, rng.randint(0, seq), rng.choice([1, 3, 100]))


def test_one_type_alone_may_fill_it_all() -> None:
    assert held(filled(5, PLENTY, "a" * 12)) == [8, 9, 10, 11, 12]
    assert held(filled(99, 5, "a" * 12)) == [8, 9, 10, 11, 12]


@pytest.mark.parametrize(("max_rows", "max_bytes"), [(10, PLENTY), (1_000, 10)])
def test_a_type_that_fills_it_gives_way_until_the_shares_are_level(max_rows: int, max_bytes: int) -> None:
    history = filled(max_rows, max_bytes, "a" * 20 + "b" * 20)
    assert held(history, Filters(frozenset("a"))) == [16, 17, 18, 19, 20]
    assert held(history, Filters(frozenset("b"))) == [36, 37, 38, 39, 40]


def test_deltas_do_not_evict_lifecycle_events() -> None:
    history = filled(100, PLENTY, "s" + "d" * 5_000 + "e" + "d" * 5_000)
    assert held(history, Filters(frozenset("se"))) == [1, 5_002]
    assert len(history.newest(Filters(frozenset("d")), 1_000)) == 98


def test_large_deltas_do_not_evict_small_lifecycle_events() -> None:
    history = History(1_000, 1_000)
    history.append(a_row(1, "started", 10))
    for seq in range(2, 500):
        history.append(a_row(seq, "delta", 300))
    assert held(history) == [1, 497, 498, 499]


def test_of_equal_types_the_one_that_has_just_grown_gives_way() -> None:
    assert held(filled(4, PLENTY, "aabbb")) == [1, 2, 4, 5]
    assert held(filled(4, PLENTY, "bbaaa")) == [1, 2, 4, 5]


@pytest.mark.parametrize(("max_rows", "max_bytes"), [(4, PLENTY), (100, 4)])
def test_of_equal_others_the_one_with_the_oldest_row_gives_way(max_rows: int, max_bytes: int) -> None:
    assert held(filled(max_rows, max_bytes, "bbaac")) == [2, 3, 4, 5]
    assert held(filled(max_rows, max_bytes, "bbaabc")) == [3, 4, 5, 6]  # b was seen first; a is older now


def test_the_row_just_appended_is_kept_even_if_it_outweighs_every_other_type() -> None:
    history = filled(100, 100, "a" * 10, size=10)
    history.append(a_row(11, "b", 70))
    assert held(history) == [8, 9, 10, 11]
    history.append(a_row(12, "c", 100))
    assert held(history) == [12]


def test_a_type_that_grew_while_it_gave_way_counts_with_what_it_has_now() -> None:
    history = History(100, 100)
    for seq, (type, size) in enumerate((("a", 45), ("a", 60), ("b", 1), ("b", 49)), 1):
        history.append(a_row(seq, type, size))
    assert held(history) == [3, 4]


def test_with_more_types_than_rows_the_newest_are_kept() -> None:
    assert held(filled(3, PLENTY, "abcdefabc")) == [7, 8, 9]
    assert held(filled(1, PLENTY, "abb")) == [3]


def test_a_row_larger_than_everything_is_not_kept_and_moves_nobody() -> None:
    history = filled(10, 10, "aaab")
    history.append(a_row(5, "a", 11))
    assert held(history) == [1, 2, 3, 4]
    assert (len(history), history.bytes, history.evicted) == (4, 4, 1)
    assert history.since(Filters(frozenset("a")), 2) == ([a_row(3)], 5)
    assert history.since(Filters(frozenset("b")), 0)[1] == 0


def test_a_later_eviction_does_not_hide_that_a_large_row_was_refused() -> None:
    history = filled(3, 10, "aaa")
    history.append(a_row(4, "a", 11))
    history.append(a_row(5, "a", 1))  # row 1 gives way
    assert history.since(ANY, 0)[1] == history.since(ANY, 3)[1] == 4
    assert history.since(ANY, 4) == ([a_row(5)], 0)


def test_no_rows_are_kept_if_none_may_be_and_every_one_is_known_to_be_missing() -> None:
    history = filled(0, PLENTY, "aba")
    assert (len(history), history.bytes, history.evicted) == (0, 0, 3)
    assert history.newest(ANY, 10) == []
    assert history.since(ANY, 0) == ([], 3)
    assert history.since(Filters(frozenset("b")), 0) == ([], 2)
    assert history.since(ANY, 3) == ([], 0)


def test_without_bytes_only_weightless_rows_are_kept() -> None:
    history = History(2, 0)
    for seq, size in enumerate((0, 1, 0, 0), 1):
        history.append(a_row(seq, "a", size))
    assert held(history) == [3, 4]


def test_an_empty_history_misses_nothing() -> None:
    history = History(10, PLENTY)
    assert history.since(ANY, 0) == ([], 0)
    assert history.newest(ANY, 10) == []
    assert not history.newest(Filters(frozenset(["unheard of"])), 10)


def test_since_tells_exactly_from_where_a_replay_is_complete() -> None:
    history = filled(5, PLENTY, "a" * 12)  # 1 to 7 are gone
    for seq in range(7):
        assert history.since(ANY, seq)[1] == 7
    assert [row[0] for row in history.since(ANY, 7)[0]] == [8, 9, 10, 11, 12]
    assert history.since(ANY, 7)[1] == 0
    assert history.since(ANY, 12) == history.since(ANY, 10**9) == ([], 0)


def test_rows_of_other_types_are_not_missed() -> None:
    history = filled(5, PLENTY, "b" + "a" * 12)
    assert history.since(Filters(frozenset("b")), 0) == ([a_row(1, "b")], 0)
    assert history.since(Filters(frozenset("ab")), 0)[1] == 9


@pytest.mark.parametrize("limit", [0, -1, -(10**9)])
def test_nothing_is_found_up_to_a_limit_of_nothing(limit: int) -> None:
    assert filled(5, PLENTY, "ab").newest(ANY, limit) == []


def test_newest_goes_over_all_types_from_the_most_recent_on() -> None:
    history = filled(100, PLENTY, "abacabad")
    assert [row[0] for row in history.newest(ANY, 5)] == [8, 7, 6, 5, 4]
    assert [row[0] for row in history.newest(Filters(frozenset("ad")), 3)] == [8, 7, 5]


class Watched(str):
    """A text that counts how often it is compared."""

    __slots__ = ("seen",)

    def __eq__(self, other: object) -> bool:
        self.seen: list[object]
        self.seen.append(other)
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def test_newest_looks_no_further_than_it_must() -> None:
    wanted = Watched("e")
    wanted.seen = []
    history = History(10_000, PLENTY)
    for seq in range(1, 5_001):
        history.append(a_row(seq, "ab"[seq % 2], execution="e"))
    assert len(history.newest(Filters(execution_id=wanted), 3)) == 3
    assert len(wanted.seen) == 3


def test_since_looks_no_further_back_than_it_must() -> None:
    wanted = Watched("e")
    wanted.seen = []
    history = History(10_000, PLENTY)
    for seq in range(1, 5_001):
        history.append(a_row(seq, "ab"[seq % 2], execution="e"))
    assert len(history.since(Filters(execution_id=wanted), 4_990)[0]) == 10
    assert len(wanted.seen) == 10


@pytest.mark.parametrize("rates", [(1,), (1, 1), (1, 1, 1), (1, 3, 7), (1, 1, 50, 2, 9, 4, 4)])
def test_a_full_history_scans_nothing_once_its_types_have_their_shares(
    rates: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[object] = []
    shorten = History._shorten

    def watched(self: History, shelf: Any) -> None:
        scans.append(shelf)
        shorten(self, shelf)

    monkeypatch.setattr(History, "_shorten", watched)
    history = History(100, PLENTY)
    beat = [f"t{number}" for number, rate in enumerate(rates) for _ in range(rate)]
    seq = 0
    for turn in range(300):
        if turn == 200:
            scans.clear()
        for type in beat:
            seq += 1
            history.append(a_row(seq, type))
    assert len(history) == 100
    assert scans == []


def test_what_gave_way_is_held_by_nobody() -> None:
    class Data(dict[str, Any]):
        pass

    data = [Data() for _ in range(4)]
    watched = [weakref.ref(each) for each in data]
    history = History(2, 10)
    for seq, size in enumerate((1, 1, 1, 99), 1):
        history.append(a_row(seq, "a", size, data=MappingProxyType(data[seq - 1])))
    data.clear()
    assert [each() is not None for each in watched] == [False, True, True, False]
