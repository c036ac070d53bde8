"""Claims of memory/threads.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.memory.threads import Census, Thread, ThreadTree

MANY = 1_000  # threads: more than any test here opens


def tree_of(*names: str, census: Census | None = None) -> tuple[ThreadTree, list[Thread]]:
    tree = ThreadTree("c-0", "outside", Census(MANY) if census is None else census)
    chain = [tree.root]
    for number, name in enumerate(names, 1):
        chain.append(tree.extend(chain[-1], f"c-{number}", name, 1))
    return tree, chain[1:]


def test_a_chain_is_the_names_from_the_sender_down_and_a_dot_means_nothing() -> None:
    _, (_, deep) = tree_of("a.b", "c")
    assert deep.chain == ("outside", "a.b", "c")
    assert deep.depth == 2


def test_pruning_ends_the_thread_and_everything_below_it_parents_first() -> None:
    tree, (a, b, c) = tree_of("a", "b", "c")
    beside = tree.extend(a, "c-9", "beside", 1)
    assert tree.prune(b, 1) == [b, c]
    assert [b.alive, c.alive, a.alive, beside.alive] == [False, False, True, True]
    assert set(tree) == {tree.root, a, beside}
    assert tree.lookup(b.id) is None
    assert tree.lookup(a.id) is a


def test_pruning_twice_ends_nothing_twice() -> None:
    tree, (a, b) = tree_of("a", "b")
    assert tree.prune(a, 1) == [a, b]
    assert tree.prune(a, 1) == []
    assert tree.prune(b, 1) == []


def test_the_root_is_never_pruned() -> None:
    tree, _ = tree_of("a")
    assert tree.root not in tree.prune(tree.root, 1)
    assert tree.root.alive


def test_a_lasting_thread_stays_and_keeps_what_other_turns_opened() -> None:
    tree, _ = tree_of()
    first = tree.extend(tree.root, "c-1", "a", 1, lasting=True)
    mine = tree.extend(first, "c-2", "b", 1)
    other = tree.extend(first, "c-3", "b", 2)
    assert tree.prune(first, 1) == [mine]
    assert first.alive
    assert other.alive


def test_reaping_forgets_idle_leaves_upwards_and_stops_at_whoever_is_busy() -> None:
    tree, (a, b, c) = tree_of("a", "b", "c")
    a.occupant = object()
    assert list(tree.reap(c)) == [c, b]
    assert [a.alive, b.alive, c.alive] == [True, False, False]
    a.occupant = None
    assert list(tree.reap(a)) == [a]
    assert list(tree) == [tree.root]


def test_reaping_leaves_a_thread_with_children() -> None:
    tree, (a, b) = tree_of("a", "b")
    assert list(tree.reap(a)) == []
    assert a.alive
    assert b.alive


def test_reaping_what_has_gone_already_or_can_never_go_tells_of_nothing() -> None:
    tree, (a,) = tree_of("a")
    assert list(tree.reap(tree.root)) == []
    assert list(tree.reap(a)) == [a]
    assert list(tree.reap(a)) == []
    lasting = tree.extend(tree.root, "c-2", "a", 1, lasting=True)
    assert list(tree.reap(lasting)) == []
    assert lasting.alive


# -- todos ------------------------------------------------------------------------------------
def test_a_thread_with_todos_stays_where_an_idle_one_is_forgotten() -> None:
    tree, (a, b, c) = tree_of("a", "b", "c")
    b.todos = 2
    assert list(tree.reap(c)) == [c], "up to whoever is still to be nudged"
    b.todos = 1
    assert list(tree.reap(b)) == []
    b.todos = 0
    assert list(tree.reap(b)) == [b, a]


def test_todos_of_a_child_hold_its_parents_and_no_others() -> None:
    tree, (a, b) = tree_of("a", "b")
    beside = tree.extend(a, "c-9", "beside", 1)
    b.todos = 1
    assert list(tree.reap(beside)) == [beside]
    assert list(tree.reap(a)) == []
    assert [a.alive, b.alive] == [True, True]


def test_todos_hold_no_thread_whose_call_has_ended() -> None:
    tree, (a, b) = tree_of("a", "b")
    a.todos = b.todos = 1
    assert tree.prune(a, 1) == [a, b]
    assert list(tree.reap(b)) == []
    assert list(tree) == [tree.root]


# -- the census -------------------------------------------------------------------------------
def test_the_census_counts_every_live_thread_of_every_tree_roots_included() -> None:
    census = Census(MANY)
    assert census.live == 0
    tree, (a, b, c) = tree_of("a", "b", "c", census=census)
    assert census.live == 4
    other, (d,) = tree_of("d", census=census)
    assert census.live == 6
    other.extend(d, "c-2", "e", 1)
    assert census.live == 7
    tree.reap(c)
    assert census.live == 4, "three idle ones, one above the other"
    assert [a.alive, b.alive, c.alive] == [False, False, False]
    other.prune(d, 1)
    assert census.live == 2, "the roots"


def test_the_census_counts_nothing_out_twice() -> None:
    census = Census(MANY)
    tree, (a, b, c) = tree_of("a", "b", "c", census=census)
    tree.prune(b, 1)
    assert census.live == 2
    tree.prune(b, 1)
    tree.prune(c, 1)
    tree.reap(c)
    assert census.live == 2
    tree.reap(a)
    tree.reap(a)
    assert census.live == 1


def test_a_lasting_thread_that_is_pruned_still_counts() -> None:
    census = Census(MANY)
    tree, _ = tree_of(census=census)
    first = tree.extend(tree.root, "c-1", "a", 1, lasting=True)
    mine = tree.extend(first, "c-2", "b", 1)
    tree.extend(mine, "c-3", "c", 1)
    tree.extend(first, "c-4", "b", 2)
    assert census.live == 5
    tree.prune(first, 1)
    assert census.live == 3, "the root, itself, and what another turn opened"


def test_a_tree_that_ends_takes_all_of_its_threads_and_no_others() -> None:
    census = Census(MANY)
    tree, _ = tree_of("a", "b", "c", census=census)
    tree_of("d", census=census)
    tree.end()
    assert census.live == 2


@pytest.mark.parametrize(("live", "full"), [(2, False), (3, True), (4, True)])
def test_the_census_is_full_from_its_bound_on_and_a_tree_may_still_grow(live: int, full: bool) -> None:
    census = Census(3)
    tree_of(*"abc"[: live - 1], census=census)
    assert (census.live, census.full) == (live, full)


class Bell:
    """Counts how often it is told that there is room, and notes whether there was."""

    def __init__(self, census: Census) -> None:
        self.census = census
        self.lives: list[int] = []

    def __call__(self) -> None:
        self.lives.append(self.census.live)


def test_who_waits_is_told_only_once_there_is_room() -> None:
    census = Census(3)
    tree, (a, b, c, d) = tree_of("a", "b", "c", "d", census=census)
    bell = census.thinned = Bell(census)
    a.occupant = b.occupant = object()
    tree.reap(d)
    assert (census.live, bell.lives) == (3, []), "thinner, and still full"
    b.occupant = None
    tree.reap(b)
    assert bell.lives == [2]
    assert [c.alive, b.alive, a.alive] == [False, False, True]


def test_a_whole_branch_that_goes_tells_who_waits_at_its_end() -> None:
    census = Census(2)
    tree, (a, _, _) = tree_of("a", "b", "c", census=census)
    bell = census.thinned = Bell(census)
    tree.prune(a, 1)
    assert bell.lives[-1] == census.live == 1
    assert all(live < census.most for live in bell.lives), "and never while it is full"


def test_a_tree_that_ends_tells_who_waits() -> None:
    census = Census(3)
    tree, _ = tree_of("a", census=census)
    tree_of("b", census=census)
    bell = census.thinned = Bell(census)
    tree.end()
    assert bell.lives == [2]


def test_nobody_is_told_of_a_tree_that_ends_while_others_fill_the_census() -> None:
    census = Census(2)
    tree, _ = tree_of("a", census=census)
    tree_of("b", census=census)
    bell = census.thinned = Bell(census)
    tree.end()
    assert census.live == 2
    assert bell.lives == []


def test_growing_tells_nobody() -> None:
    census = Census(9)
    bell = census.thinned = Bell(census)
    tree_of("a", "b", census=census)
    assert bell.lives == []


# -- whatever is done -------------------------------------------------------------------------
STEPS = ("extend", "lasting", "prune", "reap", "busy", "todo")


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(STEPS), st.integers(1, 2)), max_size=60))
def test_a_tree_never_holds_a_thread_without_its_parent_and_the_census_agrees(
    steps: list[tuple[int, str, int]],
) -> None:
    census = Census(8)
    beside, _ = tree_of("x", census=census)
    tree, _ = tree_of(census=census)
    bell = census.thinned = Bell(census)
    for number, (pick, step, turn) in enumerate(steps, 1):
        before = list(tree)
        thread = before[pick % len(before)]
        gone: list[Thread] = []
        if step in ("extend", "lasting"):
            tree.extend(thread, f"c-{number}", "x", turn, lasting=step == "lasting" and thread is tree.root)
        elif step == "prune":
            gone = tree.prune(thread, turn)
        elif step == "reap":
            gone = list(tree.reap(thread))
            assert not any(each.todos or each.occupant or each.lasting for each in gone)
        elif step == "busy":
            thread.occupant = None if thread.occupant else object()
        else:
            thread.todos = 1 - thread.todos
        live = list(tree)
        assert live[0] is tree.root
        for each in live:
            assert each.alive
            assert each.parent is None or each.parent.children[each.id] is each
            assert all(child in live for child in each.children.values())
        assert len(set(gone)) == len(gone)
        assert set(gone) == set(before) - set(live), "what went is told, and nothing else"
        assert census.live == len(live) + len(beside)
    assert all(count < census.most for count in bell.lives)
    tree.end()
    assert census.live == len(beside)
