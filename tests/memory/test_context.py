"""Claims of memory/context.py, against a plain list as the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from phloem.memory.context import Context
from phloem.memory.history import BufferSlot, Forgotten, History, Record
from phloem.memory.threads import Census, Thread, ThreadTree


def record(order: int, size: int = 1) -> Record:
    made = Record(order, f"m-{order}", "t", "a", "b", "str", "x" * size, None, str(order), 0.0, None, "", "")
    assert made.size == size
    return made


class Memory:
    """A context with its tree of threads, some of them there from the beginning."""

    def __init__(
        self, per_thread: int = 1_000, slots: int = 1_000, size: int = 1_000, *, keep_past: bool = False
    ) -> None:
        self.tree = ThreadTree("c-0", "outside", Census(1_000))
        self.context = Context(self.tree, per_thread, slots, size, keep_past=keep_past)
        self.grown = 0
        self.a, self.b = self.grow(), self.grow()

    def grow(self) -> Thread:
        self.grown += 1
        return self.tree.extend(self.tree.root, f"c-{self.grown}", "listener", 1)

    def append(self, thread: Thread, *orders: int, size: int = 1) -> None:
        for order in orders:
            kept = record(order, size)
            kept.thread_id = thread.id
            self.context.append(thread, kept)

    def end(self, thread: Thread) -> None:
        self.context.drop(self.tree.prune(thread, 1))

    def of(self, thread: Thread) -> list[str]:
        return words(self.context.thread(thread))

    def all(self, *, past: bool = False) -> list[str]:
        return words(self.context.conversation(past=past))

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.context), self.context.size


def words(history: Sequence[BufferSlot]) -> list[str]:
    return [
        f"-{slot.payload.count}" if isinstance(slot.payload, Forgotten) else slot.payload for slot in history
    ]


def indices(history: History) -> list[int]:
    return [slot.metadata.slot_index for slot in history]


# -- appending and forgetting ------------------------------------------------------------------
def test_a_thread_that_nothing_was_said_on_remembers_nothing() -> None:
    memory = Memory()
    assert memory.of(memory.a) == memory.all(past=True) == []
    assert memory.counts == (0, 0)
    assert memory.context.next_index(memory.a) == 0


def test_a_thread_keeps_the_newest_and_says_how_many_are_gone() -> None:
    memory = Memory(per_thread=2)
    memory.append(memory.a, 0, 1, 2, 3, 4)
    assert memory.of(memory.a) == ["-3", "3", "4"]
    assert indices(memory.context.thread(memory.a)) == [2, 3, 4]
    assert memory.context.next_index(memory.a) == 5


def test_another_threads_limit_is_its_own() -> None:
    memory = Memory(per_thread=1)
    memory.append(memory.a, 1)
    memory.append(memory.b, 2, 3)
    assert memory.of(memory.a) == ["1"]
    assert memory.of(memory.b) == ["-1", "3"]
    assert memory.all() == ["-1", "1", "3"]


def test_a_conversation_forgets_its_oldest_whichever_thread_it_is_on() -> None:
    memory = Memory(slots=2)
    memory.append(memory.a, 1)
    memory.append(memory.b, 2, 3)
    assert memory.of(memory.a) == ["-1"], "the thread still knows that it had one"
    assert memory.of(memory.b) == ["2", "3"]
    assert memory.context.next_index(memory.a) == 1


def test_the_oldest_is_whose_handler_was_entered_first_and_not_who_came_back_first() -> None:
    memory = Memory(slots=3)
    memory.append(memory.a, 4, 5)
    memory.append(memory.b, 1)
    memory.append(memory.a, 6)
    assert memory.all() == ["-1", "4", "5", "6"]
    assert memory.of(memory.b) == ["-1"]


def test_the_newest_stays_though_its_handler_was_entered_long_ago() -> None:
    memory = Memory(slots=3)
    memory.append(memory.a, 4, 5, 6)
    memory.append(memory.b, 1)
    assert memory.all() == ["-1", "1", "5", "6"]


def test_a_large_conversation_that_is_full_forgets_a_sixteenth_at_once() -> None:
    memory = Memory(slots=32)
    memory.append(memory.a, *range(32))
    assert memory.counts == (32, 32)
    memory.append(memory.a, 32)
    assert memory.counts == (30, 30)
    assert memory.all()[:2] == ["-3", "3"]


def test_one_that_is_larger_than_everything_stays_as_the_newest_alone() -> None:
    memory = Memory(size=10)
    memory.append(memory.a, 1, size=5)
    memory.append(memory.b, 2, size=99)
    assert memory.all() == ["-1", "2"]
    assert memory.counts == (1, 99)
    memory.append(memory.a, 3, size=10)
    assert memory.all() == ["-2", "3"]
    assert memory.counts == (1, 10)


def test_as_many_go_as_it_takes_for_the_bytes() -> None:
    memory = Memory(size=10)
    memory.append(memory.a, *range(10))
    memory.append(memory.a, 10, size=8)
    assert memory.of(memory.a) == ["-8", "8", "9", "10"]


def test_a_history_stays_as_it_was_when_it_was_asked_for() -> None:
    memory = Memory(per_thread=2)
    memory.append(memory.a, 1)
    held, all_of_it = memory.context.thread(memory.a), memory.context.conversation()
    memory.append(memory.a, 2, 3, 4, 5)
    memory.end(memory.a)
    assert words(held) == words(all_of_it) == ["1"]


def test_the_conversation_is_in_the_order_in_which_its_handlers_were_entered() -> None:
    memory = Memory()
    for where, order in ((memory.a, 3), (memory.b, 1), (memory.a, 4), (memory.b, 2)):
        memory.append(where, order)
    assert memory.all() == ["1", "2", "3", "4"]


# -- threads that end --------------------------------------------------------------------------
def test_what_a_thread_that_ended_had_forgotten_is_no_longer_counted() -> None:
    memory = Memory(per_thread=1)
    memory.append(memory.a, 0, 1, 2)
    memory.append(memory.b, 3)
    memory.end(memory.a)
    assert memory.all() == ["3"]
    assert memory.counts == (1, 1)


def test_dropping_twice_or_what_never_said_anything_does_nothing() -> None:
    memory = Memory()
    memory.append(memory.a, 1)
    memory.context.drop([memory.a, memory.a, memory.b])
    memory.context.drop([memory.a])
    assert memory.counts == (0, 0)
    memory.append(memory.a, 2)
    assert indices(memory.context.thread(memory.a)) == [0]


def test_what_ended_threads_had_stays_for_operators_within_the_limits_again() -> None:
    memory = Memory(slots=2, keep_past=True)
    memory.append(memory.a, 1, 2)
    memory.end(memory.a)
    memory.append(memory.b, 3)
    assert memory.all() == ["3"], "handlers see the living only"
    assert memory.all(past=True) == ["1", "2", "3"]
    memory.append(memory.b, 4)
    memory.end(memory.b)
    assert memory.all(past=True) == ["-2", "3", "4"]


def test_what_ended_threads_had_goes_by_its_age_and_not_by_when_they_ended() -> None:
    memory = Memory(slots=3, keep_past=True)
    memory.append(memory.a, 1)
    memory.append(memory.b, 2, 3)
    memory.end(memory.b)
    memory.append(memory.a, 4)
    memory.end(memory.a)
    assert memory.all(past=True) == ["-1", "2", "3", "4"]


def test_nothing_of_ended_threads_is_told_where_nothing_of_them_is_kept() -> None:
    memory = Memory(per_thread=1)
    memory.append(memory.a, 0, 1, 2)
    memory.end(memory.a)
    memory.append(memory.b, 3)
    assert memory.all(past=True) == memory.all() == ["3"]


# -- promises ----------------------------------------------------------------------------------
def test_a_promise_takes_room_until_it_is_given_back() -> None:
    memory = Memory(per_thread=1, slots=3, size=10)
    context, a, b = memory.context, memory.a, memory.b
    assert context.full(a, 1, 0, 0, 0) is None
    context.promise(a, 6)
    assert "1 of 1" in (context.full(a, 1, 0, 0, 0) or "")
    assert context.full(b, 4, 0, 0, 0) is None
    assert "6 of 10" in (context.full(None, 5, 0, 0, 0) or "")
    context.promise(a, 6, -1)
    assert context.full(a, 10, 0, 0, 0) is None


def test_a_promise_to_a_thread_that_has_ended_is_given_back_all_the_same() -> None:
    memory = Memory(slots=1)
    memory.context.promise(memory.a, 5)
    memory.end(memory.a)
    assert memory.context.full(None, 1, 0, 0, 0)
    memory.context.promise(memory.a, 5, -1)
    assert memory.context.full(None, 1_000, 0, 0, 0) is None
    memory.append(memory.b, 1)
    assert memory.all() == ["1"]


def test_the_end_of_threads_frees_what_is_on_its_way_to_them_as_well() -> None:
    memory = Memory()
    memory.append(memory.a, 1, 2, size=5)
    memory.context.promise(memory.a, 7)
    assert memory.context.held([memory.a, memory.b]) == (3, 17)


def test_what_is_to_come_before_it_counts() -> None:
    memory = Memory(per_thread=3, slots=5, size=10)
    full, a = memory.context.full, memory.a
    assert full(a, 1, 2, 4, 9) is None
    assert full(a, 1, 3, 4, 9)
    assert full(a, 1, 2, 5, 9)
    assert full(a, 2, 2, 4, 9)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=30),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 20),
)
def test_what_full_lets_in_never_makes_anything_be_forgotten(
    wanted: list[tuple[bool, int]], per_thread: int, slots: int, size: int
) -> None:
    memory = Memory(per_thread, slots, size)
    for order, (first, own) in enumerate(wanted):
        before = len(memory.context)
        where = memory.a if first else memory.b
        if memory.context.full(where, own, 0, 0, 0) is None:
            memory.append(where, order, size=own)
            assert len(memory.context) == before + 1
    assert all(not word.startswith("-") for word in memory.all())


@pytest.mark.parametrize("number", [1, 3])
def test_the_words_of_full_say_what_is_full_and_of_how_much(number: int) -> None:
    memory = Memory(per_thread=number)
    memory.append(memory.a, *range(number))
    said = memory.context.full(memory.a, 1, 0, 0, 0)
    assert said == f"a thread that remembers {number} of {number} messages"


# -- any life ----------------------------------------------------------------------------------
@dataclass
class Kept:
    """The model's slot."""

    order: int
    name: str
    index: int
    size: int


NAMES: Final = "abc"


class ContextLife(RuleBasedStateMachine):
    """Handlers are entered and come back in any order, threads end; beside it lists that are cut by hand."""

    @initialize(
        per_thread=st.integers(1, 20), most=st.integers(1, 40), size=st.integers(1, 90), past=st.booleans()
    )
    def begin(self, per_thread: int, most: int, size: int, past: bool) -> None:
        self.per_thread, self.most, self.most_size, self.keeps_past = per_thread, most, size, past
        self.memory = Memory(per_thread, most, size, keep_past=past)
        self.threads = {name: self.memory.grow() for name in NAMES}
        self.entered: dict[str, int] = {}
        self.model: list[Kept] = []
        self.gone = dict.fromkeys(NAMES, 0)
        self.past: list[Kept] = []
        self.past_gone = self.order = 0

    @rule(name=st.sampled_from(NAMES))
    def enter(self, name: str) -> None:
        if name not in self.entered:
            self.order += 1
            self.entered[name] = self.order

    @rule(name=st.sampled_from(NAMES), size=st.integers(0, 40))
    def come_back(self, name: str, size: int) -> None:
        self.enter(name)
        order = self.entered.pop(name)
        index = self.gone[name] + len(self.mine(name))
        assert self.memory.context.next_index(self.threads[name]) == index
        self.memory.append(self.threads[name], order, size=size)
        newest = Kept(order, name, index, size)
        self.model.append(newest)
        if len(self.mine(name)) > self.per_thread:
            self.forget(self.mine(name)[0])
        if len(self.model) > self.most or self.size > self.most_size:
            most, least_size = self.most - self.most // 16, self.most_size - self.most_size // 16
            for kept in sorted(self.model, key=lambda kept: kept.order):
                if (len(self.model) > most or self.size > least_size) and kept is not newest:
                    self.forget(kept)

    @rule(times=st.integers(1, 50), size=st.integers(0, 3))
    def come_back_often(self, times: int, size: int) -> None:
        for number in range(times):
            self.come_back(NAMES[number % 3], size)

    @rule(name=st.sampled_from(NAMES))
    def end(self, name: str) -> None:
        self.memory.end(self.threads[name])
        if self.keeps_past:
            self.past_gone += self.gone[name]
            for kept in self.mine(name):
                self.past.append(kept)
                while len(self.past) > 1 and (
                    len(self.past) > self.most or sum(each.size for each in self.past) > self.most_size
                ):
                    self.past.remove(min(self.past, key=lambda each: each.order))
                    self.past_gone += 1
        self.model = [kept for kept in self.model if kept.name != name]
        self.gone[name] = 0
        self.entered.pop(name, None)
        self.threads[name] = self.memory.grow()

    @rule(name=st.sampled_from(NAMES), size=st.integers(0, 12))
    def promise_and_break_it(self, name: str, size: int) -> None:
        self.memory.context.promise(self.threads[name], size)
        self.memory.context.promise(self.threads[name], size, -1)

    @property
    def size(self) -> int:
        return sum(kept.size for kept in self.model)

    def mine(self, name: str) -> list[Kept]:
        return [kept for kept in self.model if kept.name == name]

    def forget(self, kept: Kept) -> None:
        self.model.remove(kept)
        self.gone[kept.name] += 1

    @invariant()
    def threads_agree(self) -> None:
        for name in NAMES:
            held, mine = self.memory.context.thread(self.threads[name]), self.mine(name)
            assert words(held) == self.told(mine, self.gone[name])
            gone = [self.gone[name] - 1] if self.gone[name] else []
            assert indices(held) == gone + [kept.index for kept in mine]

    @invariant()
    def the_conversation_agrees(self) -> None:
        gone = sum(self.gone.values())
        assert self.memory.all() == self.told(self.model, gone)
        assert self.memory.all(past=True) == self.told([*self.model, *self.past], gone + self.past_gone)

    @invariant()
    def the_counts_agree(self) -> None:
        assert self.memory.counts == (len(self.model), self.size)
        assert len(self.model) <= self.most
        assert self.size <= self.most_size or len(self.model) == 1
        room = self.memory.context.full(None, 0, 0, 0, 0) is None
        assert room == (len(self.model) < self.most and self.size <= self.most_size)

    def told(self, kept: list[Kept], gone: int) -> list[str]:
        orders = sorted(each.order for each in kept)
        return ([f"-{gone}"] if gone else []) + [str(order) for order in orders]


TestAnyLife: Any = ContextLife.TestCase
